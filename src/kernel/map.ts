import { BpfError } from "../errors.ts";
import { MAP_TYPES, type MapType } from "../uapi/index.ts";
import { perCpuStride, possibleCpus } from "./cpus.ts";
import { Handle, type Kernel, commandLayout, refusal } from "./kernel.ts";
import { type MapInfo, mapInfo, objectName } from "./info.ts";
import { type FieldValue, writeField } from "./struct.ts";
import { type Command, UPDATE_FLAGS } from "./tables.ts";

/** What a map is to be. Sizes in bytes. */
export interface MapDefinition {
  readonly type: MapType;
  /** Shown by tools; the kernel keeps 15 letters, digits, '_' and '.'. */
  readonly name?: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** Bits of MAP_FLAGS. */
  readonly flags?: number;
  readonly mapExtra?: bigint;
  readonly numaNode?: number;
  /** Of maps of maps: the map that shows what the inner maps are like. */
  readonly inner?: KernelMap;
  /** BTF that describes keys and values. */
  readonly btf?: Handle;
  readonly keyTypeId?: number;
  readonly valueTypeId?: number;
  /** Of struct_ops: the kernel's type of the value. */
  readonly kernelValueTypeId?: number;
}

/** An update flag by name, or the bits. */
export type UpdateFlag = keyof typeof UPDATE_FLAGS | number;

const PER_CPU: ReadonlySet<MapType> = new Set<MapType>([
  "percpu_hash",
  "percpu_array",
  "lru_percpu_hash",
  "percpu_cgroup_storage",
]);

/** Whether each value has a part for each CPU. */
export function isPerCpu(type: MapType): boolean {
  return PER_CPU.has(type);
}

const EAGAIN = -11;
const ENOENT = -2;
const NOTHING: Uint8Array = new Uint8Array(0);

/**
 * Creates a map in the kernel.
 *
 * @throws BpfError code "kernel", `errno` EPERM without privilege, EINVAL for what the kernel does not have or allow.
 */
export function createMap(kernel: Kernel, definition: MapDefinition): KernelMap {
  const { type, name = "", keySize, valueSize, maxEntries, flags = 0 } = definition;
  const { result } = kernel.call("map_create", {
    map_type: MAP_TYPES.find((row) => row.name === type)?.id,
    key_size: keySize,
    value_size: valueSize,
    max_entries: maxEntries,
    map_flags: flags,
    inner_map_fd: definition.inner?.fd,
    numa_node: definition.numaNode,
    map_name: objectName(name),
    btf_fd: definition.btf?.fd,
    btf_key_type_id: definition.keyTypeId,
    btf_value_type_id: definition.valueTypeId,
    btf_vmlinux_value_type_id: definition.kernelValueTypeId,
    map_extra: definition.mapExtra,
  });
  if (result < 0) {
    const shape = `${type}, key ${keySize}, value ${valueSize}, ${maxEntries} entries, flags 0x${flags.toString(16)}`;
    throw refusal(`map '${name}': the kernel refuses to create it (${shape})`, result, { map: name });
  }
  return new KernelMap(kernel, result, definition);
}

/** A map by its id; ids come from `objectIds`. */
export function openMap(kernel: Kernel, id: number): KernelMap {
  const { result } = kernel.call("map_get_fd_by_id", { start_id: id });
  if (result < 0) throw refusal(`map with id ${id}`, result);
  return adoptMap(kernel, result);
}

/** A map whose descriptor was got elsewhere (a pin); the descriptor becomes the map's. */
export function adoptMap(kernel: Kernel, fd: number): KernelMap {
  const handle = new Handle(kernel, fd);
  let info: MapInfo;
  try {
    info = mapInfo(handle);
  } catch (error) {
    handle.close();
    throw error;
  }
  return new KernelMap(kernel, fd, info);
}

/**
 * A map in the kernel, by raw bytes. A key or value of another size than the map's is refused before the kernel could
 * read past it. In per-CPU maps a value is `valueBytes` long: see `splitPerCpu` and `joinPerCpu`.
 */
export class KernelMap extends Handle {
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Bytes of a value as bpf(2) reads and writes it. */
  readonly valueBytes: number;
  readonly #key: Uint8Array;
  readonly #value: Uint8Array;
  readonly #calls = new Map<Command, { readonly attr: Uint8Array; readonly view: DataView }>();

  constructor(kernel: Kernel, fd: number, definition: MapDefinition) {
    super(kernel, fd);
    this.name = definition.name ?? "";
    this.type = definition.type;
    this.keySize = definition.keySize;
    this.valueSize = definition.valueSize;
    this.maxEntries = definition.maxEntries;
    this.flags = definition.flags ?? 0;
    this.valueBytes = isPerCpu(this.type) ? perCpuStride(this.valueSize) * possibleCpus() : this.valueSize;
    this.#key = new Uint8Array(new ArrayBuffer(this.keySize));
    this.#value = new Uint8Array(new ArrayBuffer(Math.max(this.valueBytes, this.keySize)));
  }

  /** Id, sizes and flags as the kernel has them. */
  info(): MapInfo {
    return mapInfo(this);
  }

  /**
   * A copy of the value, or undefined if there is none.
   *
   * @throws BpfError code "kernel" for any refusal but ENOENT.
   */
  lookup(key: Uint8Array, flags: UpdateFlag = 0): Uint8Array | undefined {
    const result = this.element("map_lookup_elem", key, undefined, flags);
    if (result === ENOENT) return undefined;
    this.#check(result, "lookup");
    return this.#value.slice(0, this.valueBytes);
  }

