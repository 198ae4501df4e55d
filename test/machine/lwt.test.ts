/**
 * Lightweight tunnels: outer headers against the kernel's test runs; segment routing by RFC 8754 and net/ipv6/seg6_local.c, seg6.c
 * (the kernel's test run has no route to follow and must not be asked).
 */
import { describe, expect, test } from "vitest";
import { Kernel, loadProgram } from "../../src/kernel/index.ts";
import { ENGINES, Machine, type WorldOptions } from "../../src/machine/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { FIXTURE_PACKETS } from "../fixtures/cases.ts";
import { code } from "./code.ts";

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");

/** A call with bytes on the stack in its third argument; r0 is the result. */
function calling(helper: string, second: number, data: Uint8Array, length = data.length): string {
  const words = Math.ceil(Math.max(data.length, 8) / 8);
  const padded = new Uint8Array(8 * words);
  padded.set(data);
  const view = new DataView(padded.buffer);
  const lines = Array.from(
    { length: words },
    (_, at) =>
      `r3 = 0x${view.getBigUint64(8 * at, true).toString(16)} ll\n*(u64 *)(r10 - ${8 * (words - at)}) = r3`,
  );
  return `
    r6 = r1
    ${lines.join("\n")}
    r2 = ${second}
    r3 = r10
    r3 += -${8 * words}
    r4 = ${length}
    call bpf_${helper}`;
}

const OUTER4 = bytes("4500 0000 0000 0000 4004 0000 0a000001 0a000002");
const OUTER4_UDP = bytes("4500 0000 0000 0000 4011 0000 0a000001 0a000002 1234 12b5 0000 0000");
const OUTER6 = bytes(`60000000 0000 29 40 ${"fd".padEnd(32, "0")} ${"fe80".padEnd(32, "1")}`);

const OUTERS: readonly (readonly [name: string, header: Uint8Array])[] = [
  ["IPv4", OUTER4],
  ["IPv4 and UDP", OUTER4_UDP],
  ["IPv4 with its checksum", bytes("4500 0000 0000 0000 4004 1234 0a000001 0a000002")],
  ["IPv6", OUTER6],
  ["IPv4 with options", bytes("4600 0000 0000 0000 4004 0000 0a000001 0a000002 01010101")],
  ["IPv4, options cut off", bytes("4600 0000 0000 0000 4004 0000 0a000001 0a000002")],
  ["IPv4 and UDP, cut off", OUTER4_UDP.slice(0, 24)],
  ["too short", OUTER4.slice(0, 16)],
  ["no IP", bytes("0500 0000 0000 0000 4004 0000 0a000001 0a000002")],
  ["IPv6, cut off", OUTER6.slice(0, 36)],
  ["IPv6 and UDP, cut off", OUTER6.map((byte, at) => (at === 6 ? 17 : byte))],
];

const push = (header: Uint8Array): string => `
  ${calling("lwt_push_encap", 2, header)}
  r7 = r0
  r8 = *(u32 *)(r6 + 16)
  r9 = *(u32 *)(r6 + 0)
  r0 <<= 16
  r0 += r8
  r0 <<= 8
  r0 += r9
  exit`;

