import { BpfError } from "../errors.ts";
import { MAP_COUNT, MAP_CPU_STRIDE, MAP_STRIDE, MAP_VALUES, RING_AT } from "../core/layout.ts";
import { type MapType, errnoName, mapRules, programMayWrite } from "../uapi/index.ts";
import { type Batch, type BatchOptions, inBatch, lookupBuckets, readKeys } from "./maps/batch.ts";
import {
  ARRAYS,
  type Codec,
  FAST_KEYS,
  HASHES,
  MAPS_OF_MAPS,
  MAPS_OF_OBJECTS,
  type MapDefinition,
  type MapField,
  type MapHost,
  type MapObject,
  type ProgramHandle,
  type UpdateFlag,
  bitsOf,
} from "./maps/definition.ts";
import { eventsOf, takePerfEvents, takeRecords } from "./maps/events.ts";
import { type PerfEvent, createPerfBuffer } from "./maps/perf.ts";
import { putRecord } from "./maps/ring.ts";
import { socketRefused } from "./maps/sockets.ts";

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
  /** Of maps of maps: what the maps in it are like. */
  readonly inner: BpfMap | undefined;
  /** Fields of a value that are the kernel's. */
  readonly fields: readonly MapField[];
  /** Address of the descriptor: what a program calls a pointer to the map. */
  readonly address: number;
  readonly #host: MapHost;
  /** Scratch for a key, a next key and a value. */
  readonly #key: number;
  readonly #next: number;
  readonly #value: number;
  /** Bytes of a value in a per-CPU copy: the kernel rounds up to 8. */
  readonly #slot: number;
  /** Objects that were put in, by address. */
  readonly #objects = new Map<number, MapObject>();
  /** Of perf event arrays: the buffers, by CPU. */
  #buffers: number[] = [];

  constructor(host: MapHost, definition: MapDefinition, address: number, buffers: readonly number[] = []) {
    this.#buffers = [...buffers];
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
    this.inner = definition.inner;
    this.fields = definition.fields ?? [];
    this.perCpu = mapRules(definition.type).perCpu ?? false;
    this.#slot = this.perCpu ? Math.ceil(this.valueSize / 8) * 8 : this.valueSize;
    const keyRoom = Math.ceil(this.keySize / 8) * 8;
    this.#key = host.memory.alloc(
      2 * keyRoom + Math.max(8, this.#slot) * (this.perCpu ? host.cpus : 1),
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
    const status = core.map_update_copy(this.address, this.#key, this.#value, 0n);
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

  /**
   * Puts a map into a map of maps, or takes it out.
   *
   * @throws BpfError code "map": EINVAL for a map that is not like the inner one, E2BIG for too large an index or a full map.
   * @example
   * maps.tables.setMap(Uint8Array.of(0, 0, 0, 0), maps.table_v2);
   */
  setMap(key: Uint8Array, map: BpfMap | undefined, flag: UpdateFlag = "any"): void {
    if (!MAPS_OF_MAPS.includes(this.type)) throw this.#error(`it is of type ${this.type} and holds no maps`);
    if (map === undefined) {
      this.delete(key);
      return;
    }
    if (this.#host.mapAt(map.address) !== map)
      throw this.#error(`map '${map.name}' lives in another machine`);
    this.#putObject(key, map.address, flag, `map '${map.name}' cannot be put there`);
  }

  /** The map at a key of a map of maps. */
  mapAt(key: Uint8Array): BpfMap | undefined {
    if (!MAPS_OF_MAPS.includes(this.type)) return undefined;
    this.#putKey(key);
    const { core, mapAt } = this.#host;
    return mapAt(core.map_lookup_elem(this.address, this.#key) >>> 0);
  }

  /**
   * Puts an object of the world into a map that holds such: a socket into a sockmap, sockhash, xskmap or reuseport array, a
   * cgroup into a cgroup array.
   *
   * @throws BpfError code "map" with the kernel's errno: E2BIG, EEXIST, ENOENT, EOPNOTSUPP for a socket that such a map takes not.
   * @example
   * maps.backends.setObject(Uint8Array.of(0, 0, 0, 0), machine.world.sockets.all[0]);
   */
  setObject(key: Uint8Array, object: MapObject | undefined, flag: UpdateFlag = "any"): void {
    if (!MAPS_OF_OBJECTS.includes(this.type))
      throw this.#error(`it is of type ${this.type} and holds no objects`);
    if (object === undefined) {
      this.delete(key);
      return;
    }
    const refused = "placed" in object ? socketRefused(this.type, object) : 0;
    if (refused !== 0) throw this.#error("a socket in this state cannot be put there", refused);
    const address = this.#host.objectOf(object);
    this.#putObject(key, address, flag, "the object cannot be put there");
    this.#objects.set(address, object);
  }

  /** The object at a key of such a map. Programs may have put in others than the host did: of these only the address is known. */
  objectAt(key: Uint8Array): MapObject | undefined {
    if (!MAPS_OF_OBJECTS.includes(this.type)) return undefined;
    this.#putKey(key);
    let address = 0;
    if (this.type === "cgroup_array") {
      const index = this.#host.memory.u32(this.#key);
      if (index < this.maxEntries) address = this.#host.memory.u32(this.#slotAt(index));
    } else address = this.#host.core.map_lookup_elem(this.address, this.#key) >>> 0;
    return address === 0 ? undefined : (this.#objects.get(address) ?? { address });
  }

  #slotAt(index: number): number {
    const { memory } = this.#host;
    return memory.u32(this.address + MAP_VALUES) + index * memory.u32(this.address + MAP_STRIDE);
  }

  #putObject(key: Uint8Array, address: number, flag: UpdateFlag, failure: string): void {
    this.#putKey(key);
    const { memory, core } = this.#host;
    memory.setU32(this.#value, address);
    memory.setU32(this.#value + 4, 0);
    const status = core.map_update_copy(this.address, this.#key, this.#value, bitsOf(flag));
    if (status !== 0) throw this.#error(failure, status);
  }

  /** A copy of the value's bytes (per-CPU maps: CPU 0's, see {@link lookupPerCpu}), or undefined if there is none. */
  lookup(key: Uint8Array, flag: UpdateFlag = "any"): Uint8Array | undefined {
    if (!this.#copyOut(key, flag)) return undefined;
    const bytes = this.#host.memory.read(this.#value, this.valueSize);
    const object = MAPS_OF_OBJECTS.includes(this.type) ? this.objectAt(key) : undefined;
    // Of a socket bpf(2) gives the cookie.
    if (object !== undefined && "placed" in object && bytes.length === 8)
      new DataView(bytes.buffer).setBigUint64(0, object.cookie, true);
    return bytes;
  }

  /** A copy of each CPU's value. */
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined {
    if (!this.perCpu) throw this.#error("it has one value for all CPUs: use lookup");
    if (!this.#copyOut(key)) return undefined;
    return Array.from({ length: this.#host.cpus }, (_, cpu) =>
      this.#host.memory.read(this.#value + cpu * this.#slot, this.valueSize),
    );
  }

  /**
   * A copy of the value's bytes (of per-CPU maps of all CPUs, one after the other), and the element is gone. Hashes do it for a
   * key, queues and stacks for none.
   */
  lookupAndDelete(key: Uint8Array, flag: UpdateFlag = "any"): Uint8Array | undefined {
    this.#putKey(key);
    const { core, memory } = this.#host;
    const status = core.map_lookup_and_delete(this.address, this.#key, this.#value, bitsOf(flag));
    if (status === 0) return memory.read(this.#value, this.#copySize);
    if (errnoName(status) === "ENOENT") return undefined;
    throw this.#error("lookup and delete failed", status);
  }

  /** Bytes of a value as bpf(2) copies it. */
  get #copySize(): number {
    return this.perCpu ? this.#slot * this.#host.cpus : this.valueSize;
  }

  /** BPF_MAP_FREEZE: from now on the host may not write to it. EBUSY if it is frozen already. */
  freeze(): void {
    const status = this.#host.core.map_freeze(this.address);
    if (status !== 0) throw this.#error("it cannot be frozen", status);
  }

  /** BPF_MAP_LOOKUP_BATCH: at most `count` elements from the cursor on. Hashes give whole buckets: ENOSPC if one is larger. */
  lookupBatch(options: BatchOptions): Batch {
    this.#needBatch();
    if (HASHES.includes(this.type)) return this.#readBuckets(options, false);
    return readKeys(
      this,
      (key) => (this.#copyOut(key) ? this.#host.memory.read(this.#value, this.#copySize) : undefined),
      options,
    );
  }

  /** BPF_MAP_LOOKUP_AND_DELETE_BATCH, of hashes. */
  lookupAndDeleteBatch(options: BatchOptions): Batch {
    if (!HASHES.includes(this.type)) throw this.#error("lookup and delete failed", -524);
    return this.#readBuckets(options, true);
  }

  /**
   * BPF_MAP_UPDATE_BATCH: writes elements up to the first that fails; how many were written.
   *
   * @throws BpfError code "map": EINVAL for other flags than "lock"; what the first element that fails says, with its index, which
   * is the number of those that were written, in `where.element`.
   */
  updateBatch(keys: readonly Uint8Array[], values: readonly Uint8Array[], flag: UpdateFlag = "any"): number {
    this.#needBatch();
    if ((bitsOf(flag) & ~bitsOf("lock")) !== 0n) throw this.#error("batches take no such flag", -22);
    return inBatch(keys, (key, index) => this.update(key, values[index] as Uint8Array, flag));
  }

  /**
   * BPF_MAP_DELETE_BATCH: how many are gone.
   *
   * @throws BpfError code "map": ENOENT for the first key that is not there, with its index, which is the number of those that are
   * gone, in `where.element`.
   */
  deleteBatch(keys: readonly Uint8Array[]): number {
    this.#needBatch();
    return inBatch(keys, (key, index) => {
      if (!this.delete(key)) throw this.#error(`key ${index} of the batch is not there`, -2);
    });
  }

  #needBatch(): void {
    if (!(mapRules(this.type).batch ?? false)) throw this.#error("it has no batch operations", -524);
  }

  #readBuckets(options: BatchOptions, drop: boolean): Batch {
    return lookupBuckets(this, this.#host, this.#copySize, options, drop);
  }

  /**
   * Adds a value to a queue, a stack or a bloom filter, converted through BTF unless it is bytes already. "exist" lets the
   * oldest value of a full queue or stack make room; without it: E2BIG.
   */
  push(value: unknown, flag: UpdateFlag = "any"): void {
    this.update(NO_KEY, this.#encode(this.valueType, value, this.valueSize, "value"), flag);
  }

  /** Takes out the oldest value of a queue, the newest of a stack; undefined if it is empty. */
  pop(): unknown {
    const bytes = this.lookupAndDelete(NO_KEY);
    return bytes === undefined ? undefined : decode(this.valueType, bytes);
  }

  /** What {@link pop} would give. */
  peek(): unknown {
    const bytes = this.lookup(NO_KEY);
    return bytes === undefined ? undefined : decode(this.valueType, bytes);
  }

  /** Whether a value may be in a bloom filter; false is certain. */
  mayHave(value: unknown): boolean {
    if (this.type !== "bloom_filter") throw this.#error("it is no bloom filter");
    const { memory, core } = this.#host;
    memory.write(this.#value, this.#encode(this.valueType, value, this.valueSize, "value"));
    return core.map_lookup_copy(this.address, this.#key, this.#value, 0n) === 0;
  }

  /**
   * Takes out what programs have put into a ring buffer since: copies of the records, in order. It stops at a record that
   * is reserved but not submitted.
   *
   * @example
   * for (const record of maps.events.records()) console.log(record.length);
   */
  *records(): Generator<Uint8Array> {
    if (this.type !== "ringbuf") throw this.#error("it is no ring buffer");
    yield* takeRecords(this.#host.memory, this.#ring);
  }

  /** Puts a record into a user ring buffer, for bpf_user_ringbuf_drain; false if there is no room. */
  send(record: Uint8Array): boolean {
    if (this.type !== "user_ringbuf") throw this.#error("it is no user ring buffer");
    return putRecord(this.#host.memory, this.#ring, record);
  }

  get #ring(): number {
    return this.#host.memory.u32(this.address + RING_AT);
  }

  /**
   * Gives a perf event array its buffers, one for each CPU: until then bpf_perf_event_output fails with ENOENT.
   *
   * @param pages Pages of 4096 bytes for each, a power of two.
   */
  open({ pages = 8 }: { readonly pages?: number } = {}): void {
    if (this.type !== "perf_event_array") throw this.#error("it is no perf event array");
    if (this.#buffers.length > 0) return;
    const { memory, core, cpus } = this.#host;
    for (let cpu = 0; cpu < Math.min(cpus, this.maxEntries); cpu++) {
      const buffer = createPerfBuffer(memory, cpu, pages, `map '${this.name}'`);
      memory.setU32(this.#key, cpu);
      memory.setU32(this.#value, buffer);
      const status = core.map_update_copy(this.address, this.#key, this.#value, 0n);
      if (status !== 0) throw this.#error(`CPU ${cpu}: no buffer can be put there`, status);
      this.#buffers.push(buffer);
    }
  }

  /** Addresses of the buffers of a perf event array. */
  get perfBuffers(): readonly number[] {
    return this.#buffers;
  }

  /** Takes out what programs have put into the perf buffers: CPU after CPU, in the order of each; what was lost is told. */
  *perfEvents(): Generator<PerfEvent> {
    yield* takePerfEvents(this.#host.memory, this.#buffers);
  }

  /**
   * Events as they come: records of a ring buffer, or samples of a perf event array (which it opens). It goes on until
   * the loop is left.
   *
   * @example
   * for await (const record of maps.events) console.log(record);
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array | PerfEvent> {
    if (this.type === "perf_event_array") this.open();
    else if (this.type !== "ringbuf") throw this.#error("it has no events");
    yield* eventsOf(this.#host, this.type === "ringbuf" ? this.#ring : this.#buffers);
  }

  #copyOut(key: Uint8Array, flag: UpdateFlag = "any"): boolean {
    this.#putKey(key);
    const status = this.#host.core.map_lookup_copy(this.address, this.#key, this.#value, bitsOf(flag));
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
    if (MAPS_OF_MAPS.includes(this.type)) throw this.#error("maps are put there by setMap");
    if (MAPS_OF_OBJECTS.includes(this.type)) throw this.#error("objects are put there by setObject");
    if (this.type === "perf_event_array") throw this.#error("buffers are put there by open");
    this.#putKey(key);
    const copies = this.perCpu ? this.#host.cpus : 1;
    const values = value instanceof Uint8Array ? this.#parts(value) : value;
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
    const status = this.#host.core.map_update_copy(this.address, this.#key, this.#value, bitsOf(flag));
    if (status !== 0) throw this.#error("update failed", status);
  }

  /** The values of all CPUs, if all are given in one piece; else it is one value. */
  #parts(value: Uint8Array): Uint8Array[] {
    const { cpus } = this.#host;
    if (!this.perCpu || value.length !== this.#slot * cpus || value.length === this.valueSize) return [value];
    return Array.from({ length: cpus }, (_, cpu) =>
      value.subarray(cpu * this.#slot, cpu * this.#slot + this.valueSize),
    );
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
    if (value instanceof BpfMap) {
      this.setMap(this.#encodeKey(key), value, flag);
      return;
    }
    if (MAPS_OF_OBJECTS.includes(this.type) && isObject(value)) {
      this.setObject(this.#encodeKey(key), value, flag);
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

  /** The element in whose value an address lies: addresses of its key, until the next operation, and of its value. */
  valueAround(address: number): { key: number; value: number } | undefined {
    for (const key of this.keys()) {
      this.#putKey(key);
      const value = this.#host.core.map_lookup_percpu(this.address, this.#key, 0) >>> 0;
      if (value !== 0 && address >= value && address < value + this.valueSize)
        return { key: this.#key, value };
    }
    return undefined;
  }

  /** Address of the first value of an array, of the first page of an arena: what programs address without a lookup. */
  get valueBase(): number {
    return this.#host.memory.u32(this.address + MAP_VALUES);
  }

  /** The function of the core that does for this map what a helper does for all (jit/types.ts, mapRoutine). */
  routine(helper: string): string | undefined {
    if (this.type !== "hash" || this.fields.length > 0) return undefined;
    if (helper === "map_update_elem") return programMayWrite(this.flags) ? "hash_update" : undefined;
    if (helper === "map_lookup_elem" && FAST_KEYS.includes(this.keySize))
      return `hash_lookup_${this.keySize}`;
    return undefined;
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
    if (MAPS_OF_OBJECTS.includes(this.type)) return this.objectAt(key);
    const bytes = this.lookup(key);
    if (this.type === "prog_array") return this.programAt(this.#host.memory.u32(this.#key))?.name;
    if (MAPS_OF_MAPS.includes(this.type)) return this.mapAt(key);
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

const NO_KEY = new Uint8Array(0);

function isObject(value: unknown): value is MapObject {
  if (typeof value !== "object" || value === null) return false;
  return "address" in value || "placed" in value || "classid" in value;
}

function isProgram(value: unknown): value is ProgramHandle {
  return typeof value === "object" && value !== null && "descriptor" in value && "name" in value;
}

function decode(codec: Codec | undefined, bytes: Uint8Array): unknown {
  return codec === undefined ? bytes : codec.decode(bytes);
}
