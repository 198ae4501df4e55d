import { type Position, asmError } from "./diagnostic.ts";
import { type ListingEvent, readListingLine } from "./listing.ts";

/** One token. Punctuation comes one character at a time, so that `s>>=` and `s > > =` are the same. */
export interface Token extends Position {
  readonly kind: "name" | "number" | "string" | "punctuation" | "end";
  /** As written; of strings the content with escapes resolved, one character for each byte. */
  readonly text: string;
  /** Of numbers. */
  readonly value: bigint;
  /** Whether white space stands before it. */
  readonly spaced: boolean;
}

/** What differs between the dialects before grammar begins. */
export interface LexerRules {
  /** `;` ends a statement, or begins a comment. */
  readonly semicolon: "separator" | "comment";
  /** Registers may carry a `%`, which is dropped. */
  readonly percentRegisters: boolean;
  /** A leading 0 means base 8. */
  readonly octal: boolean;
}

/** A piece of the text: tokens, of which the last has kind "end", or a line that only a disassembler prints. */
export type Statement =
  | { readonly tokens: readonly Token[]; readonly event?: undefined }
  | { readonly event: ListingEvent; readonly position: Position };

const MAX_LINE_LENGTH = 1 << 20;

const isSpace = (code: number): boolean => code === 32 || code === 9 || code === 13;
const isDigit = (code: number): boolean => code >= 48 && code <= 57;
/** Letters, `_`, `.`, `$`, `@` and everything beyond ASCII: what a symbol's name may begin with. */
const isNameStart = (code: number): boolean =>
  (code >= 97 && code <= 122) ||
  (code >= 65 && code <= 90) ||
  code === 95 ||
  code === 46 ||
  code === 36 ||
  code === 64 ||
  code >= 128;

/** Cuts text into statements: a live position in the text, which `next` moves on. */
export class Lexer {
  readonly #text: string;
  readonly #rules: LexerRules;
  #at = 0;
  #line = 1;
  #lineStart = 0;
  /** Whether a line that only a disassembler prints was seen; from then on `;` at a line's start is source text. */
  #listing = false;

  constructor(text: string, rules: LexerRules) {
    this.#text = text;
    this.#rules = rules;
  }

  /** The next statement, or undefined at the end. After an error, the next call goes on behind the faulty line. */
  next(): Statement | undefined {
    const text = this.#text;
    while (this.#at < text.length) {
      if (this.#at === this.#lineStart) {
        const statement = this.#listingLine();
        if (statement !== undefined) return statement;
        if (this.#at >= text.length) return undefined;
      }
      const tokens = this.#statement();
      if (tokens.length > 1) return { tokens };
    }
    return undefined;
  }

  #listingLine(): Statement | undefined {
    for (;;) {
      const start = this.#at;
      let end = this.#text.indexOf("\n", start);
      if (end < 0) end = this.#text.length;
      if (end - start > MAX_LINE_LENGTH) {
        const position = this.#position(start);
        this.#skipLine();
        throw asmError(position, `the line has ${end - start} characters, more than ${MAX_LINE_LENGTH}`);
      }
      if (this.#listing && this.#text[start] === ";") {
        this.#newLine(end);
        if (this.#at >= this.#text.length) return undefined;
        continue;
      }
      const found = readListingLine(this.#text, start, end);
      if (found === undefined) return undefined;
      this.#listing = true;
      const position = this.#position(start);
      if (found.event.kind === "slot") this.#at = found.end;
      else this.#newLine(end);
      return { event: found.event, position };
    }
  }

  #position(at: number): Position {
    return { line: this.#line, column: at - this.#lineStart + 1 };
  }

  #newLine(end: number): void {
    this.#at = Math.min(end + 1, this.#text.length);
    this.#line++;
    this.#lineStart = this.#at;
  }

  #skipLine(): void {
    const end = this.#text.indexOf("\n", this.#at);
    this.#newLine(end < 0 ? this.#text.length : end);
  }

