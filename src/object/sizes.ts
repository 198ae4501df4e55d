/** The sizes that a map is created with: those of its definition, and what loaders fill in where it leaves them open. */
import { BpfError } from "../errors.ts";
import { makeMap } from "./maps.ts";
import type { MapSpec, ObjectSpec } from "./spec.ts";

const PAGE = 4096;
/** More is refused by the kernel as it is. */
const MAX_RING = 0x80000000;
/** Key and value of a perf event array, the only ones that the kernel takes. */
const PERF_SIZE = 4;

/** A ring buffer's size is a power of two of pages: libbpf rounds up (tools/lib/bpf/libbpf.c, adjust_ringbuf_sz). */
function ringSize(size: number): number {
  if (size === 0 || size > MAX_RING) return size;
  return Math.max(PAGE, 2 ** Math.ceil(Math.log2(size)));
}

/**
 * libbpf gives a perf event array an entry for each CPU if the object does not say how many. Its value is 4 bytes, also where the
 * definition names the type of the events in its place, or nothing, as cilium/ebpf has it.
 */
export function createdSizes(
  spec: MapSpec,
  cpus: number,
): Pick<MapSpec, "keySize" | "valueSize" | "maxEntries"> {
  const { type, keySize, valueSize, maxEntries } = spec;
  switch (type) {
    case "ringbuf":
    case "user_ringbuf":
      return { keySize, valueSize, maxEntries: ringSize(maxEntries) };
    case "perf_event_array":
      return {
        keySize: keySize || PERF_SIZE,
        valueSize: valueSize || PERF_SIZE,
        maxEntries: maxEntries || cpus,
      };
    default:
      return { keySize, valueSize, maxEntries };
  }
}

/** What a loader changes of a map's sizes: its number of entries, or any of them. */
export type MapSizes = number | Partial<Pick<MapSpec, "keySize" | "valueSize" | "maxEntries">>;

const SIZES = ["keySize", "valueSize", "maxEntries"] as const;

/**
 * The object with other sizes of maps, as loaders set them for what they know at run time only (bpf_map__set_max_entries,
 * bpf_map__set_value_size).
 *
 * @throws BpfError code "usage" if it has no such map, or for what is no size.
 */
export function withMapSizes(spec: ObjectSpec, sizes: Readonly<Record<string, MapSizes>>): ObjectSpec {
  if (Object.keys(sizes).length === 0) return spec;
  const maps: Record<string, MapSpec> = { ...spec.maps };
  for (const [name, given] of Object.entries(sizes)) {
    const map = Object.hasOwn(maps, name) ? maps[name] : undefined;
    if (map === undefined) {
      const known = Object.keys(maps).join(", ") || "none";
      throw new BpfError("usage", `${spec.name}: mapSizes: no map '${name}'; it has ${known}`);
    }
    const change = typeof given === "number" ? { maxEntries: given } : given;
    for (const [key, size] of Object.entries(change)) {
      if (!(SIZES as readonly string[]).includes(key)) {
        throw new BpfError("usage", `map '${name}': mapSizes: no '${key}'; there are ${SIZES.join(", ")}`);
      }
      if (Number.isInteger(size) && size >= 0 && size <= 0xffffffff) continue;
      throw new BpfError("usage", `map '${name}': mapSizes: ${key} must be a whole number, not ${size}`);
    }
    // Initial contents are a getter, which must stay one.
    const fields: PropertyDescriptorMap = Object.getOwnPropertyDescriptors(map);
    for (const [key, value] of Object.entries(change)) fields[key] = { value, enumerable: true };
    maps[name] = makeMap(Object.defineProperties({} as MapSpec, fields));
  }
  return Object.freeze({ ...spec, maps: Object.freeze(maps) });
}
