/**
 * Dynptrs, as helpers and as kernel functions (kernel/bpf/helpers.c). Struct bpf_dynptr_kern: the address of memory or of a
 * context, the size with the kind in its upper bits, an offset.
 */
import {
  CTX_KIND,
  EXEC_PROG,
  KIND_XDP,
  PROG_TYPE,
  SKB_DATA,
  SKB_DATA_META,
  SKB_LEN,
} from "../../core/layout.ts";
import { ERRNO, PROGRAM_TYPES } from "../../uapi/index.ts";
import type { HostKfunc } from "../kfuncs/types.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

const DATA = 0;
const SIZE = 8;
const OFFSET = 12;
const BYTES = 16;

/** Of struct bpf_dynptr. */
export const DYNPTR_BYTES = BYTES;
export const MAX_SIZE = 0xffffff;
const KIND_SHIFT = 28;
export const KIND = { local: 1, ringbuf: 2, skb: 3, xdp: 4, meta: 5 } as const;
const READ_ONLY = 0x80000000;
/** Of a range in a frame: larger numbers are faults (bpf_xdp_pointer). */
const MAX_FRAME = 0xffff;

/** Program types whose packets may be written. */
const WRITERS: readonly string[] = ["sched_cls", "sched_act", "lwt_xmit", "sk_skb"];

export interface Dynptr {
  readonly data: number;
  readonly kind: number;
  readonly size: number;
  readonly offset: number;
  readonly readOnly: boolean;
}

export function readDynptr({ memory }: HelperWorld, address: number): Dynptr | undefined {
  const data = memory.u32(address + DATA);
  if (data === 0) return undefined;
  const size = memory.u32(address + SIZE);
  return {
    data,
    kind: (size >>> KIND_SHIFT) & 7,
    size: size & MAX_SIZE,
    offset: memory.u32(address + OFFSET),
    readOnly: size >= READ_ONLY,
  };
}

export function writeDynptr({ memory }: HelperWorld, address: number, dynptr: Dynptr | undefined): void {
  memory.u8.fill(0, address, address + BYTES);
  if (dynptr === undefined) return;
  const { data, kind, size, offset, readOnly } = dynptr;
  memory.setU32(address + DATA, data);
  memory.setU32(address + SIZE, (((kind << KIND_SHIFT) | size) >>> 0) + (readOnly ? READ_ONLY : 0));
  memory.setU32(address + OFFSET, offset);
}

/**
 * Where the bytes of a range lie; an errno, negated, if it is not within the dynptr or, since the packet has changed, the packet;
 * 0 if they lie in several pieces.
 */
export function locateDynptr(
  { memory, core }: HelperWorld,
  dynptr: Dynptr,
  offset: number,
  length: number,
): number {
  if (length > dynptr.size || offset > dynptr.size - length) return -ERRNO.E2BIG;
  const at = dynptr.offset + offset;
  if (dynptr.kind === KIND.skb) {
    if (at + length > memory.u32(dynptr.data + SKB_LEN)) return -ERRNO.EFAULT;
    return memory.u32(dynptr.data + SKB_DATA) + at;
  }
  if (dynptr.kind === KIND.meta) return memory.u32(dynptr.data + SKB_DATA_META) + at;
  if (dynptr.kind === KIND.xdp) {
    if (at > MAX_FRAME || length > MAX_FRAME) return -ERRNO.EFAULT;
    if (at + length > Number(core.xdp_get_buff_len(dynptr.data))) return -ERRNO.EINVAL;
    return core.xdp_pointer(dynptr.data, at, length) >>> 0;
  }
  return dynptr.data + at;
}

function copyOut(world: HelperWorld, args: HelperArguments): number {
  const [to, length, from, offset] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
  const dynptr = readDynptr(world, from);
  if (dynptr === undefined || args.u64(5) !== 0n) return -ERRNO.EINVAL;
  const address = locateDynptr(world, dynptr, offset, length);
  if (address < 0) {
    // bpf_skb_load_bytes clears what it cannot fill.
    if (dynptr.kind === KIND.skb && address === -ERRNO.EFAULT) world.memory.u8.fill(0, to, to + length);
    return address;
  }
  if (address === 0) return world.core.xdp_load_bytes(dynptr.data, dynptr.offset + offset, to, length);
  world.memory.u8.copyWithin(to, address, address + length);
  return 0;
}

const STORE_FLAGS = 3n;
/** Bytes of the buffer on the stack of bpf_dynptr_copy. */
const COPY_STEP = 256;

