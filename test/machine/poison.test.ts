/**
 * Calls of helpers that are missing: programs with them load where no run must reach them, and a run that gets there stops and says
 * what is missing.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/absent-helpers.bpf.o")), {
  name: "absent-helpers.bpf.o",
});
const packet = new Uint8Array(64);

function errorOf(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    if (error instanceof BpfError) return error;
    throw error;
  }
  throw new Error("it came to its end");
}

describe.each(ENGINES)("%s", (engine) => {
  test.each([
    ["guarded", 2],
    ["guarded_in_a_function", 3],
  ])("%s: verified, as the call is never reached", async (name, returns) => {
    const machine = await Machine.create({ engine });
    const { programs, notes } = await machine.load(spec, { programs: [name] });
    expect(notes).toEqual([]);
    expect(programs[name]).toMatchObject({ safety: "verified" });
    expect(programs[name]!.run({ packet }).returnValue).toBe(returns);
  });

  test("by_length: the verifier refuses what may be reached", async () => {
    const machine = await Machine.create({ engine });
    await expect(machine.load(spec, { programs: ["by_length"] })).rejects.toThrow(
      /invalid func unknown#4095/,
    );
  });

  test.each(["sandbox", "trusted"] as const)(
    "%s: only the run that gets there is stopped",
    async (unverified) => {
      const machine = await Machine.create({ engine, unverified });
      const { programs } = await machine.load(spec, { programs: ["by_length"], verify: false });
      const program = programs["by_length"]!;
      expect(program.run({ packet }).returnValue).toBe(2);
      const error = errorOf(() => program.run({ packet: new Uint8Array(77) }));
      expect(error).toMatchObject({ code: "fault", where: { program: "by_length" } });
      expect(error.message).toMatch(
        /program 'by_length': instruction \d+ \(.*absent-helpers\.bpf\.c:32\): helper 4095 does not exist/,
      );
      expect(program.run({ packet }).returnValue).toBe(2);
    },
  );

  test("of a batch the packet that gets there is stopped", async () => {
    const machine = await Machine.create({ engine, unverified: "sandbox" });
    const { programs } = await machine.load(spec, { programs: ["by_length"], verify: false });
    const batch = {
      count: 3,
      data: new Uint8Array(64 + 77 + 64),
      offset: [0, 64, 141],
      capturedLength: [64, 77, 64],
    };
    const faults: number[] = [];
    const { results } = programs["by_length"]!.runPackets(batch, {
      onFault: (index, error) => {
        expect(error.message).toMatch(/helper 4095 does not exist/);
        faults.push(index);
      },
    });
    expect(faults).toEqual([1]);
    expect([results[0], results[2]]).toEqual([2, 2]);
  });

  test("what every run reaches does not load", async () => {
    const machine = await Machine.create({ engine });
    const { instructions } = assemble("r0 = 1\nif r0 != 0 goto +1\nexit\ncall 4095\nexit");
    expect(errorOf(() => machine.loadInstructions(instructions)).message).toBe(
      "program 'main': instruction 3: helper 4095 does not exist",
    );
  });

  test("the number that stands for poison is a missing helper like others", async () => {
    const machine = await Machine.create({ engine });
    const { instructions } = assemble(`if r1 == 0 goto +1\ncall ${0xbad2310 + 4}\nr0 = 7\nexit`);
    const program = machine.loadInstructions(instructions);
    expect(program.call(0)).toBe(7n);
    expect(errorOf(() => program.call(1)).message).toBe(
      `program 'main': instruction 1: helper ${0xbad2310 + 4} does not exist`,
    );
  });
});
