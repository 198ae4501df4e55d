/** Writes pcapng files of one section. */

import { BpfError } from "../errors.ts";
import { BYTE_ORDER_MAGIC, SHB_TYPE } from "./magics.ts";
import {
  type CaptureOption,
  type CaptureOptionInput,
  type OptionOwner,
  decodeOptions,
  encodeOptions,
} from "./options.ts";
import { Output, type OutputOptions, checkPacket, splitTime } from "./output.ts";
import { BLOCKS } from "./pcapng-parser.ts";
import { type TickClock, putTicks, tickClock } from "./time.ts";
import type { CapturedPacket, CaptureInterface, PacketBatch } from "./types.ts";

/** What stands in the header of the section, and where the bytes go. */
export interface PcapngWriterOptions extends OutputOptions {
  /** "little" when not given. */
  readonly byteOrder?: "little" | "big";
  /** Options of the section: hardware, operating system, application, comments. */
  readonly options?: readonly CaptureOptionInput[];
}

/** An interface to be described: one that was read, or the same fields by hand. */
export interface InterfaceInput {
  /** LINKTYPE_ value, below 2^16. */
  readonly linktype: number;
  /** 0, or nothing, means no limit. What is longer is cut. */
  readonly snaplen?: number;
  /** The resolution of the time stamps, as in {@link CaptureInterface}; 9 (nanoseconds) when not given. */
  readonly tsresol?: number;
  readonly tsoffset?: number;
  readonly fcsBits?: number | undefined;
  readonly name?: string | undefined;
  /** More options. One that a field above also gives is written once, with the field's value. */
  readonly options?: readonly CaptureOptionInput[];
}

/** A packet to be written: one that was read, or the same fields by hand. */
export type WritableNgPacket = Pick<CapturedPacket, "data" | "timestampNs"> &
  Partial<Pick<CapturedPacket, "originalLength" | "rawOptions" | "littleEndian">> & {
    /** Options to write instead of those in `rawOptions`. */
    readonly options?: readonly CaptureOptionInput[];
  };

interface Source {
  readonly clock: TickClock;
  readonly snaplen: number;
}

const NOTHING = new Uint8Array(0);

/**
 * Writes a pcapng file: the section header at once, then interfaces and packets as they are given, and each packet as an
 * Enhanced Packet Block. The bytes go to `sink`, or wait for `take()`.
 *
 * @throws BpfError `usage` for what the format cannot hold
 *
 * @example
 * const writer = new PcapngWriter({ options: [{ name: "shb_userappl", value: "skep" }] });
 * const eth0 = writer.addInterface({ linktype: 1, name: "eth0" });
 * const options = [{ name: "opt_comment", value: "the first" }];
 * writer.packet(eth0, { data: frame, timestampNs: 1_700_000_000_000_000_000n, options });
 * writeFileSync("out.pcapng", writer.take());
 */
export class PcapngWriter {
  readonly #output: Output;
  readonly #littleEndian: boolean;
  readonly #sources: Source[] = [];
  /** Interfaces of a capture being copied, and what they became here. */
  readonly #copied: Map<CaptureInterface, number> = new Map();
  #packets = 0;

