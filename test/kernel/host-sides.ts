/**
 * The commands of bpf(2) on a map, in the kernel and here: what the host sees. Both sides take the same operations and answer
 * in the same words. Objects (sockets, maps, programs, ...) go by their numbers in a pool that both sides have.
 */
import { BpfError } from "../../src/errors.ts";
import { type Kernel, MAP_FLAGS, type MapDefinition, createMap } from "../../src/kernel/index.ts";
import { BpfMap, type Batch } from "../../src/machine/index.ts";
import { ERRNO } from "../../src/uapi/index.ts";

export type HostOp =
  | { readonly op: "lookup" | "delete" | "lookupAndDelete"; readonly key: Uint8Array; readonly flags: number }
  /** A number names an object. */
  | {
      readonly op: "update";
      readonly key: Uint8Array;
      readonly value: Uint8Array | number;
      readonly flags: number;
    }
  | { readonly op: "nextKey"; readonly key?: Uint8Array }
  | { readonly op: "freeze" | "size" }
  /** A new map of the same kind. */
  | { readonly op: "renew" }
  | {
      readonly op: "lookupBatch" | "lookupAndDeleteBatch";
      readonly count: number;
      /** Where the last one stopped. */
      readonly resume: boolean;
      readonly flags: number;
    }
  /** All elements, in batches that grow if a bucket does not fit. */
  | { readonly op: "drain"; readonly count: number; readonly remove: boolean }
  | {
      readonly op: "updateBatch";
      readonly keys: readonly Uint8Array[];
      readonly values: readonly Uint8Array[];
      readonly flags: number;
    }
  | { readonly op: "deleteBatch"; readonly keys: readonly Uint8Array[]; readonly flags: number };

export interface HostSide {
  /** "RESULT" or "RESULT what was read"; results are 0 or negated errnos. */
  do(op: HostOp): string;
  /** All elements, sorted. */
  contents(): string[];
  close(): void;
}

const ENOENT = -ERRNO.ENOENT;
const ENOSPC = -ERRNO.ENOSPC;
/** Elements of a batch that no bucket exceeds. */
const MOST = 1024;
const EMPTY = new Uint8Array(0);
export const hex = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? "-" : Buffer.from(bytes).toString("hex");
const pairs = (
  keys: readonly Uint8Array[],
  values: readonly Uint8Array[],
  show: (value: Uint8Array) => string = hex,
): string[] => keys.map((key, at) => `${hex(key)}=${show(values[at] as Uint8Array)}`);

/** Whether the order in which it hands out its keys is its own affair. */
export const isUnordered = (type: string): boolean => type.includes("hash");

export function showHostOp(op: HostOp): string {
  const parts = Object.entries(op).map(([name, value]) => {
    if (value instanceof Uint8Array) return `${name} ${hex(value)}`;
    return Array.isArray(value) ? `${name} ${value.map(hex).join(",")}` : `${name} ${String(value)}`;
  });
  return parts.join(" ").replace(/^op /, "");
}

/** What the kernel's side needs to know of objects. */
export interface KernelObjects {
  /** Descriptors, by the object's number. */
  readonly fds: readonly number[];
  /** The object's number for what a lookup shows of it. */
  numberOf(shown: Uint8Array): number;
}

/** Keys of local storage are objects as well: one byte, then zeros, names them. */
const asKey = (objects: KernelObjects, key: Uint8Array): Uint8Array =>
  new Uint8Array(Int32Array.of(objects.fds[key[0] as number] ?? -1).buffer);

