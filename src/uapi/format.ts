/**
 * The format language of bpf_trace_printk, bpf_snprintf and their kin (kernel/bpf/helpers.c, bpf_bprintf_prepare; lib/vsprintf.c):
 * `%[flags][width]` with d i u x X (each also l and ll), c, s, p, pks, pus, px, pK, ps, pS, pB, pi4 pI4 pi6 pI6, and `%%`.
 * A format is text of one byte a character, without the NUL that ends it.
 */

/** What a specifier prints: a number, a byte, a string, or an address and what is there. */
export type Conversion =
  | "d"
  | "u"
  | "x"
  | "X"
  | "c"
  | "s"
  | "ks"
  | "us"
  | "address"
  | "symbol"
  | "symbol+offset"
  | "caller"
  | "i4"
  | "I4"
  | "i6"
  | "I6";

export interface Specifier {
  readonly conversion: Conversion;
  /** Of a number: bits. */
  readonly bits: 32 | 64;
  /** Of "0", "+", "-" and " ". */
  readonly flags: string;
  /** -1 if there is none. It is a number of 32 bits, whatever stands in the text. */
  readonly width: number;
}

export interface Format {
  /** Up to where something is wrong. */
  readonly parts: readonly (string | Specifier)[];
  readonly valid: boolean;
}

const POINTERS: Readonly<Record<string, Conversion>> = {
  ks: "ks",
  us: "us",
  K: "address",
  x: "address",
  s: "symbol",
  S: "symbol+offset",
  B: "caller",
  i4: "i4",
  I4: "I4",
  i6: "i6",
  I6: "I6",
};
const NUMBERS: Readonly<Record<string, Conversion>> = { d: "d", i: "d", u: "u", x: "x", X: "X" };

// As lib/ctype.c has them, with Latin-1.
const SPACE = /[\t-\r \u00a0]/;
const PUNCTUATION = /[!-/:-@[-`{-~\u00a1-\u00bf\u00d7\u00f7]/;
const LETTERS_AND_DIGITS = /^[0-9A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff]*/;
/** Plain text: no control characters of ASCII. */
const PLAIN = /[\t-\r -~\u0080-\u00ff]/;
const FRONT = /^([0+\- ]*)([1-9][0-9]*)?(?:(p)|(s)|(c)|(l{0,2})([diuxX]))/;
const POINTER = /^(?:[ku]s|[KxsSB]|[iI][46])/;

const ends = (next: string): boolean => next === "" || SPACE.test(next) || PUNCTUATION.test(next);
const widthOf = (digits: string | undefined): number =>
  digits === undefined ? -1 : [...digits].reduce((sum, digit) => (Math.imul(sum, 10) + Number(digit)) | 0, 0);

/** The specifier behind a percent sign and how many characters it takes, those that are swallowed included. */
function specifierAt(rest: string): { readonly specifier: Specifier; readonly length: number } | undefined {
  const [front, flags = "", digits, pointer, string, char, long = "", integer = ""] = FRONT.exec(rest) ?? [];
  if (front === undefined) return undefined;
  const width = widthOf(digits);
  const behind = rest.slice(front.length);
  const done = (conversion: Conversion, length: number, bits: 32 | 64 = 64) => ({
    specifier: { conversion, bits, flags, width },
    length,
  });
  if (string !== undefined) return ends(behind.slice(0, 1)) ? done("s", front.length) : undefined;
  if (char !== undefined) return done("c", front.length);
  if (pointer === undefined) return done(NUMBERS[integer] as Conversion, front.length, long === "" ? 32 : 64);
  if (ends(behind.slice(0, 1))) return done("address", front.length);
  const kind = POINTER.exec(behind)?.[0] ?? "";
  const conversion = POINTERS[kind];
  if (conversion === undefined) return undefined;
  const text = kind === "ks" || kind === "us";
  if (text && !ends(behind.slice(2, 3))) return undefined;
  // Letters and digits right behind a pointer are taken for a part of it, and do not come out.
  const swallowed = (LETTERS_AND_DIGITS.exec(behind) as RegExpExecArray)[0].length;
  return done(conversion, front.length + Math.max(kind.length, swallowed));
}

/**
 * What a format says; that it has more specifiers than there are arguments makes it wrong too.
 *
 * @example
 * parseFormat("pid %d\n", 1); // { valid: true, parts: ["pid ", { conversion: "d", bits: 32, flags: "", width: -1 }, "\n"] }
 */
export function parseFormat(text: string, argumentCount: number): Format {
  const parts: (string | Specifier)[] = [];
  let used = 0;
  let plain = "";
  const flush = (): void => {
    if (plain !== "") parts.push(plain);
    plain = "";
  };
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (!PLAIN.test(character)) return { parts, valid: false };
    if (character !== "%" || text[at + 1] === "%") {
      plain += character;
      if (character === "%") at++;
      continue;
    }
    flush();
    const found = used++ < argumentCount ? specifierAt(text.slice(at + 1)) : undefined;
    if (found === undefined) return { parts, valid: false };
    parts.push(found.specifier);
    at += found.length;
  }
  flush();
  return { parts, valid: true };
}
