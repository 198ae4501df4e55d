import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BtfValue, decodeValue, encodeValue, parseBtf, sizeOf } from "../../src/btf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { type BtfSource, buildBtf, int, member } from "./build.ts";

/** What clang laid out in test/fixtures/btf/values.bpf.c; the values stand there in C. */
const LAID_OUT: Readonly<Record<string, BtfValue>> = {
  u8_value: 200,
  s8_value: -100,
  u16_value: 60000,
  s16_value: -30000,
  u32_value: 4000000000,
  s32_value: -2000000000,
  u64_value: 0xfedcba9876543210n,
  s64_value: -0x123456789abcdefn,
  u128_value: 0x0123456789abcdef_fedcba9876543210n,
  s128_value: -3n,
  yes: true,
  letter: 120,
  constant: 12345678901n,
  color: "GREEN",
  blue: "BLUE",
  other_color: 3,
  painted: "RED",
  level: "LOW",
  huge: "LARGE",
  other_huge: 0xffffffffffffn,
  deep: "BOTTOM",
  pointer: 0x1122334455667788n,
  point: { x: -7, y: 8 },
  bits: {
    a: 5,
    b: -9,
    c: 0xabcde,
    d: 0x123456789an,
    e: -70000,
    f: "GREEN",
    g: "LOW",
    h: true,
    i: 99,
    j: 200,
    k: 300,
  },
  packed: { a: 1, b: 0xdeadbeef, c: 0x1122334455667788n, d: 5, e: 4321 },
  tail: {
    count: 2,
    items: [
      { x: 1, y: 2 },
      { x: 3, y: 4 },
    ],
  },
  list: [1, 500, 65535],
  text: "hello, été\n",
  full: [102, 117, 108, 108],
  rest: [97, 98, 0, 99, 100, 0, 0, 0],
  binary: [1, 2, 3, 0],
  nothing: "",
  switches: [true, false, true],
  grid: [
    [
      { x: 1, y: 2 },
      { x: 3, y: 4 },
    ],
    [
      { x: 5, y: 6 },
      { x: 7, y: 8 },
    ],
  ],
  none: [],
  real: -1.5,
  single: 0.25,
};

/** Has a union, so that some members depend on the byte order. */
const NESTED = {
  corners: [
    { x: 1, y: -2 },
    { x: 3, y: -4 },
  ],
  word: 0x01020304,
  low: 11,
  high: 22,
  name: "skep",
  matrix: [
    [1, 2, 3],
    [4, 5, 6],
  ],
};

describe.each(["values", "values.eb"])("what clang lays out (%s)", (name) => {
  const spec = parseObject(readFileSync(join(ROOT, `test/fixtures/btf/${name}.bpf.o`)), { name });

  it.each(Object.entries(LAID_OUT))("%s", (variable, value) => {
    const found = spec.variables[variable];
    expect(found?.get()).toEqual(value);
    const before = found?.bytes();
    found?.set(new Uint8Array(found.size).fill(0x55));
    found?.set(value);
    expect(found?.bytes()).toEqual(before);
  });

  it("nested structures and unions", () => {
    const octets = spec.littleEndian ? [4, 3, 2, 1] : [1, 2, 3, 4];
    const all = spec.littleEndian ? 0x2_0000_0001n : 0x1_0000_0002n;
    const nested = spec.variables["nested"];
    expect(nested?.get()).toEqual({ ...NESTED, octets, split: { all, halves: { first: 1, second: 2 } } });
    const before = nested?.bytes();
    nested?.set({ ...NESTED, split: { halves: { first: 1, second: 2 } } });
    expect(nested?.bytes()).toEqual(before);
    expect(() => nested?.set({ word: 1, octets: [9, 9, 9, 9] })).toThrow(
      /variable 'nested': struct nested\.octets.*contradicts another member of the same union/,
    );
  });

  it("every variable of the file is in these tables", () => {
    expect(Object.keys(spec.variables).sort()).toEqual([...Object.keys(LAID_OUT), "nested"].sort());
  });
});

