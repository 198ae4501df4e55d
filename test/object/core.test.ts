/** CO-RE: against libbpf's own account, and objects that check themselves. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Btf, type BtfSource, encodeBtf, mapReferences, parseBtf } from "../../src/btf/index.ts";
import { BpfError } from "../../src/errors.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { Machine } from "../../src/machine/index.ts";
import {
  linkProgram,
  type ObjectSpec,
  parseObject,
  POISON_HELPER,
  relocate,
} from "../../src/object/index.ts";
import { CORPUS, hasCorpus, hasTool, needs, ROOT } from "../helpers.ts";
import { buildBtf } from "../btf/build.ts";
import { libbpfRelocations, type Patched } from "./libbpf-core.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const open = (name: string): ObjectSpec =>
  parseObject(readFileSync(join(CORPUS, "elf", `${name}.elf`)), { name });
const btfOf = (spec: ObjectSpec): Btf => {
  if (spec.btf === undefined) throw new Error("no BTF");
  return spec.btf;
};

function vmlinux(): Btf | undefined {
  try {
    return parseBtf(readFileSync(VMLINUX), { name: "vmlinux" });
  } catch {
    return undefined;
  }
}

const kernel = vmlinux();
const ready =
  kernel !== undefined && hasTool("clang-19") && hasTool("bpftool", "version") && hasTool("unshare");

describe.skipIf(!ready)(needs("as libbpf", ready, "clang-19, bpftool or kernel BTF"), () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-core-"));
    const header = spawnSync("bpftool", ["btf", "dump", "file", VMLINUX, "format", "c"], {
      maxBuffer: 1 << 28,
    });
    writeFileSync(join(folder, "vmlinux.h"), header.stdout);
  }, 30_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  for (const [file, programs, records] of [
    ["tools", 30, 120],
    ["flavours", 16, 110],
  ] as const) {
    for (const cpu of ["v2", "v3"]) {
      it(`${file}.bpf.c, -mcpu=${cpu}`, { timeout: 60_000 }, () => {
        const path = join(folder, `${file}.${cpu}.o`);
        const source = join(ROOT, "test/object/core", `${file}.bpf.c`);
        const flags = ["-O2", "-g", "-target", "bpf", `-mcpu=${cpu}`, "-D__TARGET_ARCH_x86", `-I${folder}`];
        const clang = spawnSync("clang-19", [...flags, "-c", source, "-o", path], { encoding: "utf8" });
        expect(clang.stderr).toBe("");
        const patched = libbpfRelocations(path);
        const spec = parseObject(readFileSync(path), { name: file });
        const seen = new Set<string>();
        let count = 0;
        for (const name of Object.keys(spec.programs)) {
          const linked = relocate(linkProgram(spec, name, { externs: "keep" }), { target: kernel as Btf });
          for (const { name: own, start, spec: code } of linked.functions) {
            if (seen.has(own) || code.coreRelocations.length === 0) continue;
            seen.add(own);
            const expected = patched.get(own) ?? [];
            const ours = expected.map((row) => ({ ...row, ...read(linked.instructions, start, row) }));
            expect(ours, own).toEqual(expected);
            const slots = new Set(expected.map(({ slot }) => slot));
            for (const { slot } of code.coreRelocations)
              expect(slots.has(slot), `${own}: ${slot}`).toBe(true);
            count += code.coreRelocations.length;
          }
        }
        expect(Object.keys(spec.programs).length).toBeGreaterThanOrEqual(programs);
        expect(count).toBeGreaterThanOrEqual(records);
      });
    }
  }
});

/** What stands in our instruction where libbpf says what it put there. */
function read(
  instructions: readonly Instruction[],
  start: number,
  { slot, what }: Patched,
): Partial<Patched> {
  const { opcode, imm, offset } = instructions[start + slot] as Instruction;
  switch (what) {
    case "imm":
      return { value: BigInt(imm) };
    case "off":
      return { value: BigInt(offset) };
    case "imm64":
      return {
        value: (BigInt((instructions[start + slot + 1] as Instruction).imm) << 32n) | BigInt(imm >>> 0),
      };
    case "mem_sz":
      return { value: BigInt([4, 2, 1, 8][(opcode >> 3) & 3] ?? 0) };
    case "poison":
      return opcode === 0x85 && imm === POISON_HELPER ? { what: "poison" } : { what: "imm" };
  }
}

