/**
 * Formats filled in, in the kernel's two steps. First (kernel/bpf/helpers.c, bpf_bprintf_prepare) the arguments are copied into a
 * buffer of 512 bytes: numbers, texts, and of addresses with something behind them what is printed of it. Then (lib/vsprintf.c,
 * bstr_printf) the text is put together from it. That it takes two steps can be seen: what is already text is not widened, arguments that do
 * not fit are -ENOSPC, and a text that has no room in the output at all is left in the buffer, for the next specifier to read.
 *
 * `%p` and `%pK` print the address itself: the kernel hides it behind a random number.
 */
import { ERRNO, type Specifier, parseFormat } from "../../uapi/index.ts";

/** What the formatter reads: 64-bit arguments in order, and strings and bytes at addresses. */
export interface FormatSource {
  readonly arguments: readonly bigint[];
  /** Bytes at an address up to, not including, a NUL, less than `limit`; undefined if they cannot be read. */
  string(address: bigint, limit: number, of: "s" | "ks" | "us"): Uint8Array | undefined;
  /** undefined if they cannot be read. */
  bytes(address: bigint, length: number): Uint8Array | undefined;
  /**
   * `name`, or `name+0x10/0x40` with the offset; undefined for addresses that no symbol covers. `back` bytes before the address are looked
   * for, and count in the offset: where a call returns to can be the next function's beginning.
   */
  symbol?(address: bigint, withOffset: boolean, back?: bigint): string | undefined;
}

/** linux/bpf.h MAX_BPRINTF_BIN_ARGS: what all copied arguments of a call may take. */
const ARGUMENT_BYTES = 512;
/** linux/bpf.h MAX_BPRINTF_BUF: what bpf_trace_printk prints of a text, its NUL included. */
export const PRINT_BYTES = 1024;

/** A text as far as there was room, and how long it would be. */
export interface FilledFormat {
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** The number of bytes that a specifier's argument is copied as; 0 of texts, which take what they need. */
const sizeOf = ({ conversion, bits }: Specifier): 0 | 1 | 4 | 8 => {
  if (conversion === "c") return 1;
  if (conversion === "address" || conversion === "symbol" || conversion === "symbol+offset") return 8;
  return "duxX".includes(conversion) ? (bits === 32 ? 4 : 8) : 0;
};

const align = (at: number, size: number): number => (size === 1 ? at : (at + 3) & ~3);
const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));
const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** The text that stands for an argument with something behind it. */
function textOf({ conversion }: Specifier, value: bigint, room: number, source: FormatSource): Uint8Array {
  switch (conversion) {
    case "s":
    case "ks":
    case "us":
      return source.string(value, room, conversion) ?? new Uint8Array(0);
    case "caller":
      return latin1(source.symbol?.(value, true, 1n) ?? hex(value)).subarray(0, room - 1);
    default: {
      const length = conversion.endsWith("4") ? 4 : 16;
      const bytes = source.bytes(value, length) ?? new Uint8Array(length);
      return latin1(formatAddress(bytes, conversion)).subarray(0, room - 1);
    }
  }
}

/** The first step; -ENOSPC if the arguments are too many. */
function copyArguments(parts: readonly (string | Specifier)[], source: FormatSource): Uint8Array | number {
  const buffer = new Uint8Array(ARGUMENT_BYTES);
  const view = new DataView(buffer.buffer);
  let end = 0;
  let argument = 0;
  for (const part of parts) {
    if (typeof part === "string") continue;
    const value = source.arguments[argument++] as bigint;
    const size = sizeOf(part);
    end = align(end, size === 0 ? 1 : size);
    const least =
      size === 0 ? (part.conversion.endsWith("4") ? 4 : part.conversion.endsWith("6") ? 16 : 1) : size;
    if (ARGUMENT_BYTES - end < least) return -ERRNO.ENOSPC;
    if (size === 1) buffer[end] = Number(value & 0xffn);
    else if (size === 4) view.setUint32(end, Number(value & 0xffffffffn), true);
    else if (size === 8) view.setBigUint64(end, value, true);
    else {
      const text = textOf(part, value, ARGUMENT_BYTES - end, source);
      buffer.set(text, end);
      end += text.length + 1;
    }
    end += size;
  }
  return buffer;
}

