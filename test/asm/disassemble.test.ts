import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type LlvmCpu, disassemble } from "../../src/asm/index.ts";
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
