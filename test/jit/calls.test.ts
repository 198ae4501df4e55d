/** Calls of every kind, packet loads, `may_goto`, fuel and call depth. */
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { CORE_HELPERS } from "../../src/core/helpers.ts";
import {
  EXEC_PC,
  EXEC_REGS,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FAULT_FUEL,
  FUNC_SIZE,
  MAY_GOTO_LIMIT,
} from "../../src/core/layout.ts";
import { BpfError } from "../../src/errors.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { DATA, EXIT, FUNCTIONS, Faulted, STACK_END, STATE, ins, lddw, load, program } from "./harness.ts";

function asm(text: string): readonly Instruction[] {
  return assemble(text).instructions;
}

function catchFault(run: () => unknown): Faulted {
  try {
    run();
  } catch (error) {
    if (error instanceof Faulted) return error;
    throw error;
  }
  throw new Error("no fault");
}

describe("helpers of the host", () => {
  it("find r1 to r5, r10 and the instruction's address in the execution state, and leave r0 there", () => {
    let seen: unknown;
    const harness = load({
      instructions: asm("r5 = 5; r4 = 4; r3 = -3; r2 = 2 ll; call 9; r0 += 1; exit".replaceAll("; ", "\n")),
      helpers: {
        9: (args, memory) => {
          seen = [
            args,
            memory.getBigUint64(STATE + EXEC_REGS + 80, true),
            memory.getUint32(STATE + EXEC_PC, true),
          ];
          return 0xffff_ffff_ffff_fff0n;
        },
      },
      codeAddress: 0x5000,
    });
    expect(harness.run(0x1234_5678_9abc_def0n)).toBe(0xffff_ffff_ffff_fff1n);
    expect(seen).toEqual([
      [0x1234_5678_9abc_def0n, 2n, 0xffff_ffff_ffff_fffdn, 4n, 5n],
      BigInt(STACK_END),
      0x5000 + 5 * 8,
    ]);
  });

  it("are given as many arguments as they have", () => {
    const instructions = program(ins(0xb7, 1, 0, 0, 1), ins(0x85, 0, 2, 0, 77), EXIT);
    const harness = load({ instructions, kfuncs: { 77: (args) => args[0]! + 1n } });
    expect(harness.compiled.hostImports).toEqual(["kfunc_77"]);
    expect(harness.run()).toBe(2n);
  });

  it("keep r6 to r9", () => {
    const harness = load({
      instructions: asm(
        "r6 = r1\nr7 = r2\nw8 = w1\nr9 = 9\ncall 4\nr0 = r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit",
      ),
      helpers: { 4: () => 1n },
    });
    expect(harness.run(0x1_0000_0001n, 20)).toBe(0x1_0000_0001n + 20n + 1n + 9n);
  });

  it("are imported once, in the order of their first call", () => {
    const harness = load({
      instructions: asm("call 8\ncall 3\ncall 8\nexit"),
      helpers: { 3: () => 0n, 8: () => 0n },
    });
    expect(harness.compiled.hostImports).toEqual(["helper_8", "helper_3"]);
  });
});

describe("helpers of the core", () => {
  it.each(
    CORE_HELPERS.filter(({ name }) => name !== "get_smp_processor_id").map((row) => [row.name, row] as const),
  )("%s", (name, row) => {
    const { args, result } = row;
    // Helpers that call functions themselves are told where the next frame begins and who called them.
    const place = "calls" in row ? [STACK_END, 8] : [];
    let seen: unknown[] = [];
    const answers = { ptr: -16, u32: -16, int: -16, u64: -16n };
    const returns = {
      ptr: 0xffff_fff0n,
      u32: 0xffff_fff0n,
      int: 0xffff_ffff_ffff_fff0n,
      u64: 0xffff_ffff_ffff_fff0n,
    };
    const run = (...all: never[]): number | bigint => {
      seen = all;
      return answers[result];
    };
    for (const last of ["r0 = r0", "w0 = w0"]) {
      const harness = load({
        instructions: asm(`r5 = -5\ncall 1\n${last}\nexit`),
        core: { 1: { name, run } },
      });
      const values = [0x1_8000_0001n, 2n, 0xffff_ffffn, 0xffff_ffff_ffff_ffffn];
      const mask = last === "w0 = w0" ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
      expect(harness.run(...values)).toBe(returns[result] & mask);
      expect(seen).toEqual(
        args
          .map((type, at): unknown => {
            const value = [...values, -5n][at] as bigint;
            return type === "u64" ? BigInt.asIntN(64, value) : Number(BigInt.asIntN(32, value));
          })
          .concat(place),
      );
      expect(harness.compiled.coreImports.filter((one) => one !== "fault")).toEqual(["exec", name]);
    }
  });

  it("the CPU's number is read without a call", () => {
    const harness = load({
      instructions: asm("call 8\nexit"),
      core: { 8: { name: "get_smp_processor_id", run: () => 0 } },
    });
    expect(harness.compiled.coreImports).toEqual(["exec"]);
    expect(harness.run()).toBe(3n);
  });
});