function copyIn(world: HelperWorld, args: HelperArguments): number {
  const [to, offset, from, length] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
  const flags = args.u64(5);
  const dynptr = readDynptr(world, to);
  if (dynptr === undefined || dynptr.readOnly) return -ERRNO.EINVAL;
  const address = locateDynptr(world, dynptr, offset, length);
  if (address === -ERRNO.E2BIG) return address;
  if ((flags & ~(dynptr.kind === KIND.skb ? STORE_FLAGS : 0n)) !== 0n) return -ERRNO.EINVAL;
  if (address < 0) return address;
  if (address === 0) return world.core.xdp_store_bytes(dynptr.data, dynptr.offset + offset, from, length);
  world.memory.u8.copyWithin(address, from, from + length);
  return 0;
}

/** The bytes of a range, and how they are put back, whether they lie in one piece or not. */
function bytesOf(
  { memory, core }: HelperWorld,
  dynptr: Dynptr,
  offset: number,
  length: number,
  address: number,
): { readonly bytes: Uint8Array; put(bytes: Uint8Array): void } {
  if (address !== 0) {
    return { bytes: memory.read(address, length), put: (bytes) => memory.write(address, bytes) };
  }
  const at = dynptr.offset + offset;
  const through = (run: (buffer: number) => void): Uint8Array => {
    const buffer = memory.alloc(Math.max(1, length), "part of a frame", 8);
    try {
      run(buffer);
      return memory.read(buffer, length);
    } finally {
      memory.free(buffer);
    }
  };
  return {
    bytes: through((buffer) => void core.xdp_load_bytes(dynptr.data, at, buffer, length)),
    put(bytes) {
      through((buffer) => {
        memory.write(buffer, bytes);
        core.xdp_store_bytes(dynptr.data, at, buffer, length);
      });
    },
  };
}

function writesPackets({ memory }: HelperWorld, { exec }: HelperArguments): boolean {
  const id = memory.u32(memory.u32(exec + EXEC_PROG) + PROG_TYPE);
  return WRITERS.includes(PROGRAM_TYPES.find((row) => row.id === id)?.name ?? "");
}

/** The struct __sk_buff of a packet that the program has as the kernel's own structure. */
export function contextOf({ run }: HelperWorld, packet: number): number {
  return run.packet?.skb === packet ? run.packet.context : packet;
}

function fromContext(world: HelperWorld, args: HelperArguments, xdp: boolean): number {
  const { memory } = world;
  const [given, to] = [args.u32(1), args.u32(3)];
  const context = contextOf(world, given);
  if (args.u64(2) !== 0n || (memory.u32(context + CTX_KIND) === KIND_XDP) !== xdp) {
    writeDynptr(world, to, undefined);
    return -ERRNO.EINVAL;
  }
  const size = xdp ? Number(world.core.xdp_get_buff_len(context)) : memory.u32(context + SKB_LEN);
  writeDynptr(world, to, {
    data: context,
    kind: xdp ? KIND.xdp : KIND.skb,
    size,
    offset: 0,
    readOnly: !xdp && !writesPackets(world, args),
  });
  return 0;
}

/** The bytes themselves; of a frame, where they lie in several pieces, a copy in the caller's buffer if it has given one. */
function slice(world: HelperWorld, args: HelperArguments, writes: boolean): bigint {
  const dynptr = readDynptr(world, args.u32(1));
  if (dynptr === undefined || (writes && dynptr.readOnly)) return 0n;
  const address = locateDynptr(world, dynptr, args.u32(2), args.u32(4));
  if (address !== 0) return address < 0 ? 0n : BigInt(address);
  const [offset, buffer, length] = [args.u32(2), args.u32(3), args.u32(4)];
  if (buffer !== 0) world.core.xdp_load_bytes(dynptr.data, dynptr.offset + offset, buffer, length);
  return BigInt(buffer);
}

export const DYNPTRS: readonly HostHelper[] = [
  {
    name: "dynptr_from_mem",
    args: 4,
    call(world, args) {
      const [data, size, to] = [args.u32(1), args.u32(2), args.u32(4)];
      const errno = size > MAX_SIZE ? ERRNO.E2BIG : args.u64(3) === 0n ? 0 : ERRNO.EINVAL;
      writeDynptr(
        world,
        to,
        errno === 0 ? { data, kind: KIND.local, size, offset: 0, readOnly: false } : undefined,
      );
      return -errno;
    },
  },
  { name: "dynptr_read", args: 5, call: copyOut },
  { name: "dynptr_write", args: 5, call: copyIn },
  {
    name: "dynptr_data",
    args: 3,
    call(world, args) {
      const dynptr = readDynptr(world, args.u32(1));
      if (dynptr === undefined || dynptr.readOnly || dynptr.kind >= KIND.skb) return 0n;
      const address = locateDynptr(world, dynptr, args.u32(2), args.u32(3));
      return address < 0 ? 0n : BigInt(address);
    },
  },
];

