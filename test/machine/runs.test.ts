/**
 * Helpers that ask what a run is about. Expectations: the documentation of the helpers in uapi/linux/bpf.h; stack maps by
 * kernel/bpf/stackmap.c, texts of sysctls by kernel/bpf/cgroup.c.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ENGINES, Machine, type RunInput, type WorldOptions } from "../../src/machine/index.ts";
import type { AttachType, ProgramType } from "../../src/uapi/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { code } from "./code.ts";

const KERNEL = [0xffffffff81000010n, 0xffffffff81000020n, 0xffffffff81000030n];
const WORLD: WorldOptions = {
  current: { pid: 7, stack: KERNEL, userStack: [0x401000n], object: 0x123450, registers: 0x123500 },
  tasks: [{ pid: 8, object: 0x123460, stack: [1n, 2n] }],
  symbols: { do_thing: 0xffffffff81234560n },
};

/** Result in the upper half, the first word of a buffer of 24 bytes, filled with ones, in the lower. */
const buffered = (setup: string, helper: string, word = -24): string => `
  r6 = r1
  r7 = -1
  *(u64 *)(r10 - 24) = r7
  *(u64 *)(r10 - 16) = r7
  *(u64 *)(r10 - 8) = r7
  ${setup}
  call bpf_${helper}
  r0 <<= 32
  w1 = *(u32 *)(r10 ${word < 0 ? `- ${-word}` : `+ ${word}`})
  r0 |= r1
  exit`;
const stack = (size: number, flags: number): string =>
  `r1 = r6\nr2 = r10\nr2 += -24\nr3 = ${size}\nr4 = ${flags}`;
const task = (address: number, flags: number): string =>
  `r1 = ${address}\nr2 = r10\nr2 += -24\nr3 = 16\nr4 = ${flags}`;
const text = (size: number, flags = ""): string => `r1 = r6\nr2 = r10\nr2 += -24\nr3 = ${size}\n${flags}`;
const argument = (index: number): string => `r1 = r6\nr2 = ${index}\nr3 = r10\nr3 += -24`;
const letters = (value: string): number => Buffer.from(value.padEnd(4, "\0")).readInt32LE();

interface Row {
  readonly type: ProgramType;
  readonly attachType?: AttachType;
  readonly attachTo?: string;
  readonly input?: RunInput;
}
const KPROBE: Row = { type: "kprobe", attachTo: "do_thing" };
const FEXIT: Row = { type: "tracing", attachType: "trace_fexit", input: { args: [10, 20], ret: 30 } };
const SYSCTL: Row = {
  type: "cgroup_sysctl",
  input: { sysctl: { name: "net.ipv4.ip_forward", value: "600" } },
};