const TYPES: readonly BtfSource[] = [
  int("u32", 4), // 1
  int("int", 4, { signed: true }), // 2
  int("u8", 1), // 3
  int("char", 1, { signed: true }), // 4
  int("_Bool", 1, { bool: true }), // 5
  int("u64", 8), // 6
  { kind: "ptr", name: "", type: 0 }, // 7
  {
    kind: "enum",
    name: "color",
    size: 4,
    signed: false,
    values: [
      { name: "RED", value: 0n },
      { name: "BLUE", value: 7n },
    ],
  }, // 8
  { kind: "array", name: "", type: 4, indexType: 1, length: 8 }, // 9
  { kind: "array", name: "", type: 1, indexType: 1, length: 3 }, // 10
  { kind: "array", name: "", type: 3, indexType: 1, length: 4 }, // 11
  {
    kind: "struct",
    name: "key",
    size: 16,
    members: [member("id", 1, 0), member("on", 5, 32), member("name", 9, 64)],
  }, // 12
  { kind: "struct", name: "open", size: 4, members: [member("n", 1, 0), member("list", 14, 32)] }, // 13
  { kind: "array", name: "", type: 1, indexType: 1, length: 0 }, // 14
  { kind: "struct", name: "odd", size: 4, members: [member("__proto__", 1, 0)] }, // 15
  { kind: "struct", name: "say", size: 1, members: [member("first", 4, 0), member("text", 17, 8)] }, // 16
  { kind: "array", name: "", type: 4, indexType: 1, length: 0 }, // 17
  { kind: "float", name: "half", size: 2 }, // 18
  { kind: "fwd", name: "gone", union: false }, // 19
  { kind: "func_proto", name: "", type: 0, parameters: [] }, // 20
  { kind: "array", name: "", type: 22, indexType: 1, length: 0xffff_ffff }, // 21
  { kind: "struct", name: "empty", size: 0, members: [] }, // 22
  { kind: "struct", name: "beyond", size: 4, members: [member("far", 1, 320)] }, // 23
  { kind: "struct", name: "self", size: 4, members: [member("", 24, 0)] }, // 24
  { kind: "struct", name: "selves", size: 4, members: [member("a", 25, 0), member("b", 25, 0)] }, // 25
  { kind: "struct", name: "inside", size: 4, members: [member("f", 7, 3)] }, // 26
  { kind: "var", name: "v", type: 1, linkage: "global" }, // 27
  { kind: "datasec", name: ".data", size: 8, variables: [{ type: 27, offset: 4, size: 4 }] }, // 28
];
const btf = parseBtf(buildBtf(TYPES));

function failure(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
    return error as BpfError;
  }
  throw new Error("nothing was thrown");
}

describe("decodeValue", () => {
  it("takes what follows a structure as its flexible array", () => {
    expect(decodeValue(btf, 13, Uint8Array.of(2, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0))).toEqual({
      n: 2,
      list: [7, 8],
    });
    expect(decodeValue(btf, 13, Uint8Array.of(0, 0, 0, 0))).toEqual({ n: 0, list: [] });
    expect(decodeValue(btf, 16, new TextEncoder().encode("xhello\0"))).toEqual({ first: 120, text: "hello" });
  });

  it("makes members of any name own properties", () => {
    const value = decodeValue(btf, 15, Uint8Array.of(1, 0, 0, 0)) as Record<string, BtfValue>;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.entries(value)).toEqual([["__proto__", 1]]);
    expect(encodeValue(btf, 15, value)).toEqual(Uint8Array.of(1, 0, 0, 0));
  });

  it("gives a _Bool that is neither 0 nor 1 as a number, and takes it back", () => {
    expect(decodeValue(btf, 5, Uint8Array.of(2))).toBe(2);
    expect(encodeValue(btf, 5, 2)).toEqual(Uint8Array.of(2));
  });

  it("reads a section as an object of its variables", () => {
    expect(decodeValue(btf, 28, Uint8Array.of(0, 0, 0, 0, 5, 0, 0, 0))).toEqual({ v: 5 });
    expect(encodeValue(btf, 28, { v: 5 })).toEqual(Uint8Array.of(0, 0, 0, 0, 5, 0, 0, 0));
  });

  it.each([
    [1, 3, /u32: takes 4 bytes, not 3/],
    [12, 20, /struct key: takes 16 bytes, not 20/],
    [19, 0, /no size/],
    [20, 0, /no size/],
    [0, 0, /no size/],
    [21, 0, /more values than bytes/],
    [23, 4, /goes beyond the end/],
    [24, 4, /deeper than 32|more values/],
    [25, 4, /deeper than 32|more values/],
    [26, 4, /begins inside a byte/],
  ])("type %i from %i bytes fails", (id, length, message) => {
    const error = failure(() => decodeValue(btf, id, new Uint8Array(length)));
    expect(error.code).toBe("btf");
    expect(error.message).toMatch(message);
  });
});

