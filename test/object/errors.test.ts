import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type ElfSource,
  SECTION_FLAGS,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  writeElf,
} from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { encodeInstructions } from "../../src/isa/index.ts";
import { linkProgram, parseObject } from "../../src/object/index.ts";
import { type BtfSource, buildBtf, int, member } from "../btf/build.ts";
import { CORPUS, hasCorpus, needs, ROOT } from "../helpers.ts";
import { corpus, failure, fixture } from "./fixtures.ts";

const CODE = SECTION_FLAGS.alloc | SECTION_FLAGS.execinstr;
const { func: FUNC, object: OBJECT, section: SECTION } = SYMBOL_TYPES;
const LOCAL = SYMBOL_BINDINGS.local;

const slot = (opcode: number, src = 0, imm = 0): Parameters<typeof encodeInstructions>[0][number] => ({
  opcode,
  dst: 0,
  src,
  offset: 0,
  imm,
});
const lddw = (src = 0, imm = 0): ReturnType<typeof slot>[] => [slot(0x18, src, imm), slot(0)];
const exit = slot(0x95);

/** An object of one program, `lddw; call; exit`, and a `.data` section of 8 bytes. */
function program(
  rest: Partial<ElfSource> & {
    readonly lddw?: number;
    readonly call?: number;
    readonly callSource?: number;
  } = {},
): ElfSource {
  const data = encodeInstructions([
    ...lddw(0, rest.lddw ?? 0),
    slot(0x85, rest.callSource ?? 1, rest.call ?? -1),
    exit,
  ]);
  return {
    ...rest,
    sections: [
      { name: "xdp", data, flags: CODE },
      { name: ".data", data: new Uint8Array(8), flags: 3 },
      ...(rest.sections ?? []),
    ],
    symbols: [
      { name: "main", section: 0, type: FUNC, size: 32 },
      { name: "", section: 1, type: SECTION, binding: LOCAL },
      ...(rest.symbols ?? []),
    ],
    relocations: rest.relocations ?? [],
  };
}

/** Symbols of {@link program} by number: 0 main, 1 the section .data, 2 and up what a case adds. */
const at = (offset: number, type: number, symbol: number): NonNullable<ElfSource["relocations"]>[number] => ({
  section: 0,
  offset,
  type,
  symbol,
});
/** A relocation that makes the call fine. */
const goodCall = at(16, 10, 0);

