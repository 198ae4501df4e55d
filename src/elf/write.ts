import { BpfError } from "../errors.ts";
import {
  EM_BPF,
  FILE_TYPES,
  SECTION_FLAGS,
  SECTION_TYPES,
  SIZES_64,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
} from "./constants.ts";

/** A section to write. */
export interface SectionSource {
  readonly name: string;
  readonly data: Uint8Array;
  /** One of SECTION_TYPES; default progbits. */
  readonly type?: number;
  /** Bits of SECTION_FLAGS; default alloc, for programs add execinstr. */
  readonly flags?: number;
  /** A power of two; default 8. */
  readonly alignment?: number;
  /** Of a nobits section, whose bytes are zero and not in the file; default the length of `data`. */
  readonly size?: number;
}

/** A symbol to write. */
export interface SymbolSource {
  readonly name: string;
  /** Index in `sections`; undefined for a symbol that another object defines. */
  readonly section?: number;
  /** Offset in its section; default 0. */
  readonly value?: number;
  readonly size?: number;
  /** One of SYMBOL_TYPES; default notype. */
  readonly type?: number;
  /** One of SYMBOL_BINDINGS; default global. */
  readonly binding?: number;
  /** One of SYMBOL_VISIBILITIES; default default. */
  readonly visibility?: number;
}

/** A relocation to write; its addend stands in the section's bytes. */
export interface RelocationSource {
  /** Index in `sections`. */
  readonly section: number;
  readonly offset: number;
  /** A number of RELOCATION_TYPES. */
  readonly type: number;
  /** Index in `symbols`. */
  readonly symbol: number;
}

/** What {@link writeElf} puts together. */
export interface ElfSource {
  readonly sections: readonly SectionSource[];
  readonly symbols?: readonly SymbolSource[];
  readonly relocations?: readonly RelocationSource[];
  /** Default true. */
  readonly littleEndian?: boolean;
}

interface Placed {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly data: Uint8Array;
  readonly link: number;
  readonly info: number;
  readonly alignment: number;
  readonly entrySize: number;
  readonly size?: number;
  offset: number;
}

/**
 * Writes a relocatable ELF-64 object for BPF: the given sections, one `.rel` section for each that has relocations,
 * `.symtab` and `.strtab`. The same input gives the same bytes.
 *
 * @throws BpfError code "usage" for an index that does not exist.
 * @example
 * const bytes = writeElf({
 *   sections: [{ name: "xdp", data: encodeInstructions(program), flags: 6 }],
 *   symbols: [{ name: "pass", section: 0, type: 2, size: 8 * program.length }],
 * });
 */
export function writeElf({
  sections,
  symbols = [],
  relocations = [],
  littleEndian = true,
}: ElfSource): Uint8Array {
  const strings = new StringBuilder();
  // Index 0 is the empty section, so a given section's index is one higher.
  const symbolTableIndex = 1 + sections.length + new Set(relocations.map(({ section }) => section)).size;
  const stringTableIndex = symbolTableIndex + 1;

  const placed: Placed[] = sections.map((section) => ({
    name: section.name,
    type: section.type ?? SECTION_TYPES.progbits,
    flags: section.flags ?? SECTION_FLAGS.alloc,
    data: section.data,
    link: 0,
    info: 0,
    alignment: section.alignment ?? 8,
    entrySize: 0,
    ...(section.size === undefined ? {} : { size: section.size }),
    offset: 0,
  }));

  // Local symbols come first: sh_info of the table says where the others begin (System V ABI, "Symbol Table").
  const order = symbols.map((_, index) => index).sort((a, b) => rank(symbols[a]) - rank(symbols[b]) || a - b);
  const numbers = new Map(order.map((index, position) => [index, position + 1]));
  const locals = order.filter((index) => rank(symbols[index]) === 0).length;

  for (const [index, section] of sections.entries()) {
    const own = relocations.filter((relocation) => relocation.section === index);
    if (own.length === 0) continue;
    placed.push({
      name: `.rel${section.name}`,
      type: SECTION_TYPES.rel,
      flags: SECTION_FLAGS.infoLink,
      data: relocationTable(own, numbers, littleEndian),
      link: symbolTableIndex,
      info: index + 1,
      alignment: 8,
      entrySize: SIZES_64.rel,
      offset: 0,
    });
  }
  const stray = relocations.find(({ section }) => sections[section] === undefined);
  if (stray)
    throw new BpfError(
      "usage",
      `ELF writer: a relocation names section ${stray.section}, which does not exist`,
    );

  placed.push({
    name: ".symtab",
    type: SECTION_TYPES.symtab,
    flags: 0,
    data: symbolTable(
      order.map((index) => symbols[index] as SymbolSource),
      sections.length,
      strings,
      littleEndian,
    ),
    link: stringTableIndex,
    info: locals + 1,
    alignment: 8,
    entrySize: SIZES_64.symbol,
    offset: 0,
  });
  const nameOffsets = placed.map(({ name }) => strings.add(name));
  nameOffsets.push(strings.add(".strtab"));
  placed.push({
    name: ".strtab",
    type: SECTION_TYPES.strtab,
    flags: 0,
    data: strings.bytes(),
    link: 0,
    info: 0,
    alignment: 1,
    entrySize: 0,
    offset: 0,
  });
  return assemble(placed, nameOffsets, stringTableIndex, littleEndian);
}

