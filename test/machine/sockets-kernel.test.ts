/** Lookup of sockets against the kernel's: servers of this process on the loopback device, test runs that look for them. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { Kernel, loadProgram } from "../../src/kernel/index.ts";
import { Machine, type SocketOptions } from "../../src/machine/index.ts";
import { expectNothingLeft, noKernel, ownName, withKernel } from "../kernel/setup.ts";
import { code } from "./code.ts";

const word = (bytes: readonly number[]): number => Buffer.from(bytes).readInt32LE();
const swap = (port: number): number => ((port & 255) << 8) | (port >> 8);

const COMMON = [4, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72];

/** The members of the socket that is found, mixed into one number; 0 if there is none. */
function looking(helper: string, tuple: readonly number[], netns: string, flags: number): string {
  const words = tuple.map((value, index) => `w3 = ${value}\n*(u32 *)(r10 - ${40 - 4 * index}) = w3`);
  // A socket that may be a remnant lets programs see less.
  const members = helper.startsWith("skc") ? COMMON : [8, 12, 16, ...COMMON];
  const mix = members.map((at) => `r7 *= 31\nr1 = *(u32 *)(r0 + ${at})\nr7 += r1`).join("\n");
  return `
    r2 = r10
    r2 += -40
    ${words.join("\n")}
    r3 = ${tuple.length * 4}
    r4 = ${netns}
    r5 = ${flags}
    call bpf_${helper}
    r7 = 0
    if r0 == 0 goto +${members.length * 3 + 3}
    r7 = 1
    ${mix}
    r1 = r0
    call bpf_sk_release
    w0 = w7
    exit`;
}

describe.skipIf(noKernel !== undefined)(withKernel("sockets"), () => {
  afterAll(expectNothingLeft);

  test("what is found is what the kernel finds, member by member", async () => {
    const any = createServer().listen(0, "0.0.0.0");
    await once(any, "listening");
    const { port } = any.address() as AddressInfo;
    const six = createServer().listen(0, "::");
    await once(six, "listening");
    const sixPort = (six.address() as AddressInfo).port;
    const client = connect(port, "127.0.0.1");
    await once(client, "connect");
    const udp = createSocket("udp4").bind(0, "127.0.0.1");
    await once(udp, "listening");
    const udpPort = udp.address().port;
    try {
      const local = client.localPort as number;
      const sockets: SocketOptions[] = [
        { protocol: "tcp", local: `0.0.0.0:${port}` },
        { protocol: "tcp", local: `[::]:${sixPort}` },
        { protocol: "tcp", local: `127.0.0.1:${local}`, remote: `127.0.0.1:${port}` },
        { protocol: "tcp", local: `127.0.0.1:${port}`, remote: `127.0.0.1:${local}`, rxQueue: 0 },
        { protocol: "udp", local: `127.0.0.1:${udpPort}` },
      ];
      const machine = await Machine.create({ world: { sockets } });
      const home = word([127, 0, 0, 1]);
      const other = word([127, 0, 0, 2]);
      const ports = (from: number, to: number): number => swap(from) | (swap(to) << 16);
      const loopback6 = [0, 0, 0, word([0, 0, 0, 1])];
      const rows: [string, string, number[], string?, number?][] = [
        ["client's end", "sk_lookup_tcp", [home, home, ports(port, local)]],
        ["listener", "sk_lookup_tcp", [home, home, ports(1, port)]],
        ["listener at another address", "sk_lookup_tcp", [home, other, ports(1, port)]],
        ["by skc", "skc_lookup_tcp", [home, home, ports(1, port)]],
        ["IPv6 listener, IPv4 packet", "sk_lookup_tcp", [home, home, ports(1, sixPort)]],
        ["IPv6 listener", "sk_lookup_tcp", [...loopback6, ...loopback6, ports(1, sixPort)]],
        ["IPv4 listener, IPv6 packet", "sk_lookup_tcp", [...loopback6, ...loopback6, ports(1, port)]],
        ["UDP", "sk_lookup_udp", [home, home, ports(1, udpPort)]],
        ["UDP at another address", "sk_lookup_udp", [home, other, ports(1, udpPort)]],
        ["nobody", "sk_lookup_tcp", [home, home, ports(1, udpPort)]],
        ["flags", "sk_lookup_tcp", [home, home, ports(1, port)], "-1", 1],
        ["a length that is none", "sk_lookup_tcp", [home, home, ports(1, port), 0]],
        ["a namespace that is none", "sk_lookup_tcp", [home, home, ports(1, port)], "77"],
        ["its number does not fit", "sk_lookup_tcp", [home, home, ports(1, port)], "0x80000000 ll"],
        ["above, but negative as 32 bits", "sk_lookup_tcp", [home, home, ports(1, port)], "0x1ffffffff ll"],
      ];
      using kernel = await Kernel.open();
      const data = new Uint8Array(64);
      const outcomes = rows.map(([name, helper, tuple, netns = "-1", flags = 0]) => {
        const instructions = code(looking(helper, tuple, netns, flags));
        using real = loadProgram(kernel, { type: "sched_cls", name: ownName("sk"), instructions });
        const program = machine.loadInstructions(instructions, { type: "sched_cls" });
        return {
          name,
          here: program.run({ packet: data }).returnValue,
          there: real.testRun({ data }).returnValue | 0,
        };
      });
      expect(outcomes.map(({ name, here }) => [name, here])).toEqual(
        outcomes.map(({ name, there }) => [name, there]),
      );
      expect(outcomes.filter(({ there }) => there !== 0).length).toBeGreaterThan(7);
    } finally {
      client.destroy();
      udp.close();
      any.close();
      six.close();
    }
  }, 60_000);
});
