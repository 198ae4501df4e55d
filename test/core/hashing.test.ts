/** Where keys of hashes fall: keys of programs are counters, addresses, ports, pointers, and none of these may crowd the chains. */
import { describe, expect, test } from "vitest";
import { Bench } from "./harness.ts";

const HASH = 1;
const KEYS = 2048;

type Family = readonly [name: string, word: (n: number, at: number) => number];

/** The words of the n-th key, of which there are `words`. */
function families(words: number): Family[] {
  const shifts = words === 1 ? [0, 8, 21] : [0, 5, 21];
  return [
    ...Array.from({ length: words }, (_, place) =>
      shifts.map(
        (shift): Family => [
          `a counter in word ${place}, shifted by ${shift}`,
          (n, at) => (at === place ? n << shift : 7),
        ],
      ),
    ).flat(),
    ["the same counter in all words", (n) => n],
    [
      "a square of two counters, one in each end",
      (n, at) => (at === 0 ? n & 31 : at === words - 1 ? n >> 5 : 0),
    ],
    ["random words", (n, at) => Math.imul(n * words + at + 1, 0x9e3779b1) ^ (n << 13)],
  ];
}

describe("keys of hashes", () => {
  test.each([4, 8, 16, 20, 40])("of %i bytes", (keySize) => {
    const words = keySize / 4;
    for (const seed of [1, 2, 77]) {
      for (const [name, word] of families(words)) {
        if (words === 1 && name.startsWith("a square")) continue;
        const bench = new Bench({ seed });
        const map = bench.core.map_create(HASH, keySize, 4, KEYS, 0);
        const keys = bench.alloc(keySize * KEYS);
        const values = bench.alloc(4 * KEYS);
        for (let n = 0; n < KEYS; n++) {
          for (let at = 0; at < words; at++) bench.view.setUint32(keys + 4 * at, word(n, at), true);
          bench.core.map_update_elem(map, keys, values, 0n);
        }
        const buckets = bench.core.hash_buckets(map);
        let elements = 0;
        let longest = 0;
        let meetings = 0;
        for (let index = 0; index < buckets; index++) {
          const found = bench.core.hash_batch(map, index, keys, values, KEYS, 0n, 0);
          elements += found;
          longest = Math.max(longest, found);
          meetings += (found * (found - 1)) / 2;
        }
        expect(elements, name).toBe(KEYS);
        // Of keys that fall at random so many share a bucket by twos; a universal family has at most twice as many on average.
        const expected = KEYS ** 2 / (2 * buckets);
        expect(meetings, `${name}, seed ${seed}`).toBeLessThan(3 * expected);
        expect(longest, `${name}, seed ${seed}`).toBeLessThan(16);
      }
    }
  });
});
