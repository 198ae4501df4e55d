/**
 * Attributes of maps, most of them wrong, for all types: what the kernel says to BPF_MAP_CREATE. What it would allocate a lot for is
 * not sent, so only refusals and small maps are compared. `SKEP_MAP_CREATIONS` and `SKEP_SEED` make it longer and other.
 */
import { afterAll, describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  Kernel,
  type KernelMap,
  MAP_FLAGS,
  type MapDefinition,
  createMap,
  possibleCpus,
} from "../../src/kernel/index.ts";
import { Machine } from "../../src/machine/index.ts";
import { ERRNO, MAP_RULES, type MapType } from "../../src/uapi/index.ts";
import { Random } from "../random/prng.ts";
import { mapTypes } from "./map-types.ts";
import { expectNothingLeft, noKernel, ownName, withKernel } from "./setup.ts";

interface Attributes {
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly extra: number;
}

const SIZES = [
  0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 20, 31, 64, 255, 256, 257, 260, 261, 512, 513, 1016, 1024, 4096, 32_768,
  32_769, 65_368, 65_375, 65_376, 65_535, 65_536, 4_194_024, 4_194_025, 4_194_255, 4_194_256, 4_194_304,
  4_194_305, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];
// Never more than 2^31: a kernel has been seen to fall over it.
const ENTRIES = [0, 1, 2, 3, 5, 4095, 4096, 4097, 8192, 8193, 65_536, 0x40000000, 0x7fffffff, 0x80000000];
const BITS = Array.from({ length: 20 }, (_, bit) => 1 << bit);
const EXTRAS = [0, 0, 0, 1, 15, 16, 4096, 0x40000000];
/** A CPU map is as long as the kernel was built for CPUs, here as distributions build it. */
const CPUS = 64;
/** Bytes that a map may take in the kernel for this. */
const MODEST = 8 << 20;

/** Types that are made of more than these attributes. */
const LEFT_OUT: Readonly<Partial<Record<MapType, string>>> = {
  struct_ops: "it is made of a type of the kernel, and registering is not allowed here",
};

/** A map of the type that is right. */
function rightOne(type: MapType): Attributes {
  const rules = MAP_RULES.find(({ name }) => name === type)!;
  const size = (range: (typeof rules)["key"] | (typeof rules)["value"]): number => {
    if ("min" in range) return Math.max(8, range.min);
    return range[0];
  };
  const entries = { any: 4, zero: 0, one: 1, bytes: 4096, pages: 2 }[rules.entries];
  const needs: readonly (keyof typeof MAP_FLAGS)[] = "needs" in rules ? rules.needs : [];
  return {
    keySize: size(rules.key),
    valueSize: size(rules.value),
    maxEntries: entries,
    flags: needs.reduce((bits, name) => bits | MAP_FLAGS[name], 0),
    extra: 0,
  };
}

function changed(random: Random, right: Attributes): Attributes {
  const result: { -readonly [K in keyof Attributes]: number } = { ...right };
  for (let changes = random.between(1, 3); changes > 0; changes--) {
    const what = random.pick(["keySize", "valueSize", "maxEntries", "flags", "flags", "extra"] as const);
    if (what === "flags") result.flags = (result.flags ^ random.pick(BITS)) >>> 0;
    else if (what === "extra") result.extra = random.pick(EXTRAS);
    else result[what] = random.pick(what === "maxEntries" ? ENTRIES : SIZES);
  }
  return result;
}

const errnoOf = (run: () => unknown): number => {
  try {
    run();
    return 0;
  } catch (error) {
    if (!(error instanceof BpfError) || error.errno === undefined) throw error;
    return -(ERRNO as Readonly<Record<string, number>>)[error.errno]!;
  }
};

const COUNT = Number(process.env["SKEP_MAP_CREATIONS"] ?? 150);
const SEED = Number(process.env["SKEP_SEED"] ?? 11);
const TYPES = MAP_RULES.map(({ name }) => name).filter((name) => LEFT_OUT[name] === undefined);

describe.skipIf(noKernel !== undefined)(withKernel("attributes of maps"), () => {
  afterAll(expectNothingLeft);

  it.each(TYPES)("%s", { timeout: 120_000 }, async (type) => {
    using kernel = await Kernel.open();
    const machine = await Machine.create({ cpus: possibleCpus() });
    const shape = { type: "hash", keySize: 4, valueSize: 8, maxEntries: 1 } as const;
    const like = type.endsWith("_of_maps")
      ? { theirs: createMap(kernel, shape), ours: machine.createMap({ ...shape, name: "like", flags: 0 }) }
      : undefined;
    const random = new Random(SEED);
    const right = rightOne(type);
    const found: string[] = [];
    let refused = 0;
    for (let round = 0; round < COUNT; round++) {
      const { extra, ...attributes } = round === 0 ? right : changed(random, right);
      const memory = machine.memory.u8.length;
      const mine = errnoOf(() =>
        machine.createMap({
          name: "map",
          type,
          ...attributes,
          extra,
          ...(like === undefined ? {} : { inner: like.ours }),
        }),
      );
      const { keySize, valueSize, maxEntries, flags } = attributes;
      const bytes = maxEntries * (keySize + valueSize * possibleCpus() + 128);
      if (mine === -ERRNO.ENOMEM || (mine === 0 && bytes > MODEST)) continue;
      if (type === "cpumap" && maxEntries > CPUS && maxEntries <= 8192) continue;
      if (mine !== 0) {
        refused++;
        expect(machine.memory.u8.length).toBe(memory);
      }
      const definition: MapDefinition = {
        type,
        ...attributes,
        mapExtra: BigInt(extra),
        name: ownName("grid"),
      };
      const types =
        type.endsWith("_storage") && !type.includes("cgroup")
          ? mapTypes(kernel, Math.min(valueSize, 1 << 20))
          : undefined;
      let made: KernelMap | undefined;
      const theirs = errnoOf(() => {
        made = createMap(kernel, {
          ...definition,
          ...types,
          ...(like === undefined ? {} : { inner: like.theirs }),
        });
      });
      made?.close();
      types?.btf.close();
      if (mine !== theirs)
        found.push(
          `key ${keySize} value ${valueSize} entries ${maxEntries} flags ${flags} extra ${extra}: ${mine}, the kernel: ${theirs}`,
        );
    }
    expect(found.slice(0, 6)).toEqual([]);
    expect(refused).toBeGreaterThan(COUNT / 4);
  });
});
