/** Formats as programs write them and as they should not, with values for them: seeded, for comparisons with the kernel. */
import { parseFormat } from "../../src/uapi/index.ts";
import type { Random } from "../random/prng.ts";

const FLAGS = ["", "", "", "", "0", "-", "+", " ", "#", "-0", "+0", " -", "--", "'"];
const WIDTHS = ["", "", "", "", "1", "4", "8", "17", "30", "08", "*", "200", "1200", "70000"];
const PRECISIONS = ["", "", "", "", "", "", "", ".3", ".", ".*"];
const LENGTHS = ["", "", "", "l", "ll", "ll", "lll", "h", "hh", "z", "L"];
const CONVERSIONS = [..."dduuxxXXiiccssooqnfgEp%aB\\"];
const POINTERS = [
  "p",
  "px",
  "pK",
  "ps",
  "pS",
  "pB",
  "pks",
  "pus",
  "pi4",
  "pI4",
  "pi6",
  "pI6",
  "pM",
  "pI5",
  "pI4h",
  "pk",
  "pku",
  "pu",
  "pF",
  "pV",
  "pI",
  "pxx",
  "pi46",
  "pksx",
];
const TEXTS = ["", " ", ", ", "x", "[", "]", "value: ", "\n", "\t", "%%", "9", "_", "%", "\\", "a%%b"];
const FOREIGN = ["\u0001", "\u007f", "\u0080", "\u00a0", "\u00e4", "\u00ff", "\u001b"];

/** A format, one byte a character; `wrong` is how much of it is not as it should be. */
export function randomFormat(random: Random, wrong = 0.08): string {
  const among = (items: readonly string[], right: number): string =>
    random.pick(items.slice(0, random.chance(wrong) ? items.length : right));
  const conversion = (): string => {
    if (random.chance(0.4)) return among(POINTERS, 12);
    if (random.chance(wrong)) return random.pick(LENGTHS) + random.pick(CONVERSIONS);
    return random.pick(["d", "u", "x", "X", "i", "c", "s", "ld", "lu", "lld", "llu", "llx", "lX", "s"]);
  };
  const piece = (): string => {
    if (random.chance(0.5)) return random.pick(random.chance(wrong / 2) ? FOREIGN : TEXTS);
    return `%${among(FLAGS, 8)}${among(WIDTHS, 9)}${among(PRECISIONS, 1)}${conversion()}`;
  };
  return Array.from({ length: random.between(0, 14) }, piece).join("");
}

/** A value for a specifier: a number, or a place in a text of 64 bytes. */
export interface FormatValue {
  readonly value: bigint;
  readonly inText: boolean;
}

const NUMBERS = [0n, 1n, 65n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 1n << 63n, (1n << 64n) - 1n];
/** NULL and errors: what the kernel prints of other addresses with %p is random, and with a width of a random length. */
const NO_ADDRESSES = [0n, (1n << 64n) - 1n, (1n << 64n) - 4095n];

/** Values for the specifiers of a format, and more behind them. */
export function randomValues(random: Random, format: string, count: number): FormatValue[] {
  const specifiers = parseFormat(format, count).parts.filter((part) => typeof part !== "string");
  return Array.from({ length: count }, (_, at): FormatValue => {
    const { conversion = "d", width = -1 } = specifiers[at] ?? {};
    const reads = /^([ku]?s|[iI][46])$/.test(conversion);
    if (reads && random.chance(0.7)) return { value: BigInt(random.below(64)), inText: true };
    const numbers = conversion === "address" && width !== -1 ? NO_ADDRESSES : [...NUMBERS, random.u64()];
    return { value: random.pick(numbers), inText: false };
  });
}

export const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));
