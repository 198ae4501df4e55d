/** Control flow in the interpreter: calls, frames, budgets, faults; and what the table has beside arithmetic. */
import { describe, expect, test } from "vitest";
import {
  EXEC_DEPTH,
  EXEC_FAULT_ADDRESS,
  EXEC_PC,
  EXEC_STACK,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FAULT_INSTRUCTION,
  FUNC_CODE,
  FUNC_PROG,
  FUNC_SIZE,
  MAX_FRAMES,
  MAY_GOTO_LIMIT,
  STACK_SIZE,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
} from "../../src/core/layout.ts";
import { type Instruction, ROWS_BY_OPCODE } from "../../src/isa/index.ts";
import { Bench, EXIT, call, callLocal, ins, lddw, mov, movReg } from "./harness.ts";

const ADD_R0 = (imm: number): Instruction => ins(0x07, { imm });
const CALLX = (dst: number): Instruction => ins(0x8d, { dst });
const bench = new Bench();

describe("calls of the program's functions", () => {
  test("r1 to r5 go in, r0 comes out, r6 to r10 stay", () => {
    const program = bench.program([
      ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((register) => mov(register, register)),
      callLocal(2),
      ins(0x0f, { src: 6 }),
      EXIT,
      // The callee: sums its arguments and spoils what is not its own.
      mov(0, 0),
      ...[1, 2, 3, 4, 5].map((src) => ins(0x0f, { src })),
      ...[6, 7, 8, 9].map((register) => mov(register, 77)),
      EXIT,
    ]);
    const { r0, status } = bench.interpret(program);
    expect([status, r0]).toEqual([STATUS_DONE, 21n]);
    expect(bench.registers.slice(6, 10)).toEqual([6n, 7n, 8n, 9n]);
    expect(bench.registers[10]).toBe(BigInt(bench.field(EXEC_STACK) + STACK_SIZE));
    expect(bench.field(EXEC_DEPTH)).toBe(0);
  });

  test("each frame is 512 bytes lower", () => {
    const program = bench.program([
      callLocal(2),
      ins(0x0f, { src: 10 }),
      EXIT,
      movReg(0, 10),
      ins(0x87),
      EXIT,
    ]);
    expect(bench.interpret(program).r0).toBe(512n);
  });

  test.each([
    [MAX_FRAMES - 1, STATUS_DONE, 0],
    [MAX_FRAMES, STATUS_FAULT, FAULT_CALL_DEPTH],
  ])("%d calls deep", (depth, status, fault) => {
    // r6 counts down; the function calls itself.
    const program = bench.program([
      mov(1, depth),
      callLocal(1),
      EXIT,
      ins(0x07, { dst: 1, imm: -1 }),
      ins(0x15, { dst: 1, offset: 1, imm: 0 }),
      callLocal(-3),
      movReg(0, 10),
      EXIT,
    ]);
    const run = bench.interpret(program);
    expect([run.status, run.fault]).toEqual([status, fault]);
    if (fault !== 0) {
      const code = bench.view.getUint32(program + FUNC_CODE, true);
      expect(bench.field(EXEC_FAULT_ADDRESS)).toBe(code + 5 * 8);
      expect(bench.field(EXEC_PC)).toBe(code + 5 * 8);
    }
  });
});

describe("callx", () => {
  const functionOf = (program: number, slot: number): number => {
    const func = bench.alloc(FUNC_SIZE);
    bench.view.setUint32(func + FUNC_CODE, bench.view.getUint32(program + FUNC_CODE, true) + slot * 8, true);
    bench.view.setInt32(func + 4, -1, true);
    bench.view.setUint32(func + FUNC_PROG, program, true);
    return func;
  };

  test("of a function", () => {
    const program = bench.program([CALLX(2), ADD_R0(1), EXIT, mov(0, 41), EXIT]);
    expect(bench.interpret(program, { r2: functionOf(program, 3) }).r0).toBe(42n);
  });

  test("of a helper id", () => {
    const program = bench.program([CALLX(2), EXIT]);
    const { status, r0 } = bench.interpret(program, { r2: 8 });
    expect([status, r0]).toEqual([STATUS_DONE, 0n]);
  });

  test("of anything else", () => {
    const program = bench.program([CALLX(2), EXIT]);
    const other = bench.program([mov(0, 1), EXIT]);
    const outside = functionOf(program, 2);
    const odd = functionOf(program, 0);
    bench.view.setUint32(odd + FUNC_CODE, bench.view.getUint32(odd + FUNC_CODE, true) + 4, true);
    const memoryEnd = bench.memory.buffer.byteLength;
    for (const target of [0x10000, other, outside, odd, memoryEnd - 8, memoryEnd, 0xfffffff8]
      .map(BigInt)
      .concat([0x1_0000_0000n, 0xffff_ffff_ffff_ffffn, 0xffff_ffff_ffff_fff0n])) {
      const { status, fault } = bench.interpret(program, { registers: { 2: target } });
      expect([target, status, fault]).toEqual([target, STATUS_FAULT, FAULT_CALL_TARGET]);
    }
  });
});

