/**
 * Programs that make maps, ask for types, look at files and send samples of the kernel's own structures. Expectations: kernel/bpf/syscall.c,
 * btf.c, bpf_lsm.c, net/core/filter.c, and the documentation in uapi/linux/bpf.h.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Btf, findMember } from "../../src/btf/index.ts";
import { ENGINES, Machine, type MachineOptions } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";
import { code } from "./code.ts";
import { kernelTypes } from "./kernel-types.ts";

const fixture = (name: string) =>
  parseObject(readFileSync(join(ROOT, `test/fixtures/${name}.bpf.o`)), { name });

/** A machine, memory for attributes, and calls of helpers by their registers. */
async function create(engine: "jit" | "interpreter", options: MachineOptions = {}) {
  const machine = await Machine.create({ engine, ...options });
  const place = (bytes: Uint8Array): number => {
    const at = machine.memory.alloc(Math.max(8, bytes.length), "attributes");
    machine.memory.write(at, bytes);
    return at;
  };
  const call = (type: ProgramType, helper: string, registers: readonly (number | bigint)[]): number => {
    const text = registers.map((value, index) => `r${index + 1} = ${value} ll`).join("\n");
    const program = machine.loadInstructions(code(`${text}\ncall bpf_${helper}\nexit`), { type });
    return Number(BigInt.asIntN(64, program.run({}).r0));
  };
  return { machine, place, call };
}

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

