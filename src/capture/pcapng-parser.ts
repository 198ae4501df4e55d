/**
 * Blocks of a pcapng file to rows of a batch (draft-ietf-opsawg-pcapng).
 *
 *      0      4          8                        length-4
 *     +------+----------+---------//-------------+----------+
 *     | type | length   | body, padded to 32 bit | length   |
 *     +------+----------+---------//-------------+----------+
 *
 * A Section Header Block begins a section, sets its byte order and forgets the interfaces before it. The length of the
 * section that it states is not needed and not believed: blocks are walked one by one.
 *
 * Three kinds of blocks carry packets. The enhanced and the obsolete one have their numbers at the same places, except
 * that the old one squeezes interface and drop count into one word. The simple one has neither interface nor time: it
 * belongs to interface 0 and its captured length is the smaller of packet length and snapshot length.
 *
 * All other blocks (name resolution, statistics, decryption secrets, custom ones) are passed over without being
 * buffered, however long; only that the length stands at both ends is checked.
 *
 * Bounds: a packet block holds at most the longest packet of its link type and 16 MiB besides; a section or interface
 * block at most 16 MiB; and all that a file makes us remember (interfaces, sections, their options) at most 64 MiB.
 */

import { BpfError } from "../errors.ts";
import { maxPacketOf } from "./linktypes.ts";
import { BYTE_ORDER_MAGIC, SHB_TYPE, foreignFile } from "./magics.ts";
import { type CaptureOption, decodeOptions } from "./options.ts";
import type { RecordParser, Window } from "./parser.ts";
import { tooLong } from "./pcap-parser.ts";
import { type TickClock, storeTicks, tickClock } from "./time.ts";
import type { CaptureInterface, CaptureSection, PacketBatch } from "./types.ts";

/** The blocks that we read besides the section header; every other type is passed over. */
export const BLOCKS = {
  interface: 1,
  /** Obsolete, but old files have it. */
  packet: 2,
  simplePacket: 3,
  enhancedPacket: 6,
} as const;

const MAX_BLOCK = 16 * 1024 * 1024;
const MAX_REMEMBERED = 64 * 1024 * 1024;

/** The parsers' own estimate of what one remembered thing costs. */
const COST = { block: 1024, option: 128 } as const;

export class PcapngParser implements RecordParser {
  need = 12;
  failure: BpfError | undefined;
  foreign = false;
  readonly sections: CaptureSection[] = [];

  readonly #interfaces: CaptureInterface[];
  #littleEndian = true;
  /** Where the current section's interfaces begin in the list of all. */
  #first = 0;
  #clocks: TickClock[] = [];
  #maxPackets: number[] = [];
  /** Of a block that is being passed over: bytes that are left, the length it must end with (else 0), its place. */
  #passing = 0;
  #trailer = 0;
  #blockAt = 0;
  #remembered = 0;

  constructor(interfaces: CaptureInterface[]) {
    this.#interfaces = interfaces;
  }

  get midway(): boolean {
    return this.#trailer !== 0 || this.sections.length === 0;
  }

  describePending(offset: number, available: number, packet: number): string {
    const begin = this.#trailer === 0 ? offset : this.#blockAt;
    const length = this.#trailer === 0 ? this.need : this.#trailer;
    const what = begin === 0 ? "the section header block" : "the block";
    const there = offset + available - begin;
    return `${what} at byte ${begin}, before packet ${packet}, is cut off: it needs ${length} bytes, only ${there} are there`;
  }

