/** Every row of the instruction table in the interpreter, with edge operands, against the reference model. */
import { describe, expect, test } from "vitest";
import { EXEC_STACK, FUNC_CODE, STACK_SIZE, STATUS_DONE } from "../../src/core/layout.ts";
import {
  INSTRUCTIONS,
  type Instruction,
  type InstructionRow,
  OPCODE_LDDW,
  encodeInstructions,
} from "../../src/isa/index.ts";
import { EDGES, IMM_EDGES, runReference } from "../reference/semantics.ts";
import { Bench, EXIT, ins } from "./harness.ts";

const DST = 3;
const SRC = 4;
const bench = new Bench();
const data = bench.alloc(64, 64);
// Where a store may reach by its offset.
const MIDDLE = 24;
const FILL = Uint8Array.from({ length: 64 }, (_, index) => (index * 37 + 129) & 0xff);

/** The instruction with its free fields filled in. */
function build({ opcode, fields }: InstructionRow, imm: number, offset: number): Instruction {
  return {
    opcode,
    dst: fields.dst === "reg" ? DST : 0,
    src: fields.src === "reg" ? SRC : fields.src,
    offset: typeof fields.offset === "number" ? fields.offset : offset,
    imm: typeof fields.imm === "number" ? fields.imm : imm,
  };
}

// One program, whose first instruction is replaced from case to case. What a jump skips shows in r5.
const TAIL = [ins(0x07, { dst: 5, imm: 1 }), ins(0x07, { dst: 5, imm: 2 }), EXIT];
const LDDW_SECOND = ins(0, { imm: -0x1234567 });
const shortProgram = bench.program([EXIT, ...TAIL]);
const wideProgram = bench.program([EXIT, LDDW_SECOND, ...TAIL]);

/** Runs an instruction in both, from the same registers and memory. */
function compare(row: InstructionRow, instruction: Instruction, registers: Record<number, bigint>): void {
  const wide = row.opcode === OPCODE_LDDW;
  const prog = wide ? wideProgram : shortProgram;
  const code = bench.view.getUint32(prog + FUNC_CODE, true);
  bench.bytes(code, 8).set(encodeInstructions([instruction]));
  const memory = bench.bytes(data, 64);
  memory.set(FILL);
  const { status } = bench.interpret(prog, { registers });
  const seen = bench.registers;
  const initial = seen.map((_, index) => registers[index] ?? 0n);
  initial[10] = BigInt(bench.field(EXEC_STACK) + STACK_SIZE);
  const program = wide ? [instruction, LDDW_SECOND, ...TAIL] : [instruction, ...TAIL];
  const modelled = { base: BigInt(data), bytes: FILL.slice() };
  const { end, state } = runReference(program, initial, modelled);
  const same =
    end === "exit" &&
    status === STATUS_DONE &&
    state.registers.every((value, index) => value === seen[index]) &&
    memory.every((byte, index) => byte === modelled.bytes[index]);
  // Built only when needed: this runs some hundred thousand times.
  if (!same) {
    expect({
      row: row.name,
      instruction,
      initial,
      end,
      status,
      registers: seen,
      memory: [...memory],
    }).toEqual({
      row: row.name,
      instruction,
      initial,
      end: "exit",
      status: STATUS_DONE,
      registers: state.registers,
      memory: [...modelled.bytes],
    });
  }
}

const byKind = (kinds: readonly string[]): (readonly [string, InstructionRow])[] =>
  INSTRUCTIONS.filter(({ semantics }) => kinds.includes(semantics.kind)).map(
    (row) => [row.name, row] as const,
  );

describe("registers", () => {
  test.each(byKind(["alu", "endian", "addr_space_cast", "jump"]))("%s", (_, row) => {
    const usesRegister = row.fields.src === "reg";
    for (const a of EDGES) {
      if (usesRegister) {
        for (const b of EDGES) compare(row, build(row, 0, 1), { [DST]: a, [SRC]: b });
        const same = { ...build(row, 0, 1), src: DST };
        compare(row, same, { [DST]: a });
      } else {
        for (const imm of IMM_EDGES) compare(row, build(row, imm, 1), { [DST]: a });
      }
    }
  });

  test.each(byKind(["lddw", "goto", "exit"]))("%s", (_, row) => {
    for (const imm of row.name === "ja32" ? [0, 1, 2] : IMM_EDGES) compare(row, build(row, imm, 1), {});
  });
});

describe("memory", () => {
  test.each(byKind(["load", "store"]))("%s", (_, row) => {
    const pointer = row.semantics.kind === "load" ? SRC : DST;
    for (const offset of [0, 1, 3, 8, -1, -8, -24, 31]) {
      const address = BigInt(data + MIDDLE);
      if (row.fields.src === "reg" && pointer === DST) {
        for (const value of EDGES) compare(row, build(row, 0, offset), { [DST]: address, [SRC]: value });
      } else {
        for (const imm of IMM_EDGES) compare(row, build(row, imm, offset), { [pointer]: address });
      }
    }
  });

  test.each(byKind(["atomic"]))("%s", (_, row) => {
    const loads = row.semantics.kind === "atomic" && row.semantics.op === "load_acquire";
    const address = BigInt(data + MIDDLE);
    const there = new DataView(FILL.buffer).getBigUint64(MIDDLE, true);
    for (const offset of [0, 8, -8]) {
      for (const value of EDGES) {
        for (const r0 of [0n, there, BigInt.asUintN(32, there), value]) {
          const registers = { 0: r0, [loads ? SRC : DST]: address, [loads ? DST : SRC]: value };
          compare(row, build(row, 0, offset), registers);
        }
      }
    }
  });

  test("registers may be the same", () => {
    for (const [, row] of byKind(["load", "store", "atomic"])) {
      if (row.fields.src !== "reg") continue;
      compare(row, { ...build(row, 0, 0), src: DST }, { [DST]: BigInt(data + MIDDLE) });
      compare(row, { ...build(row, 0, 0), dst: 0 }, { 0: BigInt(data + MIDDLE), [SRC]: BigInt(data + 32) });
    }
  });
});

test("every row is covered by a test here or in control.test.ts", () => {
  const elsewhere = ["packet", "may_goto", "call"];
  const here = [
    "alu",
    "endian",
    "addr_space_cast",
    "jump",
    "lddw",
    "goto",
    "exit",
    "load",
    "store",
    "atomic",
  ];
  const kinds = new Set(INSTRUCTIONS.map(({ semantics }) => semantics.kind));
  expect([...kinds].toSorted()).toEqual([...here, ...elsewhere].toSorted());
});
