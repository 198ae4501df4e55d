/**
 * The kernel as judge of map operations: random sequences of commands, and what the kernel answers to each.
 *
 * An implementation is right if it gives the same answers to the same commands. Two things are no part of that: the
 * order in which a hash hands out its keys (compare the entries as a set, or ask `nextKey` of tries and arrays only),
 * and which element an LRU hash evicts (the sequences below keep such maps from filling up).
 */
import {
  type Kernel,
  type KernelMap,
  type MapDefinition,
  createMap,
  isPerCpu,
  possibleCpus,
} from "../../src/kernel/index.ts";
import { perCpuStride } from "../../src/kernel/cpus.ts";
import { Random } from "../random/prng.ts";

/** One command; `value` of per-CPU maps has the parts of all possible CPUs, each rounded up to 8 bytes. */
export type MapOp =
  | { readonly op: "lookup" | "delete" | "lookupAndDelete"; readonly key: Uint8Array }
  | { readonly op: "update"; readonly key: Uint8Array; readonly value: Uint8Array; readonly flags: number }
  /** Without a key: the first. */
  | { readonly op: "nextKey"; readonly key?: Uint8Array };

export interface MapAnswer {
  /** 0 or the negated errno. */
  readonly result: number;
  /** The value or the next key, when there is one. */
  readonly bytes?: Uint8Array;
}

export interface MapRun {
  readonly answers: readonly MapAnswer[];
  /** What the map holds in the end, sorted by key. */
  readonly entries: readonly (readonly [key: Uint8Array, value: Uint8Array])[];
}

const COMMANDS = {
  lookup: "map_lookup_elem",
  update: "map_update_elem",
  delete: "map_delete_elem",
  lookupAndDelete: "map_lookup_and_delete_elem",
  nextKey: "map_get_next_key",
} as const;

const NOTHING: Uint8Array = new Uint8Array(0);

/** Runs the commands on a new map in the kernel. */
export function kernelMapRun(kernel: Kernel, definition: MapDefinition, ops: readonly MapOp[]): MapRun {
  using map = createMap(kernel, definition);
  const answers = ops.map((op) => answerOf(map, op));
  return { answers, entries: map.keySize === 0 ? [] : sortEntries([...map.entries()]) };
}

function answerOf(map: KernelMap, op: MapOp): MapAnswer {
  const value = op.op === "update" ? op.value : undefined;
  const result = map.element(COMMANDS[op.op], op.key ?? NOTHING, value, op.op === "update" ? op.flags : 0);
  if (result !== 0 || op.op === "update" || op.op === "delete") return { result };
  const bytes = op.op === "nextKey" ? map.lastValue.slice(0, map.keySize) : map.lastValue.slice();
  return { result, bytes };
}

/** Sorted by key, bytewise. */
export function sortEntries<T>(entries: readonly (readonly [Uint8Array, T])[]): (readonly [Uint8Array, T])[] {
  return entries.toSorted(([a], [b]) => Buffer.compare(a, b));
}

/** An answer or an operation as text, for messages and comparison. */
export function showOp(op: MapOp): string {
  const hex = (bytes: Uint8Array | undefined): string => (bytes ? Buffer.from(bytes).toString("hex") : "-");
  return op.op === "update"
    ? `update ${hex(op.key)} = ${hex(op.value)}, flags ${op.flags}`
    : `${op.op} ${hex(op.key)}`;
}

/**
 * A random sequence for a map. Keys come from a small set, so that operations meet; some are just outside of what the
 * map takes. Next keys are asked for only where their order is defined.
 */
export function randomMapOps(seed: number, definition: MapDefinition, count: number): MapOp[] {
  const random = new Random(seed);
  const { type, keySize, maxEntries } = definition;
  const valueBytes = isPerCpu(type)
    ? perCpuStride(definition.valueSize) * possibleCpus()
    : definition.valueSize;
  const ordered = type === "array" || type === "percpu_array" || type === "lpm_trie";
  const key = keyMaker(random, definition);
  const pool = Array.from({ length: poolSize(type, maxEntries) }, key);
  const pick = (): Uint8Array => (random.chance(0.95) || type.startsWith("lru") ? random.pick(pool) : key());
  const weights = {
    lookup: 30,
    update: 40,
    delete: 15,
    lookupAndDelete: type === "lpm_trie" || keySize === 0 ? 0 : 8,
    nextKey: ordered ? 8 : 0,
  };
  return Array.from({ length: count }, (): MapOp => {
    const op = random.weighted(weights);
    if (op === "update") {
      return {
        op,
        key: pick(),
        value: random.bytes(valueBytes),
        flags: random.pick([0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 8]),
      };
    }
    if (op === "nextKey") return random.chance(0.1) ? { op } : { op, key: pick() };
    return { op, key: pick() };
  });
}

/** Hashes get more keys than fit, so that E2BIG happens; LRU maps never fill up. */
function poolSize(type: string, maxEntries: number): number {
  return type.startsWith("lru") ? Math.max(1, Math.floor(maxEntries / (4 * possibleCpus()))) : maxEntries + 3;
}

function keyMaker(random: Random, { type, keySize, maxEntries }: MapDefinition): () => Uint8Array {
  if (type === "array" || type === "percpu_array") {
    return () => {
      const index = random.chance(0.9)
        ? random.below(maxEntries)
        : random.pick([maxEntries, maxEntries + 1, 0xffffffff]);
      return new Uint8Array(Uint32Array.of(index).buffer);
    };
  }
  if (type === "lpm_trie") {
    // Few distinct bits, so that prefixes nest; now and then a prefix that is longer than the data.
    return () => {
      const bits = (keySize - 4) * 8;
      const length = random.chance(0.97) ? random.between(0, bits) : bits + random.between(1, 9);
      const data = Uint8Array.from({ length: keySize - 4 }, () =>
        random.pick([0, 0, 0x80, 0xff, random.u32() & 255]),
      );
      return Uint8Array.of(...new Uint8Array(Uint32Array.of(length).buffer), ...data);
    };
  }
  return () => random.bytes(keySize);
}