describe.each(ENGINES)("%s", (engine) => {
  test.each<[string, Row, string, number, number]>([
    ["a stack", KPROBE, buffered(stack(24, 0), "get_stack"), 24, 0x81000010 | 0],
    ["its innermost skipped", KPROBE, buffered(stack(24, 1), "get_stack"), 16, 0x81000020 | 0],
    ["zeros behind it", KPROBE, buffered(stack(24, 1), "get_stack", -8), 16, 0],
    ["what fits", KPROBE, buffered(stack(8, 0), "get_stack"), 8, 0x81000010 | 0],
    ["of user space", KPROBE, buffered(stack(24, 256), "get_stack"), 8, 0x401000],
    ["more skipped than there is", KPROBE, buffered(stack(24, 4), "get_stack"), -14, 0],
    ["no such flag", KPROBE, buffered(stack(24, 1 << 12), "get_stack"), -22, 0],
    ["build ids of the kernel", KPROBE, buffered(stack(24, 1 << 11), "get_stack"), -22, 0],
    ["no multiple of 8", KPROBE, buffered(stack(20, 0), "get_stack"), -22, 0],
    ["of another process", KPROBE, buffered(task(0x123460, 0), "get_task_stack"), 16, 1],
    ["user space of another", KPROBE, buffered(task(0x123460, 256), "get_task_stack"), -95, 0],
    ["second argument", FEXIT, buffered(argument(1), "get_func_arg"), 0, 20],
    ["no third argument", FEXIT, buffered(argument(2), "get_func_arg"), -22, -1],
    ["result", FEXIT, buffered("r1 = r6\nr2 = r10\nr2 += -24", "get_func_ret"), 0, 30],
    ["count", FEXIT, buffered("r1 = r6", "get_func_arg_cnt"), 2, -1],
    ["cookie", { ...KPROBE, input: { cookie: 5 } }, buffered("r1 = r6", "get_attach_cookie"), 5, -1],
    ["no cookie", KPROBE, buffered("r1 = r6", "get_attach_cookie"), 0, -1],
    ["address of the function", KPROBE, "call bpf_get_func_ip\nexit", -1, 0x81234560 | 0],
    ["in its midst", { ...KPROBE, attachTo: "do_thing+0x4" }, buffered("r1 = r6", "get_func_ip"), 0, -1],
    ["registers", KPROBE, buffered("r1 = 0x123450", "task_pt_regs"), 0x123500, -1],
    ["branches", KPROBE, buffered("r1 = r10\nr1 += -24\nr2 = 24\nr3 = 0", "get_branch_snapshot"), -2, -1],
    ["name", SYSCTL, buffered(text(24, "r4 = 0"), "sysctl_get_name"), 19, letters("net/")],
    ["base name", SYSCTL, buffered(text(24, "r4 = 1"), "sysctl_get_name"), 10, letters("ip_f")],
    ["name cut off", SYSCTL, buffered(text(3, "r4 = 0"), "sysctl_get_name"), -7, 0xff00656e | 0],
    ["value", SYSCTL, buffered(text(24), "sysctl_get_current_value"), 3, letters("600")],
    ["value cut off", SYSCTL, buffered(text(3), "sysctl_get_current_value"), -7, 0xff003036 | 0],
    ["nothing is written", SYSCTL, buffered(text(24), "sysctl_get_new_value"), -22, 0],
  ])("%s", async (_, { input = {}, ...options }, program, result, word) => {
    const machine = await Machine.create({ engine, world: WORLD });
    const { r0 } = machine.loadInstructions(code(program), options).run(input);
    expect([Number(BigInt.asIntN(64, r0) >> 32n), Number(BigInt.asIntN(32, r0))]).toEqual([result, word]);
  });

  test("stack ids: the same stack has one, another in its place is refused unless told", async () => {
    const machine = await Machine.create({ engine, world: WORLD });
    const map = machine.createMap({
      name: "stacks",
      type: "stack_trace",
      keySize: 4,
      valueSize: 127 * 8,
      maxEntries: 1,
      flags: 0,
    });
    const id = (flags: number): number => {
      const instructions = code(`r2 = 0 ll\nr3 = ${flags}\ncall bpf_get_stackid\nexit`);
      const references = new Map([[0, { kind: "map" as const, map: "stacks", offset: 0 }]]);
      const program = machine.loadInstructions(instructions, {
        type: "kprobe",
        maps: { stacks: map },
        references,
      });
      return Number(BigInt.asIntN(64, program.run({}).r0));
    };
    expect([id(0), id(0)]).toEqual([0, 0]);
    const trace = new BigUint64Array(map.lookup(new Uint8Array(4))!.slice().buffer);
    expect(Array.from(trace.slice(0, 4))).toEqual([...KERNEL, 0n]);
    expect(id(1)).toBe(-17);
    // The new trace is taken from the map's store before the old one is given back: of one there is none left.
    expect(id(1 | (1 << 10))).toBe(-12);
    expect(id(3)).toBe(-14);
    expect(id(1 << 11)).toBe(-22);
  });

  test("what a run leaves: an overridden result, a verdict, a new sysctl, callbacks", async () => {
    const machine = await Machine.create({ engine, world: WORLD });
    const run = (type: ProgramType, program: string, input: RunInput) =>
      machine.loadInstructions(code(`${program}\nr0 = 1\nexit`), { type }).run(input);
    const probe = run("kprobe", "r2 = -12\ncall bpf_override_return", {});
    expect(probe.overridden).toBe(BigInt.asUintN(64, -12n));
    expect(probe.context["rax"] ?? probe.context["ax"]).toBe(BigInt.asUintN(64, -12n));
    expect(run("cgroup_sock", "r1 = -13\ncall bpf_set_retval", {}).retval).toBe(-13);
    const options = { sockopt: { level: 1, name: 8, value: 1, ret: -5 } };
    expect(run("cgroup_sockopt", "r1 = 0\ncall bpf_set_retval", options).sockopt?.ret).toBe(0);
    const write = { sysctl: { name: "net/x", value: "1", write: "2" } };
    const set = `w2 = 51\n*(u16 *)(r10 - 8) = w2\nr2 = r10\nr2 += -8\nr3 = 2\ncall bpf_sysctl_set_new_value`;
    expect(run("cgroup_sysctl", set, write).sysctl?.newValue).toBe("3");
    const flags = run("sock_ops", "r2 = 0x83\ncall bpf_sock_ops_cb_flags_set", { op: 1 });
    expect(flags.context["bpf_sock_ops_cb_flags"]).toBe(3);
    expect(run("sk_msg", "r2 = 100\ncall bpf_msg_apply_bytes", { data: "abc" }).applyBytes).toBe(100);
    const key = "r2 = 4\nr3 = 0x1234567890 ll\nr4 = 1\ncall bpf_rc_keydown";
    expect(run("lirc_mode2", key, { pulse: 9 }).remote).toEqual([
      { kind: "key", protocol: 4, scancode: 0x1234567890n, toggle: true },
    ]);
    // The next run knows nothing of it.
    expect(run("cgroup_sock", "", {}).retval).toBeUndefined();
  });
});

