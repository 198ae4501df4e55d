/** Bytes from anywhere: text or a BpfError that names the offset, in bounded time and space. */
import { describe, expect, it } from "vitest";
import { BpfError, type ErrorCode } from "../../src/errors.ts";
import { toWat } from "../../src/wat/index.ts";
import { Random } from "../random/prng.ts";
import { assemble, coreModule, everyRow, jitModules, moduleAround, wabtText } from "./oracle.ts";

const MUTATIONS = Number(process.env["SKEP_FUZZ"] ?? 5_000);

/** The text, or the error if it is one of ours; anything else fails the test. */
function attempt(bytes: Uint8Array): string | BpfError {
  try {
    return toWat(bytes);
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    expect(["usage", "unsupported"]).toContain(error.code);
    expect(error.message).toMatch(/^WebAssembly module: .*(at offset \d+|characters)/u);
    return error;
  }
}

function mutate(random: Random, original: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(original);
  for (let changes = random.between(1, 4); changes > 0; changes--) {
    const at = random.between(8, bytes.length - 1);
    const size = random.between(1, 16);
    switch (random.below(5)) {
      case 0:
        bytes[at] = random.below(256);
        break;
      case 1:
        bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
        break;
      case 2:
        bytes[at] = [0x00, 0x7f, 0x80, 0xff, 0x0b, 0x40][random.below(6)] as number;
        break;
      case 3:
        bytes.copyWithin(at, random.between(8, bytes.length - 1), bytes.length - size);
        break;
      default:
        bytes.fill(0xff, at, at + random.between(1, 5));
    }
  }
  return random.chance(0.1) ? bytes.subarray(0, random.below(bytes.length)) : bytes;
}

const SEEDS: readonly Uint8Array[] = [
  everyRow(),
  assemble(moduleAround("nop")),
  assemble(`(module
    (table 10 funcref) (table 3 externref) (func $f) (memory 1) (global (mut i32) (i32.const 4)) (export "f" (func $f))
    (elem (i32.const 0) func $f $f) (elem func $f) (elem declare funcref (ref.func $f))
    (elem (table 1) (i32.const 0) externref (ref.null extern)) (data "x") (data (i32.const 4) "yz"))`),
  ...jitModules(8, true),
];

