/** Runs of the types that take no packets: what a program finds in its context, and what it leaves there. */
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { ENGINES, Machine, type RunInput } from "../../src/machine/index.ts";
import { SOCK_OPS_NAMES } from "../../src/machine/run/sockets.ts";
import { insn } from "../kernel/setup.ts";
import { attachFor, settableFields, writableFields } from "./event-fields.ts";

const LOAD: Readonly<Record<number, number>> = { 1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79 };
const STORE: Readonly<Record<number, number>> = { 1: 0x73, 2: 0x6b, 4: 0x63, 8: 0x7b };
const EXIT = insn(0x95);

describe.each(ENGINES)("contexts in the %s", (engine) => {
  it.each(settableFields())("%s: a program reads what was given", async (_name, hook, field) => {
    const found = attachFor(hook, field, false);
    expect(found).toBeDefined();
    const machine = await Machine.create({ engine });
    const { offset, size, count, name } = field;
    const elements = Array.from({ length: count ?? 1 }, (_, index) => 0x41 + index);
    for (const [index, value] of elements.entries()) {
      const program = machine.loadInstructions(
        [insn(LOAD[size] as number, 0, 1, offset + index * size), EXIT],
        { type: hook.type, ...(found?.attach === undefined ? {} : { attachType: found.attach }) },
      );
      const given = count === undefined ? value : elements;
      // Registers are given by name, everything else is a field of the context.
      const input: RunInput =
        hook.type === "kprobe" || (hook.type === "perf_event" && offset < 168)
          ? { registers: { [name]: value } }
          : hook.type === "perf_event"
            ? { sample: { [name === "addr" ? "addr" : "period"]: value } }
            : { context: { [name]: given } };
      expect(program.run(input).r0).toBe(BigInt(value));
    }
  });

  it.each(writableFields())("%s: what a program writes is there afterwards", async (_name, hook, field) => {
    const found = attachFor(hook, field, true);
    expect(found).toBeDefined();
    const machine = await Machine.create({ engine });
    const { offset, size, count, name } = field;
    for (let index = 0; index < (count ?? 1); index++) {
      const program = machine.loadInstructions(
        [
          insn(0xb7, 2, 0, 0, 0x1234),
          insn(STORE[size] as number, 1, 2, offset + index * size),
          insn(0xb7, 0, 0, 0, 1),
          EXIT,
        ],
        { type: hook.type, ...(found?.attach === undefined ? {} : { attachType: found.attach }) },
      );
      const after = program.run({}).context[name];
      expect(count === undefined ? after : (after as readonly number[])[index]).toBe(0x1234);
    }
  });

  it.each([
    ["x86_64", [0x70, 0x68, 0x60, 0x58, 0x48, 0x40]],
    ["arm64", [0, 8, 16, 24, 32, 40, 48, 56]],
  ] as const)("%s: arguments are where the calling convention has them", async (arch, places) => {
    const machine = await Machine.create({ engine });
    const args = [11, 22, 33, 44, 55, 66, 77, 88, 99];
    for (const [index, offset] of places.entries()) {
      const program = machine.loadInstructions([insn(0x79, 0, 1, offset), EXIT], { type: "kprobe" });
      expect(program.run({ args, arch }).r0).toBe(BigInt(args[index] ?? 0));
    }
    // The others lie on the stack: behind the return address on x86-64.
    const [sp, first] = arch === "x86_64" ? [0x98, 8] : [248, 0];
    const program = machine.loadInstructions([insn(0x79, 2, 1, sp), insn(0x79, 0, 2, first), EXIT], {
      type: "kprobe",
    });
    expect(program.run({ args, arch }).r0).toBe(BigInt(args[places.length] ?? 0));
  });

  it("arguments of functions, the result behind them", async () => {
    const machine = await Machine.create({ engine });
    const third = machine.loadInstructions([insn(0x79, 0, 1, 16), EXIT], {
      type: "tracing",
      attachType: "trace_fexit",
    });
    expect(third.run({ args: [1, 2], ret: 7 }).r0).toBe(7n);
    const lsm = machine.loadInstructions([insn(0xb7, 0, 0, 0, -13), EXIT], {
      type: "lsm",
      attachType: "lsm_mac",
    });
    expect(lsm.run({ args: [0] })).toMatchObject({ returnValue: -13, returnName: "EACCES" });
  });

  it.each([
    [
      "10.0.0.1:80",
      "cgroup_inet4_connect",
      [
        [4, 0x0100000a],
        [24, 0x5000],
      ],
    ],
    [
      "[fd00::1]:443",
      "cgroup_inet6_connect",
      [
        [8, 0x000000fd],
        [20, 0x01000000],
        [24, 0xbb01],
      ],
    ],
  ] as const)("the address %s", async (address, attachType, words) => {
    const machine = await Machine.create({ engine });
    for (const [offset, value] of words) {
      const program = machine.loadInstructions([insn(0x61, 0, 1, offset), EXIT], {
        type: "cgroup_sock_addr",
        attachType,
      });
      const run = program.run({ address });
      expect(run.r0).toBe(BigInt(value));
      expect(run.address).toBe(address);
    }
    const rewriting = machine.loadInstructions(
      [insn(0xb7, 2, 0, 0, 0x3500), insn(0x63, 1, 2, 24), insn(0xb7, 0, 0, 0, 1), EXIT],
      { type: "cgroup_sock_addr", attachType },
    );
    expect(rewriting.run({ address }).address).toBe(address.replace(/\d+$/, "53"));
  });

  it("a message and its socket", async () => {
    const machine = await Machine.create({ engine });
    // The first byte becomes the last one; r0 is the socket's family.
    const program = machine.loadInstructions(
      [
        insn(0x79, 2, 1, 0),
        insn(0x79, 3, 1, 8),
        insn(0x71, 4, 3, -1),
        insn(0x73, 2, 4, 0),
        insn(0x79, 5, 1, 72),
        insn(0x61, 0, 5, 4),
        EXIT,
      ],
      { type: "sk_msg" },
    );
    const run = program.run({ data: "abc", local: "[::1]:1000", remote: "[::2]:2000" });
    expect(run.r0).toBe(10n);
    expect(new TextDecoder().decode(run.data)).toBe("cbc");
    expect(run.context).toMatchObject({ size: 3, local_port: 1000, remote_port: 0xd0070000 });
  });

  it("options of sockets: buffer, length and result", async () => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions(
      [
        insn(0x79, 2, 1, 8),
        insn(0xb7, 3, 0, 0, 42),
        insn(0x63, 2, 3, 0),
        insn(0xb7, 3, 0, 0, 4),
        insn(0x63, 1, 3, 32),
        insn(0xb7, 3),
        insn(0x63, 1, 3, 36),
        insn(0xb7, 0, 0, 0, 1),
        EXIT,
      ],
      { type: "cgroup_sockopt", attachType: "cgroup_getsockopt" },
    );
    const { sockopt } = program.run({
      sockopt: { level: "SOL_SOCKET", name: "SO_MARK", value: new Uint8Array(8), ret: -92 },
    });
    expect(sockopt).toEqual({ level: 1, name: 36, length: 4, ret: 0, value: Uint8Array.of(42, 0, 0, 0) });
  });

  it.each([
    ["c 1:3 rw", [0, 0x00060002]],
    ["b 8:16 m", [0, 0x00010001]],
    ["c 5:9 r", [8, 9]],
  ] as const)("the device %s", async (device, [offset, value]) => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions([insn(0x61, 0, 1, offset), EXIT], { type: "cgroup_device" });
    expect(program.run({ device }).r0).toBe(BigInt(value));
  });

  it("a TCP event and the program's reply", async () => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions(
      [
        insn(0x61, 2, 1, 0),
        insn(0x61, 3, 1, 8),
        insn(0x0f, 2, 3),
        insn(0x63, 1, 2, 4),
        insn(0xb7, 0, 0, 0, 1),
        EXIT,
      ],
      { type: "sock_ops" },
    );
    const input = { op: "BPF_SOCK_OPS_RTT_CB", args: [0, 100], local: "10.0.0.1:1", remote: "10.0.0.2:2" };
    expect(program.run(input).reply).toBe(SOCK_OPS_NAMES.indexOf("RTT_CB") + 100);
  });

  it("a flow's keys, kept inside the packet", async () => {
    const machine = await Machine.create({ engine });
    // keys->thoff = 1000; keys->ip_proto = 6.
    const program = machine.loadInstructions(
      [
        insn(0x79, 2, 1, 144),
        insn(0xb7, 3, 0, 0, 1000),
        insn(0x6b, 2, 3, 2),
        insn(0xb7, 3, 0, 0, 6),
        insn(0x73, 2, 3, 9),
        insn(0xb7, 0),
        EXIT,
      ],
      { type: "flow_dissector" },
    );
    const packet = new Uint8Array(64);
    packet.set([0x08, 0x00], 12);
    const run = program.run({ packet });
    expect(run.flowKeys).toMatchObject({ nhoff: 14, thoff: 64, n_proto: 8, ip_proto: 6 });
    expect(run.returnName).toBe("BPF_OK");
  });

  it("a record by its format", async () => {
    const machine = await Machine.create({ engine });
    const format = [
      "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;",
      "\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;",
      "\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;",
      "\tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:0;",
    ].join("\n");
    const load = (
      code: Parameters<Machine["loadInstructions"]>[0],
    ): ReturnType<Machine["loadInstructions"]> =>
      machine.loadInstructions(code, { type: "tracepoint", attachTo: "sched/sched_process_exec" });
    const input = { format, fields: { filename: "/bin/sh", pid: -5, comm: "sh" } };
    expect(load([insn(0x81, 0, 1, 12), EXIT]).run(input).returnValue | 0).toBe(-5);
    expect(load([insn(0x69, 0, 1, 16), EXIT]).run(input).r0).toBe(0x6873n);
    // The upper half of the field is the text's length with its zero byte, the lower half where it is.
    expect(load([insn(0x69, 0, 1, 10), EXIT]).run(input).r0).toBe(8n);
    const text = load([insn(0x69, 2, 1, 8), insn(0x0f, 1, 2), insn(0x61, 0, 1, 1), EXIT]).run(input);
    expect(text.r0).toBe(0x2f6e6962n);
  });

  it.each([
    ["pulse", 1000, 0x010003e8],
    ["space", 500, 500],
    ["timeout", 7, 0x03000007],
  ] as const)("an infrared %s", async (what, us, sample) => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions([insn(0x61, 0, 1, 0), EXIT], { type: "lirc_mode2" });
    expect(program.run({ [what]: us }).r0).toBe(BigInt(sample));
  });

  it("a syscall program changes its argument", async () => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions(
      [insn(0xb7, 2, 0, 0, 9), insn(0x73, 1, 2, 1), insn(0xb7, 0), EXIT],
      { type: "syscall" },
    );
    expect(program.run({ argument: Uint8Array.of(1, 2, 3) }).argument).toEqual(Uint8Array.of(1, 9, 3));
  });
});

