import { BpfError } from "../errors.ts";
import { StringTable, plainBytes } from "../bytes.ts";
import { decodeType } from "./decode.ts";
import { BTF_KINDS, type BtfKind, type BtfType, TYPE_HEADER, kindOf, lengthOf } from "./types.ts";

/** The first two bytes of `.BTF` and `.BTF.ext`. */
export const BTF_MAGIC = 0xeb9f;

const HEADER = 24;
const KINDS_BY_ID = new Map<number, (typeof BTF_KINDS)[number]>(BTF_KINDS.map((row) => [row.id, row]));

const VOID: BtfType = { id: 0, kind: "void", name: "" };

/** How {@link parseBtf} reads. */
export interface BtfOptions {
  /** The types that these build on: vmlinux for a kernel module ("split BTF"). */
  readonly base?: Btf;
  /** Begins the messages; default "BTF". */
  readonly name?: string;
}

/**
 * Types, decoded when they are asked for: opening costs one walk over the type headers and 4 bytes of memory a type.
 */
export class Btf {
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  readonly base: Btf | undefined;
  readonly name: string;
  readonly #view: DataView;
  readonly #offsets: Uint32Array;
  readonly #first: number;
  readonly #strings: StringTable;
  readonly #stringBase: number;
  readonly #types: Map<number, BtfType> = new Map();
  #index: NameIndex | undefined;

  /** @internal Use {@link parseBtf}. */
  constructor(source: Uint8Array, { base, name = "BTF" }: BtfOptions = {}) {
    const bytes = plainBytes(source);
    this.bytes = bytes;
    this.base = base;
    this.name = name;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.littleEndian = readMagic(bytes, name, ".BTF");
    if (base !== undefined && base.littleEndian !== this.littleEndian) {
      throw new BpfError("btf", `${name}: its byte order differs from that of its base`);
    }
    const header = this.#readHeader();
    this.#first = base === undefined ? 1 : base.count;
    this.#stringBase = base === undefined ? 0 : base.stringEnd;
    this.#strings = new StringTable(header.strings, "btf", `${name}: strings`);
    this.#offsets = this.#indexTypes(header.typeStart, header.typeEnd);
  }

  /** Ids run from 0 (`void`) to count - 1, those of the base included. */
  get count(): number {
    return this.#first + this.#offsets.length;
  }

  /** The first id that is not the base's. */
  get firstId(): number {
    return this.#first;
  }

  /** @internal One past the last string offset, where a split BTF on this one continues. */
  get stringEnd(): number {
    return this.#stringBase + this.#strings.bytes.length;
  }