  parse(window: Window, start: number, end: number, batch: PacketBatch): number {
    const { view } = window;
    const { capacity, offset, capturedLength, originalLength, interfaceIndex, seconds, nanoseconds } = batch;
    const { optionsOffset, optionsLength } = batch;
    let littleEndian = this.#littleEndian;
    let position = start;
    let count = batch.count;
    this.need = 0;
    while (count < capacity) {
      if (this.#trailer !== 0) {
        position = this.#passOver(window, position, end);
        if (this.need !== 0 || this.failure !== undefined) break;
      }
      if (end - position < 8) {
        this.need = 8;
        break;
      }
      const type = view.getUint32(position, littleEndian);
      const isEnhanced = type === BLOCKS.enhancedPacket;
      if (!isEnhanced && type !== BLOCKS.packet && type !== BLOCKS.simplePacket) {
        position = this.#other(window, type, position, end, batch.firstNumber + count);
        if (this.need !== 0 || this.failure !== undefined) break;
        littleEndian = this.#littleEndian;
        continue;
      }

      const number = batch.firstNumber + count;
      const isSimple = type === BLOCKS.simplePacket;
      const fixed = isSimple ? 12 : 28;
      const length = view.getUint32(position + 4, littleEndian);
      if (length < fixed + 4 || (length & 3) !== 0) {
        this.failure = badLength(window.base + position, length, fixed + 4, number);
        break;
      }
      if (end - position < fixed) {
        this.need = fixed;
        break;
      }
      let id = 0;
      if (isEnhanced) id = view.getUint32(position + 8, littleEndian);
      else if (!isSimple) id = view.getUint16(position + 8, littleEndian);
      const maxPacket = this.#maxPackets[id];
      if (maxPacket === undefined) {
        this.failure = this.#noInterface(window.base + position, id, number);
        break;
      }
      const original = view.getUint32(position + (isSimple ? 8 : 24), littleEndian);
      const captured = isSimple ? this.#simpleLength(original) : view.getUint32(position + 20, littleEndian);
      if (captured > maxPacket) {
        this.failure = tooLong(window.base + position, number, captured, maxPacket);
        break;
      }
      const body = position + fixed;
      const options = body + ((captured + 3) & ~3);
      const tail = position + length - 4;
      if (options > tail) {
        this.failure = noRoom(window.base + position, number, captured, length - fixed - 4);
        break;
      }
      if (length - captured > MAX_BLOCK) {
        this.failure = tooBig(window.base + position, length);
        break;
      }
      if (position + length > end) {
        this.need = length;
        break;
      }
      if (view.getUint32(tail, littleEndian) !== length) {
        this.failure = badTrailer(window.base + position, length, view.getUint32(tail, littleEndian));
        break;
      }
      offset[count] = body;
      capturedLength[count] = captured;
      originalLength[count] = original;
      interfaceIndex[count] = this.#first + id;
      optionsOffset[count] = options;
      optionsLength[count] = isSimple ? 0 : tail - options;
      if (isSimple) {
        seconds[count] = 0;
        nanoseconds[count] = 0;
      } else {
        const high = view.getUint32(position + 12, littleEndian);
        const low = view.getUint32(position + 16, littleEndian);
        storeTicks(this.#clocks[id]!, high, low, seconds, nanoseconds, count);
      }
      count++;
      position += length;
    }
    batch.count = count;
    return position;
  }

  #simpleLength(original: number): number {
    const snaplen = this.#interfaces[this.#first]?.snaplen ?? 0;
    return snaplen === 0 ? original : Math.min(original, snaplen);
  }

