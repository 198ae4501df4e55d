/** Static linking: against bpftool, to the instruction, and in the kernel. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatC } from "../../src/btf/index.ts";
import { parseElf, writeElf } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { Machine } from "../../src/machine/index.ts";
import {
  linkObjects,
  type LinkedProgram,
  linkProgram,
  type ObjectSpec,
  parseObject,
} from "../../src/object/index.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";

const read = (path: string): { name: string; bytes: Uint8Array } => ({
  name: path,
  bytes: readFileSync(path),
});

/** Everything about an object that does not depend on the order in which a linker writes. */
function meaning(spec: ObjectSpec): unknown {
  const programs = Object.fromEntries(
    Object.keys(spec.programs).map((name) => {
      let linked: LinkedProgram;
      try {
        linked = linkProgram(spec, name, { externs: "keep" });
      } catch (error) {
        // A program that cannot be linked before must fail in the same way afterwards.
        return [name, String(error)];
      }
      const references = [...linked.references].map(([slot, row]) => [
        slot,
        row.kind === "extern" ? row.extern.name : row.map.name,
        row.kind === "map_value" ? row.offset : 0,
      ]);
      const { instructions, functions, lines, functionInfo } = linked;
      return [
        name,
        {
          type: spec.programs[name]?.type,
          instructions,
          references,
          functions: functions.map(({ name: own, start, end }) => [own, start, end]),
          lines: lines.map(({ slot, line, text }) => [slot, line, text]),
          functionInfo: functionInfo.map(({ slot, type }) => [slot, spec.btf?.type(type).name]),
        },
      ];
    }),
  );
  const maps = Object.values(spec.maps)
    .map(({ name, type, keySize, valueSize, maxEntries, contents }) => ({
      name,
      type,
      keySize,
      valueSize,
      maxEntries,
      contents: contents && [...contents],
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const variables = Object.values(spec.variables)
    .map(({ name, section, offset, size }) => ({ name, section, offset, size }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return { programs, maps, variables, externs: Object.keys(spec.externs).sort(), license: spec.license };
}

const paragraphs = (text: string): string[] => text.split(/\n\n(?=\S)/).sort();

describe.skipIf(!hasCorpus)(needs("corpus", hasCorpus, "corpus"), () => {
  const paths = ["linked1-el", "linked2-el"].map((name) => join(CORPUS, `elf/${name}.elf`));

  it("linked1 and linked2 are linked-el", () => {
    const ours = parseObject(linkObjects(paths.map(read)));
    const theirs = parseObject(readFileSync(join(CORPUS, "elf/linked-el.elf")));
    expect(meaning(ours)).toEqual(meaning(theirs));
    if (ours.btf === undefined || theirs.btf === undefined) throw new Error("no BTF");
    expect(paragraphs(formatC(ours.btf))).toEqual(paragraphs(formatC(theirs.btf)));
  });

  it.each(["jit", "interpreter"] as const)("and it runs: %s", async (engine) => {
    const machine = await Machine.create({ engine });
    const { programs } = await machine.load(parseObject(linkObjects(paths.map(read))));
    for (const [name, program] of Object.entries(programs)) {
      expect(program.run({ packet: new Uint8Array(64) }).returnValue, name).toBe(0);
    }
  });

  it("twice the same object defines everything twice", () => {
    const [path = ""] = paths;
    expect(() => linkObjects([read(path), read(path)])).toThrow(
      /'\w+' is defined by .*linked1-el\.elf and by .*linked1-el\.elf; make one of them static or weak/,
    );
  });

  it("objects of different byte orders are no pair", () => {
    const other = read(join(CORPUS, "elf/loader-clang-22-eb.elf"));
    expect(() => linkObjects([read(paths[0] ?? ""), other])).toThrow(/byte order/);
  });

  it("a single object is the same afterwards", () => {
    for (const name of [
      "loader-clang-22-el",
      "loader-clang-22-eb",
      "relocs_read-el",
      "btf_map_init-el",
      "struct_ops-el",
      "variables-el",
      "kconfig-eb",
      "ksym-el",
    ]) {
      const input = read(join(CORPUS, `elf/${name}.elf`));
      expect(meaning(parseObject(linkObjects([input]))), name).toEqual(meaning(parseObject(input.bytes)));
    }
  });
});

describe("linkObjects", () => {
  it("nothing is an error", () => {
    expect(() => linkObjects([])).toThrow(BpfError);
  });

  it("licenses that differ are an error", () => {
    const make = (license: string): Uint8Array =>
      writeElf({ sections: [{ name: "license", data: new TextEncoder().encode(`${license}\0`) }] });
    const inputs = ["GPL", "MIT"].map((license) => ({ name: license, bytes: make(license) }));
    expect(() => linkObjects(inputs)).toThrow("MIT: section 'license' differs from that of GPL");
  });
});

const tools = hasTool("clang-19") && hasTool("bpftool", "version");
describe.skipIf(!tools)(needs("bpftool gen object", tools, "clang-19 or bpftool"), () => {
  let folder = "";
  const path = (name: string): string => join(folder, name);
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-static-"));
    for (const name of ["one", "two"]) {
      const source = join(ROOT, "test/object/static", `${name}.bpf.c`);
      const flags = ["-O2", "-g", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu"];
      const { status, stderr } = spawnSync("clang-19", [...flags, "-c", source, "-o", path(`${name}.o`)], {
        encoding: "utf8",
      });
      if (status !== 0) throw new Error(stderr);
    }
    spawnSync("bpftool", ["gen", "object", path("theirs.o"), path("one.o"), path("two.o")]);
    writeFileSync(path("ours.o"), linkObjects([read(path("one.o")), read(path("two.o"))]));
  }, 30_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("means the same", () => {
    const [ours, theirs] = ["ours.o", "theirs.o"].map((name) =>
      parseObject(readFileSync(path(name)), { name: "linked.o" }),
    );
    if (ours === undefined || theirs === undefined) throw new Error("not linked");
    expect(meaning(ours)).toEqual(meaning(theirs));
  });

  it("libbpf opens it, and finds the same", () => {
    const skeleton = (name: string): string =>
      spawnSync("bpftool", ["gen", "skeleton", path(name), "name", "linked"], { encoding: "utf8" }).stdout;
    const shape = (text: string): string[] =>
      [...text.matchAll(/^\tstruct bpf_\w+ \*\w+;|^\t\t(?:struct bpf_\w+ \*|\w+ )\w+;/gm)]
        .map(([line]) => line)
        .sort();
    expect(shape(skeleton("ours.o")).length).toBeGreaterThan(8);
    expect(shape(skeleton("ours.o"))).toEqual(shape(skeleton("theirs.o")));
  });

  it("can be linked again", () => {
    const again = linkObjects([read(path("ours.o"))]);
    expect(meaning(parseObject(again))).toEqual(meaning(parseObject(readFileSync(path("ours.o")))));
    expect(parseElf(again).sections.map(({ name }) => name)).toContain(".BTF.ext");
  });
});
