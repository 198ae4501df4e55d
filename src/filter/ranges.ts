/** Sets of unsigned 32-bit numbers as sorted, disjoint, non-adjacent ranges: `[low, high, low, high, …]`. */

export type Ranges = readonly number[];

export const MAX_U32 = 0xffffffff;
export const EMPTY: Ranges = [];

/** The numbers from `low` to `high`, both included; empty if `low` is greater. */
export function rangeOf(low: number, high: number): Ranges {
  return low > high ? EMPTY : [low, high];
}

/** Joins ranges given in any order. */
export function unionAll(sets: readonly Ranges[]): Ranges {
  const pairs: [number, number][] = [];
  for (const set of sets) {
    for (let i = 0; i < set.length; i += 2) pairs.push([set[i] as number, set[i + 1] as number]);
  }
  pairs.sort((a, b) => a[0] - b[0]);
  const out: number[] = [];
  for (const [low, high] of pairs) {
    const last = out.length - 1;
    if (last > 0 && low <= (out[last] as number) + 1) out[last] = Math.max(out[last] as number, high);
    else out.push(low, high);
  }
  return out;
}

/** All numbers up to `max` that are not in the set. */
export function complement(set: Ranges, max: number): Ranges {
  const out: number[] = [];
  let from = 0;
  for (let i = 0; i < set.length && from <= max; i += 2) {
    const low = set[i] as number;
    if (low > from) out.push(from, Math.min(low - 1, max));
    from = (set[i + 1] as number) + 1;
  }
  if (from <= max) out.push(from, max);
  return out;
}

export function intersect(a: Ranges, b: Ranges): Ranges {
  const out: number[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const low = Math.max(a[i] as number, b[j] as number);
    const high = Math.min(a[i + 1] as number, b[j + 1] as number);
    if (low <= high) out.push(low, high);
    if ((a[i + 1] as number) < (b[j + 1] as number)) i += 2;
    else j += 2;
  }
  return out;
}

export function isSubset(a: Ranges, b: Ranges): boolean {
  let j = 0;
  for (let i = 0; i < a.length; i += 2) {
    while (j < b.length && (b[j + 1] as number) < (a[i] as number)) j += 2;
    if (j >= b.length || (b[j] as number) > (a[i] as number) || (b[j + 1] as number) < (a[i + 1] as number)) {
      return false;
    }
  }
  return true;
}
