import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type LlvmCpu, type SourceLine, disassemble, disassembleLines } from "../../src/asm/index.ts";
import { INSTRUCTIONS, type Instruction } from "../../src/isa/index.ts";
import { CORPUS, ROOT, hasCorpus, needs } from "../helpers.ts";
import { arbitraryOf, arbitrarySlot } from "./arbitrary.ts";
import { codeSections, hasLlvm, objdump, objectOf } from "./oracle.ts";

/** Our text of all sections of an object, in objdump's form. */
function dump(
  object: Uint8Array,
  cpu: LlvmCpu,
  options: { raw?: boolean; relocations?: boolean; zeroes?: boolean },
) {
  return codeSections(object)
    .map(({ instructions, relocations, ...section }) =>
      disassemble(instructions, {
        ...section,
        cpu,
        ...(options.raw === undefined ? {} : { raw: options.raw }),
        ...(options.zeroes === undefined ? {} : { zeroes: options.zeroes }),
        ...(options.relocations === true ? { relocations } : {}),
      }),
    )
    .join("");
}

/** Objects of the corpus, of the fixtures and of the examples. */
function objects(): string[] {
  const found = hasCorpus ? readdirSync(join(CORPUS, "elf")).map((name) => join(CORPUS, "elf", name)) : [];
  for (const folder of ["test/fixtures", "examples"]) {
    for (const entry of readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })) {
      if (entry.endsWith(".o")) found.push(join(ROOT, folder, entry));
    }
  }
  return found.filter((name) => /\.(elf|o)$/.test(name));
}

describe.skipIf(!hasLlvm)(needs("text equals llvm-objdump's", hasLlvm, "llvm-objdump-19"), () => {
  const names = objects();

  it("has objects to compare", () => expect(names.length).toBeGreaterThan(10));

  it.each(names)("%s", (name) => {
    const object = readFileSync(name);
    expect(dump(object, "generic", {})).toBe(objdump(object, ["--no-show-raw-insn"]));
    // CO-RE relocations stand in .BTF.ext, which is read elsewhere.
    const expected = objdump(object, ["--mcpu=v4", "-r"]).replaceAll(
      /^\t\t[0-9a-f]{16}: {2}CO-RE .*\n/gm,
      "",
    );
    expect(dump(object, "v4", { raw: true, relocations: true })).toBe(expected);
  });
});

describe.skipIf(!hasLlvm)(
  needs("text of single slots equals llvm-objdump's", hasLlvm, "llvm-objdump-19"),
  () => {
    const cases: readonly [string, () => Instruction[]][] = [
      [
        "every row with many fields",
        () => INSTRUCTIONS.flatMap((row) => fc.sample(arbitraryOf(row), { seed: 1, numRuns: 40 }).flat()),
      ],
      [
        "every opcode with fields of any bits",
        () => {
          const slots = fc.sample(arbitrarySlot, { seed: 2, numRuns: 256 * 40 });
          return slots.map((slot, index) => ({ ...slot, opcode: index % 256 }));
        },
      ],
      ["slots of any bits", () => fc.sample(arbitrarySlot, { seed: 3, numRuns: 10_000 })],
      [
        "zeros of all lengths",
        () => {
          const few = fc.sample(fc.tuple(fc.nat({ max: 4 }), arbitrarySlot), { seed: 4, numRuns: 500 });
          const zero = { opcode: 0, dst: 0, src: 0, offset: 0, imm: 0 };
          return few.flatMap(([zeros, slot], index) => [
            ...Array.from({ length: zeros }, () => zero),
            index % 3 === 0 ? { ...slot, opcode: 0, dst: 0, src: 0, offset: 0 } : slot,
          ]);
        },
      ],
    ];
    for (const [name, make] of cases) {
      for (const littleEndian of [true, false]) {
        for (const cpu of ["generic", "v3"] as const) {
          it(`${name}, ${littleEndian ? "little" : "big"}-endian, ${cpu}`, () => {
            const object = objectOf(make(), { littleEndian });
            const args = [`--mcpu=${cpu}`];
            expect(dump(object, cpu, { raw: true })).toBe(objdump(object, args));
            expect(dump(object, cpu, { zeroes: true })).toBe(
              objdump(object, [...args, "-z", "--no-show-raw-insn"]),
            );
          });
        }
      }
    }
  },
);