describe.each(ENGINES)("%s", (engine) => {
  test("bpf(2) from a program: a map is made, filled, frozen, and closed", async () => {
    const { machine, place, call } = await create(engine);
    const bpf = (command: number, attributes: Uint8Array): number =>
      call("syscall", "sys_bpf", [command, place(attributes), attributes.length]);
    const attributesOf = (...values: number[]) => words(...values, 0, 0, 0x646f6f67, 0, 0, 0);
    const fd = bpf(0, attributesOf(1, 4, 8, 10, 0));
    expect(fd).toBe(3);
    const map = machine.maps["good"];
    expect(map).toMatchObject({ type: "hash", keySize: 4, valueSize: 8, maxEntries: 10 });
    const key = place(words(7));
    const value = place(words(1, 2));
    const element = (flags = 0): Uint8Array => words(fd, 0, key, 0, value, 0, flags, 0);
    expect(bpf(2, element())).toBe(0);
    expect(map?.lookup(words(7))).toEqual(words(1, 2));
    expect(bpf(2, element(1))).toBe(-17);
    expect(bpf(3, element())).toBe(0);
    expect(bpf(3, element())).toBe(-2);
    expect(bpf(2, words(99, 0, key, 0, value, 0))).toBe(-9);
    expect(bpf(2, words(fd, 0, 0, 1, value, 0))).toBe(-14);
    expect(bpf(14, words(1))).toBe(4);
    expect(bpf(14, words(9))).toBe(-2);
    expect(bpf(22, words(fd))).toBe(0);
    // A frozen map is one that cannot be written (map_get_sys_perms), before it is one that is frozen.
    expect(bpf(22, words(fd))).toBe(-1);
    expect(bpf(2, element())).toBe(-1);
    const close = (descriptor: number): number => call("syscall", "sys_close", [descriptor]);
    expect([close(fd), close(fd), close(4)]).toEqual([0, -9, 0]);
    expect(bpf(0, attributesOf(1, 0, 8, 10, 0))).toBe(-22);
    expect(bpf(0, attributesOf(1, 4, 8, 0, 0))).toBe(-22);
    expect(bpf(0, attributesOf(77, 4, 8, 1, 0))).toBe(-22);
    // Nothing to do with maps: neither is it for programs.
    expect(bpf(1, element())).toBe(-22);
    expect(() => bpf(5, element())).toThrow(
      /BPF_PROG_LOAD cannot be had from a program here; load it with machine.load/,
    );
  });

  test("types by name and kind", async () => {
    const { btf } = fixture("objects");
    const { machine, place, call } = await create(engine, { btf: btf as Btf });
    const find = (name: string, kind: number, flags = 0, size = name.length + 1): number =>
      call("syscall", "btf_find_by_name_kind", [
        place(new TextEncoder().encode(`${name}\0`)),
        size,
        kind,
        flags,
      ]);
    const id = find("task_struct", 4);
    expect(btf?.type(id)).toMatchObject({ kind: "struct", name: "task_struct" });
    expect([find("task_struct", 5), find("no such", 4), find("task_struct", 99)]).toEqual([-2, -2, -2]);
    expect([find("task_struct", 4, 1), find("task_struct", 4, 0, 1), find("task_struct", 4, 0, 5)]).toEqual([
      -22, -22, -22,
    ]);
    expect(machine.maps).toEqual({});
  });

  test("without types that is an error that says how to give some", async () => {
    const { place, call } = await create(engine);
    const name = place(new TextEncoder().encode("x\0"));
    expect(() => call("syscall", "btf_find_by_name_kind", [name, 2, 4, 0])).toThrow(
      /helper bpf_btf_find_by_name_kind: the machine has no types of the kernel; give it some: Machine.create/,
    );
  });

  test("what was measured of files, and whose they are", async () => {
    const digest = Uint8Array.from({ length: 32 }, (_, at) => at);
    const world = {
      digests: new Map([
        [0x5000, { algorithm: "sha256", digest }],
        [0x6000, null],
        [0x7000, { algorithm: "crc", digest }],
      ]),
      fileSockets: new Map([
        [0x5000, 0x5500],
        [0x6000, 0],
      ]),
    };
    const { machine, place, call } = await create(engine, { world });
    const to = place(new Uint8Array(32).fill(255));
    const hash = (object: number, size = 32): number => call("lsm", "ima_file_hash", [object, to, size]);
    expect(hash(0x5000, 16)).toBe(4);
    expect(machine.memory.read(to, 32)).toEqual(
      Uint8Array.of(...digest.slice(0, 16), ...new Uint8Array(16).fill(255)),
    );
    expect(call("lsm", "ima_inode_hash", [0x6000, to, 32])).toBe(-95);
    expect(() => hash(0x8000)).toThrow(/machine.world.digests.set\(ADDRESS/);
    expect(() => hash(0x7000)).toThrow(/'crc' is no algorithm of the kernel's/);
    const socket = (file: number): number => call("lsm", "sock_from_file", [file]);
    expect([socket(0x5000), socket(0x6000)]).toEqual([0x5500, 0]);
    expect(() => socket(0x8000)).toThrow(/machine.world.fileSockets.set/);
    expect(call("struct_ops", "tcp_send_ack", [0x5500, 77])).toBe(0);
    expect(machine.world.acknowledgements).toEqual([{ socket: 0x5500, received: 77 }]);
  });
});

describe("structures of the kernel", () => {
  const skip = kernelTypes === undefined;

  test.skipIf(skip)("samples with a part of a packet", async () => {
    const { machine, place, call } = await create("jit", { btf: kernelTypes as Btf });
    const events = machine.createMap({
      name: "e",
      type: "perf_event_array",
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
      flags: 0,
    });
    events.open();
    const packet = place(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
    const skb = machine.alloc("sk_buff", { data: BigInt(packet), len: 10 });
    const xdp = machine.alloc("xdp_buff", { data: BigInt(packet), data_end: BigInt(packet + 6) });
    const own = place(Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9));
    const flags = (bytes: number): bigint => (BigInt(bytes) << 32n) | 0xffffffffn;
    const output = (helper: string, object: number, bytes: number): number =>
      call("tracing", helper, [object, events.address, flags(bytes), own, 8]);
    expect(output("skb_output", skb.address, 3)).toBe(0);
    expect(output("xdp_output", xdp.address, 6)).toBe(0);
    expect(output("skb_output", skb.address, 0)).toBe(0);
    expect([output("skb_output", skb.address, 11), output("xdp_output", xdp.address, 7)]).toEqual([-14, -14]);
    expect(call("tracing", "skb_output", [skb.address, events.address, 1n << 60n, own, 8])).toBe(-22);
    expect(
      [...events.perfEvents()].map(({ data }) => [...(data ?? [])].filter((byte) => byte !== 0)),
    ).toEqual([
      [9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3],
      [9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6],
      [9, 9, 9, 9, 9, 9, 9, 9],
    ]);
  });

  test.skipIf(skip)("a program that is about to run: more privileges than it had", async () => {
    const { machine, call } = await create("jit", { btf: kernelTypes as Btf });
    const program = machine.alloc("linux_binprm", {});
    const types = kernelTypes as Btf;
    expect(findMember(types, types.find("linux_binprm", "struct")[0]!.id, "secureexec")?.bitSize).toBe(1);
    expect(call("lsm", "bprm_opts_set", [program.address, 2])).toBe(-22);
    expect(call("lsm", "bprm_opts_set", [program.address, 1])).toBe(0);
    expect(program.member("secureexec")).toBe(1);
    expect(call("lsm", "bprm_opts_set", [program.address, 0])).toBe(0);
    expect(program.member("secureexec")).toBe(0);
  });
});