describe("helpers", () => {
  test("of the host get their arguments from the registers and leave the result there", () => {
    const seen: unknown[] = [];
    const host: Bench = new Bench({
      host: {
        call_helper: (id, exec) => {
          seen.push(id, exec >>> 0, host.registers.slice(1, 6), host.field(EXEC_PC));
          host.setRegister(0, 0xfedcba9876543210n);
        },
        call_kfunc: (id) => {
          seen.push("kfunc", id);
          host.setRegister(0, 5n);
        },
      },
    });
    const program = host.program([
      ...[1, 2, 3, 4, 5].map((register) => mov(register, -register)),
      call(5),
      EXIT,
    ]);
    expect(host.interpret(program).r0).toBe(0xfedcba9876543210n);
    const code = host.view.getUint32(program + FUNC_CODE, true);
    const args = [1n, 2n, 3n, 4n, 5n].map((value) => BigInt.asUintN(64, -value));
    expect(seen).toEqual([5, host.exec, args, code + 40]);
    seen.length = 0;
    expect(host.interpret(host.program([ins(0x85, { src: 2, imm: 1234 }), EXIT])).r0).toBe(5n);
    expect(seen).toEqual(["kfunc", 1234]);
  });

  test("that throw end the run, and the state says where", () => {
    const failing = new Bench({
      host: {
        call_helper: () => {
          throw new Error("from the helper");
        },
      },
    });
    const program = failing.program([mov(0, 0), call(5), EXIT]);
    expect(() => failing.interpret(program)).toThrow("from the helper");
    expect(failing.field(EXEC_PC)).toBe(failing.view.getUint32(program + FUNC_CODE, true) + 8);
    expect(failing.interpret(failing.program([mov(0, 3), EXIT])).r0).toBe(3n);
  });

  test("of the core give way when the host wants all ids", () => {
    const ids: number[] = [];
    const other = new Bench({ host: { call_helper: (id) => ids.push(id) } });
    const program = other.program([call(8), EXIT]);
    other.interpret(program);
    other.core.use_core_helpers(0);
    other.interpret(program);
    other.core.use_core_helpers(1);
    other.interpret(program);
    expect(ids).toEqual([8]);
  });
});

describe("may_goto", () => {
  const MAY_GOTO = (offset: number): Instruction => ins(0xe5, { offset });

  test("ends a loop after its rounds", () => {
    // loop: may_goto end; r0 += 1; goto loop; end: exit
    const program = bench.program([mov(0, 0), MAY_GOTO(2), ADD_R0(1), ins(0x05, { offset: -3 }), EXIT]);
    const { status, r0 } = bench.interpret(program, { budget: 1n << 40n });
    expect([status, r0]).toEqual([STATUS_DONE, BigInt(MAY_GOTO_LIMIT)]);
  });

  test("counts for each frame by itself", () => {
    const loop = [MAY_GOTO(2), ADD_R0(1), ins(0x05, { offset: -3 })];
    const program = bench.program([mov(0, 0), callLocal(4), ...loop, EXIT, ...loop, EXIT]);
    expect(bench.interpret(program, { budget: 1n << 40n }).r0).toBe(BigInt(2 * MAY_GOTO_LIMIT));
  });
});