test("of a process of which nothing is told: one call in the kernel, one in user space", async () => {
  const machine = await Machine.create({ world: { symbols: { other: 0xffffffff81000000n } } });
  const run = (program: string): bigint => machine.loadInstructions(code(program), KPROBE).run({}).r0;
  const address = run("call bpf_get_func_ip\nexit");
  expect(address).toBeGreaterThan(0xffffffff81000000n);
  expect(machine.world.symbolAt(address, false)).toBe("do_thing");
  const seen = (flags: number): number => Number(run(buffered(stack(8, flags), "get_stack")) & 0xffffffffn);
  expect(seen(0)).toBe(Number(address & 0xffffffffn));
  expect(seen(256)).toBe(0x401000);
});

test("what the world lacks is an error that says how to give it", async () => {
  const machine = await Machine.create();
  const run =
    (program: string, options: Row): (() => unknown) =>
    () =>
      machine.loadInstructions(code(program), options).run({});
  expect(
    run(buffered("r1 = r6\nr2 = r10\nr2 += -24\nr3 = 24", "perf_prog_read_value"), { type: "perf_event" }),
  ).toThrow(/run\(\{ sample: \{ counter: 1000 \} \}\)/);
});

describe("options of a TCP header", () => {
  // MSS 1460, NOP, window scale 7, an experimental option with a magic of 16 bits.
  const options = Uint8Array.of(2, 4, 5, 180, 1, 3, 3, 7, 254, 5, 0xf9, 0x89, 9, 0, 0, 0);
  const data = new Uint8Array(20 + options.length);
  data.set(options, 20);
  const load = (search: number, size: number, flags = 0): string => `
    r7 = ${search}
    *(u64 *)(r10 - 8) = r7
    r2 = r10
    r2 += -8
    r3 = ${size}
    r4 = ${flags}
    call bpf_load_hdr_opt
    r0 <<= 32
    w1 = *(u32 *)(r10 - 8)
    r0 |= r1
    exit`;
  test.each<[string, string, string, number, number]>([
    ["MSS", "PARSE_HDR_OPT_CB", load(2, 8), 4, 0xb4050402 | 0],
    ["window scale", "PARSE_HDR_OPT_CB", load(3, 8), 3, 0x00070303],
    ["by its magic", "PARSE_HDR_OPT_CB", load(0x89f904fe | 0, 8), 5, 0x89f905fe | 0],
    ["of another magic", "PARSE_HDR_OPT_CB", load(0x8af904fe | 0, 8), -42, 0x8af904fe | 0],
    ["absent", "PARSE_HDR_OPT_CB", load(8, 8), -42, 8],
    ["too little room", "PARSE_HDR_OPT_CB", load(2, 2), -28, 0x0402],
    ["NOP cannot be asked for", "PARSE_HDR_OPT_CB", load(1, 8), -22, 1],
    ["a length is for experiments", "PARSE_HDR_OPT_CB", load(0x0402, 8), -22, 0x0402],
    ["no SYN is saved", "PARSE_HDR_OPT_CB", load(2, 8, 1), -2, 2],
    ["before there is a header", "HDR_OPT_LEN_CB", load(2, 8), -1, 2],
  ])("%s", async (_, op, program, result, word) => {
    const machine = await Machine.create();
    const { r0 } = machine.loadInstructions(code(program), { type: "sock_ops" }).run({ op, data });
    expect([Number(BigInt.asIntN(64, r0) >> 32n), Number(BigInt.asIntN(32, r0))]).toEqual([result, word]);
  });
});

test("a message is pulled: its pointers move; past its end they stay", async () => {
  const machine = await Machine.create();
  const pull = (start: number, end: number): string => `
    r6 = r1
    r2 = ${start}
    r3 = ${end}
    r4 = 0
    call bpf_msg_pull_data
    r0 <<= 32
    r2 = *(u64 *)(r6 + 0)
    w1 = *(u8 *)(r2 + 0)
    r0 |= r1
    exit`;
  const run = (start: number, end: number): number[] => {
    const program = machine.loadInstructions(code(pull(start, end)), { type: "sk_msg" });
    const { r0, data } = program.run({ data: "abcd" });
    expect(new TextDecoder().decode(data)).toBe("abcd");
    return [Number(BigInt.asIntN(64, r0) >> 32n), Number(r0 & 0xffn)];
  };
  expect([run(1, 3), run(2, 5), run(2, 2)]).toEqual([
    [0, 98],
    [-22, 97],
    [-22, 97],
  ]);
});

