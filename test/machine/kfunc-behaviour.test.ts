/**
 * Kernel functions that programs call rarely, each with its effect and its errors. Expectations: their comments and code in
 * kernel/bpf/helpers.c, map_iter.c, kmem_cache_iter.c, dmabuf_iter.c, kernel/trace/bpf_trace.c, fs/bpf_fs_kfuncs.c, net/core/filter.c, xdp.c,
 * net/netfilter/nf_conntrack_bpf.c, nf_nat_bpf.c, net/bpf/test_run.c of Linux 6.18.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ENGINES, type Engine, Machine, type WorldOptions } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { type Calls, createCalls } from "./calls.ts";
import { kernelTypes } from "./kernel-types.ts";

const TC = { type: "sched_cls" } as const;
const XDP = { type: "xdp" } as const;
const KPROBE = { type: "kprobe", input: { args: [0] } } as const;
const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const letters = (text: string): number[] => [...new TextEncoder().encode(text)];

/** All that an iterator gives, and that it gives nothing more once it is at its end. */
function walk({ call, place }: Calls, name: string, ...args: readonly number[]): number[] | number {
  const iterator = place(24);
  const error = call(`bpf_iter_${name}_new`, [iterator, ...args]);
  const found: number[] = [];
  for (;;) {
    const next = call(`bpf_iter_${name}_next`, [iterator]);
    if (next === 0) break;
    found.push(next);
  }
  expect(call(`bpf_iter_${name}_next`, [iterator])).toBe(0);
  call(`bpf_iter_${name}_destroy`, [iterator]);
  return error === 0 ? found : error;
}

/** A dynptr over so many bytes, and these. */
function dynptr({ call, place }: Calls, size: number): { pointer: number; bytes: number } {
  const [pointer, bytes] = [place(16), place(size)];
  expect(call("dynptr_from_mem", [bytes, size, 0, pointer])).toBe(0);
  return { pointer, bytes };
}

/** Processes 7 and 8, a thread of 7, in "/a" and "/a/b". */
const PROCESSES: WorldOptions = {
  cgroups: [
    { path: "/", object: 0x2000 },
    { path: "/a", id: 50, object: 0x2100 },
    { path: "/a/b", id: 51, object: 0x2200 },
    { path: "/a/c", id: 52, object: 0x2300 },
  ],
  tasks: [
    { pid: 7, object: 0x1000, cgroup: "/a", exe: 0x5000, vmas: [] },
    { pid: 9, tgid: 7, object: 0x1100, cgroup: "/a" },
    {
      pid: 8,
      object: 0x1200,
      cgroup: "/a/b",
      exe: 0,
      vmas: [
        { start: 0x4000, end: 0x5000, object: 0x3100 },
        { start: 0x1000, end: 0x2000, object: 0x3000 },
      ],
    },
  ],
  current: 7,
};