describe("lookups in array maps", () => {
  const MAP = 0x14000;
  const VALUES = 0x15000;
  const core = { 1: { name: "map_lookup_elem", run: () => 0xdead } };
  const keyOnStack = (before: string): readonly Instruction[] =>
    program(
      asm(`*(u32 *)(r10 - 4) = r1\n${before}`),
      lddw(1, BigInt(MAP)),
      asm("r2 = r10\nr2 += -4\ncall 1\nexit"),
    );
  const arrayMap = (address: number): { values: number; stride: number; maxEntries: number } | undefined =>
    address === MAP ? { values: VALUES, stride: 24, maxEntries: 10 } : undefined;

  it.each([
    [0, VALUES],
    [1, VALUES + 24],
    [9, VALUES + 9 * 24],
    [10, 0],
    [0xffff_ffff, 0],
    [0x8000_0000, 0],
  ])("of key %i", (key, address) => {
    const harness = load({ instructions: keyOnStack("r0 = 0"), core, arrayMap });
    expect(harness.compiled.coreImports).toEqual(["exec"]);
    expect(harness.run(key)).toBe(BigInt(address));
  });

  it("of per-CPU maps", () => {
    const harness = load({
      instructions: keyOnStack("r0 = 0"),
      core,
      arrayMap: () => ({ values: VALUES, stride: 8, maxEntries: 4, cpuStride: 0x100 }),
    });
    expect(harness.run(2)).toBe(BigInt(VALUES + 16 + 3 * 0x100));
    expect(harness.run(4)).toBe(0n);
  });

  it("whose map is known from a block before, and the same on both ways there", () => {
    const instructions = program(
      ins(0x63, 10, 1, -4),
      lddw(6, BigInt(MAP)),
      asm("r7 = 0\nif r1 == 3 goto +1\nr7 = 1\nr2 = r10\nr2 += -4\nr1 = r6\ncall 1\nexit"),
    );
    const harness = load({ instructions, core, arrayMap });
    expect(harness.compiled.coreImports).toEqual(["exec"]);
    expect(harness.run(3)).toBe(BigInt(VALUES + 3 * 24));
  });

  it("are calls if the map is no array, or not always the same", () => {
    expect(load({ instructions: keyOnStack("r0 = 0"), core, arrayMap: () => undefined }).run(1)).toBe(
      0xdeadn,
    );
    const instructions = program(
      ins(0x63, 10, 1, -4),
      lddw(6, BigInt(MAP)),
      asm("if r1 == 3 goto +2"),
      lddw(6, BigInt(MAP + 64)),
      asm("r2 = r10\nr2 += -4\nr1 = r6\ncall 1\nexit"),
    );
    expect(load({ instructions, core, arrayMap }).run(1)).toBe(0xdeadn);
  });
});

describe("functions of the program", () => {
  it("get r1 to r5, have a frame of their own and keep the caller's r6 to r10", () => {
    const main = asm(
      "r6 = 6\nr9 = 9\n*(u64 *)(r10 - 8) = r6\nr1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 6\nr0 += r6\nr0 += r9\n" +
        "r1 = *(u64 *)(r10 - 8)\nr0 += r1\nr0 += r10\nexit",
    );
    const callee = asm(
      "r6 = 1000\nr9 = 1000\n*(u64 *)(r10 - 8) = r6\nr0 = r1\nr0 += r2\nr0 += r3\nr0 += r4\nr0 += r5\nr7 = r10\nr7 -= r0\nr0 = r7\nexit",
    );
    const instructions = program(main, callee).map((one, slot) =>
      slot === 8 ? ins(0x85, 0, 1, 0, main.length - 9) : one,
    );
    const harness = load({ instructions, functions: [main.length] });
    expect(harness.run()).toBe(BigInt(STACK_END - 512 - 15 + 6 + 9 + 6 + STACK_END));
  });

  it("may be nested eight deep and no deeper", () => {
    // f(n) = n == 0 ? 0 : 1 + f(n - 1); calls of the main function itself.
    const recursive = program(
      asm("r0 = 0\nif r1 == 0 goto +3\nr1 += -1"),
      ins(0x85, 0, 1, 0, -4),
      asm("r0 += 1\nexit"),
    );
    const harness = load({ instructions: recursive, codeAddress: 0x8000 });
    expect(harness.run(7)).toBe(7n);
    const fault = catchFault(() => harness.run(8));
    expect(fault).toMatchObject({ code: FAULT_CALL_DEPTH, address: 0x8000 + 3 * 8 });
  });

  it("are not checked for their depth where eight frames suffice", () => {
    const instructions = program(ins(0x85, 0, 1, 0, 1), EXIT, ins(0xb7, 0, 0, 0, 1), EXIT);
    const harness = load({ instructions, functions: [2] });
    expect(harness.compiled.coreImports).toEqual(["exec"]);
    expect(harness.run()).toBe(1n);
  });

  it("that only the host calls work from any frame", () => {
    const instructions = program(
      asm("r0 = 0\nexit"),
      asm("*(u64 *)(r10 - 8) = r1\nr0 = *(u64 *)(r10 - 8)\nr0 += r10\nexit"),
    );
    const harness = load({ instructions, functions: [2] });
    expect(harness.call(1, [5n], STACK_END - 1024)).toBe(BigInt(5 + STACK_END - 1024));
  });

  it("must start where a call leads", () => {
    const instructions = program(ins(0x85, 0, 1, 0, 1), EXIT, ins(0xb7, 0, 0, 0, 1), EXIT);
    expect(() => load({ instructions })).toThrow(/instruction 0: calls slot 2, where no function starts/);
  });
});