  /** The tokens up to the end of the line or a separator. */
  #statement(): Token[] {
    const text = this.#text;
    const tokens: Token[] = [];
    let spaced = false;
    for (;;) {
      const at = this.#at;
      const code = at < text.length ? text.charCodeAt(at) : 10;
      if (code === 10) {
        tokens.push(this.#token("end", at, "", spaced));
        this.#newLine(at);
        return tokens;
      }
      if (isSpace(code)) {
        this.#at++;
        spaced = true;
        continue;
      }
      const following = text.charCodeAt(at + 1);
      if (
        code === 35 ||
        (code === 47 && following === 47) ||
        (code === 59 && this.#rules.semicolon === "comment")
      ) {
        const end = text.indexOf("\n", at);
        this.#at = end < 0 ? text.length : end;
        continue;
      }
      if (code === 59) {
        tokens.push(this.#token("end", at, ";", spaced));
        this.#at++;
        return tokens;
      }
      if (code === 47 && following === 42) {
        this.#blockComment();
        spaced = true;
        continue;
      }
      tokens.push(this.#read(code, at, spaced));
      spaced = false;
    }
  }

  #token(kind: Token["kind"], at: number, text: string, spaced: boolean, value = 0n): Token {
    return { kind, text, value, spaced, line: this.#line, column: at - this.#lineStart + 1 };
  }

  #blockComment(): void {
    const position = this.#position(this.#at);
    const end = this.#text.indexOf("*/", this.#at + 2);
    if (end < 0) {
      this.#at = this.#lineStart = this.#text.length;
      throw asmError(position, "the comment does not end");
    }
    for (;;) {
      const newLine = this.#text.indexOf("\n", this.#at);
      if (newLine < 0 || newLine > end) break;
      this.#newLine(newLine);
    }
    this.#at = end + 2;
  }

  #read(code: number, at: number, spaced: boolean): Token {
    if (isNameStart(code)) return this.#name(at, at, spaced);
    if (isDigit(code)) return this.#number(at, spaced);
    if (code === 34) return this.#quoted(at, 34, spaced);
    if (code === 39) {
      const { text: character } = this.#quoted(at, 39, spaced);
      if (character.length !== 1) {
        const position = this.#position(at);
        this.#skipLine();
        throw asmError(position, "a character constant holds one character");
      }
      return this.#token("number", at, `'${character}'`, spaced, BigInt(character.charCodeAt(0)));
    }
    if (code === 37 && this.#rules.percentRegisters && isNameStart(this.#text.charCodeAt(at + 1))) {
      return this.#name(at, at + 1, spaced);
    }
    this.#at++;
    return this.#token("punctuation", at, this.#text[at] as string, spaced);
  }

  #name(at: number, from: number, spaced: boolean): Token {
    let end = from + 1;
    for (; end < this.#text.length; end++) {
      const code = this.#text.charCodeAt(end);
      if (!isNameStart(code) && !isDigit(code)) break;
    }
    this.#at = end;
    return this.#token("name", at, this.#text.slice(from, end), spaced);
  }

