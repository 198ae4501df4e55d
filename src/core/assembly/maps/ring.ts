/**
 * ringbuf (kernel/bpf/ringbuf.c): records of 8 bytes header and data, each reserved, then submitted or discarded, in the
 * kernel's layout (layout.ts, RING_).
 *
 * The kernel maps the data pages twice in a row so that a record may run over the end. Here there is as much room again
 * behind the data instead: a record is read where it was written, from its start on, so the end need not come back at the front.
 */
import {
  EXEC_HELD,
  MAP_MAX_ENTRIES,
  MAP_VALUES,
  RING_AT,
  RING_CONSUMER,
  RING_DATA,
  RING_LOCK,
  RING_MAP,
  RING_MASK,
  RING_PAGE,
  RING_PENDING,
  RING_PRODUCER,
  RING_WAKEUPS,
} from "../../layout";
import { alloc } from "../allocator";
import { addTo, lock, unlock } from "../lock";
import { addSample, region_remove, sampleOf } from "../sandbox/regions";
import { exec, isSandboxed } from "../state";
import { EAGAIN, EINVAL, ENOMEM } from "../uapi";

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u32 = 8;
// RINGBUF_MAX_RECORD_SZ.
const MAX_RECORD: u64 = 0x3fffffff;
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

const QUERY_AVAILABLE: u64 = 0;
const QUERY_SIZE: u64 = 1;
const QUERY_CONSUMER: u64 = 2;
const QUERY_PRODUCER: u64 = 3;

export function ringCreate(map: u32): i32 {
  const size = load<u32>(map, MAP_MAX_ENTRIES);
  const total = u64(RING_DATA) + 2 * u64(size);
  if (total > u64(u32.MAX_VALUE)) return -ENOMEM;
  const ring = alloc(u32(total), RING_PAGE);
  if (ring == 0) return -ENOMEM;
  store<u32>(ring, map, RING_MAP);
  store<u32>(ring, size - 1, RING_MASK);
  store<u32>(map, ring, RING_AT);
  store<u32>(map, ring, MAP_VALUES);
  return 0;
}

/** Address of the record's data, or 0. */
export function ringbuf_reserve(map: u32, size: u64, flags: u64): u32 {
  if (flags != 0) return 0;
  const sample = reserve(load<u32>(map, RING_AT), size);
  // Only sandboxed programs ask, and for others it would take as long as the reservation itself.
  if (sample != 0 && isSandboxed(exec)) {
    addSample(sample, u32(size), map, exec);
    store<u32>(exec, load<u32>(exec, EXEC_HELD) + 1, EXEC_HELD);
  }
  return sample;
}

function reserve(ring: u32, size: u64): u32 {
  if (size > MAX_RECORD) return 0;
  const mask = load<u32>(ring, RING_MASK);
  const length = (u32(size) + (HEADER + 7)) & ~7;
  if (length > mask + 1) return 0;
  lock(ring + RING_LOCK);
  const consumer = load<u64>(ring, RING_CONSUMER);
  const producer = load<u64>(ring, RING_PRODUCER);
  const pending = firstBusy(ring, mask, producer);
  const after = producer + length;
  if (after - consumer > u64(mask) || after - pending > u64(mask)) {
    unlock(ring + RING_LOCK);
    return 0;
  }
  const offset = u32(producer) & mask;
  const record = ring + RING_DATA + offset;
  store<u32>(record, u32(size) | BUSY);
  // In pages from the start of the ring, so that a record finds its ring.
  store<u32>(record, (RING_DATA + offset) >> 12, 4);
  if (ASC_FEATURE_THREADS) atomic.store<u64>(ring + RING_PRODUCER, after);
  else store<u64>(ring, after, RING_PRODUCER);
  const over = offset + length - min(offset + length, mask + 1);
  if (over != 0) memory.copy(ring + RING_DATA + mask + 1, ring + RING_DATA, over);
  unlock(ring + RING_LOCK);
  return record + HEADER;
}

/** What of a record lies behind the end: the start of the ring shows it too, once it is submitted. */
function mirror(ring: u32, record: u32, length: u32): void {
  const end = ring + RING_DATA + load<u32>(ring, RING_MASK) + 1;
  const after = record + (((length & ~(BUSY | DISCARD)) + (HEADER + 7)) & ~7);
  if (after > end) memory.copy(ring + RING_DATA, end, after - end);
}

