import { type Btf, type BtfComposite, type BtfMember, resolve, sizeOf } from "../btf/index.ts";
import {
  type ElfRelocation,
  type ElfSection,
  RELOCATION_TYPES,
  SYMBOL_TYPES,
  relocationName,
} from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { SLOT_SIZE } from "../isa/index.ts";
import { type Context, type SectionVariable, countWhile, sectionError, sectionVariables } from "./context.ts";
import type { FunctionTable } from "./functions.ts";
import { type MapTable, makeMap, mapTypeName, place } from "./maps.ts";
import type { MapInitializer, MapSpec } from "./spec.ts";

/** Bytes of an element of `values`: a pointer. */
const POINTER = 8;
/** What a map of maps or a program array stores for an entry. */
const REFERENCE_SIZE = 4;

/** Map types whose values nobody reads by size: a declared value type only describes what travels through them. */
const NO_VALUE_SIZE: readonly string[] = ["ringbuf", "user_ringbuf", "arena", "perf_event_array"];

/**
 * Maps of the `.maps` section. A definition is a variable whose value is irrelevant: its type says everything
 * (Documentation/bpf/map_... and libbpf's bpf_helpers.h). `__uint(max_entries, 8)` is a pointer to an array of 8 ints,
 * `__type(key, T)` a pointer to T, `__ulong(map_extra, N)` an enum with the one value N, and `__array(values, T)` an array
 * of pointers that may be initialised with maps or functions; the initialisers are relocations.
 */
export function readBtfMaps(context: Context, table: MapTable): void {
  const { elf, kinds, btf } = context;
  for (const section of elf.sections) {
    if (kinds[section.index] !== "maps" || section.size === 0) continue;
    const known = sectionVariables(context, section.name);
    if (btf === undefined || known === undefined) {
      throw sectionError(
        "object",
        section.name,
        "map definitions need BTF, which the object lacks; compile it with -g",
      );
    }
    const bytes = elf.data(section);
    const relocated = new Set(elf.relocations(section).map(({ offset }) => offset));
    for (const variable of known.variables) {
      const fail = mapError(variable.name, section.name);
      if (variable.linkage !== "global") {
        throw fail(`is ${variable.linkage}; a map definition must be global, or programs cannot refer to it`);
      }
      if (variable.offset + variable.size > bytes.length) {
        throw fail(
          `its definition (offset ${variable.offset}, ${variable.size} bytes) crosses the end of the section`,
        );
      }
      if (table.specs.has(variable.name)) throw fail("is defined twice");
      checkZero(bytes, variable, relocated, fail);
      const type = resolve(btf, variable.type);
      if (type.kind !== "struct") throw fail(`its definition is no struct but ${type.kind}`);
      table.specs.set(variable.name, readDefinition(btf, section.name, variable.name, type, false));
      table.places.set(place(section.index, variable.offset), variable.name);
    }
  }
}

type Fail = (message: string) => BpfError;

function mapError(name: string, section: string): Fail {
  return (message) => new BpfError("map", `map '${name}': ${message}`, { where: { map: name, section } });
}

function checkZero(
  bytes: Uint8Array,
  variable: SectionVariable,
  relocated: ReadonlySet<number>,
  fail: Fail,
): void {
  for (let at = variable.offset; at < variable.offset + variable.size; at++) {
    if (relocated.has(at)) at += POINTER - 1;
    else if (bytes[at] !== 0) {
      throw fail(
        `its definition is initialised (byte ${at - variable.offset} is not zero); only the types of its members count`,
      );
    }
  }
}

