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
  MAP_FLAGS,
  type MapDefinition,
  createMap,
  isPerCpu,
  possibleCpus,
} from "../../src/kernel/index.ts";
import { perCpuStride } from "../../src/kernel/cpus.ts";
import { Random } from "../random/prng.ts";

/** One command; `value` of per-CPU maps has the parts of all possible CPUs, each rounded up to 8 bytes. */
export type MapOp =
  | {
      readonly op: "lookup" | "delete" | "lookupAndDelete";
      readonly key: Uint8Array;
      /** Of bloom filters: the value that is looked for. */
      readonly value?: Uint8Array;
      readonly flags?: number;
    }
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

/** Arrays of objects whose values are plain numbers all the same. */
const SLOTS: ReadonlySet<string> = new Set(["devmap", "cpumap", "stack_trace"]);

const NOTHING: Uint8Array = new Uint8Array(0);

/** Runs the commands on a new map in the kernel. */
export function kernelMapRun(kernel: Kernel, definition: MapDefinition, ops: readonly MapOp[]): MapRun {
  using map = createMap(kernel, definition);
  const answers = ops.map((op) => answerOf(map, op));
  const readable = map.keySize > 0 && (map.flags & MAP_FLAGS.wronly) === 0;
  return { answers, entries: readable ? sortEntries([...map.entries()]) : [] };
}

function answerOf(map: KernelMap, op: MapOp): MapAnswer {
  const value = "value" in op ? op.value : undefined;
  const result = map.element(COMMANDS[op.op], op.key ?? NOTHING, value, "flags" in op ? (op.flags ?? 0) : 0);
  const silent = op.op === "update" || op.op === "delete" || map.type === "bloom_filter";
  if (result !== 0 || silent) return { result };
  const bytes = op.op === "nextKey" ? map.lastKey.slice() : map.lastValue.slice();
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
  if (keySize === 0) return randomKeylessOps(random, definition, count);
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
    return { op, key: pick(), flags: random.chance(0.95) ? 0 : random.pick([1, 4, 8]) };
  });
}

/** Queues, stacks and bloom filters: a value is pushed, looked at, taken; all from a small set, so that filters meet them. */
function randomKeylessOps(random: Random, { type, valueSize }: MapDefinition, count: number): MapOp[] {
  const key = new Uint8Array(0);
  const pool = Array.from({ length: 40 }, () => random.bytes(valueSize));
  const weights = { lookup: 30, update: 40, delete: 3, lookupAndDelete: 25, nextKey: 2 };
  return Array.from({ length: count }, (): MapOp => {
    const op = random.weighted(weights);
    if (op === "nextKey") return { op };
    const flags = random.chance(0.8) ? 0 : random.pick([1, 2, 3, 4, 8]);
    if (op === "update") return { op, key, value: random.pick(pool), flags };
    if (op === "delete") return { op, key };
    return type === "bloom_filter" ? { op, key, value: random.pick(pool), flags } : { op, key, flags };
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
  if (SLOTS.has(type)) {
    return () => {
      const index = random.chance(0.9) ? random.below(maxEntries) : random.pick([maxEntries, 0xffffffff]);
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
