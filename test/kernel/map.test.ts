import { afterAll, describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  Kernel,
  type KernelMap,
  MAP_FLAGS,
  type MapDefinition,
  createMap,
  deleteBatch,
  joinPerCpu,
  lookupBatch,
  openMap,
  possibleCpus,
  splitPerCpu,
  updateBatch,
} from "../../src/kernel/index.ts";
import { expectNothingLeft, noKernel, ownName, withKernel } from "./setup.ts";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number): Uint8Array => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const number = (bytes: Uint8Array | undefined): number | undefined =>
  bytes && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);

function errnoOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    return error instanceof BpfError ? (error.errno ?? error.code) : String(error);
  }
  return undefined;
}

describe.skipIf(noKernel !== undefined)(withKernel("maps in the kernel"), () => {
  afterAll(expectNothingLeft);

  const withMap = async (
    definition: Omit<MapDefinition, "name">,
    use: (map: KernelMap) => void,
  ): Promise<void> => {
    using kernel = await Kernel.open();
    use(createMap(kernel, { name: ownName(definition.type), ...definition }));
  };

  it.each(["hash", "lru_hash"] as const)("%s: update flags, lookup, delete, iteration", (type) =>
    withMap({ type, keySize: 4, valueSize: 8, maxEntries: 64 }, (map) => {
      expect(map.lookup(u32(1))).toBeUndefined();
      expect(errnoOf(() => map.update(u32(1), u64(1), "exist"))).toBe("ENOENT");
      map.update(u32(1), u64(10), "noexist");
      expect(errnoOf(() => map.update(u32(1), u64(11), "noexist"))).toBe("EEXIST");
      expect(errnoOf(() => map.update(u32(1), u64(11), 99))).toBe("EINVAL");
      map.update(u32(1), u64(12), "exist");
      map.update(u32(2), u64(20));
      expect([...map.lookup(u32(1))!]).toEqual([...u64(12)]);
      expect([...map.keys()].map(number).sort()).toEqual([1, 2]);
      expect([...map.entries()].map(([key, value]) => [number(key), number(value)]).sort()).toEqual([
        [1, 12],
        [2, 20],
      ]);
      expect(number(map.lookupAndDelete(u32(2)))).toBe(20);
      expect(map.lookupAndDelete(u32(2))).toBeUndefined();
      expect(map.delete(u32(1))).toBe(true);
      expect(map.delete(u32(1))).toBe(false);
      expect(map.nextKey()).toBeUndefined();
    }),
  );

  it("hash: more than fits is E2BIG", () =>
    withMap({ type: "hash", keySize: 4, valueSize: 8, maxEntries: 2 }, (map) => {
      map.update(u32(1), u64(1));
      map.update(u32(2), u64(2));
      expect(errnoOf(() => map.update(u32(3), u64(3)))).toBe("E2BIG");
      expect(() => map.update(u32(3), u64(3))).toThrow(/^map 't.*_hash' \(hash\): update: E2BIG \(too big/);
    }));

  it("array: every key is there, none can be removed", () =>
    withMap({ type: "array", keySize: 4, valueSize: 8, maxEntries: 3 }, (map) => {
      map.update(u32(2), u64(7));
      expect([...map.entries()].map(([key, value]) => [number(key), number(value)])).toEqual([
        [0, 0],
        [1, 0],
        [2, 7],
      ]);
      expect(map.lookup(u32(3))).toBeUndefined();
      expect(errnoOf(() => map.update(u32(3), u64(3)))).toBe("E2BIG");
      expect(errnoOf(() => map.update(u32(0), u64(3), "noexist"))).toBe("EEXIST");
      expect(errnoOf(() => map.delete(u32(0)))).toBe("EINVAL");
    }));

  it.each(["percpu_array", "percpu_hash", "lru_percpu_hash"] as const)("%s: one part for each CPU", (type) =>
    withMap({ type, keySize: 4, valueSize: 12, maxEntries: 4 * possibleCpus() }, (map) => {
      expect(map.valueBytes).toBe(16 * possibleCpus());
      const parts = Array.from({ length: possibleCpus() }, (_, cpu) => new Uint8Array(12).fill(cpu + 1));
      map.update(u32(1), joinPerCpu(parts, 12));
      expect(splitPerCpu(map.lookup(u32(1))!, 12).map((part) => [...part])).toEqual(
        parts.map((part) => [...part]),
      );
    }),
  );

  it("lpm_trie: the longest prefix wins", () =>
    withMap(
      { type: "lpm_trie", keySize: 8, valueSize: 4, maxEntries: 8, flags: MAP_FLAGS.no_prealloc },
      (map) => {
        const prefix = (bits: number, ...address: number[]): Uint8Array =>
          Uint8Array.of(...u32(bits), ...address);
        map.update(prefix(8, 10, 0, 0, 0), u32(8));
        map.update(prefix(24, 10, 1, 2, 0), u32(24));
        expect(number(map.lookup(prefix(32, 10, 1, 2, 3)))).toBe(24);
        expect(number(map.lookup(prefix(32, 10, 9, 9, 9)))).toBe(8);
        expect(map.lookup(prefix(32, 11, 0, 0, 0))).toBeUndefined();
        expect(map.delete(prefix(24, 10, 1, 2, 0))).toBe(true);
        expect(number(map.lookup(prefix(32, 10, 1, 2, 3)))).toBe(8);
      },
    ));

  it.each([
    ["queue", [1, 2, 3]],
    ["stack", [3, 2, 1]],
  ] as const)("%s: push, peek, pop without keys", (type, order) =>
    withMap({ type, keySize: 0, valueSize: 4, maxEntries: 4 }, (map) => {
      const none = new Uint8Array(0);
      for (const value of [1, 2, 3]) map.update(none, u32(value));
      expect(number(map.lookup(none))).toBe(order[0]);
      expect([0, 0, 0].map(() => number(map.lookupAndDelete(none)))).toEqual(order);
      expect(map.lookupAndDelete(none)).toBeUndefined();
    }),
  );

  it("bloom_filter: push and peek", () =>
    withMap({ type: "bloom_filter", keySize: 0, valueSize: 4, maxEntries: 100 }, (map) => {
      map.update(new Uint8Array(0), u32(5));
      // The value goes in through the value pointer; ENOENT means "certainly not there".
      expect(map.element("map_lookup_elem", new Uint8Array(0), u32(5), 0)).toBe(0);
      expect(map.element("map_lookup_elem", new Uint8Array(0), u32(6), 0)).toBe(-2);
    }));

  it("array_of_maps and hash_of_maps hold maps by descriptor and give ids", async () => {
    using kernel = await Kernel.open();
    const inner = createMap(kernel, {
      type: "array",
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
      name: ownName("in"),
    });
    for (const type of ["array_of_maps", "hash_of_maps"] as const) {
      const outer = createMap(kernel, {
        type,
        keySize: 4,
        valueSize: 4,
        maxEntries: 2,
        inner,
        name: ownName("out"),
      });
      outer.update(u32(0), u32(inner.fd));
      expect(number(outer.lookup(u32(0)))).toBe(inner.info().id);
    }
  });

  it("creates the other types that need no device", async () => {
    using kernel = await Kernel.open();
    const page = 4096;
    for (const definition of [
      { type: "ringbuf", keySize: 0, valueSize: 0, maxEntries: page },
      { type: "user_ringbuf", keySize: 0, valueSize: 0, maxEntries: page },
      { type: "prog_array", keySize: 4, valueSize: 4, maxEntries: 4 },
      { type: "perf_event_array", keySize: 4, valueSize: 4, maxEntries: 4 },
      { type: "stack_trace", keySize: 4, valueSize: 80, maxEntries: 4 },
      { type: "devmap", keySize: 4, valueSize: 4, maxEntries: 4 },
      { type: "devmap_hash", keySize: 4, valueSize: 8, maxEntries: 4 },
      { type: "cpumap", keySize: 4, valueSize: 4, maxEntries: 2 },
      { type: "sockmap", keySize: 4, valueSize: 4, maxEntries: 4 },
      { type: "sockhash", keySize: 4, valueSize: 4, maxEntries: 4 },
    ] as const) {
      using map = createMap(kernel, { ...definition, name: ownName(definition.type) });
      const { type, maxEntries } = map.info();
      expect({ type, maxEntries }).toEqual({ type: definition.type, maxEntries: definition.maxEntries });
    }
  });

  it.each(["hash", "array", "lpm_trie", "percpu_hash"] as const)("%s: batches", (type) =>
    withMap(
      {
        type,
        keySize: type === "lpm_trie" ? 8 : 4,
        valueSize: 8,
        maxEntries: 500,
        flags: type === "lpm_trie" ? MAP_FLAGS.no_prealloc : 0,
      },
      (map) => {
        const key = (index: number): Uint8Array =>
          type === "lpm_trie" ? Uint8Array.of(...u32(32), ...u32(index)) : u32(index);
        const entries = Array.from({ length: 500 }, (_, index) => {
          const value = new Uint8Array(map.valueBytes);
          value.set(u64(index * 3));
          return [key(index), value] as const;
        });
        expect(updateBatch(map, entries)).toBe(500);
        const seen = [...lookupBatch(map, { size: 7 })].flat();
        const text = (list: readonly (readonly [Uint8Array, Uint8Array])[]): string[] =>
          list.map(([k, v]) => `${Buffer.from(k).toString("hex")}=${Buffer.from(v).toString("hex")}`).sort();
        expect(text(seen)).toEqual(text(entries));
        if (type === "array") return;
        expect(
          deleteBatch(
            map,
            entries.slice(0, 10).map(([k]) => k),
          ),
        ).toBe(10);
        expect([...map.keys()]).toHaveLength(490);
        if (type === "lpm_trie") return;
        expect([...lookupBatch(map, { remove: true })].flat()).toHaveLength(490);
        expect([...map.keys()]).toHaveLength(0);
      },
    ),
  );

  it("says how far a refused batch came", () =>
    withMap({ type: "hash", keySize: 4, valueSize: 4, maxEntries: 2 }, (map) => {
      const entries = [1, 2, 3].map((index) => [u32(index), u32(index)] as const);
      expect(() => updateBatch(map, entries)).toThrow(/update batch: E2BIG after 2 of 3/);
    }));

  it("freezes: no more updates from here", () =>
    withMap(
      { type: "array", keySize: 4, valueSize: 4, maxEntries: 1, flags: MAP_FLAGS.rdonly_prog },
      (map) => {
        map.update(u32(0), u32(1));
        map.freeze();
        expect(errnoOf(() => map.update(u32(0), u32(2)))).toBe("EPERM");
        expect(number(map.lookup(u32(0)))).toBe(1);
      },
    ));

  it("refuses keys and values of a wrong size before the kernel reads past them", () =>
    withMap({ type: "hash", keySize: 4, valueSize: 8, maxEntries: 1 }, (map) => {
      expect(() => map.lookup(new Uint8Array(3))).toThrow(/the key has 3 bytes, the map takes 4/);
      expect(() => map.update(u32(1), u32(1))).toThrow(/the value has 4 bytes, the map takes 8/);
      expect(() => map.update(new Uint8Array(0), u64(1))).toThrow(/the key has 0 bytes/);
    }));

  it("opens by id, and refuses after close", async () => {
    using kernel = await Kernel.open();
    const map = createMap(kernel, {
      type: "hash",
      keySize: 4,
      valueSize: 8,
      maxEntries: 1,
      name: ownName("byid"),
    });
    map.update(u32(1), u64(5));
    {
      using same = openMap(kernel, map.info().id);
      expect(same.name).toBe(ownName("byid"));
      expect(number(same.lookup(u32(1)))).toBe(5);
    }
    map.close();
    map.close();
    expect(() => map.lookup(u32(1))).toThrow(/it is closed/);
  });

  it("names the map and its shape when the kernel refuses to create it", async () => {
    using kernel = await Kernel.open();
    expect(() =>
      createMap(kernel, { type: "array", keySize: 8, valueSize: 4, maxEntries: 1, name: "bad" }),
    ).toThrow(
      /^map 'bad': the kernel refuses to create it \(array, key 8, value 4, 1 entries, flags 0x0\): EINVAL/,
    );
  });
});
