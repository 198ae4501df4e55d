import { afterAll, describe, expect, it } from "vitest";
import { Kernel, type MapDefinition, MAP_FLAGS } from "../../src/kernel/index.ts";
import { kernelMapRun, randomMapOps, showOp } from "./map-oracle.ts";
import { expectNothingLeft, noKernel, ownName, withKernel } from "./setup.ts";

const MAPS: readonly MapDefinition[] = [
  { type: "array", keySize: 4, valueSize: 5, maxEntries: 7 },
  { type: "percpu_array", keySize: 4, valueSize: 12, maxEntries: 3 },
  { type: "hash", keySize: 3, valueSize: 8, maxEntries: 10 },
  { type: "hash", keySize: 16, valueSize: 1, maxEntries: 20, flags: MAP_FLAGS.no_prealloc },
  { type: "percpu_hash", keySize: 8, valueSize: 8, maxEntries: 5 },
  { type: "lru_hash", keySize: 4, valueSize: 4, maxEntries: 64 },
  { type: "lpm_trie", keySize: 8, valueSize: 4, maxEntries: 16, flags: MAP_FLAGS.no_prealloc },
  { type: "lpm_trie", keySize: 20, valueSize: 9, maxEntries: 30, flags: MAP_FLAGS.no_prealloc },
];

describe.skipIf(noKernel !== undefined)(withKernel("the map oracle"), () => {
  afterAll(expectNothingLeft);

  it.each(MAPS)(
    "$type, key $keySize, value $valueSize: the same seed gets the same answers",
    async (definition) => {
      using kernel = await Kernel.open();
      const ops = randomMapOps(7, definition, 500);
      const named = { ...definition, name: ownName("oracle") };
      const first = kernelMapRun(kernel, named, ops);
      expect(kernelMapRun(kernel, named, randomMapOps(7, definition, 500))).toEqual(first);
      // Every kind of answer comes up, or the sequence tests nothing.
      const results = new Set(first.answers.map(({ result }, index) => `${ops[index]?.op} ${result}`));
      for (const expected of ["lookup 0", "lookup -2", "update 0", "update -22"]) {
        if (expected === "lookup -2" && definition.type.endsWith("array")) continue;
        expect(results).toContain(expected);
      }
      expect(first.entries.length).toBeGreaterThan(0);
      expect(showOp(ops[0]!)).toMatch(/^(lookup|update|delete|nextKey)/);
    },
  );
});
