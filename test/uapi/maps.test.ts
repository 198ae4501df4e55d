/** The rows of MAP_RULES against the running kernel: which flags each type may be created with. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { Kernel, createMap } from "../../src/kernel/index.ts";
import {
  HELPER_MAPS,
  MAP_FLAGS,
  MAP_RULES,
  MAP_TYPES,
  type MapFlag,
  type MapRules,
  helperTakesMap,
  mapTakesField,
} from "../../src/uapi/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

test("one row for each map type, in their order", () => {
  expect(MAP_RULES.map(({ name }) => name)).toEqual(MAP_TYPES.map(({ name }) => name));
});

test("both directions of the helper table agree", () => {
  for (const row of MAP_RULES as readonly MapRules[]) {
    for (const helper of row.helpers ?? []) expect(helperTakesMap(helper, row.name)).toBe(true);
  }
  for (const [helper, types] of Object.entries(HELPER_MAPS)) {
    for (const type of types) expect(helperTakesMap(helper as keyof typeof HELPER_MAPS, type)).toBe(true);
  }
});

test.each([
  ["map_update_elem", "array", true],
  ["map_update_elem", "ringbuf", false],
  ["map_lookup_elem", "devmap", true],
  ["map_lookup_elem", "cpumap", false],
  ["redirect_map", "xskmap", true],
  ["redirect_map", "hash", false],
  ["map_push_elem", "bloom_filter", true],
  ["map_pop_elem", "bloom_filter", false],
  ["for_each_map_elem", "hash", true],
  ["tail_call", "array", false],
] as const)("%s of %s: %s", (helper, type, wanted) => {
  expect(helperTakesMap(helper, type)).toBe(wanted);
});

test.each([
  ["array", "spin_lock", true],
  ["percpu_array", "spin_lock", false],
  ["lru_hash", "timer", true],
  ["lru_hash", "spin_lock", false],
  ["percpu_hash", "kptr", true],
  ["lpm_trie", "kptr", false],
] as const)("values of %s hold %s: %s", (type, field, wanted) => {
  expect(mapTakesField(type, field)).toBe(wanted);
});

/** Types that need BTF, another map or an address to be created: their flags are not asked here. */
const NEEDS_MORE = [
  "sk_storage",
  "inode_storage",
  "task_storage",
  "cgrp_storage",
  "struct_ops",
  "array_of_maps",
  "hash_of_maps",
];
/** These take what is no flag of the type: the command's own, and those that are read as another number. */
const NOT_OF_THE_TYPE: readonly MapFlag[] = ["numa_node", "token_fd"];

describe.skipIf(noKernel !== undefined)(withKernel("the kernel's flags"), () => {
  let kernel: Kernel;
  beforeAll(async () => {
    kernel = await Kernel.open();
  });
  afterAll(() => kernel?.[Symbol.dispose]());

  const rows = (MAP_RULES as readonly MapRules[]).filter(({ name }) => !NEEDS_MORE.includes(name));
  test.each(rows.map((row) => [row.name, row] as const))("%s", (_, row) => {
    const size = (bounds: MapRules["key"]): number =>
      "min" in bounds ? Math.max(bounds.min, Math.min(32, bounds.max ?? 32)) : (bounds[0] ?? 0);
    const entries = { any: 1, zero: 0, one: 1, bytes: 4096, pages: 1 }[row.entries];
    const needs = (row.needs ?? []).reduce((bits, flag) => bits | MAP_FLAGS[flag], 0);
    const taken: MapFlag[] = [];
    for (const [flag, bit] of Object.entries(MAP_FLAGS) as [MapFlag, number][]) {
      if (NOT_OF_THE_TYPE.includes(flag)) continue;
      try {
        createMap(kernel, {
          type: row.name,
          keySize: size(row.key),
          valueSize: size(row.value),
          maxEntries: entries,
          flags: needs | bit,
        })[Symbol.dispose]();
        taken.push(flag);
      } catch (error) {
        expect(error).toBeInstanceOf(BpfError);
      }
    }
    const known = row.flags.filter((flag) => !NOT_OF_THE_TYPE.includes(flag));
    expect(taken.toSorted()).toEqual(known.toSorted());
  });
});
