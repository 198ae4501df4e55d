/**
 * Helpers of programs that load other programs (syscall): bpf(2) for maps, its file descriptors, types of the kernel
 * (kernel/bpf/syscall.c, btf.c). union bpf_attr is that of uapi/linux/bpf.h.
 */
import { BTF_KINDS } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import { ERRNO, type ErrnoName, MAP_TYPES } from "../../uapi/index.ts";
import type { BpfMap } from "../map.ts";
import type { LinearMemory } from "../memory.ts";
import { typesOf } from "./describe.ts";
import { mayRead } from "./memory.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

// enum bpf_cmd, those that programs may use.
const COMMAND = {
  mapCreate: 0,
  updateElement: 2,
  deleteElement: 3,
  programLoad: 5,
  mapOfId: 14,
  rawTracepointOpen: 17,
  btfLoad: 18,
  mapFreeze: 22,
  linkCreate: 28,
} as const;
const NAMES: Readonly<Record<number, string>> = {
  [COMMAND.programLoad]: "BPF_PROG_LOAD",
  [COMMAND.rawTracepointOpen]: "BPF_RAW_TRACEPOINT_OPEN",
  [COMMAND.btfLoad]: "BPF_BTF_LOAD",
  [COMMAND.linkCreate]: "BPF_LINK_CREATE",
};

/** Descriptors that programs of a machine hold, as a process does: the lowest free number from 3 on. */
export class Files {
  readonly #open = new Map<number, BpfMap>();

  add(map: BpfMap): number {
    let fd = 3;
    while (this.#open.has(fd)) fd++;
    this.#open.set(fd, map);
    return fd;
  }

  map(fd: number): BpfMap | undefined {
    return this.#open.get(fd);
  }

  close(fd: number): boolean {
    return this.#open.delete(fd);
  }
}

/** The members of union bpf_attr: what lies behind its given size is zero. */
class Attributes {
  readonly #view: DataView;

  constructor(memory: LinearMemory, address: number, size: number) {
    const bytes = new Uint8Array(144);
    bytes.set(memory.read(address, Math.min(size, bytes.length)));
    this.#view = new DataView(bytes.buffer);
  }

  u32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  u64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }

  text(offset: number, length: number): string {
    const bytes = new Uint8Array(this.#view.buffer, offset, length);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(bytes.slice(0, end < 0 ? length : end));
  }
}

function createMap({ files, createMap: create }: HelperWorld, attributes: Attributes): number {
  const type = MAP_TYPES.find(({ id }) => id === attributes.u32(0))?.name;
  if (type === undefined) return -ERRNO.EINVAL;
  const inner = files.map(attributes.u32(20));
  try {
    const map = create({
      name: attributes.text(28, 16) || "unnamed",
      type,
      keySize: attributes.u32(4),
      valueSize: attributes.u32(8),
      maxEntries: attributes.u32(12),
      flags: attributes.u32(16),
      extra: Number(BigInt.asUintN(32, attributes.u64(64))),
      ...(inner === undefined ? {} : { inner }),
    });
    return files.add(map);
  } catch (error) {
    return errnoOf(error);
  }
}

function errnoOf(error: unknown): number {
  const { errno } = error instanceof BpfError ? error : {};
  if (errno === undefined || !Object.hasOwn(ERRNO, errno)) throw error;
  return -ERRNO[errno as ErrnoName];
}

/** Copies a range that the attributes name; undefined if it is none. */
function bytesAt({ memory, core }: HelperWorld, address: bigint, length: number): Uint8Array | undefined {
  if (length === 0) return new Uint8Array(0);
  return mayRead(core, address, length) ? memory.read(Number(address), length) : undefined;
}

function updateElement(world: HelperWorld, attributes: Attributes): number {
  const map = world.files.map(attributes.u32(0));
  if (map === undefined) return -ERRNO.EBADF;
  const key = bytesAt(world, attributes.u64(8), map.keySize);
  const copies = map.perCpu ? world.cpus * Math.ceil(map.valueSize / 8) * 8 : map.valueSize;
  const value = bytesAt(world, attributes.u64(16), copies);
  if (key === undefined || value === undefined) return -ERRNO.EFAULT;
  const flags = Number(attributes.u64(24));
  try {
    if (map.type === "array_of_maps" || map.type === "hash_of_maps") {
      const inner = world.files.map(new DataView(value.buffer).getUint32(0, true));
      if (inner === undefined) return -ERRNO.EBADF;
      map.setMap(key, inner, flags);
    } else map.update(key, value, flags);
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

function deleteElement(world: HelperWorld, attributes: Attributes): number {
  const map = world.files.map(attributes.u32(0));
  if (map === undefined) return -ERRNO.EBADF;
  const key = bytesAt(world, attributes.u64(8), map.keySize);
  if (key === undefined) return -ERRNO.EFAULT;
  try {
    return map.delete(key) ? 0 : -ERRNO.ENOENT;
  } catch (error) {
    return errnoOf(error);
  }
}

function freeze({ files }: HelperWorld, attributes: Attributes): number {
  const map = files.map(attributes.u32(0));
  if (map === undefined) return -ERRNO.EBADF;
  try {
    map.freeze();
    return 0;
  } catch (error) {
    return errnoOf(error);
  }
}

function mapOfId({ files, mapOf }: HelperWorld, attributes: Attributes): number {
  const map = mapOf(attributes.u32(0));
  return map === undefined ? -ERRNO.ENOENT : files.add(map);
}

function call(world: HelperWorld, args: HelperArguments): number {
  const command = args.i32(1);
  const attributes = new Attributes(world.memory, args.u32(2), args.u32(3));
  switch (command) {
    case COMMAND.mapCreate:
      return createMap(world, attributes);
    case COMMAND.updateElement:
      return updateElement(world, attributes);
    case COMMAND.deleteElement:
      return deleteElement(world, attributes);
    case COMMAND.mapFreeze:
      return freeze(world, attributes);
    case COMMAND.mapOfId:
      return mapOfId(world, attributes);
    default: {
      const name = NAMES[command];
      if (name === undefined) return -ERRNO.EINVAL;
      throw notInWorld("sys_bpf", `${name} cannot be had from a program here`, "load it with machine.load");
    }
  }
}

function findType(world: HelperWorld, args: HelperArguments): number | bigint {
  const { memory } = world;
  const [from, size, kind, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
  if (flags !== 0) return -ERRNO.EINVAL;
  const bytes = memory.read(from, size);
  if (size <= 1 || bytes[size - 1] !== 0) return -ERRNO.EINVAL;
  const name = new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
  const types = typesOf("btf_find_by_name_kind", world, args);
  const wanted = BTF_KINDS.find(({ id }) => id === kind)?.name;
  const [found] = wanted === undefined ? [] : types.find(name, wanted);
  return found === undefined ? -ERRNO.ENOENT : found.id;
}

export const SYSTEM: readonly HostHelper[] = [
  { name: "sys_bpf", args: 3, call },
  { name: "sys_close", args: 1, call: ({ files }, args) => (files.close(args.u32(1)) ? 0 : -ERRNO.EBADF) },
  { name: "btf_find_by_name_kind", args: 4, call: findType },
];
