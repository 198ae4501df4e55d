/** Numbers in texts, and comparison (kernel/bpf/helpers.c, lib/kstrtox.c, lib/string.c). */
import { ERRNO } from "../../uapi/index.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

const BASES: readonly bigint[] = [0n, 8n, 10n, 16n];
/** Space as lib/ctype.c has it: that of Latin-1 too. */
const SPACES: readonly number[] = [9, 10, 11, 12, 13, 32, 160];
const MINUS = 0x2d;
/** The kernel copies the digits into a buffer of 64 bytes. */
const MAX_DIGITS = 63;

interface Parsed {
  readonly value: bigint;
  readonly negative: boolean;
  /** Bytes that were read. */
  readonly consumed: number;
}

function digitOf(byte: number | undefined): number {
  const digit = byte === undefined ? Number.NaN : Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(digit) ? 16 : digit;
}

/** An errno, negated, where there is no number. */
function parse(bytes: Uint8Array, flags: bigint): Parsed | number {
  let base = Number(flags & 31n);
  if (bytes.length === 0 || !BASES.includes(flags)) return -ERRNO.EINVAL;
  let at = 0;
  while (at < bytes.length && SPACES.includes(bytes[at] as number)) at++;
  const negative = bytes[at] === MINUS;
  if (negative) at++;
  const digits = bytes.subarray(at, at + MAX_DIGITS);
  if (digits.length === 0) return -ERRNO.EINVAL;
  const hex = digits[0] === 0x30 && ((digits[1] ?? 0) | 0x20) === 0x78;
  if (base === 0) base = digits[0] !== 0x30 ? 10 : hex && digitOf(digits[2]) < 16 ? 16 : 8;
  const start = base === 16 && hex ? 2 : 0;
  let value = 0n;
  let end = start;
  for (; digitOf(digits[end]) < base; end++) value = value * BigInt(base) + BigInt(digitOf(digits[end]));
  if (value >= 1n << 64n) return -ERRNO.ERANGE;
  if (end === start) return -ERRNO.EINVAL;
  return { value, negative, consumed: at + end };
}

function convert(
  { memory }: HelperWorld,
  args: HelperArguments,
  finish: (parsed: Parsed) => bigint | number,
): number {
  const result = args.u32(4);
  memory.setU64(result, 0n);
  const parsed = parse(memory.read(args.u32(1), args.u32(2)), args.u64(3));
  if (typeof parsed === "number") return parsed;
  const value = finish(parsed);
  if (typeof value === "number") return value;
  memory.setU64(result, BigInt.asUintN(64, value));
  return parsed.consumed;
}

const LIMIT = 1n << 63n;

export const STRINGS: readonly HostHelper[] = [
  {
    name: "strtol",
    args: 4,
    call: (world, args) =>
      convert(world, args, ({ value, negative }) => {
        if (value > LIMIT || (value === LIMIT && !negative)) return -ERRNO.ERANGE;
        return negative ? -value : value;
      }),
  },
  {
    name: "strtoul",
    args: 4,
    call: (world, args) => convert(world, args, ({ value, negative }) => (negative ? -ERRNO.EINVAL : value)),
  },
  {
    name: "strncmp",
    args: 3,
    call({ memory: { u8 } }, args) {
      const [a, length, b] = [args.u32(1), args.u32(2), args.u32(3)];
      for (let at = 0; at < length; at++) {
        const [left = 0, right = 0] = [u8[a + at], u8[b + at]];
        if (left !== right) return left < right ? -1 : 1;
        if (left === 0) return 0;
      }
      return 0;
    },
  },
];
