/** A machine in two threads: nothing is lost, nothing is torn, nobody waits for ever. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { EXEC_CPU, EXEC_SIZE } from "../../src/core/layout.ts";
import type { HelperWorld } from "../../src/machine/helpers/types.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { KERNEL } from "../../src/machine/kfuncs/kernel.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

const ENTRY = join(ROOT, "dist/machine/index.js");
const BUILT = existsSync(ENTRY);
/** Ten operations a round, 100 rounds a run, two threads: a million in the engine that is fast. */
const RUNS = { jit: 500, interpreter: 100 };
const ROUNDS = 100;

const number = (bytes: Uint8Array | undefined, at = 0): number =>
  Number(new DataView(bytes?.slice().buffer ?? new ArrayBuffer(16)).getBigUint64(at, true));

describe.skipIf(!BUILT)(BUILT ? "threads" : "threads (skipped: dist/ is not built)", () => {
  test.each(ENGINES)("two workers on the same maps, %s", { timeout: 120_000 }, async (engine) => {
    const name = "threads.bpf.o";
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures", name)), { name });
    const machine = await Machine.create({ cpus: 3, shared: true });
    const { maps } = await machine.load(spec);
    const runs = RUNS[engine];
    const shared = machine.share();
    const entry = pathToFileURL(ENTRY).href;
    const done = { workers: 0 };
    const workers = [1, 2].map(
      (cpu) =>
        new Promise<{ wrong: number }>((resolve, reject) => {
          const worker = new Worker(new URL("threads.worker.mjs", import.meta.url), {
            workerData: { entry, shared, cpu, program: "work", runs, engine },
          });
          worker.once("message", (message) => {
            done.workers++;
            resolve(message as { wrong: number });
          });
          worker.once("error", reject);
        }),
    );
    const ring = maps["ring"];
    let records = 0;
    let torn = 0;
    const drain = (): void => {
      for (const record of ring?.records() ?? []) {
        records++;
        const view = new DataView(record.buffer);
        if (view.getBigUint64(0, true) !== (~view.getBigUint64(8, true) & 0xffffffffffffffffn)) torn++;
      }
    };
    while (done.workers < 2) {
      drain();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const results = await Promise.all(workers);
    drain();
    const rounds = 2 * runs * ROUNDS;
    const key = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
    const shares = [0, 1, 2, 3].map((n) => number(maps["shared"]?.lookup(key(n))));
    expect(results.map(({ wrong }) => wrong)).toEqual([0, 0]);
    expect(shares[0]).toBe(rounds);
    expect(maps["percpu"]?.lookupPerCpu(key(0))?.map((bytes) => number(bytes))).toEqual([
      0,
      rounds / 2,
      rounds / 2,
    ]);
    const guarded = maps["guarded"]?.lookup(key(0));
    expect([
      new DataView(guarded?.buffer ?? new ArrayBuffer(16)).getUint32(4, true),
      number(guarded, 8),
    ]).toEqual([rounds, rounds]);
    expect((shares[1] ?? 0) - (shares[2] ?? 0)).toBe(maps["queue"]?.size);
    expect([records, torn]).toEqual([shares[3], 0]);
    for (const map of [maps["hash"], maps["lazy"], maps["lru"]]) {
      const seen = new Set<number>();
      for (const bytes of map?.keys() ?? []) {
        const value = map?.lookup(bytes);
        seen.add(bytes[0] ?? 0);
        expect([number(value), number(value, 8)]).toEqual([bytes[0], (bytes[0] ?? 0) * 3]);
      }
      expect(seen.size).toBe(map?.size);
      expect(seen.size).toBeLessThanOrEqual(map?.maxEntries ?? 0);
    }
    expect([...(maps["trie"]?.keys() ?? [])].length).toBe(maps["trie"]?.size);
  });

  test.each(ENGINES)("resilient locks, %s", { timeout: 60_000 }, async (engine) => {
    const name = "resilient.bpf.o";
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures", name)), { name });
    const machine = await Machine.create({ cpus: 3, shared: true, engine, unverified: "sandbox" });
    const { maps, programs } = await machine.load(spec);
    const runs = 20;
    const results = await Promise.all(
      [1, 2].map(
        (cpu) =>
          new Promise<{ wrong: number }>((resolve, reject) => {
            const entry = pathToFileURL(ENTRY).href;
            const worker = new Worker(new URL("threads.worker.mjs", import.meta.url), {
              workerData: { entry, shared: machine.share(), cpu, program: "count", runs, engine },
            });
            worker.once("message", resolve);
            worker.once("error", reject);
          }),
      ),
    );
    expect(results.map(({ wrong }) => wrong)).toEqual([0, 0]);
    const packet = new Uint8Array(64);
    expect(programs["twice"]?.run({ packet }).returnValue).toBe(0);
    const guarded = maps["guarded"]?.lookup(new Uint8Array(4));
    expect([
      new DataView(guarded?.buffer ?? new ArrayBuffer(16)).getUint32(4, true),
      number(guarded, 8),
    ]).toEqual([40_000, 40_000]);
  });

  test.each(
    ENGINES.flatMap((engine) => (["trusted", "sandbox"] as const).map((safety) => ({ engine, safety }))),
  )("who joins allocates objects of the programs' types, $engine, $safety", async ({ engine, safety }) => {
    const name = "kfuncs.bpf.o";
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures", name)), { name });
    const machine = await Machine.create({ cpus: 3, shared: true, engine, unverified: safety });
    const { programs } = await machine.load(spec, { programs: ["lists", "trees"] });
    expect([programs["lists"]?.safety, programs["trees"]?.safety]).toEqual([safety, safety]);
    const shared = structuredClone(machine.share());
    const joined = [await Machine.join(shared, { cpu: 1 }), await Machine.join(shared, { cpu: 2 })];
    const packet = new Uint8Array(64);
    for (const program of ["lists", "trees", "lists"]) {
      for (const one of [...joined, machine]) {
        expect([program, one.programs[program]?.run({ packet }).returnValue]).toEqual([program, 0]);
      }
    }
  });

  test("a resilient lock that another CPU keeps is not waited for without end", async () => {
    const { memory } = await Machine.create();
    const exec = memory.alloc(EXEC_SIZE, "state of a CPU");
    const address = memory.alloc(8, "lock");
    const lock = KERNEL.find(({ name }) => name === "bpf_res_spin_lock");
    const take = (): unknown =>
      lock?.call({ memory } as HelperWorld, { exec, u32: () => address, i32: () => 0, u64: () => 0n });
    expect([take(), take()]).toEqual([0, -35]);
    memory.setU32(exec + EXEC_CPU, 1);
    expect(take()).toBe(-110);
  });

  test("wrong uses are named", async () => {
    const alone = await Machine.create();
    expect(() => alone.share()).toThrow(/shared: true/);
    const machine = await Machine.create({ cpus: 2, shared: true });
    const shared = machine.share();
    await expect(Machine.join(shared, { cpu: 2 })).rejects.toThrow(/cpu must be/);
    const joined = await Machine.join(shared, { cpu: 1 });
    expect(() => joined.loadInstructions([])).toThrow();
  });
});