describe("damaged modules", () => {
  it(`${MUTATIONS} mutations`, () => {
    const random = new Random(11);
    let printed = 0;
    let valid = 0;
    for (let round = 0; round < MUTATIONS; round++) {
      const bytes = mutate(random, SEEDS[round % SEEDS.length] as Uint8Array);
      const result = attempt(bytes);
      if (typeof result === "string") printed++;
      // What is valid we print, and wabt reads the same module from our text. It takes a last section that is cut off
      // for complete, so the engine has a say as well.
      const theirs = wabtText(bytes, { check: true });
      if (theirs === undefined || !WebAssembly.validate(bytes as BufferSource)) continue;
      valid++;
      expect(result.toString()).toMatch(/^\(module/u);
      expect(wabtText(assemble(result as string, { names: false }))).toBe(theirs);
    }
    expect(valid).toBeGreaterThan(MUTATIONS / 100);
    expect(printed).toBeLessThan(MUTATIONS * 0.9);
  });

  it("mutations of core.wasm", () => {
    const random = new Random(12);
    for (let round = 0; round < MUTATIONS / 25; round++) attempt(mutate(random, coreModule));
  });

  it("cut anywhere", () => {
    for (const original of SEEDS) {
      for (let length = 0; length < original.length; length++) attempt(original.subarray(0, length));
    }
    for (let length = 0; length < coreModule.length; length += 97) {
      expect(attempt(coreModule.subarray(0, length)), `${length}`).toBeInstanceOf(BpfError);
    }
  });
});

const HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const section = (id: number, ...bytes: number[]): number[] => [id, bytes.length, ...bytes];
const oneFunction = (...body: number[]): number[] => [
  ...section(1, 1, 0x60, 0, 0),
  ...section(3, 1, 0),
  ...section(10, 1, body.length + 1, 0, ...body),
];

describe("each fault by its name", () => {
  it.each<[string, number[], ErrorCode, RegExp, number]>([
    ["no module", [1, 2, 3, 4], "usage", /no magic number/u, 0],
    ["nothing", [], "usage", /no magic number/u, 0],
    ["another version", [0, 0x61, 0x73, 0x6d, 2, 0, 0, 0], "usage", /version 2, not 1/u, 4],
    ["a component", [0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0], "unsupported", /a component/u, 4],
    ["no version", [0, 0x61, 0x73, 0x6d, 1], "usage", /version is cut off/u, 4],
    ["a section that does not exist", [...HEADER, 14, 0], "usage", /section 14/u, 8],
    [
      "sections out of order",
      [...HEADER, ...section(2, 0), ...section(1, 0)],
      "usage",
      /type section .*order/u,
      11,
    ],
    ["a section twice", [...HEADER, ...section(1, 0), ...section(1, 0)], "usage", /repeated/u, 11],
    ["bytes behind a section's items", [...HEADER, ...section(1, 0, 7)], "usage", /1 bytes too many/u, 11],
    ["a section past the end", [...HEADER, 1, 9, 0], "usage", /type section of 9 bytes exceeds the 1/u, 10],
    ["more items than bytes", [...HEADER, ...section(1, 0xff, 0x7f)], "usage", /types, 16383, exceeds/u, 10],
    [
      "a number too long",
      [...HEADER, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
      "usage",
      /no number of 32 bits/u,
      9,
    ],
    ["a number too large", [...HEADER, 1, 0xff, 0xff, 0xff, 0xff, 0x1f], "usage", /no number of 32 bits/u, 9],
    [
      "functions without bodies",
      [...HEADER, ...section(1, 0), ...section(3, 1, 0)],
      "usage",
      /1 functions/u,
      15,
    ],
    [
      "a type that does not exist",
      [...HEADER, ...section(1, 1, 0x60, 1, 0x01, 0)],
      "usage",
      /0x1, which/u,
      13,
    ],
    ["a vector", [...HEADER, ...section(1, 1, 0x60, 1, 0x7b, 0)], "unsupported", /SIMD/u, 13],
    ["a structure", [...HEADER, ...section(1, 1, 0x5f, 0)], "unsupported", /garbage collection/u, 11],
    ["a name that is no UTF-8", [...HEADER, ...section(7, 1, 1, 0xff, 0, 0)], "usage", /no UTF-8/u, 12],
    ["64-bit memory", [...HEADER, ...section(5, 1, 4, 1)], "unsupported", /64 bits/u, 11],
    ["a shared memory without maximum", [...HEADER, ...section(5, 1, 2, 1)], "usage", /flags 2/u, 11],
    ["a tag", [...HEADER, ...section(13, 0)], "unsupported", /exception/u, 8],
    ["an opcode that does not exist", [...HEADER, ...oneFunction(0x27, 0x0b)], "usage", /opcode 0x27/u, 23],
    ["a prefixed one", [...HEADER, ...oneFunction(0xfc, 0x7f, 0x0b)], "usage", /opcode 0xfc7f/u, 23],
    ["a SIMD instruction", [...HEADER, ...oneFunction(0xfd, 0x0f, 0x0b)], "unsupported", /SIMD/u, 23],
    ["an exception's", [...HEADER, ...oneFunction(0x08, 0, 0x0b)], "unsupported", /exception/u, 23],
    [
      "a second memory",
      [...HEADER, ...oneFunction(0x3f, 1, 0x1a, 0x0b)],
      "unsupported",
      /second memory/u,
      24,
    ],
    [
      "else outside if",
      [...HEADER, ...oneFunction(0x02, 0x40, 0x05, 0x0b, 0x0b)],
      "usage",
      /'else' without/u,
      25,
    ],
    ["else twice", [...HEADER, ...oneFunction(0x04, 0x40, 5, 5, 0x0b, 0x0b)], "usage", /'else' without/u, 26],
    [
      "a block without end",
      [...HEADER, ...oneFunction(0x02, 0x40, 0x0b)],
      "usage",
      /instruction is cut off/u,
      26,
    ],
    ["code behind the end", [...HEADER, ...oneFunction(0x0b, 0x01)], "usage", /1 bytes too many/u, 24],
    [
      "an i32 of 33 bits",
      [...HEADER, ...oneFunction(0x41, 0x80, 0x80, 0x80, 0x80, 0x08)],
      "usage",
      /32 bits/u,
      24,
    ],
    [
      "a block in a constant",
      [...HEADER, ...section(6, 1, 0x7f, 0, 2, 0x40)],
      "usage",
      /'block' in a const/u,
      13,
    ],
    ["a segment's form", [...HEADER, ...section(9, 1, 8)], "usage", /form 8/u, 11],
  ])("%s", (_, bytes, code, message, offset) => {
    const error = attempt(Uint8Array.from(bytes));
    expect(error).toBeInstanceOf(BpfError);
    if (!(error instanceof BpfError)) return;
    expect(error.message).toMatch(message);
    expect([error.code, error.where.offset]).toEqual([code, offset]);
  });
});

/** LEB128 of a fixed width. */
const wide = (value: number): number[] =>
  [0, 7, 14, 21, 28].map((shift) => ((value >>> shift) & 0x7f) | (shift < 28 ? 0x80 : 0));
type Part = Uint8Array | readonly number[];
const join = (...parts: readonly Part[]): Uint8Array =>
  new Uint8Array(Buffer.concat(parts.map((part) => Uint8Array.from(part))));
const times = (count: number, part: Part): Uint8Array =>
  Buffer.alloc(count * part.length, Uint8Array.from(part));
const sized = (bytes: Uint8Array): Uint8Array => join(wide(bytes.length), bytes);
const large = (id: number, ...parts: readonly Part[]): Uint8Array => join([id], sized(join(...parts)));

/** A module of so many functions with the same body, and perhaps their names. */
function bodies(count: number, body: Part, names?: Part): Uint8Array {
  return join(
    HEADER,
    section(1, 1, 0x60, 0, 0),
    large(3, wide(count), times(count, [0])),
    large(10, wide(count), times(count, sized(join(body)))),
    names === undefined ? [] : large(0, [4, 0x6e, 0x61, 0x6d, 0x65], large(1, names)),
  );
}

describe("out of proportion", () => {
  it("100,000 nested blocks", () => {
    const depth = 100_000;
    const text = attempt(bodies(1, join([0], times(depth, [0x02, 0x40]), times(depth + 1, [0x0b]))));
    expect(text).toBeTypeOf("string");
    expect(text.toString().length).toBeLessThan(depth * 200);
  });

  it("functions of 50,000 locals in five bytes each", () => {
    const error = attempt(bodies(2_000, [1, 0xd0, 0x86, 0x03, 0x7f, 0x0b]));
    expect(error.toString()).toMatch(/its text would exceed \d+ characters/u);
  });

  it("four billion locals", () => {
    const error = attempt(bodies(1, [1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b]));
    expect(error.toString()).toMatch(/a function with 4294967295 locals/u);
  });

  it("a name of 100,000 characters, called 100,000 times", () => {
    const names = join([1, 0], sized(times(100_000, [0x61])));
    const error = attempt(bodies(1, join([0], times(100_000, [0x10, 0]), [0x0b]), names));
    expect(error.toString()).toMatch(/its text would exceed \d+ characters/u);
  });

  it("100,000 functions of the same name", () => {
    const count = 100_000;
    const names = Array.from({ length: count }, (_, index) => [...wide(index), 1, 0x61]);
    const text = attempt(bodies(count, [0, 0x0b], join(wide(count), names.flat())));
    expect(text).toContain("(func $a.99999 ");
  });
});
