/**
 * Sockets of the world. Expectations: the documentation of the helpers in uapi/linux/bpf.h, lookup by net/ipv4/inet_hashtables.c and
 * udp.c, option values by socket(7), tcp(7).
 */
import { describe, expect, test } from "vitest";
import { ENGINES, Machine, type WorldOptions } from "../../src/machine/index.ts";
import { code } from "./code.ts";

const WORLD: WorldOptions = {
  interfaces: [{ name: "eth0", ifindex: 7 }],
  cgroups: [{ path: "/web", id: 50, classid: 9 }],
  sockets: [
    { protocol: "tcp", local: "0.0.0.0:80" },
    { protocol: "tcp", local: "10.0.0.1:80", dev: "eth0", mark: 0x77 },
    {
      protocol: "tcp",
      local: "10.0.0.1:80",
      remote: "10.0.0.9:4000",
      uid: 33,
      cgroup: "/web/a",
      tcp: { snd_cwnd: 10, bytes_acked: 2n ** 40n, icsk_retransmits: 3 },
      options: { "SOL_SOCKET.SO_RCVBUF": 131072, "SOL_TCP.TCP_CONGESTION": "bbr" },
    },
    { protocol: "tcp", local: "10.0.0.1:80", remote: "10.0.0.9:4001", state: "time_wait" },
    { protocol: "tcp", local: "10.0.0.2:80", remote: "10.0.0.9:4002", state: "new_syn_recv" },
    { protocol: "tcp", local: "[::]:443" },
    { protocol: "udp", local: "0.0.0.0:53" },
    { protocol: "udp", local: "10.0.0.1:53", remote: "10.0.0.9:53" },
    { protocol: "udp", local: "10.0.0.1:53", netns: 4 },
  ],
};

const ip = (text: string): number => text.split(".").reduceRight((sum, part) => sum * 256 + Number(part), 0);
const swap = (port: number): number => ((port & 255) << 8) | (port >> 8);

interface Lookup {
  readonly helper?: string;
  readonly from: readonly [string, number];
  readonly to: readonly [string, number];
  readonly length?: number;
  readonly netns?: string;
  readonly flags?: number;
}

const lookup = (question: Lookup, then: string): string => `
  r6 = r1
  r7 = 0
  *(u64 *)(r10 - 8) = r7
  *(u64 *)(r10 - 16) = r7
  *(u64 *)(r10 - 24) = r7
  *(u64 *)(r10 - 32) = r7
  *(u64 *)(r10 - 40) = r7
  w1 = ${ip(question.from[0]) | 0}
  *(u32 *)(r10 - 40) = w1
  w1 = ${ip(question.to[0]) | 0}
  *(u32 *)(r10 - 36) = w1
  w1 = ${swap(question.from[1])}
  *(u16 *)(r10 - 32) = w1
  w1 = ${swap(question.to[1])}
  *(u16 *)(r10 - 30) = w1
  r1 = r6
  r2 = r10
  r2 += -40
  r3 = ${question.length ?? 12}
  r4 = ${question.netns ?? "-1"}
  r5 = ${question.flags ?? 0}
  call bpf_${question.helper ?? "sk_lookup_tcp"}
  if r0 != 0 goto +2
  r0 = 4242
  exit
  r8 = r0
  ${then}
  exit`;

const STATE = "r0 = *(u32 *)(r8 + 72)";
const NONE = 4242n;

const run = async (engine: "jit" | "interpreter", text: string, type: "xdp" | "sched_cls" = "sched_cls") => {
  const machine = await Machine.create({ engine, world: WORLD, unverified: "sandbox" });
  const program = machine.loadInstructions(code(text), { type });
  const context = type === "xdp" ? {} : { ifindex: 7 };
  return { machine, result: program.run({ packet: new Uint8Array(64), context }) };
};

