/** bpf_loop, bpf_for_each_map_elem and bpf_tail_call in the interpreter, stopped between any two instructions. */
import { expect, test } from "vitest";
import * as layout from "../../src/core/layout.ts";
import { STATUS_DONE, STATUS_PAUSED } from "../../src/core/layout.ts";
import { Bench, EXIT, call, ins, lddw, mov, movReg } from "./harness.ts";

const BUDGETS = [1n, 2n, 3n, 7n, 50n, 1_000_000n];

/** Runs in steps; the result and how many instructions it took. */
function stepped(bench: Bench, program: number, budget: bigint): { r0: bigint; count: bigint } {
  let { status, r0, count } = bench.interpret(program, { budget });
  while (status === STATUS_PAUSED) {
    expect(count % budget).toBe(0n);
    status = bench.core.interpret(bench.exec, budget);
    count = bench.view.getBigUint64(bench.exec + layout.EXEC_COUNT, true);
    r0 = bench.registers[0] as bigint;
  }
  expect(status).toBe(STATUS_DONE);
  return { r0, count };
}

/** The address of a function, made known after the program has its place. */
function describeFunction(bench: Bench, program: number, slot: number): number {
  const func = bench.alloc(layout.FUNC_SIZE);
  const code = bench.view.getUint32(program + layout.FUNC_CODE, true);
  bench.view.setUint32(func + layout.FUNC_CODE, code + slot * 8, true);
  bench.view.setUint32(func + layout.FUNC_PROG, program, true);
  return func;
}

/** Calls a helper with a callback that adds r1, or what r3 points to, to what the third argument points to. */
function summing(bench: Bench, helper: number, first: bigint, ofMap: boolean): number {
  const body = [
    ...lddw(1, first),
    ...lddw(2, 0n),
    movReg(3, 10),
    ins(0x07, { dst: 3, imm: -8 }),
    ins(0x7a, { dst: 10, offset: -8 }),
    mov(4, 0),
    call(helper),
    ins(0x79, { dst: 1, src: 10, offset: -8 }),
    ins(0x67, { dst: 1, imm: 32 }),
    ins(0x0f, { dst: 0, src: 1 }),
    EXIT,
  ];
  const callback = ofMap
    ? [
        ins(0x79, { dst: 5, src: 3 }),
        ins(0x79, { dst: 0, src: 4 }),
        ins(0x0f, { dst: 0, src: 5 }),
        ins(0x7b, { dst: 4, src: 0 }),
        mov(0, 0),
        EXIT,
      ]
    : [
        ins(0x79, { dst: 0, src: 2 }),
        ins(0x0f, { dst: 0, src: 1 }),
        ins(0x7b, { dst: 2, src: 0 }),
        mov(0, 0),
        EXIT,
      ];
  const program = bench.program([...body, ...callback]);
  const code = bench.view.getUint32(program + layout.FUNC_CODE, true);
  bench.view.setUint32(code + 2 * 8 + 4, describeFunction(bench, program, body.length), true);
  return program;
}

test.each(BUDGETS)("bpf_loop in steps of %d", (budget) => {
  const bench = new Bench();
  const program = summing(bench, 181, 10n, false);
  const { r0, count } = stepped(bench, program, budget);
  expect(r0).toBe(10n + (45n << 32n));
  expect(count).toBe(13n + 10n * 5n - 2n);
});

test.each(BUDGETS)("bpf_for_each_map_elem in steps of %d", (budget) => {
  for (const type of [1, 2, 6, 9]) {
    const bench = new Bench();
    const map = bench.core.map_create(type, 4, 8, 4, 0) >>> 0;
    for (let key = 0; key < 4; key++) {
      const at = bench.place(new Uint8Array(Uint32Array.of(key).buffer));
      const value = bench.place(new Uint8Array(BigUint64Array.of(BigInt(key + 100)).buffer));
      expect(bench.core.map_update_elem(map, at, value, 0n)).toBe(0);
    }
    expect(stepped(bench, summing(bench, 164, BigInt(map), true), budget).r0).toBe(4n + (406n << 32n));
  }
});

test("of maps that the kernel does not iterate: an error", () => {
  const bench = new Bench();
  const trie = bench.core.map_create(11, 8, 8, 4, 1) >>> 0;
  expect(BigInt.asIntN(64, stepped(bench, summing(bench, 164, BigInt(trie), true), 100n).r0)).toBe(-22n);
});

test.each(BUDGETS)("a tail call and a return to the caller's caller in steps of %d", (budget) => {
  const bench = new Bench();
  const map = bench.core.map_create(3, 4, 4, 1, 0) >>> 0;
  const target = bench.program([mov(6, 9), mov(0, 30), EXIT]);
  const key = bench.place(new Uint8Array(4));
  const value = bench.place(new Uint8Array(Uint32Array.of(target).buffer));
  expect(bench.core.map_update_copy(map, key, value, 0n)).toBe(0);
  const program = bench.program([
    mov(6, 12),
    ins(0x85, { src: 1, imm: 2 }),
    ins(0x0f, { dst: 0, src: 6 }),
    EXIT,
    ...lddw(2, BigInt(map)),
    mov(3, 0),
    call(12),
    EXIT,
  ]);
  expect(stepped(bench, program, budget)).toEqual({ r0: 42n, count: 10n });
  expect(bench.field(layout.EXEC_PROG)).toBe(program);
  expect(bench.field(layout.EXEC_TAIL_CALLS)).toBe(1);
});
