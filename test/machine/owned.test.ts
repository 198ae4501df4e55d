/**
 * What values of maps own goes with them: objects in lists, trees and pointers, timers. `put` and `look` of owned.bpf.c, with a
 * command of the host between them; the kernel runs the same.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/owned.bpf.o")), { name: "owned.bpf.o" });
const packet = new Uint8Array(64);
const KEY = new Uint8Array(4);

const BITS = { list: 1, tree: 2, pointer: 4, timer: 8 } as const;
const ALL = 15;
const OWNERS = ["hash", "lazy", "array"] as const;
const HOLDERS = ["lru", "percpu_hash", "percpu_lru", "percpu_array"] as const;
const MAPS = [...OWNERS, ...HOLDERS];

interface Commands {
  readonly valueSize: number;
  update(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): unknown;
  keys(): Iterable<Uint8Array>;
}

/** What a run sees of the globals. */
interface Side {
  readonly maps: Readonly<Record<string, Commands>>;
  run(
    program: string,
    order?: { readonly what?: number; readonly at?: number },
  ): { readonly status: number; readonly found: number; readonly again: number };
}

interface Globals {
  readonly what: number;
  readonly found: number;
  readonly again: number | bigint;
}

interface Loaded {
  readonly programs: Readonly<
    Record<string, { run(input: { packet: Uint8Array }): { returnValue: number } }>
  >;
  readonly maps: Readonly<
    Record<string, Commands & { get(key: unknown): unknown; set(key: unknown, value: unknown): void }>
  >;
}

const programsOf = (map: string): string[] => [`put_${map}`, `look_${map}`, "readd"];

function sideOf({ programs, maps }: Loaded): Side {
  const globals = maps[".bss"]!;
  return {
    maps,
    run(program, { what = 0, at = 0 } = {}) {
      globals.set(0, { ...(globals.get(0) as Globals), what, at, again: 99 });
      const status = programs[program]!.run({ packet }).returnValue;
      const { found, again } = globals.get(0) as Globals;
      return { status, found, again: Number(again) };
    },
  };
}

async function ours(
  map: string,
  options: Parameters<typeof Machine.create>[0],
): Promise<Side & { machine: Machine }> {
  const machine = await Machine.create({ clock: "virtual", ...options });
  return { machine, ...sideOf(await machine.load(spec, { programs: programsOf(map) })) };
}

const sides = ENGINES.flatMap((engine) =>
  [
    { engine, verify: true, unverified: "trusted" },
    { engine, verify: false, unverified: "sandbox" },
  ].map((options) => options as { engine: (typeof ENGINES)[number]; unverified: "trusted" | "sandbox" }),
);

/** The answers of a side to all that can happen to a value. */
function story(side: Side, map: string): unknown[] {
  const { maps, run } = side;
  const subject = maps[map] as Commands;
  const value = new Uint8Array(subject.valueSize);
  const array = map.endsWith("array");
  const owner = OWNERS.some((name) => name === map);
  const lines: unknown[] = [];
  const all = owner ? ALL : BITS.pointer;
  if (!array) subject.update(KEY, value);
  lines.push(["there", run(`put_${map}`, { what: all }).status, run(`look_${map}`).found]);
  lines.push(["put again", run(`put_${map}`, { what: all }).status]);
  subject.update(KEY, value);
  lines.push(["overwritten", run(`look_${map}`).found]);
  if (!array) {
    run(`put_${map}`, { what: all });
    subject.delete(KEY);
    lines.push(["deleted", run(`look_${map}`).status]);
    subject.update(KEY, value);
    lines.push(["made anew", run(`look_${map}`).found]);
  }
  if (owner) {
    // A node that was in a tree of a value that is gone may be put into another one, and not before.
    for (const go of [false, true]) {
      run(`put_${map}`, { what: BITS.tree });
      if (go) subject.update(KEY, value);
      lines.push([go ? "its tree is gone" : "in a tree", run("readd").again]);
    }
  }
  return lines;
}

/** As the kernel has it. */
function wanted(map: string): unknown[] {
  const owner = OWNERS.some((name) => name === map);
  return [
    ["there", 0, owner ? ALL : BITS.pointer],
    ["put again", 0],
    ["overwritten", 0],
    ...(map.endsWith("array")
      ? []
      : [
          ["deleted", 2],
          ["made anew", 0],
        ]),
    ...(owner
      ? [
          ["in a tree", -22],
          ["its tree is gone", 0],
        ]
      : []),
  ];
}

describe.each(MAPS)("%s", (map) => {
  test.each(sides)("$engine, $unverified", async (options) => {
    expect(story(await ours(map, options), map)).toEqual(wanted(map));
  });

  test.skipIf(noKernel !== undefined)(withKernel("the kernel"), async () => {
    using machine = await KernelMachine.create();
    expect(story(sideOf(machine.load(spec, { programs: programsOf(map) })), map)).toEqual(wanted(map));
  });
});

const ROUNDS = 300;

test.each(sides)("nothing is left: $engine, $unverified", async (options) => {
  for (const map of ["hash", "lru", "percpu_hash"]) {
    const { machine, maps, run } = await ours(map, options);
    const subject = maps[map]!;
    const value = new Uint8Array(subject.valueSize);
    const fresh = (): number => machine.memory.alloc(8, "a mark");
    const marks: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      subject.update(KEY, value);
      expect(run(`put_${map}`, { what: ALL }).status).toBe(0);
      if (round % 2 === 0) subject.delete(KEY);
      if (round % 100 === 0) marks.push(fresh());
    }
    // Memory that is handed out now lies where it did: no slab of objects came in between.
    const [, second = 0, third = 0] = marks;
    expect(third - second).toBeLessThan(64);
  }
});

test("elements of an LRU map that make room for others", async () => {
  const { machine, maps, run } = await ours("lru", {});
  const subject = maps["lru"]!;
  const value = new Uint8Array(subject.valueSize);
  const marks: number[] = [];
  for (let at = 0; at < 3000; at++) {
    subject.update(new Uint8Array(Uint32Array.of(at).buffer), value);
    expect(run("put_lru", { at }).status).toBe(0);
    if (at % 1000 === 999) marks.push(machine.memory.alloc(8, "a mark"));
  }
  expect([...subject.keys()].length).toBe(4);
  const [first = 0, , third = 0] = marks;
  expect(third - first).toBeLessThan(64);
});

test("a long chain of objects goes", async () => {
  const { machine, maps, run } = await ours("array", { verify: true });
  const subject = maps["array"]!;
  for (let n = 0; n < 20_000; n++) run("put_array", { what: BITS.list });
  expect(run("look_array").found).toBe(BITS.list);
  subject.update(KEY, new Uint8Array(subject.valueSize));
  expect(run("look_array").found).toBe(0);
  expect(machine.memory.u8.length).toBeGreaterThan(0);
});
