import { beforeEach, describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type BpfMap, Machine, VirtualClock } from "../../src/machine/index.ts";
import { assemble } from "../../src/asm/index.ts";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(value).buffer);

describe("maps from the host", () => {
  let machine: Machine;
  let hash: BpfMap;
  beforeEach(async () => {
    machine = await Machine.create({ cpus: 3 });
    hash = machine.createMap({
      name: "flows",
      type: "hash",
      keySize: 4,
      valueSize: 8,
      maxEntries: 2,
      flags: 0,
    });
  });

  it("look up, update, delete, iterate", () => {
    expect(hash.lookup(u32(1))).toBeUndefined();
    hash.update(u32(1), u64(10n));
    hash.update(u32(2), u64(20n));
    expect(hash.lookup(u32(1))).toEqual(u64(10n));
    expect(hash.size).toBe(2);
    expect([...hash.keys()].map((key) => key[0]).sort()).toEqual([1, 2]);
    expect(hash.delete(u32(1))).toBe(true);
    expect(hash.delete(u32(1))).toBe(false);
  });

  it.each([
    [
      "noexist on what is there",
      () => hash.update(u32(1), u64(1n), "noexist"),
      "EEXIST",
      /map 'flows': update failed: EEXIST/,
    ],
    ["exist on what is not", () => hash.update(u32(9), u64(1n), "exist"), "ENOENT", /ENOENT/],
    ["more than it holds", () => [7, 8].forEach((key) => hash.update(u32(key), u64(1n))), "E2BIG", /E2BIG/],
    [
      "a short key",
      () => hash.lookup(new Uint8Array(3)),
      undefined,
      /map 'flows': key has 3 bytes, the map's keys have 4/,
    ],
    [
      "a long value",
      () => hash.update(u32(1), new Uint8Array(9)),
      undefined,
      /value has 9 bytes, the map's values have 8/,
    ],
  ])("refuse %s", (_what, act, errno, message) => {
    hash.update(u32(1), u64(10n));
    try {
      act();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      expect((error as BpfError).errno).toBe(errno);
      expect((error as BpfError).message).toMatch(message);
    }
  });

  it("take numbers where there is no BTF", () => {
    hash.set(5, 7);
    expect(hash.get(5)).toEqual(u64(7n));
    expect(() => hash.set(2 ** 40, 7)).toThrow(/its key has no BTF type/);
  });

  it("hold a value for each CPU", () => {
    const map = machine.createMap({
      name: "c",
      type: "percpu_array",
      keySize: 4,
      valueSize: 4,
      maxEntries: 2,
      flags: 0,
    });
    map.update(u32(0), [u32(1), u32(2), u32(3)]);
    expect(map.lookupPerCpu(u32(0))).toEqual([u32(1), u32(2), u32(3)]);
    map.update(u32(0), u32(9));
    expect(map.lookupPerCpu(u32(0))).toEqual([u32(9), u32(9), u32(9)]);
    expect(() => hash.lookupPerCpu(u32(0))).toThrow(/one value for all CPUs/);
  });

  it("show their bytes where they lie, also after the memory has grown", () => {
    const map = machine.createMap({
      name: "a",
      type: "array",
      keySize: 4,
      valueSize: 4,
      maxEntries: 4,
      flags: 0,
    });
    machine.memory.alloc(8 << 20, "room");
    map.view(u32(1))?.set([1, 2, 3, 4]);
    expect(map.lookup(u32(1))).toEqual(Uint8Array.of(1, 2, 3, 4));
  });

  it.each([
    ["key size 0", { keySize: 0 }, "EINVAL"],
    ["value size 0", { valueSize: 0 }, "EINVAL"],
    ["no entries", { maxEntries: 0 }, "EINVAL"],
    ["key size 2^31", { keySize: 0x80000000 }, /E2BIG|EINVAL/],
    ["2^32-1 entries", { maxEntries: 0xffffffff }, /E2BIG|ENOMEM/],
    ["an unknown flag", { flags: 0x80000000 }, "EINVAL"],
  ])("cannot be created with %s", (_what, change, errno) => {
    const definition = {
      name: "m",
      type: "hash",
      keySize: 4,
      valueSize: 8,
      maxEntries: 4,
      flags: 0,
      ...change,
    } as const;
    expect(() => machine.createMap(definition)).toThrow(errno);
  });

  it("cost only what is touched: 33 million elements", () => {
    const map = machine.createMap({
      name: "big",
      type: "array",
      keySize: 4,
      valueSize: 8,
      maxEntries: 33_000_000,
      flags: 0,
    });
    const before = process.memoryUsage().rss;
    map.update(u32(32_999_999), u64(1n));
    expect(map.lookup(u32(32_999_999))).toEqual(u64(1n));
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
  });
});

