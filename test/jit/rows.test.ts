/** Every row of the instruction table, on edge values of its operands, against the BigInt reference. */
import { describe, expect, it } from "vitest";
import { INSTRUCTIONS, type Instruction, type InstructionRow } from "../../src/isa/index.ts";
import { referenceRun } from "./reference.ts";
import { DATA, EXIT, type Harness, MEMORY_BYTES, STACK_END, ins, lddw, load, program } from "./harness.ts";

const VALUES: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  31n,
  32n,
  33n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_fffen,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x1_ffff_ffffn,
  0x0123_4567_89ab_cdefn,
  0xfedc_ba98_7654_3210n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_ffff_ffffn,
];

/** For what compiles a module each. */
const FEW_VALUES: readonly bigint[] = [
  0n,
  1n,
  33n,
  0xffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
];

const IMMEDIATES: readonly number[] = [
  0, 1, 2, 3, 8, 10, 31, 32, 33, 63, 64, 0x7f, 0xff, 0x1000, 0xffff, 0x7fffffff, -1, -2, -3, -32, -0x8000,
  -0x80000000,
];

interface Case {
  readonly instructions: Instruction[];
  readonly args: readonly bigint[];
}

const PATTERN = Uint8Array.from({ length: 64 }, (_, index) => (index * 37 + 11) & 255);
const referenceMemory = new Uint8Array(MEMORY_BYTES);

/** Both leave the same r0 and the same memory. `expect` is slow, so it is asked only when something differs. */
function compare(harness: Harness, { instructions, args }: Case, label: string): void {
  referenceMemory.set(PATTERN, DATA);
  harness.memory.set(PATTERN, DATA);
  const expected = referenceRun({ instructions, memory: referenceMemory, args, stackEnd: STACK_END });
  const r0 = harness.run(...args);
  const before = referenceMemory.subarray(DATA, DATA + PATTERN.length);
  const after = harness.memory.subarray(DATA, DATA + PATTERN.length);
  const same =
    expected.kind === "done" && expected.r0 === r0 && after.every((byte, at) => byte === before[at]);
  if (same) return;
  const text = `${label} of ${args.map((value) => `0x${value.toString(16)}`).join(", ")}`;
  expect({ kind: "done", r0, memory: after }, text).toMatchObject({ ...expected, memory: before });
}

/** The operands in registers of which nothing is known, and as constants, which takes other paths in the compiler. */
function checkOperands(
  row: InstructionRow,
  build: (imm: number) => Instruction[],
  immediates: readonly number[],
): void {
  const two = row.fields.src === "reg";
  for (const imm of immediates) {
    const instructions = build(imm);
    for (const optimize of [true, false]) {
      const harness = load({ instructions, optimize });
      for (const a of VALUES) {
        for (const b of two ? VALUES : [0n]) {
          compare(harness, { instructions, args: [a, b] }, `${row.name} ${imm}, optimize ${optimize}`);
        }
      }
    }
    for (const a of FEW_VALUES) {
      for (const b of two ? FEW_VALUES : [0n]) {
        const constant = program(lddw(1, a), lddw(2, b), instructions);
        compare(
          load({ instructions: constant }),
          { instructions: constant, args: [a, b] },
          `constant ${row.name} ${imm}`,
        );
      }
    }
  }
}

/** r1 and r2 narrowed first, so that the compiler knows how many bits they have. */
function checkNarrowed(
  row: InstructionRow,
  build: (imm: number) => Instruction[],
  immediates: readonly number[],
): void {
  for (const mask of [0x1f, 0x7fff, 0x7fffffff]) {
    for (const masked of row.fields.src === "reg" ? [[1], [2], [1, 2]] : [[1]]) {
      for (const imm of immediates) {
        const instructions = program(
          masked.map((register) => ins(0x57, register, 0, 0, mask)),
          build(imm),
        );
        const harness = load({ instructions });
        for (const a of VALUES) {
          for (const b of row.fields.src === "reg" ? VALUES : [0n]) {
            compare(harness, { instructions, args: [a, b] }, `${row.name} ${imm} with r${masked} & ${mask}`);
          }
        }
      }
    }
  }
}