describe("relocations", () => {
  const cases: readonly (readonly [
    what: string,
    source: ElfSource,
    message: RegExp,
    instruction?: number,
  ])[] = [
    [
      "an unknown type",
      program({ relocations: [goodCall, at(0, 77, 1)] }),
      /section 'xdp': instruction 0 \(in 'main'\): relocation: its type 77 is not known/,
      0,
    ],
    [
      "one for data at an instruction",
      program({ relocations: [goodCall, at(0, 2, 1)] }),
      /R_BPF_64_ABS64 does not apply to an instruction with opcode 0x18/,
      0,
    ],
    [
      "one for calls at an lddw",
      program({ relocations: [goodCall, at(0, 10, 1)] }),
      /R_BPF_64_32 does not apply to an instruction with opcode 0x18/,
      0,
    ],
    [
      "one for lddw at an exit",
      program({ relocations: [goodCall, at(24, 1, 1)] }),
      /R_BPF_64_64 does not apply to an instruction with opcode 0x95/,
      3,
    ],
    [
      "the second slot of an lddw",
      program({ relocations: [goodCall, at(8, 1, 1)] }),
      /does not apply to an instruction with opcode 0x00/,
      1,
    ],
    [
      "the middle of an instruction",
      program({ relocations: [goodCall, at(4, 1, 1)] }),
      /byte 4 begins no instruction/,
    ],
    [
      "two for one instruction",
      program({ relocations: [goodCall, at(0, 1, 1), at(0, 1, 1)] }),
      /instruction 0 .* has two relocations/,
      0,
    ],
    [
      "beyond the data",
      program({ lddw: 9, relocations: [goodCall, at(0, 1, 1)] }),
      /byte 9 lies outside of section '\.data' \(8 bytes\)/,
      0,
    ],
    [
      "before the data",
      program({ lddw: -1, relocations: [goodCall, at(0, 1, 1)] }),
      /byte -1 lies outside/,
      0,
    ],
    [
      "no function there",
      program({ call: 0, relocations: [goodCall] }),
      /no function begins at slot 1 of section 'xdp'/,
      2,
    ],
    [
      "a call without relocation",
      program({ call: 100 }),
      /section 'xdp': instruction 2 \(in 'main'\): no function begins at slot 103/,
      2,
    ],
    [
      "a helper call with the symbol of a function",
      program({ callSource: 0, relocations: [goodCall] }),
      /the call is not marked as one of a function/,
      2,
    ],
    [
      "a call into data",
      program({ relocations: [at(16, 10, 1)] }),
      /a call into section '\.data', which holds no program/,
      2,
    ],
    [
      "a section of neither kind",
      program({
        sections: [{ name: ".comment", data: new Uint8Array(4), flags: 0 }],
        symbols: [{ name: "c", section: 2, type: OBJECT }],
        relocations: [goodCall, at(0, 1, 2)],
      }),
      /relocation against 'c': section '\.comment' holds neither programs nor maps nor variables/,
      0,
    ],
    [
      "a nameless symbol of nowhere",
      program({ symbols: [{ name: "" }], relocations: [goodCall, at(0, 1, 2)] }),
      /neither defined nor named/,
      0,
    ],
  ];
  it.each(cases)("%s", (...row) => {
    const [, source, message, instruction] = row as unknown as (typeof cases)[number];
    const error = failure(() => parseObject(writeElf(source), { name: "x.o" }));
    expect(error.code).toBe("relocation");
    expect(error.message).toMatch(message);
    expect(error.where).toMatchObject({ file: "x.o", section: "xdp" });
    if (instruction !== undefined) expect(error.where).toMatchObject({ instruction, program: "main" });
  });

  it("a variable that was never given a section (SHN_COMMON)", () => {
    const bytes = writeElf(
      program({
        symbols: [{ name: "shared", section: 1, type: OBJECT }],
        relocations: [goodCall, at(0, 1, 2)],
      }),
    );
    const view = new DataView(bytes.buffer);
    const headers = Number(view.getBigUint64(40, true));
    const count = view.getUint16(60, true);
    const symtab = Number(view.getBigUint64(headers + (count - 2) * 64 + 24, true));
    for (let entry = symtab; ; entry += 24) {
      if (view.getUint8(entry + 4) !== ((1 << 4) | OBJECT)) continue;
      view.setUint16(entry + 6, 0xfff2, true);
      break;
    }
    expect(failure(() => parseObject(bytes)).message).toMatch(
      /against 'shared': a variable without a section; .*-fno-common/,
    );
  });

  it("the source line is named where it is known", () => {
    const path = join(ROOT, "test/fixtures/calls.bpf.o");
    const bytes = new Uint8Array(readFileSync(path));
    const view = new DataView(bytes.buffer);
    const headers = Number(view.getBigUint64(40, true));
    for (let index = 0; index < view.getUint16(60, true); index++) {
      const header = headers + index * 64;
      // The first SHT_REL section relocates .text or xdp; its first entry gets a type that does not exist.
      if (view.getUint32(header + 4, true) !== 9) continue;
      view.setUint32(Number(view.getBigUint64(header + 24, true)) + 8, 200, true);
      break;
    }
    const error = failure(() => parseObject(bytes, { name: path }));
    expect(error.message).toMatch(/its type 200 is not known/);
    expect(error.where.source).toMatch(/calls\.bpf\.c:\d+$/);
  });
});

