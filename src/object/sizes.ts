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

/**
 * The object with other numbers of entries, as loaders set them for what they know at run time only (bpf_map__set_max_entries).
 *
 * @throws BpfError code "usage" if it has no such map, or for what is no number of entries.
 */
export function withMaxEntries(spec: ObjectSpec, entries: Readonly<Record<string, number>>): ObjectSpec {
  const names = Object.keys(entries);
  if (names.length === 0) return spec;
  const maps: Record<string, MapSpec> = { ...spec.maps };
  for (const name of names) {
    const map = Object.hasOwn(maps, name) ? maps[name] : undefined;
    const maxEntries = entries[name] as number;
    if (map === undefined) {
      const known = Object.keys(maps).join(", ") || "none";
      throw new BpfError("usage", `${spec.name}: maxEntries: no map '${name}'; it has ${known}`);
    }
    if (!Number.isInteger(maxEntries) || maxEntries < 0 || maxEntries > 0xffffffff) {
      throw new BpfError("usage", `map '${name}': maxEntries must be a whole number, not ${maxEntries}`);
    }
    // Initial contents are a getter, which spreading would freeze.
    maps[name] = makeMap(
      Object.defineProperties({} as MapSpec, {
        ...Object.getOwnPropertyDescriptors(map),
        maxEntries: { value: maxEntries, enumerable: true },
      }),
    );
  }
  return Object.freeze({ ...spec, maps: Object.freeze(maps) });
}
