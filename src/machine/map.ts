import { MAP_STRIDE, MAP_VALUES, RING_AT } from "../core/layout.ts";
import { ERRNO, errnoName } from "../uapi/index.ts";
import {
  type Codec,
  MAPS_OF_MAPS,
  MAPS_OF_OBJECTS,
  type MapDefinition,
  type MapHost,
  type MapObject,
  type ProgramHandle,
  TARGETS,
  type UpdateFlag,
  bitsOf,
} from "./maps/definition.ts";
import { eventsOf, takePerfEvents, takeRecords } from "./maps/events.ts";
import { type PerfEvent, createPerfBuffer } from "./maps/perf.ts";
import { RawMap } from "./maps/raw.ts";
import { putRecord } from "./maps/ring.ts";
import { memberRefused, noteMember, socketRefused } from "./maps/sockets.ts";
import { targetForCore, targetValue } from "./maps/targets.ts";

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
export class BpfMap extends RawMap {
  readonly keyType: Codec | undefined;
  readonly valueType: Codec | undefined;
  /** Of maps of maps: what the maps in it are like. */
  readonly inner: BpfMap | undefined;
  /** Objects that were put in, by address. */
  readonly #objects = new Map<number, MapObject>();
  /** Of perf event arrays: the buffers, by CPU. */
  #buffers: number[] = [];

  constructor(host: MapHost, definition: MapDefinition, address: number, buffers: readonly number[] = []) {
    super(host, definition, address);
    this.keyType = definition.key;
    this.valueType = definition.value;
    this.inner = definition.inner;
    this.#buffers = [...buffers];
  }

  /** A copy of the value's bytes (per-CPU maps: CPU 0's, see `lookupPerCpu`), or undefined if there is none. */
  override lookup(key: Uint8Array, flag: UpdateFlag = "any"): Uint8Array | undefined {
    const bytes = super.lookup(key, flag);
    const object = MAPS_OF_OBJECTS.includes(this.type) ? this.objectAt(key) : undefined;
    // Of a socket bpf(2) gives the cookie.
    if (bytes?.length === 8 && object !== undefined && "placed" in object)
      new DataView(bytes.buffer).setBigUint64(0, object.cookie, true);
    return bytes;
  }

  /**
   * Writes a value; per-CPU maps take the values of all CPUs one after the other, or one for all.
   *
   * @throws BpfError code "map" with the kernel's errno: EEXIST, ENOENT, E2BIG, EINVAL, ENOSPC.
   */
  override update(
    key: Uint8Array,
    value: Uint8Array | readonly Uint8Array[],
    flag: UpdateFlag = "any",
  ): void {
    if (this.type === "prog_array") throw this.error("programs are put there by setProgram");
    if (MAPS_OF_MAPS.includes(this.type)) throw this.error("maps are put there by setMap");
    if (MAPS_OF_OBJECTS.includes(this.type)) throw this.error("objects are put there by setObject");
    if (this.type === "perf_event_array") throw this.error("buffers are put there by open");
    let values = value;
    if (TARGETS.includes(this.type)) {
      values = (value instanceof Uint8Array ? [value] : value).map((bytes) =>
        targetForCore(this.host, bytes),
      );
    }
    super.update(key, values, flag);
  }

