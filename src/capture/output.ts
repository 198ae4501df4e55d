/** A growing run of bytes that a writer fills and hands out. */

import { BpfError } from "../errors.ts";

/** What a writer does with its bytes. */
export interface OutputOptions {
  /**
   * Gets the bytes as they come, in chunks of about `chunkSize`; each chunk is the receiver's own. Without it the writer
   * collects everything until `take()`.
   */
  readonly sink?: (chunk: Uint8Array) => void;
  /** Bytes that are collected before the sink is called; 65,536 when not given. */
  readonly chunkSize?: number;
}

const CHUNK_SIZE = 64 * 1024;

/** Bytes being written. `reserve` makes room; the caller then writes through `data` and `view`. */
export class Output {
  data: Uint8Array;
  view: DataView;
  #length = 0;
  #total = 0;
  /** Length of what was taken last: what comes next will be about as long. */
  #taken = 0;
  #source: DataView;
  readonly #sink: ((chunk: Uint8Array) => void) | undefined;
  readonly #chunkSize: number;

  constructor(options: OutputOptions) {
    const size = options.chunkSize ?? CHUNK_SIZE;
    if (!Number.isInteger(size) || size < 1 || size > 0x4000_0000) {
      throw new BpfError("usage", `capture writer: chunkSize ${size} is not between 1 and 1073741824`);
    }
    this.#sink = options.sink;
    this.#chunkSize = size;
    this.data = new Uint8Array(Math.min(size, CHUNK_SIZE));
    this.view = new DataView(this.data.buffer);
    this.#source = this.view;
  }

  /** All bytes so far, those handed out included. */
  get total(): number {
    return this.#total;
  }

  /** Makes room for `size` bytes, zeroed, and returns where they begin in `data`. */
  reserve(size: number): number {
    if (this.#sink !== undefined && this.#length > 0 && this.#length + size > this.#chunkSize) this.flush();
    const start = this.#length;
    if (start + size > this.data.length) {
      const larger = new Uint8Array(
        Math.max(start + size, this.#taken, Math.min(2 * this.data.length, this.data.length + 0x1000_0000)),
      );
      larger.set(this.data.subarray(0, start));
      this.data = larger;
      this.view = new DataView(larger.buffer);
    }
    this.#length += size;
    this.#total += size;
    return start;
  }

  /**
   * Copies bytes to `at`. For a small packet a subarray costs more than its bytes: in words, 64 bytes take 30 ns where
   * `set(subarray())` takes 90; the two meet at about 160 bytes (measured on Node 20).
   */
  copy(from: Uint8Array, start: number, length: number, at: number): void {
    const { data, view } = this;
    if (length > 160) {
      data.set(from.subarray(start, start + length), at);
      return;
    }
    // By buffer, not by array: a caller may make a new array for each packet of the same memory.
    if (from.buffer !== this.#source.buffer) this.#source = new DataView(from.buffer);
    const source = this.#source;
    const base = from.byteOffset + start;
    let i = 0;
    for (; i + 4 <= length; i += 4) view.setUint32(at + i, source.getUint32(base + i, true), true);
    for (; i < length; i++) data[at + i] = from[start + i]!;
  }

  /** Hands what is collected to the sink, when there is one. */
  flush(): void {
    if (this.#sink !== undefined && this.#length > 0) this.#sink(this.take());
  }

  /** What is collected, which is the caller's from now on. */
  take(): Uint8Array {
    const chunk = this.data.subarray(0, this.#length);
    this.#taken = chunk.length;
    this.data = new Uint8Array(this.#sink === undefined ? 0 : this.data.length);
    this.view = new DataView(this.data.buffer);
    this.#length = 0;
    return chunk;
  }
}

/** Refuses what no capture file can hold, before anything of the packet is written. */
export function checkPacket(
  data: Uint8Array,
  offset: number,
  length: number,
  seconds: number,
  nanoseconds: number,
  originalLength: number,
): void {
  const inside = offset >= 0 && length >= 0 && offset + length <= data.length;
  if (!inside || !Number.isInteger(offset) || !Number.isInteger(length)) {
    throw new BpfError(
      "usage",
      `packet: bytes ${offset} to ${offset + length} are outside of the ${data.length} given`,
    );
  }
  if (!Number.isSafeInteger(seconds))
    throw new BpfError("usage", `packet: ${seconds} is no whole number of seconds`);
  if (!(nanoseconds >= 0 && nanoseconds < 1_000_000_000) || !Number.isInteger(nanoseconds)) {
    throw new BpfError("usage", `packet: ${nanoseconds} nanoseconds are not between 0 and 999999999`);
  }
  if (!(originalLength >= 0 && originalLength <= 0xffff_ffff) || !Number.isInteger(originalLength)) {
    throw new BpfError("usage", `packet: original length ${originalLength} is no 32-bit number`);
  }
}

/** Nanoseconds since 1970 as whole seconds and the rest, which is never negative. */
export function splitTime(timestampNs: bigint): { seconds: number; nanoseconds: number } {
  const rest = BigInt.asUintN(64, ((timestampNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n);
  return { seconds: Number((timestampNs - rest) / 1_000_000_000n), nanoseconds: Number(rest) };
}