describe("encodeValue", () => {
  it.each<readonly [what: string, id: number, value: BtfValue, bytes: number[]]>([
    ["a bigint for a small integer", 1, 5n, [5, 0, 0, 0]],
    ["a boolean for an integer", 1, true, [1, 0, 0, 0]],
    ["a number for a large integer", 6, 258, [2, 1, 0, 0, 0, 0, 0, 0]],
    ["a number for a pointer", 7, 16, [16, 0, 0, 0, 0, 0, 0, 0]],
    ["a number for an enum", 8, 9, [9, 0, 0, 0]],
    ["a name for an enum", 8, "BLUE", [7, 0, 0, 0]],
    ["text that fills its array", 9, "12345678", [49, 50, 51, 52, 53, 54, 55, 56]],
    ["numbers for text", 9, [65, 66, 0, 0, 0, 0, 0, 0], [65, 66, 0, 0, 0, 0, 0, 0]],
    [
      "bytes for an array of numbers",
      10,
      Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0),
      [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
    ],
    [
      "a typed array",
      10,
      Uint32Array.of(1, 2, 3) as unknown as BtfValue,
      [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0],
    ],
    ["bytes for an array of bytes", 11, Uint8Array.of(1, 2, 3, 4), [1, 2, 3, 4]],
    ["bytes for a structure", 13, Uint8Array.of(1, 2, 3, 4), [1, 2, 3, 4]],
    ["some of the members", 12, { name: "ab" }, [0, 0, 0, 0, 0, 0, 0, 0, 97, 98, 0, 0, 0, 0, 0, 0]],
    ["a flexible array", 13, { n: 1, list: [9] }, [1, 0, 0, 0, 9, 0, 0, 0]],
    ["a flexible text", 16, { first: 120, text: "hi" }, [120, 104, 105, 0]],
    ["bytes for what has no better form", 18, Uint8Array.of(1, 2), [1, 2]],
  ])("takes %s", (_what, id, value, bytes) => {
    expect([...encodeValue(btf, id, value)]).toEqual(bytes);
  });

  it.each<readonly [id: number, value: unknown, message: RegExp]>([
    [1, -1, /u32: needs 0 to 4294967295, not -1/],
    [1, 4294967296, /needs 0 to 4294967295/],
    [2, 2147483648, /needs -2147483648 to 2147483647/],
    [1, 1.5, /needs an integer, not 1.5/],
    [1, "7", /needs an integer, not "7"/],
    [1, null, /needs an integer, not null/],
    [6, 1n << 64n, /needs 0 to 18446744073709551615/],
    [5, 256, /needs 0 to 255/],
    [8, "PINK", /enum color has no 'PINK' \(it has RED, BLUE\)/],
    [9, "123456789", /needs at most 8 bytes/],
    [10, [1, 2], /needs 3 elements/],
    [10, "ab", /needs 3 elements/],
    [10, [1, 2, -3], /\[2\]: needs 0 to/],
    [10, 5, /needs 3 elements/],
    [10, Uint8Array.of(1), /takes 12 bytes, not 1/],
    [12, { nane: "x" }, /has no member 'nane' \(it has id, on, name\)/],
    [12, { name: 5 }, /struct key\.name: needs 8 elements/],
    [12, [1], /needs an object/],
    [12, null, /needs an object, not null/],
    [12, new Uint8Array(3), /takes 16 bytes, not 3/],
    [18, 1, /needs 2 bytes/],
    [19, {}, /no size/],
    [23, { far: 1 }, /lies outside of its type/],
    [28, { w: 5 }, /has no variable 'w'/],
  ])("type %i refuses a value that does not fit (row %#)", (id, value, message) => {
    const error = failure(() => encodeValue(btf, id, value as BtfValue));
    expect(error.code).toBe("btf");
    expect(error.message).toMatch(message);
  });
});

