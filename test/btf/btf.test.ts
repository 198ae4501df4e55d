import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  alignmentOf,
  type Btf,
  type BtfType,
  findMember,
  parseBtf,
  resolve,
  sizeOf,
} from "../../src/btf/index.ts";
import { parseElf } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";
import { type BtfSource, buildBtf, int, member } from "./build.ts";

/** One type of each of the 19 kinds. */
const EVERY_KIND: readonly BtfSource[] = [
  int("int", 4, { signed: true }),
  int("char", 1, { char: true }),
  int("_Bool", 1, { bool: true }),
  int("flag", 4, { bits: 3, bitOffset: 5 }),
  { kind: "ptr", name: "", type: 1 },
  { kind: "array", name: "", type: 1, indexType: 1, length: 7 },
  { kind: "struct", name: "pair", size: 8, members: [member("a", 1, 0), member("b", 1, 32)] },
  { kind: "struct", name: "bits", size: 4, members: [member("a", 1, 0, 3), member("b", 1, 3, 29)] },
  { kind: "union", name: "either", size: 8, members: [member("p", 5, 0), member("i", 1, 0)] },
  {
    kind: "enum",
    name: "color",
    size: 4,
    signed: false,
    values: [
      { name: "RED", value: 0n },
      { name: "BLUE", value: 0xffffffffn },
    ],
  },
  { kind: "enum", name: "level", size: 4, signed: true, values: [{ name: "LOW", value: -5n }] },
  { kind: "fwd", name: "later", union: false },
  { kind: "fwd", name: "other", union: true },
  { kind: "typedef", name: "word", type: 1 },
  { kind: "volatile", name: "", type: 14 },
  { kind: "const", name: "", type: 15 },
  { kind: "restrict", name: "", type: 5 },
  {
    kind: "func_proto",
    name: "",
    type: 1,
    parameters: [
      { name: "ctx", type: 5 },
      { name: "", type: 0 },
    ],
  },
  { kind: "func", name: "main", type: 18, linkage: "global" },
  { kind: "var", name: "counter", type: 16, linkage: "static" },
  { kind: "datasec", name: ".data", size: 4, variables: [{ type: 20, offset: 0, size: 4 }] },
  { kind: "float", name: "double", size: 8 },
  { kind: "decl_tag", name: "tag", type: 7, component: 1, attribute: false },
  { kind: "decl_tag", name: "whole", type: 7, component: -1, attribute: false },
  { kind: "type_tag", name: "user", type: 1, attribute: false },
  {
    kind: "enum64",
    name: "huge",
    size: 8,
    signed: false,
    values: [{ name: "MAX", value: 0xffff_ffff_ffff_ffffn }],
  },
  { kind: "enum64", name: "deep", size: 8, signed: true, values: [{ name: "MIN", value: -(1n << 63n) }] },
];

function failure(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
    return error as BpfError;
  }
  throw new Error("nothing was thrown");
}

describe("decoding", () => {
  it.each([true, false])("reads every kind, little-endian: %s", (littleEndian) => {
    const btf = parseBtf(buildBtf(EVERY_KIND, { littleEndian }));
    expect(btf.littleEndian).toBe(littleEndian);
    expect(btf.count).toBe(EVERY_KIND.length + 1);
    expect([...btf.types()]).toEqual(EVERY_KIND.map((type, index) => ({ ...type, id: index + 1 })));
    expect(btf.type(0)).toEqual({ id: 0, kind: "void", name: "" });
    expect(EVERY_KIND.map((_, index) => btf.kind(index + 1))).toEqual(EVERY_KIND.map(({ kind }) => kind));
  });

  it("finds types by name and kind", () => {
    const btf = parseBtf(buildBtf([...EVERY_KIND, { kind: "union", name: "pair", size: 0, members: [] }]));
    expect(btf.find("pair").map(({ id }) => id)).toEqual([7, EVERY_KIND.length + 1]);
    expect(btf.find("pair", "union").map(({ id }) => id)).toEqual([EVERY_KIND.length + 1]);
    expect(btf.find("__proto__")).toEqual([]);
    expect(btf.find("mai")).toEqual([]);
  });

  it("gives names in any alphabet", () => {
    const btf = parseBtf(buildBtf([int("größe", 4), int("x".repeat(300), 4)]));
    expect(btf.find("größe")).toHaveLength(1);
    expect(btf.find("x".repeat(300))).toHaveLength(1);
    expect(btf.find("x".repeat(299))).toHaveLength(0);
  });

  it("reads a Buffer in the middle of its pool", () => {
    const bytes = buildBtf(EVERY_KIND);
    const pool = Buffer.alloc(bytes.length + 64, 0x55);
    pool.set(bytes, 32);
    expect(parseBtf(pool.subarray(32, 32 + bytes.length)).type(7).name).toBe("pair");
  });
});