  /**
   * Puts an entry into a device or CPU map: an interface's number or the size of a CPU's queue, and the program that packets meet
   * there. That program does not run: nothing is sent, as in the kernel's test runs without BPF_F_TEST_XDP_LIVE_FRAMES.
   *
   * @throws BpfError code "map" with the kernel's errno: EINVAL (of CPU maps ENOMEM) for a program of another type or attach type, or
   * that has frags where the map's programs have none; E2BIG, EEXIST, EOVERFLOW, ENODEV.
   * @example
   * maps.devices.setTarget(Uint8Array.of(0, 0, 0, 0), 2, programs.on_egress);
   */
  setTarget(key: Uint8Array, target: number, program?: ProgramHandle, flag: UpdateFlag = "any"): void {
    if (!TARGETS.includes(this.type)) throw this.error(`it is of type ${this.type} and holds no targets`);
    if (target !== target >>> 0)
      throw this.error(`a target is a whole number from 0 to 4294967295, not ${target}`);
    if (program !== undefined && this.host.programAt(program.descriptor) !== program)
      throw this.error(`program '${program.name}' lives in another machine`);
    if (program !== undefined && this.valueSize < 8)
      throw this.error("its values have no room for a program");
    this.update(key, targetValue(this.host, this.valueSize, target, program), flag);
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
  setProgram(index: number, program: ProgramHandle | undefined, flag: UpdateFlag = "any"): void {
    if (this.type !== "prog_array") throw this.error(`it is of type ${this.type} and holds no programs`);
    if (!Number.isInteger(index) || index < 0 || index > 0xffffffff) {
      throw this.error(`an index is a whole number from 0 on, not ${index}`);
    }
    const { memory, core, programAt } = this.host;
    memory.setU32(this.keyAt, index);
    if (program === undefined) {
      const status = core.map_delete(this.address, this.keyAt);
      if (status !== 0 && errnoName(status) !== "ENOENT") throw this.error("update failed", status);
      return;
    }
    if (programAt(program.descriptor) !== program) {
      throw this.error(`program '${program.name}' lives in another machine`);
    }
    memory.setU32(this.valueAt, program.descriptor);
    const status = core.map_update_copy(this.address, this.keyAt, this.valueAt, bitsOf(flag));
    if (status !== 0) throw this.error(`program '${program.name}' cannot be put at index ${index}`, status);
  }

  /** The program in a slot of a program array. */
  programAt(index: number): ProgramHandle | undefined {
    if (this.type !== "prog_array" || !(index >= 0 && index < this.maxEntries)) return undefined;
    const { memory, programAt } = this.host;
    const slot = memory.u32(this.address + MAP_VALUES) + index * memory.u32(this.address + MAP_STRIDE);
    return programAt(memory.u32(slot));
  }

  /**
   * Puts a map into a map of maps, or takes it out.
   *
   * @throws BpfError code "map": EINVAL for a map that is not like the inner one, E2BIG for too large an index or a full map.
   * @example
   * maps.tables.setMap(Uint8Array.of(0, 0, 0, 0), maps.table_v2);
   */
  setMap(key: Uint8Array, map: BpfMap | undefined, flag: UpdateFlag = "any"): void {
    if (!MAPS_OF_MAPS.includes(this.type)) throw this.error(`it is of type ${this.type} and holds no maps`);
    if (map === undefined) {
      this.delete(key);
      return;
    }
    if (this.host.mapAt(map.address) !== map) throw this.error(`map '${map.name}' lives in another machine`);
    this.#putObject(key, map.address, flag, `map '${map.name}' cannot be put there`);
  }

  /** The map at a key of a map of maps. */
  mapAt(key: Uint8Array): BpfMap | undefined {
    if (!MAPS_OF_MAPS.includes(this.type)) return undefined;
    this.putKey(key);
    const { core, mapAt } = this.host;
    return mapAt(core.map_lookup_elem(this.address, this.keyAt) >>> 0);
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
      throw this.error(`it is of type ${this.type} and holds no objects`);
    if (object === undefined) {
      this.delete(key);
      return;
    }
    const group = this.type === "reuseport_sockarray";
    if ("placed" in object) {
      this.checkUpdate(flag);
      if (group) this.#checkPlace(key, flag);
      const refused = group ? memberRefused(object) : socketRefused(this.type, object);
      if (refused !== 0) throw this.error("a socket in this state cannot be put there", refused);
    }
    const address = this.host.objectOf(object);
    this.#putObject(key, address, flag, "the object cannot be put there");
    this.#objects.set(address, object);
    if (group && "placed" in object) noteMember(object, this, key);
  }

  /** A reuseport array looks at the place before it looks at the socket. */
  #checkPlace(key: Uint8Array, flag: UpdateFlag): void {
    this.putKey(key);
    const bits = bitsOf(flag);
    const taken = this.objectAt(key) !== undefined;
    let status = 0;
    if (bits > bitsOf("exist")) status = -ERRNO.EINVAL;
    else if (this.host.memory.u32(this.keyAt) >= this.maxEntries) status = -ERRNO.E2BIG;
    else if (taken && bits === bitsOf("noexist")) status = -ERRNO.EEXIST;
    else if (!taken && bits === bitsOf("exist")) status = -ERRNO.ENOENT;
    if (status !== 0) throw this.error("the socket cannot be put there", status);
  }

