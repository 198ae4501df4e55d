import { BpfError } from "../errors.ts";

/** Deeper nesting is not indented further: a `switch` of 200 cases would drift out of sight. */
const DEEPEST_INDENT = 24;

/** Width at which long lists are wrapped. */
const WIDTH = 110;

/**
 * How much text a module may turn into. A few bytes can ask for thousands of locals, types can be referred to over and
 * over, and so can names of any length; real modules need about 30 characters a byte.
 */
const CHARACTERS_PER_BYTE = 256;
const CHARACTERS_AT_LEAST = 1 << 20;
/** Engines refuse strings of twice this length. */
const CHARACTERS_AT_MOST = 1 << 28;

/** Lines of text, indented, within the budget that the module's size gives. */
export class TextWriter {
  #text = "";
  #level = 0;
  #column = 0;
  #blank = true;
  readonly #budget: number;

  constructor(moduleSize: number) {
    this.#budget = Math.min(CHARACTERS_AT_MOST, CHARACTERS_AT_LEAST + moduleSize * CHARACTERS_PER_BYTE);
  }

  get text(): string {
    return this.#text;
  }

  /** Begins a line. */
  line(text: string): void {
    const indent = "  ".repeat(Math.min(this.#level, DEEPEST_INDENT));
    const lead = this.#text === "" ? "" : "\n";
    this.#column = 0;
    this.put(lead + indent);
    this.put(text);
    this.#column = indent.length + text.length;
    this.#blank = text === "";
  }

  /** Goes on in the line. */
  put(text: string): void {
    if (this.#text.length + text.length > this.#budget) {
      throw new BpfError(
        "unsupported",
        `WebAssembly module: its text would exceed ${this.#budget} characters`,
      );
    }
    this.#text += text;
    this.#column += text.length;
  }

  /** An item of a list: goes on in the line, or where that gets too long in one of its own. */
  item(text: string): void {
    if (this.#column + 1 + text.length > WIDTH) {
      this.#level += 2;
      this.line(text);
      this.#level -= 2;
    } else {
      this.put(this.#blank ? text : ` ${text}`);
      this.#blank = false;
    }
  }

  indent(): void {
    this.#level++;
  }

  outdent(): void {
    this.#level--;
  }
}

const encoder = new TextEncoder();

/**
 * A string of the text format. All but printable ASCII is escaped byte by byte, so that a hostile module can't send
 * control sequences to the terminal that shows it.
 */
export function quote(source: string | Uint8Array): string {
  let text = '"';
  for (const byte of typeof source === "string" ? encoder.encode(source) : source) {
    text +=
      byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c
        ? `\\${byte.toString(16).padStart(2, "0")}`
        : String.fromCharCode(byte);
  }
  return `${text}"`;
}

const FLOATS = {
  f32: { exponent: 0xffn, fraction: 23n, digits: 9 },
  f64: { exponent: 0x7ffn, fraction: 52n, digits: 17 },
} as const;

/**
 * A floating-point number by its bits: the shortest decimal number that is read back as the same value, and for NaN
 * its payload, which JavaScript's own numbers would not keep. The payload with only the highest bit set has no digits
 * in the text format (Core Specification 2.0, section 6.3.2).
 */
export function floatText(type: keyof typeof FLOATS, bits: bigint): string {
  const { exponent, fraction, digits } = FLOATS[type];
  const payload = bits & ((1n << fraction) - 1n);
  const sign = bits >> (type === "f32" ? 31n : 63n) === 0n ? "" : "-";
  if (((bits >> fraction) & exponent) === exponent) {
    if (payload === 0n) return `${sign}inf`;
    return payload === 1n << (fraction - 1n) ? `${sign}nan` : `${sign}nan:0x${payload.toString(16)}`;
  }
  const view = new DataView(new ArrayBuffer(8));
  if (type === "f64") {
    view.setBigUint64(0, bits);
    const value = Math.abs(view.getFloat64(0));
    return sign + String(value);
  }
  view.setUint32(0, Number(bits));
  const value = Math.abs(view.getFloat32(0));
  for (let precision = 1; precision < digits; precision++) {
    const short = Number(value.toPrecision(precision));
    // Half-way between two f32, where a reader that does not go through f64 may round to the other one.
    const tie = short !== value && Math.fround(2 * short - value) === 2 * short - value;
    if (Math.fround(short) === value && !tie) return sign + String(short);
  }
  return sign + String(Number(value.toPrecision(digits)));
}