describe.each(ENGINES)("%s", (engine) => {
  const CLIENT = { from: ["10.0.0.9", 4000], to: ["10.0.0.1", 80] } as const;
  const OTHER = { from: ["10.0.0.9", 9999], to: ["10.0.0.1", 80] } as const;
  const ELSEWHERE = { from: ["10.0.0.9", 9999], to: ["10.0.0.3", 80] } as const;
  const DNS = { helper: "sk_lookup_udp", from: ["10.0.0.9", 53], to: ["10.0.0.1", 53] } as const;
  test.each<[string, Lookup, string, bigint]>([
    ["a connection first", CLIENT, STATE, 1n],
    ["then the listener of the address", OTHER, "r0 = *(u32 *)(r8 + 16)", 0x77n],
    ["then the one of any address", ELSEWHERE, STATE, 10n],
    ["local port in host order", CLIENT, "r0 = *(u32 *)(r8 + 44)", 80n],
    ["remote port in network order", CLIENT, "r0 = *(u16 *)(r8 + 48)", BigInt(swap(4000))],
    ["remote address", CLIENT, "r0 = *(u32 *)(r8 + 52)", BigInt(ip("10.0.0.9"))],
    ["a remnant is no whole socket", { ...CLIENT, from: ["10.0.0.9", 4001] }, STATE, NONE],
    ["skc finds it", { ...CLIENT, from: ["10.0.0.9", 4001], helper: "skc_lookup_tcp" }, STATE, 6n],
    [
      "sk_fullsock does not take it",
      { ...CLIENT, from: ["10.0.0.9", 4001], helper: "skc_lookup_tcp" },
      "r1 = r8\ncall bpf_sk_fullsock",
      0n,
    ],
    ["of a beginning the listener", { from: ["10.0.0.9", 4002], to: ["10.0.0.2", 80] }, STATE, 10n],
    ["an IPv6 listener takes IPv4", { from: ["10.0.0.9", 1], to: ["10.0.0.1", 443] }, STATE, 10n],
    ["nobody", { from: ["10.0.0.9", 1], to: ["10.0.0.1", 81] }, STATE, NONE],
    ["a wrong length", { ...CLIENT, length: 13 }, STATE, NONE],
    ["flags must be 0", { ...CLIENT, flags: 1 }, STATE, NONE],
    ["another namespace", { ...CLIENT, netns: "4" }, STATE, NONE],
    ["a connected UDP socket first", DNS, "r0 = *(u32 *)(r8 + 72)", 1n],
    ["UDP of another namespace", { ...DNS, netns: "4" }, STATE, 7n],
    ["UDP, any address", { ...DNS, to: ["10.0.0.3", 53] }, "r0 = *(u32 *)(r8 + 12)", 17n],
    ["snd_cwnd", CLIENT, "r1 = r8\ncall bpf_tcp_sock\nr0 = *(u32 *)(r0 + 0)", 10n],
    ["bytes_acked", CLIENT, "r1 = r8\ncall bpf_tcp_sock\nr0 = *(u64 *)(r0 + 88)\nr0 >>= 40", 1n],
    ["icsk_retransmits", CLIENT, "r1 = r8\ncall bpf_tcp_sock\nr0 = *(u32 *)(r0 + 108)", 3n],
    ["UDP is no TCP", DNS, "r1 = r8\ncall bpf_tcp_sock", 0n],
    ["a connection does not listen", CLIENT, "r1 = r8\ncall bpf_get_listener_sock", 0n],
    ["release", CLIENT, "r1 = r8\ncall bpf_sk_release", 0n],
  ])("%s", async (_, question, then, expected) => {
    const { result } = await run(engine, lookup(question, then));
    expect(BigInt.asUintN(32, result.r0)).toBe(expected);
  });

  test("a socket given to a packet is its socket from then on", async () => {
    const text = lookup(
      CLIENT,
      `r1 = r6\nr2 = r8\nr3 = 0\ncall bpf_sk_assign\nr7 = r0
       r1 = r6\ncall bpf_get_socket_cookie\nr7 += r0
       r1 = r6\ncall bpf_get_socket_uid\nr7 += r0
       r1 = r6\ncall bpf_skb_cgroup_classid\nr7 += r0
       r1 = r6\nr2 = 1\ncall bpf_skb_ancestor_cgroup_id\nr0 += r7`,
    );
    const { result } = await run(engine, text);
    // 0, the third socket's cookie, its owner, "/web/a" with no class of its own, "/web".
    expect(result.returnValue).toBe(3 + 33 + 0 + 50);
    expect(result.socket?.uid).toBe(33);
  });

  test("flags of bpf_sk_assign must be 0, and there must be a socket", async () => {
    const text = (flags: number, socket: string): string =>
      lookup(CLIENT, `r1 = r6\nr2 = ${socket}\nr3 = ${flags}\ncall bpf_sk_assign`);
    expect((await run(engine, text(1, "r8"))).result.returnValue).toBe(-22);
    expect((await run(engine, text(0, "r8"))).result.returnValue).toBe(0);
  });
});

