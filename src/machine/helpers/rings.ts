/** Records of ring buffers as dynptrs, and user ring buffers, which programs drain (kernel/bpf/ringbuf.c). */
import { RING_AT, RING_BUSY } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { addWakeup, peekRecord, releaseRecord } from "../maps/ring.ts";
import { DYNPTR_BYTES, KIND, MAX_SIZE, readDynptr, writeDynptr } from "./dynptr.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

function reserve(world: HelperWorld, args: HelperArguments): number {
  const [map, size, to] = [args.u32(1), args.u32(2), args.u32(4)];
  writeDynptr(world, to, undefined);
  if (args.u64(3) !== 0n) return -ERRNO.EINVAL;
  if (size > MAX_SIZE) return -ERRNO.E2BIG;
  const data = world.core.ringbuf_reserve(map, BigInt(size), 0n) >>> 0;
  if (data === 0) return -ERRNO.EINVAL;
  writeDynptr(world, to, { data, kind: KIND.ringbuf, size, offset: 0, readOnly: false });
  return 0;
}

/** What could not be reserved is nothing to end, which is no error. */
function end(world: HelperWorld, args: HelperArguments, how: "ringbuf_submit" | "ringbuf_discard"): number {
  const record = readDynptr(world, args.u32(1));
  if (record === undefined) return 0;
  world.core[how](record.data, args.u64(2));
  writeDynptr(world, args.u32(1), undefined);
  return 0;
}

const NO_WAKEUP = 1n;
const FORCE_WAKEUP = 2n;
// linux/bpf.h BPF_MAX_USER_RINGBUF_SAMPLES.
const MAX_SAMPLES = 128 * 1024;

/** Of several threads only one drains a ring at a time. */
function occupy({ memory }: HelperWorld, ring: number): boolean {
  const word = new Int32Array(memory.u8.buffer as ArrayBuffer, ring + RING_BUSY, 1);
  return Atomics.compareExchange(word, 0, 0, 1) === 0;
}

/** A record that a sandboxed program may look at as long as its function runs. */
function lend(
  world: HelperWorld,
  { exec }: HelperArguments,
  dynptr: number,
  data: number,
  size: number,
): void {
  if (!world.isSandboxed(exec)) return;
  world.handles.note(exec, dynptr, "dynptr", DYNPTR_BYTES, { lent: true });
  if (size > 0)
    world.regions.add({
      kind: "memory",
      label: "record of a user ring buffer",
      address: data,
      size,
      owner: exec,
    });
}

function takeBack(
  { isSandboxed, handles, regions }: HelperWorld,
  { exec }: HelperArguments,
  dynptr: number,
  data: number,
  size: number,
): void {
  if (!isSandboxed(exec)) return;
  handles.forget(exec, dynptr);
  if (size > 0) regions.remove(data);
}

function drain(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [map, callback, context, flags] = [args.u32(1), args.u32(2), args.u64(3), args.u64(4)];
  if ((flags & ~(NO_WAKEUP | FORCE_WAKEUP)) !== 0n) return -ERRNO.EINVAL;
  const ring = memory.u32(map + RING_AT);
  if (!occupy(world, ring)) return -ERRNO.EBUSY;
  const dynptr = memory.alloc(DYNPTR_BYTES, "record of a user ring buffer", 8);
  try {
    let [taken, discarded] = [0, 0];
    let answer = 0n;
    let failure = 0;
    for (; taken < MAX_SAMPLES && answer === 0n; taken++) {
      const record = peekRecord(memory, ring, MAX_SIZE);
      if (record === "none") break;
      if (record === "discarded") {
        discarded++;
        continue;
      }
      if (typeof record === "number") {
        failure = record;
        break;
      }
      const { data, size } = record;
      writeDynptr(world, dynptr, { data, kind: KIND.local, size, offset: 0, readOnly: false });
      lend(world, args, dynptr, data, size);
      answer = world.callBack(callback, dynptr, context);
      takeBack(world, args, dynptr, data, size);
      releaseRecord(memory, ring, size);
    }
    if ((flags & FORCE_WAKEUP) !== 0n || ((flags & NO_WAKEUP) === 0n && taken > 0)) addWakeup(memory, ring);
    return failure === 0 ? taken - discarded : failure;
  } finally {
    world.handles.forget(args.exec, dynptr);
    memory.free(dynptr);
    Atomics.store(new Int32Array(memory.u8.buffer as ArrayBuffer, ring + RING_BUSY, 1), 0, 0);
  }
}

export const RINGS: readonly HostHelper[] = [
  { name: "ringbuf_reserve_dynptr", args: 4, call: reserve },
  { name: "ringbuf_submit_dynptr", args: 2, call: (world, args) => end(world, args, "ringbuf_submit") },
  { name: "ringbuf_discard_dynptr", args: 2, call: (world, args) => end(world, args, "ringbuf_discard") },
  { name: "user_ringbuf_drain", args: 4, call: drain },
];
