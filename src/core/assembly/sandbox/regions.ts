/**
 * The table of regions: which memory sandboxed programs may touch. Whoever hands out memory that programs see registers it
 * here, whether or not a sandboxed program is there to use it, and takes it off again when it is freed. What differs from
 * run to run, the stack and the packet, has no record: see window.ts.
 */
import {
  CORE_REGIONS,
  CORE_REGION_CAPACITY,
  CORE_REGION_COUNT,
  CORE_REGION_LOCK,
  REGION_BASE,
  REGION_COPIES,
  REGION_COPY_STRIDE,
  REGION_END,
  REGION_KEY,
  REGION_KEY_SIZE,
  REGION_KIND,
  REGION_OBJECT,
  REGION_OFFSET,
  REGION_OWNER,
  REGION_RECORD,
  REGION_RIGHTS,
  REGION_RUN,
  REGION_SAMPLE,
  REGION_SIZE,
  REGION_STRIDE,
  REGION_WRITES,
  RIGHT_READ,
  RIGHT_WRITE,
} from "../../layout";
import { alloc, free } from "../allocator";
import { lock, unlock } from "../lock";

const FIRST_CAPACITY: u32 = 32;

// All instances of the core over a memory share the table.
function firstRecord(): u32 {
  return load<u32>(CORE_REGIONS);
}

function recordCount(): u32 {
  return load<u32>(CORE_REGION_COUNT);
}

function setCount(count: u32): void {
  store<u32>(CORE_REGION_COUNT, count);
}

/** Address of the first record. */
export function region_table(): u32 {
  return firstRecord();
}

export function region_count(): u32 {
  return recordCount();
}

