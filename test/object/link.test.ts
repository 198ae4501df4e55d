import { describe, expect, it } from "vitest";
import {
  type ElfSource,
  SECTION_FLAGS,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  writeElf,
} from "../../src/elf/index.ts";
import { encodeInstructions, type Instruction } from "../../src/isa/index.ts";
import { lineAt, linkProgram, parseObject } from "../../src/object/index.ts";
import { hasCorpus, needs } from "../helpers.ts";
import { corpus, failure, fixture } from "./fixtures.ts";

const CODE = SECTION_FLAGS.alloc | SECTION_FLAGS.execinstr;
const slot = (opcode: number, src = 0, imm = 0): Instruction => ({ opcode, dst: 0, src, offset: 0, imm });
const call = (distance: number): Instruction => slot(0x85, 1, distance);
const exit = slot(0x95);

/** Functions of one section, each a list of instructions, all with symbols; the first is the program. */
function chain(functions: readonly (readonly Instruction[])[], rest: Partial<ElfSource> = {}): Uint8Array {
  let start = 0;
  const symbols = functions.map((instructions, index) => {
    const value = start * 8;
    start += instructions.length;
    const binding = index === 0 ? SYMBOL_BINDINGS.global : SYMBOL_BINDINGS.local;
    return {
      name: `f${index}`,
      section: 0,
      type: SYMBOL_TYPES.func,
      value,
      size: instructions.length * 8,
      binding,
    };
  });
  const data = encodeInstructions(functions.flat());
  return writeElf({ sections: [{ name: "xdp", data, flags: CODE }], symbols, ...rest });
}

describe("the order of functions", () => {
  it("is that in which calls are met, callees of callees first", () => {
    // f0 calls f3 and f1; f3 calls f2; f1 calls f3 and f2.
    const spec = parseObject(
      chain([
        [call(6), call(2), exit], // 0..2: to 7 and 4
        [exit], // 3: f1 is at 4, so pad
        [call(2), call(3), exit], // 4..6: to 7 and 9
        [call(1), exit], // 7, 8: to 9
        [exit], // 9
        [exit], // 10: nobody calls it
      ]),
    );
    const linked = linkProgram(spec, "f0");
    expect(linked.functions.map(({ name, start, end }) => [name, start, end])).toEqual([
      ["f0", 0, 3],
      ["f3", 3, 5],
      ["f4", 5, 6],
      ["f2", 6, 9],
    ]);
    expect(linked.instructions.map(({ opcode, imm }) => (opcode === 0x85 ? imm : "exit"))).toEqual([
      2,
      4,
      "exit",
      1,
      "exit",
      "exit",
      -4,
      -3,
      "exit",
    ]);
  });

  it("is that of the fixtures", () => {
    const order = (object: string, program: string): string[] =>
      linkProgram(fixture(object), program).functions.map(({ name }) => name);
    expect(order("calls", "eight_frames")).toEqual([
      "eight_frames",
      "level2",
      "level3",
      "level4",
      "level5",
      "level6",
      "level7",
      "level8",
    ]);
    expect(order("cross-section", "cross")).toEqual(["cross", "in_library", "in_text", "local_in_library"]);
    expect(order("callbacks", "each_of_array")).toEqual(["each_of_array", "fill", "add_value"]);
    expect(order("bad-programs", "recursion")).toEqual(["recursion", "recurse"]);
  });

  it("has no limit of depth but memory", () => {
    const count = 50_000;
    const functions = Array.from({ length: count }, (_, index) =>
      index === count - 1 ? [exit] : [call(1), exit],
    );
    const linked = linkProgram(parseObject(chain(functions)), "f0");
    expect(linked.functions).toHaveLength(count);
    expect(linked.instructions).toHaveLength(2 * count - 1);
  });

  it("takes a program that calls itself", () => {
    const linked = linkProgram(parseObject(chain([[call(-1), exit]])), "f0");
    expect(linked.instructions).toEqual([call(-1), exit]);
  });
});