const option = (
  call: "getsockopt" | "setsockopt",
  level: number,
  name: number,
  length: number,
  value = 0,
): string => `
  r6 = r1
  r7 = 0
  *(u64 *)(r10 - 16) = r7
  w1 = ${value}
  *(u32 *)(r10 - 16) = w1
  r1 = r6
  r2 = ${level}
  r3 = ${name}
  r4 = r10
  r4 += -16
  r5 = ${length}
  call bpf_${call}
  r1 = *(u32 *)(r10 - 16)
  r1 <<= 32
  w0 = w0
  r0 |= r1
  exit`;

test.each<[string, Parameters<typeof option>, number, number]>([
  ["SO_RCVBUF", ["getsockopt", 1, 8, 4], 0, 131072],
  ["of a wrong length: EINVAL, the buffer is zeroed", ["getsockopt", 1, 8, 8, 5], -22, 0],
  ["SO_TYPE is not for programs", ["getsockopt", 1, 3, 4], -22, 0],
  ["no such level", ["getsockopt", 99, 3, 4], -22, 0],
  ["TCP_CONGESTION", ["getsockopt", 6, 13, 4], 0, 0x00726262],
  ["unknown congestion control: ENOENT", ["setsockopt", 6, 13, 4, 0x00787878], -2, 0x00787878],
  ["TCP_KEEPCNT has 7 bits", ["setsockopt", 6, 6, 4, 128], -22, 128],
  ["TCP_KEEPCNT", ["setsockopt", 6, 6, 4, 127], 0, 127],
])("option: %s", async (_, call, result, value) => {
  const machine = await Machine.create({ world: WORLD });
  const program = machine.loadInstructions(code(option(...call)), { type: "sock_ops" });
  const { r0 } = program.run({ local: "10.0.0.1:80", remote: "10.0.0.9:4000" });
  expect([Number(BigInt.asIntN(32, r0)), Number(r0 >> 32n)]).toEqual([result, value]);
});

test("what is set is what is got; buffers are doubled (socket(7))", async () => {
  const machine = await Machine.create({ world: WORLD });
  const ends = { local: "10.0.0.1:80", remote: "10.0.0.9:4000" };
  const call = (...args: Parameters<typeof option>): bigint =>
    machine.loadInstructions(code(option(...args)), { type: "sock_ops" }).run(ends).r0;
  expect(call("setsockopt", 1, 7, 4, 10_000) & 0xffffffffn).toBe(0n);
  expect(call("getsockopt", 1, 7, 4) >> 32n).toBe(20_000n);
  expect(() => call("getsockopt", 6, 4, 4)).toThrow(
    /the socket has no value of SOL_TCP\.TCP_KEEPIDLE; give it: world: .* machine\.mockHelper\("getsockopt"/,
  );
});

test("sockets that only inputs tell of have cookies, which stay with their ends", async () => {
  const machine = await Machine.create({ world: WORLD });
  const program = machine.loadInstructions(code("call bpf_get_socket_cookie\nexit"), { type: "sock_ops" });
  const cookie = (port: number): bigint =>
    program.run({ local: `10.0.0.1:${port}`, remote: "10.0.0.9:4000" }).r0;
  const first = cookie(9);
  expect(cookie(10)).not.toBe(first);
  expect(cookie(9)).toBe(first);
  expect(first).toBeGreaterThan(0xffffffffn);
});

test("what the world lacks is an error that says how to give it", async () => {
  const machine = await Machine.create({ world: WORLD });
  const option = machine.loadInstructions(
    code("r2 = 1\nr3 = 7\nr4 = r10\nr4 += -8\nr5 = 4\ncall bpf_getsockopt\nexit"),
    { type: "sock_ops" },
  );
  expect(() => option.run({ local: "10.0.0.1:9", remote: "10.0.0.9:4000" })).toThrow(
    /the socket at 0x[0-9a-f]+ is none of the world's; name one with the same ends: world: /,
  );
  const kernel = machine.loadInstructions(
    code(lookup({ from: ["10.0.0.9", 4000], to: ["10.0.0.1", 80] }, "r1 = r8\ncall bpf_skc_to_tcp_sock")),
    { type: "sched_cls" },
  );
  expect(() => kernel.run({ packet: new Uint8Array(64) })).toThrow(/no tcp_sock structure of the kernel's/);
  await expect(
    Machine.create({
      world: { sockets: [{ protocol: "tcp", local: "10.0.0.1:80", state: "open" as never }] },
    }),
  ).rejects.toThrow(/socket tcp 10\.0\.0\.1:80: no state 'open'; there are established, /);
});
