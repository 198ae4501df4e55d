/** Sections of code of an ELF object as `llvm-objdump -d` shows them. */
import { type DisassembleOptions, type ListingSymbol, type SourceLine, disassemble } from "../asm/index.ts";
import {
  type ElfFile,
  type ElfSection,
  SECTION_FLAGS,
  SECTION_TYPES,
  SYMBOL_TYPES,
  relocationName,
} from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { type LinkedProgram, lineAt } from "../object/index.ts";
import { SLOT_SIZE, decodeInstructions } from "../isa/index.ts";

export interface ObjectListingOptions extends Pick<DisassembleOptions, "dialect" | "cpu" | "raw"> {
  /** Show relocations behind the instructions. */
  readonly relocations?: boolean;
  /** The source line of a slot of a section. */
  readonly sourceOf?: (section: string, slot: number) => SourceLine | undefined;
}

/** The sections that hold instructions. */
export function codeSections({ sections }: ElfFile): ElfSection[] {
  return sections.filter(
    ({ flags, type, size }) =>
      (flags & SECTION_FLAGS.execinstr) !== 0 && type === SECTION_TYPES.progbits && size > 0,
  );
}

export function listObject(elf: ElfFile, options: ObjectListingOptions = {}): string {
  return codeSections(elf)
    .map((section) => listSection(elf, section, options))
    .join("");
}

function listSection(elf: ElfFile, section: ElfSection, options: ObjectListingOptions): string {
  const bytes = elf.data(section);
  const whole = bytes.length - (bytes.length % SLOT_SIZE);
  if (whole !== bytes.length) {
    throw new BpfError(
      "instruction",
      `${elf.name}: section '${section.name}': ${bytes.length} bytes are no whole number of 8-byte instructions`,
      { where: { file: elf.name, section: section.name, offset: whole } },
    );
  }
  const { dialect, cpu, raw, sourceOf } = options;
  return disassemble(decodeInstructions(bytes, elf), {
    section: section.name,
    littleEndian: elf.littleEndian,
    symbols: symbolsOf(elf, section),
    ...(dialect === undefined ? {} : { dialect }),
    ...(cpu === undefined ? {} : { cpu }),
    ...(raw === undefined ? {} : { raw }),
    ...(sourceOf === undefined ? {} : { annotate: (slot: number) => sourceOf(section.name, slot) }),
    ...(options.relocations === true
      ? {
          relocations: elf.relocations(section).map(({ offset, type, symbol }) => ({
            offset,
            type: relocationName(type) ?? `type ${type}`,
            value: symbol.name || (elf.sections[symbol.section]?.name ?? ""),
          })),
        }
      : {}),
  });
}

function symbolsOf(elf: ElfFile, section: ElfSection): ListingSymbol[] {
  const types: Readonly<Record<number, ListingSymbol["type"]>> = {
    [SYMBOL_TYPES.notype]: "notype",
    [SYMBOL_TYPES.object]: "object",
    [SYMBOL_TYPES.func]: "function",
  };
  return elf.symbols.flatMap(({ name, type, section: index, value }) => {
    const kind = types[type];
    return index === section.index && kind !== undefined && name !== ""
      ? [{ name, offset: value, type: kind }]
      : [];
  });
}

/** A linked program as one listing, functions as symbols. */
export function listLinked(
  program: LinkedProgram,
  { dialect, raw, source }: Pick<DisassembleOptions, "dialect" | "raw"> & { readonly source?: boolean },
): string {
  return disassemble(program.instructions, {
    symbols: program.functions.map(({ name, start }) => ({ name, offset: start * SLOT_SIZE })),
    ...(dialect === undefined ? {} : { dialect }),
    ...(raw === undefined ? {} : { raw }),
    ...(source === true
      ? {
          annotate: (slot: number) => {
            const line = lineAt(program.lines, slot);
            return line === undefined
              ? undefined
              : { file: line.file, line: line.line, text: line.text.trim() };
          },
        }
      : {}),
  });
}
