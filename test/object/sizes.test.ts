/** Sizes that loaders fill in: tools/lib/bpf/libbpf.c (map_set_def_max_entries, adjust_ringbuf_sz), cilium/ebpf's map.go. */
import { describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { Machine } from "../../src/machine/index.ts";
import { type MapSizes, createdSizes, withMapSizes } from "../../src/object/index.ts";
import { makeMap, mapTypeId } from "../../src/object/maps.ts";
import type { MapSpec } from "../../src/object/spec.ts";
import type { MapType } from "../../src/uapi/index.ts";
import { fixture } from "./fixtures.ts";

const map = (type: MapType, sizes: Partial<MapSpec>): MapSpec =>
  makeMap({ name: "map", section: ".maps", typeId: mapTypeId(type), ...sizes });

test.each<[MapType, Partial<MapSpec>, [key: number, value: number, entries: number]]>([
  ["perf_event_array", {}, [4, 4, 3]],
  ["perf_event_array", { keySize: 4, valueSize: 4, maxEntries: 7 }, [4, 4, 7]],
  ["perf_event_array", { keySize: 4, valueSize: 8 }, [4, 8, 3]],
  ["ringbuf", { maxEntries: 1 }, [0, 0, 4096]],
  ["ringbuf", { maxEntries: 4097 }, [0, 0, 8192]],
  ["user_ringbuf", { maxEntries: 8192 }, [0, 0, 8192]],
  ["ringbuf", { maxEntries: 0 }, [0, 0, 0]],
  ["hash", { keySize: 4, valueSize: 8 }, [4, 8, 0]],
])("%s of %j", (type, sizes, expected) => {
  const { keySize, valueSize, maxEntries } = createdSizes(map(type, sizes), 3);
  expect([keySize, valueSize, maxEntries]).toEqual(expected);
});

describe("sizes that a loader sets", () => {
  const spec = fixture("maps");
  const [name = ""] = Object.values(spec.maps)
    .filter(({ type }) => type === "hash")
    .map((row) => row.name);

  test("count for the load, the object stays as it is", async () => {
    const before = spec.maps[name]?.maxEntries;
    const machine = await Machine.create();
    const { maps } = await machine.load(spec, { mapSizes: { [name]: 77 } });
    expect(maps[name]?.maxEntries).toBe(77);
    expect(spec.maps[name]?.maxEntries).toBe(before);
    expect(withMapSizes(spec, { [name]: { valueSize: 99 } }).maps[name]).toMatchObject({
      valueSize: 99,
      maxEntries: before,
    });
  });

  test("variables can still be set", () => {
    const resized = withMapSizes(spec, { [name]: 5 });
    for (const own of Object.values(resized.maps))
      expect(own.contents).toEqual(spec.maps[own.name]?.contents);
  });

  test.each<[Record<string, MapSizes>, RegExp]>([
    [{ absent: 1 }, /no map 'absent'; it has /],
    [{ [name]: -1 }, /maxEntries must be a whole number, not -1/],
    [{ [name]: { entries: 1 } as MapSizes }, /no 'entries'; there are keySize, valueSize, maxEntries/],
  ])("%j", (sizes, message) => {
    expect(() => withMapSizes(spec, sizes)).toThrow(message);
    expect(() => withMapSizes(spec, sizes)).toThrow(BpfError);
  });
});
