/**
 * Strings that may lie anywhere (kernel/bpf/helpers.c of 6.18, from __bpf_strcasecmp on). A string is read byte by byte and no
 * further than the answer needs: -EFAULT where one cannot be read, -ERANGE for addresses that are none of the kernel's,
 * -E2BIG where the search comes to XATTR_SIZE_MAX.
 */
import { SPACE_USER } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { mayRead } from "../helpers/memory.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import type { HostKfunc } from "./types.ts";

/** linux/limits.h XATTR_SIZE_MAX. */
const LIMIT = 65536;
/** Bytes that are asked for at a time. */
const CHUNK = 256;
/** The lowest address of the kernel's half (core/assembly/helpers/probe.ts). */
const KERNEL_START = 0xffff800000000000n;

/** Ends a function that met an address that cannot be read. */
class Unreadable extends Error {}

/** The bytes of a string, as they are asked for. */
class Text {
  readonly #world: HelperWorld;
  readonly #start: bigint;
  #known = 0;

  constructor(world: HelperWorld, start: bigint) {
    this.#world = world;
    this.#start = start;
  }

  at(index: number): number {
    const { core, memory } = this.#world;
    if (index >= this.#known) {
      const from = this.#start + BigInt(index);
      const rest = CHUNK - (index % CHUNK);
      const length = mayRead(core, from, rest) ? rest : 1;
      if (!mayRead(core, from, length)) throw new Unreadable();
      this.#known = index + length;
    }
    return memory.u8[Number(this.#start) + index] as number;
  }
}

/** What is no address of the kernel: nothing of ours lies there, or something of a process (copy_from_kernel_nofault_allowed). */
const isForeign = ({ core }: HelperWorld, start: bigint): boolean =>
  start < KERNEL_START && (!mayRead(core, start, 1) || core.space_of(start) === SPACE_USER);

/** Runs a function over the strings in the first `count` registers. */
const over =
  (count: number, answer: (texts: readonly Text[], args: HelperArguments) => number): HostKfunc["call"] =>
  (world, args) => {
    const starts = Array.from({ length: count }, (_, index) => args.u64(index + 1));
    if (starts.some((start) => isForeign(world, start))) return -ERRNO.ERANGE;
    try {
      return answer(
        starts.map((start) => new Text(world, start)),
        args,
      );
    } catch (error) {
      if (error instanceof Unreadable) return -ERRNO.EFAULT;
      throw error;
    }
  };

type Letter = (byte: number) => number;
const same: Letter = (byte) => byte;
/** As lib/ctype.c has it: the capitals of Latin-1 too. */
const lower: Letter = (byte) =>
  (byte >= 0x41 && byte <= 0x5a) || (byte >= 0xc0 && byte <= 0xde && byte !== 0xd7) ? byte + 32 : byte;

function compare(a: Text, b: Text, letter: Letter): number {
  for (let at = 0; at < LIMIT; at++) {
    const [left, right] = [letter(a.at(at)), letter(b.at(at))];
    if (left !== right) return left < right ? -1 : 1;
    if (left === 0) return 0;
  }
  return -ERRNO.E2BIG;
}

/** A count of bytes in a register, no more than is ever looked at. */
const bound = (args: HelperArguments, register: number, most = LIMIT): number =>
  Number(args.u64(register) > BigInt(most) ? BigInt(most) : args.u64(register));

function length(text: Text, count: number): number {
  for (let at = 0; at < count; at++) if (text.at(at) === 0) return at;
  return count === LIMIT ? -ERRNO.E2BIG : count;
}

/** Where a byte is among the first `count`, the NUL that ends them included. */
function indexOf(text: Text, count: number, byte: number): number {
  for (let at = 0; at < count; at++) {
    const one = text.at(at);
    if (one === byte) return at;
    if (one === 0) return -ERRNO.ENOENT;
  }
  return count === LIMIT ? -ERRNO.E2BIG : -ERRNO.ENOENT;
}

function indexOrEnd(text: Text, byte: number): number {
  for (let at = 0; at < LIMIT; at++) {
    const one = text.at(at);
    if (one === byte || one === 0) return at;
  }
  return -ERRNO.E2BIG;
}

function lastIndexOf(text: Text, byte: number): number {
  let last = -ERRNO.ENOENT;
  for (let at = 0; at < LIMIT; at++) {
    const one = text.at(at);
    if (one === byte) last = at;
    if (one === 0) return last;
  }
  return -ERRNO.E2BIG;
}

/** How many bytes from the start are, or are not, among others. */
function span(text: Text, set: Text, among: boolean): number {
  for (let at = 0; at < LIMIT; at++) {
    const byte = text.at(at);
    if (byte === 0) return at;
    const found = indexOf(set, LIMIT, byte);
    if (found === -ERRNO.E2BIG) return found;
    if (found >= 0 !== among) return at;
  }
  return -ERRNO.E2BIG;
}

/** Where one string is in the first `count` bytes of another one. */
function search(text: Text, wanted: Text, count: number): number {
  for (let start = 0; start < LIMIT; start++) {
    let at = 0;
    for (; start + at < count && at < LIMIT; at++) {
      const letter = wanted.at(at);
      if (letter === 0) return start;
      const byte = text.at(start + at);
      if (byte === 0) return -ERRNO.ENOENT;
      if (byte !== letter) break;
    }
    if (at === LIMIT) return -ERRNO.E2BIG;
    if (start + at >= count) return wanted.at(at) === 0 ? start : -ERRNO.ENOENT;
  }
  return -ERRNO.E2BIG;
}

/** `char` arguments: the low byte. */
const letter = (args: HelperArguments, register: number): number => args.u32(register) & 255;

export const STRING_KFUNCS: readonly HostKfunc[] = [
  { name: "bpf_strcmp", call: over(2, ([a, b]) => compare(a as Text, b as Text, same)) },
  { name: "bpf_strcasecmp", call: over(2, ([a, b]) => compare(a as Text, b as Text, lower)) },
  { name: "bpf_strlen", call: over(1, ([text]) => length(text as Text, LIMIT)) },
  { name: "bpf_strnlen", call: over(1, ([text], args) => length(text as Text, bound(args, 2))) },
  { name: "bpf_strchr", call: over(1, ([text], args) => indexOf(text as Text, LIMIT, letter(args, 2))) },
  { name: "bpf_strchrnul", call: over(1, ([text], args) => indexOrEnd(text as Text, letter(args, 2))) },
  {
    name: "bpf_strnchr",
    call: over(1, ([text], args) => indexOf(text as Text, bound(args, 2), letter(args, 3))),
  },
  // Its letter is an int: what is none of a byte's is nowhere.
  { name: "bpf_strrchr", call: over(1, ([text], args) => lastIndexOf(text as Text, args.i32(2))) },
  { name: "bpf_strspn", call: over(2, ([text, set]) => span(text as Text, set as Text, true)) },
  { name: "bpf_strcspn", call: over(2, ([text, set]) => span(text as Text, set as Text, false)) },
  { name: "bpf_strstr", call: over(2, ([text, wanted]) => search(text as Text, wanted as Text, LIMIT)) },
  {
    name: "bpf_strnstr",
    call: over(2, ([text, wanted], args) =>
      // A place in one string and one in the other, together.
      search(text as Text, wanted as Text, bound(args, 3, 2 * LIMIT)),
    ),
  },
];
