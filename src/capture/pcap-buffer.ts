/**
 * Pcap files in a buffer that the caller fills: a file can be read straight into the memory of a matcher, and what is kept
 * of it goes out as the bytes that came in.
 *
 * {@link CaptureReader} takes chunks as they are given and copies each packet that it writes. Over a gigabyte that was
 * two thirds of the time of `skep filter -r -w`. Here the rest of a record that the buffer's end cuts off moves to the
 * buffer's start, and the records of a batch that are wanted are pushed together where they lie.
 */
import { BpfError } from "../errors.ts";
import { findPcapMagic } from "./magics.ts";
import type { Window } from "./parser.ts";
import { PcapParser } from "./pcap-parser.ts";
import type { CaptureDamage, CaptureInterface, PacketBatch, PcapHeader } from "./types.ts";

const RECORD_HEADER = 16;
/** Shorter pieces are moved a word at a time: the call of copyWithin costs as much as this many bytes. */
const SHORT = 192;

/**
 * Reads a pcap file from one buffer.
 *
 * @example
 * const file = PcapBuffer.open(new Uint8Array(1 << 20), firstBytes);
 * const batch = createBatch();
 * for (let ended = false; !ended; ) {
 *   const bytes = readSync(fd, file.room);
 *   ended = bytes === 0;
 *   file.fill(bytes);
 *   while (file.read(batch)) total += batch.count;
 * }
 */
export class PcapBuffer {
  readonly #interfaces: CaptureInterface[] = [];
  readonly #parser: PcapParser;
  #window: Window;
  /** Where the next record begins, and where the bytes end. */
  #position = 0;
  #end = 0;
  /** Where the first record of the last batch begins. */
  #start = 0;
  #packets = 0;
  #ended = false;
  #damage: CaptureDamage | undefined;

  private constructor(data: Uint8Array, parser: (interfaces: CaptureInterface[]) => PcapParser) {
    this.#window = windowOn(data, 0);
    this.#parser = parser(this.#interfaces);
  }

  /**
   * @param buffer where the file is read to; a record that is longer moves to memory that grows with its bytes
   * @param magic the first four bytes of the file
   * @returns undefined if the file is no pcap file
   */
  static open(buffer: Uint8Array, magic: Uint8Array): PcapBuffer | undefined {
    if (magic.length < 4 || buffer.length < 64) return undefined;
    const number = new DataView(magic.buffer, magic.byteOffset, 4).getUint32(0, true);
    const known = findPcapMagic(number);
    if (known === undefined) return undefined;
    return new PcapBuffer(buffer, (interfaces) => new PcapParser(known.row, known.littleEndian, interfaces));
  }

  /** Where the next bytes of the file belong. */
  get room(): Uint8Array {
    return this.#window.data.subarray(this.#end);
  }

  get header(): PcapHeader | undefined {
    return this.#parser.header;
  }

  get interfaces(): readonly CaptureInterface[] {
    return this.#interfaces;
  }

  /** How many packets have been delivered. */
  get packets(): number {
    return this.#packets;
  }

  /** How many bytes of the file have been read as packets. */
  get offset(): number {
    return this.#window.base + this.#position;
  }

  /** Why reading stopped early. */
  get damage(): CaptureDamage | undefined {
    return this.#damage;
  }

  /** Says that so many bytes have been put into {@link PcapBuffer.room}; none means that the file has ended. */
  fill(bytes: number): void {
    this.#end += bytes;
    this.#ended ||= bytes === 0;
  }

  /**
   * Fills a batch with the next packets, which stay where they are until `read` has returned false.
   *
   * @returns false when the buffer must be filled, or the file has ended
   */
  read(batch: PacketBatch): boolean {
    batch.count = 0;
    batch.firstNumber = this.#packets + 1;
    batch.interfaces = this.#interfaces;
    batch.data = this.#window.data;
    if (this.#damage !== undefined) return false;
    const parser = this.#parser;
    this.#start = this.#position;
    this.#position = parser.parse(this.#window, this.#position, this.#end, batch);
    this.#packets += batch.count;
    if (parser.failure !== undefined)
      this.#damage = { kind: "corrupt", packets: this.#packets, error: parser.failure };
    if (batch.count > 0) return true;
    if (this.#damage !== undefined) return false;
    if (this.#ended) this.#finish();
    else this.#makeRoom();
    return false;
  }

  /**
   * The records of the last batch for which `keep` holds something else than 0, one after the other as a pcap file of
   * version 2.4 with the same header has them; valid until the next `read` or `keep`. The batch's own packets are
   * overwritten. Undefined, and nothing is touched, where records of this file can't be taken as they are.
   */
  keep(batch: PacketBatch, keep: ArrayLike<number>): Uint8Array | undefined {
    const { offset, capturedLength, count } = batch;
    if (!this.#plain) return undefined;
    let at = this.#start;
    // Before the first record of a file stands its header.
    if (this.#start === 0 && this.#window.base === 0) at = (offset[0] ?? RECORD_HEADER) - RECORD_HEADER;
    const first = at;
    for (let index = 0; index < count; index++) {
      if (offset[index] !== at + RECORD_HEADER) return undefined;
      at += RECORD_HEADER + (capturedLength[index] as number);
    }
    if (at !== this.#position) return undefined;
    const { data, view } = this.#window;
    let target = first;
    let from = first;
    for (let index = 0; index < count; index++) {
      if (keep[index] !== 0) continue;
      // All from `from` to here is wanted, this record is not.
      const to = (offset[index] as number) - RECORD_HEADER;
      if (to > from) target = move(data, view, target, from, to);
      from = (offset[index] as number) + (capturedLength[index] as number);
    }
    if (at > from) target = move(data, view, target, from, at);
    return data.subarray(first, target);
  }

  /** Whether records can go to a little-endian file of version 2.4 as they are. */
  get #plain(): boolean {
    const { header } = this;
    if (header === undefined) return false;
    const { littleEndian, modified, version } = header;
    return littleEndian && !modified && version.major === 2 && version.minor === 4;
  }

  #makeRoom(): void {
    const { data, base } = this.#window;
    const rest = this.#end - this.#position;
    let next = data;
    if (this.#position === 0 && rest === data.length) {
      next = new Uint8Array(2 * data.length);
      next.set(data);
    } else {
      data.copyWithin(0, this.#position, this.#end);
    }
    const moved = base + this.#position;
    if (next === data) this.#window.base = moved;
    else this.#window = windowOn(next, moved);
    this.#position = 0;
    this.#end = rest;
  }

  /** The file has ended: was it the end of a record too? */
  #finish(): void {
    const rest = this.#end - this.#position;
    if (rest === 0 && !this.#parser.midway) return;
    const { offset } = this;
    const what = this.#parser.describePending(offset, rest, this.#packets + 1);
    const error = new BpfError("capture", what, { where: { offset } });
    this.#damage = { kind: "truncated", packets: this.#packets, error };
  }
}

function windowOn(data: Uint8Array, base: number): Window {
  return { data, view: new DataView(data.buffer, data.byteOffset, data.byteLength), base };
}

/** Moves bytes down, and returns where they end. */
function move(data: Uint8Array, view: DataView, target: number, from: number, to: number): number {
  if (target === from) return to;
  const length = to - from;
  if (length > SHORT) {
    data.copyWithin(target, from, to);
    return target + length;
  }
  let [write, read] = [target, from];
  for (; read + 4 <= to; read += 4, write += 4) view.setUint32(write, view.getUint32(read, true), true);
  for (; read < to; read++, write++) data[write] = data[read] as number;
  return write;
}
