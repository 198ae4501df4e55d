/** BTF as text: bpftool's, to the byte, for every object that we have and for the running kernel. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Btf, formatC, formatRaw, parseBtf, sizeOf } from "../../src/btf/index.ts";
import { parseElf } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { padding } from "../../src/btf/print/padding.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";
import { type BtfSource, buildBtf, member } from "./build.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const FIXTURES = join(ROOT, "test/fixtures");

function btfOfObject(path: string): Btf | undefined {
  const elf = parseElf(readFileSync(path), { name: path });
  const section = elf.sections.find(({ name, size }) => name === ".BTF" && size > 0);
  return section === undefined ? undefined : parseBtf(elf.data(section));
}

const objects = [
  ...readdirSync(FIXTURES).map((name) => join(FIXTURES, name)),
  join(FIXTURES, "btf/values.bpf.o"),
  join(FIXTURES, "btf/values.eb.bpf.o"),
  ...(hasCorpus ? readdirSync(join(CORPUS, "elf")).map((name) => join(CORPUS, "elf", name)) : []),
].filter((path) => /\.(o|elf)$/.test(path));

const asked = hasTool("bpftool", "version");
const bpftool = (path: string, format: string): string =>
  spawnSync("bpftool", ["btf", "dump", "file", path, "format", format], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  }).stdout;

describe.skipIf(!asked)(needs("bpftool's text", asked, "bpftool"), () => {
  it.each(["raw", "c"])("of every object, format %s", { timeout: 30_000 }, (format) => {
    let compared = 0;
    for (const path of objects) {
      const btf = btfOfObject(path);
      if (btf === undefined) continue;
      expect(format === "c" ? formatC(btf) : formatRaw(btf), path).toBe(bpftool(path, format));
      compared++;
    }
    expect(compared).toBeGreaterThan(40);
  });

  it.skipIf(!existsSync(VMLINUX))("of the running kernel", { timeout: 30_000 }, () => {
    const btf = parseBtf(readFileSync(VMLINUX));
    // Compared by the line: a difference in three megabytes is no help.
    for (const [ours, format] of [
      [formatC(btf), "c"],
      [formatRaw(btf), "raw"],
    ] as const) {
      const [mine, theirs] = [ours.split("\n"), bpftool(VMLINUX, format).split("\n")];
      const at = mine.findIndex((line, index) => line !== theirs[index]);
      expect(mine.slice(at, at + 5)).toEqual(theirs.slice(at, at + 5));
      expect(mine.length).toBe(theirs.length);
    }
  });
});

const clang = hasTool("clang-19");
describe.skipIf(!clang || !existsSync(VMLINUX))(needs("the header", clang, "clang-19 or kernel BTF"), () => {
  it("compiles, and types have the size that they have in the kernel", { timeout: 30_000 }, () => {
    const btf = parseBtf(readFileSync(VMLINUX));
    const folder = mkdtempSync(join(tmpdir(), "skep-btf-"));
    try {
      const text = formatC(btf, { enumSizes: true });
      const checks = [...btf.types()]
        .filter(
          ({ kind, name, id }) =>
            kind === "struct" &&
            name !== "" &&
            name !== "warn_args" &&
            btf.find(name).length === 1 &&
            sizeOf(btf, id) > 0,
        )
        .map(({ name, id }) => `_Static_assert(sizeof(struct ${name}) == ${sizeOf(btf, id)}, "${name}");`);
      expect(checks.length).toBeGreaterThan(1000);
      const path = join(folder, "x.c");
      writeFileSync(path, `${text}\n${checks.join("\n")}\n`);
      const { stderr } = spawnSync("clang-19", ["-target", "bpf", "-ferror-limit=0", "-fsyntax-only", path], {
        encoding: "utf8",
      });
      expect(stderr.match(/error: .*/g) ?? []).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("padding", () => {
  it.each([
    ["nothing", { from: 32, to: 32, alignment: 4, inBitfield: false }, []],
    ["what alignment leaves", { from: 8, to: 32, alignment: 4, inBitfield: false }, []],
    ["an alignment that nothing asks for", { from: 8, to: 64, alignment: 4, inBitfield: false }, ["long: 0"]],
    ["between bit fields", { from: 3, to: 8, alignment: 4, inBitfield: true }, ["char: 5"]],
    [
      "whole words",
      { from: 0, to: 160, alignment: 4, inBitfield: false },
      ["long: 64", "long: 64", "int: 32"],
    ],
  ])("%s", (_, gap, fields) => {
    expect(padding(gap)).toEqual(fields);
  });
});

const struct = (name: string, size: number, members: readonly number[]): BtfSource => ({
  kind: "struct",
  name,
  size,
  members: members.map((type, index) => member(`m${index}`, type, 0)),
});
const reference = (kind: "ptr" | "typedef" | "const", name: string, type: number): BtfSource => ({
  kind,
  name,
  type,
});

describe("hostile types", () => {
  it.each<readonly [string, readonly BtfSource[]]>([
    ["a structure that holds itself", [struct("a", 4, [1])]],
    ["a typedef of itself", [reference("typedef", "a", 1)]],
    ["a pointer to itself", [reference("ptr", "", 1)]],
    ["a const of itself", [reference("const", "", 1)]],
    [
      "anonymous structures that hold the next twice",
      Array.from({ length: 60 }, (_, index) =>
        struct(index === 0 ? "top" : "", 1, index === 59 ? [] : [index + 2, index + 2]),
      ),
    ],
    ["four gigabytes of padding", [struct("a", 0xffff_ffff, [])]],
    [
      "three thousand nested structures",
      Array.from({ length: 3000 }, (_, index) => struct(`s${index}`, 1, index === 2999 ? [] : [index + 2])),
    ],
  ])("%s: text or an error, and soon", (_, types) => {
    const btf = parseBtf(buildBtf(types));
    const start = performance.now();
    try {
      formatC(btf);
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
    }
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
