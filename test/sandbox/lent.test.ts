/** What is made for a run, and what the host gives: contexts, objects, user memory, inner maps, kernel functions. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { ENGINES, type ImageReference, Machine, type Program } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";
import { attachFor, settableFields, writableFields } from "../machine/event-fields.ts";

const OBJECTS = parseObject(readFileSync(join(ROOT, "test/fixtures/objects.bpf.o")), {
  name: "objects.bpf.o",
});
const KPROBE: ProgramType = "kprobe";

describe.each(ENGINES)("sandboxed programs in the %s", (engine) => {
  const create = (): Promise<Machine> => Machine.create({ engine, verify: false, unverified: "sandbox" });
  const load = (
    machine: Machine,
    text: string,
    type?: ProgramType,
    references: ReadonlyMap<number, ImageReference> = new Map(),
    maps: Parameters<Machine["loadInstructions"]>[1] = {},
  ): Program =>
    machine.loadInstructions(assemble(text).instructions, {
      ...maps,
      references,
      ...(type === undefined ? {} : { type }),
    });

  it.each(settableFields())("%s: a program reads its context", async (_name, hook, field) => {
    const machine = await create();
    const { attach } = attachFor(hook, field, false) ?? {};
    const size = { 1: "u8", 2: "u16", 4: "u32", 8: "u64" }[field.size];
    const program = machine.loadInstructions(
      assemble(`r0 = *(${size} *)(r1 + ${field.offset})\nexit`).instructions,
      { type: hook.type, ...(attach === undefined ? {} : { attachType: attach }) },
    );
    expect(program.safety).toBe("sandbox");
    expect(() => program.run({})).not.toThrow();
    const beyond = load(machine, `r0 = *(u64 *)(r1 - 48)\nexit`, hook.type);
    expect(() => beyond.run({})).toThrow(/read of 8 bytes/);
  });

  it.each(writableFields())("%s: and writes what a verified one may write", async (_name, hook, field) => {
    const machine = await create();
    const { attach } = attachFor(hook, field, true) ?? {};
    const size = { 1: "u8", 2: "u16", 4: "u32", 8: "u64" }[field.size];
    const program = machine.loadInstructions(
      assemble(`r2 = 0\n*(${size} *)(r1 + ${field.offset}) = r2\nr0 = 0\nexit`).instructions,
      { type: hook.type, ...(attach === undefined ? {} : { attachType: attach }) },
    );
    expect(() => program.run({})).not.toThrow();
  });

  it("registers are there to read, not to write", async () => {
    const machine = await create();
    const read = load(machine, "r0 = *(u64 *)(r1 + 112)\nexit", KPROBE);
    expect(read.run({ args: [42] }).r0).toBe(42n);
    const write = load(machine, "r2 = 1\n*(u64 *)(r1 + 112) = r2\nr0 = 0\nexit", KPROBE);
    expect(() => write.run({ args: [42] })).toThrow(/write of 8 bytes at 0x[0-9a-f]+, in context/);
    expect(read.run({ args: [43] }).r0).toBe(43n);
  });

  it("structures of the kernel can be read, and those that they point to", async () => {
    const machine = await create();
    const loaded = await machine.load(OBJECTS, { programs: ["switched"] });
    const parent = machine.alloc("task_struct", { pid: 7 });
    const prev = machine.alloc("task_struct", { pid: 42, comm: "sh", real_parent: parent });
    const next = machine.alloc("task_struct", { pid: 100 });
    const program = loaded.programs["switched"] as Program;
    expect(program.run({ args: [true, prev, next] }).returnValue).toBe(0);
    expect(loaded.maps[".bss"]?.get(0)).toMatchObject({ seen: 1_007_100n });

    const write = load(machine, "r2 = *(u64 *)(r1 + 0)\n*(u8 *)(r2 + 0) = 1\nr0 = 0\nexit", "raw_tracepoint");
    expect(() => write.run({ args: [prev] })).toThrow(/which is not for that/);
    const behind = load(
      machine,
      `r2 = *(u64 *)(r1 + 0)\nr0 = *(u8 *)(r2 + ${prev.size})\nexit`,
      "raw_tracepoint",
    );
    expect(() => behind.run({ args: [prev] })).toThrow(/at the end of .*task_struct/);
    const read = load(machine, "r2 = *(u64 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit", "raw_tracepoint");
    expect(() => read.run({ args: [prev] })).not.toThrow();
    prev.free();
    expect(() => read.run({ args: [BigInt(prev.address)] })).toThrow(/read of 1 byte/);
  });

  it("texts and bytes among the arguments last for the run, and for what returns from it", async () => {
    const machine = await create();
    const read = load(machine, "r2 = *(u64 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 2)\nexit", "raw_tracepoint");
    expect(read.run({ args: ["abc"] }).r0).toBe(99n);
    const address = load(machine, "r0 = *(u64 *)(r1 + 0)\nexit", "raw_tracepoint");
    const stale = address.run({ args: ["abc"] }).r0;
    expect(read.run({ args: [stale] }).r0).toBe(99n);
  });

  const probe = (helper: number): string =>
    `r3 = *(u64 *)(r1 + 112)\nr1 = r10\nr1 += -8\n*(u64 *)(r10 - 8) = -1\nr2 = 4\ncall ${helper}\n` +
    "if r0 != 0 goto +1\nr0 = *(u64 *)(r10 - 8)\nexit";

  it.each([
    ["probe_read", 4],
    ["probe_read_user", 112],
    ["probe_read_str", 45],
    ["probe_read_user_str", 114],
    ["copy_from_user", 148],
  ])("%s reads what is lent, and nothing else", async (name, id) => {
    const machine = await create();
    const type: ProgramType = KPROBE;
    const program = load(machine, probe(id), type);
    const lent = machine.user.write(Uint8Array.of(65, 66, 67, 0));
    const secret = machine.memory.alloc(64, "secret");
    machine.memory.write(secret, Uint8Array.of(1, 2, 3, 4));
    const given = (address: number): bigint => BigInt.asIntN(64, program.run({ args: [address] }).r0);
    const refused = -14n;
    expect(given(lent)).toBe(name.endsWith("str") ? 4n : BigInt.asIntN(64, 0xffffffff00434241n));
    expect(given(secret)).toBe(refused);
    expect(given(lent + 1)).toBe(name.endsWith("str") ? 3n : refused);
    expect(given(program.descriptor)).toBe(refused);
    expect(given(0)).toBe(refused);
    machine.user.free(lent);
    expect(given(lent)).toBe(refused);
  });

  it.each([
    ["probe_read_kernel", 113],
    ["probe_read_kernel_str", 115],
  ])("%s reads structures of the kernel, and nothing else", async (name, id) => {
    const machine = await create();
    await machine.load(OBJECTS, { programs: ["switched"] });
    const task = machine.alloc("task_struct", { comm: "ABC" });
    const begin = [...machine.memory.read(task.address, task.size)].findIndex((byte) => byte === 65);
    const program = load(machine, probe(id), KPROBE);
    const given = (address: number): bigint => BigInt.asIntN(64, program.run({ args: [address] }).r0);
    const comm = task.address + begin;
    expect(given(comm)).toBe(name.endsWith("str") ? 4n : BigInt.asIntN(64, 0xffffffff00434241n));
    // What is no address of the kernel is ERANGE (copy_from_kernel_nofault_allowed).
    expect(given(machine.user.write(Uint8Array.of(65, 66, 67, 0)))).toBe(-34n);
    expect(given(machine.memory.alloc(64, "secret"))).toBe(-34n);
    expect(given(program.descriptor)).toBe(-34n);
    expect(given(0)).toBe(-34n);
    task.free();
    expect(given(comm)).toBe(-34n);
  });

  it("probe_write_user writes to lent memory only", async () => {
    const machine = await create();
    const text = "*(u64 *)(r10 - 8) = 7\nr2 = r10\nr2 += -8\nr3 = 8\ncall 36\nexit";
    const program = load(machine, text);
    const lent = machine.user.write(8);
    const secret = machine.memory.alloc(64, "secret");
    expect(program.call(lent)).toBe(0n);
    expect([...machine.user.read(lent, 8)]).toEqual([7, 0, 0, 0, 0, 0, 0, 0]);
    expect(BigInt.asIntN(64, program.call(secret))).toBe(-14n);
    expect(BigInt.asIntN(64, program.call(lent + 1))).toBe(-14n);
    expect([...machine.memory.read(secret, 8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it.each(["array_of_maps", "hash_of_maps"] as const)(
    "%s: inner maps are held once they are looked up",
    async (type) => {
      const machine = await create();
      const array = (name: string) =>
        machine.createMap({ name, type: "array", keySize: 4, valueSize: 16, maxEntries: 2, flags: 0 });
      const [inner, other] = [array("inner"), array("other")];
      const outer = machine.createMap({
        name: "outer",
        type,
        keySize: 4,
        valueSize: 4,
        maxEntries: 4,
        flags: 0,
        inner,
      });
      outer.setMap(Uint8Array.of(1, 0, 0, 0), inner);
      const text =
        "r1 = 0 ll\n*(u32 *)(r10 - 4) = 1\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto +7\nr1 = r0\n" +
        "r2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto +2\n*(u64 *)(r0 + 8) = 9\nr0 = *(u64 *)(r0 + 8)\nexit";
      const references = new Map([[0, { kind: "map", map: "outer" } as const]]);
      const program = load(machine, text, undefined, references, { maps: { outer } });
      expect(program.call()).toBe(9n);
      const value = inner.get(Uint8Array.of(1, 0, 0, 0)) as Uint8Array;
      expect([...value.subarray(8)]).toEqual([9, 0, 0, 0, 0, 0, 0, 0]);
      const guess = load(
        machine,
        `*(u32 *)(r10 - 4) = 1\nr1 = ${other.address}\nr2 = r10\nr2 += -4\ncall 1\nexit`,
        undefined,
        references.size === 0 ? references : new Map(),
      );
      expect(() => guess.call()).toThrow(/argument r1/);
    },
  );

  const kfunc = (machine: Machine, name: string, text: string): Program => {
    const { instructions } = assemble(text);
    const slot = instructions.findIndex(({ opcode, src }) => opcode === 0x85 && src === 0);
    const called = instructions.map((one, index) => (index === slot ? { ...one, src: 2, imm: 0 } : one));
    return machine.loadInstructions(called, {
      references: new Map([[slot, { kind: "extern", extern: name }]]),
    });
  };

  it("kernel functions get memory of the program, or are refused", async () => {
    const machine = await create();
    const iterator = "r1 = r10\nr1 += -8\nr2 = 3\nr3 = 5\ncall 1\nexit";
    expect(kfunc(machine, "bpf_iter_num_new", iterator).call()).toBe(0n);
    const outside = kfunc(machine, "bpf_iter_num_new", iterator.replace("-8", "-4"));
    expect(() => outside.call()).toThrow(
      /argument r1: write of 8 bytes at 0x[0-9a-f]+: across the end of stack/,
    );
    const forged = kfunc(
      machine,
      "bpf_cpumask_setall",
      `r1 = ${machine.memory.alloc(64, "secret")}\ncall 1\nr0 = 0\nexit`,
    );
    expect(() => forged.call()).toThrow(/argument r1: there is no bpf_cpumask at 0x/);
    const text = kfunc(
      machine,
      "bpf_strlen",
      "*(u32 *)(r10 - 4) = 0x636261\nr1 = r10\nr1 += -4\ncall 1\nexit",
    );
    expect(text.call()).toBe(3n);
    const endless = kfunc(machine, "bpf_strlen", "*(u32 *)(r10 - 4) = -1\nr1 = r10\nr1 += -4\ncall 1\nexit");
    // What lies behind the stack is not there: -EFAULT.
    expect(BigInt.asIntN(32, endless.call())).toBe(-14n);
  });

  it("functions of the host see what the program may see", async () => {
    const machine = await create();
    const secret = machine.memory.alloc(64, "secret");
    machine.registerKfunc("bpf_mine", (call) => call.bytes(1, 8)[0] as number);
    const at = (address: string) =>
      kfunc(machine, "bpf_mine", `*(u64 *)(r10 - 8) = 5\nr1 = ${address}\nr1 += -8\ncall 1\nexit`);
    expect(at("r10").call()).toBe(5n);
    expect(() => at(String(secret + 8)).call()).toThrow(/8 bytes there are not the sandboxed program's/);
  });

  it("a kernel function's number is no helper's id", async () => {
    const machine = await create();
    // The first that is called has number 1, as map_lookup_elem has; what it gives is no value of a map.
    const secret = machine.memory.alloc(64, "secret");
    machine.registerKfunc("bpf_first", () => secret);
    const map = machine.createMap({
      name: "m",
      type: "array",
      keySize: 4,
      valueSize: 64,
      maxEntries: 1,
      flags: 0,
    });
    const { instructions } = assemble("r1 = 0 ll\nr2 = r10\nr2 += -4\ncall 1\nr0 = *(u64 *)(r0 + 0)\nexit");
    const called = instructions.map((one) => (one.opcode === 0x85 ? { ...one, src: 2, imm: 0 } : one));
    const slot = called.findIndex(({ opcode }) => opcode === 0x85);
    const program = machine.loadInstructions(called, {
      maps: { m: map },
      references: new Map<number, ImageReference>([
        [0, { kind: "map", map: "m" }],
        [slot, { kind: "extern", extern: "bpf_first" }],
      ]),
    });
    expect(() => program.call()).toThrow(/read of 8 bytes/);
  });

  it("a mock's answer is no value of a map", async () => {
    const machine = await create();
    const secret = machine.memory.alloc(64, "secret");
    const map = machine.createMap({
      name: "m",
      type: "array",
      keySize: 4,
      valueSize: 64,
      maxEntries: 1,
      flags: 0,
    });
    machine.mockHelper("map_lookup_elem", () => secret);
    const program = load(
      machine,
      "*(u32 *)(r10 - 4) = 0\nr1 = 0 ll\nr2 = r10\nr2 += -4\ncall 1\nr0 = *(u64 *)(r0 + 0)\nexit",
      undefined,
      new Map([[1, { kind: "map", map: "m" } as const]]),
      { maps: { m: map } },
    );
    expect(() => program.call()).toThrow(/read of 8 bytes/);
  });
});