function rank(symbol: SymbolSource | undefined): number {
  return symbol?.binding === SYMBOL_BINDINGS.local ? 0 : 1;
}

function relocationTable(
  relocations: readonly RelocationSource[],
  numbers: ReadonlyMap<number, number>,
  littleEndian: boolean,
): Uint8Array {
  const bytes = new Uint8Array(relocations.length * SIZES_64.rel);
  const view = new DataView(bytes.buffer);
  for (const [index, { offset, type, symbol }] of relocations.entries()) {
    const number = numbers.get(symbol);
    if (number === undefined) {
      throw new BpfError("usage", `ELF writer: a relocation names symbol ${symbol}, which does not exist`);
    }
    const at = index * SIZES_64.rel;
    view.setBigUint64(at, BigInt(offset), littleEndian);
    view.setBigUint64(at + 8, (BigInt(number) << 32n) | BigInt(type), littleEndian);
  }
  return bytes;
}

function symbolTable(
  symbols: readonly SymbolSource[],
  sectionCount: number,
  strings: StringBuilder,
  littleEndian: boolean,
): Uint8Array {
  const bytes = new Uint8Array((symbols.length + 1) * SIZES_64.symbol);
  const view = new DataView(bytes.buffer);
  for (const [index, symbol] of symbols.entries()) {
    if (symbol.section !== undefined && !(symbol.section >= 0 && symbol.section < sectionCount)) {
      throw new BpfError(
        "usage",
        `ELF writer: symbol '${symbol.name}' names section ${symbol.section}, which does not exist`,
      );
    }
    const at = (index + 1) * SIZES_64.symbol;
    const type = symbol.type ?? SYMBOL_TYPES.notype;
    view.setUint32(at, strings.add(symbol.name), littleEndian);
    view.setUint8(at + 4, ((symbol.binding ?? SYMBOL_BINDINGS.global) << 4) | type);
    view.setUint8(at + 5, symbol.visibility ?? 0);
    view.setUint16(at + 6, symbol.section === undefined ? 0 : symbol.section + 1, littleEndian);
    view.setBigUint64(at + 8, BigInt(symbol.value ?? 0), littleEndian);
    view.setBigUint64(at + 16, BigInt(symbol.size ?? 0), littleEndian);
  }
  return bytes;
}

function assemble(
  sections: readonly Placed[],
  nameOffsets: readonly number[],
  names: number,
  littleEndian: boolean,
): Uint8Array {
  let end: number = SIZES_64.header;
  for (const section of sections) {
    end = alignUp(end, section.alignment);
    section.offset = end;
    end += section.data.length;
  }
  const table = alignUp(end, 8);
  const bytes = new Uint8Array(table + (sections.length + 1) * SIZES_64.section);
  const view = new DataView(bytes.buffer);
  const u64 = (at: number, value: number): void => view.setBigUint64(at, BigInt(value), littleEndian);

  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, littleEndian ? 1 : 2, 1]);
  view.setUint16(16, FILE_TYPES.rel, littleEndian);
  view.setUint16(18, EM_BPF, littleEndian);
  view.setUint32(20, 1, littleEndian);
  u64(40, table);
  view.setUint16(52, SIZES_64.header, littleEndian);
  view.setUint16(58, SIZES_64.section, littleEndian);
  view.setUint16(60, sections.length + 1, littleEndian);
  view.setUint16(62, names, littleEndian);

  for (const [index, section] of sections.entries()) {
    bytes.set(section.data, section.offset);
    const at = table + (index + 1) * SIZES_64.section;
    view.setUint32(at, nameOffsets[index] as number, littleEndian);
    view.setUint32(at + 4, section.type, littleEndian);
    u64(at + 8, section.flags);
    u64(at + 24, section.offset);
    u64(at + 32, section.size ?? section.data.length);
    view.setUint32(at + 40, section.link, littleEndian);
    view.setUint32(at + 44, section.info, littleEndian);
    u64(at + 48, section.alignment);
    u64(at + 56, section.entrySize);
  }
  return bytes;
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** A string table that grows; equal strings are stored once. */
class StringBuilder {
  readonly #offsets: Map<string, number> = new Map([["", 0]]);
  readonly #parts: Uint8Array[] = [new Uint8Array(1)];
  #length = 1;

  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#length;
    const bytes = new TextEncoder().encode(`${text}\0`);
    this.#offsets.set(text, offset);
    this.#parts.push(bytes);
    this.#length += bytes.length;
    return offset;
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}
