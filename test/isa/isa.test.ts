import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  INSTRUCTIONS,
  type Instruction,
  checkInstructions,
  decodeInstructions,
  encodeInstructions,
  lddwValue,
  rowOf,
} from "../../src/isa/index.ts";

const insn = (opcode: number, dst = 0, src = 0, offset = 0, imm = 0): Instruction => ({
  opcode,
  dst,
  src,
  offset,
  imm,
});
const SECOND = insn(0);
const slot = fc.record({
  opcode: fc.nat(255),
  dst: fc.nat(15),
  src: fc.nat(15),
  offset: fc.integer({ min: -0x8000, max: 0x7fff }),
  imm: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
});

describe("the table", () => {
  it("has a name of its own for each row", () => {
    expect(new Set(INSTRUCTIONS.map(({ name }) => name)).size).toBe(INSTRUCTIONS.length);
  });

  it("has rows that exclude each other", () => {
    for (const row of INSTRUCTIONS) {
      const { dst, src, offset, imm } = row.fields;
      const value = (field: string | number, free: number): number =>
        typeof field === "number" ? field : free;
      const sample = insn(row.opcode, value(dst, 1), value(src, 2), value(offset, 16), value(imm, 32));
      expect(rowOf(sample)?.name).toBe(row.name);
    }
  });

  // Opcode and operands by hand, from the tables of RFC 9669 and uapi/linux/bpf.h.
  it.each([
    ["add64_imm", insn(0x07, 1, 0, 0, 5)],
    ["add32_reg", insn(0x0c, 1, 2)],
    ["sdiv64_reg", insn(0x3f, 1, 2, 1)],
    ["smod32_imm", insn(0x94, 1, 0, 1, 3)],
    ["movsx8to32", insn(0xbc, 1, 2, 8)],
    ["movsx32to64", insn(0xbf, 1, 2, 32)],
    ["cast_user", insn(0xbf, 1, 2, 1, 0x10000)],
    ["neg64", insn(0x87, 1)],
    ["be16", insn(0xdc, 1, 0, 0, 16)],
    ["swap64", insn(0xd7, 1, 0, 0, 64)],
    ["ldxdw", insn(0x79, 1, 2, -8)],
    ["ldxsw", insn(0x81, 1, 2, 4)],
    ["stb", insn(0x72, 1, 0, 4, 255)],
    ["stxh", insn(0x6b, 1, 2, 4)],
    ["ldabsh", insn(0x28, 0, 0, 0, 12)],
    ["ldindb", insn(0x50, 0, 3, 0, 12)],
    ["atomic_add64", insn(0xdb, 1, 2, 8, 0)],
    ["atomic_fetch_xor32", insn(0xc3, 1, 2, 8, 0xa1)],
    ["atomic_cmpxchg64", insn(0xdb, 1, 2, 8, 0xf1)],
    ["load_acquire8", insn(0xd3, 1, 2, 0, 0x100)],
    ["store_release64", insn(0xdb, 1, 2, 0, 0x110)],
    ["lddw_map_value", insn(0x18, 1, 2, 0, 7)],
    ["ja", insn(0x05, 0, 0, -1)],
    ["ja32", insn(0x06, 0, 0, 0, -1)],
    ["jset32_imm", insn(0x46, 1, 0, 3, 1)],
    ["jsle64_reg", insn(0xdd, 1, 2, 3)],
    ["may_goto", insn(0xe5, 0, 0, 3)],
    ["call_helper", insn(0x85, 0, 0, 0, 1)],
    ["call_local", insn(0x85, 0, 1, 0, 10)],
    ["call_kfunc", insn(0x85, 0, 2, 1, 10)],
    ["callx", insn(0x8d, 3)],
    ["exit", insn(0x95)],
  ])("%s", (name, instruction) => {
    expect(rowOf(instruction)?.name).toBe(name);
  });
});

describe("decoding", () => {
  it("reads both byte orders", () => {
    const little = Uint8Array.of(0x0f, 0x21, 0xfe, 0xff, 0x78, 0x56, 0x34, 0x12);
    const big = Uint8Array.of(0x0f, 0x12, 0xff, 0xfe, 0x12, 0x34, 0x56, 0x78);
    const expected = [insn(0x0f, 1, 2, -2, 0x12345678)];
    expect(decodeInstructions(little)).toEqual(expected);
    expect(decodeInstructions(big, { littleEndian: false })).toEqual(expected);
  });

  it("is the inverse of encoding, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.array(slot, { maxLength: 20 }), fc.boolean(), (instructions, littleEndian) => {
        const bytes = encodeInstructions(instructions, { littleEndian });
        expect(decodeInstructions(bytes, { littleEndian })).toEqual(instructions);
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  it.each([1, 7, 9])("refuses %i bytes", (length) => {
    expect(() => decodeInstructions(new Uint8Array(length))).toThrow(BpfError);
  });

  it("puts the halves of an lddw together", () => {
    expect(lddwValue(insn(0x18, 1, 0, 0, -1), insn(0, 0, 0, 0, 0x12345678))).toBe(0x12345678ffffffffn);
  });
});

describe("invalid encodings are named", () => {
  it.each([
    [[insn(0xff)], 0, "opcode 0xff does not exist (class ALU64)"],
    [[insn(0x95), insn(0x07, 11, 0, 0, 1)], 1, "opcode 0x07 (add): dst register r11 does not exist"],
    [[insn(0x07, 1, 3, 0, 1)], 0, "opcode 0x07 (add): src is reserved and must be 0, not 3"],
    [[insn(0x0f, 1, 2, 0, 9)], 0, "opcode 0x0f (add): imm is reserved and must be 0, not 9"],
    [[insn(0x37, 1, 0, 2, 9)], 0, "opcode 0x37 (div): offset is 2, known are 0, 1"],
    [[insn(0xdc, 1, 0, 0, 8)], 0, "opcode 0xdc (be16): imm is 0x8, known are 0x10, 0x20, 0x40"],
    [[insn(0xdb, 1, 2, 0, 0x77)], 0, "opcode 0xdb (lock add): imm is 0x77, known are 0x0, 0x1"],
    [[insn(0x18, 1, 7)], 0, "opcode 0x18 (lddw): src is 7, known are 0, 1, 2, 3, 4, 5, 6"],
    [[insn(0x18, 1, 0)], 0, "lddw: its second slot is missing"],
    [[insn(0x18, 1, 0), insn(0x95)], 1, "lddw: only imm may be set in its second slot"],
    [
      [insn(0x18, 1, 0), SECOND, insn(0x95, 1)],
      2,
      "opcode 0x95 (exit): dst is reserved and must be 0, not 1",
    ],
  ])("%#: %j", (instructions, index, reason) => {
    const invalid = checkInstructions(instructions);
    expect(invalid?.index).toBe(index);
    expect(invalid?.reason.startsWith(reason), invalid?.reason).toBe(true);
  });

  it("or valid: there is nothing between", () => {
    fc.assert(
      fc.property(slot, (instruction) => {
        const invalid = checkInstructions([instruction, SECOND]);
        const row = rowOf(instruction);
        if (row === undefined) expect(invalid?.reason).toMatch(/opcode 0x.. /);
        // The slot behind is no instruction unless it belongs to an lddw.
        else expect(invalid === undefined).toBe(row.semantics.kind === "lddw");
      }),
      { seed: 2, numRuns: 5000 },
    );
  });
});
