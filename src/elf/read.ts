import { BpfError } from "../errors.ts";
import { StringTable, plainBytes } from "../bytes.ts";
import {
  EM_BPF,
  EM_NONE,
  FILE_TYPES,
  MACHINES,
  SECTION_FLAGS,
  SECTION_TYPES,
  SIZES_64,
  SPECIAL_SECTIONS,
} from "./constants.ts";

/** A section header. Sizes and offsets are in bytes. */
export interface ElfSection {
  readonly index: number;
  readonly name: string;
  /** One of SECTION_TYPES, or a number that we have no name for. */
  readonly type: number;
  /** Bits of SECTION_FLAGS. */
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly alignment: number;
  readonly entrySize: number;
}

/** A symbol. */
export interface ElfSymbol {
  readonly index: number;
  readonly name: string;
  /** Offset in its section. */
  readonly value: number;
  /** Bytes that it covers; 0 if unknown. */
  readonly size: number;
  /** One of SYMBOL_TYPES. */
  readonly type: number;
  /** One of SYMBOL_BINDINGS. */
  readonly binding: number;
  /** One of SYMBOL_VISIBILITIES. */
  readonly visibility: number;
  /** Index of the section that it lies in, or one of SPECIAL_SECTIONS. */
  readonly section: number;
}

/** A relocation entry. */
export interface ElfRelocation {
  /** Offset in the section that is relocated. */
  readonly offset: number;
  /** A number of RELOCATION_TYPES. */
  readonly type: number;
  readonly symbol: ElfSymbol;
  /** Of SHT_RELA; BPF uses SHT_REL, whose addend stands in the relocated bytes. */
  readonly addend: number | undefined;
}

/** An object file: headers at once, everything else when asked for. */
export interface ElfFile {
  /** The name that messages use. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  readonly machine: number;
  /** All sections, by index; number 0 is the empty one that ELF prescribes. */
  readonly sections: readonly ElfSection[];
  /** All symbols, by index; empty if the object has no symbol table. */
  readonly symbols: readonly ElfSymbol[];
  /**
   * The bytes of a section: a view on the file, not a copy. Zero-length for SHT_NOBITS.
   *
   * @throws BpfError code "elf" if they lie outside the file, "unsupported" if they are compressed.
   */
  data(section: ElfSection): Uint8Array;
  /** The relocations of a section, in the file's order; all SHT_REL and SHT_RELA sections that name it together. */
  relocations(section: ElfSection): readonly ElfRelocation[];
}

/** What readers of files can be told. */
export interface ReadOptions {
  /** The name that messages begin with, usually the file's. */
  readonly name?: string;
}

/**
 * Reads the headers of an ELF-64 object for BPF, of either byte order. Damage in a section that nobody asks for does
 * not matter.
 *
 * @throws BpfError code "elf": no ELF file, 32 bits, another machine, no relocatable object, headers outside the file.
 * @example
 * const elf = parseElf(bytes, { name: "firewall.bpf.o" });
 * const text = elf.sections.find((section) => section.name === ".text");
 * if (text) console.log(elf.data(text).length, elf.relocations(text).length);
 */
export function parseElf(source: Uint8Array, { name = "object" }: ReadOptions = {}): ElfFile {
  const bytes = plainBytes(source);
  const fail = (message: string, offset?: number): BpfError =>
    new BpfError("elf", `${name}: ${message}`, {
      where: { file: name, ...(offset === undefined ? {} : { offset }) },
    });

  const { littleEndian, view } = readIdentification(bytes, fail);
  const type = view.getUint16(16, littleEndian);
  const machine = view.getUint16(18, littleEndian);
  if (machine !== EM_BPF && machine !== EM_NONE) {
    const known = MACHINES[machine];
    throw fail(`e_machine is ${machine}${known ? ` (${known})` : ""}, not ${EM_BPF} (BPF)`, 18);
  }
  if (type !== FILE_TYPES.rel) {
    const known = Object.entries(FILE_TYPES).find(([, id]) => id === type)?.[0];
    throw fail(
      `e_type is ${type}${known ? ` (${known})` : ""}, not ${FILE_TYPES.rel} (relocatable object)`,
      16,
    );
  }
  const sections = readSections(bytes, view, littleEndian, fail);

  // Sections of a real file do not overlap. This keeps the work of whoever reads all of them below the file's size, even if
  // ten thousand headers claim the same bytes.
  const seen = new Set<number>();
  let claimed = 0;
  const data = (section: ElfSection): Uint8Array => {
    if (section.type === SECTION_TYPES.nobits) return bytes.subarray(0, 0);
    if ((section.flags & SECTION_FLAGS.compressed) !== 0) {
      throw new BpfError("unsupported", `${name}: section '${section.name}' is compressed`, {
        where: { file: name, section: section.name },
      });
    }
    if (section.offset + section.size > bytes.length) {
      throw fail(
        `section '${section.name}' (offset ${section.offset}, ${section.size} bytes) goes beyond the end of the file ` +
          `(${bytes.length} bytes)`,
        section.offset,
      ).at({ section: section.name });
    }
    if (!seen.has(section.index)) {
      seen.add(section.index);
      claimed += section.size;
    }
    if (claimed > bytes.length) throw fail(`section '${section.name}' overlaps others`, section.offset);
    return bytes.subarray(section.offset, section.offset + section.size);
  };

  let symbols: readonly ElfSymbol[] | undefined;
  let relocationSections: Map<number, ElfSection[]> | undefined;
  return {
    name,
    bytes,
    littleEndian,
    machine,
    sections,
    get symbols() {
      return (symbols ??= readSymbols(sections, data, littleEndian, fail));
    },
    data,
    relocations(section) {
      relocationSections ??= groupRelocationSections(sections);
      const entries: ElfRelocation[] = [];
      for (const table of relocationSections.get(section.index) ?? []) {
        readRelocations(table, data(table), this.symbols, littleEndian, fail, entries);
      }
      return entries;
    },
  };
}

