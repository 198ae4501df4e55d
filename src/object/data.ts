import { type Btf, type BtfValue, decodeValue, encodeValue } from "../btf/index.ts";
import {
  type ElfSection,
  SECTION_TYPES,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  SYMBOL_VISIBILITIES,
} from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { type Context, sectionError, sectionVariables } from "./context.ts";
import { BPF_F_RDONLY_PROG, type MapTable, makeMap, mapTypeId } from "./maps.ts";
import type { MapSpec, VariableSpec } from "./spec.ts";

/** The kernel takes no larger map value (INT_MAX, kernel/bpf/arraymap.c). */
const MAX_VALUE_SIZE = 0x7fff_ffff;

/**
 * The initial bytes of a section: a view on the file as long as nobody changes them, and nothing at all for the zeros of
 * `.bss` until somebody asks.
 */
class Contents {
  readonly size: number;
  readonly #name: string;
  #bytes: Uint8Array | undefined;
  #own = false;

  constructor(name: string, bytes: Uint8Array | undefined, size: number) {
    this.#name = name;
    this.#bytes = bytes;
    this.size = size;
  }

  all(): Uint8Array {
    if (this.#bytes === undefined) {
      try {
        this.#bytes = new Uint8Array(this.size);
      } catch (cause) {
        throw new BpfError("memory", `section '${this.#name}': no memory for its ${this.size} bytes`, {
          cause,
        });
      }
      this.#own = true;
    }
    return this.#bytes;
  }

  read(offset: number, size: number): Uint8Array {
    return this.#bytes === undefined ? new Uint8Array(size) : this.#bytes.slice(offset, offset + size);
  }

  write(offset: number, bytes: Uint8Array): void {
    const all = this.all();
    if (!this.#own) {
      this.#bytes = all.slice();
      this.#own = true;
    }
    this.#bytes?.set(bytes, offset);
  }
}

/**
 * The maps behind global variables: an array of one entry for each `.data*`, `.rodata*` and `.bss*` section that
 * programs refer to or that has variables. Sections of constants that nobody uses (`.rodata.str1.1` of format strings
 * that were optimised away) give none. Returns their names by section index.
 */
export function readDataSections(
  context: Context,
  used: ReadonlySet<number>,
  table: MapTable,
): { readonly names: ReadonlyMap<number, string>; readonly variables: Map<string, VariableSpec> } {
  const { elf, kinds, symbols } = context;
  const names = new Map<number, string>();
  const variables = new Map<string, VariableSpec>();
  const ambiguous = new Set<string>();
  for (const section of elf.sections) {
    if (kinds[section.index] !== "data" || section.size === 0) continue;
    const objects = (symbols.get(section.index) ?? []).some(({ type }) => type === SYMBOL_TYPES.object);
    if (!objects && !used.has(section.index)) continue;
    const contents = contentsOf(context, section);
    const name = table.specs.has(section.name) ? `${section.name}.${section.index}` : section.name;
    const known = name === section.name ? sectionVariables(context, section.name) : undefined;
    names.set(section.index, name);
    table.specs.set(name, dataMap(section, name, contents, known?.id));
    warnAboutRelocations(context, section);
    for (const variable of variablesOf(context, section, name, contents)) {
      const before = variables.get(variable.name);
      const global = variable.linkage !== "static";
      if (before !== undefined && before.linkage !== "static" && global) {
        throw sectionError("object", section.name, `variable '${variable.name}' is defined twice`);
      }
      if (before !== undefined && before.linkage === "static" && !global) ambiguous.add(variable.name);
      if (before === undefined || global) variables.set(variable.name, variable);
    }
  }
  for (const name of ambiguous) if (variables.get(name)?.linkage === "static") variables.delete(name);
  return { names, variables };
}

function contentsOf({ elf }: Context, section: ElfSection): Contents {
  if (section.size > MAX_VALUE_SIZE) {
    throw sectionError(
      "object",
      section.name,
      `${section.size} bytes, and a map value holds at most ${MAX_VALUE_SIZE}`,
    );
  }
  const bytes = section.type === SECTION_TYPES.nobits ? undefined : elf.data(section);
  return new Contents(section.name, bytes, section.size);
}

