/** Many elements in one call (Linux 5.6); what a map type lacks, the kernel answers with EOPNOTSUPP. */
import { BpfError } from "../errors.ts";
import { nameOfErrno } from "./errno.ts";
import { refusal } from "./kernel.ts";
import type { KernelMap, UpdateFlag } from "./map.ts";
import { UPDATE_FLAGS } from "./tables.ts";

export type Entry = readonly [key: Uint8Array, value: Uint8Array];

const ENOENT = -2;
const ENOSPC = -28;

/** Stores all entries; returns how many. Those before a refused one are stored, and the error says how many. */
export function updateBatch(map: KernelMap, entries: readonly Entry[], flags: UpdateFlag = "any"): number {
  const keys = pack(
    map,
    "key",
    map.keySize,
    entries.map(([key]) => key),
  );
  const values = pack(
    map,
    "value",
    map.valueBytes,
    entries.map(([, value]) => value),
  );
  const reply = map.kernel.call("map_update_batch", {
    map_fd: map.fd,
    keys,
    values,
    count: entries.length,
    elem_flags: typeof flags === "number" ? flags : UPDATE_FLAGS[flags],
  });
  return counted(map, "update batch", reply.result, reply.read("count"), entries.length);
}

/** Removes all keys; a key that is not there ends the batch with ENOENT. */
export function deleteBatch(map: KernelMap, keys: readonly Uint8Array[]): number {
  const reply = map.kernel.call("map_delete_batch", {
    map_fd: map.fd,
    keys: pack(map, "key", map.keySize, keys),
    count: keys.length,
  });
  return counted(map, "delete batch", reply.result, reply.read("count"), keys.length);
}

/**
 * All entries, a batch at a time; with `remove` they are taken out. Hashes hand out whole buckets, so a batch that is
 * smaller than a bucket is refused with ENOSPC: the batch then doubles.
 */
export function* lookupBatch(
  map: KernelMap,
  { size = 256, remove = false }: { readonly size?: number; readonly remove?: boolean } = {},
): Generator<Entry[]> {
  const command = remove ? "map_lookup_and_delete_batch" : "map_lookup_batch";
  // The position is a bucket number in hashes and a key elsewhere.
  let position = new Uint8Array(new ArrayBuffer(Math.max(4, map.keySize)));
  let started = false;
  for (let count = Math.max(1, size); ; ) {
    const keys = new Uint8Array(count * map.keySize);
    const values = new Uint8Array(count * map.valueBytes);
    const next = new Uint8Array(new ArrayBuffer(position.length));
    const reply = map.kernel.call(command, {
      map_fd: map.fd,
      in_batch: started ? position : 0,
      out_batch: next,
      keys,
      values,
      count,
    });
    if (reply.result === ENOSPC && count < 2 * map.maxEntries) {
      count *= 2;
      continue;
    }
    if (reply.result < 0 && reply.result !== ENOENT) {
      throw refusal(`map '${map.name}' (${map.type}): lookup batch`, reply.result, { map: map.name });
    }
    const entries = Array.from(
      { length: reply.read("count") },
      (_, index): Entry => [
        keys.slice(index * map.keySize, (index + 1) * map.keySize),
        values.slice(index * map.valueBytes, (index + 1) * map.valueBytes),
      ],
    );
    if (entries.length > 0) yield entries;
    if (reply.result === ENOENT) return;
    position = next;
    started = true;
  }
}

function pack(map: KernelMap, what: string, size: number, items: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(size * items.length);
  items.forEach((item, index) => {
    if (item.length !== size) {
      throw new BpfError(
        "map",
        `map '${map.name}': the ${what} of entry ${index} has ${item.length} bytes, the map takes ${size}`,
        { where: { map: map.name }, errno: "EINVAL" },
      );
    }
    bytes.set(item, index * size);
  });
  return bytes;
}

function counted(map: KernelMap, what: string, result: number, done: number, all: number): number {
  if (result < 0) {
    throw new BpfError(
      "kernel",
      `map '${map.name}' (${map.type}): ${what}: ${nameOfErrno(result)} after ${done} of ${all}`,
      { errno: nameOfErrno(result), where: { map: map.name } },
    );
  }
  return done;
}
