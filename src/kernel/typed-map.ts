import { BpfError } from "../errors.ts";
import type { Codec, UpdateFlag } from "../machine/index.ts";
import type { MapType } from "../uapi/index.ts";
import { joinPerCpu, possibleCpus, splitPerCpu } from "./cpus.ts";
import { type KernelMap, isPerCpu } from "./map.ts";

/**
 * A map of an object in the kernel, with the same face as a machine's `BpfMap`: `lookup`, `update` and `delete` on raw
 * bytes, `get`, `set` and `entries` through the map's BTF types. Of a per-CPU map a value is an array, one element for
 * each possible CPU. `raw` is the map as bpf(2) has it.
 */
export class TypedMap {
  readonly raw: KernelMap;
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly perCpu: boolean;
  readonly keyType: Codec | undefined;
  readonly valueType: Codec | undefined;

  constructor(raw: KernelMap, name: string, keyType: Codec | undefined, valueType: Codec | undefined) {
    this.raw = raw;
    this.name = name;
    this.type = raw.type;
    this.keySize = raw.keySize;
    this.valueSize = raw.valueSize;
    this.maxEntries = raw.maxEntries;
    this.flags = raw.flags;
    this.perCpu = isPerCpu(raw.type);
    this.keyType = keyType;
    this.valueType = valueType;
  }

  /** Elements present: counted, since the kernel does not tell. */
  get size(): number {
    let count = 0;
    for (const _ of this.keys()) count++;
    return count;
  }

  /** A copy of the value's bytes (per-CPU maps: CPU 0's, see {@link lookupPerCpu}), or undefined if there is none. */
  lookup(key: Uint8Array): Uint8Array | undefined {
    return this.raw.lookup(key)?.subarray(0, this.valueSize);
  }

  /** A copy of each possible CPU's value. */
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined {
    if (!this.perCpu) throw this.#error("it has one value for all CPUs: use lookup");
    const value = this.raw.lookup(key);
    return value && splitPerCpu(value, this.valueSize);
  }

  /** Writes a value; per-CPU maps take the values of all possible CPUs, or one for all. */
  update(key: Uint8Array, value: Uint8Array | readonly Uint8Array[], flag: UpdateFlag = "any"): void {
    const values = value instanceof Uint8Array ? [value] : value;
    const copies = this.perCpu ? possibleCpus() : 1;
    if (values.length !== 1 && values.length !== copies) {
      throw this.#error(`${values.length} values given, it takes 1 or ${copies}`);
    }
    for (const bytes of values) {
      if (bytes.length !== this.valueSize) {
        throw this.#error(`value has ${bytes.length} bytes, the map's values have ${this.valueSize}`);
      }
    }
    const all = Array.from(
      { length: copies },
      (_, cpu) => values[values.length === 1 ? 0 : cpu] as Uint8Array,
    );
    this.raw.update(key, this.perCpu ? joinPerCpu(all, this.valueSize) : (all[0] as Uint8Array), flag);
  }

  /** Removes an element; false if there was none. */
  delete(key: Uint8Array): boolean {
    return this.raw.delete(key);
  }

  /** The key after `key` in the kernel's order, the first one without `key`; undefined at the end. */
  nextKey(key?: Uint8Array): Uint8Array | undefined {
    return this.raw.nextKey(key);
  }

  /** All keys. */
  keys(): Generator<Uint8Array> {
    return this.raw.keys();
  }

  /** All elements, converted. A key or value without BTF is given as its bytes. */
  *entries(): Generator<[key: unknown, value: unknown]> {
    for (const key of this.keys()) {
      const value = this.#value(key);
      if (value !== undefined) yield [decode(this.keyType, key), value];
    }
  }

  /** The value at a key, both converted through BTF; undefined if there is none. */
  get(key: unknown): unknown {
    return this.#value(this.#encode(this.keyType, key, this.keySize, "key"));
  }

  /** Writes a value, both converted through BTF. A per-CPU map takes an array of values or one for all CPUs. */
  set(key: unknown, value: unknown, flag: UpdateFlag = "any"): void {
    const encode = (one: unknown): Uint8Array => this.#encode(this.valueType, one, this.valueSize, "value");
    const perCpu = this.perCpu && Array.isArray(value) && value.length === possibleCpus();
    this.update(
      this.#encode(this.keyType, key, this.keySize, "key"),
      perCpu ? (value as unknown[]).map(encode) : encode(value),
      flag,
    );
  }

  #value(key: Uint8Array): unknown {
    if (this.perCpu) return this.lookupPerCpu(key)?.map((bytes) => decode(this.valueType, bytes));
    const bytes = this.lookup(key);
    return bytes && decode(this.valueType, bytes);
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

  #error(message: string): BpfError {
    return new BpfError("map", `map '${this.name}': ${message}`, { where: { map: this.name } });
  }
}

function decode(codec: Codec | undefined, bytes: Uint8Array): unknown {
  return codec === undefined ? bytes : codec.decode(bytes);
}
