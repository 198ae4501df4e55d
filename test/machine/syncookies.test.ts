/** SYN cookies: RFC 4987, 3.6; net/ipv4/syncookies.c, tcp_input.c, net/core/filter.c (the kernel's secret is random). */
import { describe, expect, test } from "vitest";
import { ENGINES, Machine, type SocketOptions, type WorldOptions } from "../../src/machine/index.ts";
import { code } from "./code.ts";

const HEADER = 20;
const SYN = 2;
const ACK = 16;
const MINUTE = 60_000_000_000n;

/** IPv4 or IPv6 and TCP as one buffer: where TCP begins follows from the version. */
function headers(
  six: boolean,
  {
    flags,
    sequence = 1000,
    acknowledged = 0,
    mss,
  }: { flags: number; sequence?: number; acknowledged?: number; mss?: number },
): Uint8Array {
  const tcp = six ? 40 : 20;
  const options = mss === undefined ? [] : [2, 4, mss >> 8, mss & 255];
  const bytes = new Uint8Array(tcp + HEADER + options.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = six ? 0x60 : 0x45;
  bytes[tcp - 1] = 1;
  view.setUint16(tcp, 40000);
  view.setUint16(tcp + 2, 80);
  view.setUint32(tcp + 4, sequence);
  view.setUint32(tcp + 8, acknowledged);
  bytes[tcp + 12] = ((HEADER + options.length) / 4) << 4;
  bytes[tcp + 13] = flags;
  bytes.set(options, tcp + HEADER);
  return bytes;
}

const LISTENERS: readonly SocketOptions[] = [
  { protocol: "tcp", local: "10.0.0.1:80", flooded: true },
  { protocol: "tcp", local: "[fd00::1]:80" },
  { protocol: "tcp", local: "10.0.0.1:81", remote: "10.0.0.2:9" },
  { protocol: "tcp", local: "[::]:82", options: { "SOL_IPV6.IPV6_V6ONLY": 1 }, flooded: true },
];

async function create(engine: "jit" | "interpreter" = "jit", world: WorldOptions = {}) {
  const machine = await Machine.create({ engine, clock: "virtual", world: { sockets: LISTENERS, ...world } });
  const { sockets } = machine.world;
  // So that their structures exist: a program looks each of them up.
  const address = (index: number): number => {
    const socket = sockets.all[index]!;
    const map = machine.createMap({
      name: "s",
      type: "sockmap",
      keySize: 4,
      valueSize: 8,
      maxEntries: 1,
      flags: 0,
    });
    map.setObject(new Uint8Array(4), socket);
    return socket.placed.sock;
  };
  const call = (helper: string, registers: readonly number[]): bigint => {
    const text = registers.map((value, index) => `r${index + 1} = ${value} ll`).join("\n");
    return BigInt.asIntN(64, machine.loadInstructions(code(`${text}\ncall bpf_${helper}\nexit`)).call());
  };
  const place = (bytes: Uint8Array): number => {
    const at = machine.memory.alloc(bytes.length, "headers");
    machine.memory.write(at, bytes);
    return at;
  };
  const raw = (six: boolean, syn: Uint8Array, length?: number) => {
    const at = place(syn);
    const tcp = six ? 40 : 20;
    return call(`tcp_raw_gen_syncookie_ipv${six ? 6 : 4}`, [at, at + tcp, length ?? syn.length - tcp]);
  };
  const check = (six: boolean, ack: Uint8Array) => {
    const at = place(ack);
    return call(`tcp_raw_check_syncookie_ipv${six ? 6 : 4}`, [at, at + (six ? 40 : 20)]);
  };
  const withListener = (helper: string, index: number, bytes: Uint8Array, ipLength = 0, tcpLength = 0) => {
    const at = place(bytes);
    const tcp = (bytes[0] as number) >> 4 === 6 ? 40 : 20;
    return call(helper, [address(index), at, ipLength || tcp, at + tcp, tcpLength || bytes.length - tcp]);
  };
  return { machine, raw, check, withListener };
}

const low = (value: bigint): number => Number(BigInt.asUintN(32, value));

describe.each(ENGINES)("%s", (engine) => {
  test.each<[six: boolean, mss: number | undefined, known: bigint]>([
    [false, undefined, 536n],
    [false, 100, 536n],
    [false, 1400, 1300n],
    [false, 1440, 1440n],
    [false, 9000, 1460n],
    [true, undefined, 1220n],
    [true, 1430, 1420n],
    [true, 65535, 8940n],
  ])("IPv6 %s, segments of %s are said to be of %s, and the answer holds", async (six, mss, known) => {
    const { raw, check } = await create(engine);
    const cookie = raw(six, headers(six, { flags: SYN, ...(mss === undefined ? {} : { mss }) }));
    expect(cookie >> 32n).toBe(known);
    const answer = { flags: ACK, sequence: 1001, acknowledged: (low(cookie) + 1) >>> 0 };
    expect(check(six, headers(six, answer))).toBe(0n);
    expect(check(six, headers(six, { ...answer, sequence: 9999 }))).toBe(-13n);
    expect(check(six, headers(six, { ...answer, acknowledged: (low(cookie) + 9999) >>> 0 }))).toBe(-13n);
  });

  test("it holds for two minutes at most", async () => {
    const { machine, raw, check } = await create(engine);
    const cookie = raw(false, headers(false, { flags: SYN }));
    const ack = headers(false, { flags: ACK, sequence: 1001, acknowledged: (low(cookie) + 1) >>> 0 });
    machine.advance(MINUTE);
    expect(check(false, ack)).toBe(0n);
    machine.advance(MINUTE);
    expect(check(false, ack)).toBe(-13n);
  });

  test("lengths that do not fit", async () => {
    const { raw } = await create(engine);
    const syn = headers(false, { flags: SYN });
    expect([raw(false, syn, 16), raw(false, syn, 24)]).toEqual([-22n, -22n]);
  });

  test("with a listener: it answers for what it is flooded with", async () => {
    const { withListener } = await create(engine);
    const syn = headers(false, { flags: SYN, mss: 1460 });
    const gen = (index: number, bytes = syn, ipLength = 0, tcpLength = 0) =>
      withListener("tcp_gen_syncookie", index, bytes, ipLength, tcpLength);
    const check = (index: number, bytes: Uint8Array) => withListener("tcp_check_syncookie", index, bytes);
    const ackOf = (cookie: bigint) =>
      headers(false, { flags: ACK, sequence: 1001, acknowledged: (low(cookie) + 1) >>> 0 });
    // Before it has sent one it expects none back.
    expect(check(0, ackOf(0n))).toBe(-2n);
    const cookie = gen(0);
    expect(cookie >> 32n).toBe(1460n);
    expect(check(0, ackOf(cookie))).toBe(0n);
    expect(check(0, ackOf(cookie + 1n))).toBe(-2n);
    expect(check(0, headers(false, { flags: ACK | SYN }))).toBe(-2n);
    expect(gen(1, headers(true, { flags: SYN }))).toBe(-2n);
    expect(gen(2)).toBe(-22n);
    expect(gen(3)).toBe(-22n);
    expect(gen(0, headers(true, { flags: SYN }))).toBe(-22n);
    expect(gen(0, headers(false, { flags: SYN | ACK }))).toBe(-22n);
    expect(gen(0, syn, 8)).toBe(-22n);
    expect(gen(0, syn, 20, 28)).toBe(-22n);
    const other = syn.slice();
    other[0] = 0x55;
    expect(gen(0, other)).toBe(-93n);
  });

  test.each<[0 | 2, bigint, bigint]>([
    [0, -2n, -22n],
    [2, 1220n, -2n],
  ])("net.ipv4.tcp_syncookies %s", async (synCookies, generated, checked) => {
    const { withListener } = await create(engine, { synCookies });
    const cookie = withListener("tcp_gen_syncookie", 1, headers(true, { flags: SYN }));
    expect(cookie < 0n ? cookie : cookie >> 32n).toBe(generated);
    expect(withListener("tcp_check_syncookie", 1, headers(true, { flags: ACK }))).toBe(checked);
  });
});
