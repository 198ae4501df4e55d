/**
 * Sets of addresses that are longer than a machine word, as a search over their words.
 *
 * Each address is a run of words, each network a run whose last words are ranges. The first word is searched by halving;
 * what is left of the addresses that share it is searched by the next word. A word is read only where the words before
 * it are those of some address: just what comparing with one address after the other would read.
 */
import { ALWAYS, NEVER, type Predicate, and } from "./predicate.ts";
import { type Ranges, rangeOf } from "./ranges.ts";
import type { Value } from "./value.ts";

/** For each word the least and the greatest value. */
export type WordRanges = readonly (readonly [low: number, high: number])[];

/** So many different words are compared one after the other. */
const LINEAR_GROUPS = 4;

interface Group {
  readonly low: number;
  readonly high: number;
  readonly members: readonly WordRanges[];
}

const isFull = ([low, high]: readonly [number, number]): boolean => low === 0 && high === 0xffffffff;

/** `words` lie in one of the sets. Ranges may stand in the last word that matters only, as in networks. */
export function inWordSets(words: readonly Value[], sets: readonly WordRanges[]): Predicate {
  return level(words, withoutCovered(sets), 0);
}

/** Drops what lies inside of another set; the ranges of each word are then equal or apart. */
function withoutCovered(sets: readonly WordRanges[]): readonly WordRanges[] {
  const sorted = [...sets].sort((a, b) => {
    for (const [index, [low, high]] of a.entries()) {
      const [otherLow, otherHigh] = b[index] as readonly [number, number];
      if (low !== otherLow) return low - otherLow;
      if (high !== otherHigh) return otherHigh - high;
    }
    return 0;
  });
  const kept: WordRanges[] = [];
  for (const set of sorted) {
    const last = kept.at(-1);
    const covered = last?.every(([low, high], index) => {
      const [ownLow, ownHigh] = set[index] as readonly [number, number];
      return low <= ownLow && ownHigh <= high;
    });
    if (covered !== true) kept.push(set);
  }
  return kept;
}

function level(words: readonly Value[], sets: readonly WordRanges[], index: number): Predicate {
  const word = words[index];
  if (word === undefined) return sets.length === 0 ? NEVER : ALWAYS;
  const groups: { low: number; high: number; members: WordRanges[] }[] = [];
  for (const set of sets) {
    const [low, high] = set[index] as readonly [number, number];
    const last = groups.at(-1);
    if (last !== undefined && last.low === low && last.high === high) last.members.push(set);
    else groups.push({ low, high, members: [set] });
  }
  return search(words, groups, index);
}

function search(words: readonly Value[], groups: readonly Group[], index: number): Predicate {
  const word = words[index] as Value;
  const last = index === words.length - 1;
  if (last) {
    const ranges = joined(groups);
    return ranges.length === 2 && ranges[0] === 0 && ranges[1] === word.max
      ? { kind: "touch", value: word }
      : { kind: "in", value: word, ranges };
  }
  const isFree = ({ members }: Group): boolean =>
    members.some((set) => set.every((range, at) => at <= index || isFull(range)));
  if (groups.every(isFree)) {
    // Networks: the words behind must only be there.
    const rest: Predicate = { kind: "touch", value: words.at(-1) as Value };
    return and({ kind: "in", value: word, ranges: joined(groups) }, rest);
  }
  if (groups.length > LINEAR_GROUPS) {
    const middle = groups.length >> 1;
    const pivot = groups[middle] as Group;
    return {
      kind: "choice",
      test: { kind: "in", value: word, ranges: rangeOf(pivot.low, 0xffffffff) },
      yes: search(words, groups.slice(middle), index),
      no: search(words, groups.slice(0, middle), index),
    };
  }
  return groups.reduceRight<Predicate>((no, { low, high, members }) => {
    const rest = level(words, members, index + 1);
    return { kind: "choice", test: { kind: "in", value: word, ranges: rangeOf(low, high) }, yes: rest, no };
  }, NEVER);
}

/** Ranges of the last word; neighbours join. */
function joined(groups: readonly Group[]): Ranges {
  const out: number[] = [];
  for (const { low, high } of groups) {
    if (out.length > 0 && (out.at(-1) as number) + 1 === low) out[out.length - 1] = high;
    else out.push(low, high);
  }
  return out;
}