  /** The value, which is removed in the same step; of queues and stacks the next, with an empty key. */
  lookupAndDelete(key: Uint8Array, flags: UpdateFlag = 0): Uint8Array | undefined {
    const result = this.element("map_lookup_and_delete_elem", key, undefined, flags);
    if (result === ENOENT) return undefined;
    this.#check(result, "lookup and delete");
    return this.#value.slice(0, this.valueBytes);
  }

  /** Stores a value; "noexist" demands a new key, "exist" one that is there. Queues and stacks take an empty key. */
  update(key: Uint8Array, value: Uint8Array, flags: UpdateFlag = "any"): void {
    this.#check(this.element("map_update_elem", key, value, flags), "update");
  }

  /** Whether there was something to remove. */
  delete(key: Uint8Array): boolean {
    const result = this.element("map_delete_elem", key, undefined, 0);
    if (result === ENOENT) return false;
    this.#check(result, "delete");
    return true;
  }

  /** The key that follows; the first for undefined and for a key that is gone; undefined after the last. */
  nextKey(key?: Uint8Array): Uint8Array | undefined {
    const result = this.element("map_get_next_key", key ?? NOTHING, undefined, 0);
    if (result === ENOENT) return undefined;
    this.#check(result, "next key");
    return this.#value.slice(0, this.keySize);
  }

  /** All keys, in the kernel's order. The next key is fetched first, so that the caller may delete the current one. */
  *keys(): Generator<Uint8Array> {
    let key = this.nextKey();
    while (key !== undefined) {
      const next = this.nextKey(key);
      yield key;
      key = next;
    }
  }

  /** All keys with their values; a key that is deleted meanwhile is left out. */
  *entries(): Generator<readonly [key: Uint8Array, value: Uint8Array]> {
    for (const key of this.keys()) {
      const value = this.lookup(key);
      if (value !== undefined) yield [key, value];
    }
  }

  /** From now on the process cannot write to the map; what that leaves is up to its flags. */
  freeze(): void {
    this.#check(this.kernel.call("map_freeze", { map_fd: this.fd }).result, "freeze");
  }

  /**
   * One element command without exceptions: its result or the negated errno (-2 is ENOENT). After a lookup the value
   * is in {@link lastValue}.
   */
  element(
    command: ElementCommand,
    key: Uint8Array,
    value: Uint8Array | undefined,
    flags: UpdateFlag,
  ): number {
    const noKey = key.length === 0 && (this.keySize === 0 || command === "map_get_next_key");
    if (!noKey) this.#checkSize("key", key, this.keySize);
    this.#key.set(key);
    if (value !== undefined) {
      this.#checkSize("value", value, this.valueBytes);
      this.#value.set(value);
    }
    const { attr, view } = this.#prepared(command);
    const { fields } = commandLayout(command);
    this.#write(view, fields["key"], noKey ? 0 : this.#key);
    const bits = typeof flags === "number" ? flags : UPDATE_FLAGS[flags];
    if (fields["flags"] !== undefined) this.#write(view, fields["flags"], bits);
    return this.#call(command, attr);
  }

  /** What the last successful lookup found; overwritten by the next command. */
  get lastValue(): Uint8Array {
    return this.#value.subarray(0, this.valueBytes);
  }

  /** The key that the last "next key" found; overwritten by the next command. */
  get lastKey(): Uint8Array {
    return this.#value.subarray(0, this.keySize);
  }

  #call(command: Command, attr: Uint8Array): number {
    if (this.closed)
      throw new BpfError("usage", `map '${this.name}': it is closed`, { where: { map: this.name } });
    let result = this.kernel.callPrepared(command, attr);
    // A bucket lock that another CPU holds: the kernel asks to try again (since 5.11).
    for (let tries = 0; result === EAGAIN && tries < 5; tries++)
      result = this.kernel.callPrepared(command, attr);
    return result;
  }

  #prepared(command: ElementCommand): { readonly attr: Uint8Array; readonly view: DataView } {
    let call = this.#calls.get(command);
    if (call === undefined) {
      const layout = commandLayout(command);
      const attr = new Uint8Array(new ArrayBuffer(layout.size));
      const view = new DataView(attr.buffer);
      this.#write(view, layout.fields["map_fd"], this.fd);
      this.#write(view, layout.fields["value"] ?? layout.fields["next_key"], this.#value);
      call = { attr, view };
      this.#calls.set(command, call);
    }
    return call;
  }

  #write(view: DataView, field: Parameters<typeof writeField>[1] | undefined, value: FieldValue): void {
    if (field !== undefined) writeField(view, field, value, (bytes) => this.kernel.address(bytes));
  }

  #checkSize(what: string, bytes: Uint8Array, size: number): void {
    if (bytes.length === size) return;
    throw new BpfError(
      "map",
      `map '${this.name}': the ${what} has ${bytes.length} bytes, the map takes ${size}`,
      {
        where: { map: this.name },
        errno: "EINVAL",
      },
    );
  }

  #check(result: number, what: string): void {
    if (result < 0) throw refusal(`map '${this.name}' (${this.type}): ${what}`, result, { map: this.name });
  }
}

/** The commands on one element. */
export type ElementCommand =
  | "map_lookup_elem"
  | "map_update_elem"
  | "map_delete_elem"
  | "map_get_next_key"
  | "map_lookup_and_delete_elem";