  /** The object at a key of such a map. Programs may have put in others than the host did: of these only the address is known. */
  objectAt(key: Uint8Array): MapObject | undefined {
    if (!MAPS_OF_OBJECTS.includes(this.type)) return undefined;
    this.putKey(key);
    let address = 0;
    if (this.type === "cgroup_array") {
      const index = this.host.memory.u32(this.keyAt);
      if (index < this.maxEntries) address = this.host.memory.u32(this.#slotAt(index));
    } else address = this.host.core.map_lookup_elem(this.address, this.keyAt) >>> 0;
    return address === 0 ? undefined : (this.#objects.get(address) ?? { address });
  }

  #slotAt(index: number): number {
    const { memory } = this.host;
    return memory.u32(this.address + MAP_VALUES) + index * memory.u32(this.address + MAP_STRIDE);
  }

  #putObject(key: Uint8Array, address: number, flag: UpdateFlag, failure: string): void {
    this.putKey(key);
    const { memory, core } = this.host;
    memory.setU32(this.valueAt, address);
    memory.setU32(this.valueAt + 4, 0);
    const status = core.map_update_copy(this.address, this.keyAt, this.valueAt, bitsOf(flag));
    if (status !== 0) throw this.error(failure, status);
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
    if (this.type !== "bloom_filter") throw this.error("it is no bloom filter");
    const { memory, core } = this.host;
    memory.write(this.valueAt, this.#encode(this.valueType, value, this.valueSize, "value"));
    return core.map_lookup_copy(this.address, this.keyAt, this.valueAt, 0n) === 0;
  }

  /**
   * Takes out what programs have put into a ring buffer since: copies of the records, in order. It stops at a record that
   * is reserved but not submitted.
   *
   * @example
   * for (const record of maps.events.records()) console.log(record.length);
   */
  *records(): Generator<Uint8Array> {
    if (this.type !== "ringbuf") throw this.error("it is no ring buffer");
    yield* takeRecords(this.host.memory, this.#ring);
  }

  /** Puts a record into a user ring buffer, for bpf_user_ringbuf_drain; false if there is no room. */
  send(record: Uint8Array): boolean {
    if (this.type !== "user_ringbuf") throw this.error("it is no user ring buffer");
    return putRecord(this.host.memory, this.#ring, record);
  }

  get #ring(): number {
    return this.host.memory.u32(this.address + RING_AT);
  }

  /**
   * Gives a perf event array its buffers, one for each CPU: until then bpf_perf_event_output fails with ENOENT.
   *
   * @param pages Pages of 4096 bytes for each, a power of two.
   */
  open({ pages = 8 }: { readonly pages?: number } = {}): void {
    if (this.type !== "perf_event_array") throw this.error("it is no perf event array");
    if (this.#buffers.length > 0) return;
    const { memory, core, cpus } = this.host;
    for (let cpu = 0; cpu < Math.min(cpus, this.maxEntries); cpu++) {
      const buffer = createPerfBuffer(memory, cpu, pages, `map '${this.name}'`);
      memory.setU32(this.keyAt, cpu);
      memory.setU32(this.valueAt, buffer);
      const status = core.map_update_copy(this.address, this.keyAt, this.valueAt, 0n);
      if (status !== 0) throw this.error(`CPU ${cpu}: no buffer can be put there`, status);
      this.#buffers.push(buffer);
    }
  }

  /** Addresses of the buffers of a perf event array. */
  get perfBuffers(): readonly number[] {
    return this.#buffers;
  }

  /** Takes out what programs have put into the perf buffers: CPU after CPU, in the order of each; what was lost is told. */
  *perfEvents(): Generator<PerfEvent> {
    yield* takePerfEvents(this.host.memory, this.#buffers);
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
    else if (this.type !== "ringbuf") throw this.error("it has no events");
    yield* eventsOf(this.host, this.type === "ringbuf" ? this.#ring : this.#buffers);
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
    const perCpu = this.perCpu && Array.isArray(value) && value.length === this.host.cpus;
    this.update(this.#encodeKey(key), perCpu ? (value as unknown[]).map(encode) : encode(value), flag);
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
    if (this.type === "prog_array") return this.programAt(this.host.memory.u32(this.keyAt))?.name;
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
    throw this.error(`its ${what} has no BTF type: give ${size} bytes, or a whole number that fits`);
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
