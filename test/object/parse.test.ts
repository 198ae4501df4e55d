import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { typeName } from "../../src/btf/index.ts";
import {
  type ElfSource,
  SECTION_FLAGS,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  writeElf,
} from "../../src/elf/index.ts";
import { encodeInstructions } from "../../src/isa/index.ts";
import { type MapSpec, type ObjectSpec, parseObject } from "../../src/object/index.ts";
import { CORPUS, hasCorpus, needs, ROOT } from "../helpers.ts";
import { corpus, fixture } from "./fixtures.ts";

/** The parts of a map that a test names, with the C names of its types. */
function mapRow(spec: ObjectSpec, name: string): Record<string, unknown> {
  const map = spec.maps[name] as MapSpec;
  const c = (id: number | undefined): string | undefined =>
    id === undefined || spec.btf === undefined ? undefined : typeName(spec.btf, id);
  const { type, keySize, valueSize, maxEntries, flags } = map;
  return { type, keySize, valueSize, maxEntries, flags, key: c(map.key), value: c(map.value) };
}

describe("programs", () => {
  it("several in a section, by symbol: weak and hidden ones too", () => {
    const spec = fixture("sections");
    expect(Object.values(spec.programs).map(({ name, section, type }) => [name, section, type])).toEqual([
      ["xdp_1", "xdp", "xdp"],
      ["xdp_2", "xdp", "xdp"],
      ["xdp_3", "xdp", "xdp"],
      ["xdp_weak", "xdp", "xdp"],
      ["xdp_frags", "xdp.frags", "xdp"],
      ["tc_1", "tc", "sched_cls"],
      ["tc_hidden", "tc", "sched_cls"],
      ["tc_2", "classifier", "sched_cls"],
      ["tc_action", "action", "sched_act"],
      ["socket_1", "socket", "socket_filter"],
      ["socket_2", "socket", "socket_filter"],
    ]);
    for (const [index, name] of ["xdp_1", "xdp_2"].entries()) {
      expect(spec.programs[name]?.instructions[0]).toMatchObject({ opcode: 0xb4, imm: index + 1 });
    }
    expect(spec.programs["xdp_frags"]?.flags).toEqual({
      autoload: true,
      sleepable: false,
      frags: true,
      attachBtf: false,
    });
    expect(spec.programs["xdp_weak"]?.function.linkage).toBe("weak");
    expect(spec.programs["xdp_1"]).toMatchObject({ license: "Dual BSD/GPL", kernelVersion: 0x61200 });
    expect(spec.license).toBe("Dual BSD/GPL");
    expect(spec.kernelVersion).toBe(0x61200);
  });

  it("by the names of their sections", () => {
    const { programs } = fixture("types");
    expect(programs["on_not_loaded_by_default"]).toMatchObject({
      section: "xdp",
      type: "xdp",
      flags: { autoload: false },
    });
    expect(programs["on_uprobe"]).toMatchObject({ type: "kprobe", attachTo: "/bin/true:main" });
    expect(programs["on_fexit_sleepable"]).toMatchObject({
      type: "tracing",
      attachType: "trace_fexit",
      attachTo: "vfs_read",
      flags: { sleepable: true, attachBtf: true, autoload: true },
    });
  });

  it("of sections that name no type are subprograms if somebody calls them", () => {
    const spec = fixture("cross-section");
    expect(Object.keys(spec.programs)).toEqual(["cross"]);
    expect(spec.functions.map(({ name, section, linkage }) => [name, section, linkage])).toEqual([
      ["in_text", ".text", "global"],
      ["in_library", "library", "global"],
      ["local_in_library", "library", "static"],
      ["cross", "socket/named", "global"],
    ]);
  });

  it("are hidden where only a linker sees them", () => {
    const linkages = fixture("hidden").functions.map(({ name, linkage }) => [name, linkage]);
    expect(linkages.sort()).toEqual([
      ["global_store", "global"],
      ["hidden_functions", "global"],
      ["hidden_store", "hidden"],
      ["weak_store", "hidden"],
    ]);
  });

  it("have the source lines of their own instructions", () => {
    const spec = fixture("calls");
    const source = readFileSync(join(ROOT, "test/fixtures/calls.bpf.c"), "utf8").split("\n");
    for (const { lines, instructions } of spec.functions) {
      expect(lines[0]?.slot).toBe(0);
      for (const { slot, line, text } of lines) {
        expect(slot).toBeLessThan(instructions.length);
        expect(text).toBe(source[line - 1]);
      }
    }
  });

  it("carry their BTF function and CO-RE relocations", () => {
    const spec = fixture("calls");
    for (const { name, type } of spec.functions)
      expect(spec.btf?.type(type as number)).toMatchObject({ kind: "func", name });
  });
});

