/**
 * The reader: takes a file in chunks as they come and gives batches of packets.
 *
 * Bytes are looked at where they lie, in the caller's chunk. Only a record that a chunk's end cuts in two is put
 * together in a buffer of the reader's own, the carry, and comes as a batch of one packet; so each byte is copied at
 * most once, and most never. The carry holds one record and grows only as its bytes arrive: a length that a file merely
 * claims costs nothing.
 */

import { BpfError } from "../errors.ts";
import { PcapParser } from "./pcap-parser.ts";
import { PcapngParser } from "./pcapng-parser.ts";
import { SHB_TYPE, findPcapMagic, foreignFile } from "./magics.ts";
import type { RecordParser, Window } from "./parser.ts";
import type {
  CaptureDamage,
  CaptureFormat,
  CaptureInterface,
  CaptureSection,
  PacketBatch,
  PcapHeader,
} from "./types.ts";

const NOTHING = new Uint8Array(0);

/** The message about a file that is no capture shows and interprets this many bytes of it, however they come. */
const FOREIGN_BYTES = 16;

/** Chunks longer than this are read in pieces, because the offsets of a batch have 32 bits. */
const PIECE = 1 << 30;

function windowOn(data: Uint8Array, base: number): Window {
  return { data, view: new DataView(data.buffer, data.byteOffset, data.byteLength), base };
}

/**
 * Reads pcap and pcapng from chunks of any size. It does no I/O and never waits; {@link readCapture} connects it to
 * streams.
 *
 * @example
 * const reader = new CaptureReader();
 * const batch = createBatch();
 * for (const chunk of chunks) {
 *   reader.push(chunk);
 *   while (reader.read(batch)) {
 *     for (let i = 0; i < batch.count; i++) total += batch.capturedLength[i];
 *   }
 * }
 * reader.end();
 * if (reader.damage) console.error(reader.damage.error.message);
 */
export class CaptureReader {
  readonly #interfaces: CaptureInterface[] = [];
  #parser: PcapParser | PcapngParser | undefined;
  #packets = 0;
  #damage: CaptureDamage | undefined;
  #ended = false;

  #chunk: Window = windowOn(NOTHING, 0);
  #position = 0;
  #rest: Uint8Array = NOTHING;

  #carry: Window = windowOn(NOTHING, 0);
  #carryLength = 0;
  #need = 4;