describe("machines", () => {
  it.each([
    [{ cpu: 2 }, /no option 'cpu'; there are shared, cpus/],
    [{ cpus: 0 }, /cpus must be a whole number from 1 to 1024/],
    [{ engine: "v8" }, /engine must be jit or interpreter/],
  ])("refuse %j", async (options, message) => {
    await expect(Machine.create(options as never)).rejects.toThrow(message);
  });

  it("tell programs the time that they are told", async () => {
    const clock = new VirtualClock();
    const machine = await Machine.create({ clock });
    const program = machine.loadInstructions(assemble("call 5\nexit").instructions);
    const start = program.call();
    clock.advance(1_000_000n);
    expect(program.call() - start).toBe(1_000_000n);
    expect(() => clock.advance(-1n)).toThrow(BpfError);
  });

  it("give the same random numbers for the same seed, to either engine", async () => {
    const draw = async (seed: number, engine: "jit" | "interpreter"): Promise<bigint[]> => {
      const program = (await Machine.create({ seed, engine })).loadInstructions(
        assemble("call 7\nexit").instructions,
      );
      return [program.call(), program.call()];
    };
    expect(await draw(7, "jit")).toEqual(await draw(7, "interpreter"));
    expect(await draw(7, "jit")).not.toEqual(await draw(8, "jit"));
  });

  it("give a context its wire_len, as the kernel does: only when there is a context", async () => {
    const machine = await Machine.create();
    const { instructions } = assemble("r0 = *(u32 *)(r1 + 160)\nexit");
    const wireLength = (type: "sched_cls" | "socket_filter", context?: Record<string, number>): number =>
      machine
        .loadInstructions(instructions, { type })
        .run({ packet: new Uint8Array(60), ...(context === undefined ? {} : { context }) }).returnValue;
    expect(wireLength("sched_cls")).toBe(0);
    expect(wireLength("sched_cls", { mark: 1 })).toBe(60);
    expect(wireLength("socket_filter", { mark: 1 })).toBe(46);
    expect(wireLength("sched_cls", { wire_len: 99 })).toBe(99);
  });

  it("do not see each other", async () => {
    const machines = [await Machine.create(), await Machine.create()];
    const maps = machines.map((machine) =>
      machine.createMap({ name: "m", type: "array", keySize: 4, valueSize: 4, maxEntries: 1, flags: 0 }),
    );
    maps[0]?.update(u32(0), u32(1));
    expect(maps[1]?.lookup(u32(0))).toEqual(u32(0));
  });

  it("run a program that faults as often as one likes", async () => {
    const machine = await Machine.create({ fuel: 1000 });
    for (const engine of ["jit", "interpreter"] as const) {
      const program = machine.loadInstructions(assemble("l: goto l").instructions);
      for (let round = 0; round < 3; round++)
        expect(() => program.call(0, 0, { engine })).toThrow(/it used up its fuel/);
      const wild = machine.loadInstructions(
        assemble("r1 = 0xfffffff0 ll\nr0 = *(u64 *)(r1 + 0)\nexit").instructions,
      );
      expect(() => wild.call(0, 0, { engine })).toThrow(/an access outside the machine's memory/);
      expect(machine.loadInstructions(assemble("r0 = 1\nexit").instructions).call(0, 0, { engine })).toBe(1n);
    }
  });
});
