/** Network, scheduler and disks, as the tools of test/fixtures/tools see them: what they count is derived from their sources by hand. */
import { describe, expect, it } from "vitest";
import { hist, load, tool, variants } from "./setup.ts";

const NETWORK = tool("network");
const SCHED = tool("sched");
const BLOCK = tool("block");
const WORLD = { current: { pid: 42, tgid: 40, comm: "curl", uid: 1000 } };
const US = 1000n;

/** An IPv4 address or a port as the network has them. */
const ip = (text: string): number =>
  new DataView(Uint8Array.from(text.split("."), Number).buffer).getUint32(0, true);
const port = (number: number): number => ((number & 255) << 8) | (number >> 8);

describe.each(variants())("network, the kernel %s", (_, variant) => {
  const common = {
    skc_family: 2,
    skc_rcv_saddr: ip("10.0.0.1"),
    skc_daddr: ip("10.0.0.2"),
    skc_num: 40000,
    skc_dport: port(443),
  };

  it("connections: who, from where to where", async () => {
    const { programs, events, machine } = await load(NETWORK, variant, { world: WORLD });
    const sk = machine.alloc("sock", { __sk_common: common });
    programs["connect_enter"]!.run({ args: [sk] });
    programs["connect_exit"]!.run({ ret: -115 });
    // A return that nobody saw the entry of.
    programs["connect_exit"]!.run({ ret: 0 });
    expect(events("events", "connect_event")).toEqual([
      { pid: 40, from: ip("10.0.0.1"), to: ip("10.0.0.2"), port: 443, ret: -115, comm: "curl" },
    ]);
  });

  it("how long a handshake takes", async () => {
    const { programs, events, machine, clock } = await load(NETWORK, variant);
    const sk = machine.alloc("sock", { __sk_common: { ...common, skc_state: 2 } });
    const established = machine.alloc("sock", { __sk_common: { ...common, skc_state: 1 } });
    programs["connect_latency"]!.run({ args: [sk] });
    programs["connect_latency"]!.run({ args: [established] });
    clock.advance(250n * US);
    programs["connect_latency"]!.run({ args: [sk] });
    expect(events("events", "latency_event")).toEqual([{ took_ns: 250n * US, port: 443, family: 2, pad: 0 }]);
  });

  it("states of connections, and how long they lasted", async () => {
    const { programs, events, clock, maps } = await load(NETWORK, variant);
    const ends = { sport: 80, dport: 5000, family: 2, saddr: [10, 0, 0, 1], daddr: [10, 0, 0, 9] };
    const change = (oldstate: number, newstate: number, protocol = 6) =>
      programs["state_changed"]!.run({
        fields: { skaddr: 0x1234n, oldstate, newstate, protocol, ...ends },
      });
    change(2, 1);
    clock.advance(70n * US);
    change(1, 7);
    change(1, 7, 17);
    const event = { sport: 80, dport: 5000, from: [10, 0, 0, 1], to: [10, 0, 0, 9], pad: 0 };
    expect(events("events", "state_event")).toEqual([
      { ...event, stayed_us: 0n, old_state: 2, new_state: 1 },
      { ...event, stayed_us: 70n, old_state: 1, new_state: 7 },
    ]);
    expect(maps["states"]).toMatchObject({ size: 0 });
  });

  it("round-trip times by peer: the kernel tells eight times as much", async () => {
    const { programs, maps, machine } = await load(NETWORK, variant);
    const tcp = machine.alloc("tcp_sock", { srtt_us: 8 * 1000 });
    const sk = machine.alloc("sock", { __sk_common: common });
    machine.mockHelper("skc_to_tcp_sock", (call) => (call.u32(1) === sk.address ? BigInt(tcp.address) : 0n));
    programs["round_trip"]!.run({ args: [sk] });
    tcp.set({ srtt_us: 8 * 3000 });
    programs["round_trip"]!.run({ args: [sk] });
    programs["round_trip"]!.run({ args: [machine.alloc("sock")] });
    expect([...maps["rtts"]!.entries()]).toEqual([[ip("10.0.0.2"), hist({ 9: 1, 11: 1 })]]);
  });

  it("bytes by connection", async () => {
    const { programs, maps, machine } = await load(NETWORK, variant);
    const sk = machine.alloc("sock", { __sk_common: common });
    const six = machine.alloc("sock", { __sk_common: { ...common, skc_family: 10 } });
    programs["top_send"]!.run({ args: [sk, 0, 100] });
    programs["top_send"]!.run({ args: [six, 0, 100] });
    programs["top_receive"]!.run({ args: [sk, 7] });
    programs["top_receive"]!.run({ args: [sk, -11] });
    expect([...maps["traffic"]!.entries()]).toEqual([
      [
        { saddr: ip("10.0.0.1"), daddr: ip("10.0.0.2"), lport: 40000, dport: 443 },
        { sent: 100n, received: 7n },
      ],
    ]);
  });

  it("retransmissions are printed", async () => {
    const { programs, trace, machine } = await load(NETWORK, variant);
    const sk = machine.alloc("sock", { __sk_common: common });
    programs["retransmitted"]!.run({ args: [sk, machine.alloc("sk_buff", { len: 1448 })] });
    expect(trace).toEqual(["retransmit 1448 bytes to port 443"]);
  });

  it("ports that are bound", async () => {
    const { programs, events, machine } = await load(NETWORK, variant, { world: WORLD });
    const inet = machine.alloc("inet_sock", {
      sk: { sk_protocol: 17, __sk_common: { skc_family: 2 } },
      inet_sport: port(53),
    });
    const socket = machine.alloc("socket", { sk: inet.address });
    programs["bound"]!.run({ args: [socket, 0, 16], ret: -98 });
    programs["bound"]!.run({ args: [socket, 0, 16], ret: 0 });
    expect(events("events", "bind_event")).toEqual([{ pid: 40, port: 53, protocol: 17, family: 2 }]);
  });

  it("dropped packets by place and reason", async () => {
    const { programs, maps } = await load(NETWORK, variant);
    const fields = { location: 0xffff_ffff_8123_4567n, reason: 2, protocol: 0x800 };
    programs["dropped"]!.run({ fields });
    programs["dropped"]!.run({ fields });
    expect([...maps["drops"]!.entries()]).toEqual([
      [{ location: 0xffff_ffff_8123_4567n, reason: 2, protocol: 0x800 }, 2n],
    ]);
  });

  it("protocols of received packets, read from the buffer", async () => {
    const { programs, maps, machine } = await load(NETWORK, variant);
    const packet = new Uint8Array(64);
    packet[16 + 9] = 17;
    programs["received"]!.run({ args: [machine.alloc("sk_buff", { head: packet, network_header: 16 })] });
    // A buffer that is not there.
    programs["received"]!.run({ args: [machine.alloc("sk_buff", { network_header: 16 })] });
    expect(maps["protocols"]!.get(17)).toBe(1n);
    expect(maps["protocols"]!.get(0)).toBe(0n);
  });
});

