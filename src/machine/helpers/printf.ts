/**
 * The format language of bpf_trace_printk and its kin, by the rules of the kernel (kernel/bpf/helpers.c,
 * bpf_bprintf_prepare; lib/vsprintf.c): `%[flags][width]` with d i u x X (each also l and ll), c, s, p, pks, pus, pB, px, pK,
 * ps, pS, pi4 pI4 pi6 pI6, and `%%`. Anything else makes the whole call fail with -EINVAL and print nothing.
 *
 * `%p` and `%pK` print the address itself: the kernel hides it behind a random number.
 */
import { ERRNO } from "../../uapi/index.ts";

/** What the formatter reads: 64-bit arguments in order, and strings and bytes at addresses. */
export interface FormatSource {
  readonly arguments: readonly bigint[];
  /** Bytes at an address up to, not including, a NUL, less than `limit`; undefined if they cannot be read. */
  string(address: bigint, limit: number): Uint8Array | undefined;
  /** undefined if they cannot be read. */
  bytes(address: bigint, length: number): Uint8Array | undefined;
  /** `name`, or `name+0x10/0x40` with the offset; undefined for addresses that no symbol covers. */
  symbol?(address: bigint, withOffset: boolean): string | undefined;
}

const SPECIFIER =
  /^(?<flags>[0+\- ]*)(?<width>[1-9][0-9]*)?(?:(?<pointer>p)(?<kind>[ku]s(?=[^A-Za-z0-9]|$)|[iI][46]|[KxsSB]|(?=[^A-Za-z0-9]|$))|(?<string>s)(?=[^A-Za-z0-9]|$)|(?<char>c)|(?<long>l{0,2})(?<integer>[diuxX]))/;

/** linux/bpf.h MAX_BPRINTF_BIN_ARGS: what all copied arguments of a call may take. */
const ARGUMENT_BYTES = 512;

const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/**
 * The text, each byte as a character, or -EINVAL or -ENOSPC.
 *
 * @example
 * formatTrace("pid %d\n", { arguments: [42n], ... }); // "pid 42\n"
 */
export function formatTrace(format: string, source: FormatSource): string | number {
  let out = "";
  let argument = 0;
  let room = ARGUMENT_BYTES;
  for (let at = 0; at < format.length; at++) {
    const char = format[at] as string;
    if (!/[\t-\r -~\u0080-\u00ff]/.test(char)) return -ERRNO.EINVAL;
    if (char !== "%") {
      out += char;
      continue;
    }
    if (format[at + 1] === "%") {
      out += "%";
      at++;
      continue;
    }
    const match = SPECIFIER.exec(format.slice(at + 1));
    const value = source.arguments[argument++];
    if (match === null || value === undefined) return -ERRNO.EINVAL;
    const { flags = "", width = "0", kind = "", string, char: one, long = "", integer } = match.groups ?? {};
    let text: string;
    if (integer !== undefined) {
      room = (room & ~3) - (long === "" ? 4 : 8);
      text = formatInteger(value, integer, long === "" ? 32 : 64, flags);
    } else if (one !== undefined) {
      room -= 1;
      text = latin1(Uint8Array.of(Number(value & 0xffn)));
    } else if (string !== undefined || kind === "ks" || kind === "us") {
      if (room <= 0) return -ERRNO.ENOSPC;
      const bytes = source.string(value, room) ?? new Uint8Array(0);
      room -= bytes.length + 1;
      text = latin1(bytes);
    } else if (/^[iI]/.test(kind)) {
      const length = kind.endsWith("4") ? 4 : 16;
      text = formatAddress(source.bytes(value, length) ?? new Uint8Array(length), kind);
      room -= text.length + 1;
    } else if (kind === "s" || kind === "S" || kind === "B") {
      text = source.symbol?.(value, kind !== "s") ?? `0x${value.toString(16)}`;
      room = kind === "B" ? room - text.length - 1 : (room & ~3) - 8;
    } else {
      room = (room & ~3) - 8;
      text = value.toString(16).padStart(16, "0");
    }
    if (room < 0) return -ERRNO.ENOSPC;
    out += pad(text, flags, Number(width), integer !== undefined);
    at += match[0].length;
  }
  return out;
}

function formatInteger(value: bigint, conversion: string, bits: number, flags: string): string {
  if (conversion === "d" || conversion === "i") {
    const signed = BigInt.asIntN(bits, value);
    const plus = signed < 0n ? "" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
    return plus + signed.toString();
  }
  const unsigned = BigInt.asUintN(bits, value);
  if (conversion === "u") return unsigned.toString();
  return conversion === "x" ? unsigned.toString(16) : unsigned.toString(16).toUpperCase();
}

function pad(text: string, flags: string, width: number, number: boolean): string {
  if (flags.includes("-")) return text.padEnd(width);
  if (!number || !flags.includes("0")) return text.padStart(width);
  const sign = /^[+\- ]/.test(text) ? (text[0] as string) : "";
  return sign + text.slice(sign.length).padStart(width - sign.length, "0");
}

/** %pI4 and %pi4 differ in leading zeros, %pI6 and %pi6 in colons (Documentation/core-api/printk-formats.rst). */
function formatAddress(bytes: Uint8Array, kind: string): string {
  if (kind === "I4") return bytes.join(".");
  if (kind === "i4") return [...bytes].map((byte) => String(byte).padStart(3, "0")).join(".");
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((bytes[2 * index] as number) << 8) | (bytes[2 * index + 1] as number)).toString(16).padStart(4, "0"),
  );
  return groups.join(kind === "I6" ? ":" : "");
}