describe("budgets", () => {
  const program = bench.program([
    mov(6, 10),
    mov(0, 0),
    callLocal(3),
    ins(0x07, { dst: 6, imm: -1 }),
    ins(0x55, { dst: 6, offset: -3, imm: 0 }),
    EXIT,
    ADD_R0(3),
    EXIT,
  ]);

  test.each([1n, 2n, 3n, 7n, 1000n])("in steps of %d the result is the same", (budget) => {
    let { status, count, r0 } = bench.interpret(program, { budget });
    while (status === STATUS_PAUSED) {
      expect(count % budget).toBe(0n);
      status = bench.core.interpret(bench.exec, budget);
      count = bench.view.getBigUint64(bench.exec + 128, true);
      r0 = bench.registers[0] as bigint;
    }
    expect([status, r0, count]).toEqual([STATUS_DONE, 30n, 53n]);
    // A run that has ended stays ended.
    expect(bench.core.interpret(bench.exec, 5n)).toBe(STATUS_DONE);
    expect(bench.registers[0]).toBe(30n);
  });

  test("of nothing and of all", () => {
    expect(bench.interpret(program, { budget: 0n })).toMatchObject({ status: STATUS_PAUSED, count: 0n });
    expect(bench.interpret(program, { budget: 53n }).status).toBe(STATUS_DONE);
    expect(bench.interpret(program, { budget: 52n })).toMatchObject({ status: STATUS_PAUSED, count: 52n });
    expect(bench.interpret(program, { budget: (1n << 64n) - 1n }).status).toBe(STATUS_DONE);
    const endless = bench.program([ins(0x05, { offset: -1 })]);
    expect(bench.interpret(endless, { budget: 1_000_003n })).toMatchObject({
      status: STATUS_PAUSED,
      count: 1_000_003n,
    });
  });
});

/** The loader's own: loads that read zero where nothing is (interpreter/probes.ts). Programs that bring them are refused. */
const PROBES = [0x21, 0x29, 0x31, 0x39, 0x41, 0x49, 0x51];

describe("what does not exist", () => {
  test("opcodes", () => {
    for (let opcode = 0; opcode < 256; opcode++) {
      if (ROWS_BY_OPCODE[opcode]?.length !== 0 || PROBES.includes(opcode)) continue;
      const { status, fault } = bench.interpret(bench.program([ins(opcode), EXIT]));
      expect([opcode, status, fault]).toEqual([opcode, STATUS_FAULT, FAULT_INSTRUCTION]);
    }
  });

  test.each([
    ["kinds of call", call(1), { src: 3 }],
    ["offsets of mov", movReg(1, 2), { offset: 2 }],
    ["offsets of mov32", ins(0xbc), { offset: 32 }],
    ["atomic operations, 64 bits", ins(0xdb, { dst: 10, offset: -8 }), { imm: 2 }],
    ["atomic operations, 32 bits", ins(0xc3, { dst: 10, offset: -8 }), { imm: 0xe0 }],
    ["atomic operations, 16 bits", ins(0xcb, { dst: 10, offset: -8 }), { imm: 0 }],
    ["atomic operations, 8 bits", ins(0xd3, { dst: 10, offset: -8 }), { imm: 1 }],
  ] as const)("%s", (_, instruction, change) => {
    const { status, fault } = bench.interpret(bench.program([{ ...instruction, ...change }, EXIT]));
    expect([status, fault]).toEqual([STATUS_FAULT, FAULT_INSTRUCTION]);
  });

  test("memory: the trap leaves the state usable", () => {
    const program = bench.program([...lddw(1, 0xfffffff8n), ins(0x79, { src: 1 }), EXIT]);
    expect(() => bench.interpret(program)).toThrow(WebAssembly.RuntimeError);
    expect(bench.field(EXEC_PC)).toBe(bench.view.getUint32(program + FUNC_CODE, true) + 16);
    expect(bench.interpret(bench.program([mov(0, 9), EXIT])).r0).toBe(9n);
  });
});

test("fault() of compiled code notes why and traps", () => {
  expect(() => bench.core.fault(FAULT_CALL_DEPTH, 0x1234)).toThrow(WebAssembly.RuntimeError);
  expect(bench.field(EXEC_FAULT_ADDRESS)).toBe(0x1234);
});