const CODE = SECTION_FLAGS.alloc | SECTION_FLAGS.execinstr;
const exit = (value: number): Uint8Array =>
  encodeInstructions([
    { opcode: 0xb7, dst: 0, src: 0, offset: 0, imm: value },
    { opcode: 0x95, dst: 0, src: 0, offset: 0, imm: 0 },
  ]);
const twice = Uint8Array.of(...exit(1), ...exit(2));

describe("objects of other makers", () => {
  const parse = (source: ElfSource): ObjectSpec => parseObject(writeElf(source));

  it("without symbols: a section is a program of its name", () => {
    const { programs } = parse({ sections: [{ name: "?xdp", data: exit(2), flags: CODE }] });
    expect(programs["xdp"]).toMatchObject({
      type: "xdp",
      flags: { autoload: false },
      instructions: [{ imm: 2 }, {}],
    });
  });

  it("with symbols that have neither type nor size, as clang before 8 wrote them", () => {
    const { programs } = parse({
      sections: [{ name: "xdp", data: twice, flags: CODE }],
      symbols: [
        { name: "one", section: 0 },
        { name: "two", section: 0, value: 16 },
        { name: "LBB0_1", section: 0, value: 8, binding: SYMBOL_BINDINGS.local },
      ],
    });
    expect(Object.values(programs).map(({ name, instructions }) => [name, instructions.length])).toEqual([
      ["one", 2],
      ["two", 2],
    ]);
  });

  it("with nothing but .text: its global functions are programs without a type", () => {
    const func = { section: 0, type: SYMBOL_TYPES.func, size: 16 };
    const { programs } = parse({
      sections: [{ name: ".text", data: twice, flags: CODE }],
      symbols: [
        { ...func, name: "main" },
        { ...func, name: "helper", value: 16, binding: SYMBOL_BINDINGS.local },
      ],
    });
    expect(Object.values(programs).map(({ name, type }) => [name, type])).toEqual([["main", undefined]]);
  });

  it("with two names for the same code", () => {
    const func = { section: 0, type: SYMBOL_TYPES.func, size: 16 };
    const { programs } = parse({
      sections: [{ name: "xdp", data: exit(1), flags: CODE }],
      symbols: [
        { ...func, name: "a" },
        { ...func, name: "b" },
      ],
    });
    expect(programs["a"]?.instructions).toBe(programs["b"]?.instructions);
  });

  it("with names that are no ordinary properties", () => {
    const func = { section: 0, type: SYMBOL_TYPES.func, size: 16 };
    const { programs } = parse({
      sections: [{ name: "xdp", data: twice, flags: CODE }],
      symbols: [
        { ...func, name: "__proto__" },
        { ...func, name: "constructor", value: 16 },
      ],
    });
    expect(Object.keys(programs)).toEqual(["__proto__", "constructor"]);
    expect(programs["__proto__"]?.instructions).toHaveLength(2);
    expect(programs["toString"]).toBeUndefined();
  });

  it("of machine 0, and without anything", () => {
    expect(parse({ sections: [] })).toMatchObject({
      programs: {},
      maps: {},
      variables: {},
      externs: {},
      license: "",
      warnings: [],
    });
  });
});