describe("functions and programs", () => {
  const func = { section: 0, type: FUNC };
  const two = encodeInstructions([slot(0xb7), exit, slot(0xb7), exit]);
  const cases: readonly (readonly [what: string, source: ElfSource, message: RegExp])[] = [
    [
      "half an instruction",
      { sections: [{ name: "xdp", data: new Uint8Array(12), flags: CODE }] },
      /section 'xdp': 12 bytes are no whole number/,
    ],
    [
      "a function that begins in the middle",
      {
        sections: [{ name: "xdp", data: two, flags: CODE }],
        symbols: [{ ...func, name: "f", value: 4, size: 8 }],
      },
      /function 'f' \(offset 4, 8 bytes\) is not made of whole/,
    ],
    [
      "a function across the end",
      { sections: [{ name: "xdp", data: two, flags: CODE }], symbols: [{ ...func, name: "f", size: 40 }] },
      /function 'f' .*crosses the end of the section \(32 bytes\)/,
    ],
    [
      "functions that overlap",
      {
        sections: [{ name: "xdp", data: two, flags: CODE }],
        symbols: [
          { ...func, name: "f", size: 24 },
          { ...func, name: "g", value: 16, size: 16 },
        ],
      },
      /functions 'f' and 'g' overlap/,
    ],
    [
      "one name for two programs",
      {
        sections: [
          { name: "xdp", data: two, flags: CODE },
          { name: "tc", data: two, flags: CODE },
        ],
        symbols: [
          { ...func, name: "f", size: 32 },
          { name: "f", section: 1, type: FUNC, size: 32 },
        ],
      },
      /program 'f': is defined in 'xdp' and in 'tc'/,
    ],
    [
      "a short version",
      { sections: [{ name: "version", data: new Uint8Array(2) }] },
      /section 'version': needs 4 bytes and has 2/,
    ],
  ];
  it.each(cases)("%s", (_what, source, message) => {
    const error = failure(() => parseObject(writeElf(source)));
    expect(error.code).toBe("object");
    expect(error.message).toMatch(message);
  });
});

/** Types of a map definition: 1 int, 2 __u64; `number(n)` is a pointer to an array. */
class Definition {
  readonly types: BtfSource[] = [int("int", 4, { signed: true }), int("__u64", 8)];
  readonly members: ReturnType<typeof member>[] = [];

  add(type: BtfSource): number {
    return this.types.push(type);
  }

  uint(name: string, value: number): this {
    const array = this.add({ kind: "array", name: "", type: 1, indexType: 1, length: value });
    return this.pointer(name, array);
  }

  pointer(name: string, type: number): this {
    return this.field(name, this.add({ kind: "ptr", name: "", type }));
  }

  field(name: string, type: number): this {
    this.members.push(member(name, type, this.members.length * 64));
    return this;
  }

  source(linkage: "global" | "static" = "global"): ElfSource {
    const size = this.members.length * 8;
    const struct = this.add({ kind: "struct", name: "", size, members: this.members });
    const variable = this.add({ kind: "var", name: "m", type: struct, linkage });
    this.add({ kind: "datasec", name: ".maps", size, variables: [{ type: variable, offset: 0, size }] });
    return {
      sections: [
        { name: ".maps", data: new Uint8Array(size), flags: 3 },
        { name: ".BTF", data: buildBtf(this.types), flags: 0 },
      ],
      symbols: [{ name: "m", section: 0, type: OBJECT, size }],
    };
  }
}

const hash = (): Definition => new Definition().uint("type", 1);