  /** Undefined until the first bytes have been read. */
  get format(): CaptureFormat | undefined {
    if (this.#parser === undefined) return undefined;
    return this.#parser instanceof PcapParser ? "pcap" : "pcapng";
  }

  /** The header of a pcap file, once it has been read. */
  get header(): PcapHeader | undefined {
    return this.#parser instanceof PcapParser ? this.#parser.header : undefined;
  }

  /** The sections of a pcapng file so far. */
  get sections(): readonly CaptureSection[] {
    return this.#parser instanceof PcapngParser ? this.#parser.sections : [];
  }

  /** The interfaces so far; it grows while a pcapng file is being read. */
  get interfaces(): readonly CaptureInterface[] {
    return this.#interfaces;
  }

  /** How many packets have been delivered. */
  get packets(): number {
    return this.#packets;
  }

  /** How many bytes have been read; for progress bars. */
  get offset(): number {
    return this.#chunk.base + this.#position;
  }

  /** Why reading stopped early. Known once {@link CaptureReader.read} has returned false. */
  get damage(): CaptureDamage | undefined {
    return this.#damage;
  }

  /**
   * Takes the next bytes of the file. They are not copied, so they must stay as they are until `read` has returned
   * false; that is also when the next chunk may come.
   *
   * @throws BpfError `usage` when there are packets to be read first, and after `end`
   */
  push(chunk: Uint8Array): void {
    if (!(chunk instanceof Uint8Array)) {
      throw new BpfError("usage", `capture reader: a chunk is of type ${typeof chunk}, not a Uint8Array`);
    }
    if (this.#ended) throw new BpfError("usage", "capture reader: push() after end()");
    if (this.#damage !== undefined) return;
    if (this.#hasUnread())
      throw new BpfError("usage", "capture reader: read() must return false before push()");
    this.#load(chunk, this.offset);
  }

  /** Says that there is no more. What is left over then makes the file a truncated one. */
  end(): void {
    this.#ended = true;
    if (!this.#hasUnread()) this.#finish();
  }

  /** Ends the reading because the source broke off, with what it reported. */
  fail(kind: "truncated" | "corrupt", error: BpfError): void {
    this.#ended = true;
    this.#damage ??= { kind, packets: this.#packets, error };
  }

  /**
   * Fills a batch with the next packets.
   *
   * @returns false when the chunk is used up: push the next one, or look at `damage` after `end`
   */
  read(batch: PacketBatch): boolean {
    batch.count = 0;
    batch.firstNumber = this.#packets + 1;
    batch.interfaces = this.#interfaces;
    while (this.#damage === undefined) {
      if (this.#carryLength > 0) {
        if (!this.#fillCarry()) break;
        // The carry ends exactly where its record does, so the record is used up or turns out to need more.
        if (this.#parse(this.#carry, 0, this.#carryLength, batch) > 0) this.#carryLength = 0;
      } else if (this.#hasUnread()) {
        const { data } = this.#chunk;
        this.#position = this.#parse(this.#chunk, this.#position, data.length, batch);
        if (this.#need > 0 && this.#damage === undefined) this.#keepRest();
      } else {
        break;
      }
      if (batch.count > 0) {
        this.#packets += batch.count;
        return true;
      }
    }
    if (this.#ended) this.#finish();
    return false;
  }

  #hasUnread(): boolean {
    if (this.#damage !== undefined) return false;
    if (this.#position < this.#chunk.data.length) return true;
    if (this.#rest.length === 0) return false;
    this.#load(this.#rest, this.offset);
    return true;
  }

  #load(chunk: Uint8Array, base: number): void {
    this.#rest = chunk.length > PIECE ? chunk.subarray(PIECE) : NOTHING;
    this.#chunk = windowOn(chunk.length > PIECE ? chunk.subarray(0, PIECE) : chunk, base);
    this.#position = 0;
  }

  /** Moves the beginning of a record, which the chunk's end cuts off, into the carry. */
  #keepRest(): void {
    const { data, base } = this.#chunk;
    const length = data.length - this.#position;
    this.#growCarry(length);
    this.#carry.data.set(data.subarray(this.#position));
    this.#carry.base = base + this.#position;
    this.#carryLength = length;
    this.#position = data.length;
  }

  /** Adds to the carry what its record still needs; false when the chunk does not have that much. */
  #fillCarry(): boolean {
    while (this.#carryLength < this.#need) {
      if (!this.#hasUnread()) return false;
      const { data } = this.#chunk;
      const step = Math.min(this.#need - this.#carryLength, data.length - this.#position);
      this.#growCarry(this.#carryLength + step);
      this.#carry.data.set(data.subarray(this.#position, this.#position + step), this.#carryLength);
      this.#carryLength += step;
      this.#position += step;
    }
    return true;
  }

  #growCarry(length: number): void {
    const { data, base } = this.#carry;
    if (length <= data.length) return;
    const larger = new Uint8Array(Math.max(length, 2 * data.length, 4096));
    larger.set(data.subarray(0, this.#carryLength));
    this.#carry = windowOn(larger, base);
  }

  #parse(window: Window, start: number, end: number, batch: PacketBatch): number {
    const parser = this.#parser ?? this.#detect(window, start, end);
    if (parser === undefined) return start;
    batch.data = window.data;
    const position = parser.parse(window, start, end, batch);
    this.#need = parser.need;
    if (parser.failure !== undefined) {
      this.#stop(parser.foreign ? "foreign" : "corrupt", parser.failure, batch.count);
    }
    return position;
  }

  #detect(window: Window, start: number, end: number): RecordParser | undefined {
    const length = end - start;
    if (length < 4) {
      this.#need = 4;
      return undefined;
    }
    const magic = window.view.getUint32(start, true);
    const pcap = findPcapMagic(magic);
    if (pcap !== undefined) this.#parser = new PcapParser(pcap.row, pcap.littleEndian, this.#interfaces);
    else if (magic === SHB_TYPE) this.#parser = new PcapngParser(this.#interfaces);
    else if (length < FOREIGN_BYTES) this.#need = FOREIGN_BYTES;
    else this.#stop("foreign", foreignFile(window.data.subarray(start, start + FOREIGN_BYTES)), 0);
    return this.#parser;
  }

  #stop(kind: CaptureDamage["kind"], error: BpfError, undelivered: number): void {
    this.#damage ??= { kind, packets: this.#packets + undelivered, error };
  }

  /** The file has ended: was it the end of a record too? */
  #finish(): void {
    if (this.#damage !== undefined) return;
    const parser = this.#parser;
    if (parser === undefined) {
      this.#stop("foreign", foreignFile(this.#carry.data.subarray(0, this.#carryLength)), 0);
      return;
    }
    if (this.#carryLength === 0 && !parser.midway) return;
    const offset = this.#carryLength > 0 ? this.#carry.base : this.offset;
    const what = parser.describePending(offset, this.#carryLength, this.#packets + 1);
    this.#stop("truncated", new BpfError("capture", what, { where: { offset } }), 0);
  }
}