describe("maps", () => {
  it("defined by BTF", () => {
    const spec = fixture("maps");
    const entries = {
      type: "lru_hash",
      keySize: 4,
      valueSize: 4,
      maxEntries: 16,
      flags: 0,
      key: "__u32",
      value: "__u32",
    };
    expect(mapRow(spec, "lru_hash")).toEqual(entries);
    expect(mapRow(spec, "lazy_hash")).toMatchObject({
      keySize: 8,
      flags: 1,
      key: "struct key",
      value: "struct value",
    });
  });

  const LOADER: readonly (readonly [name: string, row: Record<string, unknown>])[] = [
    [
      "hash_map",
      { type: "hash", keySize: 4, valueSize: 8, maxEntries: 1, flags: 1, key: "uint32_t", value: "uint64_t" },
    ],
    [
      "hash_map2",
      { type: "hash", keySize: 4, valueSize: 8, maxEntries: 2, flags: 0, key: undefined, value: undefined },
    ],
    [
      "btf_pin",
      { type: "hash", keySize: 4, valueSize: 8, maxEntries: 1, flags: 0, key: "uint32_t", value: "uint64_t" },
    ],
    [
      "btf_outer_map",
      {
        type: "array_of_maps",
        keySize: 4,
        valueSize: 4,
        maxEntries: 1,
        flags: 0,
        key: undefined,
        value: undefined,
      },
    ],
    [
      "perf_event_array",
      {
        type: "perf_event_array",
        keySize: 0,
        valueSize: 0,
        maxEntries: 4096,
        flags: 0,
        key: undefined,
        value: "struct perf_event",
      },
    ],
    [
      "btf_typedef_map",
      { type: "array", keySize: 4, valueSize: 8, maxEntries: 1, flags: 0, key: undefined, value: undefined },
    ],
    [
      "bpf_decl_map",
      { type: "array", keySize: 4, valueSize: 8, maxEntries: 1, flags: 0, key: undefined, value: undefined },
    ],
    [
      ".bss",
      { type: "array", keySize: 4, valueSize: 4, maxEntries: 1, flags: 0, key: undefined, value: ".bss" },
    ],
    [
      ".rodata",
      {
        type: "array",
        keySize: 4,
        valueSize: 24,
        maxEntries: 1,
        flags: 0x80,
        key: undefined,
        value: ".rodata",
      },
    ],
    [
      ".rodata.cst32",
      {
        type: "array",
        keySize: 4,
        valueSize: 32,
        maxEntries: 1,
        flags: 0x80,
        key: undefined,
        value: undefined,
      },
    ],
  ];
  describe.skipIf(!hasCorpus)(needs("of cilium/ebpf's loader test", hasCorpus, "corpus"), () => {
    it.each(LOADER)("%s", (name, row) => {
      for (const clang of [14, 17, 22]) {
        if (name === ".rodata.cst32" && clang !== 14) continue;
        for (const order of ["el", "eb"] as const)
          expect(mapRow(corpus(`loader-clang-${clang}`, order), name)).toEqual(row);
      }
    });

    it("pinning, inner maps, frozen data", () => {
      const { maps } = corpus("loader-clang-22");
      expect(maps["btf_pin"]?.pinning).toBe(1);
      expect(maps["btf_outer_map"]?.innerMap).toMatchObject({
        name: "btf_outer_map.inner",
        type: "hash",
        keySize: 4,
        valueSize: 4,
      });
      expect(maps[".rodata"]?.frozen).toBe(true);
      expect(maps[".data"]?.frozen).toBe(false);
    });

    it("program arrays and maps of maps with initial entries", () => {
      for (const order of ["el", "eb"] as const) {
        const { maps } = corpus("btf_map_init", order);
        expect(maps["prog_array_init"]?.values).toEqual([{ index: 1, kind: "program", name: "tail_1" }]);
        expect(maps["outer_map_init"]?.values).toEqual([{ index: 1, kind: "map", name: "inner_map" }]);
      }
    });

    it("map_extra of 64 bits, struct_ops, iproute2", () => {
      expect(corpus("arena").maps["arena"]).toMatchObject({
        type: "arena",
        maxEntries: 100,
        flags: 0x400,
        extra: 1n << 44n,
      });
      expect(corpus("struct_ops").maps["testmod_ops"]).toMatchObject({
        type: "struct_ops",
        keySize: 4,
        valueSize: 24,
        flags: 0x2000,
        values: [{ index: 0, kind: "program", name: "test_1" }],
      });
      expect(corpus("iproute2_map_compat").maps["hash_map"]).toMatchObject({
        type: "hash",
        maxEntries: 2,
        iproute2: { id: 0, pinning: 2, innerId: 0, innerIndex: 0 },
      });
    });
  });

  it("old definitions longer than we know, as far as the rest is zero", () => {
    const spec = fixture("maps-legacy");
    const legacy = Object.values(spec.maps).filter(({ section }) => section === "maps");
    expect(legacy.length).toBeGreaterThan(1);
    for (const map of legacy) expect(map.type).not.toBe("unknown");
    expect(Object.keys(fixture("maps-legacy.nobtf").maps)).toEqual(Object.keys(spec.maps));
  });
});

