import { describe, expect, it } from "vitest";
import { rowOf } from "../../src/isa/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { compare, reduceDifference, show } from "./differential.ts";
import { generate } from "./generate.ts";
import { reduce, removeBlanks } from "./reduce.ts";
import { runInKernel } from "./kernel-run.ts";
import { Kernel } from "../../src/kernel/index.ts";

/** Bounded for CI; `npm run fuzz` goes on from there. */
const FIRST_SEED = 1_000_000;
const COUNT = 200;

describe("random programs", () => {
  it(`${COUNT} of them do the same in interpreter and JIT`, async () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) {
      const { differences } = await compare(generate(seed), { kernel: false });
      expect(differences, `seed ${seed}`).toEqual([]);
    }
  });

  it("are reduced to what a question needs", async () => {
    const program = generate(5, { size: 80 });
    const divides = (one: typeof program): boolean =>
      one.instructions.some((instruction) => rowOf(instruction)?.name.startsWith("div") === true);
    const seed = Array.from({ length: 100 }, (_, index) => index).find((index) => divides(generate(index)))!;
    const small = await reduce(generate(seed), async (one) => divides(one));
    expect(small.instructions.filter(({ opcode }) => opcode !== 0x95)).toHaveLength(1);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("random programs and the kernel"), () => {
  it(`${COUNT} of them do the same in interpreter, JIT and kernel`, async () => {
    let accepted = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) {
      const program = generate(seed);
      const comparison = await compare(program);
      if (comparison.accepted) accepted++;
      if (comparison.differences.length === 0) continue;
      const small = await reduceDifference(program);
      expect.fail(`seed ${seed}: ${(await compare(small)).differences.join("; ")}\n${show(small)}`);
    }
    expect(accepted).toBeGreaterThan(COUNT * 0.95);
  });

  it("mean the same without their blanks", async () => {
    using kernel = await Kernel.open();
    const nop = { opcode: 0x05, dst: 0, src: 0, offset: 0, imm: 0 };
    for (let seed = 0; seed < 30; seed++) {
      const program = generate(seed, { without: ["callFunction"] });
      const blanked = {
        ...program,
        instructions: [...program.instructions],
        references: new Map(program.references),
      };
      // One blank at the very start: everything moves, nothing else changes.
      blanked.instructions.unshift(nop);
      const references = new Map([...program.references].map(([slot, reference]) => [slot + 1, reference]));
      const functions = [{ name: "main", start: 0, end: blanked.instructions.length }];
      const compact = removeBlanks({ ...blanked, references, functions });
      expect(runInKernel(kernel, compact).returnValue, `seed ${seed}`).toBe(
        runInKernel(kernel, program).returnValue,
      );
    }
  });
});