const immediatesOf = ({ fields }: InstructionRow): readonly number[] =>
  typeof fields.imm === "number" ? [fields.imm] : IMMEDIATES;

function rowsOf(...kinds: InstructionRow["semantics"]["kind"][]): [string, InstructionRow][] {
  return INSTRUCTIONS.filter((row) => kinds.includes(row.semantics.kind)).map((row) => [row.name, row]);
}

describe("arithmetic", () => {
  const operation = (row: InstructionRow, imm: number): Instruction =>
    ins(row.opcode, 1, row.fields.src === "reg" ? 2 : 0, row.fields.offset as number, imm);

  it.each(rowsOf("alu", "endian", "addr_space_cast"))("%s", (_, row) => {
    const whole = (imm: number): Instruction[] => program(operation(row, imm), ins(0xbf, 0, 1), EXIT);
    // Only the lower half of the result is asked for.
    const low = (imm: number): Instruction[] => program(operation(row, imm), ins(0xbc, 0, 1), EXIT);
    for (const build of [whole, low]) {
      checkOperands(row, build, immediatesOf(row));
      checkNarrowed(
        row,
        build,
        immediatesOf(row).filter((_, index) => index % 3 === 0),
      );
    }
  });

  it.each(rowsOf("alu"))("%s with one register twice", (_, row) => {
    if (row.fields.src !== "reg") return;
    const { opcode, fields } = row;
    const instructions = program(
      ins(opcode, 1, 1, fields.offset as number, fields.imm as number),
      ins(0xbf, 0, 1),
      EXIT,
    );
    const harness = load({ instructions });
    for (const a of VALUES) compare(harness, { instructions, args: [a] }, row.name);
  });
});

describe("jumps", () => {
  it.each(rowsOf("jump"))("%s", (_, row) => {
    // Taken over an addition, and backwards around one, so that the condition is used straight and inverted.
    const forward = (imm: number): Instruction[] =>
      program(
        ins(0xb7, 0, 0, 0, 1),
        ins(row.opcode, 1, row.fields.src === "reg" ? 2 : 0, 1, imm),
        ins(0x07, 0, 0, 0, 2),
        EXIT,
      );
    const both = (imm: number): Instruction[] =>
      program(
        ins(row.opcode, 1, row.fields.src === "reg" ? 2 : 0, 2, imm),
        ins(0xb7, 0, 0, 0, 5),
        EXIT,
        ins(0xb7, 0, 0, 0, 6),
        EXIT,
      );
    // Around one move: a selection, of 1 and 0 and of other values.
    const truth =
      (taken: number) =>
      (imm: number): Instruction[] =>
        program(
          ins(0xb7, 0, 0, 0, taken),
          ins(row.opcode, 1, row.fields.src === "reg" ? 2 : 0, 1, imm),
          ins(0xb7, 0, 0, 0, 1 - taken),
          EXIT,
        );
    const choice = (imm: number): Instruction[] =>
      program(
        ins(0xbf, 0, 1),
        ins(row.opcode, 1, row.fields.src === "reg" ? 2 : 0, 1, imm),
        ins(0xb7, 0, 0, 0, -7),
        EXIT,
      );
    for (const build of [forward, both, truth(0), truth(1), choice]) {
      checkOperands(
        row,
        build,
        immediatesOf(row).filter((_, index) => build === both || index % 2 === 0),
      );
      checkNarrowed(
        row,
        build,
        immediatesOf(row).filter((_, index) => index % 3 === 0),
      );
    }
  });

  it("ja, ja32", () => {
    for (const jump of [ins(0x05, 0, 0, 1), ins(0x06, 0, 0, 0, 1)]) {
      const instructions = program(ins(0xb7, 0, 0, 0, 1), jump, ins(0xb7, 0, 0, 0, 2), EXIT);
      expect(load({ instructions }).run()).toBe(1n);
    }
  });
});