describe.skipIf(!hasCorpus)(needs("objects that check themselves", hasCorpus, "corpus"), () => {
  for (const engine of ["jit", "interpreter"] as const) {
    it.each([
      ["relocs", "relocs", ["types", "enums", "fields"]],
      ["relocs_enum", "relocs_enum", ["core_ld64imm"]],
      ["relocs_read", "relocs_read_tgt", ["reads"]],
    ] as const)(`%s against %s: ${engine}`, async (name, target, programs) => {
      const spec = open(`${name}-el`);
      const machine = await Machine.create({ engine });
      const loaded = await machine.load(spec, { programs, btf: btfOf(open(`${target}-el`)) });
      for (const program of programs) {
        const line = loaded.programs[program]?.run({ packet: new Uint8Array(64) }).returnValue;
        expect(line, `${program} fails in this line`).toBe(0);
      }
    });
  }

  it.each(["jit", "interpreter"] as const)("type ids are the target's: %s", async (engine) => {
    // The program checks that ids in the target are not those of its own types, so the target is renumbered.
    const spec = open("relocs-el");
    const own = [...btfOf(spec).types()] as BtfSource[];
    const moved = own.map((type) => mapReferences(type, (id) => (id === 0 ? 0 : id + 1)));
    const target = parseBtf(encodeBtf([{ kind: "float", name: "double", size: 8 }, ...moved]).bytes);
    const machine = await Machine.create({ engine });
    const { programs } = await machine.load(spec, { programs: ["type_ids"], btf: target });
    expect(programs["type_ids"]?.run({ packet: new Uint8Array(64) }).returnValue).toBe(0);
  });

  it.each(["el", "eb"])("candidates that contradict each other are an error: %s", (order) => {
    const spec = open(`relocs-${order}`);
    expect(() => relocate(linkProgram(spec, "err_ambiguous"), { target: btfOf(spec) })).toThrow(
      /struct ambiguous: ambiguous, the target has struct ambiguous \(type 32 of \.BTF\) with 32 and struct ambiguous___flavour/,
    );
    expect(() => relocate(linkProgram(spec, "err_ambiguous_flavour"), { target: btfOf(spec) })).toThrow(
      BpfError,
    );
  });

  it.each([
    ["relocs", "relocs"],
    ["relocs_enum", "relocs_enum"],
    ["relocs_read", "relocs_read_tgt"],
  ])("%s: big-endian gives the same instructions, but for the shifts of bit fields", (name, target) => {
    const [little, big] = ["el", "eb"].map((order) => {
      const spec = open(`${name}-${order}`);
      const names = Object.keys(spec.programs).filter((program) => !program.startsWith("err_"));
      return names.map((program) =>
        relocate(linkProgram(spec, program), { target: btfOf(open(`${target}-${order}`)) }),
      );
    });
    for (const [index, program] of (little ?? []).entries()) {
      const other = big?.[index];
      expect(other?.coreRelocations).toEqual(program.coreRelocations);
      expect([...(other?.poisoned ?? [])]).toEqual([...program.poisoned]);
      for (const { slot, kind } of program.coreRelocations) {
        if (kind !== "field_lshift_u64")
          expect(other?.instructions[slot]).toEqual(program.instructions[slot]);
      }
    }
  });

  it("asks modules for what the kernel itself has not, and a split target for all", () => {
    const tgt = open("relocs_read_tgt-el");
    const kernelTypes = btfOf(open("relocs_enum-el"));
    const own = [...btfOf(tgt).types()] as BtfSource[];
    const by = kernelTypes.count - 1;
    const types = own.map((type) => mapReferences(type, (id) => (id === 0 ? 0 : id + by)));
    // Strings of a split BTF begin where those of its base end; names are found through a base without any overlap.
    const module = parseBtf(buildBtf(types, { stringBase: kernelTypes.stringEnd }), { base: kernelTypes });
    const linked = linkProgram(open("relocs_read-el"), "reads");
    const expected = relocate(linked, { target: btfOf(tgt) });
    for (const target of [{ target: kernelTypes, modules: [module] }, { target: module }]) {
      const { instructions, poisoned } = relocate(linked, target);
      expect([...poisoned]).toEqual([...expected.poisoned]);
      expect(instructions).toEqual(expected.instructions);
    }
  });

  it("refuses a target of the other byte order", () => {
    const target = btfOf(open("relocs_read_tgt-eb"));
    expect(() => relocate(linkProgram(open("relocs_read-el"), "reads"), { target })).toThrow(/byte order/);
  });
});

describe.skipIf(!hasCorpus)(needs("what the target has not", hasCorpus, "corpus"), () => {
  const program = (): { spec: ObjectSpec; target: Btf } => ({
    spec: open("relocs_read-el"),
    target: btfOf(open("relocs_enum-el")),
  });

  it("is recorded, with the access and the candidates", () => {
    const { spec, target } = program();
    const { poisoned, instructions } = relocate(linkProgram(spec, "reads"), { target });
    expect(poisoned.size).toBeGreaterThan(5);
    for (const [slot, why] of poisoned) {
      expect(why).toMatch(/^(struct|union|enum) \w+::[\w.[\]]+: no such (type|member) in the target/);
      expect(instructions[slot]).toMatchObject({ opcode: 0x85, imm: POISON_HELPER });
    }
  });

  it.each(["jit", "interpreter"] as const)("stops a program that gets there: %s", async (engine) => {
    const { spec, target } = program();
    const machine = await Machine.create({ engine });
    const { programs } = await machine.load(spec, { btf: target, unverified: "sandbox" });
    expect(() => programs["reads"]?.run({ packet: new Uint8Array(64) })).toThrow(
      /^program 'reads': instruction \d+ \(.*relocs_read\.c:\d+\): struct .*: no such type in the target \(\.BTF\)$/,
    );
  });

  it.each([
    [
      "poisoned_single",
      /instruction 6 .*: struct nonexist::non_exist: no such type in the target \(\.BTF\)$/,
    ],
    ["poisoned_double", /instruction 4 .*: enum nonexist_enum::NON_EXIST: no such type in the target/],
    ["poisoned_kfunc", /instruction 0 .*: kernel function 'invalid_kfunc': missing here$/],
  ])("%s does not load: it gets there whatever happens", async (name, message) => {
    const machine = await Machine.create();
    const btf = btfOf(open("relocs_enum-el"));
    const failure = machine.load(open("errors-el"), { programs: [name], btf });
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toMatchObject({ code: "program", where: { program: name } });
  });
});