describe("map definitions", () => {
  const cases: readonly (readonly [what: string, source: ElfSource, message: RegExp])[] = [
    ["no type", new Definition().uint("max_entries", 1).source(), /map 'm': its definition names no type/],
    ["a static map", hash().source("static"), /map 'm': is static/],
    [
      "conflicting key sizes",
      hash().uint("key_size", 4).pointer("key", 2).source(),
      /map 'm': conflicting key sizes: 4 and 8/,
    ],
    [
      "conflicting value sizes",
      hash().pointer("value", 2).uint("value_size", 16).source(),
      /map 'm': conflicting value sizes: 8 and 16/,
    ],
    [
      "a key without a size",
      hash().pointer("key", 0).source(),
      /map 'm': the size of its key cannot be told/,
    ],
    [
      "a key that is no pointer",
      hash().field("key", 1).source(),
      /map 'm': 'key' must be a pointer to its type, not int/,
    ],
    [
      "a number that is none",
      hash().field("max_entries", 1).source(),
      /map 'm': 'max_entries' must be a number/,
    ],
    [
      "a number that points to no array",
      hash().pointer("max_entries", 1).source(),
      /a pointer to an array, not to int/,
    ],
    ["an unknown member", hash().uint("colour", 1).source(), /map 'm': has an unknown member 'colour'/],
    [
      "'values' of a hash",
      (() => {
        const definition = hash();
        const pointer = definition.add({ kind: "ptr", name: "", type: 1 });
        return definition
          .field(
            "values",
            definition.add({ kind: "array", name: "", type: pointer, indexType: 1, length: 0 }),
          )
          .source();
      })(),
      /'values' is for maps of maps and program arrays, not for hash/,
    ],
    [
      "'values' before the end",
      (() => {
        const definition = new Definition().uint("type", 3);
        const pointer = definition.add({ kind: "ptr", name: "", type: 1 });
        return definition
          .field(
            "values",
            definition.add({ kind: "array", name: "", type: pointer, indexType: 1, length: 0 }),
          )
          .uint("max_entries", 1)
          .source();
      })(),
      /'values' must be the last member/,
    ],
  ];
  it.each(cases)("%s", (_what, source, message) => {
    const error = failure(() => parseObject(writeElf(source)));
    expect(error.code).toBe("map");
    expect(error.where).toMatchObject({ map: "m", section: ".maps" });
    expect(error.message).toMatch(message);
  });

  it("sizes that agree may be given twice", () => {
    const spec = parseObject(writeElf(hash().uint("key_size", 8).pointer("key", 2).source()));
    expect(spec.maps["m"]).toMatchObject({ type: "hash", keySize: 8, key: 2 });
  });

  it("a type that Linux 6.18 does not have is kept by its number", () => {
    const spec = parseObject(writeElf(new Definition().uint("type", 99).source()));
    expect(spec.maps["m"]).toMatchObject({ type: "unknown", typeId: 99 });
  });

  it("definitions without BTF", () => {
    const error = failure(() =>
      parseObject(writeElf({ sections: [{ name: ".maps", data: new Uint8Array(8) }] })),
    );
    expect(error.code).toBe("object");
    expect(error.message).toMatch(
      /section '\.maps': map definitions need BTF, which the object lacks; compile it with -g/,
    );
  });

  it.each([
    ["too short", 16, {}, /map 'm': its definition has 16 bytes, less than struct bpf_map_def \(20\)/],
    ["static", 20, { binding: LOCAL }, /map 'm': is static/],
    ["beyond the section", 28, { size: 40 }, /map 'm': .*crosses the end/],
  ])("old definitions that are %s", (_what, length, symbol, message) => {
    const source = {
      sections: [{ name: "maps", data: new Uint8Array(length).fill(1), flags: 3 }],
      symbols: [{ name: "m", section: 0, type: OBJECT, size: length, ...symbol }],
    };
    const error = failure(() => parseObject(writeElf(source)));
    expect(error.code).toBe("map");
    expect(error.message).toMatch(message);
  });

  it("program without a map where its relocation points", () => {
    const source = program({
      sections: [{ name: "maps", data: new Uint8Array(40), flags: 3 }],
      symbols: [
        { name: "m", section: 2, type: OBJECT, size: 20 },
        { name: "gap", section: 2, type: FUNC, value: 4 },
      ],
      relocations: [goodCall, at(0, 1, 3)],
    });
    const error = failure(() => parseObject(writeElf(source)));
    expect(error.code).toBe("relocation");
    expect(error.message).toMatch(
      /instruction 0 \(in 'main'\): relocation against 'gap': section 'maps' defines no map at byte 4/,
    );
  });
});