describe("memory", () => {
  const OFFSETS = [0, 1, 5, 16, -3, -8];

  it.each(rowsOf("load"))("%s", (_, row) => {
    for (const offset of OFFSETS) {
      for (const last of [ins(0xbf, 0, 3), ins(0xbc, 0, 3)]) {
        const access = (base: number): Instruction[] => program(ins(row.opcode, 3, base, offset), last, EXIT);
        const instructions = access(1);
        compare(load({ instructions }), { instructions, args: [BigInt(DATA + 16)] }, row.name);
        const constant = program(lddw(1, BigInt(DATA + 16)), instructions);
        compare(
          load({ instructions: constant }),
          { instructions: constant, args: [] },
          `${row.name} of a constant`,
        );
      }
    }
  });

  it.each(rowsOf("store"))("%s", (_, row) => {
    for (const offset of OFFSETS) {
      for (const imm of row.fields.imm === "value" ? IMMEDIATES : [0]) {
        const instructions = program(
          ins(row.opcode, 1, row.fields.src === "reg" ? 2 : 0, offset, imm),
          ins(0x79, 0, 1, offset),
          EXIT,
        );
        const harness = load({ instructions });
        for (const value of VALUES)
          compare(harness, { instructions, args: [BigInt(DATA + 16), value] }, row.name);
      }
    }
  });

  it.each(rowsOf("atomic"))("%s", (_, row) => {
    const imm = row.fields.imm as number;
    const isLoad = row.semantics.kind === "atomic" && row.semantics.op === "load_acquire";
    for (const offset of OFFSETS) {
      for (const returned of [0, 2]) {
        // r0 begins as what memory holds or as something else; dst and src may be one register.
        for (const start of [ins(0x79, 0, 1, offset), ins(0x61, 0, 1, offset), ins(0xb7, 0, 0, 0, 3)]) {
          for (const [dst, src] of isLoad
            ? [
                [2, 1],
                [1, 1],
              ]
            : [
                [1, 2],
                [1, 1],
              ]) {
            const instructions = program(
              start,
              ins(row.opcode, dst, src, offset, imm),
              returned === 0 ? [] : ins(0xbf, 0, 2),
              EXIT,
            );
            const harness = load({ instructions });
            for (const value of VALUES) {
              compare(harness, { instructions, args: [BigInt(DATA + 16), value] }, row.name);
            }
          }
        }
      }
    }
  });

  it("stack slots, through the frame pointer and through copies of it", () => {
    for (const [, row] of rowsOf("load")) {
      for (const offset of [-8, -16, -512, -520]) {
        const instructions = program(
          lddw(2, 0x8182_8384_8586_8788n),
          ins(0x7b, 10, 2, offset),
          ins(0xbf, 3, 10),
          ins(0x07, 3, 0, 0, offset),
          ins(row.opcode, 0, 3, 0),
          ins(row.opcode, 4, 10, offset),
          ins(0x0f, 0, 4),
          EXIT,
        );
        compare(load({ instructions }), { instructions, args: [] }, row.name);
      }
    }
  });

  it("an address is the low half of a register", () => {
    const instructions = program(ins(0x71, 0, 1, 2), EXIT);
    const harness = load({ instructions });
    harness.memory[DATA + 2] = 77;
    expect(harness.run(0xdead_beef_0000_0000n + BigInt(DATA))).toBe(77n);
  });

  it("outside the memory is a trap", () => {
    const harness = load({ instructions: program(ins(0x79, 0, 1, 0), EXIT) });
    expect(() => harness.run(MEMORY_BYTES - 7)).toThrow(WebAssembly.RuntimeError);
    expect(() => harness.run(0xffff_ffffn)).toThrow(WebAssembly.RuntimeError);
  });
});

describe("constants", () => {
  it.each(rowsOf("lddw"))("%s", (_, row) => {
    for (const value of VALUES) {
      const instructions = program(lddw(0, value, row.fields.src as number), EXIT);
      expect(load({ instructions }).run()).toBe(value);
    }
  });
});

it("every row is covered by this file or by calls.test.ts", () => {
  const here = ["alu", "endian", "addr_space_cast", "jump", "goto", "load", "store", "atomic", "lddw"];
  const elsewhere = ["packet", "may_goto", "call", "exit"];
  const kinds = new Set(INSTRUCTIONS.map((row) => row.semantics.kind));
  expect([...kinds].filter((kind) => !here.includes(kind) && !elsewhere.includes(kind))).toEqual([]);
});
