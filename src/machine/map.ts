import { BpfError } from "../errors.ts";
import type { CoreExports } from "../core/index.ts";
import { MAP_COUNT, MAP_CPU_STRIDE, MAP_STRIDE, MAP_VALUES } from "../core/layout.ts";
import { type MapType, errnoName } from "../uapi/index.ts";
import type { LinearMemory } from "./memory.ts";

/** Values of a type as JavaScript sees them: numbers, bigints, strings, arrays and objects by member name. */
export interface Codec {
  /** The C name: "struct flow_key". */
  readonly typeName: string;
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
  readonly key?: Codec;
  readonly value?: Codec;
}

/** Flags of an update (uapi/linux/bpf.h): create or replace, create only, replace only. */
const UPDATE_FLAGS = { any: 0n, noexist: 1n, exist: 2n } as const;

/** "any" creates or replaces, "noexist" only creates, "exist" only replaces. */
export type UpdateFlag = keyof typeof UPDATE_FLAGS;

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
}

const PER_CPU: readonly MapType[] = ["percpu_array", "percpu_hash", "lru_percpu_hash"];
const ARRAYS: readonly MapType[] = ["array", "percpu_array"];

/**
 * A live map. Its storage is in the machine's memory, where programs use it; this object only points there.
 *
 * `lookup`, `update` and `delete` work on raw bytes and exist for every map; `get`, `set` and `entries` convert
 * through the map's BTF types. Of a per-CPU map a value is an array, one element for each CPU.
 *
 * @example
 * maps.blocked.set({ prefixlen: 8, addr: [10, 0, 0, 0] }, 1);
 * for (const [key, value] of maps.hits.entries()) console.log(key, value);
 */
export class BpfMap {
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly perCpu: boolean;
  readonly keyType: Codec | undefined;
  readonly valueType: Codec | undefined;
  /** Address of the descriptor: what a program calls a pointer to the map. */
  readonly address: number;
  readonly #host: MapHost;
  /** Scratch for a key, a next key and a value. */
  readonly #key: number;
  readonly #next: number;
  readonly #value: number;
  /** Bytes of a value in a per-CPU copy: the kernel rounds up to 8. */
  readonly #slot: number;