test("a socket is bound to an address of the machine's", async () => {
  const world: WorldOptions = { interfaces: [{ name: "eth0", addresses: ["10.0.0.1/24"] }] };
  const machine = await Machine.create({ world });
  const bind = (family: number, last: number, length: number): string => `
    r7 = 0
    *(u64 *)(r10 - 8) = r7
    w7 = ${family}
    *(u32 *)(r10 - 16) = w7
    w7 = ${0x0000000a | (last << 24)}
    *(u32 *)(r10 - 12) = w7
    r2 = r10
    r2 += -16
    r3 = ${length}
    call bpf_bind
    exit`;
  const run = (family: number, last: number, length: number): [number, string | undefined] => {
    const options = { type: "cgroup_sock_addr", attachType: "cgroup_inet4_connect" } as const;
    const program = machine.loadInstructions(code(bind(family, last, length)), options);
    const { r0, bound } = program.run({ address: "10.0.0.9:80" });
    return [Number(BigInt.asIntN(32, r0)), bound];
  };
  expect(run(2, 1, 16)).toEqual([0, "10.0.0.1:0"]);
  expect(run(2, 2, 16)).toEqual([-99, undefined]);
  expect(run(2, 1, 15)).toEqual([-22, undefined]);
  expect(run(1, 1, 16)).toEqual([-97, undefined]);
});

test("memory of a named process: flags must be 0, what is not there leaves zeros", async () => {
  const machine = await Machine.create({ world: WORLD });
  const from = machine.user.write(Uint8Array.of(1, 2, 3, 4));
  const copy = (address: string, task: number, flags = 0): string =>
    buffered(
      `r1 = r10\nr1 += -24\nr2 = 4\nr3 = ${address}\nr4 = ${task}\nr5 = ${flags}`,
      "copy_from_user_task",
    );
  const run = (program: string): number[] => {
    const { r0 } = machine.loadInstructions(code(program), { type: "kprobe" }).run({});
    return [Number(BigInt.asIntN(64, r0) >> 32n), Number(BigInt.asIntN(32, r0))];
  };
  expect(run(copy(String(from), 0x123460))).toEqual([0, 0x04030201]);
  expect(run(copy(String(from), 0x123460, 1))).toEqual([-22, -1]);
  expect(run(copy("0xffff000000000 ll", 0x123460))).toEqual([-14, 0]);
  expect(run(copy(String(from), 0x999990))).toEqual([-14, 0]);
});

test("a process has the kernel's structure when the machine has the kernel's types", async () => {
  const btf = parseObject(readFileSync(join(ROOT, "test/fixtures/objects.bpf.o")), { name: "objects" }).btf;
  if (btf === undefined) throw new Error("the fixture has no types");
  const machine = await Machine.create({ btf, world: { current: { pid: 42, comm: "sh" } } });
  const program = machine.loadInstructions(code("call bpf_get_current_task\nexit"), { type: "kprobe" });
  const { r0 } = program.run({});
  expect(program.run({}).r0).toBe(r0);
  expect(machine.world.current.object).toBe(Number(r0));
  expect(machine.memory.read(Number(r0), 4096).includes(42)).toBe(true);
});

test("control groups of an array: under, not under, no entry, no such index", async () => {
  const machine = await Machine.create({
    world: {
      cgroups: [
        { path: "/a", object: 0x1000 },
        { path: "/b", object: 0x2000 },
      ],
      current: { pid: 1, cgroup: "/a/deep" },
    },
  });
  const map = machine.createMap({
    name: "groups",
    type: "cgroup_array",
    keySize: 4,
    valueSize: 4,
    maxEntries: 3,
    flags: 0,
  });
  map.setObject(Uint8Array.of(0, 0, 0, 0), { address: 0x1000 });
  map.setObject(Uint8Array.of(1, 0, 0, 0), { address: 0x2000 });
  const references = new Map([[0, { kind: "map" as const, map: "groups", offset: 0 }]]);
  const results = [0, 1, 2, 3].map((index) => {
    const text = code(`r1 = 0 ll\nr2 = ${index}\ncall bpf_current_task_under_cgroup\nexit`);
    const program = machine.loadInstructions(text, { type: "kprobe", maps: { groups: map }, references });
    return Number(BigInt.asIntN(64, program.run({}).r0));
  });
  expect(results).toEqual([1, 0, -11, -7]);
});
