/**
 * Socket maps, reuseport arrays, user ring buffers and records as dynptrs. Expectations: net/core/sock_map.c, filter.c
 * (sk_select_reuseport), kernel/bpf/ringbuf.c, and the documentation in uapi/linux/bpf.h; the kernel confirms the dynptrs.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { RING_AT, RING_CONSUMER, RING_DATA, RING_PRODUCER } from "../../src/core/layout.ts";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, type Loaded, Machine, type RunInput } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { FIXTURE_PACKETS } from "../fixtures/cases.ts";

const load = (name: string) =>
  parseObject(readFileSync(join(ROOT, `test/fixtures/${name}.bpf.o`)), { name: `${name}.bpf.o` });
const rings = load("rings");
const sockets = load("socket-maps");
const packet = FIXTURE_PACKETS.zeros;
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

/** A connection, a listener, and two sockets of UDP: one that is connected and one that waits. */
const WORLD = {
  sockets: [
    { protocol: "tcp", local: "10.0.0.1:80", remote: "10.0.0.2:4000" },
    { protocol: "tcp", local: "10.0.0.1:80" },
    { protocol: "udp", local: "10.0.0.1:53", remote: "10.0.0.2:4001" },
    { protocol: "udp", local: "10.0.0.1:53" },
    { protocol: "tcp", local: "10.0.0.1:80", remote: "10.0.0.2:4002", state: "time_wait" },
  ],
} as const;
const CONNECTION = 0;
const LISTENER = 1;
const CONNECTED = 2;
const WAITING = 3;
const REMNANT = 4;

function variables({ maps }: Loaded): Record<string, unknown> {
  return maps[".bss"]?.get(0) as Record<string, unknown>;
}
function setVariables(loaded: Loaded, values: Record<string, unknown>): void {
  loaded.maps[".bss"]?.set(0, { ...variables(loaded), ...values });
}

