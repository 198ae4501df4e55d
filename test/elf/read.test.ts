import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { parseElf, SECTION_FLAGS, SECTION_TYPES, writeElf } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";

const sample = writeElf({
  sections: [
    { name: "xdp", data: new Uint8Array(16), flags: SECTION_FLAGS.alloc | SECTION_FLAGS.execinstr },
    { name: "license", data: Uint8Array.of(71, 80, 76, 0), alignment: 1 },
  ],
  symbols: [{ name: "prog", section: 0, type: 2, size: 16 }],
  relocations: [{ section: 0, offset: 0, type: 1, symbol: 0 }],
});

/** A copy of the sample with some bytes replaced. */
function patched(...patches: readonly (readonly [offset: number, ...bytes: number[]])[]): Uint8Array {
  const bytes = sample.slice();
  for (const [offset, ...values] of patches) bytes.set(values, offset);
  return bytes;
}

function failure(run: () => unknown): BpfError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
    return error as BpfError;
  }
  throw new Error("nothing was thrown");
}

describe("ELF header", () => {
  const cases: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
    ["nothing", new Uint8Array(0), /not an ELF file: it is empty/],
    ["text", new TextEncoder().encode("#!/bin/sh\n"), /not an ELF file: it begins with 23 21 2f 62/],
    ["only the magic", sample.slice(0, 40), /cut off: 40 bytes/],
    ["32 bits", patched([4, 1]), /a 32-bit ELF file/],
    ["an unknown class", patched([4, 7]), /ELF class 7/],
    ["an unknown byte order", patched([5, 3]), /byte order 3/],
    ["another machine", patched([18, 62, 0]), /e_machine is 62 \(x86-64\), not 247/],
    ["an unnamed machine", patched([18, 99, 0]), /e_machine is 99, not 247/],
    ["a shared object", patched([16, 3, 0]), /e_type is 3 \(dyn\), not 1/],
    ["no section headers", patched([40, 0, 0, 0, 0, 0, 0, 0, 0]), /no section headers/],
    ["small section headers", patched([58, 40, 0]), /section headers of 40 bytes/],
    ["headers beyond the end", patched([40, 0, 0, 0, 0, 1, 0, 0, 0]), /cut off: \d+ section headers/],
    ["too many headers", patched([60, 0xff, 0x0f]), /cut off: 4095 section headers/],
    ["no section names", patched([62, 1, 0]), /e_shstrndx is 1, which is no string table/],
  ];
  it.each(cases)("%s", (_what, bytes, message) => {
    const error = failure(() => parseElf(bytes, { name: "x.o" }));
    expect(error.code).toBe("elf");
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^x\.o: /);
    expect(error.where.file).toBe("x.o");
  });

  it("accepts e_machine 0, which LLVM wrote before BPF had a number", () => {
    expect(parseElf(patched([18, 0, 0])).machine).toBe(0);
  });
});

describe("sections", () => {
  /** Offset of a field in a section's header. */
  function headerOf(name: string, field: number): number {
    const elf = parseElf(sample);
    const { index } = elf.sections.find((section) => section.name === name) as { index: number };
    return Number(new DataView(sample.buffer).getBigUint64(40, true)) + index * 64 + field;
  }

  it("are views on the file, not copies", () => {
    const elf = parseElf(sample);
    const license = elf.sections.find(({ name }) => name === "license");
    expect(license).toBeDefined();
    const data = elf.data(license as NonNullable<typeof license>);
    expect(data.buffer).toBe(sample.buffer);
    expect([...data]).toEqual([71, 80, 76, 0]);
  });

  it("reads a Buffer in the middle of its pool", () => {
    const pool = Buffer.alloc(sample.length + 96, 0xaa);
    pool.set(sample, 48);
    const elf = parseElf(pool.subarray(48, 48 + sample.length));
    expect(elf.symbols.map(({ name }) => name)).toEqual(["", "prog"]);
  });

  it("report contents beyond the end only when asked for", () => {
    const elf = parseElf(patched([headerOf("license", 32), 0xff, 0xff, 0xff]));
    const section = elf.sections[2] as (typeof elf.sections)[number];
    expect(failure(() => elf.data(section)).message).toMatch(/'license'.*goes beyond the end/);
    expect(elf.data(elf.sections[1] as typeof section)).toHaveLength(16);
  });

  it("name a compressed section", () => {
    const elf = parseElf(patched([headerOf("license", 8), 0, 8]));
    const error = failure(() => elf.data(elf.sections[2] as (typeof elf.sections)[number]));
    expect(error.code).toBe("unsupported");
    expect(error.message).toMatch(/section 'license' is compressed/);
  });

  it("take no space in the file if they are SHT_NOBITS", () => {
    const elf = parseElf(
      patched([headerOf("license", 4), SECTION_TYPES.nobits], [headerOf("license", 32), 0, 0, 0, 0x7f]),
    );
    expect(elf.data(elf.sections[2] as (typeof elf.sections)[number])).toHaveLength(0);
    expect(elf.sections[2]?.size).toBe(0x7f000000);
  });

  it("may not share their bytes", () => {
    const many = writeElf({
      sections: Array.from({ length: 9 }, (_, index) => ({ name: `s${index}`, data: new Uint8Array(64) })),
    });
    const view = new DataView(many.buffer);
    const headers = Number(view.getBigUint64(40, true));
    for (let index = 1; index <= 9; index++) {
      view.setBigUint64(headers + index * 64 + 24, 0n, true);
      view.setBigUint64(headers + index * 64 + 32, BigInt(many.length >> 1), true);
    }
    const elf = parseElf(many);
    const error = failure(() => elf.sections.map((section) => elf.data(section)));
    expect(error.message).toMatch(/overlaps others/);
  });
});

