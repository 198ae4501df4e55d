/** From an object's description of a map to what a machine creates, with what libbpf would fill in. */
import { type Btf, specialFields } from "../../btf/index.ts";
import { MAP_RECORD, MAP_SPIN_LOCK, MAP_VALUES } from "../../core/layout.ts";
import { BpfError } from "../../errors.ts";
import { type MapSpec, createdSizes } from "../../object/index.ts";
import {
  type SpecialField,
  errnoName,
  mapTakesField,
  programMayRead,
  programMayWrite,
} from "../../uapi/index.ts";
import { codecOf } from "../codec.ts";
import type { BpfMap } from "../map.ts";
import type { Heap } from "../heap.ts";
import type { Codec, MapDefinition, MapField } from "./definition.ts";
import type { LinearMemory } from "../memory.ts";

/** Everything but the inner map of a map of maps. */
export function definitionOf(spec: MapSpec, btf: Btf | undefined, cpus: number): MapDefinition {
  const { name, type, flags } = spec;
  if (type === "unknown") {
    throw new BpfError("map", `map '${name}': there is no map type ${spec.typeId}`, { where: { map: name } });
  }
  const { keySize, valueSize, maxEntries } = createdSizes(spec, cpus);
  const codec = (id: number | undefined, size: number): Codec | undefined =>
    btf === undefined || id === undefined || id === 0 ? undefined : codecOf(btf, id, size);
  const key = codec(spec.key, keySize);
  const value = codec(spec.value, valueSize);
  const fields = value === undefined || btf === undefined ? [] : specialFields(btf, spec.value as number);
  return {
    name,
    type,
    keySize,
    valueSize,
    maxEntries,
    flags,
    extra: Number(spec.extra & 0xffffffffn),
    fields,
    ...(key === undefined ? {} : { key }),
    ...(value === undefined ? {} : { value }),
  };
}

/**
 * What the kernel checks of the fields of a value that are its own (kernel/bpf/syscall.c, map_check_btf).
 *
 * @throws BpfError code "map", errno EOPNOTSUPP, EACCES or EINVAL.
 */
export function checkFields({ name, type, flags, valueSize, fields = [] }: MapDefinition): void {
  const refuse = (why: string, errno: number): BpfError =>
    new BpfError("map", `map '${name}': cannot be created: ${why}: ${errnoName(errno)}`, {
      where: { map: name },
      errno: errnoName(errno),
    });
  let end = 0;
  for (const { kind, offset, size } of fields) {
    if (offset < end || offset + size > valueSize) throw refuse(`its ${kind} lies outside of the value`, -22);
    end = offset + size;
    if (!programMayRead(flags) || !programMayWrite(flags)) {
      throw refuse(`its values have a ${kind}, and programs may only read or only write it`, -13);
    }
    if (!mapTakesField(type, kind as SpecialField)) {
      throw refuse(`values of type ${type} cannot have a ${kind}`, -95);
    }
  }
  for (const once of ["spin_lock", "res_spin_lock", "timer", "wq", "refcount"]) {
    if (fields.filter(({ kind }) => kind === once).length > 1)
      throw refuse(`its values have two ${once}s`, -7);
  }
}

/** Tells the core which fields of the values are not to be copied. */
export function noteFields(
  memory: LinearMemory,
  heap: Heap,
  map: number,
  fields: readonly MapField[],
  what: string,
): void {
  if (fields.length === 0) return;
  memory.setU32(map + MAP_RECORD, heap.record(fields, what));
  const lock = fields.find(({ kind }) => kind === "spin_lock" || kind === "res_spin_lock");
  if (lock !== undefined) memory.setU32(map + MAP_SPIN_LOCK, lock.offset);
}

/** The values that a map begins with: sections of variables, struct_ops, variables in an arena. */
export function fillMap(memory: LinearMemory, map: BpfMap, { contents, frozen, keySize }: MapSpec): void {
  if (contents === undefined) return;
  if (map.type === "arena" || map.type === "struct_ops")
    memory.write(memory.u32(map.address + MAP_VALUES), contents);
  else map.update(new Uint8Array(keySize), contents);
  // A map with a lock in its values cannot be frozen.
  if (frozen && map.fields.length === 0) map.freeze();
}
