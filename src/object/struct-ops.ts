import { type ElfSection, RELOCATION_TYPES, SYMBOL_TYPES } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { SLOT_SIZE } from "../isa/index.ts";
import { type Context, countWhile, sectionError, sectionVariables } from "./context.ts";
import type { FunctionTable } from "./functions.ts";
import { BPF_F_LINK, type MapTable, makeMap, mapTypeId, place } from "./maps.ts";
import type { MapInitializer } from "./spec.ts";

/**
 * The maps of `.struct_ops` and `.struct_ops.link`: each variable is a structure of the kernel, whose function pointers are
 * relocated against programs.
 */
export function readStructOps(context: Context, table: MapTable, functions: FunctionTable): void {
  const { elf, kinds, warnings } = context;
  for (const section of elf.sections) {
    if (kinds[section.index] !== "struct_ops" || section.size === 0) continue;
    const known = sectionVariables(context, section.name);
    if (known === undefined)
      throw sectionError("object", section.name, "its structures need BTF, which the object lacks");
    const bytes = elf.data(section);
    const variables = [...known.variables].sort((a, b) => a.offset - b.offset);
    const entries = variables.map((): MapInitializer[] => []);
    for (const { offset, type, symbol, addend } of elf.relocations(section)) {
      const owner = countWhile(variables, (variable) => variable.offset <= offset) - 1;
      const variable = variables[owner];
      const [, wide, data] = RELOCATION_TYPES;
      if (variable === undefined || offset + 8 > section.size || (type !== wide.id && type !== data.id)) {
        throw sectionError(
          "relocation",
          section.name,
          `the relocation at byte ${offset} belongs to no member`,
          { offset },
        );
      }
      const inPlace = new DataView(bytes.buffer, bytes.byteOffset + offset, 8).getBigInt64(
        0,
        elf.littleEndian,
      );
      const slot = (symbol.value + Number(addend ?? inPlace)) / SLOT_SIZE;
      const program = functions.list[functions.starts.get(place(symbol.section, slot)) ?? -1];
      if (program === undefined || symbol.type === SYMBOL_TYPES.object) {
        warnings.push(
          `map '${variable.name}': the member at byte ${offset - variable.offset} refers to '${symbol.name}', which is no program`,
        );
        continue;
      }
      entries[owner]?.push({ index: offset - variable.offset, kind: "program", name: program.name });
    }
    for (const [index, { name, type, offset, size }] of variables.entries()) {
      const where = { map: name, section: section.name };
      if (offset + size > bytes.length) {
        throw new BpfError(
          "map",
          `map '${name}': its value (offset ${offset}, ${size} bytes) crosses the end of the section`,
          { where },
        );
      }
      if (table.specs.has(name)) throw new BpfError("map", `map '${name}': is defined twice`, { where });
      const value = bytes.subarray(offset, offset + size);
      table.specs.set(
        name,
        makeMap({
          name,
          section: section.name,
          typeId: mapTypeId("struct_ops"),
          keySize: 4,
          valueSize: size,
          maxEntries: 1,
          flags: isLink(section) ? BPF_F_LINK : 0,
          value: type,
          values: Object.freeze(entries[index] ?? []),
          contents: value,
        }),
      );
    }
  }
}

function isLink({ name }: ElfSection): boolean {
  return name.endsWith(".link");
}
