/** Kernel functions, timers and what else test/fixtures/kfuncs.bpf.c checks; the kernel confirms what it can run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { kfuncOf } from "../../src/uapi/index.ts";
import { HOST_KFUNCS } from "../../src/machine/kfuncs/table.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { PACKETS } from "./packet-ops.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/kfuncs.bpf.o")), { name: "kfuncs.bpf.o" });
const packet = PACKETS[0] as Uint8Array;
const NAMES = Object.keys(spec.programs);

describe.each(ENGINES)("%s", (engine) => {
  test.each([
    ...NAMES.map((name) => [name, "trusted", true] as const),
    ...NAMES.map((name) => [name, "sandbox", false] as const),
  ])("%s returns 0, %s", async (name, unverified, verify) => {
    const machine = await Machine.create({ engine, clock: "virtual", verify, unverified });
    const { programs } = await machine.load(spec, { programs: [name] });
    expect(programs[name]?.run({ packet }).returnValue).toBe(0);
    expect(programs[name]?.run({ packet }).returnValue).toBe(0);
  });

  test.each([
    ["trusted", true],
    ["sandbox", false],
  ] as const)("timers ring at their time, and can start again: %s", async (unverified, verify) => {
    const machine = await Machine.create({ engine, clock: "virtual", verify, unverified });
    const { programs, maps } = await machine.load(spec, { programs: ["timers"] });
    const begin = machine.clock.now();
    programs["timers"]?.run({ packet });
    machine.advance(999_999);
    const alarm = () => maps["alarms"]?.get(7) as { rings: bigint; at: bigint };
    expect(Number(alarm().rings)).toBe(0);
    machine.advance(1);
    expect(Number(alarm().rings)).toBe(7);
    expect(BigInt(alarm().at)).toBe(begin + 1_000_000n);
    machine.advance(10_000);
    expect(Number(alarm().rings)).toBe(21);
    expect(BigInt(alarm().at)).toBe(begin + 1_001_000n);
  });

  test("a timer goes with its element", async () => {
    const machine = await Machine.create({ engine, clock: "virtual", verify: true, unverified: "trusted" });
    const { programs, maps } = await machine.load(spec, { programs: ["timers"] });
    programs["timers"]?.run({ packet });
    maps["alarms"]?.delete(Uint8Array.of(7, 0, 0, 0));
    machine.advance(2_000_000);
    expect([...(maps["alarms"]?.entries() ?? [])]).toEqual([]);
  });

  test("a function of the host stands in for a kernel function, and is watched", async () => {
    const machine = await Machine.create({ engine, verify: true, unverified: "trusted" });
    const spy = machine.registerKfunc(
      "bpf_strlen",
      (call) => call.string(1).length + (call.original() === 12n ? 0 : 1),
    );
    const { programs } = await machine.load(spec, { programs: ["strings"] });
    machine.registerKfunc("bpf_strcmp", () => -99);
    expect(programs["strings"]?.run({ packet }).returnValue).toBe(2);
    expect(spy.calls.map(({ result, program }) => [result, program])).toEqual([[12n, "strings"]]);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("the kernel confirms"), () => {
  // The others need BTF that the kernel takes, or program types that it cannot run.
  test.each(["guards", "strings", "format", "conversion", "dynptrs"])("%s", async (name) => {
    using machine = await KernelMachine.create();
    const { programs } = machine.load(spec, { programs: [name] });
    expect(programs[name]?.run({ packet }).returnValue).toBe(0);
  });
});

test("every kernel function that is implemented is one of Linux", () => {
  expect(HOST_KFUNCS.filter(({ name }) => kfuncOf(name) === undefined).map(({ name }) => name)).toEqual([]);
  expect(new Set(HOST_KFUNCS.map(({ name }) => name)).size).toBe(HOST_KFUNCS.length);
});