function readDefinition(
  btf: Btf,
  section: string,
  name: string,
  definition: BtfComposite,
  inner: boolean,
): MapSpec {
  const fail = mapError(name, section);
  let typeId = 0;
  let keySize: number | undefined;
  let valueSize: number | undefined;
  let maxEntries = 0;
  let flags = 0;
  let extra = 0n;
  let numaNode: number | undefined;
  let pinning = 0;
  let key: number | undefined;
  let value: number | undefined;
  let innerMap: MapSpec | undefined;

  const agree = (what: "key" | "value", before: number | undefined, size: number): number => {
    if (before !== undefined && before !== size)
      throw fail(`conflicting ${what} sizes: ${before} and ${size}`);
    return size;
  };
  for (const [index, member] of definition.members.entries()) {
    const number = (): number => Number(attribute(btf, member, fail, 0xffff_ffffn));
    switch (member.name) {
      case "type":
        typeId = number();
        break;
      case "max_entries":
        maxEntries = number();
        break;
      case "map_flags":
        flags = number();
        break;
      case "numa_node":
        numaNode = number();
        break;
      case "map_extra":
        extra = attribute(btf, member, fail, 0xffff_ffff_ffff_ffffn);
        break;
      case "pinning":
        if (inner) throw fail("an inner map cannot be pinned");
        pinning = number();
        break;
      case "key_size":
        keySize = agree("key", keySize, number());
        break;
      case "value_size":
        valueSize = agree("value", valueSize, number());
        break;
      case "key":
        key = pointedType(btf, member, fail);
        keySize = agree("key", keySize, sizeOfType(btf, key, "key", fail));
        break;
      case "value":
        value = pointedType(btf, member, fail);
        valueSize = agree("value", valueSize, sizeOfType(btf, value, "value", fail));
        break;
      case "values": {
        if (inner) throw fail("maps of maps of maps do not exist");
        if (index !== definition.members.length - 1) throw fail("'values' must be the last member");
        valueSize = agree("value", valueSize || undefined, REFERENCE_SIZE);
        const element = elementType(btf, member, fail);
        const type = mapTypeName(typeId);
        if (type === "array_of_maps" || type === "hash_of_maps") {
          if (element.kind !== "struct")
            throw fail(`'values' must hold pointers to map definitions, not to ${element.kind}`);
          innerMap = readDefinition(btf, section, `${name}.inner`, element, true);
        } else if (type === "prog_array") {
          if (element.kind !== "func_proto")
            throw fail(`'values' must hold pointers to functions, not to ${element.kind}`);
        } else {
          throw fail(`'values' is for maps of maps and program arrays, not for ${type}`);
        }
        break;
      }
      default:
        throw fail(
          member.name === ""
            ? "has a member without a name"
            : `has an unknown member '${member.name}' in its definition`,
        );
    }
  }
  if (typeId === 0) throw fail("its definition names no type");
  const type = mapTypeName(typeId);
  return makeMap({
    name,
    section,
    typeId,
    type,
    keySize: keySize ?? 0,
    valueSize: value !== undefined && NO_VALUE_SIZE.includes(type) ? 0 : (valueSize ?? 0),
    maxEntries,
    flags,
    extra,
    numaNode,
    pinning,
    key,
    value,
    innerMap,
  });
}

/** The number of `__uint` or `__ulong`. */
function attribute(btf: Btf, member: BtfMember, fail: Fail, limit: bigint): bigint {
  const type = resolve(btf, member.type);
  let value: bigint;
  if (type.kind === "ptr") {
    const array = resolve(btf, type.type);
    if (array.kind !== "array")
      throw fail(`'${member.name}' must be a number: a pointer to an array, not to ${array.kind}`);
    value = BigInt(array.length);
  } else if ((type.kind === "enum" || type.kind === "enum64") && type.values.length === 1) {
    value = BigInt.asUintN(64, type.values[0]?.value ?? 0n);
  } else {
    throw fail(
      `'${member.name}' must be a number: a pointer to an array or an enum of one value, not ${type.kind}`,
    );
  }
  if (value > limit) throw fail(`'${member.name}' is ${value}, more than ${limit}`);
  return value;
}

function pointedType(btf: Btf, member: BtfMember, fail: Fail): number {
  const type = resolve(btf, member.type);
  if (type.kind !== "ptr") throw fail(`'${member.name}' must be a pointer to its type, not ${type.kind}`);
  return type.type;
}

function sizeOfType(btf: Btf, id: number, what: string, fail: Fail): number {
  try {
    return sizeOf(btf, id);
  } catch (cause) {
    if (!(cause instanceof BpfError)) throw cause;
    throw fail(`the size of its ${what} cannot be told: ${cause.message}`);
  }
}

