/** Strings that may lie anywhere (kernel/bpf/helpers.c): -EFAULT where they cannot be read, -E2BIG where they do not end. */
import { ERRNO } from "../../uapi/index.ts";
import { inMemory } from "../helpers/memory.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import type { HostKfunc } from "./types.ts";

// linux/limits.h XATTR_SIZE_MAX bounds how far the kernel reads.
const LIMIT = 65536;

/** Up to a NUL or `limit` bytes; an errno, negated, if there is neither. */
function text(
  { memory }: HelperWorld,
  args: HelperArguments,
  register: number,
  limit = LIMIT,
): Uint8Array | number {
  const address = args.u64(register);
  if (limit === 0) return new Uint8Array(0);
  if (!inMemory(memory, address, 1)) return -ERRNO.EFAULT;
  const bytes = memory.u8.subarray(Number(address), Number(address) + Math.min(limit, LIMIT));
  const nul = bytes.indexOf(0);
  if (nul >= 0) return bytes.slice(0, nul);
  if (limit < LIMIT) return bytes.length === limit ? bytes.slice() : -ERRNO.EFAULT;
  return bytes.length === LIMIT ? -ERRNO.E2BIG : -ERRNO.EFAULT;
}

type Texts = readonly [Uint8Array, Uint8Array];

function both(world: HelperWorld, args: HelperArguments, answer: (texts: Texts) => number): number {
  const a = text(world, args, 1);
  if (typeof a === "number") return a;
  const b = text(world, args, 2);
  return typeof b === "number" ? b : answer([a, b]);
}

function one(
  world: HelperWorld,
  args: HelperArguments,
  answer: (bytes: Uint8Array) => number,
  limit?: number,
): number {
  const bytes = text(world, args, 1, limit);
  return typeof bytes === "number" ? bytes : answer(bytes);
}

const found = (index: number): number => (index < 0 ? -ERRNO.ENOENT : index);

/** Index of a byte in a text and the NUL behind it. */
const indexOf = (bytes: Uint8Array, byte: number): number =>
  byte === 0 ? bytes.length : bytes.indexOf(byte);

function compare([a, b]: Texts, map: (byte: number) => number): number {
  for (let at = 0; ; at++) {
    const [left, right] = [map(a[at] ?? 0), map(b[at] ?? 0)];
    if (left !== right) return left < right ? -1 : 1;
    if (left === 0) return 0;
  }
}

const lower = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte);

/** How many bytes from the start are, or are not, among others. */
function span([bytes, set]: Texts, among: boolean): number {
  const end = bytes.findIndex((byte) => set.includes(byte) !== among);
  return end < 0 ? bytes.length : end;
}

function search([bytes, wanted]: Texts): number {
  for (let at = 0; at + wanted.length <= bytes.length; at++) {
    if (wanted.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -ERRNO.ENOENT;
}

const size = (args: HelperArguments, register: number): number =>
  Number(args.u64(register) > BigInt(LIMIT) ? BigInt(LIMIT) : args.u64(register));

export const STRING_KFUNCS: readonly HostKfunc[] = [
  { name: "bpf_strcmp", call: (world, args) => both(world, args, (texts) => compare(texts, (byte) => byte)) },
  { name: "bpf_strcasecmp", call: (world, args) => both(world, args, (texts) => compare(texts, lower)) },
  { name: "bpf_strlen", call: (world, args) => one(world, args, ({ length }) => length) },
  {
    name: "bpf_strnlen",
    call: (world, args) => one(world, args, ({ length }) => length, size(args, 2)),
  },
  {
    name: "bpf_strchr",
    call: (world, args) => one(world, args, (bytes) => found(indexOf(bytes, args.u32(2) & 255))),
  },
  {
    name: "bpf_strchrnul",
    call: (world, args) =>
      one(world, args, (bytes) => {
        const index = indexOf(bytes, args.u32(2) & 255);
        return index < 0 ? bytes.length : index;
      }),
  },
  {
    name: "bpf_strnchr",
    call(world, args) {
      const limit = size(args, 2);
      const byte = args.u32(3) & 255;
      return one(
        world,
        args,
        (bytes) => (byte === 0 && bytes.length === limit ? -ERRNO.ENOENT : found(indexOf(bytes, byte))),
        limit,
      );
    },
  },
  {
    name: "bpf_strrchr",
    call: (world, args) =>
      one(world, args, (bytes) => {
        const byte = args.u32(2) & 255;
        return found(byte === 0 ? bytes.length : bytes.lastIndexOf(byte));
      }),
  },
  { name: "bpf_strspn", call: (world, args) => both(world, args, (texts) => span(texts, true)) },
  { name: "bpf_strcspn", call: (world, args) => both(world, args, (texts) => span(texts, false)) },
  { name: "bpf_strstr", call: (world, args) => both(world, args, search) },
  {
    name: "bpf_strnstr",
    call(world, args) {
      const bytes = text(world, args, 1, size(args, 3));
      if (typeof bytes === "number") return bytes;
      const wanted = text(world, args, 2);
      return typeof wanted === "number" ? wanted : search([bytes, wanted]);
    },
  },
];