describe("split BTF", () => {
  const base = parseBtf(buildBtf(EVERY_KIND));

  it("continues the ids and strings of its base", () => {
    const split = parseBtf(
      buildBtf(
        [
          { kind: "ptr", name: "", type: 7 },
          { kind: "typedef", name: "pair_t", type: base.count },
        ],
        {
          stringBase: base.stringEnd,
        },
      ),
      { base },
    );
    expect(split.firstId).toBe(base.count);
    expect(split.count).toBe(base.count + 2);
    expect(split.type(base.count + 1)).toMatchObject({ kind: "typedef", name: "pair_t", type: base.count });
    expect(split.type(7)).toBe(base.type(7));
    expect(split.find("pair").map(({ id }) => id)).toEqual([7]);
    expect(split.find("pair_t").map(({ id }) => id)).toEqual([base.count + 1]);
  });

  it("refuses a base of the other byte order", () => {
    expect(failure(() => parseBtf(buildBtf([], { littleEndian: false }), { base })).message).toMatch(
      /byte order/,
    );
  });
});

describe("damage", () => {
  const good = buildBtf(EVERY_KIND);
  const patched = (offset: number, ...bytes: number[]): Uint8Array => {
    const copy = good.slice();
    copy.set(bytes, offset);
    return copy;
  };
  const cases: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
    ["empty", new Uint8Array(0), /too short/],
    ["other bytes", Uint8Array.of(1, 2, 3, 4), /begins with 01 02/],
    ["cut in the header", good.slice(0, 20), /cut off in its header/],
    ["a version of the future", patched(2, 2), /version 2/],
    ["a small header", patched(4, 8), /types \(bytes/],
    ["types beyond the end", patched(12, 0xff, 0xff, 0xff, 0x7f), /types .*outside/],
    ["strings beyond the end", patched(20, 0xff, 0xff, 0xff, 0xff), /strings .*outside/],
    ["types out of line", patched(4, 25), /not aligned to 4|outside/],
    ["an unknown kind", patched(24 + 7, 0x7e), /type 1 is of kind 126/],
    ["a type that is cut off", patched(12, 24, 0), /type 2 \(int\) goes beyond|type 2 is cut off/],
    ["no NUL at the end of the strings", patched(good.length - 1, 65), /last string is not terminated/],
  ];
  it.each(cases)("%s", (_what, bytes, message) => {
    const error = failure(() => parseBtf(bytes));
    expect(error.code).toBe("btf");
    expect(error.message).toMatch(message);
  });

  const bodies: readonly (readonly [what: string, type: BtfSource, message: RegExp])[] = [
    ["a type that does not exist", { kind: "ptr", name: "", type: 99 }, /type 1 refers to type 99/],
    [
      "a member's type",
      { kind: "struct", name: "s", size: 4, members: [member("a", 50, 0)] },
      /refers to type 50/,
    ],
    ["an int of no bits", int("i", 4, { bits: 0 }), /0 bits from bit 0 in 4 bytes/],
    ["an int of too many bits", int("i", 4, { bits: 33 }), /33 bits/],
    ["a huge int", int("i", 4000, { bits: 8 }), /8 bits from bit 0 in 4000 bytes/],
    ["an enum of 3 bytes", { kind: "enum", name: "e", size: 3, signed: false, values: [] }, /has 3 bytes/],
    ["a float of 5 bytes", { kind: "float", name: "f", size: 5 }, /has 5 bytes/],
  ];
  it.each(bodies)("%s, when the type is asked for", (_what, type, message) => {
    const btf = parseBtf(buildBtf([type]));
    expect(failure(() => btf.type(1)).message).toMatch(message);
  });

  it("an id that does not exist", () => {
    expect(failure(() => parseBtf(good).type(4711)).message).toMatch(/type 4711 does not exist/);
  });

  it("survives mutation: only BpfError, no hang", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        fc.nat(good.length),
        (changes, cut) => {
          const bytes = good.slice(0, cut % 3 === 0 ? cut : good.length);
          for (const [offset, value] of changes) if (offset < bytes.length) bytes[offset] = value;
          try {
            const btf = parseBtf(bytes);
            btf.find("pair");
            for (let id = 0; id < btf.count; id++) {
              attempt(() => btf.type(id));
              attempt(() => resolve(btf, id));
              attempt(() => sizeOf(btf, id));
              attempt(() => alignmentOf(btf, id));
              attempt(() => findMember(btf, id, "a"));
            }
          } catch (error) {
            expect(error).toBeInstanceOf(BpfError);
          }
        },
      ),
      { seed: 7, numRuns: 5000 },
    );
  });
});

