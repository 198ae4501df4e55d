import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseBtf, parseBtfExt } from "../../src/btf/index.ts";
import { parseElf } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";
import { buildBtf, int } from "./build.ts";

/** Strings of the BTF below: "int" at 1, then these. */
const btf = parseBtf(
  buildBtf([
    int("int", 4),
    { kind: "func_proto", name: "", type: 1, parameters: [] },
    { kind: "func", name: "main", type: 2, linkage: "global" },
    { kind: "typedef", name: "xdp", type: 1 },
    { kind: "typedef", name: "a.c", type: 1 },
    { kind: "typedef", name: "return 0;", type: 1 },
    { kind: "typedef", name: "0:1", type: 1 },
  ]),
);
const offsetOf = (text: string): number => {
  const all = new TextDecoder().decode(btf.bytes);
  return all.indexOf(`\0${text}\0`) + 1 - all.indexOf("\0int\0");
};

type Part = readonly [
  recordSize: number,
  ...sections: readonly (readonly [section: string, ...records: readonly (readonly number[])[]])[],
];

/** A `.BTF.ext` of up to three parts; records are padded with 0xee to the record size. */
function build(
  parts: readonly Part[],
  {
    littleEndian = true,
    headerSize = 8 + 8 * parts.length,
  }: { littleEndian?: boolean; headerSize?: number } = {},
): Uint8Array {
  const bodies = parts.map(([size, ...sections]) => {
    const words: number[] = [];
    if (sections.length > 0) words.push(size);
    for (const [section, ...records] of sections) {
      words.push(offsetOf(section), records.length);
      for (const record of records) {
        words.push(...record, ...Array.from({ length: size / 4 - record.length }, () => 0xeeeeeeee));
      }
    }
    return words;
  });
  const words = bodies.flat();
  const bytes = new Uint8Array(headerSize + words.length * 4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, littleEndian);
  view.setUint8(2, 1);
  view.setUint32(4, headerSize, littleEndian);
  let offset = 0;
  for (const [index, body] of bodies.entries()) {
    view.setUint32(8 + index * 8, offset, littleEndian);
    view.setUint32(12 + index * 8, body.length * 4, littleEndian);
    offset += body.length * 4;
  }
  for (const [index, word] of words.entries()) view.setUint32(headerSize + index * 4, word, littleEndian);
  return bytes;
}

const PARTS: readonly Part[] = [
  [8, ["xdp", [0, 3], [16, 3]]],
  [
    16,
    [
      "xdp",
      [0, offsetOf("a.c"), offsetOf("return 0;"), (40 << 10) | 6],
      [8, offsetOf("a.c"), 0, (41 << 10) | 1],
    ],
  ],
  [16, ["xdp", [24, 1, offsetOf("0:1"), 2]]],
];

describe("parseBtfExt", () => {
  it("reads functions, lines and CO-RE relocations", () => {
    const ext = parseBtfExt(build(PARTS), btf);
    expect(ext.functions.get("xdp")).toEqual([
      { slot: 0, type: 3 },
      { slot: 2, type: 3 },
    ]);
    expect(ext.lines.get("xdp")).toEqual([
      { slot: 0, file: "a.c", line: 40, column: 6, text: "return 0;" },
      { slot: 1, file: "a.c", line: 41, column: 1, text: "" },
    ]);
    expect(ext.relocations.get("xdp")).toEqual([{ slot: 3, type: 1, access: "0:1", kind: "field_exists" }]);
  });

  it("skips what newer records hold", () => {
    const longer = PARTS.map(([size, ...rest]): Part => [size + 12, ...rest]);
    expect(parseBtfExt(build(longer), btf)).toEqual(parseBtfExt(build(PARTS), btf));
  });

  it("reads headers without a CO-RE part, and headers of the future", () => {
    const old = parseBtfExt(build(PARTS.slice(0, 2), { headerSize: 24 }), btf);
    expect(old.lines.get("xdp")).toHaveLength(2);
    expect(old.relocations.size).toBe(0);
    expect(parseBtfExt(build(PARTS, { headerSize: 48 }), btf).relocations.size).toBe(1);
  });

  it("is empty where its parts are", () => {
    const ext = parseBtfExt(build([[0], [0], [0]]), btf);
    expect([ext.functions.size, ext.lines.size, ext.relocations.size]).toEqual([0, 0, 0]);
  });

  it("joins the records of a section that is named twice", () => {
    const twice = build([[8, ["xdp", [0, 3]], ["xdp", [8, 3]]], [0], [0]]);
    expect(
      parseBtfExt(twice, btf)
        .functions.get("xdp")
        ?.map(({ slot }) => slot),
    ).toEqual([0, 1]);
  });

  it.each<readonly [what: string, parts: readonly Part[], message: RegExp]>([
    ["short records", [[4, ["xdp"]], [0], [0]], /records of 4 bytes, at least 8/],
    ["half an instruction", [[8, ["xdp", [4, 3]]], [0], [0]], /byte 4 begins no instruction/],
    ["a type that does not exist", [[8, ["xdp", [0, 77]]], [0], [0]], /refers to type 77/],
    ["an unknown CO-RE kind", [[0], [0], [16, ["xdp", [0, 1, offsetOf("0:1"), 13]]]], /kind 13/],
  ])("names %s", (_what, parts, message) => {
    expect(() => parseBtfExt(build(parts), btf)).toThrow(message);
  });

  it("survives mutation: only BpfError", () => {
    const good = build(PARTS);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.nat(3 * good.length),
        (changes, cut) => {
          const bytes = good.slice(0, cut);
          for (const [offset, value] of changes) if (offset < bytes.length) bytes[offset] = value;
          try {
            parseBtfExt(bytes, btf);
          } catch (error) {
            expect(error).toBeInstanceOf(BpfError);
          }
        },
      ),
      { seed: 3, numRuns: 5000 },
    );
  });
});