export function kernelHost(
  kernel: Kernel,
  definition: MapDefinition,
  objects: KernelObjects | undefined,
  keyed: boolean,
): HostSide {
  let map = createMap(kernel, definition);
  let cursor: Uint8Array | undefined;
  const keyOf = (key: Uint8Array): Uint8Array => (keyed && objects !== undefined ? asKey(objects, key) : key);
  const valueOf = (value: Uint8Array | number): Uint8Array => {
    if (value instanceof Uint8Array) return value;
    const bytes = new Uint8Array(map.valueBytes);
    new DataView(bytes.buffer).setInt32(0, objects?.fds[value] ?? -1, true);
    return bytes;
  };
  const shown = (bytes: Uint8Array): string =>
    objects === undefined || keyed ? hex(bytes) : `object ${objects.numberOf(bytes)}`;
  const batch = (
    command: "map_lookup_batch" | "map_lookup_and_delete_batch",
    count: number,
    from: Uint8Array | undefined,
    flags: number,
  ) => {
    const keys = new Uint8Array(new ArrayBuffer(Math.max(1, count * map.keySize)));
    const values = new Uint8Array(new ArrayBuffer(Math.max(1, count * map.valueBytes)));
    const next = new Uint8Array(new ArrayBuffer(Math.max(4, map.keySize)));
    const reply = kernel.call(command, {
      map_fd: map.fd,
      in_batch: from ?? 0,
      out_batch: next,
      keys,
      values,
      count,
      elem_flags: flags,
    });
    const done = reply.result === 0 || reply.result === ENOENT ? reply.read("count") : 0;
    const list = (from: Uint8Array, size: number): Uint8Array[] =>
      Array.from({ length: done }, (_, at) => from.slice(at * size, (at + 1) * size));
    return {
      result: reply.result,
      next,
      keys: list(keys, map.keySize),
      values: list(values, map.valueBytes),
    };
  };
  const pack = (list: readonly Uint8Array[]): Uint8Array => {
    const bytes = new Uint8Array(
      new ArrayBuffer(
        Math.max(
          1,
          list.reduce((sum, one) => sum + one.length, 0),
        ),
      ),
    );
    let at = 0;
    for (const one of list) {
      bytes.set(one, at);
      at += one.length;
    }
    return bytes;
  };
  const read = (
    op: HostOp & { key: Uint8Array; flags: number },
    command: "map_lookup_elem" | "map_lookup_and_delete_elem",
  ): string => {
    const result = map.element(command, keyOf(op.key), undefined, op.flags);
    return result === 0 ? `0 ${shown(map.lastValue)}` : `${result}`;
  };
  return {
    do(op) {
      switch (op.op) {
        case "lookup":
          return read(op, "map_lookup_elem");
        case "lookupAndDelete":
          return read(op, "map_lookup_and_delete_elem");
        case "delete":
          return `${map.element("map_delete_elem", keyOf(op.key), undefined, 0)}`;
        case "update":
          return `${map.element("map_update_elem", keyOf(op.key), valueOf(op.value), op.flags)}`;
        case "nextKey": {
          const result = map.element(
            "map_get_next_key",
            op.key === undefined ? EMPTY : keyOf(op.key),
            undefined,
            0,
          );
          return result === 0 ? `0 ${hex(map.lastKey)}` : `${result}`;
        }
        case "freeze":
          return `${kernel.call("map_freeze", { map_fd: map.fd }).result}`;
        case "size":
          return `${[...map.keys()].length}`;
        case "renew":
          map.close();
          map = createMap(kernel, definition);
          cursor = undefined;
          return "0";
        case "lookupBatch":
        case "lookupAndDeleteBatch": {
          const command = op.op === "lookupBatch" ? "map_lookup_batch" : "map_lookup_and_delete_batch";
          const { result, next, keys, values } = batch(
            command,
            op.count,
            op.resume ? cursor : undefined,
            op.flags,
          );
          cursor = result === 0 && op.count > 0 ? next : undefined;
          return batchText(result, keys, values, map.type, shown);
        }
        case "drain": {
          const all: string[] = [];
          let from: Uint8Array | undefined;
          for (let count = op.count; ; ) {
            const got = batch(op.remove ? "map_lookup_and_delete_batch" : "map_lookup_batch", count, from, 0);
            if (got.result === ENOSPC && count < MOST) count *= 2;
            else {
              all.push(...pairs(got.keys, got.values, shown));
              if (got.result !== 0)
                return `${got.result === ENOENT ? 0 : got.result} ${all.sort().join(" ")}`;
              from = got.next;
            }
          }
        }
        case "updateBatch": {
          const reply = kernel.call("map_update_batch", {
            map_fd: map.fd,
            keys: pack(op.keys),
            values: pack(op.values),
            count: op.keys.length,
            elem_flags: op.flags,
          });
          return countText(reply.result, reply.read("count"));
        }
        case "deleteBatch": {
          const reply = kernel.call("map_delete_batch", {
            map_fd: map.fd,
            keys: pack(op.keys),
            count: op.keys.length,
            elem_flags: op.flags,
          });
          return countText(reply.result, reply.read("count"));
        }
      }
    },
    contents() {
      if (map.keySize === 0 || (map.flags & MAP_FLAGS.wronly) !== 0 || keyed) return [];
      const lines: string[] = [];
      for (const key of map.keys()) {
        const result = map.element("map_lookup_elem", key, undefined, 0);
        lines.push(`${hex(key)} ${result}${result === 0 ? ` ${shown(map.lastValue)}` : ""}`);
      }
      return lines.sort();
    },
    close: () => map.close(),
  };
}

