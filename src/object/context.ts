import {
  type Btf,
  type BtfExt,
  type BtfSection,
  type LineInfo,
  TYPE_HEADER,
  lengthOf,
  parseBtf,
  parseBtfExt,
} from "../btf/index.ts";
import {
  type ElfFile,
  type ElfSection,
  type ElfSymbol,
  SECTION_FLAGS,
  SECTION_TYPES,
  SYMBOL_BINDINGS,
} from "../elf/index.ts";
import { BpfError, type ErrorCode, type ErrorLocation } from "../errors.ts";

/** What a section is to BPF. */
export type SectionKind = "program" | "maps" | "legacy_maps" | "data" | "struct_ops" | "arena" | "other";

/** What the parts of the parser share. */
export interface Context {
  readonly elf: ElfFile;
  readonly btf: Btf | undefined;
  readonly ext: BtfExt | undefined;
  /** By section index. */
  readonly kinds: readonly SectionKind[];
  /** By section index; without section and file symbols and without those that have no name. */
  readonly symbols: ReadonlyMap<number, readonly ElfSymbol[]>;
  readonly warnings: string[];
}

/** A variable in a section, as BTF tells of it. */
export interface SectionVariable {
  readonly name: string;
  /** Id of the var. */
  readonly variable: number;
  /** Id of the variable's type. */
  readonly type: number;
  readonly linkage: "static" | "global" | "extern";
  readonly offset: number;
  readonly size: number;
}

const SYMBOL_SECTION = 3;
const SYMBOL_FILE = 4;

/** Sorts the sections and symbols of an object and opens its type information. */
export function openContext(elf: ElfFile): Context {
  const kinds = elf.sections.map(kindOf);
  const symbols = new Map<number, ElfSymbol[]>();
  for (const symbol of elf.symbols) {
    if (symbol.name === "" || symbol.type === SYMBOL_SECTION || symbol.type === SYMBOL_FILE) continue;
    const list = symbols.get(symbol.section);
    if (list === undefined) symbols.set(symbol.section, [symbol]);
    else list.push(symbol);
  }
  const btf = openBtf(elf, symbols);
  const extSection = elf.sections.find(({ name, size }) => name === ".BTF.ext" && size > 0);
  const ext =
    btf === undefined || extSection === undefined ? undefined : parseBtfExt(elf.data(extSection), btf);
  return { elf, btf, ext, kinds, symbols, warnings: [] };
}

function kindOf({ name, type, flags, size }: ElfSection): SectionKind {
  if (type !== SECTION_TYPES.progbits && type !== SECTION_TYPES.nobits) return "other";
  if (name === "maps" || name.startsWith("maps/")) return "legacy_maps";
  if (name === ".maps") return "maps";
  if (isData(name, ".data") || isData(name, ".rodata") || isData(name, ".bss")) return "data";
  const plain = name.startsWith("?") ? name.slice(1) : name;
  if (plain === ".struct_ops" || plain === ".struct_ops.link") return "struct_ops";
  if (name === ".addr_space.1") return "arena";
  const code = type === SECTION_TYPES.progbits && (flags & SECTION_FLAGS.execinstr) !== 0;
  return code && size > 0 ? "program" : "other";
}

function isData(name: string, prefix: string): boolean {
  return name === prefix || name.startsWith(`${prefix}.`);
}

/**
 * Opens `.BTF`. A compiler cannot know where a linker will put a variable, so clang leaves the sizes of sections 0 and the
 * offsets of global variables to relocations. As libbpf does, both are filled in from the section headers and the
 * symbols; static variables have no symbol, and their offsets are right already.
 */
function openBtf(elf: ElfFile, symbols: ReadonlyMap<number, readonly ElfSymbol[]>): Btf | undefined {
  const section = elf.sections.find(({ name, size }) => name === ".BTF" && size > 0);
  if (section === undefined) return undefined;
  const bytes = elf.data(section).slice();
  const btf = parseBtf(bytes, { name: ".BTF" });
  const view = new DataView(bytes.buffer);
  const sectionsByName = new Map<string, ElfSection>();
  for (const row of elf.sections) if (!sectionsByName.has(row.name)) sectionsByName.set(row.name, row);
  const offsetsBySection = new Map<number, ReadonlyMap<string, number>>();

  for (let id = btf.firstId; id < btf.count; id++) {
    if (btf.kind(id) !== "datasec") continue;
    const at = btf.offsetOf(id);
    const target = sectionsByName.get(btf.string(view.getUint32(at, elf.littleEndian)));
    if (target === undefined) continue;
    let offsets = offsetsBySection.get(target.index);
    if (offsets === undefined) {
      const own = (symbols.get(target.index) ?? []).filter(
        ({ binding }) => binding !== SYMBOL_BINDINGS.local,
      );
      offsets = new Map(own.map(({ name, value }) => [name, value]));
      offsetsBySection.set(target.index, offsets);
    }
    if (view.getUint32(at + 8, elf.littleEndian) === 0) {
      view.setUint32(at + 8, Math.min(target.size, 0xffff_ffff), elf.littleEndian);
    }
    const count = lengthOf(view.getUint32(at + 4, elf.littleEndian));
    for (let index = 0; index < count; index++) {
      const entry = at + TYPE_HEADER + index * 12;
      const variable = btf.type(view.getUint32(entry, elf.littleEndian));
      const offset = offsets.get(variable.name);
      if (offset !== undefined && offset <= 0xffff_ffff) view.setUint32(entry + 4, offset, elf.littleEndian);
    }
  }
  return btf;
}

/** The variables that BTF knows in a section, and the id of the section's type. */
export function sectionVariables(
  { btf }: Context,
  section: string,
): { readonly id: number; readonly variables: readonly SectionVariable[] } | undefined {
  const found = btf?.find(section, "datasec")[0] as BtfSection | undefined;
  if (btf === undefined || found === undefined) return undefined;
  const variables = found.variables.map(({ type: id, offset, size }): SectionVariable => {
    const variable = btf.type(id);
    if (variable.kind !== "var" && variable.kind !== "func") {
      throw new BpfError(
        "btf",
        `${btf.name}: section '${section}' holds type ${id}, which is no variable but ${variable.kind}`,
      );
    }
    const type = variable.kind === "var" ? variable.type : id;
    return { name: variable.name, variable: id, type, linkage: variable.linkage, offset, size };
  });
  return { id: found.id, variables };
}

/** An error about a section of the object. */
export function sectionError(
  code: ErrorCode,
  section: string,
  message: string,
  where: ErrorLocation = {},
): BpfError {
  return new BpfError(code, `section '${section}': ${message}`, { where: { section, ...where } });
}

/** `file:line` of an instruction, if the object has line information; `lines` ascend. */
export function sourceOf(lines: readonly LineInfo[] | undefined, slot: number): string | undefined {
  const line = lineAt(lines ?? [], slot);
  return line === undefined ? undefined : `${line.file}:${line.line}`;
}

/** The line that covers a slot: the last that begins at or before it. `lines` ascend. */
export function lineAt(lines: readonly LineInfo[], slot: number): LineInfo | undefined {
  return lines[countWhile(lines, (line) => line.slot <= slot) - 1];
}

/** How many elements at the start of a sorted list satisfy a condition that the rest does not. */
export function countWhile<T>(list: readonly T[], condition: (item: T) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (condition(list[middle] as T)) low = middle + 1;
    else high = middle;
  }
  return low;
}