function attempt(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
  }
}

describe("sizes and alignments", () => {
  const types: readonly BtfSource[] = [
    int("u32", 4), // 1
    int("u8", 1), // 2
    int("u128", 16), // 3
    { kind: "ptr", name: "", type: 0 }, // 4
    { kind: "array", name: "", type: 1, indexType: 1, length: 5 }, // 5
    { kind: "array", name: "", type: 5, indexType: 1, length: 3 }, // 6
    { kind: "struct", name: "s", size: 16, members: [member("p", 4, 0), member("b", 2, 64)] }, // 7
    { kind: "struct", name: "packed", size: 9, members: [member("b", 2, 0), member("p", 4, 8)] }, // 8
    { kind: "typedef", name: "t", type: 7 }, // 9
    { kind: "const", name: "", type: 9 }, // 10
    { kind: "var", name: "v", type: 10, linkage: "global" }, // 11
    { kind: "func_proto", name: "", type: 0, parameters: [] }, // 12
    { kind: "fwd", name: "f", union: false }, // 13
    { kind: "array", name: "", type: 1, indexType: 1, length: 0xffff_ffff }, // 14
    { kind: "typedef", name: "loop", type: 15 }, // 15
    { kind: "array", name: "", type: 16, indexType: 1, length: 1 }, // 16
    { kind: "struct", name: "self", size: 8, members: [member("again", 17, 0)] }, // 17
    { kind: "array", name: "", type: 2, indexType: 1, length: 0 }, // 18
  ];
  const btf = parseBtf(buildBtf(types));
  it.each([
    [1, 4, 4],
    [2, 1, 1],
    [3, 16, 8],
    [4, 8, 8],
    [5, 20, 4],
    [6, 60, 4],
    [7, 16, 8],
    [8, 9, 1],
    [9, 16, 8],
    [10, 16, 8],
    [11, 16, 8],
    [18, 0, 1],
  ])("type %i: %i bytes, aligned to %i", (id, size, alignment) => {
    expect(sizeOf(btf, id)).toBe(size);
    expect(alignmentOf(btf, id)).toBe(alignment);
  });
  it.each([
    [0, /has no size/],
    [12, /type 12 \(func_proto\) has no size/],
    [13, /type 13 \(fwd f\) has no size/],
    [14, /more than 4 GiB/],
    [15, /deeper than 32/],
    [16, /deeper than 32/],
  ])("type %i has none", (id, message) => {
    expect(failure(() => sizeOf(btf, id)).message).toMatch(message);
  });
  it("of a structure that contains itself: its alignment has no end", () => {
    expect(failure(() => alignmentOf(btf, 17)).message).toMatch(/deeper than 32/);
    expect(findMember(btf, 17, "nothing")).toBeUndefined();
  });
});

