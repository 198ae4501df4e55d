/** The encoder: opcodes are called what the text format calls them, numbers are LEB128. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { ByteWriter, OPCODES, type Opcode, SECTIONS, writeType } from "../../src/jit/wasm.ts";
import { createPrinter } from "./text.ts";

let print: (bytes: Uint8Array) => string;

beforeAll(async () => {
  print = await createPrinter();
});

/** What follows an opcode in the binary: all zeros here. */
function immediatesOf(name: Opcode): number[] {
  if (["block", "loop", "if"].includes(name)) return [0x40, OPCODES.end];
  if (/load|store/.test(name) || name.endsWith("call_indirect") || name === "br_table") return [0, 0];
  if (/^(br|call|local|global)/.test(name) || name.endsWith("const") || name === "memory.size") return [0];
  return [];
}

/** A function that consists of one instruction. It need not be valid to be printed. */
function moduleWith(name: Opcode): Uint8Array {
  const type = new ByteWriter();
  type.unsigned(1);
  writeType(type, { params: [0x7f], results: [] });
  const functions = new ByteWriter();
  functions.bytes(Uint8Array.of(1, 0));
  const body = new ByteWriter();
  body.unsigned(0);
  if (name === "else") body.bytes(Uint8Array.of(OPCODES.if, 0x40));
  body.op(name);
  body.bytes(Uint8Array.from(immediatesOf(name)));
  // With a `nop` in it: an empty one is not printed.
  if (name === "else") body.bytes(Uint8Array.of(0x01, OPCODES.end));
  if (name !== "end") body.op("end");
  const code = new ByteWriter();
  code.unsigned(1);
  code.sized(body);
  const module = new ByteWriter();
  module.bytes(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  module.section(SECTIONS.type, type);
  module.section(SECTIONS.function, functions);
  // A table, a memory and a global, so that index 0 exists.
  module.bytes(Uint8Array.of(4, 4, 1, 0x70, 0, 0, 5, 3, 1, 0, 1, 6, 6, 1, 0x7f, 1, 0x41, 0, 0x0b));
  module.section(SECTIONS.code, code);
  return module.view().slice();
}

describe("opcodes", () => {
  it.each(Object.keys(OPCODES).filter((name) => name !== "end") as Opcode[])("%s", (name) => {
    const lines = print(moduleWith(name))
      .split("\n")
      .map((line) => line.trim().replace(/\)+$/, ""));
    expect(lines.some((line) => line === name || line.startsWith(`${name} `))).toBe(true);
  });
});

function bytesOf(write: (writer: ByteWriter) => void): number[] {
  const writer = new ByteWriter(1);
  write(writer);
  return [...writer.view()];
}

/** LEB128 as the WebAssembly specification defines it (section 5.2.2), read back with BigInt. */
function decodeLeb(bytes: readonly number[], signed: boolean): bigint {
  let value = 0n;
  bytes.forEach((byte, index) => {
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    expect(byte >= 0x80).toBe(index < bytes.length - 1);
  });
  return signed ? BigInt.asIntN(7 * bytes.length, value) : value;
}

describe("LEB128", () => {
  const edges = [
    0n,
    1n,
    63n,
    64n,
    127n,
    128n,
    0x7fff_ffffn,
    0x8000_0000n,
    0xffff_ffffn,
    0x7fff_ffff_ffff_ffffn,
  ];

  it("signed, of 64 bits", () => {
    const check = (value: bigint): void => {
      const low = Number(BigInt.asIntN(32, value));
      const high = Number(BigInt.asIntN(32, value >> 32n));
      const bytes = bytesOf((writer) => writer.signed(low, high));
      expect(decodeLeb(bytes, true)).toBe(value);
      // The shortest form: one septet less would lose the sign.
      if (bytes.length > 1) expect(BigInt.asIntN(7 * bytes.length - 7, value)).not.toBe(value);
    };
    for (const edge of edges) for (const value of [edge, -edge, -edge - 1n]) check(BigInt.asIntN(64, value));
    fc.assert(fc.property(fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }), check), { seed: 1 });
  });

  it("unsigned, of 32 bits", () => {
    const check = (value: number): void => {
      expect(
        decodeLeb(
          bytesOf((writer) => writer.unsigned(value)),
          false,
        ),
      ).toBe(BigInt(value));
    };
    for (const value of [0, 127, 128, 16383, 16384, 0x7fffffff, 0x80000000, 0xffffffff]) check(value);
    fc.assert(fc.property(fc.integer({ min: 0, max: 0xffffffff }), check), { seed: 1 });
  });
});