  constructor(host: MapHost, definition: MapDefinition, address: number) {
    this.#host = host;
    this.address = address;
    this.name = definition.name;
    this.type = definition.type;
    this.keySize = definition.keySize;
    this.valueSize = definition.valueSize;
    this.maxEntries = definition.maxEntries;
    this.flags = definition.flags;
    this.keyType = definition.key;
    this.valueType = definition.value;
    this.perCpu = PER_CPU.includes(definition.type);
    this.#slot = this.perCpu ? Math.ceil(this.valueSize / 8) * 8 : this.valueSize;
    const keyRoom = Math.ceil(this.keySize / 8) * 8;
    this.#key = host.memory.alloc(
      2 * keyRoom + this.#slot * (this.perCpu ? host.cpus : 1),
      `map '${this.name}'`,
    );
    this.#next = this.#key + keyRoom;
    this.#value = this.#next + keyRoom;
  }

  /**
   * Puts a program into a slot of a program array, where bpf_tail_call finds it, or takes it out.
   *
   * @throws BpfError code "map" with the kernel's errno: EINVAL for a program of another type than those that the array
   * holds or that use it, E2BIG for an index that is too large.
   * @example
   * maps.steps.setProgram(0, programs.parse);
   * maps.steps.setProgram(0, undefined);
   */
  setProgram(index: number, program: ProgramHandle | undefined): void {
    if (this.type !== "prog_array") throw this.#error(`it is of type ${this.type} and holds no programs`);
    if (!Number.isInteger(index) || index < 0 || index > 0xffffffff) {
      throw this.#error(`an index is a whole number from 0 on, not ${index}`);
    }
    const { memory, core, programAt } = this.#host;
    memory.setU32(this.#key, index);
    if (program === undefined) {
      const status = core.map_delete(this.address, this.#key);
      if (status !== 0 && errnoName(status) !== "ENOENT") throw this.#error("update failed", status);
      return;
    }
    if (programAt(program.descriptor) !== program) {
      throw this.#error(`program '${program.name}' lives in another machine`);
    }
    memory.setU32(this.#value, program.descriptor);
    const status = core.map_update_copy(this.address, this.#key, this.#value, UPDATE_FLAGS.any);
    if (status !== 0) throw this.#error(`program '${program.name}' cannot be put at index ${index}`, status);
  }

  /** The program in a slot of a program array. */
  programAt(index: number): ProgramHandle | undefined {
    if (this.type !== "prog_array" || !(index >= 0 && index < this.maxEntries)) return undefined;
    const { memory, programAt } = this.#host;
    const slot = memory.u32(this.address + MAP_VALUES) + index * memory.u32(this.address + MAP_STRIDE);
    return programAt(memory.u32(slot));
  }

  /** Elements present. */
  get size(): number {
    return ARRAYS.includes(this.type) ? this.maxEntries : this.#host.memory.u32(this.address + MAP_COUNT);
  }

  /** A copy of the value's bytes (per-CPU maps: CPU 0's, see {@link lookupPerCpu}), or undefined if there is none. */
  lookup(key: Uint8Array): Uint8Array | undefined {
    return this.#copyOut(key) ? this.#host.memory.read(this.#value, this.valueSize) : undefined;
  }

  /** A copy of each CPU's value. */
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined {
    if (!this.perCpu) throw this.#error("it has one value for all CPUs: use lookup");
    if (!this.#copyOut(key)) return undefined;
    return Array.from({ length: this.#host.cpus }, (_, cpu) =>
      this.#host.memory.read(this.#value + cpu * this.#slot, this.valueSize),
    );
  }

  #copyOut(key: Uint8Array): boolean {
    this.#putKey(key);
    const status = this.#host.core.map_lookup_copy(this.address, this.#key, this.#value, 0n);
    if (status === 0) return true;
    if (errnoName(status) === "ENOENT") return false;
    throw this.#error("lookup failed", status);
  }

  /**
   * Writes a value; per-CPU maps take the values of all CPUs one after the other, or one for all.
   *
   * @throws BpfError code "map" with the kernel's errno: EEXIST, ENOENT, E2BIG, EINVAL, ENOSPC.
   */
  update(key: Uint8Array, value: Uint8Array | readonly Uint8Array[], flag: UpdateFlag = "any"): void {
    if (this.type === "prog_array") throw this.#error("programs are put there by setProgram");
    this.#putKey(key);
    const values = value instanceof Uint8Array ? [value] : value;
    const copies = this.perCpu ? this.#host.cpus : 1;
    if (values.length !== 1 && values.length !== copies) {
      throw this.#error(`${values.length} values given, it takes 1 or ${copies}`);
    }
    for (let copy = 0; copy < copies; copy++) {
      const bytes = values[values.length === 1 ? 0 : copy] as Uint8Array;
      if (bytes.length !== this.valueSize) {
        throw this.#error(`value has ${bytes.length} bytes, the map's values have ${this.valueSize}`);
      }
      this.#host.memory.write(this.#value + copy * this.#slot, bytes);
    }
    const status = this.#host.core.map_update_copy(this.address, this.#key, this.#value, UPDATE_FLAGS[flag]);
    if (status !== 0) throw this.#error("update failed", status);
  }

  /** Removes an element; false if there was none. Elements of arrays cannot be removed: EINVAL. */
  delete(key: Uint8Array): boolean {
    this.#putKey(key);
    const status = this.#host.core.map_delete(this.address, this.#key);
    if (status === 0) return true;
    if (errnoName(status) === "ENOENT") return false;
    throw this.#error("delete failed", status);
  }

  /** The key after `key` in the map's own order, the first one without `key`; undefined at the end. */
  nextKey(key?: Uint8Array): Uint8Array | undefined {
    if (key !== undefined) this.#putKey(key);
    const from = key === undefined ? 0 : this.#key;
    const status = this.#host.core.map_get_next_key(this.address, from, this.#next);
    if (status === 0) return this.#host.memory.read(this.#next, this.keySize);
    if (errnoName(status) === "ENOENT") return undefined;
    throw this.#error("iteration failed", status);
  }

  /** All keys. The number is bounded, so that a map that changes meanwhile cannot keep the loop going. */
  *keys(): Generator<Uint8Array> {
    let key = this.nextKey();
    for (let count = 0; key !== undefined && count < this.maxEntries; count++) {
      yield key;
      key = this.nextKey(key);
    }
  }

  /** All elements, converted. A key or value without BTF is given as its bytes. */
  *entries(): Generator<[key: unknown, value: unknown]> {
    for (const key of this.keys()) {
      const value = this.#decodeValue(key);
      if (value !== undefined) yield [this.#decodeKey(key), value];
    }
  }

  /** The value at a key, both converted through BTF; undefined if there is none. Of a program array: the program's name. */
  get(key: unknown): unknown {
    return this.#decodeValue(this.#encodeKey(key));
  }

  /**
   * Writes a value, both converted through BTF. A per-CPU map takes an array of values or one for all CPUs, a program array
   * a program.
   */
  set(key: unknown, value: unknown, flag: UpdateFlag = "any"): void {
    if (this.type === "prog_array" && isProgram(value)) {
      this.setProgram(Number(key), value);
      return;
    }
    const encode = (one: unknown): Uint8Array => this.#encode(this.valueType, one, this.valueSize, "value");
    const perCpu = this.perCpu && Array.isArray(value) && value.length === this.#host.cpus;
    this.update(this.#encodeKey(key), perCpu ? (value as unknown[]).map(encode) : encode(value), flag);
  }

  /**
   * The bytes of a value where they lie: no copy, writes go to the map. The view dies when the machine's memory grows:
   * use it at once.
   */
  view(key: Uint8Array, cpu = 0): Uint8Array | undefined {
    this.#putKey(key);
    const address = this.#host.core.map_lookup_percpu(this.address, this.#key, cpu) >>> 0;
    return address === 0 ? undefined : this.#host.memory.u8.subarray(address, address + this.valueSize);
  }

  /** Where the JIT finds an array's values, so that it can look them up without a call; undefined for other types. */
  get arrayLayout(): { values: number; stride: number; cpuStride: number; maxEntries: number } | undefined {
    if (!ARRAYS.includes(this.type)) return undefined;
    const field = (offset: number): number => this.#host.memory.u32(this.address + offset);
    return {
      values: field(MAP_VALUES),
      stride: field(MAP_STRIDE),
      cpuStride: this.perCpu ? field(MAP_CPU_STRIDE) : 0,
      maxEntries: this.maxEntries,
    };
  }

  #putKey(key: Uint8Array): void {
    if (key.length !== this.keySize) {
      throw this.#error(`key has ${key.length} bytes, the map's keys have ${this.keySize}`);
    }
    this.#host.memory.write(this.#key, key);
  }

  #encodeKey(key: unknown): Uint8Array {
    return this.#encode(this.keyType, key, this.keySize, "key");
  }

  #decodeKey(key: Uint8Array): unknown {
    return decode(this.keyType, key);
  }

  #decodeValue(key: Uint8Array): unknown {
    if (this.perCpu) return this.lookupPerCpu(key)?.map((bytes) => decode(this.valueType, bytes));
    const bytes = this.lookup(key);
    if (this.type === "prog_array") return this.programAt(this.#host.memory.u32(this.#key))?.name;
    return bytes === undefined ? undefined : decode(this.valueType, bytes);
  }

  /** Without BTF, bytes are themselves and numbers become little-endian integers of the right size. */
  #encode(codec: Codec | undefined, value: unknown, size: number, what: string): Uint8Array {
    if (value instanceof Uint8Array) return value;
    if (codec !== undefined) return codec.encode(value);
    const integer = typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value;
    if (typeof integer === "bigint" && integer === BigInt.asUintN(size * 8, integer)) {
      return Uint8Array.from({ length: size }, (_, index) => Number((integer >> BigInt(8 * index)) & 0xffn));
    }
    throw this.#error(`its ${what} has no BTF type: give ${size} bytes, or a whole number that fits`);
  }

  #error(message: string, status?: number): BpfError {
    if (status === undefined)
      return new BpfError("map", `map '${this.name}': ${message}`, { where: { map: this.name } });
    const errno = errnoName(status);
    return new BpfError("map", `map '${this.name}': ${message}: ${errno}`, {
      where: { map: this.name },
      errno,
    });
  }
}

function isProgram(value: unknown): value is ProgramHandle {
  return typeof value === "object" && value !== null && "descriptor" in value && "name" in value;
}

function decode(codec: Codec | undefined, bytes: Uint8Array): unknown {
  return codec === undefined ? bytes : codec.decode(bytes);
}