describe("symbols and relocations", () => {
  it("name a symbol's section that does not exist", () => {
    const elf = parseElf(sample);
    const table = elf.sections.find(
      ({ type }) => type === SECTION_TYPES.symtab,
    ) as (typeof elf.sections)[number];
    const error = failure(() => parseElf(patched([table.offset + 24 + 6, 200, 0])).symbols);
    expect(error.message).toMatch(/symbol 'prog' \(number 1\) lies in section 200/);
  });

  it("name a relocation's symbol that does not exist", () => {
    const table = parseElf(sample).sections.find(({ type }) => type === SECTION_TYPES.rel);
    const elf = parseElf(patched([(table?.offset ?? 0) + 12, 9]));
    const error = failure(() => elf.relocations(elf.sections[1] as (typeof elf.sections)[number]));
    expect(error.code).toBe("relocation");
    expect(error.message).toMatch(/'\.relxdp': relocation 0 refers to symbol 9/);
  });

  it("read explicit addends of SHT_RELA", () => {
    const bytes = writeElf({
      sections: [
        { name: "xdp", data: new Uint8Array(16) },
        {
          name: ".relaxdp",
          data: Uint8Array.of(
            8,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            10,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0xfe,
            255,
            255,
            255,
            255,
            255,
            255,
            255,
          ),
        },
      ],
      symbols: [{ name: "f", section: 0 }],
    });
    const view = new DataView(bytes.buffer);
    const header = Number(view.getBigUint64(40, true)) + 2 * 64;
    view.setUint32(header + 4, SECTION_TYPES.rela, true);
    view.setUint32(header + 44, 1, true);
    const elf = parseElf(bytes);
    expect(elf.relocations(elf.sections[1] as (typeof elf.sections)[number])).toMatchObject([
      { offset: 8, type: 10, addend: -2, symbol: { name: "f" } },
    ]);
  });
});

interface Readelf {
  readonly Sections: readonly {
    readonly Section: { Name: { Name: string }; Offset: number; Size: number; Type: { Value: number } };
  }[];
  readonly Symbols: readonly {
    readonly Symbol: {
      Name: { Name: string };
      Value: number;
      Size: number;
      Type: { Value: number };
      Binding: { Value: number };
    };
  }[];
  readonly Relocations: readonly {
    readonly Relocs: readonly {
      readonly Relocation: { Offset: number; Type: { Value: number }; Symbol: { Name: string } };
    }[];
  }[];
}

const objects = [
  ...readdirSync(join(ROOT, "test/fixtures"))
    .filter((name) => name.endsWith(".o"))
    .map((name) => join(ROOT, "test/fixtures", name)),
  ...(hasCorpus ? readdirSync(join(CORPUS, "elf")).map((name) => join(CORPUS, "elf", name)) : []),
];

describe.skipIf(!hasTool("llvm-readelf-19"))(
  needs("what llvm-readelf says", hasTool("llvm-readelf-19"), "llvm-readelf-19"),
  () => {
    it(`of ${objects.length} objects`, () => {
      const { stdout } = spawnSync(
        "llvm-readelf-19",
        ["-S", "-s", "-r", "--elf-output-style=JSON", ...objects],
        { encoding: "utf8", maxBuffer: 1 << 28 },
      );
      const files = JSON.parse(stdout) as readonly Readelf[];
      expect(files).toHaveLength(objects.length);
      for (const [index, path] of objects.entries()) {
        const elf = parseElf(readFileSync(path), { name: path });
        const said = files[index] as Readelf;
        expect(elf.sections.map(({ name, offset, size, type }) => [name, offset, size, type])).toEqual(
          said.Sections.map(({ Section }) => [
            Section.Name.Name,
            Section.Offset,
            Section.Size,
            Section.Type.Value,
          ]),
        );
        expect(
          elf.symbols.map((row) => [
            row.name === "" ? "" : row.name,
            row.value,
            row.size,
            row.type,
            row.binding,
          ]),
        ).toEqual(
          said.Symbols.map(({ Symbol: row }) => [
            // The tool gives section symbols their section's name.
            row.Type.Value === 3 ? "" : row.Name.Name,
            row.Value,
            row.Size,
            row.Type.Value,
            row.Binding.Value,
          ]),
        );
        const relocations = elf.sections
          .filter(({ type }) => type === SECTION_TYPES.rel)
          .map(({ info }) =>
            elf
              .relocations(elf.sections[info] as (typeof elf.sections)[number])
              .map((row) => [row.offset, row.type]),
          );
        expect(relocations).toEqual(
          said.Relocations.map(({ Relocs }) =>
            Relocs.map(({ Relocation: row }) => [row.Offset, row.Type.Value]),
          ),
        );
      }
    });
  },
);
