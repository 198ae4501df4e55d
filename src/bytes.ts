import { BpfError, type ErrorCode } from "./errors.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Modules that are part of the source are base64, so that no file system is needed. Damaged text gives what it gives.
 *
 * @public for the generated `*.wasm.ts`
 */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  // 77 kB: 0.1 ms with Node's Buffer, 4 ms with atob and a loop that has not been compiled yet.
  const { Buffer: NodeBuffer } = globalThis as { readonly Buffer?: typeof Buffer };
  if (NodeBuffer !== undefined) return new Uint8Array(NodeBuffer.from(text, "base64"));
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/**
 * How many characters a table may give out for each of its bytes. Strings may share their tails, so a hostile table of
 * n bytes holds n strings of up to n characters; real ones stay below 2.
 */
const SHARING_LIMIT = 64;

/**
 * NUL-terminated strings by offset: an ELF string table, the strings of BTF. Nothing is decoded before it is asked for.
 */
export class StringTable {
  readonly bytes: Uint8Array;
  readonly #code: ErrorCode;
  readonly #owner: string;
  readonly #decoded: Map<number, string> = new Map();
  #budget: number;

  /** `owner` begins the messages: "section '.strtab'". */
  constructor(bytes: Uint8Array, code: ErrorCode, owner: string) {
    this.bytes = bytes;
    this.#code = code;
    this.#owner = owner;
    this.#budget = bytes.length * SHARING_LIMIT + 65536;
  }

  /** The string at an offset; a BpfError if it begins or ends outside the table. */
  at(offset: number): string {
    const known = this.#decoded.get(offset);
    if (known !== undefined) return known;
    const end = this.end(offset);
    this.#budget -= end - offset;
    if (this.#budget < 0) {
      throw new BpfError(this.#code, `${this.#owner}: its strings overlap without measure`);
    }
    const text = decodeText(this.bytes.subarray(offset, end));
    this.#decoded.set(offset, text);
    return text;
  }

  /** Where the string at an offset ends: the index of its NUL. */
  end(offset: number): number {
    const end = offset < this.bytes.length ? this.bytes.indexOf(0, offset) : -1;
    if (end >= 0) return end;
    const why =
      offset < this.bytes.length ? "is not terminated" : `is outside the table of ${this.bytes.length} bytes`;
    throw new BpfError(this.#code, `${this.#owner}: the string at offset ${offset} ${why}`, {
      where: { offset },
    });
  }
}

/** Text as UTF-8, or byte by byte where it is none, so that different bytes always give different strings. */
export function decodeText(bytes: Uint8Array): string {
  // Names are short and ASCII: this loop takes a third of TextDecoder's time on a BTF of 5 MB.
  if (bytes.length <= 64) {
    let text = "";
    let ascii = true;
    for (let index = 0; index < bytes.length; index++) {
      const byte = bytes[index] as number;
      if (byte >= 0x80) {
        ascii = false;
        break;
      }
      text += String.fromCharCode(byte);
    }
    if (ascii) return text;
  }
  try {
    return utf8.decode(bytes);
  } catch {
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return text;
  }
}

/**
 * The same bytes as a plain Uint8Array. Node's Buffer is one too, but its `slice` shares memory instead of copying, and
 * files are usually read into Buffers: whoever takes bytes from outside does this first.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return bytes.constructor === Uint8Array
    ? bytes
    : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