  #number(at: number, spaced: boolean): Token {
    return this.#plainNumber(at, spaced) ?? this.#otherNumber(at, spaced);
  }

  /** Nearly all numbers are short, and decimal or hexadecimal; this is twice as fast for the whole assembler. */
  #plainNumber(at: number, spaced: boolean): Token | undefined {
    const text = this.#text;
    const isHexadecimal = text.charCodeAt(at) === 48 && text.charCodeAt(at + 1) === 120;
    const start = isHexadecimal ? at + 2 : at;
    let value = 0;
    let end = start;
    for (; end < start + 13; end++) {
      const code = text.charCodeAt(end);
      if (isDigit(code)) value = value * (isHexadecimal ? 16 : 10) + code - 48;
      else if (isHexadecimal && code >= 97 && code <= 102) value = value * 16 + code - 87;
      else break;
    }
    const following = end < text.length ? text.charCodeAt(end) : 32;
    const isWhole = end > start && !isDigit(following) && !isNameStart(following);
    if (!isWhole || (!isHexadecimal && text.charCodeAt(at) === 48 && end > at + 1)) return undefined;
    this.#at = end;
    return this.#token("number", at, text.slice(at, end), spaced, BigInt(value));
  }

  /**
   * Numbers as LLVM writes them: decimal, 0x, 0b, base 8 after a leading 0, and C's suffixes, which mean nothing.
   * A decimal number with f or b behind it names the next or the last label of that number.
   */
  #otherNumber(at: number, spaced: boolean): Token {
    let end = at;
    while (end < this.#text.length) {
      const code = this.#text.charCodeAt(end);
      if (!isDigit(code) && !isNameStart(code)) break;
      if (code >= 128 || code === 46 || code === 36 || code === 64) break;
      end++;
    }
    const text = this.#text.slice(at, end);
    this.#at = end;
    if (/^\d+[fb]$/.test(text)) return this.#token("name", at, text, spaced);
    const digits = text.replace(/[uUlL]+$/, "");
    const base8 = this.#rules.octal && /^0\d+$/.test(digits);
    const valid = base8 ? /^[0-7]+$/.test(digits) : /^(\d+|0[xX][0-9a-fA-F]+|0[bB][01]+)$/.test(digits);
    if (!valid) {
      const position = this.#position(at);
      this.#skipLine();
      throw asmError(position, `'${text}' is no number`);
    }
    // 64 bits take 20 decimal digits or 66 characters in base 2; leading zeros aside, more is out of range anyway.
    const significant = digits.replace(/^0+(?=\d)/, "");
    const value =
      significant.length > 80
        ? 1n << 300n
        : BigInt(base8 ? `0o${digits.slice(1)}` : base10or(digits, significant));
    return this.#token("number", at, text, spaced, value);
  }

  #quoted(at: number, quote: number, spaced: boolean): Token {
    const position = this.#position(at);
    let content = "";
    for (let index = at + 1; ; index++) {
      const code = index < this.#text.length ? this.#text.charCodeAt(index) : 10;
      if (code === 10) {
        this.#skipLine();
        throw asmError(position, "the closing quote is missing");
      }
      if (code === quote) {
        this.#at = index + 1;
        return this.#token("string", at, content, spaced);
      }
      if (code !== 92) {
        const point = String.fromCodePoint(this.#text.codePointAt(index) as number);
        content += code < 128 ? point : utf8(point);
        index += point.length - 1;
        continue;
      }
      const [written, octal, hex] = ESCAPED_BYTE.exec(this.#text.slice(index + 1, index + 12)) ?? [];
      if (written !== undefined) {
        content += String.fromCharCode(
          Number.parseInt(octal ?? hex ?? "0", octal === undefined ? 16 : 8) & 0xff,
        );
        index += written.length;
        continue;
      }
      const escaped = this.#text[++index] ?? "";
      const character = ESCAPES[escaped];
      if (character === undefined) {
        this.#skipLine();
        throw asmError(position, `'\\${escaped}' is no escape sequence`);
      }
      content += character;
    }
  }
}

const ESCAPED_BYTE = /^(?:([0-7]{1,3})|[xX]([0-9a-fA-F]+))/;

const ESCAPES: Readonly<Record<string, string>> = {
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  "\\": "\\",
  '"': '"',
  "'": "'",
};

/** BigInt reads 0x and 0b itself, but takes no sign of base 8 in a leading 0. */
function base10or(digits: string, significant: string): string {
  return /^0[xXbB]/.test(digits) ? digits : significant;
}

function utf8(character: string): string {
  return String.fromCharCode(...new TextEncoder().encode(character));
}
