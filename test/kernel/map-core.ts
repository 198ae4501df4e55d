/** Map operations on the core, in the terms of the kernel oracle: the other side of the comparison. */
import { MAP_TYPES } from "../../src/uapi/index.ts";
import { type MapDefinition, isPerCpu, possibleCpus } from "../../src/kernel/index.ts";
import { perCpuStride } from "../../src/kernel/cpus.ts";
import { Bench } from "../core/harness.ts";
import type { MapAnswer, MapOp, MapRun } from "./map-oracle.ts";
import { sortEntries } from "./map-oracle.ts";

/** Runs the commands on a new map of the core; `shared` chooses the build for memories that threads share. */
export function coreMapRun(
  definition: MapDefinition,
  ops: readonly MapOp[],
  { shared = false }: { shared?: boolean } = {},
): MapRun {
  const { type, keySize, valueSize, maxEntries, flags = 0, mapExtra = 0n } = definition;
  const bench = new Bench({ cpus: possibleCpus(), shared });
  const { core } = bench;
  const id = MAP_TYPES.find(({ name }) => name === type)?.id ?? 0;
  const map = core.map_create(id, keySize, valueSize, maxEntries, flags, Number(mapExtra)) >>> 0;
  if (map >= 0xfffff000) throw new Error(`map_create: ${map | 0}`);
  const valueBytes = isPerCpu(type) ? perCpuStride(valueSize) * possibleCpus() : valueSize;
  const key = bench.alloc(keySize + 8);
  const next = bench.alloc(keySize + 8);
  const value = bench.alloc(valueBytes + 8);
  const answers = ops.map((op): MapAnswer => {
    if (op.key !== undefined) bench.bytes(key, keySize).set(op.key);
    if ("value" in op && op.value !== undefined) bench.bytes(value, valueBytes).set(op.value);
    const bits = BigInt("flags" in op ? (op.flags ?? 0) : 0);
    if (op.op === "nextKey") {
      const result = core.map_get_next_key(map, op.key === undefined ? 0 : key, next);
      return result === 0 ? { result, bytes: bench.bytes(next, keySize).slice() } : { result };
    }
    if (op.op === "update") return { result: core.map_update_copy(map, key, value, bits) };
    if (op.op === "delete") return { result: core.map_delete(map, key) };
    const read = op.op === "lookup" ? core.map_lookup_copy : core.map_lookup_and_delete;
    const result = read(map, key, value, bits);
    if (result !== 0 || type === "bloom_filter") return { result };
    return { result, bytes: bench.bytes(value, valueBytes).slice() };
  });
  const entries: (readonly [Uint8Array, Uint8Array])[] = [];
  if (keySize > 0) {
    for (let from = 0; core.map_get_next_key(map, from, next) === 0; from = key) {
      bench.bytes(key, keySize).set(bench.bytes(next, keySize));
      if (core.map_lookup_copy(map, key, value, 0n) !== 0) continue;
      entries.push([bench.bytes(key, keySize).slice(), bench.bytes(value, valueBytes).slice()]);
    }
  }
  return { answers, entries: sortEntries(entries) };
}