function elementType(btf: Btf, member: BtfMember, fail: Fail): ReturnType<typeof resolve> {
  const array = resolve(btf, member.type);
  if (array.kind !== "array" || array.length !== 0) throw fail("'values' must be an array without a length");
  const pointer = resolve(btf, array.type);
  if (pointer.kind !== "ptr") throw fail(`'values' must hold pointers, not ${pointer.kind}`);
  return resolve(btf, pointer.type);
}

/**
 * Fills the `values` of maps of maps and program arrays: each relocation of the `.maps` section names a map or a function
 * for one element of the array in which a definition ends.
 */
export function readInitializers(context: Context, table: MapTable, functions: FunctionTable): void {
  const { elf, kinds, btf } = context;
  for (const section of elf.sections) {
    if (kinds[section.index] !== "maps" || btf === undefined) continue;
    const found = new Map<string, MapInitializer[]>();
    const variables = [...(sectionVariables(context, section.name)?.variables ?? [])].sort(
      (a, b) => a.offset - b.offset,
    );
    for (const relocation of elf.relocations(section)) {
      const owner = variables[countWhile(variables, ({ offset }) => offset <= relocation.offset) - 1];
      if (owner === undefined || relocation.offset >= owner.offset + owner.size) {
        throw sectionError(
          "relocation",
          section.name,
          `a relocation at byte ${relocation.offset} belongs to no map`,
        );
      }
      const entry = readInitializer(context, section, owner, relocation, table, functions);
      const list = found.get(owner.name);
      if (list === undefined) found.set(owner.name, [entry]);
      else list.push(entry);
    }
    for (const [name, values] of found) {
      const spec = table.specs.get(name) as MapSpec;
      values.sort((a, b) => a.index - b.index);
      table.specs.set(name, makeMap({ ...spec, values: Object.freeze(values) }));
    }
  }
}

function readInitializer(
  { elf, btf }: Context,
  section: ElfSection,
  owner: SectionVariable,
  { offset, type, symbol, addend }: ElfRelocation,
  table: MapTable,
  functions: FunctionTable,
): MapInitializer {
  const fail = (message: string): BpfError =>
    new BpfError("relocation", `map '${owner.name}': ${message}`, {
      where: { map: owner.name, section: section.name, offset },
    });
  const [none, wide, data] = RELOCATION_TYPES;
  if (type !== wide.id && type !== data.id) {
    const known = relocationName(type) ?? `type ${type}`;
    throw fail(
      `its initialiser at byte ${offset} has a relocation that is not for data (${type === none.id ? "none" : known})`,
    );
  }
  const spec = table.specs.get(owner.name) as MapSpec;
  const definition = resolve(btf as Btf, owner.type) as BtfComposite;
  const values = definition.members.at(-1);
  const start = owner.offset + (values?.name === "values" ? values.bitOffset / 8 : owner.size);
  const index = (offset - start) / POINTER;
  if (!Number.isInteger(index) || index < 0) {
    throw fail(`a member that is not 'values' is initialised (byte ${offset - owner.offset})`);
  }
  if (offset + POINTER > section.size) {
    throw fail(`its initialiser at byte ${offset} crosses the end of the section`);
  }

  // A static function is meant by its section and an offset, which stands in the initialised bytes.
  const bytes = elf.data(section);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = symbol.value + Number(addend ?? view.getBigInt64(offset, elf.littleEndian));
  if (spec.type === "prog_array") {
    const target = functions.list[functions.starts.get(place(symbol.section, at / SLOT_SIZE)) ?? -1];
    if (target === undefined) {
      throw fail(`entry ${index} is '${symbol.name}', which is no function of this object`);
    }
    return { index, kind: "program", name: target.name };
  }
  const name = table.places.get(place(symbol.section, at));
  if (name === undefined || symbol.type === SYMBOL_TYPES.func) {
    throw fail(`entry ${index} is '${symbol.name}', which is no map of this object`);
  }
  return { index, kind: "map", name };
}
