/** Types written, merged and cut down: what is read back is what it was. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Btf,
  type BtfSource,
  deduplicateTypes,
  encodeBtf,
  formatC,
  formatRaw,
  minimalBtf,
  parseBtf,
} from "../../src/btf/index.ts";
import { linkProgram, parseObject, relocate } from "../../src/object/index.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";
import { int, member } from "./build.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const FIXTURES = join(ROOT, "test/fixtures");
const sources = (btf: Btf): BtfSource[] => [...btf.types()] as BtfSource[];

const objects = [
  ...readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".bpf.o"))
    .map((name) => join(FIXTURES, name)),
  ...(hasCorpus ? readdirSync(join(CORPUS, "elf")).map((name) => join(CORPUS, "elf", name)) : []),
].filter((path) => !/invalid_|alu|bad-/.test(path));

describe("encodeBtf", () => {
  it("of every object reads back as it was", () => {
    let count = 0;
    for (const path of objects) {
      const { btf } = parseObject(readFileSync(path));
      if (btf === undefined) continue;
      const again = parseBtf(encodeBtf(sources(btf), { littleEndian: btf.littleEndian }).bytes);
      expect(formatRaw(again), path).toBe(formatRaw(btf));
      count++;
    }
    expect(count).toBeGreaterThan(20);
  });

  it("refuses what the format cannot hold", () => {
    const values = Array.from({ length: 70_000 }, (_, index) => ({
      name: `v${index}`,
      value: BigInt(index),
    }));
    expect(() => encodeBtf([{ kind: "enum", name: "e", size: 4, signed: false, values }])).toThrow(
      /type 'e' \(enum\): 70000 elements, the format holds 65535/,
    );
    const members = [member("a", 1, 0x100_0000, 3)];
    expect(() => encodeBtf([int("int", 4), { kind: "struct", name: "s", size: 1 << 22, members }])).toThrow(
      /member 'a' lies at bit 16777216/,
    );
  });
});

const struct = (name: string, members: readonly [string, number, number][], size = 8): BtfSource => ({
  kind: "struct",
  name,
  size,
  members: members.map(([own, type, at]) => member(own, type, at)),
});
const pointer = (type: number): BtfSource => ({ kind: "ptr", name: "", type });
const forward = (name: string, union = false): BtfSource => ({ kind: "fwd", name, union });

describe("deduplicateTypes", () => {
  it.each<readonly [string, readonly BtfSource[], readonly number[]]>([
    ["equal integers", [int("int", 4), int("int", 4), int("unsigned int", 4)], [1, 1, 2]],
    ["equal pointers", [int("int", 4), int("int", 4), pointer(1), pointer(2)], [1, 1, 2, 2]],
    [
      "lists that point to themselves",
      [struct("list", [["next", 2, 0]]), pointer(1), struct("list", [["next", 4, 0]]), pointer(3)],
      [1, 2, 1, 2],
    ],
    [
      "structures of one name with other members",
      [int("int", 4), struct("s", [["a", 1, 0]]), struct("s", [["b", 1, 0]])],
      [1, 2, 3],
    ],
    [
      "structures whose members differ far away",
      [
        int("int", 4),
        int("long", 8),
        pointer(1),
        pointer(2),
        struct("s", [["a", 3, 0]]),
        struct("s", [["a", 4, 0]]),
      ],
      [1, 2, 3, 4, 5, 6],
    ],
    [
      "a declaration and its definition",
      [
        forward("s"),
        pointer(1),
        struct("t", [["p", 2, 0]]),
        struct("s", []),
        pointer(4),
        struct("t", [["p", 5, 0]]),
      ],
      [3, 1, 2, 3, 1, 2],
    ],
    ["a declaration of a union and a structure", [forward("s", true), struct("s", [])], [1, 2]],
    [
      "a declaration of which there are two definitions",
      [forward("s"), int("int", 4), struct("s", [["a", 2, 0]]), struct("s", [["b", 2, 0]])],
      [1, 2, 3, 4],
    ],
    ["declarations of the same", [forward("s"), forward("s"), pointer(1), pointer(2)], [1, 1, 2, 2]],
  ])("%s", (_, types, ids) => {
    expect([...deduplicateTypes(types).ids.subarray(1)]).toEqual(ids);
  });

  it.skipIf(!hasCorpus)(
    "finds nothing twice in what a compiler wrote once, and all of it in two copies",
    () => {
      for (const path of objects) {
        const { btf } = parseObject(readFileSync(path));
        if (btf === undefined) continue;
        const types = sources(btf).filter(({ kind }) => kind !== "var" && kind !== "datasec");
        if (types.length !== btf.count - 1) continue;
        const once = deduplicateTypes(types);
        const shifted = types.map((type) => ({ ...type }));
        const twice = deduplicateTypes([...types, ...shift(shifted, types.length)]);
        expect(twice.types.length, path).toBe(once.types.length);
      }
    },
  );

  it.skipIf(!existsSync(VMLINUX))("leaves the kernel as pahole made it", { timeout: 60_000 }, () => {
    const btf = parseBtf(readFileSync(VMLINUX));
    const { types } = deduplicateTypes(sources(btf));
    // pahole works on what libbpf has merged; the rest are types that differ in what cannot be seen here.
    expect(types.length).toBeGreaterThan((btf.count - 1) * 0.995);
    expect(types.length).toBeLessThanOrEqual(btf.count - 1);
  });
});

function shift(types: readonly BtfSource[], by: number): BtfSource[] {
  const bytes = encodeBtf(types).bytes;
  const moved = parseBtf(bytes);
  const text = JSON.stringify([...moved.types()], (key, value: unknown) =>
    (key === "type" || key === "indexType") && typeof value === "number" && value > 0
      ? value + by
      : typeof value === "bigint"
        ? `big:${value}`
        : value,
  );
  return JSON.parse(text, (_, value: unknown) =>
    typeof value === "string" && value.startsWith("big:") ? BigInt(value.slice(4)) : value,
  ) as BtfSource[];
}

const ready = hasCorpus;
describe.skipIf(!ready)(needs("minimalBtf", ready, "corpus"), () => {
  it.each([
    ["relocs", "relocs"],
    ["relocs_enum", "relocs_enum"],
    ["relocs_read", "relocs_read_tgt"],
  ])("%s gets from a part of %s what it gets from the whole", (name, from) => {
    for (const order of ["el", "eb"]) {
      const open = (file: string): ReturnType<typeof parseObject> =>
        parseObject(readFileSync(join(CORPUS, `elf/${file}-${order}.elf`)));
      const spec = open(name);
      const target = open(from).btf as Btf;
      const relocations = spec.functions
        .flatMap(({ coreRelocations }) => coreRelocations)
        .filter(({ type }) => {
          // Two candidates contradict each other on purpose.
          return spec.btf?.type(type).name.startsWith("ambiguous") === false;
        });
      const part = parseBtf(minimalBtf(target, [{ btf: spec.btf as Btf, relocations }]));
      expect(part.count).toBeLessThanOrEqual(target.count);
      for (const program of Object.keys(spec.programs)) {
        if (program.startsWith("err_")) continue;
        const linked = linkProgram(spec, program);
        const [whole, cut] = [relocate(linked, { target }), relocate(linked, { target: part })];
        expect([...cut.poisoned.keys()]).toEqual([...whole.poisoned.keys()]);
        for (const { slot, kind } of linked.coreRelocations) {
          if (kind !== "type_id_target") expect(cut.instructions[slot]).toEqual(whole.instructions[slot]);
        }
      }
    }
  });
});

const tools = existsSync(VMLINUX) && hasTool("clang-19") && hasTool("bpftool", "version");
describe.skipIf(!tools)(needs("minimalBtf of the kernel", tools, "clang-19, bpftool or kernel BTF"), () => {
  it("stands in for it", { timeout: 60_000 }, () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-min-"));
    try {
      const target = parseBtf(readFileSync(VMLINUX));
      writeFileSync(join(folder, "vmlinux.h"), formatC(target));
      const object = join(folder, "tools.o");
      const source = join(ROOT, "test/object/core/tools.bpf.c");
      const flags = ["-O2", "-g", "-target", "bpf", "-D__TARGET_ARCH_x86", `-I${folder}`];
      expect(spawnSync("clang-19", [...flags, "-c", source, "-o", object], { encoding: "utf8" }).stderr).toBe(
        "",
      );
      const spec = parseObject(readFileSync(object));
      const relocations = spec.functions.flatMap(({ coreRelocations }) => coreRelocations);
      const bytes = minimalBtf(target, [{ btf: spec.btf as Btf, relocations }]);
      expect(bytes.length).toBeLessThan(20_000);
      const path = join(folder, "min.btf");
      writeFileSync(path, bytes);
      const theirs = join(folder, "theirs.btf");
      expect(spawnSync("bpftool", ["gen", "min_core_btf", VMLINUX, theirs, object]).status).toBe(0);
      for (const part of [parseBtf(bytes), parseBtf(readFileSync(theirs))]) {
        for (const program of Object.keys(spec.programs)) {
          const linked = linkProgram(spec, program);
          expect(relocate(linked, { target: part }).instructions).toEqual(
            relocate(linked, { target }).instructions,
          );
        }
      }
      // libbpf takes ours as the kernel's types of another object.
      const again = spawnSync("bpftool", ["gen", "min_core_btf", path, theirs, object], { encoding: "utf8" });
      expect(again).toMatchObject({ status: 0, stderr: "" });
      expect(parseBtf(readFileSync(theirs)).count).toBe(parseBtf(bytes).count);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