describe.each(ENGINES)("%s", (engine: Engine) => {
  const create = (world: WorldOptions = {}): Promise<Calls> => createCalls(engine, { world });

  test("processes by their number, and the groups that they are under", async () => {
    const { call } = await create(PROCESSES);
    for (const name of ["bpf_task_from_pid", "bpf_task_from_vpid"])
      expect([call(name, [9]), call(name, [10])]).toEqual([0x1100, 0]);
    const under = (task: number, group: number): number => call("bpf_task_under_cgroup", [task, group]);
    expect([under(0x1000, 0x2000), under(0x1000, 0x2100), under(0x1000, 0x2200)]).toEqual([1, 1, 0]);
    // None here is in a hierarchy of the first version.
    expect(call("bpf_task_get_cgroup1", [0x1000, 1])).toBe(0);
  });

  test("forebears of a control group", async () => {
    const { call } = await create(PROCESSES);
    const ancestor = (level: number): number => call("bpf_cgroup_ancestor", [0x2200, level]);
    expect([0, 1, 2, 3, 0xffffffff].map(ancestor)).toEqual([0x2000, 0x2100, 0x2200, 0, 0]);
    expect([call("bpf_cgroup_acquire", [0x2200]), call("bpf_cgroup_release", [0x2200])]).toEqual([0x2200, 0]);
    expect([call("bpf_cgroup_from_id", [52]), call("bpf_cgroup_from_id", [99])]).toEqual([0x2300, 0]);
  });

  test("iterators over control groups: from above, from below, upwards", async () => {
    const calls = await create(PROCESSES);
    const css = (order: number): number[] | number => walk(calls, "css", 0x2100, order);
    expect(css(2)).toEqual([0x2100, 0x2200, 0x2300]);
    expect([...(css(3) as number[])].sort()).toEqual([0x2100, 0x2200, 0x2300]);
    expect((css(3) as number[]).at(-1)).toBe(0x2100);
    expect(walk(calls, "css", 0x2200, 4)).toEqual([0x2200, 0x2100, 0x2000]);
    // BPF_CGROUP_ITER_SELF_ONLY and what is none.
    expect([css(1), css(5)]).toEqual([-22, -22]);
    const tasks = (flags: number): number[] | number => walk(calls, "css_task", 0x2100, flags);
    // CSS_TASK_ITER_PROCS is 1, with threads of other groups 3.
    expect([tasks(0), tasks(1), tasks(3), tasks(2), tasks(4)]).toEqual([
      [0x1000, 0x1100],
      [0x1000],
      [0x1000],
      -22,
      -22,
    ]);
  });

  test("an iterator over areas of memory, from an address on, in order", async () => {
    const calls = await create(PROCESSES);
    expect(walk(calls, "task_vma", 0x1200, 0)).toEqual([0x3000, 0x3100]);
    expect(walk(calls, "task_vma", 0x1200, 0x2000)).toEqual([0x3100]);
    expect(walk(calls, "task_vma", 0x1000, 0)).toEqual([]);
    expect(walk(calls, "task_vma", 0x9999, 0)).toBe(-2);
  });

  test("caches of the kernel's allocator and shared buffers", async () => {
    const world = { slabCaches: [{ object: 0x7000, holds: [[0x100, 0x200]] as const }, { object: 0x7100 }] };
    const calls = await create({ ...world, dmaBuffers: [0x8000] });
    const { call } = calls;
    expect([0x100, 0x1ff, 0x200, 0xff].map((at) => call("bpf_get_kmem_cache", [at]))).toEqual([
      0x7000, 0x7000, 0, 0,
    ]);
    expect(walk(calls, "kmem_cache")).toEqual([0x7000, 0x7100]);
    expect(walk(calls, "dmabuf")).toEqual([0x8000]);
    const none = await create();
    expect(() => none.call("bpf_get_kmem_cache", [1])).toThrow(/world: \{ slabCaches/);
    expect(() => none.call("bpf_iter_kmem_cache_new", [none.place(8)])).toThrow(/world: \{ slabCaches/);
    expect(() => none.call("bpf_iter_dmabuf_new", [none.place(8)])).toThrow(/world: \{ dmaBuffers/);
  });

  test("numbers of control groups: nothing is there to be brought together", async () => {
    const { call } = await create(PROCESSES);
    expect([call("css_rstat_updated", [0x2100, 0]), call("css_rstat_flush", [0x2100])]).toEqual([0, 0]);
  });

  test("the file that a process runs, paths", async () => {
    const { machine, call, place, read } = await create({
      ...PROCESSES,
      paths: new Map([[0x5000, "/bin/sh"]]),
    });
    expect([0x1000, 0x1200, 0x9999].map((task) => call("bpf_get_task_exe_file", [task]))).toEqual([
      0x5000, 0, 0,
    ]);
    expect(() => call("bpf_get_task_exe_file", [0x1100])).toThrow(/file that task 9 runs/);
    expect(call("bpf_put_file", [0x5000])).toBe(0);
    const to = place(16);
    const path = (size: number): number => call("bpf_path_d_path", [0x5000, to, size]);
    expect([path(8), path(16), path(7), path(0)]).toEqual([8, 8, -36, -22]);
    expect(read(to, 8)).toEqual(letters("/bin/sh\0"));
    machine.world.paths.clear();
    expect(() => path(16)).toThrow(/machine\.world\.paths\.set/);
  });

  test("attributes of directory entries and control groups", async () => {
    const calls = await create();
    const { machine, call, place, read } = calls;
    const values = new Map([
      ["user.a", Uint8Array.of(1, 2, 3)],
      ["security.bpf.a", Uint8Array.of(4)],
      ["trusted.a", Uint8Array.of(5)],
    ]);
    machine.world.xattrs.set(0x5000, values);
    const { pointer, bytes } = dynptr(calls, 4);
    const get = (kind: string, name: string, to = pointer): number => call(kind, [0x5000, place(name), to]);
    expect(get("bpf_get_dentry_xattr", "user.a")).toBe(3);
    expect(read(bytes, 4)).toEqual([1, 2, 3, 0]);
    expect(get("bpf_get_dentry_xattr", "security.bpf.a")).toBe(1);
    expect([get("bpf_get_dentry_xattr", "trusted.a"), get("bpf_get_dentry_xattr", "user.b")]).toEqual([
      -1, -61,
    ]);
    expect(get("bpf_cgroup_read_xattr", "user.a")).toBe(3);
    expect(get("bpf_cgroup_read_xattr", "security.bpf.a")).toBe(-1);
    const short = dynptr(calls, 2).pointer;
    expect(get("bpf_get_dentry_xattr", "user.a", short)).toBe(-34);
  });

  test("keys: of users by their number, of the system by their name", async () => {
    const { call } = await create({ keys: [5] });
    const own = call("bpf_lookup_user_key", [5, 0]);
    expect(own).toBeGreaterThan(0);
    expect([call("bpf_lookup_user_key", [6, 0]), call("bpf_lookup_user_key", [5, 4])]).toEqual([0, 0]);
    expect(call("bpf_lookup_user_key", [5, 3])).toBeGreaterThan(0);
    expect(call("bpf_lookup_system_key", [2])).toBeGreaterThan(0);
    expect(call("bpf_lookup_system_key", [3])).toBe(0);
    expect(call("bpf_key_put", [own])).toBe(0);
    const none = await create();
    expect(() => none.call("bpf_lookup_user_key", [5, 0])).toThrow(/world: \{ keys: \[SERIAL\]/);
  });

  test("signals to a thread or a process", async () => {
    const { machine, call } = await create(PROCESSES);
    const send = (task: number, signal: number, type: number): number =>
      call("bpf_send_signal_task", [task, signal, type, 0]);
    expect([send(0x1100, 9, 0), send(0x1100, 10, 1)]).toEqual([0, 0]);
    expect([send(0x1100, 9, 2), send(0x1100, 65, 0)]).toEqual([-22, -22]);
    expect(machine.world.signals).toEqual([
      { pid: 9, signal: 9, thread: true },
      { pid: 7, signal: 10, thread: false },
    ]);
  });

  test("memory of processes, into dynptrs", async () => {
    const calls = await create(PROCESSES);
    const { machine, call, read, place } = calls;
    const user = machine.user.write(Uint8Array.of(...letters("house\0"), 1, 2));
    const { pointer, bytes } = dynptr(calls, 8);
    const clear = (): void => machine.memory.write(bytes, new Uint8Array(8).fill(255));
    for (const [name, more] of [
      ["bpf_probe_read_user_dynptr", []],
      ["bpf_copy_from_user_dynptr", []],
      ["bpf_copy_from_user_task_dynptr", [0x1000]],
    ] as const) {
      clear();
      expect(call(name, [pointer, 2, 3, user, ...more])).toBe(0);
      expect(read(bytes, 8)).toEqual([255, 255, ...letters("hou"), 255, 255, 255]);
      expect(call(name, [pointer, 6, 3, user, ...more])).toBe(-7);
      expect(call(name, [pointer, 0, 3, 8, ...more])).toBe(-14);
    }
    expect(call("bpf_copy_from_user_task_dynptr", [pointer, 0, 3, user, 0x9999])).toBe(-14);
    for (const [name, more] of [
      ["bpf_probe_read_user_str_dynptr", []],
      ["bpf_copy_from_user_str_dynptr", []],
      ["bpf_copy_from_user_task_str_dynptr", [0x1000]],
    ] as const) {
      clear();
      expect(call(name, [pointer, 1, 7, user, ...more])).toBe(6);
      expect(read(bytes, 8)).toEqual([255, ...letters("house\0"), 255]);
      expect(call(name, [pointer, 0, 3, user, ...more])).toBe(3);
      expect(read(bytes, 3)).toEqual(letters("ho\0"));
      expect([call(name, [pointer, 8, 1, user, ...more]), call(name, [pointer, 0, 3, 8, ...more])]).toEqual([
        -7, -14,
      ]);
    }
    const to = place(8);
    for (const [name, task] of [
      ["bpf_copy_from_user_str", []],
      ["bpf_copy_from_user_task_str", [0x1000]],
    ] as const) {
      const copy = (size: number, from: number, flags: number): number => {
        machine.memory.write(to, new Uint8Array(8).fill(255));
        return call(name, [to, size, from, ...task, flags]);
      };
      expect(copy(8, user, 0)).toBe(6);
      expect(read(to, 8)).toEqual([...letters("house\0"), 255, 255]);
      // BPF_F_PAD_ZEROS.
      expect(copy(8, user, 1)).toBe(6);
      expect(read(to, 8)).toEqual(letters("house\0\0\0"));
      expect([copy(8, user, 2), copy(0, user, 0), copy(3, user, 0)]).toEqual([-22, 0, 3]);
      expect(copy(8, 8, 0)).toBe(-14);
      expect(read(to, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    }
    expect(call("bpf_copy_from_user_task_str", [to, 8, user, 0x9999, 0])).toBe(-14);
  });

  test("sessions: a word that the entry leaves to the return", async () => {
    const { call } = await create();
    const session = { type: "kprobe", attachType: "trace_kprobe_session" } as const;
    expect(call("bpf_session_is_return", [], { ...session, input: { args: [0] } })).toBe(0);
    expect(call("bpf_session_is_return", [], { ...session, input: { ret: 0 } })).toBe(1);
    expect(call("bpf_session_cookie", [], { ...session, input: { args: [0] } })).toBeGreaterThan(0);
  });

  test("connections in tc: made, given addresses and a time to live, found", async () => {
    const { machine, call, place, read } = await createCalls(engine, {
      world: { hz: 100 },
      ...(kernelTypes === undefined ? {} : { btf: kernelTypes }),
    });
    const tuple = place(Uint8Array.of(10, 0, 0, 1, 10, 0, 0, 2, 0x0f, 0xa0, 0, 80));
    const options = (netns: number, protocol: number): number =>
      place(Uint8Array.of(...words(netns, 0), protocol, 0, 0, 0, 0, 0, 0, 0));
    const error = (name: string, at: number, size = 16): number => {
      expect(call(name, ["context", tuple, 12, at, size], TC)).toBe(0);
      return new DataView(Uint8Array.from(read(at, 16)).buffer).getInt32(4, true);
    };
    for (const name of ["bpf_skb_ct_alloc", "bpf_skb_ct_lookup"]) {
      expect([error(name, options(-1, 1)), error(name, options(-2, 6)), error(name, options(3, 6))]).toEqual([
        -71, -22, -64,
      ]);
      expect(error(name, options(-1, 6), 8)).toBe(-22);
    }
    expect(error("bpf_skb_ct_lookup", options(-1, 6))).toBe(-2);
    if (kernelTypes === undefined) return;
    const made = call("bpf_skb_ct_alloc", ["context", tuple, 12, options(-1, 6), 16], TC) >>> 0;
    expect(made).toBeGreaterThan(0);
    const to = place(Uint8Array.of(192, 0, 2, 1));
    // NF_NAT_MANIP_SRC and _DST; a negative port, and what is neither.
    expect([
      call("bpf_ct_set_nat_info", [made, to, 4000, 0]),
      call("bpf_ct_set_nat_info", [made, to, 80, 1]),
    ]).toEqual([0, 0]);
    expect([
      call("bpf_ct_set_nat_info", [made, to, 0xffffffff, 0]),
      call("bpf_ct_set_nat_info", [made, to, 80, 2]),
    ]).toEqual([-22, -22]);
    expect(call("bpf_ct_insert_entry", [made]) >>> 0).toBe(made);
    expect(call("bpf_ct_change_timeout", [made, 15_000])).toBe(0);
    expect(machine.world.connections.all).toMatchObject([
      { timeout: 1500, nat: { source: { port: 4000 }, destination: { port: 80 } } },
    ]);
    const found = options(-1, 6);
    expect(call("bpf_skb_ct_lookup", ["context", tuple, 12, found, 16], TC) >>> 0).toBe(made);
    // The zone's directions are put in.
    expect(read(found + 9, 4)).toEqual([0, 0, 0, 3]);
    call("bpf_ct_release", [made]);
  });

  test("ciphers are counted", async () => {
    const none = (): Uint8Array => new Uint8Array(0);
    const { call, place, read } = await create({
      ciphers: { null: { keySizes: [1], ivSize: 0, encrypt: none, decrypt: none } },
    });
    const params = new Uint8Array(408);
    params.set(letters("skcipher"));
    params.set(letters("null"), 16);
    params[400] = 1;
    const error = place(4);
    const made = call("bpf_crypto_ctx_create", [place(params), 408, error]);
    expect(made).toBeGreaterThan(0);
    expect(call("bpf_crypto_ctx_acquire", [made])).toBe(made);
    call("bpf_crypto_ctx_release", [made]);
    expect(call("bpf_crypto_ctx_acquire", [made])).toBe(made);
    expect(call("bpf_crypto_ctx_create", [place(params), 400, error])).toBe(0);
    expect(read(error, 4)).toEqual([...words(-22)]);
  });

  test("listeners get connections of cookies", async () => {
    const { machine, call, place } = await create({
      sockets: [
        { protocol: "tcp", local: "0.0.0.0:80" },
        { protocol: "tcp", local: "10.0.0.1:80", remote: "10.0.0.2:9" },
      ],
    });
    const address = (index: number): number => {
      const map = machine.createMap({
        name: "s",
        type: "sockmap",
        keySize: 4,
        valueSize: 8,
        maxEntries: 1,
        flags: 0,
      });
      map.setObject(new Uint8Array(4), machine.world.sockets.all[index]!);
      return machine.world.sockets.all[index]!.placed.sock;
    };
    interface Wish {
      readonly mss?: number;
      readonly scale?: number;
      readonly reserved?: number;
      readonly size?: number;
      readonly listener?: number;
      readonly attachType?: "tcx_egress";
    }
    const assign = ({
      mss = 1460,
      scale = 7,
      reserved = 0,
      size = 20,
      listener = 0,
      attachType,
    }: Wish = {}): number => {
      // struct bpf_tcp_req_attrs: times, mss, scales, then what both can.
      const attrs = place(
        Uint8Array.of(...words(11, 12), mss & 255, mss >> 8, scale, 3, 0, 1, 1, 0, 0, reserved, 0, 0),
      );
      const registers = ["context", address(listener), attrs, size] as const;
      return call(
        "bpf_sk_assign_tcp_reqsk",
        registers,
        attachType === undefined ? TC : { ...TC, attachType },
      );
    };
    expect(assign()).toBe(0);
    expect(machine.world.requests).toMatchObject([
      {
        mss: 1460,
        receiveScale: 7,
        sendScale: 3,
        windowScaling: true,
        selectiveAcks: true,
        timestamps: false,
      },
    ]);
    expect(assign({ mss: 535 })).toBe(-22);
    expect(assign({ scale: 15 })).toBe(-22);
    expect(assign({ reserved: 1 })).toBe(-22);
    expect(assign({ size: 16 })).toBe(-22);
    expect(assign({ listener: 1 })).toBe(-22);
    expect(assign({ attachType: "tcx_egress" })).toBe(-22);
    expect(machine.world.requests.length).toBe(1);
    expect(call("bpf_sock_destroy", [address(1)])).toBe(0);
    expect(machine.world.sockets.all.map(({ remote }) => remote === undefined)).toEqual([true]);
  });

  test("names of sockets in the file system", async () => {
    const { run, place } = await create();
    const connect = {
      type: "cgroup_sock_addr",
      attachType: "cgroup_unix_connect",
      input: { address: "/old" },
    } as const;
    const set = (size: number, options: Parameters<Calls["run"]>[2] = connect): ReturnType<Calls["run"]> =>
      run("bpf_sock_addr_set_sun_path", ["context", place("/new"), size], options);
    expect(set(4)).toMatchObject({ r0: 0n, address: "/new" });
    for (const size of [0, 109]) expect(BigInt.asIntN(32, set(size).r0)).toBe(-22n);
    const inet = {
      ...connect,
      attachType: "cgroup_inet4_connect",
      input: { address: "10.0.0.1:80" },
    } as const;
    expect(BigInt.asIntN(32, set(4, inet).r0)).toBe(-22n);
  });

  test("time stamps of a message that is being sent", async () => {
    const { run } = await create();
    const enable = (op: string | number, flags = 0): ReturnType<Calls["run"]> =>
      run("bpf_sock_ops_enable_tx_tstamp", ["context", flags], { type: "sock_ops", input: { op } });
    const sending = enable("TSTAMP_SENDMSG_CB");
    expect([sending.r0, sending.stamped]).toEqual([0n, true]);
    const wrong = enable("TSTAMP_SENDMSG_CB", 1);
    expect([BigInt.asIntN(32, wrong.r0), wrong.stamped]).toEqual([-22n, undefined]);
    expect(BigInt.asIntN(32, enable(1).r0)).toBe(-95n);
  });

  test("without a driver there are no hints; no packet went through IPsec", async () => {
    const { call, place, read } = await create();
    const to = place(16);
    expect([
      call("bpf_xdp_metadata_rx_hash", ["context", to, to + 8], XDP),
      call("bpf_xdp_metadata_rx_timestamp", ["context", to], XDP),
      call("bpf_xdp_metadata_rx_vlan_tag", ["context", to, to + 8], XDP),
    ]).toEqual([-95, -95, -95]);
    const opts = place(36);
    const error = (size: number): number[] => {
      expect(call("bpf_xdp_get_xfrm_state", ["context", opts, size], XDP)).toBe(0);
      return read(opts, 4);
    };
    expect([error(36), error(32)]).toEqual([[...words(-2)], [...words(-22)]]);
    expect(call("bpf_xdp_xfrm_state_release", [0])).toBe(0);
  });

  test("what lies before a packet, as a dynptr: nothing", async () => {
    const { machine, call, place } = await create();
    const pointer = place(16);
    expect(call("bpf_dynptr_from_skb_meta", ["context", 0, pointer], TC)).toBe(0);
    expect(call("bpf_dynptr_size", [pointer])).toBe(0);
    expect(call("bpf_dynptr_slice", [pointer, 0, 0, 1], TC)).toBe(0);
    expect(call("bpf_dynptr_from_skb_meta", ["context", 1, pointer], TC)).toBe(-22);
    expect(call("bpf_dynptr_is_null", [pointer])).toBe(1);
    expect(machine.memory.read(pointer, 16)).toEqual(new Uint8Array(16));
  });

  test("elements of a map are counted", async () => {
    const { machine, call } = await create();
    const map = machine.createMap({
      name: "h",
      type: "hash",
      keySize: 4,
      valueSize: 4,
      maxEntries: 4,
      flags: 0,
    });
    expect(call("bpf_map_sum_elem_count", [map.address])).toBe(0);
    for (const key of [1, 2, 3]) map.update(words(key), words(0));
    map.delete(words(2));
    expect(call("bpf_map_sum_elem_count", [map.address])).toBe(2);
  });

  test("casts and functions of the kernel's own tests", async () => {
    const { call } = await create();
    expect(call("bpf_rdonly_cast", [0x5000, 1])).toBe(0x5000);
    expect([call("bpf_modify_return_test_tp", [-7 >>> 0]), call("bpf_kfunc_call_memb_release", [0])]).toEqual(
      [-7, 0],
    );
    expect(() => call("__bpf_trap", [])).toThrow(/the program has come where its compiler lets nothing come/);
    expect(() => call("bpf_kfunc_call_test_release", [8])).toThrow(/no struct prog_test_ref_kfunc/);
  });

  test.skipIf(kernelTypes === undefined)("contexts as the kernel's own structures", async () => {
    const { machine, run } = await createCalls(engine, { btf: kernelTypes! });
    const skb = Number(run("bpf_cast_to_kern_ctx", ["context"], TC).r0);
    const length = machine.memory.u32(skb + (machine.alloc("sk_buff", {}).offsetOf("len") ?? 0));
    expect(length).toBe(64);
    expect(run("bpf_cast_to_kern_ctx", [0x5000], KPROBE).r0).toBe(0x5000n);
  });

  test.skipIf(kernelTypes === undefined)("a reference of the kernel's tests is given back", async () => {
    const { machine, call } = await createCalls(engine, { btf: kernelTypes! });
    let object;
    try {
      object = machine.alloc("prog_test_ref_kfunc", { cnt: { refs: { counter: 3 } } });
    } catch {
      return; // A kernel without its self-tests.
    }
    call("bpf_kfunc_call_test_release", [object]);
    expect(object.get()).toMatchObject({ cnt: { refs: { counter: 2 } } });
  });

  test.each(["trusted", "sandbox"] as const)("work that waits for a process: %s", async (unverified) => {
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/behaviour.bpf.o")), {
      name: "behaviour",
    });
    const machine = await Machine.create({ engine, verify: false, unverified, clock: "virtual" });
    const { programs, maps } = await machine.load(spec, { programs: ["deferred"] });
    const result = (): number => programs["deferred"]!.run({ args: [0, 0] }).returnValue | 0;
    const done = (): unknown => (maps[".bss"]!.get(0) as Record<string, unknown>)["worked"];
    expect(result()).toBe(0);
    machine.advance(1);
    expect(done()).toBe(2);
  });
});