describe("variables", () => {
  it("have their places, types and initial values", () => {
    const { variables, btf } = fixture("globals");
    const row = (name: string): unknown[] => {
      const variable = variables[name];
      return [
        variable?.map,
        variable?.constant,
        variable?.linkage,
        variable?.get(),
        btf && typeName(btf, variable?.type ?? 0),
      ];
    };
    expect(row("counter")).toEqual([".data", false, "global", 41, "__u32"]);
    expect(row("custom")).toEqual([".data.custom", false, "global", 1000, "__u32"]);
    expect(row("sampling_rate")).toEqual([".rodata", true, "global", 10, "const volatile __u32"]);
    expect(row("label")).toEqual([".rodata", true, "global", "bees", "const volatile char[8]"]);
    expect(row("primes")).toEqual([
      ".rodata",
      true,
      "static",
      [2n, 3n, 5n, 7n, 11n, 13n],
      "const volatile __u64[6]",
    ]);
    expect(row("hidden")).toEqual([".data", false, "static", 77n, "volatile __u64"]);
    expect(row("zeroed")).toEqual([".bss", false, "global", 0n, "__u64"]);
    expect(row("settings")[3]).toEqual({
      name: "skep",
      limit: 0x1122334455667788n,
      ports: [80, 443, 8080],
      enabled: true,
      mode: "BUSY",
      corner: [
        { x: -1, y: 2 },
        { x: 3, y: -4 },
      ],
    });
  });

  it.each(["globals", "globals.eb"])("can be set before a program is loaded (%s)", (name) => {
    const path = join(ROOT, `test/fixtures/${name}.bpf.o`);
    const bytes = readFileSync(path);
    const spec = parseObject(bytes, { name });
    spec.variables["sampling_rate"]?.set(77);
    spec.variables["verbose"]?.set(true);
    spec.variables["zeroed"]?.set(5n);
    expect(spec.variables["sampling_rate"]?.get()).toBe(77);
    const { offset = 0 } = spec.variables["sampling_rate"] ?? {};
    expect([...(spec.maps[".rodata"]?.contents?.slice(offset, offset + 4) ?? [])]).toEqual(
      spec.littleEndian ? [77, 0, 0, 0] : [0, 0, 0, 77],
    );
    const zeroed = spec.variables["zeroed"]?.offset ?? 0;
    expect(spec.maps[".bss"]?.contents?.[zeroed + (spec.littleEndian ? 0 : 7)]).toBe(5);
    // Neither the file nor another spec of it changes.
    expect(bytes.equals(readFileSync(path))).toBe(true);
    expect(parseObject(bytes).variables["sampling_rate"]?.get()).toBe(10);
  });

  it("refuse what does not fit, and stay as they are", () => {
    const { variables } = fixture("globals");
    expect(() => variables["sampling_rate"]?.set(-1)).toThrow(
      /variable 'sampling_rate': .*needs 0 to 4294967295/,
    );
    expect(() => variables["settings"]?.set({ nane: "x" })).toThrow(
      /variable 'settings': struct config: has no member 'nane'/,
    );
    expect(() => variables["counter"]?.set(new Uint8Array(5))).toThrow(
      /variable 'counter': takes 4 bytes, not 5/,
    );
    expect(variables["sampling_rate"]?.get()).toBe(10);
  });

  it("without BTF are bytes", () => {
    const { variables } = fixture("globals.nobtf");
    expect(variables["counter"]?.get()).toEqual(Uint8Array.of(41, 0, 0, 0));
    variables["counter"]?.set(Uint8Array.of(1, 2, 3, 4));
    expect(variables["counter"]?.bytes()).toEqual(Uint8Array.of(1, 2, 3, 4));
    expect(() => variables["counter"]?.set(5)).toThrow(/variable 'counter': its type is not known/);
  });

  it("of .bss cost nothing until they are used", () => {
    const bytes = writeElf({
      sections: [{ name: ".bss", data: new Uint8Array(0), type: 8 }],
      symbols: [{ name: "huge", section: 0, type: SYMBOL_TYPES.object, size: 1 << 30 }],
    });
    const view = new DataView(bytes.buffer);
    view.setBigUint64(Number(view.getBigUint64(40, true)) + 64 + 32, 1n << 30n, true);
    const before = process.memoryUsage().arrayBuffers;
    const spec = parseObject(bytes);
    expect(spec.maps[".bss"]?.valueSize).toBe(1 << 30);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  });
});

