/** What a packet's context starts from, by net/bpf/test_run.c (convert___skb_to_skb, bpf_prog_test_run_skb). */
import { describe, expect, it } from "vitest";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { eth } from "../../src/packet/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { code } from "./code.ts";

describe.each(ENGINES)("%s", (engine) => {
  const field = async (
    type: ProgramType,
    offset: number,
    context: object | undefined,
    packet: Uint8Array,
  ) => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions(code(`r0 = *(u32 *)(r1 + ${offset})\nexit`), { type });
    return program.run({ packet, ...(context === undefined ? {} : { context: context as never }) }).r0;
  };
  const four = eth().ipv4({ src: "1.2.3.4", dst: "5.6.7.8" }).udp().bytes();
  const six = eth().ipv6({ src: "fd00::1", dst: "fd00::2" }).udp().bytes();

  it.each<[string, ProgramType, number, object | undefined, Uint8Array, bigint]>([
    ["no device is the loopback", "sched_cls", 40, { ifindex: 0 }, four, 1n],
    ["no length is the packet's", "sched_cls", 160, { wire_len: 0 }, four, BigInt(four.length)],
    ["a length", "sched_cls", 160, { wire_len: 9 }, four, 9n],
    ["family of IPv4", "cgroup_skb", 88, undefined, four, 2n],
    ["the remote end is the destination", "cgroup_skb", 92, undefined, four, 0x08070605n],
    ["the local end is the source", "cgroup_skb", 96, undefined, four, 0x04030201n],
    ["family of IPv6", "cgroup_skb", 88, undefined, six, 10n],
    ["the remote end's last word", "cgroup_skb", 112, undefined, six, 0x02000000n],
    ["the local end's first word", "cgroup_skb", 116, undefined, six, 0xfdn],
    ["what the caller says counts", "cgroup_skb", 92, { remote_ip4: 7 }, four, 7n],
    ["no address in what is cut off", "cgroup_skb", 92, undefined, four.subarray(0, 30), 0n],
    ["ARP has no family", "cgroup_skb", 88, undefined, eth().arp().bytes(), 0n],
  ])("%s", async (_, type, offset, context, packet, expected) => {
    expect(await field(type, offset, context, packet)).toBe(expected);
  });

  it("fields of 16 bits take no more and keep no more", async () => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions(
      code("w2 = 0x12345678\n*(u32 *)(r1 + 44) = w2\n*(u32 *)(r1 + 72) = w2\nr0 = 0\nexit"),
      { type: "sched_cls" },
    );
    expect(program.run({ packet: four }).context).toMatchObject({ tc_index: 0x5678, tc_classid: 0x5678 });
    expect(() => program.run({ packet: four, context: { gso_size: 65536 } })).toThrow(
      /gso_size: 65536 does not fit 16 bits/,
    );
  });

  it("the socket is the packet's, the caller's, or none", async () => {
    const machine = await Machine.create({ engine });
    // sk->src_ip4 and sk->state, or -1 without a socket.
    const text = (at: number): string =>
      `r2 = *(u64 *)(r1 + 168)\nr0 = -1\nif r2 == 0 goto +1\nr0 = *(u32 *)(r2 + ${at})\nexit`;
    const [source, state] = [24, 72].map((at) =>
      machine.loadInstructions(code(text(at)), { type: "sched_cls" }),
    );
    expect(source!.run({ packet: four }).r0 & 0xffffffffn).toBe(0x04030201n);
    expect(state!.run({ packet: four }).r0).toBe(7n);
    const socket = { local: "10.0.0.1:80", remote: "10.0.0.2:99" };
    expect(source!.run({ packet: four, socket }).r0).toBe(0x0100000an);
    expect(state!.run({ packet: four, socket }).r0).toBe(1n);
    expect(source!.run({ packet: four, socket: null }).returnValue).toBe(-1);
    const frames = machine.loadInstructions(code("r0 = 2\nexit"), { type: "xdp" });
    expect(() => frames.run({ packet: four, socket })).toThrow(/xdp programs take no 'socket'/);
    const probe = machine.loadInstructions(code("r0 = 0\nexit"), { type: "kprobe" });
    expect(() => probe.run({ socket: null })).toThrow(/only a packet may be without a socket/);
  });
});