type Fail = (message: string, offset?: number) => BpfError;

function readIdentification(bytes: Uint8Array, fail: Fail): { littleEndian: boolean; view: DataView } {
  if (bytes.length < 4 || bytes[0] !== 0x7f || bytes[1] !== 0x45 || bytes[2] !== 0x4c || bytes[3] !== 0x46) {
    const start = Array.from(bytes.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw fail(
      `not an ELF file: it ${bytes.length === 0 ? "is empty" : `begins with ${start}, not 7f 45 4c 46`}`,
      0,
    );
  }
  if (bytes.length < SIZES_64.header) {
    throw fail(`cut off: ${bytes.length} bytes, less than an ELF header (${SIZES_64.header})`, bytes.length);
  }
  if (bytes[4] !== 2)
    throw fail(
      bytes[4] === 1 ? "a 32-bit ELF file; BPF is 64-bit" : `ELF class ${bytes[4]} does not exist`,
      4,
    );
  if (bytes[5] !== 1 && bytes[5] !== 2)
    throw fail(`byte order ${bytes[5]} does not exist (1 little, 2 big)`, 5);
  return {
    littleEndian: bytes[5] === 1,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  };
}

/** A 64-bit number; above 2^53 it loses precision, but stays larger than every file. */
function readU64(view: DataView, at: number, littleEndian: boolean): number {
  const first = view.getUint32(at, littleEndian);
  const second = view.getUint32(at + 4, littleEndian);
  return littleEndian ? second * 0x1_0000_0000 + first : first * 0x1_0000_0000 + second;
}

function readSections(
  bytes: Uint8Array,
  view: DataView,
  littleEndian: boolean,
  fail: Fail,
): readonly ElfSection[] {
  const start = readU64(view, 40, littleEndian);
  const entrySize = view.getUint16(58, littleEndian);
  let count = view.getUint16(60, littleEndian);
  let names = view.getUint16(62, littleEndian);
  if (start === 0) throw fail("has no section headers", 40);
  if (entrySize < SIZES_64.section)
    throw fail(`section headers of ${entrySize} bytes, less than ${SIZES_64.section}`, 58);
  const available = Math.floor((bytes.length - start) / entrySize);
  const tooFew = (): BpfError =>
    fail(
      `cut off: ${count} section headers at offset ${start} go beyond the end of the file (${bytes.length} bytes)`,
      start,
    );
  if (!(available >= 1)) throw tooFew();
  // Numbers that do not fit into the file header stand in the first section header (System V ABI, e_shnum, e_shstrndx).
  if (count === 0) count = readU64(view, start + 32, littleEndian);
  if (names === SPECIAL_SECTIONS.xindex) names = view.getUint32(start + 40, littleEndian);
  if (count > available) throw tooFew();

  const raw: Omit<ElfSection, "name">[] = [];
  const nameOffsets: number[] = [];
  for (let index = 0; index < count; index++) {
    const at = start + index * entrySize;
    nameOffsets.push(view.getUint32(at, littleEndian));
    raw.push({
      index,
      type: view.getUint32(at + 4, littleEndian),
      flags: readU64(view, at + 8, littleEndian) % 0x1_0000_0000,
      offset: readU64(view, at + 24, littleEndian),
      size: readU64(view, at + 32, littleEndian),
      link: view.getUint32(at + 40, littleEndian),
      info: view.getUint32(at + 44, littleEndian),
      alignment: readU64(view, at + 48, littleEndian),
      entrySize: readU64(view, at + 56, littleEndian),
    });
  }
  const table = raw[names];
  if (names === SPECIAL_SECTIONS.undef || table === undefined || table.type !== SECTION_TYPES.strtab) {
    throw fail(`e_shstrndx is ${names}, which is no string table`, 62);
  }
  if (table.offset + table.size > bytes.length) {
    throw fail("the table of section names goes beyond the end of the file", table.offset);
  }
  const strings = new StringTable(
    bytes.subarray(table.offset, table.offset + table.size),
    "elf",
    "section names",
  );
  return raw.map((section, index) => ({ ...section, name: strings.at(nameOffsets[index] as number) }));
}

function readSymbols(
  sections: readonly ElfSection[],
  data: (section: ElfSection) => Uint8Array,
  littleEndian: boolean,
  fail: Fail,
): readonly ElfSymbol[] {
  const table = sections.find(({ type }) => type === SECTION_TYPES.symtab);
  if (table === undefined) return [];
  const bytes = data(table);
  const step = table.entrySize === 0 ? SIZES_64.symbol : table.entrySize;
  if (step < SIZES_64.symbol || bytes.length % step !== 0) {
    throw fail(
      `section '${table.name}': ${bytes.length} bytes are no whole number of symbols of ${step} bytes`,
      table.offset,
    );
  }
  const names = sections[table.link];
  if (names === undefined || names.type !== SECTION_TYPES.strtab) {
    throw fail(
      `section '${table.name}': its names are in section ${table.link}, which is no string table`,
      table.offset,
    );
  }
  const strings = new StringTable(data(names), "elf", `section '${names.name}'`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const symbols: ElfSymbol[] = [];
  for (let index = 0, at = 0; at < bytes.length; index++, at += step) {
    const info = view.getUint8(at + 4);
    const section = view.getUint16(at + 6, littleEndian);
    const name = strings.at(view.getUint32(at, littleEndian));
    if (section >= sections.length && section < SPECIAL_SECTIONS.loreserve) {
      throw fail(
        `symbol '${name}' (number ${index}) lies in section ${section}, which does not exist`,
        table.offset + at,
      );
    }
    symbols.push({
      index,
      name,
      value: readU64(view, at + 8, littleEndian),
      size: readU64(view, at + 16, littleEndian),
      type: info & 15,
      binding: info >> 4,
      visibility: view.getUint8(at + 5) & 3,
      section,
    });
  }
  return symbols;
}

function groupRelocationSections(sections: readonly ElfSection[]): Map<number, ElfSection[]> {
  const groups = new Map<number, ElfSection[]>();
  for (const section of sections) {
    if (section.type !== SECTION_TYPES.rel && section.type !== SECTION_TYPES.rela) continue;
    const group = groups.get(section.info);
    if (group === undefined) groups.set(section.info, [section]);
    else group.push(section);
  }
  return groups;
}

function readRelocations(
  table: ElfSection,
  bytes: Uint8Array,
  symbols: readonly ElfSymbol[],
  littleEndian: boolean,
  fail: Fail,
  into: ElfRelocation[],
): void {
  const explicit = table.type === SECTION_TYPES.rela;
  const least = explicit ? SIZES_64.rela : SIZES_64.rel;
  const step = table.entrySize === 0 ? least : table.entrySize;
  if (step < least || bytes.length % step !== 0) {
    throw fail(
      `section '${table.name}': ${bytes.length} bytes are no whole number of relocations of ${step} bytes`,
      table.offset,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += step) {
    // r_info: the type in its low half, the symbol in its high half.
    const type = view.getUint32(at + (littleEndian ? 8 : 12), littleEndian);
    const number = view.getUint32(at + (littleEndian ? 12 : 8), littleEndian);
    const symbol = symbols[number];
    if (symbol === undefined) {
      throw new BpfError(
        "relocation",
        `section '${table.name}': relocation ${at / step} refers to symbol ${number}, which does not exist`,
        { where: { section: table.name, offset: table.offset + at } },
      );
    }
    into.push({
      offset: readU64(view, at, littleEndian),
      type,
      symbol,
      addend: explicit ? Number(view.getBigInt64(at + 16, littleEndian)) : undefined,
    });
  }
}
