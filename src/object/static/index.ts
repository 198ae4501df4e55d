import { parseBtf, parseBtfExt } from "../../btf/index.ts";
import {
  type ElfFile,
  parseElf,
  RELOCATION_TYPES,
  type RelocationSource,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  writeElf,
} from "../../elf/index.ts";
import { BpfError } from "../../errors.ts";
import { type MergedSection, mergeSections, type Placement } from "./sections.ts";
import { mergeSymbols } from "./symbols.ts";
import { mergeTypes, type TypedInput } from "./types.ts";

/** An object file to link. */
export interface ObjectInput {
  readonly name: string;
  readonly bytes: Uint8Array;
}

const SLOT = 8;

/**
 * Links object files into one (`bpftool gen object`): sections of one name follow each other, what one object declares and another
 * defines becomes one, types are there once. What nobody defines stays open.
 *
 * @throws BpfError code "object" for definitions or licenses that contradict each other, and what parsing throws.
 * @example
 * const bytes = linkObjects([{ name: "a.o", bytes: a }, { name: "b.o", bytes: b }]);
 */
export function linkObjects(inputs: readonly ObjectInput[]): Uint8Array {
  const files = inputs.map(({ name, bytes }) => parseElf(bytes, { name }));
  const [first] = files;
  if (first === undefined) throw new BpfError("usage", "nothing to link");
  const other = files.find(({ littleEndian }) => littleEndian !== first.littleEndian);
  if (other !== undefined) {
    throw new BpfError("object", `${other.name}: its byte order is not that of ${first.name}`);
  }
  const { merged, placements } = mergeSections(files);
  const { symbols, numbers, definitions } = mergeSymbols(files, placements, merged);
  const relocations = files.flatMap((elf, file) =>
    mergeRelocations(elf, placements[file] ?? new Map(), numbers[file] ?? new Map(), merged),
  );
  const typed = files.map((elf, file) => typedInput(elf, placements[file] ?? new Map()));
  const types = mergeTypes(typed, merged, definitions, first.littleEndian);
  const sections = merged.map(({ name, type, flags, alignment, data, size }) => ({
    name,
    type,
    flags,
    alignment,
    data,
    size,
  }));
  if (types !== undefined) {
    const plain = { type: 1, flags: 0, alignment: 4 };
    sections.push({ name: ".BTF", ...plain, data: types.btf, size: types.btf.length });
    if (types.ext !== undefined) {
      sections.push({ name: ".BTF.ext", ...plain, data: types.ext, size: types.ext.length });
    }
  }
  return writeElf({ sections, symbols, relocations, littleEndian: first.littleEndian });
}

/**
 * Relocations against a section's own symbol count from the section's start, which has moved: what they add stands in the bytes that
 * they relocate and is corrected there. Those against named symbols move by themselves.
 */
function mergeRelocations(
  elf: ElfFile,
  placements: ReadonlyMap<number, Placement>,
  numbers: ReadonlyMap<number, number>,
  merged: readonly MergedSection[],
): RelocationSource[] {
  const result: RelocationSource[] = [];
  for (const [index, { merged: target, offset: start }] of placements) {
    const section = elf.sections[index];
    if (section === undefined || target.data.length === 0) continue;
    const view = new DataView(target.data.buffer, target.data.byteOffset, target.data.byteLength);
    for (const { offset, type, symbol: source, addend } of elf.relocations(section)) {
      const fail = (why: string): BpfError =>
        new BpfError("relocation", `${elf.name}: section '${section.name}': byte ${offset}: ${why}`);
      if (addend !== undefined) throw fail("relocations with addends (RELA) can't be linked");
      const symbol = numbers.get(source.index);
      if (symbol === undefined)
        throw fail(`its symbol '${source.name}' lies in a section that is not linked`);
      const at = start + offset;
      if (at + SLOT > target.data.length) throw fail("outside of the section");
      if (source.type === SYMBOL_TYPES.section) {
        const moved = placements.get(source.section)?.offset ?? 0;
        addToField(view, at, type, moved, elf.littleEndian);
      }
      result.push({ section: merged.indexOf(target), offset: at, type, symbol });
    }
  }
  return result;
}

const [, WIDE, ABS64, ABS32, , CALL] = RELOCATION_TYPES;

function addToField(view: DataView, at: number, type: number, moved: number, littleEndian: boolean): void {
  if (moved === 0) return;
  if (type === WIDE.id) view.setInt32(at + 4, view.getInt32(at + 4, littleEndian) + moved, littleEndian);
  else if (type === CALL.id) {
    view.setInt32(at + 4, view.getInt32(at + 4, littleEndian) + moved / SLOT, littleEndian);
  } else if (type === ABS64.id) {
    view.setBigInt64(at, view.getBigInt64(at, littleEndian) + BigInt(moved), littleEndian);
  } else if (type === ABS32.id) view.setInt32(at, view.getInt32(at, littleEndian) + moved, littleEndian);
}

function typedInput(elf: ElfFile, placements: ReadonlyMap<number, Placement>): TypedInput {
  const find = (name: string): Uint8Array | undefined => {
    const section = elf.sections.find((row) => row.name === name && row.size > 0);
    return section === undefined ? undefined : elf.data(section);
  };
  const offsets = new Map<string, number>();
  const names = new Map<number, string>();
  for (const [index, { merged, offset }] of placements) {
    if (!offsets.has(merged.name)) offsets.set(merged.name, offset);
    names.set(index, merged.name);
  }
  const variables = new Map<string, Map<string, number>>();
  for (const symbol of elf.symbols) {
    const section = names.get(symbol.section);
    if (section === undefined || symbol.binding === SYMBOL_BINDINGS.local) continue;
    let own = variables.get(section);
    if (own === undefined) variables.set(section, (own = new Map()));
    own.set(symbol.name, symbol.value);
  }
  const [types, ext] = [find(".BTF"), find(".BTF.ext")];
  const btf = types === undefined ? undefined : parseBtf(types, { name: `${elf.name}: .BTF` });
  return {
    btf,
    ext: btf === undefined || ext === undefined ? undefined : parseBtfExt(ext, btf),
    offsets,
    variables,
  };
}