  constructor(options: PcapngWriterOptions = {}) {
    const { byteOrder = "little" } = options;
    if (byteOrder !== "little" && byteOrder !== "big") {
      throw new BpfError(
        "usage",
        `pcapng writer: byteOrder '${String(byteOrder)}' is neither 'little' nor 'big'`,
      );
    }
    this.#littleEndian = byteOrder === "little";
    const encoded = this.#encode("section", options.options ?? []);
    this.#output = new Output(options);
    const at = this.#begin(SHB_TYPE, 16 + encoded.length);
    const { view, data } = this.#output;
    view.setUint32(at, BYTE_ORDER_MAGIC, this.#littleEndian);
    view.setUint16(at + 4, 1, this.#littleEndian);
    view.setUint32(at + 8, 0xffff_ffff);
    view.setUint32(at + 12, 0xffff_ffff);
    data.set(encoded, at + 16);
  }

  /** Packets written. */
  get packets(): number {
    return this.#packets;
  }

  /** Bytes written, the header included. */
  get bytes(): number {
    return this.#output.total;
  }

  /** Describes an interface and returns its number, for the packets that came from it. */
  addInterface(source: InterfaceInput): number {
    const { linktype, snaplen = 0, fcsBits, name, options = [] } = source;
    const tsresol = source.tsresol ?? Number(optionValue(options, 9, "if_tsresol") ?? 9);
    const tsoffset = source.tsoffset ?? Number(optionValue(options, 14, "if_tsoffset") ?? 0);
    const id = this.#sources.length;
    if (!isUnsigned(linktype, 0xffff)) throw wrong(id, "linktype", linktype, 0xffff);
    if (!isUnsigned(snaplen, 0xffff_ffff)) throw wrong(id, "snaplen", snaplen, 0xffff_ffff);
    if (!isUnsigned(tsresol, 0xff)) throw wrong(id, "tsresol", tsresol, 0xff);
    if (fcsBits !== undefined && !isUnsigned(fcsBits, 0xff)) throw wrong(id, "fcsBits", fcsBits, 0xff);
    if (!Number.isSafeInteger(tsoffset)) {
      throw new BpfError("usage", `interface ${id}: tsoffset ${tsoffset} is no whole number of seconds`);
    }
    const encoded = this.#encode("interface", [
      ...(name === undefined ? [] : [{ code: 2, value: name }]),
      // 6, microseconds, is what the format means when nothing is said.
      ...(tsresol === 6 ? [] : [{ code: 9, value: tsresol }]),
      ...(fcsBits === undefined ? [] : [{ code: 13, value: fcsBits }]),
      ...(tsoffset === 0 ? [] : [{ code: 14, value: tsoffset }]),
      // An interface that was read comes with both: fields, and the options that they were taken from.
      ...options.filter(
        (option) =>
          !isOption(option, 9, "if_tsresol") &&
          !isOption(option, 14, "if_tsoffset") &&
          !(name !== undefined && isOption(option, 2, "if_name")) &&
          !(fcsBits !== undefined && isOption(option, 13, "if_fcslen")),
      ),
    ]);
    const at = this.#begin(BLOCKS.interface, 8 + encoded.length);
    const { view, data } = this.#output;
    view.setUint16(at, linktype, this.#littleEndian);
    view.setUint32(at + 4, snaplen, this.#littleEndian);
    data.set(encoded, at + 8);
    this.#sources.push({ clock: tickClock(tsresol, tsoffset), snaplen });
    return id;
  }

  /**
   * Writes a packet that lies somewhere in a larger buffer. This is the fast way, and the one for a packet that a program
   * has rewritten.
   *
   * @param id the interface's number, from {@link PcapngWriter.addInterface}
   * @param originalLength its length on the wire
   * @param options encoded already, in the file's byte order; nothing for a packet without
   */
  write(
    id: number,
    data: Uint8Array,
    offset: number,
    length: number,
    seconds: number,
    nanoseconds: number,
    originalLength: number,
    options: Uint8Array = NOTHING,
  ): void {
    const source = this.#sources[id];
    if (source === undefined) {
      throw new BpfError("usage", `packet ${this.#packets + 1}: interface ${id} was not added`);
    }
    checkPacket(data, offset, length, seconds, nanoseconds, originalLength);
    if ((options.length & 3) !== 0) {
      throw new BpfError(
        "usage",
        `packet ${this.#packets + 1}: options of ${options.length} bytes are not padded`,
      );
    }
    const kept = source.snaplen === 0 ? length : Math.min(length, source.snaplen);
    const padded = (kept + 3) & ~3;
    // The time first: when it does not fit, nothing has been written.
    if (!putTicks(source.clock, seconds, nanoseconds, SCRATCH)) {
      throw new BpfError(
        "usage",
        `packet ${this.#packets + 1}: ${seconds} seconds since 1970 do not fit the clock of interface ${id}`,
      );
    }
    const at = this.#begin(BLOCKS.enhancedPacket, 20 + padded + options.length);
    const littleEndian = this.#littleEndian;
    const { view } = this.#output;
    view.setUint32(at, id, littleEndian);
    view.setUint32(at + 4, SCRATCH[0]!, littleEndian);
    view.setUint32(at + 8, SCRATCH[1]!, littleEndian);
    view.setUint32(at + 12, kept, littleEndian);
    view.setUint32(at + 16, originalLength, littleEndian);
    this.#output.copy(data, offset, kept, at + 20);
    if (options.length > 0) this.#output.data.set(options, at + 20 + padded);
    this.#packets++;
  }

  /** Writes a packet from the interface with number `id`. */
  packet(id: number, packet: WritableNgPacket): void {
    const {
      data,
      originalLength = data.length,
      rawOptions = NOTHING,
      littleEndian = this.#littleEndian,
    } = packet;
    const { seconds, nanoseconds } = splitTime(packet.timestampNs);
    const options =
      packet.options === undefined
        ? this.#recode(rawOptions, littleEndian)
        : this.#encode("packet", packet.options);
    this.write(id, data, 0, data.length, seconds, nanoseconds, originalLength, options);
  }

  /**
   * Writes the packets of a batch, or those for which `keep` holds something else than 0, with their options. Interfaces
   * that are new are described first, so a capture of any shape can be copied with nothing but this.
   */
  batch(batch: PacketBatch, keep?: ArrayLike<number>): void {
    const { data, offset, capturedLength, originalLength, interfaceIndex, seconds, nanoseconds } = batch;
    const { optionsOffset, optionsLength } = batch;
    for (let i = 0; i < batch.count; i++) {
      if (keep !== undefined && !keep[i]) continue;
      const source = batch.interfaces[interfaceIndex[i]!]!;
      const id = this.idOf(source);
      const length = optionsLength[i]!;
      const start = optionsOffset[i]!;
      const options =
        length === 0 ? NOTHING : this.#recode(data.subarray(start, start + length), source.littleEndian);
      this.write(
        id,
        data,
        offset[i]!,
        capturedLength[i]!,
        seconds[i]!,
        nanoseconds[i]!,
        originalLength[i]!,
        options,
      );
    }
  }

  /** The number here of an interface that was read; it is described when it is new. */
  idOf(source: CaptureInterface): number {
    let id = this.#copied.get(source);
    if (id === undefined) {
      id = this.addInterface(source);
      this.#copied.set(source, id);
    }
    return id;
  }

  /** Writes a block of any type, for instance statistics; `body` is padded to a multiple of four bytes. */
  block(type: number, body: Uint8Array): void {
    if (!isUnsigned(type, 0xffff_ffff)) throw new BpfError("usage", `block type ${type} is no 32-bit number`);
    const at = this.#begin(type, (body.length + 3) & ~3);
    this.#output.data.set(body, at);
  }

  /** The bytes collected since the last call; the first begin with the section header. */
  take(): Uint8Array {
    return this.#output.take();
  }

  /** Gives what is left to the sink. */
  end(): void {
    this.#output.flush();
  }

  /** Begins and ends a block around a body of `size` bytes, and returns where the body stands. */
  #begin(type: number, size: number): number {
    const length = size + 12;
    const at = this.#output.reserve(length);
    const { view } = this.#output;
    view.setUint32(at, type, this.#littleEndian);
    view.setUint32(at + 4, length, this.#littleEndian);
    view.setUint32(at + length - 4, length, this.#littleEndian);
    return at + 8;
  }

  #encode(owner: OptionOwner, options: readonly CaptureOptionInput[]): Uint8Array {
    return encodeOptions(owner, options, this.#littleEndian);
  }

  /** Options of a packet in the byte order of this file. */
  #recode(options: Uint8Array, littleEndian: boolean): Uint8Array {
    if (options.length === 0 || littleEndian === this.#littleEndian) return options;
    return this.#encode("packet", decodeOptions("packet", options, littleEndian));
  }
}

/** The halves of a tick count, high and low. */
const SCRATCH = new Uint32Array(2);

function isOption(option: CaptureOptionInput, code: number, name: string): boolean {
  return "code" in option ? option.code === code : option.name === name;
}

function optionValue(
  options: readonly CaptureOptionInput[],
  code: number,
  name: string,
): CaptureOption["value"] | undefined {
  return options.find((option) => isOption(option, code, name))?.value;
}

function isUnsigned(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= most;
}

function wrong(id: number, field: string, value: number, most: number): BpfError {
  return new BpfError("usage", `interface ${id}: ${field} ${value} is not between 0 and ${most}`);
}
