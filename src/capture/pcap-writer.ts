/** Writes pcap files. */

import { BpfError } from "../errors.ts";
import { MAX_PACKET, linktypeName, maxPacketOf } from "./linktypes.ts";
import { Output, type OutputOptions, checkPacket, splitTime } from "./output.ts";
import type { CapturedPacket, PacketBatch } from "./types.ts";

/** What stands in the header of the file, and where the bytes go. */
export interface PcapWriterOptions extends OutputOptions {
  /** LINKTYPE_ value, below 2^16; 1 (Ethernet) when not given. */
  readonly linktype?: number;
  /** The longest packet; what is longer is cut to it. 262,144, or the most of the link type, when not given. */
  readonly snaplen?: number;
  /** "us" (the default, which every program reads) or "ns". Times are cut, not rounded. */
  readonly resolution?: "us" | "ns";
  /** "little" when not given. */
  readonly byteOrder?: "little" | "big";
  /** Length of the frame check sequence at the end of each packet, in bits: a multiple of 16 up to 240. */
  readonly fcsBits?: number | undefined;
}

/** A packet to be written: one that was read, or the same fields by hand. */
export type WritablePacket = Pick<CapturedPacket, "data" | "timestampNs"> &
  Partial<Pick<CapturedPacket, "originalLength" | "linktype">>;

/**
 * Writes a pcap file: the header at once, then packets as they are given. The bytes go to `sink`, or wait for `take()`.
 *
 * @throws BpfError `usage` for what the format cannot hold: a time before 1970 or after 2106, a length above 32 bits
 *
 * @example
 * const writer = new PcapWriter({ linktype: 1, resolution: "ns" });
 * writer.packet({ data: frame, timestampNs: 1_700_000_000_000_000_000n });
 * writeFileSync("out.pcap", writer.take());
 */
export class PcapWriter {
  readonly linktype: number;
  readonly snaplen: number;
  readonly #output: Output;
  readonly #littleEndian: boolean;
  readonly #nanoseconds: boolean;
  #packets = 0;

  constructor(options: PcapWriterOptions = {}) {
    const { linktype = 1, resolution = "us", byteOrder = "little", fcsBits } = options;
    if (!Number.isInteger(linktype) || linktype < 0 || linktype > 0x03ff_ffff) {
      throw new BpfError("usage", `pcap writer: linktype ${linktype} is not between 0 and 67108863`);
    }
    const snaplen = options.snaplen ?? Math.max(MAX_PACKET, maxPacketOf(linktype));
    if (!Number.isInteger(snaplen) || snaplen < 1 || snaplen > 0x7fff_ffff) {
      throw new BpfError("usage", `pcap writer: snaplen ${snaplen} is not between 1 and 2147483647`);
    }
    if (fcsBits !== undefined && !(Number.isInteger(fcsBits / 16) && fcsBits >= 0 && fcsBits <= 240)) {
      throw new BpfError("usage", `pcap writer: fcsBits ${fcsBits} is no multiple of 16 up to 240`);
    }
    if (resolution !== "us" && resolution !== "ns") {
      throw new BpfError("usage", `pcap writer: resolution '${String(resolution)}' is neither 'us' nor 'ns'`);
    }
    if (byteOrder !== "little" && byteOrder !== "big") {
      throw new BpfError(
        "usage",
        `pcap writer: byteOrder '${String(byteOrder)}' is neither 'little' nor 'big'`,
      );
    }
    this.linktype = linktype;
    this.snaplen = snaplen;
    this.#output = new Output(options);
    this.#littleEndian = byteOrder === "little";
    this.#nanoseconds = resolution === "ns";
    const at = this.#output.reserve(24);
    const { view } = this.#output;
    view.setUint32(at, this.#nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4, this.#littleEndian);
    view.setUint16(at + 4, 2, this.#littleEndian);
    view.setUint16(at + 6, 4, this.#littleEndian);
    view.setUint32(at + 16, snaplen, this.#littleEndian);
    const fcs = fcsBits === undefined ? 0 : ((fcsBits / 16) << 28) | 0x0400_0000;
    view.setUint32(at + 20, linktype | fcs, this.#littleEndian);
  }

  /** Packets written. */
  get packets(): number {
    return this.#packets;
  }

  /** Bytes written, the header included. */
  get bytes(): number {
    return this.#output.total;
  }

  /**
   * Writes a packet that lies somewhere in a larger buffer. This is the fast way, and the one for a packet that a program
   * has rewritten.
   *
   * @param originalLength its length on the wire
   */
  write(
    data: Uint8Array,
    offset: number,
    length: number,
    seconds: number,
    nanoseconds: number,
    originalLength: number,
  ): void {
    checkPacket(data, offset, length, seconds, nanoseconds, originalLength);
    if (seconds < 0 || seconds > 0xffff_ffff) {
      const message = `packet ${this.#packets + 1}: ${seconds} seconds since 1970 do not fit a pcap file; pcapng can hold them`;
      throw new BpfError("usage", message);
    }
    const kept = Math.min(length, this.snaplen);
    const output = this.#output;
    const at = output.reserve(16 + kept);
    const { view } = output;
    const littleEndian = this.#littleEndian;
    view.setUint32(at, seconds, littleEndian);
    view.setUint32(at + 4, this.#nanoseconds ? nanoseconds : Math.floor(nanoseconds / 1000), littleEndian);
    view.setUint32(at + 8, kept, littleEndian);
    view.setUint32(at + 12, originalLength, littleEndian);
    output.copy(data, offset, kept, at + 16);
    this.#packets++;
  }

  /** Writes a packet. Its link type, when it has one, must be the file's. */
  packet(packet: WritablePacket): void {
    const { data, linktype = this.linktype, originalLength = data.length } = packet;
    this.#checkLinktype(linktype);
    const { seconds, nanoseconds } = splitTime(packet.timestampNs);
    this.write(data, 0, data.length, seconds, nanoseconds, originalLength);
  }

  /**
   * Writes the packets of a batch, or those for which `keep` holds something else than 0.
   *
   * @throws BpfError `linktype` when a packet has another link type than the file
   */
  batch(batch: PacketBatch, keep?: ArrayLike<number>): void {
    const { data, offset, capturedLength, originalLength, interfaceIndex, seconds, nanoseconds } = batch;
    let checked = -1;
    for (let i = 0; i < batch.count; i++) {
      if (keep !== undefined && !keep[i]) continue;
      const index = interfaceIndex[i]!;
      if (index !== checked) {
        this.#checkLinktype(batch.interfaces[index]?.linktype ?? -1);
        checked = index;
      }
      this.write(data, offset[i]!, capturedLength[i]!, seconds[i]!, nanoseconds[i]!, originalLength[i]!);
    }
  }

  /** The bytes collected since the last call; the first begin with the header. */
  take(): Uint8Array {
    return this.#output.take();
  }

  /** Gives what is left to the sink. */
  end(): void {
    this.#output.flush();
  }

  #checkLinktype(linktype: number): void {
    if (linktype === this.linktype) return;
    throw new BpfError(
      "linktype",
      `packet ${this.#packets + 1} has link type ${linktypeName(linktype)}, the pcap file has ${linktypeName(this.linktype)}; pcapng can hold both`,
    );
  }
}