/** Where the oldest record begins that has not been submitted; moves on over those that have been. */
function firstBusy(ring: u32, mask: u32, producer: u64): u64 {
  let pending = load<u64>(ring, RING_PENDING);
  while (pending < producer) {
    const length = load<u32>(ring + RING_DATA + (u32(pending) & mask));
    if ((length & BUSY) != 0) break;
    pending += u64(((length & ~DISCARD) + (HEADER + 7)) & ~7);
  }
  store<u64>(ring, pending, RING_PENDING);
  return pending;
}

function commit(sample: u32, flags: u64, discard: u32): void {
  const record = sample - HEADER;
  const ring = (record & ~(RING_PAGE - 1)) - (load<u32>(record, 4) << 12);
  const length = (load<u32>(record) ^ BUSY) | discard;
  mirror(ring, record, length);
  if (ASC_FEATURE_THREADS) atomic.store<u32>(record, length);
  else store<u32>(record, length);
  if ((flags & FORCE_WAKEUP) != 0) wake(ring);
  else if ((flags & NO_WAKEUP) == 0) {
    // A reader that has read all before waits for this record.
    const consumer = u32(load<u64>(ring, RING_CONSUMER)) & load<u32>(ring, RING_MASK);
    if (consumer == record - ring - RING_DATA) wake(ring);
  }
}

function wake(ring: u32): void {
  addTo(ring + RING_WAKEUPS, 1);
  if (ASC_FEATURE_THREADS) atomic.notify(ring + RING_WAKEUPS, -1);
}

function giveBack(sample: u32): void {
  if (!isSandboxed(exec)) return;
  region_remove(sample);
  store<u32>(exec, load<u32>(exec, EXEC_HELD) - 1, EXEC_HELD);
}

/** Discards the records that a sandboxed run has reserved and not submitted: who reads the ring would wait for them forever. */
export function discardSamples(state: u32): void {
  for (let sample = sampleOf(state); sample != 0; sample = sampleOf(state)) {
    region_remove(sample);
    commit(sample, 0, DISCARD);
  }
}

export function ringbuf_submit(sample: u32, flags: u64): u32 {
  giveBack(sample);
  commit(sample, flags, 0);
  return 0;
}

export function ringbuf_discard(sample: u32, flags: u64): u32 {
  giveBack(sample);
  commit(sample, flags, DISCARD);
  return 0;
}

export function ringbuf_output(map: u32, data: u32, size: u64, flags: u64): i32 {
  if ((flags & ~(NO_WAKEUP | FORCE_WAKEUP)) != 0) return -EINVAL;
  const sample = reserve(load<u32>(map, RING_AT), size);
  if (sample == 0) return -EAGAIN;
  memory.copy(sample, data, u32(size));
  commit(sample, flags, 0);
  return 0;
}

export function ringbuf_query(map: u32, what: u64): u64 {
  const ring = load<u32>(map, RING_AT);
  const consumer = load<u64>(ring, RING_CONSUMER);
  const producer = load<u64>(ring, RING_PRODUCER);
  if (what == QUERY_AVAILABLE) return max<i64>(i64(producer - consumer), 0);
  if (what == QUERY_SIZE) return u64(load<u32>(ring, RING_MASK)) + 1;
  if (what == QUERY_CONSUMER) return consumer;
  return what == QUERY_PRODUCER ? producer : 0;
}

/** Where the data of the oldest record lies that was submitted, its length in the word 8 bytes before it; 0 if there is none. */
export function ringPeek(map: u32): u32 {
  const ring = load<u32>(map, RING_AT);
  let consumer = load<u64>(ring, RING_CONSUMER);
  while (consumer < load<u64>(ring, RING_PRODUCER)) {
    const record = ring + RING_DATA + (u32(consumer) & load<u32>(ring, RING_MASK));
    const length = load<u32>(record);
    if ((length & BUSY) != 0) return 0;
    if ((length & DISCARD) == 0) return record + HEADER;
    step(ring, consumer, length);
    consumer = load<u64>(ring, RING_CONSUMER);
  }
  return 0;
}

/** Gives the record that `ringPeek` found back to the ring. */
export function ringConsume(map: u32): void {
  const sample = ringPeek(map);
  if (sample == 0) return;
  const ring = load<u32>(map, RING_AT);
  step(ring, load<u64>(ring, RING_CONSUMER), load<u32>(sample - HEADER));
}

function step(ring: u32, consumer: u64, length: u32): void {
  store<u64>(ring, consumer + u64(((length & ~DISCARD) + (HEADER + 7)) & ~7), RING_CONSUMER);
}