describe("what instructions refer to", () => {
  it("maps and variables are marked and stay symbolic", () => {
    const spec = fixture("maps");
    const { instructions, references } = linkProgram(spec, "hash_map");
    expect(references.size).toBeGreaterThan(5);
    for (const [at, reference] of references) {
      const first = instructions[at];
      const second = instructions[at + 1];
      expect(first?.opcode).toBe(0x18);
      if (reference.kind === "map") {
        expect([first?.src, first?.imm, second?.imm]).toEqual([1, 0, 0]);
        expect(reference.map).toBe(spec.maps[reference.map.name]);
      } else if (reference.kind === "map_value") {
        expect([first?.src, first?.imm, second?.imm]).toEqual([2, 0, reference.offset]);
        expect(reference.offset).toBeLessThan(reference.map.valueSize);
      }
    }
  });

  it("addresses of functions are distances", () => {
    const { instructions, functions } = linkProgram(fixture("callbacks"), "loop");
    const callback = functions[1]?.start ?? 0;
    const addresses = instructions.flatMap(({ opcode, src, imm }, at) =>
      opcode === 0x18 && src === 4 ? [at + 1 + imm] : [],
    );
    expect(addresses.length).toBeGreaterThan(0);
    for (const address of addresses) expect(address).toBe(callback);
  });

  it.skipIf(!hasCorpus)(needs("of subprograms too, in either byte order", hasCorpus, "corpus"), () => {
    for (const order of ["el", "eb"] as const) {
      const linked = linkProgram(corpus("subprog_reloc", order), "fp_relocation");
      expect(linked.functions.map(({ name }) => name)).toEqual(["fp_relocation", "sub_prog"]);
      expect([...linked.references.values()].map((row) => row.kind === "map" && row.map.name)).toEqual([
        "hash_map",
        "hash_map",
        "hash_map",
        "hash_map",
      ]);
    }
  });

  it.skipIf(!hasCorpus)(needs("names of the kernel are kept if wanted", hasCorpus, "corpus"), () => {
    const linked = linkProgram(corpus("kfunc"), "call_kfunc", { externs: "keep" });
    const kept = [...linked.references].filter(([, row]) => row.kind === "extern");
    expect(kept.length).toBeGreaterThan(1);
    for (const [at] of kept) expect(linked.instructions[at]).toMatchObject({ opcode: 0x85, src: 2 });
    expect(failure(() => linkProgram(corpus("fwd_decl"), "call_fwd", { externs: "keep" })).code).toBe(
      "relocation",
    );
  });
});

describe("records move along", () => {
  it("lines and functions", () => {
    const spec = fixture("calls");
    const linked = linkProgram(spec, "globals");
    for (const { start, end, spec: own } of linked.functions) {
      expect(linked.functionInfo).toContainEqual({ slot: start, type: own.type });
      const lines = linked.lines.filter((line) => line.slot >= start && line.slot < end);
      expect(lines.map((line) => ({ ...line, slot: line.slot - start }))).toEqual(own.lines);
      expect(lineAt(linked.lines, start)).toMatchObject({ slot: start, line: own.lines[0]?.line });
    }
    expect(linked.lines.map((line) => line.slot)).toEqual(
      linked.lines.map((line) => line.slot).sort((a, b) => a - b),
    );
  });

  it.skipIf(!hasCorpus)(needs("CO-RE relocations", hasCorpus, "corpus"), () => {
    const spec = corpus("relocs_read");
    const linked = linkProgram(spec, "reads");
    let moved = 0;
    for (const { start, end, spec: own } of linked.functions) {
      const records = linked.coreRelocations.filter((row) => row.slot >= start && row.slot < end);
      expect(records.map((row) => ({ ...row, slot: row.slot - start }))).toEqual(own.coreRelocations);
      if (start > 0) moved += records.length;
    }
    expect(moved).toBeGreaterThan(10);
  });
});

describe("linkProgram", () => {
  it("lists the programs that there are", () => {
    const error = failure(() => linkProgram(fixture("calls"), "argument"));
    expect(error.code).toBe("usage");
    expect(error.message).toBe(
      "calls.bpf.o: no program 'argument'; it has arguments, globals, eight_frames, context",
    );
    expect(failure(() => linkProgram(fixture("calls"), "__proto__")).code).toBe("usage");
  });

  it("links a function that is no program when asked to", () => {
    const linked = linkProgram(fixture("calls"), "level7");
    expect(linked.program).toBeUndefined();
    expect(linked.functions.map(({ name }) => name)).toEqual(["level7", "level8"]);
  });

  it("changes nothing in the spec", () => {
    const spec = fixture("calls");
    const before = JSON.stringify(spec.functions);
    linkProgram(spec, "arguments");
    expect(JSON.stringify(spec.functions)).toBe(before);
  });
});