/** How many were done; a batch that is refused as a whole leaves the number as it was. */
function countText(result: number, count: number): string {
  const refused = [ERRNO.EINVAL, ERRNO.EPERM, ERRNO.ENOTSUPP].some((errno) => result === -errno);
  return refused ? `${result}` : `${result} after ${count}`;
}

function batchText(
  result: number,
  keys: readonly Uint8Array[],
  values: readonly Uint8Array[],
  type: string,
  show: (value: Uint8Array) => string,
): string {
  const list = pairs(keys, values, show);
  return `${result} ${(isUnordered(type) ? list.sort() : list).join(" ")}`;
}

/** What the machine's side needs to know of objects; `put` is `setObject`, `setMap` or `setProgram`. */
export interface MachineObjects {
  put(map: BpfMap, key: Uint8Array, object: number, flags: number): void;
  /** The number of what is at a key, or undefined. */
  at(map: BpfMap, key: Uint8Array): number | undefined;
  /** The number of what a batch shows, where it shows one. */
  numberOf?(shown: Uint8Array): number;
  /** Of local storage: the key that stands for an object. */
  keyOf(object: number): Uint8Array;
}

/** The errno of a refused command, negated. */
function resultOf(run: () => unknown): {
  readonly result: number;
  readonly value?: unknown;
  readonly element?: number;
} {
  try {
    return { result: 0, value: run() };
  } catch (error) {
    if (!(error instanceof BpfError) || error.errno === undefined) throw error;
    const { element } = error.where;
    return {
      result: -(ERRNO as Readonly<Record<string, number>>)[error.errno]!,
      ...(element === undefined ? {} : { element }),
    };
  }
}