describe.each(ENGINES)("%s", (engine) => {
  test.each(OUTERS)("an outer header: %s", async (name, header) => {
    const machine = await Machine.create({ engine });
    const program = machine.loadInstructions(code(push(header)), { type: "lwt_in" });
    const packet = program.run({ packet: FIXTURE_PACKETS.tcp }).packet.slice(14);
    const inner = FIXTURE_PACKETS.tcp.slice(14);
    const refused = /short|cut off|no IP/.test(name);
    expect(packet.length).toBe(inner.length + (refused ? 0 : header.length));
    expect(hex(packet.slice(packet.length - inner.length))).toBe(hex(inner));
    if (name === "IPv4") expect(hex(packet.slice(0, 20))).toBe(hex(header).replace("40040000", "400466f8"));
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("outer headers as the kernel makes them"), () => {
  test.each(OUTERS)("%s", async (_, header) => {
    using kernel = await Kernel.open();
    const instructions = code(push(header));
    const theirs = loadProgram(kernel, { type: "lwt_in", instructions });
    const { returnValue, data } = theirs.testRun({ data: FIXTURE_PACKETS.tcp });
    const machine = await Machine.create();
    const ours = machine
      .loadInstructions(instructions, { type: "lwt_in" })
      .run({ packet: FIXTURE_PACKETS.tcp });
    // A test run gives zeros for the link header.
    expect([ours.returnValue, hex(ours.packet.slice(14))]).toEqual([returnValue | 0, hex(data.slice(14))]);
  });
});

const SEGMENTS = ["fd00000000000000000000000000000a", "fd00000000000000000000000000000b"];
/** Two segments, one left; then options of 8 bytes, `tlv`. */
const srh = (tlv = ""): string =>
  `29 ${(4 + tlv.replaceAll(" ", "").length / 16).toString(16).padStart(2, "0")} 04 01 01 00 0000 ${SEGMENTS.join("")} ${tlv}`;
const SOURCE = "fd000000000000000000000000000001";
const INNER = `60000000 0000 3b 40 ${SOURCE} ${"fd".padEnd(30, "0")}99`;

/** An IPv6 packet with a routing header and one of IPv6 in it. */
function packetOf(routing: string): Uint8Array {
  const rest = bytes(`${routing}${INNER}`);
  const head = bytes(`020000000002 020000000001 86dd 60000000 0000 2b 40 ${SOURCE} ${SEGMENTS[0]}`);
  new DataView(head.buffer).setUint16(18, rest.length);
  return Uint8Array.of(...head, ...rest);
}

const WORLD: WorldOptions = {
  interfaces: [{ name: "eth0", addresses: ["fd00::1/64"] }],
  routes: [
    { to: "fd01::/16", type: "unreachable" },
    { to: "fd02::/16", type: "prohibit" },
    { to: "fd03::/16", dev: "eth0", table: 100 },
  ],
};

async function run(type: ProgramType, program: string, packet = packetOf(srh())) {
  const machine = await Machine.create({ world: WORLD });
  const result = machine.loadInstructions(code(`${program}\nexit`), { type }).run({ packet });
  // Behind the link header.
  return { status: result.returnValue | 0, packet: result.packet.slice(14) };
}

describe("segment routing", () => {
  // Offsets from the IPv6 header: the routing header lies at 40, its flags at 45, its segments end at 80.
  const store = (offset: number, data: string): string =>
    calling("lwt_seg6_store_bytes", offset, bytes(data));
  test.each<[string, number, string, number]>([
    ["flags and tag", 45, "80 1234", 0],
    ["what lies before the flags", 44, "80", -14],
    ["into the segments", 46, "1234 99", -14],
    ["the segments themselves", 48, "fd", -14],
  ])("%s", async (_, offset, data, status) => {
    const result = await run("lwt_seg6local", store(offset, data));
    expect(result.status).toBe(status);
    expect(hex(result.packet.slice(offset, offset + 1))).toBe(
      status === 0 ? "80" : hex(packetOf(srh()).slice(14 + offset, 15 + offset)),
    );
  });

  const adjust = (offset: number, length: number): string =>
    `r6 = r1\nr2 = ${offset}\nr3 = ${length}\ncall bpf_lwt_seg6_adjust_srh`;

  test("options grow, are filled in, and are looked at before the packet goes on", async () => {
    const grow = adjust(80, 8);
    const endX = (address: string): string =>
      calling("lwt_seg6_action", 2, bytes(address)).replace("r6 = r1", "r1 = r6");
    const fill = calling("lwt_seg6_store_bytes", 80, bytes("05 06 000000000000")).replace(
      "r6 = r1",
      "r1 = r6",
    );
    const grown = await run("lwt_seg6local", grow);
    expect([grown.status, grown.packet.length]).toEqual([0, packetOf(srh()).length - 14 + 8]);
    expect(new DataView(grown.packet.buffer, grown.packet.byteOffset).getUint16(4)).toBe(
      grown.packet.length - 40,
    );
    // Eight zeros are four options of type and length, which is fine; 6 bytes more are no multiple of 8.
    const next = "fd00000000000000000000000000000c";
    expect((await run("lwt_seg6local", `${grow}\n${fill}\n${endX(next)}`)).status).toBe(0);
    const done = await run("lwt_seg6local", `${grow}\n${fill}\n${endX(next)}`);
    expect(hex(done.packet.slice(40, 42))).toBe("2905");
    expect((await run("lwt_seg6local", `${adjust(80, 6)}\n${endX(next)}`)).status).toBe(-74);
  });

  test.each<[string, number, number, number]>([
    ["before the options", 79, 8, -14],
    ["behind the header", 81, 8, -14],
    ["more than there is", 80, -8, -14],
  ])("no room is made %s", async (_, offset, length, status) => {
    expect((await run("lwt_seg6local", adjust(offset, length))).status).toBe(status);
  });

  test("options are taken out", async () => {
    const { status, packet } = await run(
      "lwt_seg6local",
      adjust(80, -8),
      packetOf(srh("05 06 000000000000")),
    );
    expect([status, packet.length]).toEqual([0, packetOf(srh()).length - 14]);
  });

  const to = (address: string): Uint8Array => bytes(address.padEnd(32, "0"));
  const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
  test.each<[string, number, Uint8Array, number]>([
    ["End.X to a neighbour", 2, to("fd00"), 0],
    ["End.X where nothing goes", 2, to("fd01"), -113],
    ["End.X where nothing may go", 2, to("fd02"), -13],
    ["End.X without a route", 2, to("fd09"), -101],
    ["End.X with something else", 2, u32(1), -22],
    ["End.T in the main table", 3, u32(254), 0],
    ["End.T in another table", 3, u32(100), -22],
    ["End.DT6", 7, u32(254), 0],
    ["no such action", 1, u32(0), -22],
  ])("%s", async (_, action, parameter, status) => {
    expect((await run("lwt_seg6local", calling("lwt_seg6_action", action, parameter))).status).toBe(status);
  });

  test("End.DT6 leaves the inner packet", async () => {
    const { packet } = await run("lwt_seg6local", calling("lwt_seg6_action", 7, u32(254)));
    expect(hex(packet)).toBe(INNER.replaceAll(" ", ""));
  });

  test("without a routing header there is nothing to change", async () => {
    const plain = Uint8Array.of(...bytes("020000000002 020000000001 86dd"), ...bytes(INNER));
    expect((await run("lwt_seg6local", adjust(40, 8), plain)).status).toBe(-22);
    expect((await run("lwt_seg6local", store(45, "80"), plain)).status).toBe(-22);
    expect((await run("lwt_seg6local", calling("lwt_seg6_action", 2, to("fd00")), plain)).status).toBe(-74);
  });

  test("a routing header is put inside, or with an outer header around", async () => {
    const plain = Uint8Array.of(...bytes("020000000002 020000000001 86dd"), ...bytes(INNER));
    const header = bytes(srh());
    const inline = await run("lwt_in", calling("lwt_push_encap", 1, header), plain);
    expect(inline.status).toBe(0);
    // The packet goes to the last segment of the list; where it went before becomes the first.
    expect(hex(inline.packet)).toBe(
      `6000000000282b40${SOURCE}${SEGMENTS[1]}3b04040101000000fd0000000000000000000000000000${"99"}${SEGMENTS[1]}`,
    );
    const around = await run("lwt_in", calling("lwt_push_encap", 0, header), plain);
    expect(around.status).toBe(0);
    expect(hex(around.packet)).toBe(
      `6000000000502b40${SOURCE}${SEGMENTS[1]}2904040101000000${SEGMENTS.join("")}${INNER.replaceAll(" ", "")}`,
    );
    expect((await run("lwt_in", calling("lwt_push_encap", 0, header.slice(0, 32)), plain)).status).toBe(-22);
    expect((await run("lwt_in", calling("lwt_push_encap", 3, header), plain)).status).toBe(-22);
    expect((await run("lwt_xmit", calling("lwt_push_encap", 0, header), plain)).status).toBe(-22);
    expect((await run("lwt_in", calling("lwt_push_encap", 1, header), FIXTURE_PACKETS.tcp)).status).toBe(-74);
  });
});
