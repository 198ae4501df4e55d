import type { MapType } from "../uapi/index.ts";
import { MAP_TYPES } from "../uapi/index.ts";
import type { MapSpec } from "./spec.ts";

/** BPF_F_RDONLY_PROG (uapi/linux/bpf.h): programs may not write. */
export const BPF_F_RDONLY_PROG = 0x80;
/** BPF_F_LINK: a struct_ops map that is attached through a link. */
export const BPF_F_LINK = 0x2000;

/** Maps as they are found, and where: a relocation refers to a section and an offset in it. */
export interface MapTable {
  readonly specs: Map<string, MapSpec>;
  /** Names by `place(section, offset)`. */
  readonly places: Map<string, string>;
}

/** The key of a place in a section: of maps by byte, of functions by slot. */
export function place(section: number, offset: number): string {
  return `${section}:${offset}`;
}

/** "hash" for 1; "unknown" for what Linux 6.18 does not have. */
export function mapTypeName(id: number): MapType | "unknown" {
  return MAP_TYPES.find((row) => row.id === id)?.name ?? "unknown";
}

/** The number of a map type. */
export function mapTypeId(name: MapType): number {
  return MAP_TYPES.find((row) => row.name === name)?.id ?? 0;
}

/** A map with the given fields, all others empty. `contents` may be a getter: it stays one. */
export function makeMap(fields: Pick<MapSpec, "name" | "section" | "typeId"> & Partial<MapSpec>): MapSpec {
  const base = {
    keySize: 0,
    valueSize: 0,
    maxEntries: 0,
    flags: 0,
    extra: 0n,
    numaNode: undefined,
    pinning: 0,
    key: undefined,
    value: undefined,
    innerMap: undefined,
    values: [],
    contents: undefined,
    frozen: false,
    iproute2: undefined,
    type: mapTypeName(fields.typeId),
  };
  return Object.freeze(
    Object.defineProperties(base, Object.getOwnPropertyDescriptors(fields)) as typeof base & typeof fields,
  );
}
