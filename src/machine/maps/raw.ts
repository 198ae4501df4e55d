/** A map as bpf(2) has it: keys and values are bytes. */
import { MAP_COUNT, MAP_CPU_STRIDE, MAP_FROZEN, MAP_STRIDE, MAP_VALUES } from "../../core/layout.ts";
import { BpfError } from "../../errors.ts";
import { MAP_FLAGS, type MapType, errnoName, mapRules, programMayWrite } from "../../uapi/index.ts";
import { type Batch, type BatchOptions, inBatch, lookupBuckets, readKeys } from "./batch.ts";
import {
  ARRAYS,
  FAST_KEYS,
  HASHES,
  type MapDefinition,
  type MapField,
  type MapHost,
  STORAGES,
  type UpdateFlag,
  bitsOf,
} from "./definition.ts";

/** Lookups that the core has for one type of map, each by the size of the keys. */
const LOOKUPS: Readonly<
  Partial<Record<MapType, { readonly name: string; readonly sizes: readonly number[] }>>
> = {
  hash: { name: "hash_lookup", sizes: FAST_KEYS },
  percpu_hash: { name: "percpu_lookup", sizes: FAST_KEYS },
  lru_hash: { name: "lru_lookup", sizes: FAST_KEYS },
  lpm_trie: { name: "trie_lookup", sizes: [8] },
};

/** The batch commands, and what each does to the map. */
const BATCHES = {
  lookup: { read: true, write: false },
  update: { read: false, write: true },
  delete: { read: false, write: true },
  lookup_and_delete: { read: true, write: true },
} as const;

/** The storage of a live map and the commands on its elements; `BpfMap` knows what the bytes mean. */
export class RawMap {
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly perCpu: boolean;
  /** Fields of a value that are the kernel's. */
  readonly fields: readonly MapField[];
  /** Address of the descriptor: what a program calls a pointer to the map. */
  readonly address: number;
  protected readonly host: MapHost;
  /** Scratch for a key, a next key and a value. */
  protected readonly keyAt: number;
  protected readonly nextAt: number;
  protected readonly valueAt: number;
  /** Bytes of a value in a per-CPU copy: the kernel rounds up to 8. */
  protected readonly slot: number;

  constructor(host: MapHost, definition: MapDefinition, address: number) {
    this.host = host;
    this.address = address;
    this.name = definition.name;
    this.type = definition.type;
    this.keySize = definition.keySize;
    this.valueSize = definition.valueSize;
    this.maxEntries = definition.maxEntries;
    this.flags = definition.flags;
    this.fields = definition.fields ?? [];
    this.perCpu = mapRules(definition.type).perCpu ?? false;
    this.slot = this.perCpu ? Math.ceil(this.valueSize / 8) * 8 : this.valueSize;
    const keyRoom = Math.ceil(this.keySize / 8) * 8;
    this.keyAt = host.memory.alloc(
      2 * keyRoom + Math.max(8, this.slot) * (this.perCpu ? host.cpus : 1),
      `map '${this.name}'`,
    );
    this.nextAt = this.keyAt + keyRoom;
    this.valueAt = this.nextAt + keyRoom;
  }

  /** Elements present. */
  get size(): number {
    return ARRAYS.includes(this.type) ? this.maxEntries : this.host.memory.u32(this.address + MAP_COUNT);
  }

  /** A copy of the value's bytes (per-CPU maps: CPU 0's, see {@link lookupPerCpu}), or undefined if there is none. */
  lookup(key: Uint8Array, flag: UpdateFlag = "any"): Uint8Array | undefined {
    if (!this.copyOut(key, flag)) return undefined;
    return this.host.memory.read(this.valueAt, this.valueSize);
  }

  /** A copy of each CPU's value. */
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined {
    if (!this.perCpu) throw this.error("it has one value for all CPUs: use lookup");
    if (!this.copyOut(key)) return undefined;
    return Array.from({ length: this.host.cpus }, (_, cpu) =>
      this.host.memory.read(this.valueAt + cpu * this.slot, this.valueSize),
    );
  }

  /**
   * A copy of the value's bytes (of per-CPU maps of all CPUs, one after the other), and the element is gone. Hashes do it for a
   * key, queues and stacks for none.
   */
  lookupAndDelete(key: Uint8Array, flag: UpdateFlag = "any"): Uint8Array | undefined {
    this.putKey(key);
    const { core, memory } = this.host;
    const status = core.map_lookup_and_delete(this.address, this.keyAt, this.valueAt, bitsOf(flag));
    if (status === 0) return memory.read(this.valueAt, this.#copySize);
    if (errnoName(status) === "ENOENT") return undefined;
    throw this.error("lookup and delete failed", status);
  }

  /** Bytes of a value as bpf(2) copies it. */
  get #copySize(): number {
    return this.perCpu ? this.slot * this.host.cpus : this.valueSize;
  }