function dataMap(section: ElfSection, name: string, contents: Contents, value: number | undefined): MapSpec {
  const constant = section.name.startsWith(".rodata");
  return makeMap({
    name,
    section: section.name,
    typeId: mapTypeId("array"),
    keySize: 4,
    valueSize: contents.size,
    maxEntries: 1,
    flags: constant ? BPF_F_RDONLY_PROG : 0,
    frozen: constant,
    value,
    get contents() {
      return contents.all();
    },
  });
}

function warnAboutRelocations({ elf, warnings }: Context, section: ElfSection): void {
  const count = elf.relocations(section).length;
  if (count === 0) return;
  warnings.push(
    `section '${section.name}': ${count} pointer${count === 1 ? "" : "s"} in data ${count === 1 ? "is" : "are"} left as ` +
      "found, without the address: the kernel gives none that data could hold",
  );
}

/**
 * The variables of a section: those of its BTF, whose types are known, and the symbols that BTF does not mention. Names
 * that begin with a dot are the compiler's.
 */
function variablesOf(context: Context, section: ElfSection, map: string, contents: Contents): VariableSpec[] {
  const { btf, symbols } = context;
  const found: VariableSpec[] = [];
  const constant = section.name.startsWith(".rodata");
  const byName = new Map((symbols.get(section.index) ?? []).map((symbol) => [symbol.name, symbol]));
  const add = (
    name: string,
    offset: number,
    size: number,
    type: number | undefined,
    linkage: VariableSpec["linkage"],
  ): void => {
    if (offset + size > contents.size) {
      throw sectionError(
        "object",
        section.name,
        `variable '${name}' (offset ${offset}, ${size} bytes) crosses its end`,
      );
    }
    found.push(
      makeVariable(
        { name, section: section.name, map, offset, size, type, constant, linkage },
        contents,
        btf,
      ),
    );
  };
  const described = new Set<string>();
  if (map === section.name) {
    for (const { name, type, linkage, offset, size } of sectionVariables(context, section.name)?.variables ??
      []) {
      if (linkage === "extern" || name === "") continue;
      described.add(name);
      const symbol = byName.get(name);
      add(name, offset, size, type, linkage === "static" ? "static" : symbol ? linkageOf(symbol) : "global");
    }
  }
  for (const symbol of byName.values()) {
    if (symbol.type !== SYMBOL_TYPES.object || described.has(symbol.name) || symbol.name.startsWith("."))
      continue;
    add(symbol.name, symbol.value, symbol.size, undefined, linkageOf(symbol));
  }
  return found;
}

function linkageOf({
  binding,
  visibility,
}: {
  readonly binding: number;
  readonly visibility: number;
}): VariableSpec["linkage"] {
  if (binding === SYMBOL_BINDINGS.local) return "static";
  if (visibility === SYMBOL_VISIBILITIES.hidden || visibility === SYMBOL_VISIBILITIES.internal)
    return "hidden";
  return binding === SYMBOL_BINDINGS.weak ? "weak" : "global";
}

function makeVariable(
  fields: Omit<VariableSpec, "get" | "set" | "bytes">,
  contents: Contents,
  btf: Btf | undefined,
): VariableSpec {
  const { name, offset, size, type } = fields;
  return Object.freeze({
    ...fields,
    get(): BtfValue {
      const bytes = contents.read(offset, size);
      return btf === undefined || type === undefined ? bytes : decodeValue(btf, type, bytes);
    },
    set(value: BtfValue): void {
      let bytes: Uint8Array;
      if (value instanceof Uint8Array) bytes = value;
      else if (btf === undefined || type === undefined) {
        throw new BpfError(
          "usage",
          `variable '${name}': its type is not known, so only bytes (a Uint8Array) can be set`,
        );
      } else {
        try {
          bytes = encodeValue(btf, type, value);
        } catch (error) {
          if (!(error instanceof BpfError)) throw error;
          throw new BpfError(error.code, `variable '${name}': ${error.message}`, { cause: error });
        }
      }
      if (bytes.length !== size) {
        throw new BpfError("usage", `variable '${name}': takes ${size} bytes, not ${bytes.length}`);
      }
      contents.write(offset, bytes);
    },
    bytes: () => contents.read(offset, size),
  });
}
