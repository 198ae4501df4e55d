import { findMember, sizeOf } from "../btf/index.ts";
import { type ElfSection, SYMBOL_BINDINGS, SYMBOL_TYPES } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import type { Context } from "./context.ts";
import { type MapTable, makeMap, place } from "./maps.ts";
import type { Iproute2Map, MapSpec } from "./spec.ts";

/** type, key_size, value_size, max_entries, map_flags: libbpf's struct bpf_map_def. */
const DEFINITION_SIZE = 20;
/** The same (size and number swapped in name only) and id, pinning, inner_id, inner_idx: iproute2's struct bpf_elf_map. */
const IPROUTE2_SIZE = 36;

/**
 * Maps of a `maps` section: structures of numbers, one for each symbol, as they were before BTF. Programs brought their
 * own, longer versions of `struct bpf_map_def`: what follows the five known fields must be zero, since nobody can say what
 * it means, except in the 36 bytes of iproute2's `struct bpf_elf_map`.
 */
export function readLegacyMaps(context: Context, table: MapTable): void {
  const { elf, kinds, symbols } = context;
  for (const section of elf.sections) {
    if (kinds[section.index] !== "legacy_maps" || section.size === 0) continue;
    const bytes = elf.data(section);
    const entries = (symbols.get(section.index) ?? [])
      .filter(({ type }) => type === SYMBOL_TYPES.object || type === SYMBOL_TYPES.notype)
      .sort((a, b) => a.value - b.value);
    for (const [index, symbol] of entries.entries()) {
      const fail = (message: string): BpfError =>
        new BpfError("map", `map '${symbol.name}': ${message}`, {
          where: { map: symbol.name, section: section.name },
        });
      if (symbol.binding === SYMBOL_BINDINGS.local) {
        // clang refers to a static map by its section, which does not tell one map from another.
        throw fail("is static; a map definition must be global, or programs cannot refer to it");
      }
      const size = symbol.size || (entries[index + 1]?.value ?? section.size) - symbol.value;
      if (symbol.value + size > bytes.length) {
        throw fail(`its definition (offset ${symbol.value}, ${size} bytes) crosses the end of the section`);
      }
      if (table.specs.has(symbol.name)) throw fail("is defined twice");
      const definition = bytes.subarray(symbol.value, symbol.value + size);
      table.specs.set(symbol.name, readDefinition(context, section, symbol.name, definition, fail));
      table.places.set(place(section.index, symbol.value), symbol.name);
    }
  }
  resolveInner(table);
}

function readDefinition(
  context: Context,
  section: ElfSection,
  name: string,
  bytes: Uint8Array,
  fail: (message: string) => BpfError,
): MapSpec {
  if (bytes.length < DEFINITION_SIZE) {
    throw fail(`its definition has ${bytes.length} bytes, less than struct bpf_map_def (${DEFINITION_SIZE})`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (index: number): number => view.getUint32(index * 4, context.elf.littleEndian);
  let iproute2: Iproute2Map | undefined;
  if (bytes.length === IPROUTE2_SIZE) {
    iproute2 = { id: u32(5), pinning: u32(6), innerId: u32(7), innerIndex: u32(8) };
  } else {
    const set = bytes.subarray(DEFINITION_SIZE).findIndex((byte) => byte !== 0);
    if (set >= 0) {
      throw fail(
        `its definition has ${bytes.length} bytes, of which we know ${DEFINITION_SIZE}, and byte ${DEFINITION_SIZE + set} ` +
          "is not zero",
      );
    }
  }
  const keySize = u32(1);
  const valueSize = u32(2);
  return makeMap({
    name,
    section: section.name,
    typeId: u32(0),
    keySize,
    valueSize,
    maxEntries: u32(3),
    flags: u32(4),
    iproute2,
    ...annotatedTypes(context, name, keySize, valueSize),
  });
}

/**
 * Key and value types of a legacy map, from BPF_ANNOTATE_KV_PAIR: a `struct ____btf_map_<name> { key; value; }` in the BTF,
 * which counts if the sizes agree.
 */
function annotatedTypes(
  { btf }: Context,
  name: string,
  keySize: number,
  valueSize: number,
): Pick<MapSpec, "key" | "value"> | undefined {
  const container = btf?.find(`____btf_map_${name}`, "struct")[0];
  if (btf === undefined || container === undefined) return undefined;
  const key = findMember(btf, container.id, "key");
  const value = findMember(btf, container.id, "value");
  if (key === undefined || value === undefined) return undefined;
  if (sizeOf(btf, key.type) !== keySize || sizeOf(btf, value.type) !== valueSize) return undefined;
  return { key: key.type, value: value.type };
}

/** iproute2 names what a map of maps holds by a number that the inner map carries. */
function resolveInner(table: MapTable): void {
  const byId = new Map<number, MapSpec>();
  for (const spec of table.specs.values()) if (spec.iproute2) byId.set(spec.iproute2.id, spec);
  for (const [name, spec] of table.specs) {
    const id = spec.iproute2?.innerId;
    if (id === undefined || id === 0 || (spec.type !== "array_of_maps" && spec.type !== "hash_of_maps"))
      continue;
    const inner = byId.get(id);
    if (inner !== undefined && inner !== spec) table.specs.set(name, makeMap({ ...spec, innerMap: inner }));
  }
}
