/**
 * Helpers that programs call rarely, each with its effect and its errors. Expectations: the documentation in uapi/linux/bpf.h, and
 * where it says nothing kernel/trace/bpf_trace.c, kernel/bpf/task_iter.c, kernel/bpf/syscall.c, net/core/filter.c, drivers/media/rc/bpf-lirc.c.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Btf } from "../../src/btf/index.ts";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { createCalls } from "./calls.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/behaviour.bpf.o")), {
  name: "behaviour.bpf.o",
});
const packet = new Uint8Array(64);
/** Programs of the fixture that check themselves. */
const CHECKED = ["list_ends", "tree_sides", "locks", "copies"];

const TC = { type: "sched_cls" } as const;
const KPROBE = { type: "kprobe" } as const;
const ITER = { type: "tracing", attachType: "trace_iter" } as const;
const u64 = (...values: readonly (number | bigint)[]): Uint8Array =>
  new Uint8Array(BigUint64Array.from(values, BigInt).buffer);

describe.each(ENGINES)("%s", (engine) => {
  test("clone_redirect sends a copy, out or in, and the packet goes on", async () => {
    const { machine, call } = await createCalls(engine, {
      world: { interfaces: [{ name: "eth0", ifindex: 7 }] },
    });
    expect(call("clone_redirect", ["context", 7, 0], TC)).toBe(0);
    expect(call("clone_redirect", ["context", 7, 1], TC)).toBe(0);
    expect(machine.world.network.sent).toMatchObject([
      { ifindex: 7, ingress: false },
      { ifindex: 7, ingress: true },
    ]);
    expect(machine.world.network.sent[0]?.packet.length).toBe(64);
    expect([
      call("clone_redirect", ["context", 8, 0], TC),
      call("clone_redirect", ["context", 7, 2], TC),
    ]).toEqual([-22, -22]);
  });

  test("skb_set_tstamp: real time may be none, other clocks not; only of IP", async () => {
    const { call } = await createCalls(engine);
    const set = (time: number, clock: number, packet?: Uint8Array): number =>
      call(
        "skb_set_tstamp",
        ["context", time, clock],
        packet === undefined ? TC : { ...TC, input: { packet } },
      );
    expect([set(5, 1), set(0, 0), set(5, 2)]).toEqual([0, 0, 0]);
    expect([set(0, 1), set(5, 3)]).toEqual([-22, -22]);
    const arp = new Uint8Array(64);
    arp.set([8, 6], 12);
    expect(set(5, 1, arp)).toBe(-95);
  });

  test("skb_get_xfrm_state: no packet here came through IPsec", async () => {
    const { call, place } = await createCalls(engine);
    expect(call("skb_get_xfrm_state", ["context", 0, place(28), 28, 0], TC)).toBe(-22);
  });

  test("msg_cork_bytes: so many bytes are waited for", async () => {
    const { run } = await createCalls(engine);
    expect(run("msg_cork_bytes", ["context", 77], { type: "sk_msg", input: { data: "abc" } }).corkBytes).toBe(
      77,
    );
  });

  test("rc_repeat and rc_pointer_rel: what a decoder has found", async () => {
    const { run } = await createCalls(engine);
    const lirc = { type: "lirc_mode2", input: { pulse: 9 } } as const;
    expect(run("rc_repeat", ["context"], lirc).remote).toEqual([{ kind: "repeat" }]);
    expect(run("rc_pointer_rel", ["context", -3 >>> 0, 4], lirc).remote).toEqual([
      { kind: "pointer", x: -3, y: 4 },
    ]);
  });

  test("get_retval: what getsockopt has returned so far, what a program has set", async () => {
    const { call } = await createCalls(engine);
    const sockopt = { level: "SOL_SOCKET", name: 8, value: 1 };
    const asked = { type: "cgroup_sockopt", attachType: "cgroup_getsockopt" } as const;
    expect(call("get_retval", [], { ...asked, input: { sockopt: { ...sockopt, ret: -13 } } })).toBe(-13);
    expect(call("get_retval", [], { type: "cgroup_sock", input: {} })).toBe(0);
  });

  test("send_signal and send_signal_thread: to the process, to the thread", async () => {
    const { machine, call } = await createCalls(engine, { world: { current: { pid: 8, tgid: 7 } } });
    expect([call("send_signal", [9], KPROBE), call("send_signal_thread", [10], KPROBE)]).toEqual([0, 0]);
    expect(call("send_signal", [65], KPROBE)).toBe(-22);
    expect(machine.world.signals).toEqual([
      { pid: 7, signal: 9, thread: false },
      { pid: 8, signal: 10, thread: true },
    ]);
  });

  test("read_branch_records: no hardware that records them; flags are looked at first", async () => {
    const { call, place } = await createCalls(engine);
    const event = { type: "perf_event", input: {} } as const;
    const at = place(48);
    expect(call("read_branch_records", ["context", at, 48, 0], event)).toBe(-2);
    expect(call("read_branch_records", ["context", 0, 0, 1], event)).toBe(-2);
    expect(call("read_branch_records", ["context", at, 48, 2], event)).toBe(-22);
  });

  test("kallsyms_lookup_name: a name with its NUL, no flags", async () => {
    const { call, place, read } = await createCalls(engine, {
      world: { symbols: { start: 0xffffffff81000000n } },
    });
    const [name, to] = [place("start"), place(8)];
    const look = (size: number, flags = 0): number => call("kallsyms_lookup_name", [name, size, flags, to]);
    expect(look(6)).toBe(0);
    expect(read(to, 8)).toEqual([...u64(0xffffffff81000000n)]);
    expect([look(5), look(1), look(6, 1)]).toEqual([-22, -22, -22]);
    // What was there is gone, whatever the answer.
    expect(read(to, 8)).toEqual([...u64(0)]);
    expect(call("kallsyms_lookup_name", [place("ends"), 5, 0, to])).toBe(-2);
  });

  test("find_vma: the area of an address", async () => {
    const vmas = [{ start: 0x1000, end: 0x2000, object: 0x9000 }];
    const { call } = await createCalls(engine, { world: { current: { pid: 7, object: 0x8000, vmas } } });
    const find = (task: number, address: number, flags = 0): number =>
      call("find_vma", [task, address, 0, 0, flags], KPROBE);
    // The callback of the one that is there: test/fixtures/behaviour.bpf.c.
    expect([find(0x8000, 0x2000), find(0x8000, 0xfff)]).toEqual([-2, -2]);
    expect([find(0x8000, 0x1000, 1), find(0x8888, 0x1000)]).toEqual([-22, -22]);
  });

  test("d_path: with its NUL, all or nothing", async () => {
    const { machine, call, place, read } = await createCalls(engine, {
      world: { paths: new Map([[0x5000, "/etc/x"]]) },
    });
    const to = place(16);
    const path = (size: number): number => call("d_path", [0x5000, to, size], { type: "tracing" });
    expect([path(7), path(16)]).toEqual([7, 7]);
    expect(read(to, 7)).toEqual([..."/etc/x\0"].map((char) => char.charCodeAt(0)));
    expect([path(6), path(0)]).toEqual([-36, 0]);
    machine.world.paths.delete(0x5000);
    expect(() => path(16)).toThrow(/machine\.world\.paths\.set\(ADDRESS/);
  });

  test("seq_write and seq_printf: what an iterator's file says", async () => {
    const { machine, call, place } = await createCalls(engine);
    const seq = place(64);
    const format = place("%d of %s\n");
    const values = place(u64(-3n & 0xffffffffn, place("four")));
    expect(call("seq_write", [seq, place("a line, "), 8], ITER)).toBe(0);
    expect(call("seq_printf", [seq, format, 10, values, 16], ITER)).toBe(0);
    expect(machine.world.takeSeq(seq)).toBe("a line, -3 of four\n");
    expect(call("seq_printf", [seq, format, 10, values, 8], ITER)).toBe(-22);
    expect(call("seq_printf", [seq, format, 10, values, 15], ITER)).toBe(-22);
    expect(call("seq_printf", [seq, format, 9, values, 16], ITER)).toBe(-22);
    // More than the file's pages hold.
    expect(call("seq_printf", [seq, place("%32768d"), 8, values, 8], ITER)).toBe(-75);
    expect(machine.world.takeSeq(seq)).toBe("");
  });

  test("snprintf_btf and seq_printf_btf: a structure as text", async () => {
    const btf = spec.btf as Btf;
    const [point] = btf.find("point", "struct");
    const { machine, call, place, read } = await createCalls(engine, { btf });
    const value = place(Uint8Array.of(1, 0, 0, 0, 0xfe, 255, 255, 255));
    const pointer = place(u64(value, point!.id));
    const to = place(64);
    // BTF_F_COMPACT and BTF_F_NONAME: no blanks, no names.
    const show = (size: number, flags = 3, from = pointer): number =>
      call("snprintf_btf", [to, size, from, 16, flags], KPROBE);
    expect(show(64)).toBe(7);
    expect(String.fromCharCode(...read(to, 8))).toBe("{1,-2,}\0");
    expect(show(4)).toBe(7);
    expect(read(to, 4).at(-1)).toBe(0);
    expect(show(64, 16)).toBe(-22);
    expect(call("snprintf_btf", [to, 64, pointer, 8, 0], KPROBE)).toBe(-22);
    expect(call("seq_printf_btf", [to, pointer, 16, 3], ITER)).toBe(0);
    expect(machine.world.takeSeq(to)).toBe("{1,-2,}");
  });

  test("per_cpu_ptr and this_cpu_ptr: variables of the kernel are the same for all CPUs, and there are not more", async () => {
    const { call } = await createCalls(engine, { cpus: 2 });
    expect([call("per_cpu_ptr", [0x5000, 1]), call("per_cpu_ptr", [0x5000, 2])]).toEqual([0x5000, 0]);
    expect(call("this_cpu_ptr", [0x5000])).toBe(0x5000);
  });

  test("get_netns_cookie: of a packet's namespace, and without a socket of the machine's own", async () => {
    const { call } = await createCalls(engine, { world: { netnsCookie: 77n } });
    expect(call("get_netns_cookie", ["context"], TC)).toBe(77);
    expect(
      call("get_netns_cookie", [0], { type: "cgroup_sock_addr", input: { address: "10.0.0.1:80" } }),
    ).toBe(77);
  });

  test("skb_cgroup_id: 0 of a packet without a socket of the world's", async () => {
    const { call } = await createCalls(engine);
    expect(
      call("skb_cgroup_id", ["context"], { ...TC, input: { packet: new Uint8Array(64), socket: null } }),
    ).toBe(0);
  });

  test("sockets as what they are, and the control groups of their owners", async () => {
    const tcp6 = { protocol: "tcp", local: "[fd00::1]:80", remote: "[fd00::2]:9" } as const;
    const tcp4 = { protocol: "tcp", local: "10.0.0.1:80", remote: "10.0.0.2:9" } as const;
    const { call } = await createCalls(engine, {
      world: {
        cgroups: [
          { path: "/a", id: 50 },
          { path: "/a/b", id: 51 },
        ],
        sockets: [
          { ...tcp6, object: 0x9000, cgroup: "/a/b" },
          { ...tcp4, object: 0x9100 },
          { ...tcp4, remote: "10.0.0.2:10", state: "time_wait", object: 0x9200 },
          { ...tcp4, remote: "10.0.0.2:11", state: "new_syn_recv", object: 0x9300 },
          { protocol: "udp", local: "[fd00::1]:53", object: 0x9400 },
          { protocol: "udp", local: "10.0.0.1:53", object: 0x9500 },
        ],
      },
    });
    const sockets = [0x9000, 0x9100, 0x9200, 0x9300, 0x9400, 0x9500];
    const which = (name: string): number[] => sockets.filter((at) => call(name, [at]) === at);
    expect(which("skc_to_tcp_sock")).toEqual([0x9000, 0x9100]);
    expect(which("skc_to_tcp6_sock")).toEqual([0x9000]);
    expect(which("skc_to_tcp_timewait_sock")).toEqual([0x9200]);
    expect(which("skc_to_tcp_request_sock")).toEqual([0x9300]);
    expect(which("skc_to_udp6_sock")).toEqual([0x9400]);
    for (const name of ["skc_to_unix_sock", "skc_to_mptcp_sock"])
      expect(sockets.map((at) => call(name, [at]))).toEqual([0, 0, 0, 0, 0, 0]);
    expect([call("sk_cgroup_id", [0x9000], TC), call("sk_cgroup_id", [0x9100], TC)]).toEqual([51, 1]);
    const ancestor = (level: number): number => call("sk_ancestor_cgroup_id", [0x9000, level], TC);
    expect([0, 1, 2, 3, 0xffffffff].map(ancestor)).toEqual([1, 50, 51, 0, 0]);
  });

  test("get_local_storage: a value of the control group that the program runs for", async () => {
    const { machine, call, read } = await createCalls(engine);
    const map = machine.createMap({
      name: "own",
      type: "cgroup_storage",
      keySize: 8,
      valueSize: 8,
      maxEntries: 0,
      flags: 0,
    });
    const group = { type: "cgroup_skb" } as const;
    const first = call("get_local_storage", [map.address, 0], group);
    expect(read(first, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    machine.memory.setU64(first, 5n);
    expect(call("get_local_storage", [map.address, 0], group)).toBe(first);
  });

  test.each(CHECKED.flatMap((name) => [[name, "trusted"] as const, [name, "sandbox"] as const]))(
    "%s returns 0, %s",
    async (name, unverified) => {
      const machine = await Machine.create({ engine, verify: false, unverified, cpus: 2 });
      const { programs } = await machine.load(spec, { programs: [name] });
      expect(programs[name]?.run({ packet }).returnValue).toBe(0);
      expect(programs[name]?.run({ packet, cpu: 1 }).returnValue).toBe(0);
    },
  );

  test("find_vma gives the area to its callback, and what the program hands along", async () => {
    const machine = await Machine.create({ engine, verify: false, unverified: "trusted" });
    const { programs, maps } = await machine.load(spec, { programs: ["area"] });
    const area = machine.alloc("vm_area_struct", { vm_start: 0x1000n });
    const { current } = machine.world;
    Object.assign(current, { vmas: [{ start: 0x1000, end: 0x2000, object: area.address }] });
    const look = (address: bigint): number => {
      maps[".bss"]!.set(0, { ...(maps[".bss"]!.get(0) as object), wanted_address: address });
      return programs["area"]!.run({ args: [0, 0] }).returnValue | 0;
    };
    expect(look(0x1fffn)).toBe(0);
    expect(maps[".bss"]!.get(0)).toMatchObject({ seen: 0x1001n });
    expect(look(0x2000n)).toBe(-2);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("the kernel confirms"), () => {
  test.each(CHECKED)("%s", async (name) => {
    using machine = await KernelMachine.create();
    const { programs } = machine.load(spec, { programs: [name] });
    expect(programs[name]?.run({ packet }).returnValue).toBe(0);
  });

  test("an address where no area is", async () => {
    using machine = await KernelMachine.create();
    const { programs } = machine.load(spec, { programs: ["area"] });
    expect(programs["area"]!.raw.testRun({}).returnValue | 0).toBe(-2);
  });
});