/** How many records begin at or below an address. */
function rank(address: u32): u32 {
  let low: u32 = 0;
  let high = recordCount();
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(firstRecord() + middle * REGION_RECORD, REGION_BASE) <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What is read of a record is read between these: other threads may move the records. */
export function lockRegions(): void {
  lock(CORE_REGION_LOCK);
}

export function unlockRegions(): void {
  unlock(CORE_REGION_LOCK);
}

/** The record of the region that an address lies in, or 0. The table is locked. */
export function regionAt(address: u32): u32 {
  const before = rank(address);
  const record = firstRecord() + (before - 1) * REGION_RECORD;
  return before != 0 && address < load<u32>(record, REGION_END) ? record : 0;
}

/** Whether the address of a record, as it was found some time ago, is still that of a record; of which, must be looked at. */
export function isRecord(record: u32): bool {
  const distance = record - firstRecord();
  return distance < recordCount() * REGION_RECORD && distance % REGION_RECORD == 0;
}

/** A new record, all of it one window; 0 if the memory is used up (then programs may not touch it). */
export function region_add(base: u32, size: u32, kind: i32, rights: i32, owner: u32): u32 {
  lock(CORE_REGION_LOCK);
  const record = addRecord(base, size, kind, rights, owner);
  unlock(CORE_REGION_LOCK);
  return record;
}

function addRecord(base: u32, size: u32, kind: i32, rights: i32, owner: u32): u32 {
  if (recordCount() == load<u32>(CORE_REGION_CAPACITY) && !enlarge()) return 0;
  const at = rank(base);
  const record = firstRecord() + at * REGION_RECORD;
  memory.copy(record + REGION_RECORD, record, (recordCount() - at) * REGION_RECORD);
  setCount(recordCount() + 1);
  memory.fill(record, 0, REGION_RECORD);
  store<u32>(record, base, REGION_BASE);
  store<u32>(record, base + size, REGION_END);
  store<i32>(record, kind, REGION_KIND);
  store<i32>(record, rights, REGION_RIGHTS);
  store<u32>(record, owner, REGION_OWNER);
  store<u32>(record, size, REGION_SIZE);
  return record;
}

function enlarge(): bool {
  const wanted = load<u32>(CORE_REGION_CAPACITY) == 0 ? FIRST_CAPACITY : load<u32>(CORE_REGION_CAPACITY) * 2;
  const larger = alloc(wanted * REGION_RECORD, 8);
  if (larger == 0) return false;
  memory.copy(larger, firstRecord(), recordCount() * REGION_RECORD);
  free(firstRecord());
  store<u32>(CORE_REGIONS, larger);
  store<u32>(CORE_REGION_CAPACITY, wanted);
  return true;
}

/** Blocks of equal size side by side, a window in each. `record` may be 0. */
export function setStride(record: u32, stride: u32, offset: u32, size: u32): void {
  if (record == 0) return;
  store<u32>(record, stride, REGION_STRIDE);
  store<u32>(record, offset, REGION_OFFSET);
  store<u32>(record, size, REGION_SIZE);
}

/** Further windows in each block, one for each CPU. */
export function setCopies(record: u32, distance: u32, copies: u32): void {
  if (record == 0) return;
  store<u32>(record, distance, REGION_COPY_STRIDE);
  store<u32>(record, copies, REGION_COPIES);
}

/** A window of each block that may only be read. */
export function setKey(record: u32, offset: u32, size: u32): void {
  if (record == 0) return;
  store<u32>(record, offset, REGION_KEY);
  store<u32>(record, size, REGION_KEY_SIZE);
}

/** Notes what may be written of the object that begins at an address. */
export function region_writes(base: u32, writes: u32): void {
  lock(CORE_REGION_LOCK);
  const record = regionAt(base);
  if (record != 0 && load<i32>(record, REGION_KIND) == REGION_OBJECT)
    store<u32>(record, writes, REGION_WRITES);
  unlock(CORE_REGION_LOCK);
}

/** A record of a ring buffer that a run has reserved. One of no bytes has an address too. */
export function addSample(base: u32, size: u32, map: u32, state: u32): void {
  lock(CORE_REGION_LOCK);
  const record = addRecord(base, max<u32>(size, 1), REGION_SAMPLE, RIGHT_READ | RIGHT_WRITE, map);
  if (record != 0) {
    store<u32>(record, size, REGION_SIZE);
    store<u32>(record, state, REGION_RUN);
  }
  unlock(CORE_REGION_LOCK);
}

/** A record of a ring buffer that the run on a CPU has reserved, or 0. */
export function sampleOf(state: u32): u32 {
  let found: u32 = 0;
  lock(CORE_REGION_LOCK);
  const end = firstRecord() + recordCount() * REGION_RECORD;
  for (let record = firstRecord(); record < end && found == 0; record += REGION_RECORD)
    if (load<i32>(record, REGION_KIND) == REGION_SAMPLE && load<u32>(record, REGION_RUN) == state)
      found = load<u32>(record, REGION_BASE);
  unlock(CORE_REGION_LOCK);
  return found;
}

/** Takes the region that begins at an address off the table; nothing happens if there is none. */
export function region_remove(base: u32): void {
  lock(CORE_REGION_LOCK);
  removeRecord(base);
  unlock(CORE_REGION_LOCK);
}

function removeRecord(base: u32): void {
  const before = rank(base);
  if (before == 0) return;
  const record = firstRecord() + (before - 1) * REGION_RECORD;
  if (load<u32>(record, REGION_BASE) != base) return;
  setCount(recordCount() - 1);
  memory.copy(record, record + REGION_RECORD, (recordCount() - (before - 1)) * REGION_RECORD);
}

/** Takes all regions of an owner off the table. */
export function removeRegionsOf(owner: u32): void {
  lock(CORE_REGION_LOCK);
  removeRecordsOf(owner);
  unlock(CORE_REGION_LOCK);
}

function removeRecordsOf(owner: u32): void {
  const end = firstRecord() + recordCount() * REGION_RECORD;
  let kept = firstRecord();
  for (let record = firstRecord(); record < end; record += REGION_RECORD) {
    if (load<u32>(record, REGION_OWNER) == owner) continue;
    if (kept != record) memory.copy(kept, record, REGION_RECORD);
    kept += REGION_RECORD;
  }
  setCount((kept - firstRecord()) / REGION_RECORD);
}
