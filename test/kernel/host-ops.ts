/** Random commands of bpf(2) on a map of any type: few keys, so that they meet, and now and then what the map does not take. */
import { MAP_FLAGS, type MapDefinition, isPerCpu, possibleCpus } from "../../src/kernel/index.ts";
import { perCpuStride } from "../../src/kernel/cpus.ts";
import { mapRules } from "../../src/uapi/index.ts";
import { Random } from "../random/prng.ts";
import { type HostOp, isUnordered } from "./host-sides.ts";

export interface OpsOptions {
  readonly seed: number;
  readonly count: number;
  /** How many objects the values choose from; 0: values are bytes. */
  readonly objects?: number;
  /** Keys are objects: local storage. */
  readonly keyed?: boolean;
  /** Values of its own kind, where any bytes would not do. */
  readonly value?: (random: Random) => Uint8Array;
  /** Commands that are left out. */
  readonly without?: readonly HostOp["op"][];
}

const ELEMENT_FLAGS = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 8];

export function randomHostOps(definition: MapDefinition, options: OpsOptions): HostOp[] {
  const { seed, count, objects = 0, keyed = false, without = [] } = options;
  const random = new Random(seed);
  const { type, keySize, valueSize, maxEntries } = definition;
  const lru = type.startsWith("lru");
  const valueBytes = isPerCpu(type) ? perCpuStride(valueSize) * possibleCpus() : valueSize;
  const makeKey = keyMaker(random, definition, keyed ? objects : 0);
  // LRU maps never fill up: which element goes is not the interface.
  const pool = Array.from({ length: lru ? 12 : Math.min(maxEntries + 3, 40) || 6 }, makeKey);
  const key = (): Uint8Array => (lru || random.chance(0.9) ? random.pick(pool) : makeKey());
  const bytes = (): Uint8Array => options.value?.(random) ?? padded(random.bytes(valueBytes));
  // What lies between the values of two CPUs the commands carry as well; the host's values end before.
  const padded = (value: Uint8Array): Uint8Array =>
    value.map((byte, at) => (isPerCpu(type) && at % perCpuStride(valueSize) >= valueSize ? 0 : byte));
  const flags = (): number => random.pick(ELEMENT_FLAGS);
  const rare = (): number => (random.chance(0.92) ? 0 : random.pick([1, 2, 4, 8]));
  const batches = mapRules(type).batch !== undefined;
  const some = (): Uint8Array[] => Array.from({ length: random.below(6) }, key);
  const weights: Record<HostOp["op"], number> = {
    lookup: 30,
    update: 40,
    delete: 12,
    lookupAndDelete: 5,
    nextKey: isUnordered(type) ? 0 : 8,
    size: keySize === 0 || (definition.flags ?? 0) & MAP_FLAGS.wronly ? 0 : 1,
    freeze: 1,
    renew: 1,
    lookupBatch: batches ? 6 : 1,
    lookupAndDeleteBatch: batches ? 2 : 1,
    drain: 2,
    updateBatch: objects > 0 ? 0 : batches ? 5 : 1,
    deleteBatch: batches ? 3 : 1,
  };
  for (const name of without) weights[name] = 0;
  return Array.from({ length: count }, (): HostOp => {
    const op = random.weighted(weights);
    switch (op) {
      case "freeze":
      case "size":
      case "renew":
        return { op };
      case "update":
        return {
          op,
          key: key(),
          value: objects > 0 && !keyed ? random.below(objects) : bytes(),
          flags: flags(),
        };
      case "nextKey":
        return random.chance(0.1) || keySize === 0 ? { op } : { op, key: key() };
      case "drain":
        return { op, count: random.pick([1, 2, 5, 64]), remove: random.chance(0.3) };
      case "lookupBatch":
      case "lookupAndDeleteBatch": {
        // How many buckets a hash has is its own affair: all of them, or none.
        const all = isUnordered(type);
        return {
          op,
          count: all ? random.pick([0, 100]) : random.pick([0, 1, 2, 3, 5, 100]),
          resume: !all && random.chance(0.5),
          flags: rare(),
        };
      }
      case "updateBatch": {
        const keys = some();
        return { op, keys, values: keys.map(bytes), flags: rare() };
      }
      case "deleteBatch":
        return { op, keys: some(), flags: rare() };
      default:
        return { op, key: key(), flags: op === "delete" ? 0 : rare() };
    }
  });
}

function keyMaker(
  random: Random,
  { type, keySize, maxEntries }: MapDefinition,
  owners: number,
): () => Uint8Array {
  const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
  if (owners > 0) return () => word(random.below(owners));
  if (type === "lpm_trie") {
    return () => {
      const bits = (keySize - 4) * 8;
      const length = random.chance(0.95) ? random.between(0, bits) : bits + random.between(1, 9);
      return Uint8Array.of(
        ...word(length),
        ...Array.from({ length: keySize - 4 }, () => random.pick([0, 0, 0x80, 0xff])),
      );
    };
  }
  const indexed = keySize === 4 && !isUnordered(type);
  if (!indexed) return () => random.bytes(keySize);
  return () =>
    word(
      random.chance(0.9) ? random.below(maxEntries) : random.pick([maxEntries, maxEntries + 1, 0xffffffff]),
    );
}
