/** The host's side of the map types: events, objects, maps in maps, batches, freezing, hostile sizes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BpfError } from "../../src/errors.ts";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { type BpfMap, ENGINES, Machine, type MapDefinition } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { MAP_FLAGS } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";

const key4 = (n: number): Uint8Array => new Uint8Array(Uint32Array.of(n).buffer);
const load = async (engine: "jit" | "interpreter") => {
  const name = "map-types.bpf.o";
  const spec = parseObject(readFileSync(join(ROOT, "test/fixtures", name)), { name });
  const machine = await Machine.create({ engine, cpus: 2 });
  return { machine, ...(await machine.load(spec)) };
};
const definition = (type: MapDefinition["type"], more: Partial<MapDefinition> = {}): MapDefinition => ({
  name: "m",
  type,
  keySize: 4,
  valueSize: 4,
  maxEntries: 4,
  flags: 0,
  ...more,
});
const create = async (type: MapDefinition["type"], more: Partial<MapDefinition> = {}): Promise<BpfMap> =>
  (await Machine.create({ cpus: 2 })).createMap(definition(type, more));

describe.each(ENGINES)("ring buffer, %s", (engine) => {
  test("records come out in order, discarded ones do not", async () => {
    const { programs, maps } = await load(engine);
    const packet = new Uint8Array(64);
    expect(programs["rings"]?.run({ packet }).returnValue).toBe(0);
    const records = [...(maps["ring"] as BpfMap).records()];
    expect(Buffer.from(records[0] ?? []).toString("hex")).toMatch(/^8877665544332211/);
    expect(records.map(({ length }) => length)).toEqual([12, 16]);
    expect([...(maps["ring"] as BpfMap).records()]).toEqual([]);
  });

  test("goes round: 8000 records through a ring of 4096 bytes", async () => {
    const { programs, maps } = await load(engine);
    const ring = maps["ring"] as BpfMap;
    let seen = 0;
    for (let round = 0; round < 4000; round++) {
      // It checks the consumer's position against 0: the first round only.
      programs["rings"]?.run({ packet: new Uint8Array(64) });
      for (const record of ring.records()) {
        expect([12, 16]).toContain(record.length);
        seen++;
      }
    }
    expect(seen).toBe(8000);
  });

  test("for await wakes up", async () => {
    const { programs, maps } = await load(engine);
    const ring = maps["ring"] as BpfMap;
    const got: number[] = [];
    const reader = (async () => {
      for await (const record of ring) {
        got.push((record as Uint8Array).length);
        if (got.length === 4) break;
      }
    })();
    for (let round = 0; round < 2; round++) {
      await new Promise((done) => setTimeout(done, 1));
      programs["rings"]?.run({ packet: new Uint8Array(64) });
    }
    await reader;
    expect(got).toEqual([12, 16, 12, 16]);
  });
});

describe.each(ENGINES)("perf events, %s", (engine) => {
  test("samples of each CPU, with packet bytes; losses are told", async () => {
    const machine = await Machine.create({ engine, cpus: 2 });
    const events = machine.createMap(definition("perf_event_array", { maxEntries: 2 }));
    const { instructions } = assemble(`
      r6 = r1
      r1 = 0x11223344
      *(u32*)(r10 - 4) = r1
      r1 = r6
      r2 = 0 ll
      r3 = 0x2ffffffff ll
      r4 = r10
      r4 += -4
      r5 = 4
      call 25
      exit`);
    const slot = instructions.findIndex(({ opcode }) => opcode === 0x18);
    const program = machine.loadInstructions(instructions, {
      type: "xdp",
      maps: { events },
      references: new Map([[slot, { kind: "map", map: "events" }]]),
    });
    const packet = Uint8Array.from({ length: 64 }, (_, index) => index);
    expect(program.run({ packet }).returnValue | 0).toBe(-2);
    events.open({ pages: 1 });
    expect(program.run({ packet, cpu: 1 }).returnValue).toBe(0);
    expect([...events.perfEvents()]).toEqual([
      { cpu: 1, data: Uint8Array.of(0x44, 0x33, 0x22, 0x11, 0, 1, 0, 0, 0, 0, 0, 0) },
    ]);
    // 24 bytes a sample, and one byte always stays free.
    let lost = 0;
    for (let round = 0; round < 200; round++) if (program.run({ packet }).returnValue !== 0) lost++;
    expect(lost).toBe(200 - 170);
    expect([...events.perfEvents()].length).toBe(170);
    expect(program.run({ packet }).returnValue).toBe(0);
    expect([...events.perfEvents()].map((event) => event.lost ?? "data")).toEqual([lost, "data"]);
  });
});

test("what redirect_map chose is in the result", async () => {
  const machine = await Machine.create();
  const devices = machine.createMap(definition("devmap"));
  devices.update(key4(2), key4(77));
  const { instructions } = assemble("r1 = 0 ll\nr2 = 2\nr3 = 1\ncall 51\nexit");
  const program = machine.loadInstructions(instructions, {
    type: "xdp",
    maps: { devices },
    references: new Map([[0, { kind: "map", map: "devices" }]]),
  });
  const run = program.run({ packet: new Uint8Array(64) });
  expect(run.returnName).toBe("XDP_REDIRECT");
  expect(run.redirect).toEqual({ ifindex: 77, map: devices, key: 2 });
  devices.delete(key4(2));
  const missed = program.run({ packet: new Uint8Array(64) });
  expect([missed.returnName, missed.redirect]).toEqual(["XDP_DROP", undefined]);
});

test("user ring buffer: records are the host's until they are drained", async () => {
  const ring = await create("user_ringbuf", { keySize: 0, valueSize: 0, maxEntries: 4096 });
  for (let n = 0; n < 8; n++) expect(ring.send(new Uint8Array(504))).toBe(true);
  expect(ring.send(new Uint8Array(1))).toBe(false);
});

describe("maps of maps", () => {
  test("take maps that are alike", async () => {
    const machine = await Machine.create();
    const inner = machine.createMap(definition("hash", { name: "like" }));
    const outer = machine.createMap(definition("array_of_maps", { inner }));
    const other = machine.createMap(definition("hash", { name: "other", maxEntries: 100 }));
    const wrong = machine.createMap(definition("hash", { name: "wrong", keySize: 8 }));
    outer.setMap(key4(1), other);
    expect(outer.get(1)).toBe(other);
    expect(outer.get(0)).toBeUndefined();
    expect(() => outer.setMap(key4(0), wrong)).toThrow(/EINVAL/);
    expect(() => outer.setMap(key4(4), other)).toThrow(/E2BIG/);
    expect(() => outer.update(key4(0), key4(1))).toThrow(/setMap/);
    outer.setMap(key4(1), undefined);
    expect(outer.size).toBe(0);
  });

  test("arrays must be as long, unless BPF_F_INNER_MAP says that they need not", async () => {
    const machine = await Machine.create();
    for (const [flags, fits] of [
      [0, false],
      [MAP_FLAGS.inner_map, true],
    ] as const) {
      const inner = machine.createMap(definition("array", { flags }));
      const outer = machine.createMap(definition("hash_of_maps", { inner }));
      const longer = machine.createMap(definition("array", { flags, maxEntries: 9 }));
      if (fits) outer.setMap(key4(1), longer);
      else expect(() => outer.setMap(key4(1), longer)).toThrow(/EINVAL/);
    }
  });
});

describe("host operations", () => {
  test("queue, stack, bloom filter", async () => {
    const queue = await create("queue", { keySize: 0 });
    for (const n of [1, 2, 3]) queue.push(n);
    expect([queue.size, queue.peek(), queue.pop(), queue.pop()]).toEqual([3, key4(1), key4(1), key4(2)]);
    const stack = await create("stack", { keySize: 0, maxEntries: 1 });
    stack.push(1);
    expect(() => stack.push(2)).toThrow(/E2BIG/);
    stack.push(2, "exist");
    expect(stack.pop()).toEqual(key4(2));
    expect(stack.pop()).toBeUndefined();
    const bloom = await create("bloom_filter", { keySize: 0, maxEntries: 1000 });
    bloom.push(7);
    expect([bloom.mayHave(7), bloom.mayHave(8)]).toEqual([true, false]);
  });

  test("freeze and access flags bind the host", async () => {
    const frozen = await create("array");
    frozen.freeze();
    expect(() => frozen.update(key4(0), key4(1))).toThrow(/EPERM/);
    expect(() => frozen.freeze()).toThrow(/EPERM/);
    expect(frozen.lookup(key4(0))).toEqual(key4(0));
    const closed = await create("hash", { flags: MAP_FLAGS.wronly });
    closed.update(key4(0), key4(1));
    expect(() => closed.lookup(key4(0))).toThrow(/EPERM/);
    expect(() => closed.nextKey()).toThrow(/EPERM/);
  });

  test("batches of a hash and of an array", async () => {
    const hash = await create("hash", { maxEntries: 100 });
    hash.updateBatch(
      Array.from({ length: 60 }, (_, n) => key4(n)),
      Array.from({ length: 60 }, (_, n) => key4(n * 2)),
    );
    const seen = new Map<number, number>();
    let cursor: Uint8Array | undefined;
    do {
      const batch = hash.lookupBatch({ cursor, count: 20 });
      batch.keys.forEach((key, index) => seen.set(key[0] ?? 0, batch.values[index]?.[0] ?? 0));
      cursor = batch.cursor;
    } while (cursor !== undefined);
    expect(seen.size).toBe(60);
    for (const [key, value] of seen) expect(value).toBe(key * 2);
    expect(hash.deleteBatch([key4(1), key4(2)])).toBe(2);
    expect(() => hash.deleteBatch([key4(3), key4(1)])).toThrow(/ENOENT/);
    expect(hash.size).toBe(57);
    let gone = 0;
    do {
      const batch = hash.lookupAndDeleteBatch({ cursor, count: 30 });
      gone += batch.keys.length;
      cursor = batch.cursor;
    } while (cursor !== undefined);
    expect([gone, hash.size]).toEqual([57, 0]);
    const array = await create("array", { maxEntries: 5 });
    const first = array.lookupBatch({ count: 3 });
    const rest = array.lookupBatch({ count: 3, cursor: first.cursor });
    expect([first.keys.length, rest.keys.length, rest.cursor]).toEqual([3, 2, undefined]);
    expect(() => array.lookupAndDeleteBatch({ count: 1 })).toThrow(/ENOTSUPP/);
    // After as many as were asked for there may be more: the kernel says that there are none when it is asked again.
    const all = array.lookupBatch({ count: 5 });
    expect([all.keys.length, all.cursor]).toEqual([5, key4(4)]);
    expect(array.lookupBatch({ count: 5, cursor: all.cursor })).toMatchObject({
      keys: [],
      cursor: undefined,
    });
    expect(array.lookupBatch({ count: 0 }).keys).toEqual([]);
  });

  test("a batch stops at the first element that fails, and says which: the others are done", async () => {
    const map = await create("hash", { maxEntries: 3 });
    const four = [1, 2, 3, 4].map(key4);
    const failure = (run: () => unknown): unknown => {
      try {
        return run();
      } catch (error) {
        const { errno, where } = error as BpfError;
        return [errno, where.element, where.map];
      }
    };
    expect(failure(() => map.updateBatch(four, four))).toEqual(["E2BIG", 3, map.name]);
    expect(map.size).toBe(3);
    expect(failure(() => map.updateBatch(four.slice(0, 3), four, "noexist"))).toEqual([
      "EINVAL",
      undefined,
      map.name,
    ]);
    expect(failure(() => map.deleteBatch([key4(1), key4(9), key4(2)]))).toEqual(["ENOENT", 1, map.name]);
    expect(map.size).toBe(2);
    map.freeze();
    expect(failure(() => map.updateBatch(four, four))).toEqual(["EPERM", undefined, map.name]);
  });

  test("the kernel's fields of a value stay out of sight", async () => {
    const fields = [{ kind: "spin_lock", offset: 4, size: 4 }];
    const map = await create("array", { valueSize: 16, fields });
    map.update(key4(0), new Uint8Array(16).fill(0xff));
    const shown = [255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    expect([...(map.lookup(key4(0)) ?? [])]).toEqual(shown);
    expect([...(map.lookup(key4(0), "lock") ?? [])]).toEqual(shown);
    map.update(key4(0), new Uint8Array(16), "lock");
    expect([...(map.view(key4(0)) ?? [])]).toEqual(Array.from({ length: 16 }, () => 0));
    expect(() => map.freeze()).toThrow(/ENOTSUPP/);
    const plain = await create("array");
    expect(() => plain.update(key4(0), key4(0), "lock")).toThrow(/EINVAL/);
  });

  test.each([
    ["percpu_array", [{ kind: "spin_lock", offset: 0, size: 4 }], 0, /EOPNOTSUPP/],
    ["array", [{ kind: "spin_lock", offset: 0, size: 4 }], MAP_FLAGS.rdonly_prog, /EACCES/],
    ["lpm_trie", [{ kind: "kptr", offset: 0, size: 8 }], MAP_FLAGS.no_prealloc, /EOPNOTSUPP/],
  ] as const)("%s with fields %j, flags %d", async (type, fields, flags, error) => {
    await expect(
      create(type, { valueSize: 8, keySize: type === "lpm_trie" ? 8 : 4, fields, flags }),
    ).rejects.toThrow(error);
  });
});

describe("hostile sizes", () => {
  const BIG = 0xffffffff;
  test.each([
    ["hash", { maxEntries: BIG }, /E2BIG/],
    ["hash", { keySize: 0 }, /EINVAL/],
    ["hash", { keySize: 0x80000000 }, /E2BIG/],
    ["hash", { valueSize: BIG }, /E2BIG/],
    ["lru_hash", { maxEntries: BIG }, /E2BIG/],
    ["array", { maxEntries: BIG }, /ENOMEM/],
    ["array", { keySize: 0x80000000 }, /EINVAL/],
    ["array", { valueSize: 0x80000000 }, /E2BIG/],
    ["lpm_trie", { keySize: 0x80000000, flags: 1 }, /EINVAL/],
    ["queue", { keySize: 0, maxEntries: BIG }, /ENOMEM/],
    ["stack", { keySize: 0, valueSize: BIG }, /E2BIG/],
    ["bloom_filter", { keySize: 0, valueSize: BIG }, /E2BIG/],
    ["ringbuf", { keySize: 0, valueSize: 0, maxEntries: 0x80000000 }, /ENOMEM/],
    ["ringbuf", { keySize: 0, valueSize: 0, maxEntries: BIG }, /EINVAL/],
    ["devmap", { maxEntries: BIG }, /ENOMEM/],
    ["devmap_hash", { maxEntries: BIG }, /EINVAL/],
    ["cpumap", { maxEntries: BIG }, /E2BIG/],
    ["sockhash", { keySize: 0x80000000 }, /E2BIG/],
    ["stack_trace", { valueSize: 8, maxEntries: BIG }, /E2BIG/],
    ["arena", { keySize: 0, valueSize: 0, maxEntries: BIG, flags: MAP_FLAGS.mmapable }, /E2BIG/],
    ["sk_storage", { valueSize: BIG, maxEntries: 0, flags: MAP_FLAGS.no_prealloc }, /E2BIG/],
    ["array_of_maps", {}, /EINVAL/],
  ] as const)("%s %j", async (type, more, error) => {
    const machine = await Machine.create();
    const before = machine.memory.u8.length;
    const start = performance.now();
    expect(() => machine.createMap(definition(type, more))).toThrow(error);
    expect(performance.now() - start).toBeLessThan(200);
    expect(machine.memory.u8.length).toBe(before);
  });
});