  /** BPF_MAP_FREEZE: from now on the host may not write to it. EPERM if it may not already. */
  freeze(): void {
    const status = this.host.core.map_freeze(this.address);
    if (status !== 0) throw this.error("it cannot be frozen", status);
  }

  /** BPF_MAP_LOOKUP_BATCH: at most `count` elements from the cursor on. Hashes give whole buckets: ENOSPC if one is larger. */
  lookupBatch(options: BatchOptions): Batch {
    this.#begin("lookup", options.flag);
    if (this.#hasBuckets) return this.#readBuckets(options, false);
    return readKeys(
      this,
      (key) =>
        this.copyOut(key, options.flag) ? this.host.memory.read(this.valueAt, this.#copySize) : undefined,
      options,
    );
  }

  /** BPF_MAP_LOOKUP_AND_DELETE_BATCH, of hashes. */
  lookupAndDeleteBatch(options: BatchOptions): Batch {
    this.#begin("lookup_and_delete", options.flag);
    return this.#readBuckets(options, true);
  }

  /**
   * BPF_MAP_UPDATE_BATCH: writes elements up to the first that fails; how many were written.
   *
   * @throws BpfError code "map": EINVAL for other flags than "lock"; what the first element that fails says, with its index, which
   * is the number of those that were written, in `where.element`.
   */
  updateBatch(keys: readonly Uint8Array[], values: readonly Uint8Array[], flag: UpdateFlag = "any"): number {
    this.#begin("update", flag);
    return inBatch(keys, (key, index) => this.update(key, values[index] as Uint8Array, flag));
  }

  /**
   * BPF_MAP_DELETE_BATCH: how many are gone.
   *
   * @throws BpfError code "map": ENOENT for the first key that is not there, with its index, which is the number of those that are
   * gone, in `where.element`.
   */
  deleteBatch(keys: readonly Uint8Array[], flag: UpdateFlag = "any"): number {
    this.#begin("delete", flag);
    return inBatch(keys, (key, index) => {
      if (!this.delete(key)) throw this.error(`key ${index} of the batch is not there`, -2);
    });
  }

  /** What the kernel asks before a batch, in its order: may the host do that, has the type such a command, is the flag one. */
  #begin(command: keyof typeof BATCHES, flag: UpdateFlag = "any"): void {
    const { read, write } = BATCHES[command];
    if ((read && (this.flags & MAP_FLAGS.wronly) !== 0) || (write && !this.#isWritable))
      throw this.error("batch refused", -1);
    if (!(mapRules(this.type).batch?.includes(command) ?? false))
      throw this.error(`it has no ${command.replaceAll("_", " ")} batch`, -524);
    if ((bitsOf(flag) & ~bitsOf("lock")) !== 0n || this.#asksForNoLock(flag))
      throw this.error("batches take no such flag", -22);
  }

  /** What BPF_MAP_UPDATE_ELEM asks before it looks at the value: may the host write, has a value that is to be locked a lock. */
  protected checkUpdate(flag: UpdateFlag): void {
    if (!this.#isWritable) throw this.error("update refused", -1);
    if (this.#asksForNoLock(flag)) throw this.error("its values have no lock", -22);
  }

  #asksForNoLock(flag: UpdateFlag): boolean {
    return (bitsOf(flag) & bitsOf("lock")) !== 0n && !this.fields.some(({ kind }) => kind === "spin_lock");
  }

  get #hasBuckets(): boolean {
    return HASHES.includes(this.type) || this.type === "hash_of_maps";
  }

  get #isWritable(): boolean {
    return (this.flags & MAP_FLAGS.rdonly) === 0 && this.host.memory.u32(this.address + MAP_FROZEN) === 0;
  }

  #readBuckets(options: BatchOptions, drop: boolean): Batch {
    return lookupBuckets(this, this.host, this.#copySize, options, drop);
  }

  protected copyOut(key: Uint8Array, flag: UpdateFlag = "any"): boolean {
    this.putKey(key);
    const status = this.host.core.map_lookup_copy(this.address, this.keyAt, this.valueAt, bitsOf(flag));
    if (status === 0) return true;
    if (errnoName(status) === "ENOENT") return false;
    throw this.error("lookup failed", status);
  }

  /**
   * Writes a value; per-CPU maps take the values of all CPUs one after the other, or one for all.
   *
   * @throws BpfError code "map" with the kernel's errno: EEXIST, ENOENT, E2BIG, EINVAL, ENOSPC.
   */
  update(key: Uint8Array, value: Uint8Array | readonly Uint8Array[], flag: UpdateFlag = "any"): void {
    this.putKey(key);
    const copies = this.perCpu ? this.host.cpus : 1;
    const values = value instanceof Uint8Array ? this.#parts(value) : value;
    if (values.length !== 1 && values.length !== copies) {
      throw this.error(`${values.length} values given, it takes 1 or ${copies}`);
    }
    for (let copy = 0; copy < copies; copy++) {
      const bytes = values[values.length === 1 ? 0 : copy] as Uint8Array;
      if (bytes.length !== this.valueSize) {
        throw this.error(`value has ${bytes.length} bytes, the map's values have ${this.valueSize}`);
      }
      this.host.memory.write(this.valueAt + copy * this.slot, bytes);
    }
    const status = this.host.core.map_update_copy(this.address, this.keyAt, this.valueAt, bitsOf(flag));
    if (status !== 0) throw this.error("update failed", status);
  }

  /** The values of all CPUs, if all are given in one piece; else it is one value. */
  #parts(value: Uint8Array): Uint8Array[] {
    const { cpus } = this.host;
    if (!this.perCpu || value.length !== this.slot * cpus || value.length === this.valueSize) return [value];
    return Array.from({ length: cpus }, (_, cpu) =>
      value.subarray(cpu * this.slot, cpu * this.slot + this.valueSize),
    );
  }

  /** Removes an element; false if there was none. Elements of arrays cannot be removed: EINVAL. */
  delete(key: Uint8Array): boolean {
    this.putKey(key);
    const status = this.host.core.map_delete(this.address, this.keyAt);
    if (status === 0) return true;
    if (errnoName(status) === "ENOENT") return false;
    throw this.error("delete failed", status);
  }

  /** The key after `key` in the map's own order, the first one without `key`; undefined at the end. */
  nextKey(key?: Uint8Array): Uint8Array | undefined {
    if (key !== undefined) this.putKey(key);
    const from = key === undefined ? 0 : this.keyAt;
    const status = this.host.core.map_get_next_key(this.address, from, this.nextAt);
    if (status === 0) return this.host.memory.read(this.nextAt, this.keySize);
    if (errnoName(status) === "ENOENT") return undefined;
    throw this.error("iteration failed", status);
  }

  /**
   * All keys. The number is bounded, so that a map that changes meanwhile cannot keep the loop going. Local storage is walked too,
   * though {@link nextKey} refuses it as the kernel does.
   */
  *keys(): Generator<Uint8Array> {
    if (STORAGES.includes(this.type)) {
      yield* this.#readBuckets({ count: this.size }, false).keys;
      return;
    }
    let key = this.nextKey();
    for (let count = 0; key !== undefined && count < this.maxEntries; count++) {
      yield key;
      key = this.nextKey(key);
    }
  }

  /**
   * The bytes of a value where they lie: no copy, writes go to the map. The view dies when the machine's memory grows:
   * use it at once.
   */
  view(key: Uint8Array, cpu = 0): Uint8Array | undefined {
    this.putKey(key);
    const address = this.host.core.map_lookup_percpu(this.address, this.keyAt, cpu) >>> 0;
    return address === 0 ? undefined : this.host.memory.u8.subarray(address, address + this.valueSize);
  }

  /** The element in whose value an address lies: addresses of its key, until the next operation, and of its value. */
  valueAround(address: number): { key: number; value: number } | undefined {
    for (const key of this.keys()) {
      this.putKey(key);
      const value = this.host.core.map_lookup_percpu(this.address, this.keyAt, 0) >>> 0;
      if (value !== 0 && address >= value && address < value + this.valueSize)
        return { key: this.keyAt, value };
    }
    return undefined;
  }

  /** Address of the first value of an array, of the first page of an arena: what programs address without a lookup. */
  get valueBase(): number {
    return this.host.memory.u32(this.address + MAP_VALUES);
  }

  /** The function of the core that does for this map what a helper does for all (jit/types.ts, mapRoutine). */
  routine(helper: string): string | undefined {
    if (helper === "map_update_elem") {
      const plain = this.type === "hash" && this.fields.length === 0 && programMayWrite(this.flags);
      return plain ? "hash_update" : undefined;
    }
    const family = helper === "map_lookup_elem" ? LOOKUPS[this.type] : undefined;
    if (family === undefined) return undefined;
    return `${family.name}_${family.sizes.includes(this.keySize) ? this.keySize : "long"}`;
  }

  /** Where the JIT finds an array's values, so that it can look them up without a call; undefined for other types. */
  get arrayLayout(): { values: number; stride: number; cpuStride: number; maxEntries: number } | undefined {
    if (!ARRAYS.includes(this.type)) return undefined;
    const field = (offset: number): number => this.host.memory.u32(this.address + offset);
    return {
      values: field(MAP_VALUES),
      stride: field(MAP_STRIDE),
      cpuStride: this.perCpu ? field(MAP_CPU_STRIDE) : 0,
      maxEntries: this.maxEntries,
    };
  }

  protected putKey(key: Uint8Array): void {
    if (key.length !== this.keySize) {
      throw this.error(`key has ${key.length} bytes, the map's keys have ${this.keySize}`);
    }
    this.host.memory.write(this.keyAt, key);
  }

  protected error(message: string, status?: number): BpfError {
    if (status === undefined)
      return new BpfError("map", `map '${this.name}': ${message}`, { where: { map: this.name } });
    const errno = errnoName(status);
    return new BpfError("map", `map '${this.name}': ${message}: ${errno}`, {
      where: { map: this.name },
      errno,
    });
  }
}