  /**
   * The type of an id.
   *
   * @throws BpfError code "btf" if there is none, or if it refers to types or strings that do not exist.
   */
  type(id: number): BtfType {
    if (id === 0) return VOID;
    if (id < this.#first && this.base !== undefined) return this.base.type(id);
    const known = this.#types.get(id);
    if (known !== undefined) return known;
    const type = decodeType(this, this.#view, this.offsetOf(id), id);
    this.#types.set(id, type);
    return type;
  }

  /** @internal Where the record of a type begins in {@link bytes}; it must not be the base's. */
  offsetOf(id: number): number {
    const offset = this.#offsets[id - this.#first];
    if (offset === undefined) {
      throw new BpfError("btf", `${this.name}: type ${id} does not exist (there are ${this.count})`);
    }
    return offset;
  }

  /** The kind of a type, without decoding it. */
  kind(id: number): BtfKind {
    if (id === 0) return "void";
    if (id < this.#first && this.base !== undefined) return this.base.kind(id);
    const info = this.#view.getUint32(this.offsetOf(id) + 4, this.littleEndian);
    return kindRow(info)?.name ?? "void";
  }

  /** A string by its offset; offsets below the base's end are the base's. */
  string(offset: number): string {
    if (offset < this.#stringBase && this.base !== undefined) return this.base.string(offset);
    return this.#strings.at(offset - this.#stringBase);
  }

  /** All types from `from` on, in order; decodes each. */
  *types(from = 1): Generator<BtfType> {
    for (let id = from; id < this.count; id++) yield this.type(id);
  }

  /**
   * The types of a name, in order of their ids, those of the base first.
   *
   * @example
   * const [task] = btf.find("task_struct", "struct");
   */
  find(name: string, kind?: BtfKind): readonly BtfType[] {
    const found: BtfType[] = this.base === undefined ? [] : [...this.base.find(name, kind)];
    this.#index ??= new NameIndex(this, this.#view, this.#offsets, this.#first);
    for (const id of this.#index.candidates(name)) {
      if (kind !== undefined && this.kind(id) !== kind) continue;
      const type = this.type(id);
      if (type.name === name) found.push(type);
    }
    return found;
  }

  /**
   * @internal The ids of types whose name is `name` but for a flavour ("task_struct___old"), those of the base first. Some
   * may be of other names: the caller compares.
   */
  *candidates(name: string): Generator<number> {
    if (this.base !== undefined) yield* this.base.candidates(name);
    this.#index ??= new NameIndex(this, this.#view, this.#offsets, this.#first);
    yield* this.#index.candidates(name);
  }

  /** @internal A hash of a string, without decoding it. */
  hashOf(offset: number): number {
    if (offset < this.#stringBase && this.base !== undefined) return this.base.hashOf(offset);
    return hashName(this.#strings.bytes, offset - this.#stringBase);
  }

  #readHeader(): { typeStart: number; typeEnd: number; strings: Uint8Array } {
    const { name, bytes, littleEndian } = this;
    const view = this.#view;
    if (bytes.length < HEADER)
      throw new BpfError("btf", `${name}: cut off in its header (${bytes.length} bytes)`);
    if (bytes[2] !== 1) throw new BpfError("btf", `${name}: version ${bytes[2]} is not known, only 1`);
    const length = view.getUint32(4, littleEndian);
    const part = (what: string, at: number): readonly [number, number] => {
      const start = length + view.getUint32(at, littleEndian);
      const end = start + view.getUint32(at + 4, littleEndian);
      if (length < HEADER || end > bytes.length) {
        throw new BpfError(
          "btf",
          `${name}: its ${what} (bytes ${start} to ${end}) lie outside of it (${bytes.length} bytes)`,
        );
      }
      return [start, end];
    };
    const [typeStart, typeEnd] = part("types", 8);
    const [stringStart, stringEnd] = part("strings", 16);
    if (typeStart % 4 !== 0)
      throw new BpfError("btf", `${name}: its types begin at byte ${typeStart}, not aligned to 4`);
    const strings = bytes.subarray(stringStart, stringEnd);
    if (strings.length > 0 && strings[strings.length - 1] !== 0) {
      throw new BpfError("btf", `${name}: its last string is not terminated`);
    }
    return { typeStart, typeEnd, strings };
  }

  #indexTypes(start: number, end: number): Uint32Array {
    const view = this.#view;
    // No type is smaller than its header.
    const offsets = new Uint32Array(Math.floor((end - start) / TYPE_HEADER));
    let count = 0;
    for (let at = start; at < end; count++) {
      const fail = (why: string): BpfError =>
        new BpfError("btf", `${this.name}: type ${this.#first + count} ${why}`, { where: { offset: at } });
      if (at + TYPE_HEADER > end) throw fail("is cut off");
      const info = view.getUint32(at + 4, this.littleEndian);
      const row = kindRow(info);
      if (row === undefined) throw fail(`is of kind ${kindOf(info)}, which is not known`);
      offsets[count] = at;
      at += TYPE_HEADER + row.tail + row.each * lengthOf(info);
      if (at > end) throw fail(`(${row.name}) goes beyond the end of the types`);
    }
    return offsets.subarray(0, count);
  }
}

/**
 * Opens the contents of a `.BTF` section or of `/sys/kernel/btf/vmlinux`, of either byte order. The bytes are kept, not
 * copied.
 *
 * @throws BpfError code "btf" if the header or a type's extent is damaged; a damaged type body is found when that type
 * is asked for.
 * @example
 * const btf = parseBtf(bytes);
 * for (const type of btf.types()) console.log(type.id, type.kind, type.name);
 */
export function parseBtf(bytes: Uint8Array, options: BtfOptions = {}): Btf {
  return new Btf(bytes, options);
}

/** Checks the magic of `.BTF` or `.BTF.ext`; true if little-endian. */
export function readMagic(bytes: Uint8Array, name: string, section: string): boolean {
  const first = bytes[0];
  const second = bytes[1];
  if (first === (BTF_MAGIC & 255) && second === BTF_MAGIC >> 8) return true;
  if (first === BTF_MAGIC >> 8 && second === (BTF_MAGIC & 255)) return false;
  const start = Array.from(bytes.subarray(0, 2), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  throw new BpfError(
    "btf",
    `${name}: no ${section} data: it ${bytes.length < 2 ? "is too short" : `begins with ${start}`}`,
  );
}

function kindRow(info: number): (typeof BTF_KINDS)[number] | undefined {
  return KINDS_BY_ID.get(kindOf(info));
}

/**
 * Ids by a hash of their names, in chains: 8 bytes of memory a type and no decoded strings, built at the first look-up
 * in one pass over the names.
 */
class NameIndex {
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #first: number;

  constructor(btf: Btf, view: DataView, offsets: Uint32Array, first: number) {
    let size = 16;
    while (size < offsets.length) size *= 2;
    this.#heads = new Int32Array(size).fill(-1);
    this.#next = new Int32Array(offsets.length);
    this.#first = first;
    // Backwards, so that the chains run from low ids to high ones.
    for (let index = offsets.length - 1; index >= 0; index--) {
      const slot = btf.hashOf(view.getUint32(offsets[index] as number, btf.littleEndian)) & (size - 1);
      this.#next[index] = this.#heads[slot] as number;
      this.#heads[slot] = index;
    }
  }

  *candidates(name: string): Generator<number> {
    const slot = hashName(new TextEncoder().encode(`${name}\0`), 0) & (this.#heads.length - 1);
    for (let index = this.#heads[slot] as number; index >= 0; index = this.#next[index] as number) {
      yield this.#first + index;
    }
  }
}

const UNDERSCORE = 0x5f;

/**
 * FNV-1a over at most 256 bytes: strings that overlap without measure must not cost a square. A name's flavour (see
 * core/names.ts) does not count, so that the same index answers for names with and without.
 */
function hashName(bytes: Uint8Array, start: number): number {
  let hash = 0x811c9dc5;
  /** The hash of what stands before the last separator. */
  let essential: number | undefined;
  /** The hash before the run of underscores that we are in, and the run's length. */
  let before = 0;
  let run = 0;
  const end = Math.min(bytes.length, start + 256);
  for (let index = start; index < end; index++) {
    const byte = bytes[index] as number;
    if (byte === 0) break;
    if (byte === UNDERSCORE) {
      if (run === 0) before = hash;
      run++;
    } else {
      if (run === 3 && index > start + 3) essential = before;
      run = 0;
    }
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  const result = essential ?? hash;
  return result ^ (result >>> 15);
}