describe("fixtures that must fail", () => {
  it.each([
    ["uses_missing_map", "missing_map"],
    ["uses_missing_function", "missing_function"],
    ["uses_missing_variable", "missing_variable"],
  ])("%s: nothing defines '%s'", (name, symbol) => {
    const spec = fixture("bad-symbols");
    const error = failure(() => linkProgram(spec, name));
    expect(error.code).toBe("relocation");
    expect(error.message).toContain(`uses '${symbol}', which is declared and nowhere defined`);
    expect(error.where).toMatchObject({ file: "bad-symbols.bpf.o", program: name });
    expect(error.where.source).toMatch(/bad-symbols\.bpf\.c:\d+$/);
  });

  describe.skipIf(!hasCorpus)(needs("of cilium/ebpf", hasCorpus, "corpus"), () => {
    it.each([
      ["invalid_map", "map", /map 'invalid_map': .* byte 2[03] is not zero/],
      ["invalid_map_static", "map", /map 'hash_map': is static/],
      ["invalid_btf_map_init", "map", /map 'hash_map': its definition is initialised/],
    ] as const)("%s does not parse", (name, code, message) => {
      for (const order of ["el", "eb"] as const) {
        const error = failure(() => corpus(name, order));
        expect(error.code).toBe(code);
        expect(error.message).toMatch(message);
      }
    });

    it.each([
      ["fwd_decl", "call_fwd", "relocation", /uses 'fwd', which is declared and nowhere defined/],
      ["invalid-kfunc", "call_kfunc", "unsupported", /kernel function 'bpf_kfunc_call_test_mem_len_pass1'/],
      ["kconfig", "kconfig", "unsupported", /kernel configuration value 'LINUX_KERNEL_VERSION'/],
      ["ksym", "ksym_test", "unsupported", /kernel symbol 'bpf_trace_run1'/],
    ] as const)("%s parses, and %s does not link", (name, entry, code, message) => {
      for (const order of ["el", "eb"] as const) {
        const error = failure(() => linkProgram(corpus(name, order), entry));
        expect(error.code).toBe(code);
        expect(error.message).toMatch(message);
      }
    });
  });
});

describe("truncation", () => {
  const paths = [
    join(ROOT, "examples/firewall/firewall.bpf.o"),
    join(ROOT, "test/fixtures/callbacks.bpf.o"),
    join(ROOT, "test/fixtures/globals.nobtf.bpf.o"),
    ...(hasCorpus
      ? ["loader-clang-22-eb", "struct_ops-el"].map((name) => join(CORPUS, `elf/${name}.elf`))
      : []),
  ];
  it.each(paths)("%s at every 97th byte is one clear error", (path) => {
    const whole = readFileSync(path);
    parseObject(whole);
    for (let length = 0; length < whole.length; length += 97) {
      const error = failure(() => parseObject(whole.subarray(0, length), { name: "cut.o" }));
      expect(error.code).toBe("elf");
      expect(error.message).toMatch(/^cut\.o: (cut off|not an ELF file: it is empty)/);
    }
  });
});

describe("memory", () => {
  it("of a .bss that no machine has is refused by its size", () => {
    const bytes = writeElf({
      sections: [{ name: ".bss", data: new Uint8Array(0), type: 8 }],
      symbols: [{ name: "x", section: 0, type: OBJECT }],
    });
    const view = new DataView(bytes.buffer);
    view.setBigUint64(Number(view.getBigUint64(40, true)) + 64 + 32, 1n << 40n, true);
    const error = failure(() => parseObject(bytes));
    expect(error).toBeInstanceOf(BpfError);
    expect(error.message).toMatch(
      /section '\.bss': 1099511627776 bytes, and a map value holds at most 2147483647/,
    );
  });
});
