/**
 * The table of regions: which memory sandboxed programs may touch. Whoever hands out memory that programs see registers it
 * here, whether or not a sandboxed program is there to use it, and takes it off again when it is freed. What differs from
 * run to run, the stack and the packet, has no record: see window.ts.
 */
import {
  REGION_BASE,
  REGION_COPIES,
  REGION_COPY_STRIDE,
  REGION_END,
  REGION_KEY,
  REGION_KEY_SIZE,
  REGION_KIND,
  REGION_OFFSET,
  REGION_OWNER,
  REGION_RECORD,
  REGION_RIGHTS,
  REGION_SIZE,
  REGION_STRIDE,
} from "../../layout";
import { alloc, free } from "../allocator";

const FIRST_CAPACITY: u32 = 32;

let table: u32 = 0;
let count: u32 = 0;
let capacity: u32 = 0;

/** Address of the first record. */
export function region_table(): u32 {
  return table;
}

export function region_count(): u32 {
  return count;
}

/** How many records begin at or below an address. */
function rank(address: u32): u32 {
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(table + middle * REGION_RECORD, REGION_BASE) <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The record of the region that an address lies in, or 0. */
export function regionAt(address: u32): u32 {
  const before = rank(address);
  if (before == 0) return 0;
  const record = table + (before - 1) * REGION_RECORD;
  return address < load<u32>(record, REGION_END) ? record : 0;
}

/** A new record, all of it one window; 0 if the memory is used up (then programs may not touch it). */
export function region_add(base: u32, size: u32, kind: i32, rights: i32, owner: u32): u32 {
  if (count == capacity && !enlarge()) return 0;
  const at = rank(base);
  const record = table + at * REGION_RECORD;
  memory.copy(record + REGION_RECORD, record, (count - at) * REGION_RECORD);
  count++;
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
  const wanted = capacity == 0 ? FIRST_CAPACITY : capacity * 2;
  const larger = alloc(wanted * REGION_RECORD, 8);
  if (larger == 0) return false;
  memory.copy(larger, table, count * REGION_RECORD);
  free(table);
  table = larger;
  capacity = wanted;
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

/** Takes the region that begins at an address off the table; nothing happens if there is none. */
export function region_remove(base: u32): void {
  const before = rank(base);
  if (before == 0) return;
  const record = table + (before - 1) * REGION_RECORD;
  if (load<u32>(record, REGION_BASE) != base) return;
  count--;
  memory.copy(record, record + REGION_RECORD, (count - (before - 1)) * REGION_RECORD);
}

/** Takes all regions of an owner off the table. */
export function removeRegionsOf(owner: u32): void {
  const end = table + count * REGION_RECORD;
  let kept = table;
  for (let record = table; record < end; record += REGION_RECORD) {
    if (load<u32>(record, REGION_OWNER) == owner) continue;
    if (kept != record) memory.copy(kept, record, REGION_RECORD);
    kept += REGION_RECORD;
  }
  count = (kept - table) / REGION_RECORD;
}