export function machineHost(
  make: () => BpfMap,
  objects: MachineObjects | undefined,
  keyed: boolean,
): HostSide {
  let map = make();
  let cursor: Uint8Array | undefined;
  const keyOf = (key: Uint8Array): Uint8Array =>
    keyed && objects !== undefined ? objects.keyOf(key[0] as number) : key;
  const slot = Math.ceil(map.valueSize / 8) * 8;
  const join = (parts: readonly Uint8Array[]): Uint8Array => {
    const bytes = new Uint8Array(slot * parts.length);
    parts.forEach((part, at) => bytes.set(part, at * slot));
    return bytes;
  };
  const look = (key: Uint8Array, flags: number): Uint8Array | undefined => {
    if (!map.perCpu) return map.lookup(key, flags);
    // The flags are judged before the map's kind.
    if (flags !== 0) return map.lookup(key, flags);
    const parts = map.lookupPerCpu(key);
    return parts === undefined ? undefined : join(parts);
  };
  const shown = (bytes: Uint8Array): string =>
    objects?.numberOf === undefined ? hex(bytes) : `object ${objects.numberOf(bytes)}`;
  const text = (
    { result, value }: { readonly result: number; readonly value?: unknown },
    key: Uint8Array,
  ): string => {
    if (result !== 0) return `${result}`;
    if (value === undefined) return `${ENOENT}`;
    if (objects !== undefined && !keyed) return `0 object ${objects.at(map, key)}`;
    return `0 ${hex(value as Uint8Array)}`;
  };
  const batchOf = (remove: boolean, count: number, from: Uint8Array | undefined, flags: number): Batch => {
    const options = { count, flag: flags, ...(from === undefined ? {} : { cursor: from }) };
    return remove ? map.lookupAndDeleteBatch(options) : map.lookupBatch(options);
  };
  const counted = (run: () => number): string => {
    const { result, value, element } = resultOf(run);
    return countText(result, (value as number | undefined) ?? element ?? 0);
  };
  return {
    do(op) {
      switch (op.op) {
        case "lookup":
          return text(
            resultOf(() => look(keyOf(op.key), op.flags)),
            op.key,
          );
        case "lookupAndDelete":
          return text(
            resultOf(() => map.lookupAndDelete(keyOf(op.key), op.flags)),
            op.key,
          );
        case "delete": {
          const { result, value } = resultOf(() => map.delete(keyOf(op.key)));
          return `${value === false ? ENOENT : result}`;
        }
        case "update": {
          const { value } = op;
          return `${
            resultOf(() =>
              value instanceof Uint8Array
                ? map.update(keyOf(op.key), value, op.flags)
                : objects?.put(map, op.key, value, op.flags),
            ).result
          }`;
        }
        case "nextKey": {
          const { result, value } = resultOf(() =>
            map.nextKey(op.key === undefined ? undefined : keyOf(op.key)),
          );
          if (result !== 0) return `${result}`;
          return value === undefined ? `${ENOENT}` : `0 ${hex(value as Uint8Array)}`;
        }
        case "freeze":
          return `${resultOf(() => map.freeze()).result}`;
        case "size":
          return `${[...map.keys()].length}`;
        case "renew":
          map = make();
          cursor = undefined;
          return "0";
        case "lookupBatch":
        case "lookupAndDeleteBatch": {
          const { result, value } = resultOf(() =>
            batchOf(op.op === "lookupAndDeleteBatch", op.count, op.resume ? cursor : undefined, op.flags),
          );
          if (value === undefined) {
            cursor = undefined;
            return batchText(result, [], [], map.type, shown);
          }
          const got = value as Batch;
          cursor = op.count > 0 ? got.cursor : undefined;
          return batchText(
            got.cursor === undefined && op.count > 0 ? ENOENT : 0,
            got.keys,
            got.values,
            map.type,
            shown,
          );
        }
        case "drain": {
          const all: string[] = [];
          let from: Uint8Array | undefined;
          for (let count = op.count; ; ) {
            const { result, value } = resultOf(() => batchOf(op.remove, count, from, 0));
            if (result === ENOSPC && count < MOST) count *= 2;
            else if (result !== 0) return `${result} ${all.sort().join(" ")}`;
            else {
              const got = value as Batch;
              all.push(...pairs(got.keys, got.values, shown));
              if (got.cursor === undefined) return `0 ${all.sort().join(" ")}`;
              from = got.cursor;
            }
          }
        }
        case "updateBatch":
          return counted(() => map.updateBatch(op.keys, op.values, op.flags));
        case "deleteBatch":
          return counted(() => map.deleteBatch(op.keys, op.flags));
      }
    },
    contents() {
      if (map.keySize === 0 || (map.flags & MAP_FLAGS.wronly) !== 0 || keyed) return [];
      return [...map.keys()]
        .map(
          (key) =>
            `${hex(key)} ${text(
              resultOf(() => look(key, 0)),
              key,
            )}`,
        )
        .sort();
    },
    close: () => undefined,
  };
}

/** The first operations that the two sides answer in different words. */
export function differences(ops: readonly HostOp[], ours: HostSide, theirs: HostSide, most = 3): string[] {
  const found: string[] = [];
  for (const [index, op] of ops.entries()) {
    const [mine, wanted] = [ours.do(op), theirs.do(op)];
    if (mine !== wanted) found.push(`${index} ${showHostOp(op)}: ${mine}, the kernel: ${wanted}`);
    if (found.length === most) break;
  }
  return found;
}
