/** The table of instructions against wabt: the same names for the same opcodes, and none missing. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OPERATIONS, toWat } from "../../src/wat/index.ts";
import { assemble, linesOf, moduleAround, wabtText } from "./oracle.ts";

describe("rows", () => {
  it.each(OPERATIONS.map((row) => [row.name, row] as const))("%s", (name, row) => {
    const lines = linesOf(row);
    expect(lines).not.toHaveLength(0);
    for (const line of lines) {
      const original = assemble(moduleAround(line), { validate: true });
      const text = toWat(original);
      const printed = text.split("\n").map((each) => each.trim());
      expect(printed.some((each) => each === name || each.startsWith(`${name} `))).toBe(true);
      expect(assemble(text, { validate: true })).toEqual(original);
      expect(toWat(assemble(text))).toBe(text);
    }
  });

  it("have each opcode once", () => {
    expect(new Set(OPERATIONS.map(({ code }) => code)).size).toBe(OPERATIONS.length);
  });

  it("are all that wabt reads", () => {
    // Immediates of every shape: numbers, alignments, types, floating-point constants, an empty block.
    const immediates = [
      [],
      [0],
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 0],
      [0, 0, 0],
      [0, 0, 0, 0],
      [0, 0, 0, 0, 0, 0, 0, 0],
      new Array<number>(16).fill(0),
      [0x70],
      [1, 0x7f],
      [0x40, 0x0b],
    ];
    const prefixed = (prefix: number) => Array.from({ length: 0x80 }, (_, code) => [prefix, code]);
    const plain = Array.from({ length: 0x100 }, (_, code) => [code]);
    const opcodes = [
      // Without else, end and the prefixes.
      ...plain.filter(([first]) => ![0x05, 0x0b, 0xfc, 0xfd, 0xfe].includes(first as number)),
      ...prefixed(0xfc),
      ...prefixed(0xfe),
      // Of the vector instructions a few.
      ...[0x00, 0x0b, 0x0c].map((code) => [0xfd, code]),
    ];
    const known = new Set<string>();
    for (const opcode of opcodes) {
      for (const rest of immediates) {
        const bytes = handMade([0x00, ...opcode.flatMap(leb), ...rest, 0x00, 0x0b]);
        if (wabtText(bytes, { check: true }) === undefined) continue;
        expect(() => toWat(bytes), `opcode ${opcode}, then ${rest}`).not.toThrow();
        expect(wabtText(assemble(toWat(bytes), { names: false }))).toBe(wabtText(bytes));
        known.add(opcode.join());
      }
    }
    // All but else and end.
    expect(known.size).toBe(OPERATIONS.length - 2);
  });
});

/** Opcodes behind a prefix are numbers, so 0xfe alone stays a byte. */
function leb(value: number, position: number): number[] {
  return position === 1 && value > 0x7f ? [(value & 0x7f) | 0x80, value >> 7] : [value];
}

const HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** A module with a memory, two tables, segments and one function of these bytes. */
function handMade(body: readonly number[]): Uint8Array {
  const section = (id: number, ...bytes: number[]) => [id, bytes.length, ...bytes];
  return Uint8Array.from([
    ...HEADER,
    ...section(1, 1, 0x60, 0, 0),
    ...section(3, 1, 0),
    ...section(4, 2, 0x70, 0, 1, 0x70, 0, 1),
    ...section(5, 1, 0, 1),
    ...section(6, 1, 0x7f, 1, 0x41, 0, 0x0b),
    ...section(9, 1, 1, 0, 1, 0),
    ...section(12, 1),
    ...section(10, 1, body.length + 3, 1, 1, 0x7f, ...body),
    ...section(11, 1, 1, 1, 65),
  ]);
}

/** The bytes of a module that holds one constant, and where the constant begins. */
function constantModule(type: "f32" | "f64" | "i64", bits: bigint): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, bits, true);
  const opcode = { f32: 0x43, f64: 0x44 }[type as "f32" | "f64"];
  const length = type === "f32" ? 4 : 8;
  return handMade([opcode, ...new Uint8Array(bytes.buffer, 0, length), 0x1a, 0x0b]);
}

describe("constants", () => {
  const f32 = fc.oneof(
    fc.bigInt({ min: 0n, max: 0xffff_ffffn }),
    fc.constantFrom(0n, 1n, 0x7fffffn, 0x7f7fffffn),
  );
  const f64 = fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.bigInt({ min: 0x7ff0n << 48n, max: (0x8000n << 48n) - 1n }),
    fc.double({ noNaN: true }).map((value) => {
      const view = new DataView(new ArrayBuffer(8));
      view.setFloat64(0, value);
      return view.getBigUint64(0);
    }),
  );

  it.each([
    ["f32", f32],
    ["f64", f64],
  ] as const)("%s keeps every bit", (type, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (bits) => {
        const bytes = constantModule(type, bits);
        expect(assemble(toWat(bytes), { names: false })).toEqual(
          assemble(wabtText(bytes) as string, { names: false }),
        );
        expect(toWat(assemble(toWat(bytes)))).toBe(toWat(bytes));
      }),
      { seed: 3, numRuns: 500 },
    );
  });

  it.each([
    ["f32", 0x3dcccccdn, "f32.const 0.1"],
    ["f32", 0x80000000n, "f32.const -0"],
    ["f32", 0x7fc00000n, "f32.const nan"],
    ["f32", 0xff800001n, "f32.const -nan:0x1"],
    ["f32", 0x7f7fffffn, "f32.const 3.4028235e+38"],
    ["f32", 0x4b800001n, "f32.const 16777218"],
    ["f64", 0x3fb999999999999an, "f64.const 0.1"],
    ["f64", 0xfff0000000000000n, "f64.const -inf"],
    ["f64", 1n, "f64.const 5e-324"],
  ] as const)("%s %s is %s", (type, bits, text) => {
    expect(toWat(constantModule(type, bits))).toContain(`${text}\n`);
  });
});
