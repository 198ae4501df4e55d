/** What a map is made of, what it needs of its machine, and which types hold what. */
import type { BtfFieldTarget } from "../../btf/index.ts";
import type { CoreExports } from "../../core/index.ts";
import type { MapType } from "../../uapi/index.ts";
import type { BpfMap } from "../map.ts";
import type { LinearMemory } from "../memory.ts";
import type { Socket } from "../world/sockets.ts";
import type { Cgroup } from "../world/tasks.ts";

/** Values of a type as JavaScript sees them: numbers, bigints, strings, arrays and objects by member name. */
export interface Codec {
  /** The C name: "struct flow_key". */
  readonly typeName: string;
  /** What another thread makes the same codec of. */
  readonly shared?: { readonly btf: Uint8Array; readonly type: number };
  decode(bytes: Uint8Array): unknown;
  /** Throws BpfError if the value does not fit the type. */
  encode(value: unknown): Uint8Array;
}

export interface MapDefinition {
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_ flags of uapi/linux/bpf.h. */
  readonly flags: number;
  /** map_extra: hash functions of a bloom filter. Default 0. */
  readonly extra?: number;
  /** Of maps of maps: a map like those that it will hold. */
  readonly inner?: BpfMap;
  /** Fields of a value that are the kernel's (`specialFields` of skep/btf finds them in a type). */
  readonly fields?: readonly MapField[];
  readonly key?: Codec;
  readonly value?: Codec;
}

/** A field of a value that copies leave alone and readers outside see as zeros. */
export interface MapField {
  readonly kind: string;
  readonly offset: number;
  readonly size: number;
  /** Of kernel pointers and roots: what they point to or hold (`specialFields` tells it). */
  readonly target?: BtfFieldTarget;
  readonly untrusted?: true;
}

/** Flags of an update (uapi/linux/bpf.h): create or replace, create only, replace only, under the value's bpf_spin_lock. */
const UPDATE_FLAGS = { any: 0n, noexist: 1n, exist: 2n, lock: 4n } as const;

/** "any" creates or replaces, "noexist" only creates, "exist" only replaces, "lock" takes the value's lock; or bits. */
export type UpdateFlag = keyof typeof UPDATE_FLAGS | number;

export const bitsOf = (flag: UpdateFlag): bigint =>
  typeof flag === "number" ? BigInt(flag) : UPDATE_FLAGS[flag];

/** What a program array needs of a program. */
export interface ProgramHandle {
  readonly name: string;
  /** Address of its descriptor in the machine's memory. */
  readonly descriptor: number;
}

/** What a map needs of its machine. */
export interface MapHost {
  readonly memory: LinearMemory;
  readonly core: CoreExports;
  readonly cpus: number;
  /** The program of this machine whose descriptor lies at an address. */
  programAt(descriptor: number): ProgramHandle | undefined;
  /** The program of this machine with an id. */
  programOf(id: number): ProgramHandle | undefined;
  /** The map of this machine whose descriptor lies at an address. */
  mapAt(address: number): BpfMap | undefined;
  /** The address by which programs know an object. */
  objectOf(value: MapObject): number;
  /** Resolves when a word of the memory is not what it was, or a little later. */
  change(address: number, seen: number): Promise<void>;
}

/** Something that maps hold and that programs know by an address in the memory. */
export interface ObjectHandle {
  readonly address: number;
}

/** What maps of objects hold: a socket or a control group of the world, or whatever lies at an address. */
export type MapObject = ObjectHandle | Socket | Cgroup;

export const ARRAYS: readonly MapType[] = ["array", "percpu_array"];
export const MAPS_OF_MAPS: readonly MapType[] = ["array_of_maps", "hash_of_maps"];
/** Their values are objects of the world. */
export const MAPS_OF_OBJECTS: readonly MapType[] = [
  "cgroup_array",
  "sockmap",
  "sockhash",
  "xskmap",
  "reuseport_sockarray",
];
/** All programs that use such a map are of one kind (linux: map_type_contains_progs, which leaves out devmap_hash). */
export const CLAIMED_BY_USERS: readonly MapType[] = ["prog_array", "devmap", "cpumap"];
/** Where packets may be sent, and the program that they meet there. */
export const TARGETS: readonly MapType[] = ["devmap", "devmap_hash", "cpumap"];
export const HASHES: readonly MapType[] = ["hash", "percpu_hash", "lru_hash", "lru_percpu_hash"];
/** A value for each socket, task, inode or cgroup: keys are addresses of such objects. */
export const STORAGES: readonly MapType[] = ["sk_storage", "task_storage", "inode_storage", "cgrp_storage"];
/** Bytes of keys for which the core has a lookup of its own. */
export const FAST_KEYS: readonly number[] = [4, 8, 16];
