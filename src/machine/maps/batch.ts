/**
 * The batch commands of bpf(2). A hash gives whole buckets, and the cursor is the next bucket; the other types go from key to
 * key, and the cursor is the last key (kernel/bpf/hashtab.c, kernel/bpf/syscall.c).
 */
import { BpfError } from "../../errors.ts";
import type { BpfMap } from "../map.ts";

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
}

/** What a bucket gives at most is asked for by the map itself: `read` copies one bucket or says that it needs more room. */
export interface BucketReader {
  readonly buckets: number;
  /** Elements of the bucket, or undefined if there are more than `room`. */
  read(bucket: number, room: number): { keys: Uint8Array[]; values: Uint8Array[] } | undefined;
}

export function readBuckets(map: BpfMap, reader: BucketReader, { cursor, count }: BatchOptions): Batch {
  const keys: Uint8Array[] = [];
  const values: Uint8Array[] = [];
  let bucket = cursor === undefined ? 0 : new DataView(cursor.buffer, cursor.byteOffset).getUint32(0, true);
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

export function readKeys(
  map: BpfMap,
  read: (key: Uint8Array) => Uint8Array | undefined,
  { cursor, count }: BatchOptions,
): Batch {
  const keys: Uint8Array[] = [];
  const values: Uint8Array[] = [];
  let key = map.nextKey(cursor);
  let last = cursor;
  while (key !== undefined && keys.length < count) {
    const value = read(key);
    if (value !== undefined) {
      keys.push(key);
      values.push(value);
    }
    last = key;
    key = map.nextKey(key);
  }
  return { keys, values, cursor: key === undefined ? undefined : last };
}