describe.each(ENGINES)("%s", (engine) => {
  const withSockets = async () => {
    const machine = await Machine.create({ engine, world: WORLD });
    const loaded = await machine.load(sockets);
    const all = machine.world.sockets.all;
    all.slice(0, 4).forEach((socket, slot) => loaded.maps["by_index"]?.set(slot, socket));
    loaded.maps["by_name"]?.set({ tenant: 1, service: 2 }, all[CONNECTION]);
    const run = (name: string, values: Record<string, unknown>, input: RunInput = { data: "hello" }) => {
      setVariables(loaded, { slot: 0, flags: 0n, status: 0, key: { tenant: 1, service: 2 }, ...values });
      return loaded.programs[name]!.run(input);
    };
    return { machine, loaded, all, run };
  };

  test.each<[string, Record<string, unknown>, number | undefined, boolean?]>([
    ["msg_to_index", { slot: CONNECTION }, CONNECTION],
    ["msg_to_index", { slot: CONNECTION, flags: 1n }, CONNECTION, true],
    ["msg_to_index", { slot: LISTENER }, undefined],
    ["msg_to_index", { slot: 4 }, undefined],
    ["msg_to_index", { slot: CONNECTION, flags: 2n }, undefined],
    ["msg_to_index", { slot: CONNECTED }, undefined],
    ["msg_to_index", { slot: CONNECTED, flags: 1n }, CONNECTED, true],
    ["msg_to_index", { slot: WAITING, flags: 1n }, undefined],
    ["msg_to_name", {}, CONNECTION],
    ["msg_to_name", { key: { tenant: 1, service: 3 } }, undefined],
    ["skb_to_index", { slot: CONNECTION }, CONNECTION],
    ["skb_to_index", { slot: CONNECTED }, CONNECTED],
    ["skb_to_index", { slot: WAITING }, undefined],
    ["skb_to_name", { flags: 1n }, CONNECTION, true],
    ["skb_to_name", { flags: 3n }, undefined],
  ])("%s with %o", async (name, values, chosen, ingress = false) => {
    const { all, run } = await withSockets();
    const result = run(name, values);
    expect(result.returnName).toBe(chosen === undefined ? "SK_DROP" : "SK_PASS");
    expect(result.toSocket?.socket).toBe(chosen === undefined ? undefined : all[chosen]);
    if (chosen !== undefined) expect(result.toSocket?.ingress).toBe(ingress);
    // The next run knows nothing of it.
    expect(run(name, { slot: 9, key: { tenant: 9, service: 9 } }).toSocket).toBeUndefined();
  });

  test("a program puts a connection into both kinds of map, as it is made and not before", async () => {
    const { all, loaded, run } = await withSockets();
    const ends = { local: "10.0.0.1:80", remote: "10.0.0.2:4000" };
    const remember = (op: string, values: Record<string, unknown>) => {
      run("remember", values, { op, ...ends });
      return variables(loaded)["status"];
    };
    const name = { tenant: 5, service: 6 };
    loaded.maps["by_index"]?.delete(u32(3));
    expect(remember("PASSIVE_ESTABLISHED_CB", { slot: 3, key: name })).toBe(0);
    expect(loaded.maps["by_index"]?.get(3)).toBe(all[CONNECTION]);
    expect(loaded.maps["by_name"]?.get(name)).toBe(all[CONNECTION]);
    expect(remember("PASSIVE_ESTABLISHED_CB", { slot: 3, key: name, flags: 1n })).toBe(-17);
    expect(remember("ACTIVE_ESTABLISHED_CB", { slot: 3, key: name, flags: 3n })).toBe(-22);
    expect(remember("ACTIVE_ESTABLISHED_CB", { slot: 4, key: name })).toBe(-7);
    expect(remember("RTO_CB", { slot: 3, key: name })).toBe(-95);
    expect(() => run("remember", {}, { op: "TCP_LISTEN_CB", local: "10.9.9.9:1" })).toThrow(
      /none of the world's; name one with the same ends/,
    );
  });

  test("what a map gives can be looked at", async () => {
    const { loaded, run } = await withSockets();
    expect(run("look", { slot: WAITING }).returnName).toBe("SK_PASS");
    expect(variables(loaded)["status"]).toBe(53);
  });

  test("a group of sockets: one of it is chosen, others are refused by what differs", async () => {
    const machine = await Machine.create({
      engine,
      world: {
        sockets: [
          { protocol: "udp", local: "10.0.0.1:53" },
          { protocol: "udp", local: "10.0.0.1:54" },
          { protocol: "udp", local: "[fd00::1]:53" },
          { protocol: "tcp", local: "10.0.0.1:53" },
          { protocol: "udp", local: "10.0.0.1:53", options: { "SOL_SOCKET.SO_REUSEPORT": 0 } },
        ],
      },
    });
    const loaded = await machine.load(sockets);
    const { all } = machine.world.sockets;
    const { group, by_index } = loaded.maps;
    for (const slot of [0, 1, 2, 3]) group?.set(slot, all[slot]);
    by_index?.set(0, all[4]);
    const select = (name: string, slot: number) => {
      setVariables(loaded, { slot });
      const { selected, returnName } = loaded.programs[name]!.run({ protocol: "udp", local: "10.0.0.1:53" });
      return [variables(loaded)["status"], returnName, selected?.socket];
    };
    expect(select("select", 0)).toEqual([0, "SK_PASS", all[0]]);
    expect(select("select", 1)).toEqual([-77, "SK_DROP", undefined]);
    expect(select("select", 2)).toEqual([-97, "SK_DROP", undefined]);
    expect(select("select", 3)).toEqual([-91, "SK_DROP", undefined]);
    expect(select("select", 7)).toEqual([-2, "SK_DROP", undefined]);
    // What is in no group stands in a socket map, but not in the array of a group.
    expect(select("select_from_map", 0)).toEqual([-22, "SK_DROP", undefined]);
    expect(() => group?.set(0, all[4])).toThrow(/EINVAL/);
  });

  test("the host: what maps of sockets take, and the kernel's errors", async () => {
    const { machine, loaded, all } = await withSockets();
    const { by_index, by_name } = loaded.maps;
    expect(() => by_index?.set(3, all[REMNANT])).toThrow(/EOPNOTSUPP/);
    expect(() => by_index?.set(4, all[CONNECTION])).toThrow(/E2BIG/);
    expect(() => by_index?.set(0, all[CONNECTION], "noexist")).toThrow(/EEXIST/);
    expect(by_index?.delete(u32(1))).toBe(true);
    expect(() => by_index?.set(1, all[CONNECTION], "exist")).toThrow(/ENOENT/);
    expect(() => by_index?.delete(u32(1))).toThrow(/EINVAL/);
    expect([...(by_index?.keys() ?? [])]).toHaveLength(4);
    expect([...(by_name?.entries() ?? [])]).toEqual([[{ tenant: 1, service: 2 }, all[CONNECTION]]]);
    const cookies = by_index?.lookup(u32(0));
    expect(cookies && new DataView(cookies.buffer).getBigUint64(0, true)).toBe(all[0]?.cookie);
    expect(machine.world.sockets.at(by_index!.address)).toBeUndefined();
  });

  test("records of a ring buffer as dynptrs", async () => {
    const machine = await Machine.create({ engine });
    const { programs, maps } = await machine.load(rings, { programs: ["ring_dynptr"] });
    expect(programs["ring_dynptr"]?.run({ packet }).returnValue).toBe(0);
    const [record, ...rest] = maps["events"]?.records() ?? [];
    expect(rest).toEqual([]);
    expect(Array.from(new BigUint64Array(record!.slice().buffer))).toEqual([0n, 7n, 0x1122334455667788n]);
  });

  describe("a user ring buffer", () => {
    const withOrders = async () => {
      const machine = await Machine.create({ engine });
      const loaded = await machine.load(rings);
      const map = loaded.maps["orders"]!;
      const ring = machine.memory.u32(map.address + RING_AT);
      const run = (name = "drain") => loaded.programs[name]!.run({ packet }).returnValue;
      const send = (...words: number[]) =>
        words.forEach((word) => map.send(new Uint8Array(BigUint64Array.of(BigInt(word)).buffer)));
      return { machine, loaded, map, ring, run, send };
    };

    test("is drained record by record; the callback can stop it", async () => {
      const { loaded, run, send } = await withOrders();
      expect(run()).toBe(0);
      send(1, 2, 3);
      expect(run()).toBe(3003);
      expect(variables(loaded)).toMatchObject({ seen: 3n, sum: 6n, last_size: 0, past_end: -7 });
      setVariables(loaded, { stop_at: 5n });
      send(10, 20, 30);
      expect(run()).toBe(2002);
      expect(run()).toBe(1001);
      expect(variables(loaded)).toMatchObject({ seen: 6n, sum: 66n });
      expect(run("drain_flags")).toBe(-22);
    });

    test("is busy while it is drained", async () => {
      const { run, send } = await withOrders();
      send(1);
      expect(run("drain_nested")).toBe(-16);
      send(2);
      expect(run()).toBe(1001);
    });

    test("takes what fits, and has room again after it was drained", async () => {
      const { map, run } = await withOrders();
      const big = new Uint8Array(2040);
      expect([map.send(big), map.send(big), map.send(new Uint8Array(8))]).toEqual([true, true, false]);
      expect(run()).toBe(2002);
      expect(map.send(big)).toBe(true);
    });

    test.each<[string, (memory: Machine["memory"], ring: number) => void, number]>([
      ["a discarded record is stepped over", (m, ring) => m.setU32(ring + RING_DATA, 0x40000008), 1001],
      ["a busy one ends it", (m, ring) => m.setU32(ring + RING_DATA, 0x80000008), 0],
      ["one that is longer than what was produced", (m, ring) => m.setU32(ring + RING_DATA, 100), -22],
      ["a position that is no multiple of 8", (m, ring) => m.setU64(ring + RING_PRODUCER, 33n), -22],
      [
        "one that is longer than the ring",
        (m, ring) => {
          m.setU32(ring + RING_DATA, 5000);
          m.setU64(ring + RING_PRODUCER, 8192n);
        },
        -7,
      ],
    ])("%s", async (_, spoil, answer) => {
      const { machine, ring, run, send } = await withOrders();
      send(1, 2);
      spoil(machine.memory, ring);
      expect(run()).toBe(answer);
      expect(machine.memory.u64(ring + RING_CONSUMER)).toBe(answer === 1001 ? 32n : 0n);
    });
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("the kernel confirms"), () => {
  test.each(["ring_dynptr", "drain_flags", "drain"])("%s", async (name) => {
    using machine = await KernelMachine.create();
    const ours = await Machine.create();
    const { programs } = machine.load(rings, { programs: [name] });
    const own = await ours.load(rings, { programs: [name] });
    expect(programs[name]?.run({ packet }).returnValue).toBe(own.programs[name]?.run({ packet }).returnValue);
  });
});