describe("what the object does not define", () => {
  it.skipIf(!hasCorpus)(
    needs("kernel configuration, kernel symbols and functions", hasCorpus, "corpus"),
    () => {
      expect(corpus("kconfig").externs["CONFIG_HZ"]).toMatchObject({ kind: "kconfig", weak: false });
      expect(corpus("ksym").externs["bpf_trace_run1"]).toMatchObject({ kind: "ksym", weak: true });
      expect(corpus("kfunc").externs["bpf_ct_release"]).toMatchObject({ kind: "kfunc", weak: false });
      expect(corpus("kfunc").externs["invalid_kfunc"]).toMatchObject({ kind: "kfunc", weak: true });
      expect(corpus("linked1").externs["l2"]).toMatchObject({ kind: "unknown", type: undefined });
      expect(corpus("loader_nobtf").externs["MY_CONST"]).toMatchObject({ kind: "unknown" });
    },
  );
});

/** All of a spec but bytes and instructions, which depend on the byte order. */
function withoutBytes(spec: ObjectSpec): unknown {
  const programs = Object.values(spec.programs).map(
    ({ instructions: _instructions, function: own, ...rest }) => ({
      ...rest,
      own: own.index,
    }),
  );
  const functions = spec.functions.map(({ instructions, ...rest }) => ({
    ...rest,
    length: instructions.length,
  }));
  const maps = Object.values(spec.maps).map((map) => ({ ...map, contents: map.contents?.length }));
  const { name: _name, littleEndian: _order, btf: _btf, variables, ...rest } = spec;
  return {
    ...rest,
    programs,
    functions,
    maps,
    variables: Object.values(variables).map(({ name, map, offset, size, type, linkage, get }) => ({
      name,
      map,
      offset,
      size,
      type,
      linkage,
      value: type === undefined ? undefined : get(),
    })),
  };
}

describe("byte order", () => {
  const names = hasCorpus
    ? readdirSync(join(CORPUS, "elf"))
        .filter((name) => name.endsWith("-eb.elf") && !name.startsWith("invalid_"))
        .map((name) => name.slice(0, -7))
    : [];
  it.skipIf(!hasCorpus)(
    needs(`both give the same spec (${names.length} objects)`, hasCorpus, "corpus"),
    () => {
      for (const name of names)
        expect([name, withoutBytes(corpus(name, "eb"))]).toEqual([name, withoutBytes(corpus(name, "el"))]);
      expect(names.length).toBeGreaterThan(20);
    },
  );

  it.each(["calls", "globals", "cross-section", "maps-legacy"])("instructions too (%s)", (name) => {
    const little = fixture(name);
    const big = fixture(`${name}.eb`);
    expect(big.littleEndian).toBe(false);
    expect(big.functions.map(({ instructions }) => instructions.length)).toEqual(
      little.functions.map(({ instructions }) => instructions.length),
    );
    // clang reads structures in pieces that depend on the byte order, so only calls are compared in detail.
    const calls = (spec: ObjectSpec): unknown =>
      spec.functions.map(({ name: own, references }) => [own, references]);
    expect(calls(big)).toEqual(calls(little));
  });
});

describe("specs", () => {
  it("cannot be changed", () => {
    const spec = fixture("calls");
    expect(Object.isFrozen(spec)).toBe(true);
    for (const part of [spec.programs, spec.maps, spec.variables, spec.functions, spec.externs])
      expect(Object.isFrozen(part)).toBe(true);
    for (const row of [...Object.values(spec.programs), ...Object.values(spec.maps), ...spec.functions])
      expect(Object.isFrozen(row)).toBe(true);
  });

  it("are the same every time", () => {
    expect(withoutBytes(fixture("maps"))).toEqual(withoutBytes(fixture("maps")));
  });
});
