import {
  type Btf,
  type BtfExt,
  type BtfSectionVariable,
  type BtfSource,
  type CoreRelocation,
  deduplicateTypes,
  encodeBtf,
  encodeBtfExt,
  type FunctionInfo,
  type LineInfo,
  mapReferences,
  stringsOfExt,
} from "../../btf/index.ts";
import type { MergedSection } from "./sections.ts";

/** What one input knows about types, and where its sections went. */
export interface TypedInput {
  readonly btf: Btf | undefined;
  readonly ext: BtfExt | undefined;
  /** By name: where the section begins in the merged one, in bytes. */
  readonly offsets: ReadonlyMap<string, number>;
  /** Of global variables, by section and name: their offset in the input's section. */
  readonly variables: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

/** Sections that exist in BTF alone: what others define. */
const EXTERN_SECTIONS: ReadonlySet<string> = new Set([".ksyms", ".kconfig", ".extern"]);

const SLOT = 8;

/**
 * Merges the types of several objects: what one declares and another defines becomes one, sections get the variables of all, and
 * equal types are there once. Records of functions, lines and CO-RE move with the code.
 */
export function mergeTypes(
  inputs: readonly TypedInput[],
  sections: readonly MergedSection[],
  definitions: ReadonlyMap<string, number | undefined>,
  littleEndian: boolean,
): { readonly btf: Uint8Array; readonly ext: Uint8Array | undefined } | undefined {
  if (inputs.every(({ btf }) => btf === undefined)) return undefined;
  const types: BtfSource[] = [];
  const bases = inputs.map(({ btf }) => {
    const base = types.length;
    if (btf !== undefined) {
      for (const type of btf.types())
        types.push(mapReferences(type as BtfSource, (id) => (id === 0 ? 0 : id + base)));
    }
    return base;
  });
  const replaced = replaceDeclarations(inputs, bases, types, definitions);
  const { kept, ids } = withoutSections(types, replaced);
  const unique = deduplicateTypes(kept);
  const final = (id: number): number => unique.ids[ids[id] ?? 0] ?? 0;
  const datasecs = mergeDatasecs(inputs, bases, sections, definitions, final);
  const ext = mergeExt(inputs, (file, id) => final(id === 0 ? 0 : id + (bases[file] ?? 0)));
  const strings = stringsOfExt(ext);
  const encoded = encodeBtf([...unique.types, ...datasecs], { littleEndian, strings });
  const empty = ext.functions.size + ext.lines.size + ext.relocations.size === 0;
  return {
    btf: encoded.bytes,
    ext: empty ? undefined : encodeBtfExt(ext, encoded.offsetOf, littleEndian),
  };
}

/** By id: the definition in place of a declaration (var or func) of the same name; the first of several declarations. */
function replaceDeclarations(
  inputs: readonly TypedInput[],
  bases: readonly number[],
  types: readonly BtfSource[],
  definitions: ReadonlyMap<string, number | undefined>,
): Map<number, number> {
  const chosen = new Map<string, number>();
  const each = (
    visit: (type: BtfSource & { kind: "var" | "func" }, id: number, file: number) => void,
  ): void => {
    inputs.forEach(({ btf }, file) => {
      for (let id = 1; id < (btf?.count ?? 0); id++) {
        const type = types[id + (bases[file] ?? 0) - 1];
        if (type?.kind === "var" || type?.kind === "func")
          visit(type as BtfSource & { kind: "var" | "func" }, id + (bases[file] ?? 0), file);
      }
    });
  };
  each(({ kind, name, linkage }, id, file) => {
    const key = `${kind} ${name}`;
    if (linkage === "global" && definitions.get(name) === file) chosen.set(key, id);
  });
  each(({ kind, name, linkage }, id) => {
    const key = `${kind} ${name}`;
    if (linkage === "extern" && !chosen.has(key)) chosen.set(key, id);
  });
  const replaced = new Map<number, number>();
  each(({ kind, name, linkage }, id, file) => {
    const target = chosen.get(`${kind} ${name}`);
    // A weak definition that another object overrides is no more than a declaration.
    const overridden = linkage === "global" && (definitions.get(name) ?? file) !== file;
    if ((linkage === "extern" || overridden) && target !== undefined && target !== id)
      replaced.set(id, target);
  });
  return replaced;
}

/** All types but sections and what was replaced; `ids` leads from old ids to places in `kept`. */
function withoutSections(
  types: readonly BtfSource[],
  replaced: ReadonlyMap<number, number>,
): { readonly kept: readonly BtfSource[]; readonly ids: Uint32Array } {
  const ids = new Uint32Array(types.length + 1);
  const kept: BtfSource[] = [];
  types.forEach((type, index) => {
    if (type.kind === "datasec" || replaced.has(index + 1)) return;
    kept.push(type);
    ids[index + 1] = kept.length;
  });
  for (const [id, target] of replaced) ids[id] = ids[target] ?? 0;
  return { kept: kept.map((type) => mapReferences(type, (id) => ids[id] ?? 0)), ids };
}

function mergeDatasecs(
  inputs: readonly TypedInput[],
  bases: readonly number[],
  sections: readonly MergedSection[],
  definitions: ReadonlyMap<string, number | undefined>,
  final: (id: number) => number,
): BtfSource[] {
  const found = new Map<string, BtfSectionVariable[]>();
  inputs.forEach(({ btf, offsets, variables }, file) => {
    for (let id = 1; id < (btf?.count ?? 0); id++) {
      const type = btf?.type(id);
      if (btf === undefined || type?.kind !== "datasec") continue;
      let list = found.get(type.name);
      if (list === undefined) found.set(type.name, (list = []));
      const extern = EXTERN_SECTIONS.has(type.name);
      for (const variable of type.variables) {
        const declared = btf.type(variable.type);
        const { name } = declared;
        const target = final(variable.type + (bases[file] ?? 0));
        if (extern) {
          if (definitions.get(name) === undefined && !list.some((row) => row.type === target)) {
            list.push({ ...variable, type: target });
          }
          continue;
        }
        const linkage = declared.kind === "var" ? declared.linkage : "global";
        // Defined by another object, or nowhere.
        if (linkage !== "static" && definitions.get(name) !== file) continue;
        const own = variables.get(type.name)?.get(name) ?? variable.offset;
        list.push({ type: target, offset: own + (offsets.get(type.name) ?? 0), size: variable.size });
      }
    }
  });
  const result: BtfSource[] = [];
  for (const [name, variables] of found) {
    if (variables.length === 0) continue;
    if (!EXTERN_SECTIONS.has(name)) variables.sort((a, b) => a.offset - b.offset);
    const size = sections.find((section) => section.name === name)?.size ?? 0;
    result.push({ kind: "datasec", name, size, variables });
  }
  return result;
}

function mergeExt(inputs: readonly TypedInput[], final: (file: number, id: number) => number): BtfExt {
  const functions = new Map<string, FunctionInfo[]>();
  const lines = new Map<string, LineInfo[]>();
  const relocations = new Map<string, CoreRelocation[]>();
  const append = <T extends { readonly slot: number }>(
    to: Map<string, T[]>,
    from: ReadonlyMap<string, readonly T[]>,
    offsets: ReadonlyMap<string, number>,
    change: (record: T) => T,
  ): void => {
    for (const [section, records] of from) {
      const offset = offsets.get(section);
      if (offset === undefined) continue;
      const list = to.get(section) ?? [];
      to.set(section, list);
      for (const record of records) list.push(change({ ...record, slot: record.slot + offset / SLOT }));
    }
  };
  inputs.forEach(({ ext, offsets }, file) => {
    if (ext === undefined) return;
    const typed = <T extends { readonly type: number }>(record: T): T => ({
      ...record,
      type: final(file, record.type),
    });
    append(functions, ext.functions, offsets, typed);
    append(lines, ext.lines, offsets, (record) => record);
    append(relocations, ext.relocations, offsets, typed);
  });
  return { functions, lines, relocations };
}
