/**
 * A machine in several threads: one shared memory, and in each thread a core, a function table and compiled programs of its
 * own. What the others need to know is plain data, so that `postMessage` can carry it to a worker of Node.js or of a browser.
 */
import { type Btf, parseBtf } from "../btf/index.ts";
import type { MapType } from "../uapi/index.ts";
import { codecOf } from "./codec.ts";
import type { InstalledProgram } from "./code.ts";
import type { Engine } from "./engine.ts";
import type { BpfMap } from "./map.ts";
import type { Codec, MapDefinition, MapField } from "./maps/definition.ts";

/** BTF of a key or a value: the bytes and the type's id. */
export interface SharedCodec {
  readonly btf: Uint8Array;
  readonly type: number;
}

interface SharedMap {
  readonly address: number;
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly fields: readonly MapField[];
  readonly inner: number | undefined;
  readonly buffers: readonly number[];
  readonly key: SharedCodec | undefined;
  readonly value: SharedCodec | undefined;
}

/** What {@link Machine.share} gives and {@link Machine.join} takes. It can be sent to another thread as it is. */
export interface SharedMachine {
  readonly memory: WebAssembly.Memory;
  readonly cpus: number;
  readonly engine: Engine;
  readonly fuel: number;
  readonly optimize: boolean;
  readonly maps: readonly SharedMap[];
  readonly programs: readonly InstalledProgram[];
  /** Kernel functions that programs call, in the order of their numbers. */
  readonly kfuncs: readonly string[];
  /** The types of programs, by descriptor. */
  readonly types: ReadonlyMap<number, Uint8Array>;
  /** BTFs in the order in which their types are numbered. */
  readonly numbered: readonly Uint8Array[];
}

export function describeMap(map: BpfMap): SharedMap {
  const { address, name, type, keySize, valueSize, maxEntries, flags, fields } = map;
  return {
    address,
    name,
    type,
    keySize,
    valueSize,
    maxEntries,
    flags,
    // The core knows what they are for.
    fields: fields.map(({ kind, offset, size }) => ({ kind, offset, size })),
    inner: map.inner?.address,
    buffers: map.perfBuffers,
    key: map.keyType?.shared,
    value: map.valueType?.shared,
  };
}

/** Parses once what was sent with the same bytes. */
export function btfReader(): (bytes: Uint8Array) => Btf {
  const known = new Map<Uint8Array, Btf>();
  return (bytes) => {
    let btf = known.get(bytes);
    if (btf === undefined) known.set(bytes, (btf = parseBtf(bytes)));
    return btf;
  };
}

/** The definitions of the maps. */
export function definitionReader(
  read: (bytes: Uint8Array) => Btf,
): (map: SharedMap, mapAt: (address: number) => BpfMap | undefined) => MapDefinition {
  const codec = (shared: SharedCodec | undefined, size: number): Codec | undefined =>
    shared === undefined ? undefined : codecOf(read(shared.btf), shared.type, size);
  return ({ name, type, keySize, valueSize, maxEntries, flags, fields, ...map }, mapAt) => {
    const key = codec(map.key, keySize);
    const value = codec(map.value, valueSize);
    const inner = map.inner === undefined ? undefined : mapAt(map.inner);
    return {
      name,
      type,
      keySize,
      valueSize,
      maxEntries,
      flags,
      fields,
      ...(inner === undefined ? {} : { inner }),
      ...(key === undefined ? {} : { key }),
      ...(value === undefined ? {} : { value }),
    };
  };
}
