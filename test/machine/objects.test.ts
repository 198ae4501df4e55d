/** Structures of the kernel in a machine's memory, and the programs that look at them. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type Btf, parseBtf } from "../../src/btf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { ENGINES, type Loaded, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const FIXTURE = join(ROOT, "test/fixtures/objects.bpf.o");

const bss = ({ maps }: Loaded): Record<string, unknown> => maps[".bss"]?.get(0) as Record<string, unknown>;

describe.each(ENGINES)("kernel objects in the %s", (engine) => {
  // The kernel's own layout where it can be had, else what the object declares.
  const sources: [string, Btf | undefined][] = [["the object's types", undefined]];
  if (existsSync(VMLINUX))
    sources.push(["the kernel's types", parseBtf(readFileSync(VMLINUX), { name: VMLINUX })]);

  describe.each(sources)("with %s", (_source, btf) => {
    let machine: Machine;
    let loaded: Loaded;
    let programs: Loaded["programs"];
    beforeAll(async () => {
      machine = await Machine.create({ engine, ...(btf === undefined ? {} : { btf }) });
      loaded = await machine.load(parseObject(readFileSync(FIXTURE), { name: "objects.bpf.o" }), {
        // Linux refuses one of the programs: it reads a record's text where it lies, at an offset that is known at run time only.
        unverified: "trusted",
      });
      programs = loaded.programs;
    });

    it("arguments of a tracepoint", () => {
      const parent = machine.alloc("task_struct", { pid: 7 });
      const prev = machine.alloc("task_struct", { pid: 42, comm: "sh", real_parent: parent });
      const next = machine.alloc("task_struct", { pid: 100 });
      expect(programs["switched"]?.run({ args: [true, prev, next] }).returnValue).toBe(0);
      expect(bss(loaded)["seen"]).toBe(1_007_100n);
      parent.set({ pid: 8 });
      programs["switched"]?.run({ args: [false, prev, next] });
      expect(bss(loaded)["seen"]).toBe(8100n);
    });

    it("arguments and result of a function", () => {
      const file = machine.alloc("file", { f_flags: 0o100 });
      programs["opening"]?.run({ args: [null, file] });
      expect(bss(loaded)["seen"]).toBe(64n);
      programs["opened"]?.run({ args: [0, file], ret: -2 });
      // Results are 32 bits: the program's declaration makes it signed again.
      expect(BigInt.asIntN(32, bss(loaded)["seen"] as bigint)).toBe(-2n);
      expect(programs["refusing"]?.run({ args: [file], ret: -5 }).returnName).toBe("EIO");
      expect(
        programs["refusing"]?.run({ args: [machine.alloc("file", { f_flags: 1 })], ret: 0 }),
      ).toMatchObject({
        returnValue: -1,
        returnName: "EPERM",
      });
    });

    it("an LSM policy", () => {
      const top = machine.alloc("dentry", {});
      const dentry = machine.alloc("dentry", { d_parent: top });
      const run = (value: object): string | undefined =>
        programs["policy"]?.run({ args: [machine.alloc("file", { f_path: value as never })] }).returnName;
      expect(run({ dentry })).toBe("ALLOW");
      expect(run({ dentry: top })).toBe("EACCES");
    });

    it("an iterator's elements", () => {
      loaded.maps[".bss"]?.set(0, { seen: 0, text: "" });
      const cred = machine.alloc("cred", { uid: { val: 1000 } });
      const each = programs["each"];
      for (const pid of [1, 2, 3]) each?.run({ args: { task: machine.alloc("task_struct", { pid, cred }) } });
      each?.run({ args: {} });
      expect(bss(loaded)["seen"]).toBe(3006n);
    });

    it("a tracepoint's record, with text behind it", () => {
      programs["executed"]?.run({ fields: { filename: "/bin/true", pid: 77, old_pid: 77 } });
      expect(bss(loaded)).toEqual({ seen: 77n, text: "/bin/true" });
      programs["entering"]?.run({ fields: { filename: "/x", flags: 0o2000000 } });
      expect(bss(loaded)["seen"]).toBe(0o2000000n);
    });

    it("registers of a probe", () => {
      const file = machine.alloc("file", {});
      programs["probed"]?.run({ args: [0, file] });
      expect(bss(loaded)["seen"]).toBe(BigInt(file.address));
      // A structure by its members, where the kernel's function is declared: an address that was laid out for the run.
      const types = btf ?? machine.alloc("file", {}).btf;
      if (types.find("vfs_open", "func").length > 0) {
        programs["probed"]?.run({ args: { path: null, file: { f_flags: 7 } } });
        const laidOut = Number(bss(loaded)["seen"]);
        const at = (machine.alloc("file", { f_flags: 7 }).bytes() as Uint8Array).indexOf(7);
        expect(machine.memory.read(laidOut, at + 1)[at]).toBe(7);
      }
      programs["returned"]?.run({ ret: -2 });
      expect(BigInt.asIntN(32, bss(loaded)["seen"] as bigint)).toBe(-2n);
    });

    it("what is not there reads as zero through pointers of BTF", () => {
      const seen = (task: unknown): unknown => {
        programs["ancestors"]?.run({ args: [task as number] });
        return bss(loaded)["seen"];
      };
      const oldest = machine.alloc("task_struct", { pid: 90 });
      const older = machine.alloc("task_struct", { real_parent: oldest });
      const old = machine.alloc("task_struct", { real_parent: older });
      expect(seen(machine.alloc("task_struct", { real_parent: old }))).toBe(95n);
      expect(seen(old)).toBe(5n);
      expect(seen(older)).toBe(5n);
      expect(seen(0)).toBe(5n);
      // An address of the kernel, and one beyond the memory's end.
      expect(seen(machine.alloc("task_struct", { real_parent: 0xffff_8880_1234_5678n as never }))).toBe(5n);
      expect(seen(machine.alloc("task_struct", { real_parent: 0xfff0_0000 }))).toBe(5n);
    });

    it("are read back, changed and freed", () => {
      const task = machine.alloc("task_struct", { pid: 42, comm: "sh", cred: { uid: { val: 33 } } });
      expect(task.member("comm")).toBe("sh");
      expect(task.member("cred.uid.val")).toBe(33);
      task.set({ comm: "nginx", flags: 0x40 });
      expect(task.get()).toMatchObject({ pid: 42, comm: "nginx", flags: 0x40 });
      expect(() => task.member("real_parent.pid")).toThrow(/real_parent points nowhere/);
      expect(() => task.member("nope")).toThrow(/has no member 'nope'/);
      task.free();
      task.free();
    });

    it("are refused where they do not fit", () => {
      expect(() => machine.alloc("no_such_struct")).toThrow(/type 'no_such_struct': there is none in/);
      expect(() => machine.alloc("task_struct", { nope: 1 })).toThrow(/has no member 'nope'/);
      expect(() => machine.alloc("task_struct", { pid: 2 ** 40 })).toThrow(BpfError);
    });
  });

  it("user memory is told from the rest", async () => {
    const machine = await Machine.create({ engine });
    const address = machine.user.write("text");
    expect(machine.user.read(address, 5)).toEqual(Uint8Array.of(0x74, 0x65, 0x78, 0x74, 0));
    expect(machine.user.has(address + 1, 4)).toBe(true);
    expect(machine.user.has(address + 1, 5)).toBe(false);
    expect(machine.user.room(address + 2)).toBe(3);
    expect(() => machine.user.read(address, 100)).toThrow(/are not in it/);
    machine.user.free(address);
    expect(machine.user.has(address, 1)).toBe(false);
  });

  it("without BTF there are no types", async () => {
    const machine = await Machine.create({ engine });
    expect(() => machine.alloc("task_struct")).toThrow(/the machine knows no types/);
  });
});