describe.skipIf(!hasLlvm)(
  needs("source lines stand where llvm-objdump -l has them", hasLlvm, "llvm-objdump-19"),
  () => {
    it.each(["calls", "maps", "packets", "globals"])("%s", (name) => {
      const object = readFileSync(join(ROOT, `test/fixtures/${name}.bpf.o`));
      const expected = objdump(object, ["-l", "--no-show-raw-insn"]);
      // What objdump says of each slot, from its own output; a slot without a remark has the last one.
      const sources = new Map<string, SourceLine>();
      let section = "";
      let source: SourceLine = {};
      let key = "";
      let previous = "";
      for (const line of expected.split("\n")) {
        const [, heading, entered, file, number, slot] =
          /^(?:Disassembly of section (.*):|; (.*)\(\):|; (.*):(\d+)| *(\d+):\t.*)$/.exec(line) ?? [];
        if (heading !== undefined) section = heading;
        if (entered !== undefined) source = { ...source, function: entered, line: 0 };
        if (file !== undefined) {
          // The same line once more, in the same function: what came last had none.
          const isRepeated =
            file === source.file && Number(number) === source.line && !previous.endsWith("():");
          if (isRepeated) sources.set(key, { ...source, line: 0 });
          source = { ...source, file, line: Number(number) };
        }
        if (slot !== undefined) {
          key = `${section} ${slot}`;
          sources.set(key, source);
        }
        previous = line;
      }
      expect(sources.size).toBeGreaterThan(20);
      let last: SourceLine = {};
      const text = codeSections(object).map(({ instructions, relocations: _relocations, ...options }) => {
        // objdump goes on from one section to the next.
        const lines = disassembleLines(instructions, {
          ...options,
          cpu: "generic",
          annotate: (slot) => sources.get(`${options.section} ${slot}`),
        });
        const first = sources.get(`${options.section} 0`);
        const isSame =
          first?.function === last.function && first?.line === last.line && first?.file === last.file;
        last = sources.get(`${options.section} ${instructions.length - 1}`) ?? last;
        return lines
          .filter(({ kind }, index) => !(isSame && kind === "source" && index < 6))
          .map((line) => line.text);
      });
      expect(`${text.flat().join("\n")}\n`).toBe(expected);
    });
  },
);

describe("lines say more than their text", () => {
  const slots = [
    { opcode: 0x15, dst: 1, src: 0, offset: 1, imm: 0 },
    { opcode: 0xb7, dst: 0, src: 0, offset: 0, imm: 2 },
    { opcode: 0x95, dst: 0, src: 0, offset: 0, imm: 0 },
  ];
  const annotate = (slot: number): SourceLine => ({
    file: "a.c",
    line: 7,
    text: "  return 2;",
    function: `f${slot >> 1}`,
  });

  it("targets, and sources where they change", () => {
    const lines = disassembleLines(slots, { symbols: [{ name: "main", offset: 0 }], annotate });
    expect(lines).toEqual([
      { kind: "blank", text: "" },
      { kind: "symbol", text: "0000000000000000 <main>:", name: "main", slot: 0 },
      { kind: "source", text: "; f0():" },
      { kind: "source", text: "; a.c:7" },
      { kind: "source", text: ";   return 2;" },
      {
        kind: "instruction",
        text: "       0:\tif r1 == 0x0 goto +0x1 <main+0x10>",
        slot: 0,
        instruction: "if r1 == 0x0 goto +0x1",
        target: { slot: 2, label: "main+0x10" },
      },
      { kind: "instruction", text: "       1:\tr0 = 0x2", slot: 1, instruction: "r0 = 0x2" },
      { kind: "source", text: "; f1():" },
      { kind: "source", text: "; a.c:7" },
      { kind: "instruction", text: "       2:\texit", slot: 2, instruction: "exit" },
    ]);
  });

  it("without numbers, an assembly file", () => {
    expect(
      disassemble(slots, { dialect: "rfc", section: "xdp", symbols: [{ name: "main", offset: 0 }] }),
    ).toBe('\n\t.section\txdp,"ax",@progbits\n\nmain:\n\tjeq %r1, 0, +1\n\tmov %r0, 2\n\texit\n');
    expect(disassemble(slots, { dialect: "rfc" })).toBe("jeq %r1, 0, +1\nmov %r0, 2\nexit\n");
  });
});