/** Random types without padding, so that all bytes count; ids refer backwards. */
const layout: fc.Arbitrary<readonly BtfSource[]> = fc
  .array(
    fc.record({
      kind: fc.constantFrom("array", "struct", "union", "bits", "typedef"),
      pick: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
      length: fc.nat(4),
    }),
    {
      minLength: 1,
      maxLength: 8,
    },
  )
  .map((steps) => {
    const types: BtfSource[] = [
      int("u8", 1),
      int("char", 1, { signed: true }),
      int("s16", 2, { signed: true }),
      int("u32", 4),
      int("s64", 8, { signed: true }),
      int("u128", 16),
      int("_Bool", 1, { bool: true }),
      { kind: "ptr", name: "", type: 1 },
      {
        kind: "enum",
        name: "e",
        size: 4,
        signed: true,
        values: [
          { name: "A", value: 0n },
          { name: "B", value: -1n },
        ],
      },
      { kind: "enum64", name: "f", size: 8, signed: false, values: [{ name: "C", value: 1n << 40n }] },
    ];
    for (const { kind, pick, length } of steps) {
      const ids = pick.map((number) => (number % types.length) + 1);
      const first = ids[0] as number;
      const sizes = parseBtf(buildBtf(types));
      const members = ids.map((id, index) => ({ id, name: `m${index}`, size: sizeOf(sizes, id) }));
      if (members.reduce((sum, { size }) => sum + size, 0) * (length + 1) > 4096) continue;
      if (kind === "array") types.push({ kind, name: "", type: first, indexType: 1, length });
      else if (kind === "typedef") types.push({ kind, name: "t", type: first });
      else if (kind === "union") {
        // Alternatives of the same type: different ones would not all survive the trip, as in `union { float f; int i; }`.
        types.push({
          kind,
          name: "u",
          size: members[0]?.size ?? 0,
          members: [member("one", first, 0), member("two", first, 0)],
        });
      } else if (kind === "bits") {
        const widths = [3, 5, 7, 1, 9, 20, 19].slice(0, 1 + length);
        let at = 0;
        const rows = widths.map((width, index) => {
          const row = member(`b${index}`, 5, at, width);
          at += width;
          return row;
        });
        const rest = Math.ceil(at / 64) * 64 - at;
        if (rest > 0) rows.push(member("rest", 5, at, rest));
        types.push({ kind: "struct", name: "b", size: (at + rest) / 8, members: rows });
      } else {
        let at = 0;
        const rows = members.map(({ id, name, size }) => {
          const row = member(name, id, at * 8);
          at += size;
          return row;
        });
        types.push({ kind: "struct", name: "s", size: at, members: rows });
      }
    }
    return types;
  });

describe("round trip", () => {
  it("decoded bytes encode to the same bytes, for any type in either byte order", () => {
    fc.assert(
      fc.property(layout, fc.boolean(), fc.infiniteStream(fc.nat(255)), (types, littleEndian, stream) => {
        const own = parseBtf(buildBtf(types, { littleEndian }));
        for (let id = 1; id < own.count; id++) {
          const bytes = Uint8Array.from({ length: sizeOf(own, id) }, () => stream.next().value as number);
          const back = encodeValue(own, id, decodeValue(own, id, bytes));
          expect([id, ...back]).toEqual([id, ...bytes]);
        }
      }),
      { seed: 11, numRuns: 300 },
    );
  });
});
