import { describe, expect, it } from "vitest";
import { disassemble } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import { checkInstructions, decodeInstructions, encodeInstructions } from "../../src/isa/index.ts";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { noKernel, openDescriptors, withKernel } from "../kernel/setup.ts";
import { arbitrary } from "./arbitrary.ts";
import { toObject } from "./object.ts";

const SEEDS = Array.from({ length: 300 }, (_, seed) => seed);

describe("arbitrary programs", () => {
  it("are the same for the same seed, and some are valid", () => {
    expect(arbitrary(3)).toEqual(arbitrary(3));
    const valid = SEEDS.filter((seed) => checkInstructions(arbitrary(seed).instructions) === undefined);
    expect(valid.length).toBeGreaterThan(SEEDS.length / 20);
    expect(valid.length).toBeLessThan(SEEDS.length);
  });

  it("survive encoding, and can be listed", () => {
    for (const seed of SEEDS) {
      const { instructions } = arbitrary(seed);
      expect(decodeInstructions(encodeInstructions(instructions))).toEqual(instructions);
      onlyBpfErrors(() => disassemble(instructions));
    }
  });

  it("are refused by name or run until they end or their fuel does, in both engines", async () => {
    let ran = 0;
    for (const seed of SEEDS) {
      const program = arbitrary(seed);
      for (const engine of ENGINES) {
        const machine = await Machine.create({ engine, fuel: 100_000 });
        try {
          const { programs } = await machine.load(toObject(program));
          programs[program.name]?.run({ packet: program.packet });
          ran++;
        } catch (error) {
          if (!(error instanceof BpfError)) throw error;
        }
      }
    }
    expect(ran).toBeGreaterThan(0);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("arbitrary programs in the kernel"), () => {
  it("get a verdict, and nothing of them stays", async () => {
    using machine = await KernelMachine.create();
    let accepted = 0;
    for (const seed of SEEDS) {
      const program = arbitrary(seed);
      const verdict = machine.verify(toObject(program), program.name);
      if (verdict.accepted) accepted++;
      else expect(verdict.error?.message).toMatch(/arbitrary_\d+/);
    }
    expect(accepted).toBeLessThan(SEEDS.length);
    expect(openDescriptors()).toEqual([]);
  });
});

function onlyBpfErrors(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
  }
}