describe("callx", () => {
  const instructions = program(ins(0x8d, 6), EXIT, asm("r0 = r1\nr0 += r2\nr0 += 1000\nexit"));
  const withTarget = (target: bigint): readonly Instruction[] => program(lddw(6, target), instructions);

  it("calls a helper by its id", () => {
    const harness = load({
      instructions: withTarget(5n),
      functions: [4],
      helpers: { 5: (args) => args[0]! * 2n + args[1]! },
    });
    expect(harness.run(20, 3)).toBe(43n);
    expect(harness.compiled.usesTable).toBe(true);
  });

  it("calls a function by its descriptor", () => {
    const harness = load({ instructions: withTarget(BigInt(FUNCTIONS + FUNC_SIZE)), functions: [4] });
    expect(harness.run(20, 3)).toBe(1023n);
  });

  it.each([
    ["something that is no descriptor", BigInt(DATA)],
    ["an address whose upper half is set", 0x1_0000_0000n + BigInt(FUNCTIONS + FUNC_SIZE)],
    ["an address outside the memory", 0xffff_fff0n],
    ["an address at the end of the memory", 0x1fff8n],
    ["-1", 0xffff_ffff_ffff_ffffn],
  ])("refuses %s", (_, target) => {
    const harness = load({ instructions: withTarget(target), functions: [4], codeAddress: 0x9000 });
    const fault = catchFault(() => harness.run());
    expect(fault).toMatchObject({ code: FAULT_CALL_TARGET, address: 0x9000 + 2 * 8 });
  });

  it("keeps the call depth", () => {
    // A function that calls itself through its descriptor.
    const endless = program(
      lddw(6, BigInt(FUNCTIONS + FUNC_SIZE)),
      ins(0x8d, 6),
      EXIT,
      lddw(6, BigInt(FUNCTIONS + FUNC_SIZE)),
      ins(0x8d, 6),
      EXIT,
    );
    const harness = load({ instructions: endless, functions: [4] });
    expect(catchFault(() => harness.run()).code).toBe(FAULT_CALL_DEPTH);
  });
});

describe("packet loads", () => {
  const packet = (context: number, offset: number, bytes: number): bigint =>
    offset < 0 || offset + bytes > 100 ? -1n : BigInt(context + offset * 256 + bytes);

  it.each([
    [0x20, 4],
    [0x28, 2],
    [0x30, 1],
  ])("ldabs, opcode 0x%x", (opcode, bytes) => {
    const harness = load({
      instructions: program(ins(0xbf, 6, 1), ins(opcode, 0, 0, 0, 14), ins(0x07, 0, 0, 0, 1), EXIT),
      packet,
    });
    expect(harness.run(1000)).toBe(BigInt(1000 + 14 * 256 + bytes + 1));
  });

  it.each([
    [0x40, 4],
    [0x48, 2],
    [0x50, 1],
  ])("ldind, opcode 0x%x", (opcode, bytes) => {
    const harness = load({
      instructions: program(ins(0xbf, 6, 1), ins(opcode, 0, 2, 0, -3), ins(0x07, 0, 0, 0, 1), EXIT),
      packet,
    });
    expect(harness.run(1000, 20)).toBe(BigInt(1000 + 17 * 256 + bytes + 1));
    // Only the low half of the sum counts.
    expect(harness.run(1000, 0x5_0000_0014n)).toBe(BigInt(1000 + 17 * 256 + bytes + 1));
    expect(harness.run(1000, 2)).toBe(0n);
  });

  it("outside the packet end the function with 0", () => {
    const harness = load({
      instructions: program(ins(0xbf, 6, 1), ins(0x20, 0, 0, 0, 97), EXIT),
      packet,
      fuel: 100n,
    });
    expect(harness.run(1000)).toBe(0n);
  });

  it("0xffffffff is a value", () => {
    const harness = load({
      instructions: program(ins(0xbf, 6, 1), ins(0x20, 0, 0, 0, 0), EXIT),
      packet: () => 0xffff_ffffn,
    });
    expect(harness.run(1000)).toBe(0xffff_ffffn);
  });
});

