import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ElfSource,
  parseElf,
  SECTION_FLAGS,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  writeElf,
} from "../../src/elf/index.ts";
import { hasTool, needs } from "../helpers.ts";

const CODE = SECTION_FLAGS.alloc | SECTION_FLAGS.execinstr;

const name = fc.stringMatching(/^[.a-zA-Z_][a-zA-Z0-9_./]{0,20}$/);

/** Sections, symbols in them and relocations against those. */
const source: fc.Arbitrary<ElfSource> = fc
  .array(
    fc.record({
      name,
      data: fc.uint8Array({ maxLength: 64 }),
      flags: fc.constantFrom(CODE, 2, 3),
      alignment: fc.constantFrom(1, 4, 8),
    }),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .chain((sections) =>
    fc
      .array(
        fc.record(
          {
            name,
            section: fc.nat(sections.length - 1),
            value: fc.nat(1 << 20),
            size: fc.nat(1 << 20),
            type: fc.constantFrom(...Object.values(SYMBOL_TYPES)),
            binding: fc.constantFrom(...Object.values(SYMBOL_BINDINGS)),
          },
          { requiredKeys: ["name", "value", "size", "type", "binding"] },
        ),
        { minLength: 1, maxLength: 12 },
      )
      .chain((symbols) =>
        fc.record({
          sections: fc.constant(sections),
          symbols: fc.constant(symbols),
          relocations: fc.array(
            fc.record({
              section: fc.nat(sections.length - 1),
              offset: fc.nat(1 << 16),
              type: fc.constantFrom(1, 2, 3, 4, 10),
              symbol: fc.nat(symbols.length - 1),
            }),
            { maxLength: 20 },
          ),
          littleEndian: fc.boolean(),
        }),
      ),
  );

describe("writeElf", () => {
  it("is read back as it was given", () => {
    fc.assert(
      fc.property(source, (given) => {
        const elf = parseElf(writeElf(given));
        expect(elf.littleEndian).toBe(given.littleEndian);
        for (const [index, section] of given.sections.entries()) {
          const read = elf.sections[index + 1] as (typeof elf.sections)[number];
          expect([read.name, read.flags]).toEqual([section.name, section.flags]);
          expect([...elf.data(read)]).toEqual([...section.data]);
          expect(read.offset % (section.alignment ?? 8)).toBe(0);
          const wanted = (given.relocations ?? [])
            .filter((row) => row.section === index)
            .map(({ offset, type, symbol }) => [offset, type, given.symbols?.[symbol]?.name]);
          expect(elf.relocations(read).map((row) => [row.offset, row.type, row.symbol.name])).toEqual(wanted);
        }
        const key = (row: {
          name: string;
          value?: number;
          size?: number;
          type?: number;
          binding?: number;
        }): string => [row.name, row.value, row.size, row.type, row.binding].join();
        expect(elf.symbols.slice(1).map(key).sort()).toEqual((given.symbols ?? []).map(key).sort());
      }),
      { seed: 20, numRuns: 500 },
    );
  });

  it("gives the same bytes for the same input", () => {
    const given: ElfSource = {
      sections: [{ name: "xdp", data: new Uint8Array(8), flags: CODE }],
      symbols: [{ name: "p", section: 0 }],
    };
    expect(writeElf(given)).toEqual(writeElf(given));
  });

  it.each([
    [
      "relocation's section",
      { sections: [], relocations: [{ section: 1, offset: 0, type: 1, symbol: 0 }] },
      /names section 1/,
    ],
    [
      "relocation's symbol",
      {
        sections: [{ name: "x", data: new Uint8Array(8) }],
        relocations: [{ section: 0, offset: 0, type: 1, symbol: 3 }],
      },
      /names symbol 3/,
    ],
    ["symbol's section", { sections: [], symbols: [{ name: "f", section: 4 }] }, /'f' names section 4/],
  ] as const)("refuses a %s that does not exist", (_what, given, message) => {
    expect(() => writeElf(given)).toThrow(message);
  });
});

const tool = hasTool("llvm-readelf-19") && hasTool("llvm-objdump-19");
describe.skipIf(!tool)(needs("what LLVM makes of it", tool, "llvm-readelf-19"), () => {
  it.each([true, false])("little-endian: %s", (littleEndian) => {
    const folder = mkdtempSync(join(tmpdir(), "skep-elf-"));
    try {
      const path = join(folder, "out.o");
      const exit = littleEndian
        ? [0xb7, 0, 0, 0, 7, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]
        : [0xb7, 0, 0, 0, 0, 0, 0, 7, 0x95, 0, 0, 0, 0, 0, 0, 0];
      writeFileSync(
        path,
        writeElf({
          littleEndian,
          sections: [{ name: "xdp", data: Uint8Array.from(exit), flags: CODE }],
          symbols: [
            { name: "outside" },
            { name: "seven", section: 0, type: SYMBOL_TYPES.func, size: 16 },
            { name: "inner", section: 0, value: 8, binding: SYMBOL_BINDINGS.local },
          ],
          relocations: [{ section: 0, offset: 0, type: 1, symbol: 0 }],
        }),
      );
      const readelf = spawnSync("llvm-readelf-19", ["-h", "-S", "-s", "-r", "-W", path], {
        encoding: "utf8",
      });
      expect(readelf.stderr).toBe("");
      expect(readelf.stdout).toMatch(/Machine:\s+EM_BPF/);
      expect(readelf.stdout).toMatch(/R_BPF_64_64\s+0+ outside/);
      const objdump = spawnSync("llvm-objdump-19", ["-d", "--no-show-raw-insn", path], { encoding: "utf8" });
      expect(objdump.stdout).toMatch(/<seven>:\n\s+0:\s+r0 = 0x7\n\n0+8 <inner>:\n\s+1:\s+exit/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
