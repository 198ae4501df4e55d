/** The shapes that readers and writers share. */

import type { BpfError } from "../errors.ts";
import type { CaptureOption } from "./options.ts";

/** The two families of files. */
export type CaptureFormat = "pcap" | "pcapng";

/** What the 24 bytes at the head of a pcap file say. */
export interface PcapHeader {
  readonly littleEndian: boolean;
  /** The unit of the fraction in each time stamp: microseconds or nanoseconds. */
  readonly resolution: "us" | "ns";
  /** The "modified" format of some Linux distributions of 1999, whose record headers are 24 bytes long. */
  readonly modified: boolean;
  readonly version: { readonly major: number; readonly minor: number };
  /** Seconds to correct time stamps by; every program writes 0, and like all readers we do not apply it. */
  readonly thiszone: number;
  readonly sigfigs: number;
  /** As it stands in the file; 0 and values above 2^31 - 1 mean "no limit". */
  readonly snaplen: number;
  /** The whole 32-bit field of the link type, with the bits that tell of a frame check sequence. */
  readonly linktypeField: number;
}

/** A section of a pcapng file; most files have one. */
export interface CaptureSection {
  readonly index: number;
  readonly littleEndian: boolean;
  readonly version: { readonly major: number; readonly minor: number };
  /** Its length in bytes as the file states it, or undefined when the file leaves it open. It is never relied upon. */
  readonly length: bigint | undefined;
  readonly options: readonly CaptureOption[];
}

/** What packets came from. A pcap file has exactly one; pcapng describes them with IDBs. */
export interface CaptureInterface {
  /** Its place among all interfaces of the file: what `interfaceIndex` of a packet refers to. */
  readonly index: number;
  /** The section it belongs to, and its number there. 0 for pcap. */
  readonly section: number;
  readonly id: number;
  /** LINKTYPE_ value. */
  readonly linktype: number;
  /** Bytes of a packet that were kept at most; 0 means no limit. */
  readonly snaplen: number;
  /**
   * The byte order of the file or section. It matters beyond the headers: some link types (NULL, NFLOG, USB_LINUX and
   * others) have fields in the byte order of the machine that captured. Packet bytes are always delivered as they
   * stand in the file.
   */
  readonly littleEndian: boolean;
  /** if_tsresol: with the top bit clear 10^-n seconds, with it set 2^-n. 6 (microseconds) when the file says nothing. */
  readonly tsresol: number;
  /** if_tsoffset: seconds that were added to each time stamp. */
  readonly tsoffset: number;
  /** Length of the frame check sequence at the end of each packet in bits, when the file states it. */
  readonly fcsBits: number | undefined;
  /** if_name, when there is one. */
  readonly name: string | undefined;
  /** All options in the order of the file, those above included. Empty for pcap. */
  readonly options: readonly CaptureOption[];
}

/**
 * Many packets at once, as columns: row i of each array is packet i, and its bytes are
 * `data.subarray(offset[i], offset[i] + capturedLength[i])`. The reader fills the arrays again and again, so nothing is
 * allocated for a packet. All is valid until the reader is called again.
 */
export interface PacketBatch {
  /** How many packets it can take. */
  readonly capacity: number;
  /** How many it holds. */
  count: number;
  /** What the offsets point into: the caller's chunk itself, or the reader's buffer for a packet across two chunks. */
  data: Uint8Array;
  /** The number of the first packet in its file, counted from 1 as tcpdump and Wireshark do. */
  firstNumber: number;
  /** The file's interfaces so far: what {@link PacketBatch.interfaceIndex} points into. */
  interfaces: readonly CaptureInterface[];
  readonly offset: Uint32Array;
  readonly capturedLength: Uint32Array;
  /** The packet's length on the wire. */
  readonly originalLength: Uint32Array;
  readonly interfaceIndex: Uint32Array;
  /** Seconds since 1970 UTC, whole; exact up to 2^53. 0 for Simple Packet Blocks, which have no time. */
  readonly seconds: Float64Array;
  /** 0 to 999,999,999. */
  readonly nanoseconds: Uint32Array;
  /** Where in `data` the packet's pcapng options stand, undecoded, and how many bytes; 0 when there are none. */
  readonly optionsOffset: Uint32Array;
  readonly optionsLength: Uint32Array;
}

/** One packet by itself. */
export interface CapturedPacket {
  /** Counted from 1. */
  readonly number: number;
  /** The captured bytes: a copy, the caller's own. */
  readonly data: Uint8Array;
  readonly originalLength: number;
  /** Nanoseconds since 1970 UTC. */
  readonly timestampNs: bigint;
  /** Index into the capture's interfaces. */
  readonly interfaceIndex: number;
  /** LINKTYPE_ value. */
  readonly linktype: number;
  /** pcapng options as they stand in the file, for {@link decodePacketOptions}; empty when there are none. */
  readonly rawOptions: Uint8Array;
  /** The byte order of those. */
  readonly littleEndian: boolean;
}

/**
 * Why reading stopped before the end. Everything before that place has been delivered.
 *
 * - `foreign`: the file is no capture at all.
 * - `truncated`: the file ends in the middle of a record, as when a capturing program was killed or is still writing.
 * - `corrupt`: a record that cannot be right; what follows cannot be found.
 *
 * `error.where.offset` is where the record begins, in bytes from the start of the (decompressed) file.
 */
export interface CaptureDamage {
  readonly kind: "foreign" | "truncated" | "corrupt";
  /** Packets delivered before it. */
  readonly packets: number;
  readonly error: BpfError;
}