/** What is put out, of which only the beginning is kept: a width may be two thousand million. */
class Output {
  readonly #size: number;
  readonly #bytes: Uint8Array;
  length = 0;

  constructor(size: number) {
    this.#size = size;
    this.#bytes = new Uint8Array(Math.max(0, size - 1));
  }

  /** Whether anything more has a place, be it the one where the NUL will be. */
  get full(): boolean {
    return this.length >= this.#size;
  }

  put(bytes: Uint8Array): void {
    const room = this.#bytes.length - this.length;
    if (room > 0) this.#bytes.set(bytes.subarray(0, room), this.length);
    this.length += bytes.length;
  }

  fill(byte: number, count: number): void {
    if (count <= 0) return;
    this.#bytes.fill(byte, this.length, this.length + count);
    this.length += count;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

const BLANK = 32;
const ZERO = 48;

function widen(out: Output, text: Uint8Array, { flags, width }: Specifier): void {
  const left = flags.includes("-");
  if (!left) out.fill(BLANK, width - text.length);
  out.put(text);
  if (left) out.fill(BLANK, width - text.length);
}

function putNumber(out: Output, value: bigint, specifier: Specifier): void {
  const { flags, conversion, bits } = specifier;
  const signed = conversion === "d" ? BigInt.asIntN(bits, value) : value;
  const plus = conversion !== "d" ? "" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
  const sign = signed < 0n ? "-" : plus;
  const digits = (signed < 0n ? -signed : signed).toString("du".includes(conversion) ? 10 : 16);
  const text = latin1(conversion === "X" ? digits.toUpperCase() : digits);
  const address = conversion === "address" && specifier.width === -1;
  const width = address ? 16 : specifier.width;
  if (flags.includes("-") || !(flags.includes("0") || address)) {
    widen(out, Uint8Array.of(...latin1(sign), ...text), { ...specifier, width });
    return;
  }
  out.put(latin1(sign));
  out.fill(ZERO, width - sign.length - text.length);
  out.put(text);
}

/** The second step. */
function putTogether(
  parts: readonly (string | Specifier)[],
  buffer: Uint8Array,
  size: number,
  source: FormatSource,
): FilledFormat {
  const out = new Output(size);
  const view = new DataView(buffer.buffer);
  let at = 0;
  const textAt = (): Uint8Array => {
    const nul = buffer.indexOf(0, at);
    return buffer.subarray(at, nul < 0 ? buffer.length : nul);
  };
  for (const part of parts) {
    if (typeof part === "string") {
      out.put(latin1(part));
      continue;
    }
    const bytes = sizeOf(part);
    if (bytes === 0) {
      const text = textAt();
      const already = part.conversion !== "s";
      if (already && out.full) continue;
      if (already) out.put(text);
      else widen(out, text, part);
      at += text.length + 1;
      continue;
    }
    at = align(at, bytes);
    const from = Math.min(at, buffer.length - bytes);
    at += bytes;
    if (bytes === 1) widen(out, buffer.subarray(from, from + 1), part);
    else {
      const value = bytes === 4 ? BigInt(view.getUint32(from, true)) : view.getBigUint64(from, true);
      if (part.conversion === "symbol" || part.conversion === "symbol+offset")
        widen(out, latin1(source.symbol?.(value, part.conversion !== "symbol") ?? hex(value)), part);
      else putNumber(out, value, part);
    }
  }
  return { bytes: out.bytes(), length: out.length };
}

/**
 * The text, or -EINVAL or -ENOSPC.
 *
 * @param size of the place for the text, its NUL included
 * @example
 * fillFormat("pid %d\n", 1024, { arguments: [42n], ... }); // { bytes: "pid 42\n", length: 7 }
 */
export function fillFormat(format: string, size: number, source: FormatSource): FilledFormat | number {
  const { parts, valid } = parseFormat(format, source.arguments.length);
  const copied = copyArguments(parts, source);
  if (typeof copied === "number") return copied;
  return valid ? putTogether(parts, copied, size, source) : -ERRNO.EINVAL;
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