describe("of real objects", () => {
  const open = (path: string): ReturnType<typeof parseBtfExt> => {
    const elf = parseElf(readFileSync(path));
    const data = (wanted: string): Uint8Array =>
      elf.data(elf.sections.find(({ name }) => name === wanted) as (typeof elf.sections)[number]);
    return parseBtfExt(data(".BTF.ext"), parseBtf(data(".BTF")));
  };

  it.each(["alu.v3", "alu.eb", "control", "large"])(
    "%s: the text of every line is that line of its source",
    (name) => {
      const ext = open(join(ROOT, `test/fixtures/${name}.bpf.o`));
      const source = readFileSync(join(ROOT, `test/fixtures/${name.split(".")[0]}.bpf.c`), "utf8").split(
        "\n",
      );
      const own = [...ext.lines.values()].flat().filter(({ file }) => file.endsWith(".bpf.c"));
      expect(own.length).toBeGreaterThan(20);
      for (const { line, text } of own) expect(text).toBe(source[line - 1]);
    },
  );

  const tool = hasCorpus && hasTool("llvm-objdump-19");
  it.skipIf(!tool).each(["relocs", "relocs_enum", "relocs_read"])(
    needs(
      "CO-RE relocations are those that llvm-objdump prints (%s, either byte order)",
      tool,
      "corpus or llvm-objdump-19",
    ),
    (name) => {
      for (const order of ["el", "eb"]) {
        const path = join(CORPUS, `elf/${name}-${order}.elf`);
        const { stdout } = spawnSync("llvm-objdump-19", ["-d", "-r", path], { encoding: "utf8" });
        const printed: string[] = [];
        let section = "";
        for (const line of stdout.split("\n")) {
          section = /^Disassembly of section (.*):$/.exec(line)?.[1] ?? section;
          const [, offset, kind, type, access = ""] =
            /([0-9a-f]{16}):\s+CO-RE <(\w+)> \[(\d+)\].*?(?: \(([\d:]+)\))?$/.exec(line) ?? [];
          if (offset !== undefined)
            printed.push([section, Number.parseInt(offset, 16) / 8, kind, type, access].join(" "));
        }
        const read = [...open(path).relocations].flatMap(([name, rows]) =>
          rows.map(({ slot, kind, type, access }) => {
            const said = LLVM_KINDS[kind] ?? kind;
            // For whole types and enumerators the tool prints no path of indices.
            return [name, slot, said, type, /type|enumval/.test(said) ? "" : access].join(" ");
          }),
        );
        expect(read.sort()).toEqual(
          printed
            .map((row) => (/type|enumval/.test(row.split(" ")[2] ?? "") ? row.replace(/\S*$/, "") : row))
            .sort(),
        );
        expect(read.length).toBeGreaterThan(1);
      }
    },
  );
});

/** Where LLVM's names of CO-RE relocations differ from those of the kernel's header. */
const LLVM_KINDS: Readonly<Record<string, string>> = {
  field_byte_offset: "byte_off",
  field_byte_size: "byte_sz",
  field_signed: "signed",
  field_lshift_u64: "lshift_u64",
  field_rshift_u64: "rshift_u64",
  type_id_local: "local_type_id",
  type_id_target: "target_type_id",
};