describe("inputs that make no sense", () => {
  it.each([
    [
      "kprobe",
      { fields: { a: 1 } },
      /kprobe programs take no 'fields'; they take args, ret, registers, arch/,
    ],
    ["kprobe", { registers: { zz: 1 } }, /no register 'zz'; there are r15/],
    ["kprobe", { args: { path: 1 } }, /no argument 'path'/],
    ["kprobe", { args: [1.5] }, /di: needs a whole number/],
    ["cgroup_sock_addr", { address: "10.0.0.1:99999" }, /'10\.0\.0\.1:99999' is no address/],
    ["cgroup_sock_addr", { address: "[::1]:80" }, /is no address of the program's family/],
    ["cgroup_device", { device: "x 1:3" }, /such as "c 1:3 rw"/],
    ["sock_ops", { op: "NOPE" }, /no event 'NOPE'; there are VOID/],
    ["cgroup_sock", { context: { nope: 1 } }, /bpf_sock\.nope: no such field/],
    ["tracepoint", { fields: { a: 1 } }, /the layout of '.*' is not known/],
    ["tracepoint", { format: "nothing", fields: {} }, /the format has no line/],
    ["xdp", { packet: new Uint8Array(64), args: [1] }, /xdp programs take no 'args'/],
    ["xdp", {}, /xdp programs are run over a packet/],
  ] as const)("%s %j", async (type, input, message) => {
    const machine = await Machine.create();
    const program = machine.loadInstructions([insn(0xb7, 0), EXIT], { type });
    expect(() => program.run(input as RunInput)).toThrow(BpfError);
    expect(() => program.run(input as RunInput)).toThrow(message);
  });
});