describe.each(variants())("scheduler, the kernel %s", (_, variant) => {
  it("waiting for a CPU, by process", async () => {
    const { programs, maps, machine, clock } = await load(SCHED, variant);
    const idle = machine.alloc("task_struct", { __state: 1 });
    const task = machine.alloc("task_struct", { pid: 5, tgid: 4, __state: 0 });
    programs["wait_begin"]!.run({ args: [task] });
    clock.advance(100n * US);
    programs["wait_end"]!.run({ args: [false, idle, task] });
    // It is pushed aside, and waits at once again.
    programs["wait_end"]!.run({ args: [true, task, idle] });
    clock.advance(1n * US);
    programs["wait_end"]!.run({ args: [false, idle, task] });
    programs["wait_begin_new"]!.run({ args: [idle] });
    expect([...maps["waits"]!.entries()]).toEqual([[4, hist({ 0: 1, 6: 1 })]]);
  });

  it("time off the CPU by stack", async () => {
    const world = { current: { pid: 5, stack: [0xffffffff81000010n], userStack: [0x401000n, 0x402000n] } };
    const { programs, maps, machine, clock } = await load(SCHED, variant, { world });
    const sleeper = machine.alloc("task_struct", { pid: 5, tgid: 4, __state: 1 });
    const other = machine.alloc("task_struct", { pid: 9, tgid: 9, __state: 1 });
    programs["off_cpu"]!.run({ args: [false, sleeper, other] });
    clock.advance(30n * US);
    programs["off_cpu"]!.run({ args: [false, other, sleeper] });
    const [[key, time] = [], ...rest] = [...maps["off_time"]!.entries()] as [
      Record<string, number>,
      bigint,
    ][];
    expect([time, rest]).toEqual([30n * US, []]);
    expect(key).toMatchObject({ tgid: 4 });
    const stackOf = (id: number): bigint[] => [
      ...new BigUint64Array(
        maps["stacks"]!.lookup(new Uint8Array(Int32Array.of(id).buffer))!.slice().buffer,
        0,
        3,
      ),
    ];
    expect(stackOf(key!["kernel_stack"]!)).toEqual([0xffffffff81000010n, 0n, 0n]);
    expect(stackOf(key!["user_stack"]!)).toEqual([0x401000n, 0x402000n, 0n]);
  });

  it("time in soft interrupts", async () => {
    const { programs, maps, clock } = await load(SCHED, variant);
    for (const ns of [500n, 700n]) {
      programs["softirq_begin"]!.run({ fields: { vec: 3 } });
      clock.advance(ns);
      programs["softirq_end"]!.run({ fields: { vec: 3 } });
    }
    programs["softirq_end"]!.run({ fields: { vec: 4 } });
    expect([...maps["softirq_time"]!.entries()]).toEqual([[3, [1200n]]]);
  });

  it("samples of a counter, by CPU and process", async () => {
    const { programs, maps } = await load(SCHED, variant, { world: WORLD, cpus: 2 });
    const sample = { sample: { period: 100 }, registers: { ip: 0x401234 } };
    programs["cache_sample"]!.run(sample);
    programs["cache_sample"]!.run(sample);
    programs["cache_sample"]!.run({ ...sample, cpu: 1 });
    expect([...maps["samples"]!.entries()].map(([key, value]) => Object.assign({}, key, value))).toEqual(
      expect.arrayContaining([
        { cpu: 0, pid: 40, references: 200n, ip: 0x401234n },
        { cpu: 1, pid: 40, references: 100n, ip: 0x401234n },
      ]),
    );
  });

  it("a profile by name and stack", async () => {
    const { programs, maps } = await load(SCHED, variant, { world: WORLD });
    for (let index = 0; index < 3; index++) programs["profile"]!.run({});
    expect([...maps["profile_counts"]!.entries()]).toMatchObject([[{ comm: "curl" }, 3n]]);
  });

  it("latency of functions that cookies tell apart", async () => {
    const { programs, maps, clock } = await load(SCHED, variant);
    for (const [cookie, ns] of [
      [7, 100n],
      [7, 130n],
      [8, 5n],
    ] as const) {
      programs["function_enter"]!.run({ cookie });
      clock.advance(ns);
      programs["function_exit"]!.run({ cookie });
    }
    programs["function_exit"]!.run({ cookie: 9 });
    expect([...maps["latencies"]!.entries()]).toEqual(
      expect.arrayContaining([
        [7, hist({ 6: 1, 7: 1 })],
        [8, hist({ 2: 1 })],
      ]),
    );
  });

  it("how long locks are held", async () => {
    const { programs, maps, machine, clock } = await load(SCHED, variant);
    const lock = machine.user.write(64);
    for (const ns of [10n, 40n]) {
      programs["lock_taken"]!.run({ args: [lock] });
      clock.advance(ns);
      programs["lock_released"]!.run({ args: [lock] });
    }
    programs["lock_released"]!.run({ args: [lock] });
    expect([...maps["locks"]!.entries()]).toEqual([
      [BigInt(lock), { count: 2n, total_ns: 50n, longest_ns: 40n }],
    ]);
  });
});

