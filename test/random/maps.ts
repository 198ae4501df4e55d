/** The maps of generated programs. */
import type { GeneratedMap } from "./model.ts";
import type { Random } from "./prng.ts";

const BPF_F_NO_PREALLOC = 1;
const BPF_F_RDONLY_PROG = 128;

/**
 * The map that each program has: 64 bytes of input that the verifier cannot foresee, then room for its results. As an
 * array of one element its bytes can be reached without a lookup.
 */
export const IO_MAP: GeneratedMap = {
  name: "io",
  type: "array",
  keySize: 4,
  valueSize: 256,
  maxEntries: 1,
  flags: 0,
  entries: [],
  frozen: false,
};

type Shape = Omit<GeneratedMap, "name" | "entries" | "frozen"> & {
  readonly frozen?: boolean;
  readonly fill: number;
};

const SHAPES: readonly Shape[] = [
  { type: "array", keySize: 4, valueSize: 16, maxEntries: 5, flags: 0, fill: 5 },
  {
    type: "array",
    keySize: 4,
    valueSize: 48,
    maxEntries: 1,
    flags: BPF_F_RDONLY_PROG,
    fill: 1,
    frozen: true,
  },
  { type: "percpu_array", keySize: 4, valueSize: 24, maxEntries: 3, flags: 0, fill: 3 },
  { type: "hash", keySize: 4, valueSize: 8, maxEntries: 16, flags: 0, fill: 4 },
  { type: "hash", keySize: 8, valueSize: 32, maxEntries: 4, flags: BPF_F_NO_PREALLOC, fill: 3 },
  { type: "hash", keySize: 12, valueSize: 20, maxEntries: 64, flags: 0, fill: 6 },
  { type: "percpu_hash", keySize: 4, valueSize: 16, maxEntries: 8, flags: 0, fill: 3 },
  { type: "lru_hash", keySize: 8, valueSize: 16, maxEntries: 1024, flags: 0, fill: 4 },
  { type: "lpm_trie", keySize: 8, valueSize: 8, maxEntries: 32, flags: BPF_F_NO_PREALLOC, fill: 5 },
];

/** The common map, and up to three others with a few elements each. */
export function randomMaps(random: Random): GeneratedMap[] {
  const key0 = new Uint8Array(4);
  const input = new Uint8Array(IO_MAP.valueSize);
  input.set(random.bytes(64));
  const maps: GeneratedMap[] = [{ ...IO_MAP, entries: [[key0, input]] }];
  for (let index = random.between(0, 3); index > 0; index--) {
    const { fill, frozen = false, ...shape } = random.pick(SHAPES);
    maps.push({
      ...shape,
      frozen,
      name: `m${maps.length}_${shape.type}`.slice(0, 15),
      entries: Array.from({ length: fill }, (_, at) => [
        randomKey(random, shape, at),
        random.bytes(shape.valueSize),
      ]),
    });
  }
  return maps;
}

function randomKey(random: Random, { type, keySize }: Omit<Shape, "fill">, at: number): Uint8Array {
  const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
  if (type === "array" || type === "percpu_array") return word(at);
  if (type === "lpm_trie") {
    const length = random.pick([0, 8, 15, 16, 24, 31, 32]);
    const address = Uint8Array.of(10, random.below(2), random.below(2), random.below(4));
    return Uint8Array.of(...word(length), ...address);
  }
  return Uint8Array.from({ length: keySize }, (_, byte) => (byte < 2 ? random.below(4) : 0));
}
