/**
 * Random operations of bpf(2) on maps: the core, in both of its builds, against the kernel. `SKEP_MAP_OPERATIONS` and
 * `SKEP_SEED` make it longer and other (10000 a type by hand).
 */
import { afterAll, describe, expect, it } from "vitest";
import { Kernel, type MapDefinition, MAP_FLAGS } from "../../src/kernel/index.ts";
import { type MapAnswer, type MapOp, kernelMapRun, randomMapOps, showOp } from "./map-oracle.ts";
import { coreMapRun } from "./map-core.ts";
import { expectNothingLeft, noKernel, ownName, withKernel } from "./setup.ts";

const NO_PREALLOC = { flags: MAP_FLAGS.no_prealloc };
const MAPS: readonly MapDefinition[] = [
  { type: "array", keySize: 4, valueSize: 5, maxEntries: 7 },
  { type: "array", keySize: 4, valueSize: 8, maxEntries: 5, flags: MAP_FLAGS.rdonly },
  { type: "array", keySize: 4, valueSize: 8, maxEntries: 5, flags: MAP_FLAGS.wronly },
  { type: "percpu_array", keySize: 4, valueSize: 12, maxEntries: 3 },
  { type: "hash", keySize: 3, valueSize: 8, maxEntries: 10 },
  { type: "hash", keySize: 4, valueSize: 3, maxEntries: 1 },
  { type: "hash", keySize: 8, valueSize: 16, maxEntries: 30 },
  { type: "hash", keySize: 16, valueSize: 1, maxEntries: 20, ...NO_PREALLOC },
  { type: "hash", keySize: 16, valueSize: 8, maxEntries: 20, flags: MAP_FLAGS.wronly },
  { type: "percpu_hash", keySize: 8, valueSize: 8, maxEntries: 5 },
  { type: "percpu_hash", keySize: 5, valueSize: 9, maxEntries: 9, ...NO_PREALLOC },
  { type: "lru_hash", keySize: 4, valueSize: 4, maxEntries: 64 },
  { type: "lru_hash", keySize: 4, valueSize: 4, maxEntries: 64, flags: MAP_FLAGS.no_common_lru },
  { type: "lru_percpu_hash", keySize: 4, valueSize: 4, maxEntries: 64 },
  { type: "lpm_trie", keySize: 8, valueSize: 4, maxEntries: 16, ...NO_PREALLOC },
  { type: "lpm_trie", keySize: 20, valueSize: 9, maxEntries: 30, ...NO_PREALLOC },
  { type: "queue", keySize: 0, valueSize: 7, maxEntries: 9 },
  { type: "queue", keySize: 0, valueSize: 8, maxEntries: 1, flags: MAP_FLAGS.rdonly },
  { type: "stack", keySize: 0, valueSize: 8, maxEntries: 5 },
  { type: "bloom_filter", keySize: 0, valueSize: 8, maxEntries: 6, flags: MAP_FLAGS.zero_seed },
  {
    type: "bloom_filter",
    keySize: 0,
    valueSize: 13,
    maxEntries: 20,
    flags: MAP_FLAGS.zero_seed,
    mapExtra: 2n,
  },
  { type: "stack_trace", keySize: 4, valueSize: 64, maxEntries: 5 },
  { type: "cpumap", keySize: 4, valueSize: 4, maxEntries: 4 },
];

const COUNT = Number(process.env["SKEP_MAP_OPERATIONS"] ?? 1500);
const SEED = Number(process.env["SKEP_SEED"] ?? 11);

describe.skipIf(noKernel !== undefined)(withKernel("random map operations"), () => {
  afterAll(expectNothingLeft);

  it.each(MAPS)(
    "$type, key $keySize, value $valueSize, $maxEntries entries, flags $flags",
    async (definition) => {
      using kernel = await Kernel.open();
      const ops = randomMapOps(SEED, definition, COUNT);
      const wanted = kernelMapRun(kernel, { ...definition, name: ownName("diff") }, ops);
      for (const shared of [false, true]) {
        const got = coreMapRun(definition, ops, { shared });
        expect(linesOf(ops, got.answers)).toEqual(linesOf(ops, wanted.answers));
        expect(got.entries).toEqual(wanted.entries);
      }
    },
  );
});

function linesOf(ops: readonly MapOp[], answers: readonly MapAnswer[]): string[] {
  return answers.map(({ result, bytes }, index) => {
    const read = bytes === undefined ? "" : ` ${Buffer.from(bytes).toString("hex")}`;
    return `${index} ${showOp(ops[index] as MapOp)} = ${result}${read}`;
  });
}