describe.each(variants())("disks, the kernel %s", (_, variant) => {
  it("requests: histogram by disk, and each one", async () => {
    const { programs, maps, machine, clock, events } = await load(BLOCK, variant);
    const disk = machine.alloc("gendisk", { major: 8, first_minor: 16, disk_name: "sdb" });
    const q = machine.alloc("request_queue", { disk });
    const request = machine.alloc("request", { q, cmd_flags: 1 | 0x800, __sector: 2048n });
    programs["request_issued"]!.run({ args: [request] });
    clock.advance(1500n * US);
    programs["request_done"]!.run({ args: [request, 0, 4096] });
    programs["request_done"]!.run({ args: [request, 0, 4096] });
    const device = (8 << 20) | 16;
    expect([...maps["latencies"]!.entries()]).toEqual([[{ device, write: 1 }, hist({ 10: 1 })]]);
    expect(events("events", "request_event")).toEqual([
      { took_us: 1500n, sector: 2048n, bytes: 4096, device, error: 0, op: 87, disk: "sdb" },
    ]);
  });

  it("one after the other, or here and there", async () => {
    const { programs, maps } = await load(BLOCK, variant);
    for (const sector of [100, 108, 116, 5])
      programs["pattern"]!.run({ fields: { dev: 8 << 20, sector, nr_sector: 8 } });
    expect([...maps["patterns"]!.entries()]).toEqual([
      [8 << 20, { last: 13n, bytes: 16384n, sequential: 2, random: 1 }],
    ]);
  });

  it("sizes by process", async () => {
    const { programs, maps, machine } = await load(BLOCK, variant, { world: WORLD });
    for (const size of [512, 4096, 5000, 131072])
      programs["request_size"]!.run({ args: [machine.alloc("request", { __data_len: size })] });
    expect([...maps["sizes"]!.entries()]).toEqual([[40, hist({ 0: 1, 2: 2, 7: 1 })]]);
  });

  it("what the file system hands down", async () => {
    const { programs, trace, machine } = await load(BLOCK, variant);
    programs["submitted"]!.run({
      args: [machine.alloc("bio", { bi_iter: { bi_sector: 77n, bi_size: 4096 } })],
    });
    expect(trace).toEqual(["bio at 77, 4096 bytes"]);
  });
});
