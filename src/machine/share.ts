/**
 * A machine in several threads: one shared memory, and in each thread a core, a function table and compiled programs of its
 * own. What the others need to know is plain data, so that `postMessage` can carry it to a worker of Node.js or of a browser.
 */
import { parseBtf } from "../btf/index.ts";
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

/** The definitions of the maps, their BTF parsed once for all that were sent with the same bytes. */
export function definitionReader(): (
  map: SharedMap,
  mapAt: (address: number) => BpfMap | undefined,
) => MapDefinition {
  const known = new Map<Uint8Array, ReturnType<typeof parseBtf>>();
  const codec = (shared: SharedCodec | undefined, size: number): Codec | undefined => {
    if (shared === undefined) return undefined;
    let btf = known.get(shared.btf);
    if (btf === undefined) {
      btf = parseBtf(shared.btf);
      known.set(shared.btf, btf);
    }
    return codecOf(btf, shared.type, size);
  };
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