export const DYNPTR_KFUNCS: readonly HostKfunc[] = [
  { name: "bpf_dynptr_from_skb", call: (world, args) => fromContext(world, args, false) },
  { name: "bpf_dynptr_from_xdp", call: (world, args) => fromContext(world, args, true) },
  {
    // The metadata that an XDP program has put before the packet.
    name: "bpf_dynptr_from_skb_meta",
    call(world, args) {
      const { memory } = world;
      const [context, to] = [args.u32(1), args.u32(3)];
      if (args.u64(2) !== 0n) {
        writeDynptr(world, to, undefined);
        return -ERRNO.EINVAL;
      }
      const size = memory.u32(context + SKB_DATA) - memory.u32(context + SKB_DATA_META);
      writeDynptr(world, to, {
        data: context,
        kind: KIND.meta,
        size,
        offset: 0,
        readOnly: !writesPackets(world, args),
      });
      return 0;
    },
  },
  { name: "bpf_dynptr_slice", call: (world, args) => slice(world, args, false) },
  { name: "bpf_dynptr_slice_rdwr", call: (world, args) => slice(world, args, true) },
  {
    name: "bpf_dynptr_is_null",
    call: (world, args) => (readDynptr(world, args.u32(1)) === undefined ? 1 : 0),
  },
  {
    name: "bpf_dynptr_is_rdonly",
    call: (world, args) => (readDynptr(world, args.u32(1))?.readOnly === true ? 1 : 0),
  },
  // The kernel's function returns a u32.
  {
    name: "bpf_dynptr_size",
    call: (world, args) => BigInt((readDynptr(world, args.u32(1))?.size ?? -ERRNO.EINVAL) >>> 0),
  },
  {
    name: "bpf_dynptr_adjust",
    call(world, args) {
      const [address, start, end] = [args.u32(1), args.u32(2), args.u32(3)];
      const dynptr = readDynptr(world, address);
      if (dynptr === undefined || start > end) return -ERRNO.EINVAL;
      if (start > dynptr.size || end > dynptr.size) return -ERRNO.ERANGE;
      writeDynptr(world, address, { ...dynptr, offset: dynptr.offset + start, size: end - start });
      return 0;
    },
  },
  {
    name: "bpf_dynptr_clone",
    call(world, args) {
      const dynptr = readDynptr(world, args.u32(1));
      writeDynptr(world, args.u32(2), dynptr);
      return dynptr === undefined ? -ERRNO.EINVAL : 0;
    },
  },
  {
    name: "bpf_dynptr_copy",
    call(world, args) {
      const [to, toOffset, from, fromOffset] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
      const length = args.u32(5);
      const [target, source] = [readDynptr(world, to), readDynptr(world, from)];
      if (target === undefined || source === undefined || target.readOnly) return -ERRNO.EINVAL;
      const writeTo = locateDynptr(world, target, toOffset, length);
      const readFrom = locateDynptr(world, source, fromOffset, length);
      if (writeTo < 0) return writeTo;
      if (readFrom < 0) return readFrom;
      // Where both lie in several pieces, the kernel copies so much at a time: what overlaps shows it.
      const step = writeTo === 0 && readFrom === 0 ? COPY_STEP : length;
      for (let at = 0; at < length; at += step) {
        const size = Math.min(step, length - at);
        const { bytes } = bytesOf(world, source, fromOffset + at, size, readFrom);
        bytesOf(world, target, toOffset + at, size, writeTo).put(bytes);
      }
      return 0;
    },
  },
  {
    name: "bpf_dynptr_memset",
    call(world, args) {
      const dynptr = readDynptr(world, args.u32(1));
      const [offset, length] = [args.u32(2), args.u32(3)];
      if (dynptr === undefined || dynptr.readOnly) return -ERRNO.EINVAL;
      const address = locateDynptr(world, dynptr, offset, length);
      if (address < 0) return address;
      bytesOf(world, dynptr, offset, length, address).put(new Uint8Array(length).fill(args.u32(4)));
      return 0;
    },
  },
];
