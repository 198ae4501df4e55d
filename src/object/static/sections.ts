import { type ElfFile, type ElfSection, SECTION_FLAGS, SECTION_TYPES } from "../../elf/index.ts";
import { BpfError } from "../../errors.ts";

/** A section of the result: the sections of that name, one behind the other. */
export interface MergedSection {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  alignment: number;
  size: number;
  readonly parts: { readonly file: number; readonly section: ElfSection; readonly offset: number }[];
  data: Uint8Array;
}

/** Where the section of an input went. */
export interface Placement {
  readonly merged: MergedSection;
  readonly offset: number;
}

/** Of these one copy is kept, and all must be the same. */
export const SINGLE_SECTIONS: ReadonlySet<string> = new Set(["license", "version"]);

/** 256 MB: more than any object holds. */
const MAX_SIZE = 1 << 28;
/** No map holds a larger value (INT_MAX, kernel/bpf/arraymap.c). */
const MAX_VALUE_SIZE = 0x7fff_ffff;
/** A page of the machines that have the largest. */
const MAX_ALIGNMENT = 65536;

/** Puts sections of one name together. By file, and by the index of its section: where it lies now. */
export function mergeSections(files: readonly ElfFile[]): {
  readonly merged: readonly MergedSection[];
  readonly placements: readonly ReadonlyMap<number, Placement>[];
} {
  const byName = new Map<string, MergedSection>();
  const placements = files.map((elf, file) => {
    const own = new Map<number, Placement>();
    for (const section of elf.sections) {
      if (!isKept(section)) continue;
      const { name, type, flags, alignment, size } = section;
      let merged = byName.get(name);
      if (merged === undefined) {
        merged = { name, type, flags, alignment: 1, size: 0, parts: [], data: new Uint8Array() };
        byName.set(name, merged);
      }
      if (merged.type !== type) {
        throw new BpfError(
          "object",
          `${elf.name}: section '${name}' is of type ${type}, in ${files[merged.parts[0]?.file ?? 0]?.name} of type ${merged.type}`,
        );
      }
      if (SINGLE_SECTIONS.has(name) && merged.parts.length > 0) {
        checkSame(files, merged, elf, section);
        own.set(section.index, { merged, offset: 0 });
        continue;
      }
      const unit = Math.max(1, alignment);
      if (unit > MAX_ALIGNMENT || (unit & (unit - 1)) !== 0) {
        throw new BpfError("object", `${elf.name}: section '${name}' has an alignment of ${alignment} bytes`);
      }
      const offset = Math.ceil(merged.size / unit) * unit;
      if (offset + size > (type === SECTION_TYPES.nobits ? MAX_VALUE_SIZE : MAX_SIZE)) {
        throw new BpfError("object", `${elf.name}: section '${name}' becomes ${offset + size} bytes large`);
      }
      merged.alignment = Math.max(merged.alignment, unit);
      merged.size = offset + size;
      merged.parts.push({ file, section, offset });
      own.set(section.index, { merged, offset });
    }
    return own;
  });
  for (const merged of byName.values()) {
    if (merged.type === SECTION_TYPES.nobits) continue;
    merged.data = new Uint8Array(merged.size);
    for (const { file, section, offset } of merged.parts) {
      merged.data.set((files[file] as ElfFile).data(section), offset);
    }
  }
  return { merged: [...byName.values()], placements };
}

/** Code and data. Symbols, relocations and BTF are made anew; what debuggers want is left out, as by libbpf. */
function isKept({ name, type, flags, size }: ElfSection): boolean {
  if (type !== SECTION_TYPES.progbits && type !== SECTION_TYPES.nobits) return false;
  if (name === ".BTF" || name === ".BTF.ext" || name.startsWith(".debug_")) return false;
  if ((flags & SECTION_FLAGS.alloc) === 0 && !SINGLE_SECTIONS.has(name)) return false;
  // Compilers leave an empty .text in every object.
  return size > 0;
}

function checkSame(
  files: readonly ElfFile[],
  merged: MergedSection,
  elf: ElfFile,
  section: ElfSection,
): void {
  const first = merged.parts[0];
  const other = first === undefined ? undefined : files[first.file];
  if (first === undefined || other === undefined) return;
  const [a, b] = [other.data(first.section), elf.data(section)];
  if (a.length === b.length && a.every((byte, index) => byte === b[index])) return;
  throw new BpfError("object", `${elf.name}: section '${section.name}' differs from that of ${other.name}`);
}
