/**
 * Records of a pcap file to rows of a batch (draft-ietf-opsawg-pcap).
 *
 *      0      4      8      12     16             24-byte header of the file, then for each packet
 *     +------+------+------+------+---------//
 *     | sec  | frac | cap- | len  | data          fraction in micro- or nanoseconds
 *     |      |      | len  |      |               modified files put 8 bytes more before the data
 *     +------+------+------+------+---------//
 *
 * What libpcap does with odd files, we do, so that a filter sees here what it sees there:
 *
 * - caplen and len changed places in version 2.3. Before it they are swapped; in 2.3 itself they are when caplen comes
 *   out above len, because some programs wrote 2.3 with the old order. Version 543.0 (DG/UX) has the old order.
 * - A packet above the snapshot length of the header is cut to it; the rest of the record is passed over.
 * - A packet above the longest that its link type believes ends the reading: the length is damaged, and with it the
 *   place of everything that follows.
 */

import { BpfError } from "../errors.ts";
import { maxPacketOf } from "./linktypes.ts";
import type { PcapMagic } from "./magics.ts";
import type { RecordParser, Window } from "./parser.ts";
import type { CaptureInterface, PacketBatch, PcapHeader } from "./types.ts";

const FILE_HEADER = 24;

/** The link type stands in the low 26 bits, as libpcap 1.10 reads them; above are flags and the length of the FCS. */
const LINKTYPE_MASK = 0x03ff_ffff;
const FCS_PRESENT = 0x0400_0000;

export class PcapParser implements RecordParser {
  need: number = FILE_HEADER;
  failure: BpfError | undefined;
  readonly foreign = false;
  header: PcapHeader | undefined;

  readonly #magic: PcapMagic;
  readonly #littleEndian: boolean;
  readonly #interfaces: CaptureInterface[];
  readonly #recordHeader: number;
  #maxPacket = 0;
  #snaplen = 0;
  #order: "new" | "old" | "guess" = "new";

  constructor(magic: PcapMagic, littleEndian: boolean, interfaces: CaptureInterface[]) {
    this.#magic = magic;
    this.#littleEndian = littleEndian;
    this.#interfaces = interfaces;
    this.#recordHeader = magic.modified ? 24 : 16;
  }

  get midway(): boolean {
    return this.header === undefined;
  }

  describePending(offset: number, available: number, packet: number): string {
    if (this.header === undefined)
      return `pcap header is cut off: it needs ${FILE_HEADER} bytes, only ${available} are there`;
    const what = available < this.#recordHeader ? "header" : "record";
    return `packet ${packet} is cut off: its ${what} at byte ${offset} needs ${this.need} bytes, only ${available} are there`;
  }

  parse(window: Window, start: number, end: number, batch: PacketBatch): number {
    let position = start;
    if (this.header === undefined) {
      if (end - start < FILE_HEADER) {
        this.need = FILE_HEADER;
        return start;
      }
      this.#readHeader(window.view, start);
      if (this.failure !== undefined) return start;
      position += FILE_HEADER;
    }
    const { view } = window;
    const {
      capacity,
      offset,
      capturedLength,
      originalLength,
      interfaceIndex,
      seconds,
      nanoseconds,
      optionsLength,
    } = batch;
    const littleEndian = this.#littleEndian;
    const header = this.#recordHeader;
    const maxPacket = this.#maxPacket;
    const snaplen = this.#snaplen;
    const order = this.#order;
    const scale = this.#magic.resolution === "ns" ? 1 : 1000;
    const unit = this.#magic.resolution === "ns" ? 1_000_000_000 : 1_000_000;
    let count = batch.count;
    this.need = 0;
    while (count < capacity) {
      const body = position + header;
      if (body > end) {
        this.need = header;
        break;
      }
      let captured = view.getUint32(position + 8, littleEndian);
      let original = view.getUint32(position + 12, littleEndian);
      if (order !== "new" && (order === "old" || captured > original)) {
        const swap = captured;
        captured = original;
        original = swap;
      }
      if (captured > maxPacket) {
        this.failure = tooLong(window.base + position, batch.firstNumber + count, captured, maxPacket);
        break;
      }
      const next = body + captured;
      if (next > end) {
        this.need = header + captured;
        break;
      }
      const fraction = view.getUint32(position + 4, littleEndian);
      seconds[count] = view.getUint32(position, littleEndian);
      if (fraction < unit) {
        nanoseconds[count] = fraction * scale;
      } else {
        // Seen in damaged files only: whole seconds go where they belong, so that nanoseconds stay below a second.
        const whole = Math.floor(fraction / unit);
        seconds[count]! += whole;
        nanoseconds[count] = (fraction - whole * unit) * scale;
      }
      offset[count] = body;
      capturedLength[count] = captured > snaplen ? snaplen : captured;
      originalLength[count] = original;
      interfaceIndex[count] = 0;
      optionsLength[count] = 0;
      count++;
      position = next;
    }
    batch.count = count;
    return position;
  }

  #readHeader(view: DataView, at: number): void {
    const littleEndian = this.#littleEndian;
    const version = {
      major: view.getUint16(at + 4, littleEndian),
      minor: view.getUint16(at + 6, littleEndian),
    };
    const known =
      (version.major === 2 && version.minor <= 4) || (version.major === 543 && version.minor === 0);
    if (!known) {
      this.failure = new BpfError(
        "capture",
        `pcap header: version ${version.major}.${version.minor} is unknown; 2.0 to 2.4 and 543.0 exist`,
        { where: { offset: 4 } },
      );
      return;
    }
    const snaplen = view.getUint32(at + 16, littleEndian);
    const linktypeField = view.getUint32(at + 20, littleEndian);
    const linktype = linktypeField & LINKTYPE_MASK;
    this.header = {
      littleEndian,
      resolution: this.#magic.resolution,
      modified: this.#magic.modified,
      version,
      thiszone: view.getInt32(at + 8, littleEndian),
      sigfigs: view.getUint32(at + 12, littleEndian),
      snaplen,
      linktypeField,
    };
    this.#maxPacket = maxPacketOf(linktype);
    const unlimited = snaplen === 0 || snaplen > 0x7fff_ffff;
    // Modified files were captured in "cooked" mode with 14 bytes of Ethernet header put before the snapshot.
    const cooked = this.#magic.modified && linktype === 1 ? 14 : 0;
    this.#snaplen = unlimited ? this.#maxPacket : snaplen + cooked;
    this.#order = version.major === 543 || version.minor < 3 ? "old" : version.minor === 3 ? "guess" : "new";
    this.#interfaces.push({
      index: 0,
      section: 0,
      id: 0,
      linktype,
      snaplen: unlimited ? 0 : snaplen,
      littleEndian,
      tsresol: this.#magic.resolution === "ns" ? 9 : 6,
      tsoffset: 0,
      // The field counts 16-bit words.
      fcsBits: linktypeField & FCS_PRESENT ? (linktypeField >>> 28) * 16 : undefined,
      name: undefined,
      options: [],
    });
  }
}

/** The error for a captured length that nobody can mean. */
export function tooLong(offset: number, packet: number, captured: number, most: number): BpfError {
  return new BpfError(
    "capture",
    `packet ${packet} is damaged: its record at byte ${offset} states ${captured} captured bytes, ${most} is the most`,
    { where: { offset } },
  );
}
