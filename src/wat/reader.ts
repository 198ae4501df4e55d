import { BpfError } from "../errors.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A module that breaks the binary format. */
export function malformed(what: string, offset: number): BpfError {
  return new BpfError("usage", `WebAssembly module: ${what} at offset ${offset}`, { where: { offset } });
}

/** A module that uses what this printer does not know. */
export function unsupported(what: string, offset: number): BpfError {
  return new BpfError("unsupported", `WebAssembly module: ${what} at offset ${offset} cannot be printed`, {
    where: { offset },
  });
}

/**
 * A position in a part of the module, which every reading moves on. Whatever would pass the part's end, or is encoded
 * in more bytes than its width allows, is malformed.
 */
export class Reader {
  offset: number;
  readonly end: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, offset: number, end: number) {
    this.#bytes = bytes;
    this.offset = offset;
    this.end = end;
  }

  /** The same part again, from here. */
  fork(): Reader {
    return new Reader(this.#bytes, this.offset, this.end);
  }

  get done(): boolean {
    return this.offset >= this.end;
  }

  /** Throws unless everything was read; `what` is the thing that ends here. */
  finish(what: string): void {
    if (!this.done) throw malformed(`${what} has ${this.end - this.offset} bytes too many`, this.offset);
  }

  /** The next byte, or -1 at the end. */
  peek(): number {
    return this.done ? -1 : (this.#bytes[this.offset] as number);
  }

  byte(what: string): number {
    if (this.done) throw malformed(`${what} is cut off`, this.offset);
    return this.#bytes[this.offset++] as number;
  }

  bytes(length: number, what: string): Uint8Array {
    if (length > this.end - this.offset) {
      throw malformed(
        `${what} of ${length} bytes exceeds the ${this.end - this.offset} that are left`,
        this.offset,
      );
    }
    const start = this.offset;
    this.offset += length;
    return this.#bytes.subarray(start, this.offset);
  }

  /** The next bytes as a part of their own. */
  part(length: number, what: string): Reader {
    const start = this.offset;
    this.bytes(length, what);
    return new Reader(this.#bytes, start, start + length);
  }

  /** Unsigned LEB128 of 32 bits (Core Specification 2.0, section 5.2.2): at most 5 bytes, unused bits zero. */
  u32(what: string): number {
    const start = this.offset;
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte(what);
      if (shift === 28 && byte > 0x0f) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw malformed(`${what} is no number of 32 bits`, start);
  }

  /** Signed LEB128; the unused bits of the last byte repeat the sign. */
  signed(bits: 32 | 33 | 64, what: string): bigint {
    const start = this.offset;
    let value = 0n;
    for (let shift = 0; shift < bits; shift += 7) {
      const byte = this.byte(what);
      value |= BigInt(byte & 0x7f) << BigInt(shift);
      if (byte >= 0x80) continue;
      value = BigInt.asIntN(shift + 7, value);
      if (BigInt.asIntN(bits, value) === value) return value;
      break;
    }
    throw malformed(`${what} is no number of ${bits} bits`, start);
  }

  /** The length of a list; each item takes a byte at least, so more than that is malformed. */
  count(what: string): number {
    const start = this.offset;
    const count = this.u32(`the number of ${what}`);
    if (count > this.end - this.offset) {
      throw malformed(
        `the number of ${what}, ${count}, exceeds the ${this.end - this.offset} bytes left`,
        start,
      );
    }
    return count;
  }

  list<Item>(what: string, item: (index: number) => Item): Item[] {
    const items: Item[] = [];
    for (let count = this.count(what); items.length < count; ) items.push(item(items.length));
    return items;
  }

  name(what: string): string {
    const length = this.u32(`the length of ${what}`);
    const start = this.offset;
    const bytes = this.bytes(length, what);
    try {
      // A copy, since browsers decode no shared memory.
      return utf8.decode(bytes.slice());
    } catch (cause) {
      throw new BpfError("usage", `WebAssembly module: ${what} at offset ${start} is no UTF-8`, {
        where: { offset: start },
        cause,
      });
    }
  }
}
