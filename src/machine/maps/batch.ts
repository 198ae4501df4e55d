/**
 * The batch commands of bpf(2). A hash gives whole buckets, and the cursor is the next bucket; the other types go from key to
 * key, and the cursor is the last key (kernel/bpf/hashtab.c, kernel/bpf/syscall.c).
 */
import { BpfError } from "../../errors.ts";
import { type MapHost, type UpdateFlag, bitsOf } from "./definition.ts";
import type { RawMap } from "./raw.ts";

/** What BPF_MAP_LOOKUP_BATCH gives: elements, and where to go on; no cursor after the last. */
export interface Batch {
  readonly keys: readonly Uint8Array[];
  /** Of per-CPU maps the values of all CPUs, one after the other. */
  readonly values: readonly Uint8Array[];
  readonly cursor: Uint8Array | undefined;
}

export interface BatchOptions {
  /** Where the last one stopped. */
  readonly cursor?: Uint8Array | undefined;
  /** Most elements. */
  readonly count: number;
  /** "lock": each value is read under its lock. */
  readonly flag?: UpdateFlag;
}

/** What a bucket gives at most is asked for by the map itself: `read` copies one bucket or says that it needs more room. */
interface BucketReader {
  readonly buckets: number;
  /** Elements of the bucket, or undefined if there are more than `room`. */
  read(bucket: number, room: number): { keys: Uint8Array[]; values: Uint8Array[] } | undefined;
}

function readBuckets(map: RawMap, reader: BucketReader, { cursor, count }: BatchOptions): Batch {
  const keys: Uint8Array[] = [];
  const values: Uint8Array[] = [];
  let bucket = cursor === undefined ? 0 : new DataView(cursor.buffer, cursor.byteOffset).getUint32(0, true);
  if (count === 0) return { keys, values, cursor };
  if (bucket >= reader.buckets) return { keys, values, cursor: undefined };
  for (; bucket < reader.buckets; bucket++) {
    const found = reader.read(bucket, count - keys.length);
    if (found === undefined) {
      if (keys.length > 0) break;
      throw new BpfError("map", `map '${map.name}': a bucket has more than ${count} elements: ENOSPC`, {
        where: { map: map.name },
        errno: "ENOSPC",
      });
    }
    keys.push(...found.keys);
    values.push(...found.values);
  }
  const next = bucket < reader.buckets ? new Uint8Array(Uint32Array.of(bucket).buffer) : undefined;
  return { keys, values, cursor: next };
}

/** Elements from the cursor on, with a cursor as long as it is not certain that there are no more, as the kernel does it. */
export function readKeys(
  map: RawMap,
  read: (key: Uint8Array) => Uint8Array | undefined,
  { cursor, count }: BatchOptions,
): Batch {
  const keys: Uint8Array[] = [];
  const values: Uint8Array[] = [];
  let last = cursor;
  while (keys.length < count) {
    const key = map.nextKey(last);
    if (key === undefined) return { keys, values, cursor: undefined };
    last = key;
    const value = read(key);
    if (value === undefined) continue;
    keys.push(key);
    values.push(value);
  }
  return { keys, values, cursor: last };
}

/** Whole buckets of a hash; `drop` takes them out. */
export function lookupBuckets(
  map: RawMap,
  { core, memory }: Pick<MapHost, "core" | "memory">,
  copySize: number,
  options: BatchOptions,
  drop: boolean,
): Batch {
  const what = `map '${map.name}': batch`;
  const room = Math.min(options.count, Math.max(map.maxEntries, map.size));
  const keys = memory.alloc(Math.max(1, room * map.keySize), what);
  const values = memory.alloc(Math.max(1, room * copySize), what);
  const list = (from: number, size: number, count: number): Uint8Array[] =>
    Array.from({ length: count }, (_, index) => memory.read(from + index * size, size));
  try {
    const read: BucketReader["read"] = (bucket, left) => {
      const most = Math.min(left, room);
      const count = core.hash_batch(
        map.address,
        bucket,
        keys,
        values,
        most,
        bitsOf(options.flag ?? "any"),
        drop ? 1 : 0,
      );
      if (count < 0) return undefined;
      return { keys: list(keys, map.keySize, count), values: list(values, copySize, count) };
    };
    return readBuckets(map, { buckets: core.hash_buckets(map.address), read }, options);
  } finally {
    memory.free(keys);
    memory.free(values);
  }
}

/** One element after the other; the error of the first that fails says which it is, so how many were done. */
export function inBatch(keys: readonly Uint8Array[], run: (key: Uint8Array, index: number) => void): number {
  keys.forEach((key, index) => {
    try {
      run(key, index);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      const { code, message, errno, where } = error;
      throw new BpfError(code, message, {
        where: { ...where, element: index },
        cause: error,
        ...(errno === undefined ? {} : { errno }),
      });
    }
  });
  return keys.length;
}
