/** What all maps hold at one time, and what has changed since. */
import { BpfError } from "../errors.ts";
import type { BpfMap } from "../machine/index.ts";
import { sameValue, showValue } from "./values.ts";

/** Elements by map; values as {@link BpfMap.entries} gives them. */
export type MapsSnapshot = Readonly<Record<string, readonly (readonly [key: unknown, value: unknown])[]>>;

/** One element that is not what it was. */
export interface MapChange {
  readonly map: string;
  readonly key: unknown;
  /** undefined: it was not there. */
  readonly before: unknown;
  /** undefined: it is gone. */
  readonly after: unknown;
}

/** Map types whose elements can be read without taking them out. */
function canList({ type }: BpfMap): boolean {
  return !["queue", "stack", "ringbuf", "user_ringbuf", "perf_event_array", "bloom_filter", "arena"].includes(
    type,
  );
}

/** Of struct_ops and local storage there is no list, as in the kernel: undefined. */
function elementsOf(map: BpfMap): [key: unknown, value: unknown][] | undefined {
  try {
    return [...map.entries()];
  } catch (error) {
    if (error instanceof BpfError && error.errno?.endsWith("NOTSUPP") === true) return undefined;
    throw error;
  }
}

/**
 * Copies the elements of all maps that have any to list.
 *
 * @example
 * const before = snapshotMaps(maps);
 * programs.count.run({ packet });
 * console.log(formatChanges(diffSnapshots(before, snapshotMaps(maps))));
 */
export function snapshotMaps(maps: Readonly<Record<string, BpfMap>>): MapsSnapshot {
  return Object.fromEntries(
    Object.values(maps)
      .filter(canList)
      .flatMap((map) => {
        const elements = elementsOf(map);
        return elements === undefined ? [] : [[map.name, elements]];
      }),
  );
}

/** What changed from one snapshot to a later one of the same maps. */
export function diffSnapshots(before: MapsSnapshot, after: MapsSnapshot): readonly MapChange[] {
  const changes: MapChange[] = [];
  for (const map of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const old = new Map((before[map] ?? []).map(([key, value]) => [showValue(key), [key, value] as const]));
    for (const [key, value] of after[map] ?? []) {
      const text = showValue(key);
      const was = old.get(text)?.[1];
      old.delete(text);
      if (!sameValue(was, value)) changes.push({ map, key, before: was, after: value });
    }
    for (const [key, value] of old.values()) changes.push({ map, key, before: value, after: undefined });
  }
  return changes;
}

/** Changes as text, one line each: `flows[{ port: 80 }]: 1 -> 2`. */
export function formatChanges(changes: readonly MapChange[]): string {
  const side = (value: unknown): string => (value === undefined ? "nothing" : showValue(value));
  return changes
    .map(({ map, key, before, after }) => `${map}[${showValue(key)}]: ${side(before)} -> ${side(after)}`)
    .join("\n");
}
