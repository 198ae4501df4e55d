/**
 * Ring buffers as user space has them: reading what programs submitted, and, for user ring buffers, writing what programs
 * drain. The protocol is that of uapi/linux/bpf.h: positions, headers with busy and discard bits.
 */
import { RING_CONSUMER, RING_DATA, RING_MASK, RING_PRODUCER, RING_WAKEUPS } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { LinearMemory } from "../memory.ts";

const BUSY = 0x80000000;
const DISCARD = 0x40000000;
const HEADER = 8;

/** Bytes that a record takes. */
function stride(length: number): number {
  return Math.ceil((length + HEADER) / 8) * 8;
}

/** Positions are 64 bits wide, and written with one store so that a producer in another thread never sees half of one. */
function setPosition(memory: LinearMemory, address: number, value: bigint): void {
  if (memory.shared) {
    Atomics.store(new BigInt64Array(memory.u8.buffer as ArrayBuffer, address, 1), 0, value);
  } else memory.setU64(address, value);
}

/**
 * Takes the next record out of the ring: a copy of its bytes, or undefined if there is none or its producer has not
 * submitted it yet. Discarded records are stepped over.
 */
export function takeRecord(memory: LinearMemory, ring: number): Uint8Array | undefined {
  const mask = memory.u32(ring + RING_MASK);
  let consumer = memory.u64(ring + RING_CONSUMER);
  while (consumer < memory.u64(ring + RING_PRODUCER)) {
    const record = ring + RING_DATA + (Number(consumer & 0xffffffffn) & mask);
    const word = memory.u32(record);
    if ((word & BUSY) !== 0) return undefined;
    const length = (word & ~DISCARD) >>> 0;
    consumer += BigInt(stride(length));
    const bytes = (word & DISCARD) === 0 ? memory.read(record + HEADER, length) : undefined;
    setPosition(memory, ring + RING_CONSUMER, consumer);
    if (bytes !== undefined) return bytes;
  }
  return undefined;
}

/** How often readers were woken. */
export function ringWakeups(ring: number): number {
  return ring + RING_WAKEUPS;
}

/** Puts a record into a user ring buffer; false if there is no room for it (as user_ring_buffer__reserve fails). */
export function putRecord(memory: LinearMemory, ring: number, bytes: Uint8Array): boolean {
  const mask = memory.u32(ring + RING_MASK);
  const consumer = memory.u64(ring + RING_CONSUMER);
  const producer = memory.u64(ring + RING_PRODUCER);
  const needed = stride(bytes.length);
  const used = Number(producer - consumer);
  if (needed > mask + 1 - used) return false;
  const record = ring + RING_DATA + (Number(producer & 0xffffffffn) & mask);
  memory.setU32(record, bytes.length);
  memory.setU32(record + 4, 0);
  memory.write(record + HEADER, bytes);
  setPosition(memory, ring + RING_PRODUCER, producer + BigInt(needed));
  return true;
}

/** A wakeup: whoever waits for the ring looks again. */
export function addWakeup(memory: LinearMemory, ring: number): void {
  const word = new Int32Array(memory.u8.buffer as ArrayBuffer, ring + RING_WAKEUPS, 1);
  Atomics.add(word, 0, 1);
  if (memory.shared) Atomics.notify(word, 0);
}

/**
 * The next record of a user ring buffer, as bpf_user_ringbuf_drain finds it: where its data lies, that there is none, that one was
 * discarded and has been stepped over, or a negated errno for a ring that user space has spoilt.
 */
export function peekRecord(
  memory: LinearMemory,
  ring: number,
  maxSize: number,
): { readonly data: number; readonly size: number } | "none" | "discarded" | number {
  const producer = memory.u64(ring + RING_PRODUCER);
  if (producer % 8n !== 0n) return -ERRNO.EINVAL;
  const consumer = memory.u64(ring + RING_CONSUMER);
  if (consumer >= producer) return "none";
  const mask = memory.u32(ring + RING_MASK);
  const record = ring + RING_DATA + (Number(consumer & 0xffffffffn) & mask);
  const word = memory.u32(record);
  const size = (word & ~(BUSY | DISCARD)) >>> 0;
  const whole = BigInt(stride(size));
  if (whole > producer - consumer) return -ERRNO.EINVAL;
  if (whole > BigInt(mask) + 1n || size > maxSize) return -ERRNO.E2BIG;
  if ((word & DISCARD) !== 0) {
    setPosition(memory, ring + RING_CONSUMER, consumer + whole);
    return "discarded";
  }
  return (word & BUSY) !== 0 ? "none" : { data: record + HEADER, size };
}

export function releaseRecord(memory: LinearMemory, ring: number, size: number): void {
  const consumer = memory.u64(ring + RING_CONSUMER);
  setPosition(memory, ring + RING_CONSUMER, consumer + BigInt(stride(size)));
}