/** Types as `bpftool -j btf dump` prints them. */
function asBpftool(type: BtfType): Record<string, unknown> {
  const head = { id: type.id, kind: type.kind.toUpperCase(), name: type.name || "(anon)" };
  switch (type.kind) {
    case "int": {
      const encoding = type.signed ? "SIGNED" : type.char ? "CHAR" : type.bool ? "BOOL" : "(none)";
      return { ...head, size: type.size, bits_offset: type.bitOffset, nr_bits: type.bits, encoding };
    }
    case "ptr":
    case "const":
    case "volatile":
    case "restrict":
    case "typedef":
    case "type_tag":
      return { ...head, type_id: type.type };
    case "array":
      return { ...head, type_id: type.type, index_type_id: type.indexType, nr_elems: type.length };
    case "struct":
    case "union":
      return {
        ...head,
        size: type.size,
        vlen: type.members.length,
        members: type.members.map((row) => ({
          name: row.name || "(anon)",
          type_id: row.type,
          bits_offset: row.bitOffset,
          ...(row.bitSize === 0 ? {} : { bitfield_size: row.bitSize }),
        })),
      };
    case "enum":
    case "enum64":
      return {
        ...head,
        encoding: type.signed ? "SIGNED" : "UNSIGNED",
        size: type.size,
        vlen: type.values.length,
        // bpftool 7.1 prints unsigned enumerators above 2^31 sign-extended.
        values: type.values.map((row) => ({ name: row.name, val: Number(BigInt.asIntN(32, row.value)) })),
      };
    case "fwd":
      return { ...head, fwd_kind: type.union ? "union" : "struct" };
    case "func":
    case "var":
      return { ...head, type_id: type.type, linkage: type.linkage };
    case "func_proto":
      return {
        ...head,
        ret_type_id: type.type,
        vlen: type.parameters.length,
        params: type.parameters.map((row) => ({ name: row.name || "(anon)", type_id: row.type })),
      };
    case "datasec":
      return {
        ...head,
        size: type.size,
        vlen: type.variables.length,
        vars: type.variables.map((row) => ({ type_id: row.type, offset: row.offset, size: row.size })),
      };
    case "float":
      return { ...head, size: type.size };
    case "decl_tag":
      return { ...head, type_id: type.type, component_idx: type.component };
    case "void":
      return head;
  }
}

interface Dumped {
  readonly kind: string;
  readonly params?: readonly { name?: string }[];
  readonly values?: readonly { val: number }[];
}

function fromBpftool(types: readonly Dumped[]): unknown {
  return types.map((type) => ({
    ...type,
    ...(type.params ? { params: type.params.map((row) => ({ ...row, name: row.name ?? "(anon)" })) } : {}),
    ...(type.values
      ? { values: type.values.map((row) => ({ ...row, val: Number(BigInt.asIntN(32, BigInt(row.val))) })) }
      : {}),
  }));
}

const bpftool = hasTool("bpftool", "version");
const objects = [
  ...readdirSync(join(ROOT, "test/fixtures"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".o"))
    .map((name) => join(ROOT, "test/fixtures", name)),
  ...(hasCorpus ? readdirSync(join(CORPUS, "elf")).map((name) => join(CORPUS, "elf", name)) : []),
];

describe.skipIf(!bpftool)(needs("what bpftool says", bpftool, "bpftool"), () => {
  it(`of the types of ${objects.length} objects, of both byte orders`, () => {
    let types = 0;
    for (const path of objects) {
      const elf = parseElf(readFileSync(path), { name: path });
      const section = elf.sections.find(({ name }) => name === ".BTF");
      if (section === undefined) continue;
      const btf = parseBtf(elf.data(section));
      const { stdout } = spawnSync("bpftool", ["-j", "btf", "dump", "file", path], {
        encoding: "utf8",
        maxBuffer: 1 << 26,
      });
      const dumped = JSON.parse(stdout) as { types: readonly Dumped[] };
      expect([...btf.types()].map(asBpftool)).toEqual(fromBpftool(dumped.types));
      types += dumped.types.length;
    }
    expect(types).toBeGreaterThan(1000);
  });
});

const VMLINUX = "/sys/kernel/btf/vmlinux";
const hasVmlinux = existsSync(VMLINUX);

describe.skipIf(!hasVmlinux)(needs("the kernel's own types", hasVmlinux, VMLINUX), () => {
  const btf: Btf = hasVmlinux ? parseBtf(readFileSync(VMLINUX)) : parseBtf(buildBtf([]));

  it("all decode, and what has a size has an alignment", () => {
    let sized = 0;
    for (const type of btf.types()) {
      if (type.kind !== "struct" && type.kind !== "union" && type.kind !== "int") continue;
      expect(sizeOf(btf, type.id)).toBe(type.size);
      const alignment = alignmentOf(btf, type.id);
      if (type.size % alignment !== 0)
        throw new Error(`${type.name}: ${type.size} bytes, aligned to ${alignment}`);
      sized++;
    }
    expect(sized).toBeGreaterThan(5000);
  });

  it("are found by name", () => {
    const [task] = btf.find("task_struct", "struct");
    expect(task).toBeDefined();
    const pid = findMember(btf, (task as BtfType).id, "pid");
    expect(resolve(btf, (pid as { type: number }).type)).toMatchObject({
      kind: "int",
      size: 4,
      signed: true,
    });
  });
});