describe("may_goto", () => {
  const COUNT_ROUNDS = "r0 = 0\nmay_goto +2\nr0 += 1\ngoto -3\nexit";

  it("goes on MAY_GOTO_LIMIT times", () => {
    expect(load({ instructions: asm(COUNT_ROUNDS) }).run()).toBe(BigInt(MAY_GOTO_LIMIT));
  });

  it("stays used up", () => {
    const harness = load({
      instructions: asm(`${COUNT_ROUNDS.slice(0, -5)}\nmay_goto +1\nr0 += 1000\nexit`),
    });
    expect(harness.run()).toBe(BigInt(MAY_GOTO_LIMIT));
  });

  it("counts for each frame", () => {
    const main = program(
      ins(0x85, 0, 1, 0, 4),
      ins(0xbf, 6, 0),
      ins(0x85, 0, 1, 0, 2),
      ins(0x0f, 0, 6),
      EXIT,
    );
    const harness = load({ instructions: program(main, asm(COUNT_ROUNDS)), functions: [5] });
    expect(harness.run()).toBe(2n * BigInt(MAY_GOTO_LIMIT));
  });

  it("that goes nowhere does nothing", () => {
    const harness = load({ instructions: asm(`may_goto +0\n${COUNT_ROUNDS}`) });
    expect(harness.run()).toBe(BigInt(MAY_GOTO_LIMIT));
  });
});

describe("fuel", () => {
  const COUNTDOWN = "r0 = 0\nr0 += 1\nr1 += -1\nif r1 != 0 goto -3\nexit";

  it("is taken for each round of a loop", () => {
    const harness = load({ instructions: asm(COUNTDOWN), fuel: 1000n });
    expect(harness.run(10)).toBe(10n);
    expect(harness.fuel.value).toBe(990n);
  });

  it("stops the program when it is used up, and names the loop", () => {
    const harness = load({ instructions: asm(COUNTDOWN), fuel: 1000n, codeAddress: 0x8000 });
    expect(catchFault(() => harness.run(1001))).toMatchObject({ code: FAULT_FUEL, address: 0x8008 });
    const enough = load({ instructions: asm(COUNTDOWN), fuel: 1000n });
    expect(enough.run(1000)).toBe(1000n);
    expect(enough.fuel.value).toBe(0n);
  });

  it("is taken for each call, and handed on between functions", () => {
    const main = program(
      ins(0xbf, 6, 1),
      ins(0xb7, 1, 0, 0, 5),
      ins(0x85, 0, 1, 0, 3),
      ins(0x07, 6, 0, 0, -1),
      ins(0x55, 6, 0, -4, 0),
      EXIT,
    );
    const harness = load({ instructions: program(main, asm(COUNTDOWN)), functions: [6], fuel: 1000n });
    expect(harness.run(4)).toBe(5n);
    // Four rounds, in each a call and its five rounds.
    expect(harness.fuel.value).toBe(1000n - 4n - 4n * 6n);
  });

  it("is not imported where it is not counted", () => {
    expect(load({ instructions: asm(COUNTDOWN) }).compiled.coreImports).toEqual(["exec"]);
  });
});

describe("what cannot be compiled", () => {
  it.each([
    ["a jump before the function", program(ins(0x05, 0, 0, -2), EXIT), "program"],
    ["a jump behind it", program(ins(0x05, 0, 0, 1), EXIT), "program"],
    ["a function without end", program(ins(0xb7)), "program"],
    ["a conditional jump at the end", program(ins(0xb7), ins(0x15, 0, 0, -1)), "program"],
    ["an invalid instruction", program(ins(0x00), EXIT), "instruction"],
    ["a cut lddw", program(ins(0x18)), "instruction"],
    ["a jump into a lddw", program(ins(0x05, 0, 0, 1), lddw(0, 1n), EXIT), "instruction"],
    ["a write of the frame pointer", program(ins(0xb7, 10), EXIT), "program"],
    ["a fetch into the frame pointer", program(ins(0xdb, 1, 10, 0, 1), EXIT), "program"],
    ["nothing", [], "program"],
  ])("%s", (_, instructions, code) => {
    let caught: unknown;
    try {
      load({ instructions });
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(BpfError);
    expect(caught).toMatchObject({ code });
  });

  it("unreachable code is not looked at", () => {
    expect(
      load({ instructions: program(ins(0xb7, 0, 0, 0, 1), EXIT, ins(0x00), ins(0x05, 0, 0, 99)) }).run(),
    ).toBe(1n);
  });
});