  #noInterface(offset: number, id: number, packet: number): BpfError {
    const there = this.#maxPackets.length;
    const has =
      there === 0 ? "its section describes none" : `its section describes ${there} (0 to ${there - 1})`;
    return new BpfError(
      "capture",
      `packet ${packet} at byte ${offset} came from interface ${id}, but ${has}`,
      {
        where: { offset },
      },
    );
  }

  /** Continues to pass over a block, and checks its end. */
  #passOver(window: Window, start: number, end: number): number {
    const step = Math.min(this.#passing, end - start);
    this.#passing -= step;
    const position = start + step;
    if (this.#passing > 0 || end - position < 4) {
      this.need = this.#passing > 0 ? 1 : 4;
      return position;
    }
    const trailer = window.view.getUint32(position, this.#littleEndian);
    if (trailer !== this.#trailer) this.failure = badTrailer(this.#blockAt, this.#trailer, trailer);
    this.#trailer = 0;
    return position + 4;
  }

  /** A block without a packet. Sets `need` or `failure`, or returns the position after it. */
  #other(window: Window, type: number, position: number, end: number, packet: number): number {
    const { view } = window;
    const at = window.base + position;
    const isSection = type === SHB_TYPE;
    let littleEndian = this.#littleEndian;
    if (isSection) {
      if (end - position < 12) {
        this.need = 12;
        return position;
      }
      littleEndian = view.getUint32(position + 8, true) === BYTE_ORDER_MAGIC;
      if (!littleEndian && view.getUint32(position + 8, false) !== BYTE_ORDER_MAGIC) {
        this.foreign = at === 0;
        this.failure =
          at === 0
            ? foreignFile(window.data.subarray(position, position + 12))
            : new BpfError("capture", `the section header block at byte ${at} has no byte-order magic`, {
                where: { offset: at },
              });
        return position;
      }
    }
    const length = view.getUint32(position + 4, littleEndian);
    const least = isSection ? 28 : type === BLOCKS.interface ? 20 : 12;
    if (length < least || (length & 3) !== 0) {
      this.failure = badLength(at, length, least, packet);
      return position;
    }
    if (!isSection && type !== BLOCKS.interface) {
      this.#trailer = length;
      this.#blockAt = at;
      this.#passing = length - 12;
      return position + 8;
    }
    if (length > MAX_BLOCK) {
      this.failure = tooBig(at, length);
      return position;
    }
    if (end - position < length) {
      this.need = length;
      return position;
    }
    const trailer = view.getUint32(position + length - 4, littleEndian);
    if (trailer !== length) {
      this.failure = badTrailer(at, length, trailer);
      return position;
    }
    try {
      if (isSection) this.#section(window, position, length, littleEndian);
      else this.#interface(window, position, length);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      this.failure = error;
    }
    return position + length;
  }

  #section(window: Window, position: number, length: number, littleEndian: boolean): void {
    const { view } = window;
    const at = window.base + position;
    const version = {
      major: view.getUint16(position + 12, littleEndian),
      minor: view.getUint16(position + 14, littleEndian),
    };
    // 1.2 was never defined but is written, and differs in nothing (section 4.1 of the draft).
    if (version.major !== 1 || (version.minor !== 0 && version.minor !== 2)) {
      const message = `the section header block at byte ${at} has version ${version.major}.${version.minor}; 1.0 is known`;
      throw new BpfError("capture", message, { where: { offset: at } });
    }
    const stated = view.getBigInt64(position + 16, littleEndian);
    const options = this.#options("section", window, position + 24, position + length - 4, littleEndian);
    this.#remember(at, length, options);
    const index = this.sections.length;
    this.sections.push({ index, littleEndian, version, length: stated < 0n ? undefined : stated, options });
    this.#littleEndian = littleEndian;
    this.#first = this.#interfaces.length;
    this.#clocks = [];
    this.#maxPackets = [];
  }

  #interface(window: Window, position: number, length: number): void {
    const { view } = window;
    const littleEndian = this.#littleEndian;
    const at = window.base + position;
    const options = this.#options("interface", window, position + 16, position + length - 4, littleEndian);
    const id = this.#clocks.length;
    const tsresol = Number(timeOption(options, "if_tsresol", id, at) ?? 6);
    const stated = timeOption(options, "if_tsoffset", id, at) ?? 0;
    const tsoffset = Number(stated);
    if (!Number.isSafeInteger(tsoffset)) {
      throw new BpfError(
        "capture",
        `interface ${id} at byte ${at}: if_tsoffset is ${stated} seconds, beyond 2^53`,
        {
          where: { offset: at },
        },
      );
    }
    this.#remember(at, length, options);
    const linktype = view.getUint16(position + 8, littleEndian);
    const fcs = valueOf(options, "if_fcslen");
    const name = valueOf(options, "if_name");
    this.#clocks.push(tickClock(tsresol, tsoffset));
    this.#maxPackets.push(maxPacketOf(linktype));
    this.#interfaces.push({
      index: this.#interfaces.length,
      section: this.sections.length - 1,
      id,
      linktype,
      snaplen: view.getUint32(position + 12, littleEndian),
      littleEndian,
      tsresol,
      tsoffset,
      fcsBits: typeof fcs === "number" ? fcs : undefined,
      name: typeof name === "string" ? name : undefined,
      options,
    });
  }

  #options(
    owner: "section" | "interface",
    window: Window,
    start: number,
    end: number,
    littleEndian: boolean,
  ): CaptureOption[] {
    return decodeOptions(owner, window.data.subarray(start, end), littleEndian, window.base + start);
  }

  #remember(at: number, length: number, options: readonly CaptureOption[]): void {
    this.#remembered += COST.block + length + COST.option * options.length;
    if (this.#remembered > MAX_REMEMBERED) {
      const message = `the block at byte ${at} is one too many: interfaces and sections would take over ${MAX_REMEMBERED} bytes`;
      throw new BpfError("capture", message, { where: { offset: at } });
    }
  }
}

function valueOf(options: readonly CaptureOption[], name: string): CaptureOption["value"] | undefined {
  return options.find((option) => option.name === name)?.value;
}

/** The options that change what time stamps mean must be right; of others a wrong one is merely not understood. */
function timeOption(
  options: readonly CaptureOption[],
  name: string,
  id: number,
  offset: number,
): number | bigint | undefined {
  const found = options.filter((option) => option.name === name);
  const value = found[0]?.value;
  if (found.length > 1) {
    throw new BpfError("capture", `interface ${id} at byte ${offset} has ${found.length} options ${name}`, {
      where: { offset },
    });
  }
  if (value instanceof Uint8Array) {
    throw new BpfError(
      "capture",
      `interface ${id} at byte ${offset}: ${name} is ${value.length} bytes long`,
      {
        where: { offset },
      },
    );
  }
  return typeof value === "string" ? undefined : value;
}

function noRoom(offset: number, packet: number, captured: number, room: number): BpfError {
  return new BpfError(
    "capture",
    `packet ${packet} is damaged: its record at byte ${offset} states ${captured} captured bytes, its block has room for ${room}`,
    { where: { offset } },
  );
}

function badLength(offset: number, length: number, least: number, packet: number): BpfError {
  const what = length < least ? `it is at least ${least}` : "it must be a multiple of 4";
  return new BpfError(
    "capture",
    `the block at byte ${offset}, before packet ${packet}, is damaged: its length is ${length}, ${what}`,
    { where: { offset } },
  );
}

function badTrailer(offset: number, length: number, trailer: number): BpfError {
  return new BpfError(
    "capture",
    `the block at byte ${offset} is damaged: its length is ${length} at the beginning and ${trailer} at the end`,
    { where: { offset } },
  );
}

function tooBig(offset: number, length: number): BpfError {
  return new BpfError("capture", `the block at byte ${offset} is damaged: its length is ${length}`, {
    where: { offset },
  });
}
