/** Maps against models in JavaScript, with random operations. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MAP_COUNT } from "../../src/core/layout.ts";
import { Bench } from "./harness.ts";

const HASH = 1;
const PERCPU_HASH = 5;
const LRU_HASH = 9;
const LRU_PERCPU_HASH = 10;
const LPM_TRIE = 11;
const NO_PREALLOC = 1;

/** A map with one place each for a key and a value. */
class Subject {
  readonly bench: Bench;
  readonly map: number;
  readonly key: number;
  readonly value: number;
  readonly keySize: number;
  readonly valueSize: number;

  constructor(type: number, keySize: number, valueSize: number, entries: number, flags = 0, cpus = 1) {
    this.bench = new Bench({ cpus });
    this.map = this.bench.core.map_create(type, keySize, valueSize, entries, flags);
    if (this.map < 0 && this.map > -4096) throw new Error(`map_create: ${this.map}`);
    this.key = this.bench.alloc(keySize);
    this.value = this.bench.alloc(Math.ceil(valueSize / 8) * 8 * cpus);
    this.keySize = keySize;
    this.valueSize = valueSize;
  }

  setKey(key: Uint8Array): number {
    this.bench.bytes(this.key, this.keySize).set(key);
    return this.key;
  }

  update(key: Uint8Array, value: Uint8Array, flags = 0): number {
    this.bench.bytes(this.value, this.valueSize).set(value);
    return this.bench.core.map_update_elem(this.map, this.setKey(key), this.value, BigInt(flags));
  }

  delete(key: Uint8Array): number {
    return this.bench.core.map_delete_elem(this.map, this.setKey(key));
  }

  lookup(key: Uint8Array): Uint8Array | undefined {
    const at = this.bench.core.map_lookup_elem(this.map, this.setKey(key)) >>> 0;
    return at === 0 ? undefined : this.bench.bytes(at, this.valueSize).slice();
  }

  keys(): string[] {
    const keys: string[] = [];
    let from = 0;
    while (this.bench.core.map_get_next_key(this.map, from, this.key) === 0) {
      keys.push(Buffer.from(this.bench.bytes(this.key, this.keySize)).toString("hex"));
      from = this.key;
    }
    return keys;
  }

  get count(): number {
    return this.bench.view.getUint32(this.map + MAP_COUNT, true);
  }
}

/** The n-th key of a size: neighbours differ in their first and last bytes. */
function keyOf(n: number, size: number): Uint8Array {
  const key = new Uint8Array(size).fill(0xa5);
  key[0] = n;
  key[size - 1] = (size === 1 ? n : n >> 3) ^ 0x5a;
  return key;
}

describe("hash", () => {
  const cases = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 100, 512].flatMap((keySize) =>
    [0, NO_PREALLOC].map((flags) => [keySize, flags] as const),
  );
  test.each(cases)("key size %d, flags %d", (keySize, flags) => {
    const operation = fc.record({
      kind: fc.constantFrom("update", "update", "update", "delete", "lookup", "walk"),
      n: fc.nat(24),
      value: fc.nat(0xffff),
      flags: fc.constantFrom(0, 0, 0, 1, 2),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
        const subject = new Subject(HASH, keySize, 6, 12, flags);
        const model = new Map<string, string>();
        for (const { kind, n, value, flags: update } of operations) {
          const key = keyOf(n, keySize);
          const name = Buffer.from(key).toString("hex");
          const bytes = Uint8Array.of(value, value >> 8, 1, 2, 3, 4);
          const known = model.has(name);
          if (kind === "update") {
            const wanted = known ? (update === 1 ? -17 : 0) : update === 2 ? -2 : model.size === 12 ? -7 : 0;
            expect(subject.update(key, bytes, update)).toBe(wanted);
            if (wanted === 0) model.set(name, bytes.join());
          } else if (kind === "delete") {
            expect(subject.delete(key)).toBe(model.delete(name) ? 0 : -2);
          } else if (kind === "lookup") {
            expect(subject.lookup(key)?.join()).toBe(model.get(name));
          } else {
            expect(subject.keys().toSorted()).toEqual([...model.keys()].toSorted());
          }
          expect(subject.count).toBe(model.size);
        }
      }),
      { numRuns: 15, seed: 1 },
    );
  });

  test("deleting every key while walking visits each once", () => {
    const subject = new Subject(HASH, 4, 4, 500);
    for (let n = 0; n < 500; n++) subject.update(Uint8Array.of(n, n >> 8, 0, 0), new Uint8Array(4));
    let deleted = 0;
    while (subject.bench.core.map_get_next_key(subject.map, 0, subject.key) === 0) {
      expect(subject.bench.core.map_delete(subject.map, subject.key)).toBe(0);
      deleted++;
    }
    expect(deleted).toBe(500);
  });

  test("grows far beyond its first piece without preallocation, and shrinks", () => {
    const subject = new Subject(HASH, 4, 8, 1_000_000, NO_PREALLOC);
    const key = (n: number): Uint8Array => Uint8Array.of(n, n >> 8, n >> 16, 7);
    for (let n = 0; n < 30_000; n++) expect(subject.update(key(n), new Uint8Array(8).fill(n))).toBe(0);
    for (let n = 0; n < 30_000; n += 7) expect(subject.lookup(key(n))?.[3]).toBe(n & 0xff);
    for (let n = 0; n < 30_000; n++) expect(subject.delete(key(n))).toBe(0);
    expect(subject.keys()).toEqual([]);
  });
});

describe("per-CPU", () => {
  test.each([PERCPU_HASH, LRU_PERCPU_HASH])("type %d: programs see their CPU, the host all", (type) => {
    const subject = new Subject(type, 4, 5, 4, 0, 3);
    const { bench, map } = subject;
    const { core } = bench;
    const onCpu = (cpu: number): void => core.begin(core.exec_of(cpu), bench.program([]), 0, 0);
    const key = Uint8Array.of(1, 2, 3, 4);
    const exec = core.exec as { value: number };
    exec.value = core.exec_of(1);
    onCpu(1);
    expect(subject.update(key, Uint8Array.of(1, 1, 1, 1, 1))).toBe(0);
    exec.value = core.exec_of(2);
    expect(subject.lookup(key)).toEqual(new Uint8Array(5));
    expect(subject.update(key, Uint8Array.of(2, 2, 2, 2, 2))).toBe(0);
    const out = bench.alloc(24);
    expect(core.map_lookup_copy(map, subject.key, out, 0n)).toBe(0);
    const all = bench.bytes(out, 24);
    expect([...all]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0]);
    expect(bench.bytes(core.map_lookup_percpu(map, subject.key, 1), 5)).toEqual(Uint8Array.of(1, 1, 1, 1, 1));
    expect(core.map_lookup_percpu(map, subject.key, 3)).toBe(0);
    // An element that is used again shows nothing of its former values.
    expect(core.map_delete(map, subject.key)).toBe(0);
    expect(subject.update(key, Uint8Array.of(9, 9, 9, 9, 9))).toBe(0);
    expect(core.map_lookup_copy(map, subject.key, out, 0n)).toBe(0);
    expect([...bench.bytes(out, 16)]).toEqual([...new Uint8Array(16)]);
  });
});

describe("LRU", () => {
  const key = (n: number): Uint8Array => Uint8Array.of(n, n >> 8, 0, 0);
  const value = (n: number): Uint8Array => Uint8Array.of(n, 0, 0, 0);

  test.each([LRU_HASH, LRU_PERCPU_HASH])("type %d: a full map takes every new key", (type) => {
    const subject = new Subject(type, 4, 4, 50, 0, 2);
    for (let n = 0; n < 2000; n++) {
      expect(subject.update(key(n), value(n))).toBe(0);
      expect(subject.lookup(key(n))?.[0]).toBe(n & 0xff);
      expect(subject.count).toBe(Math.min(n + 1, 50));
    }
    expect(subject.keys().length).toBe(50);
  });

  test("what programs look up stays, what nobody uses goes", () => {
    const subject = new Subject(LRU_HASH, 4, 4, 100);
    for (let n = 0; n < 100; n++) subject.update(key(n), value(n));
    for (let n = 100; n < 1000; n++) {
      for (let hot = 0; hot < 10; hot++) expect(subject.lookup(key(hot))).toBeDefined();
      subject.update(key(n), value(n));
    }
    for (let hot = 0; hot < 10; hot++) expect(subject.lookup(key(hot))?.[0]).toBe(hot);
  });

  test("a lookup by the host is no use", () => {
    const subject = new Subject(LRU_HASH, 4, 4, 10);
    const out = subject.bench.alloc(8);
    for (let n = 0; n < 10; n++) subject.update(key(n), value(n));
    for (let n = 10; n < 19; n++) {
      subject.bench.core.map_lookup_copy(subject.map, subject.setKey(key(0)), out, 0n);
      subject.update(key(n), value(n));
    }
    expect(subject.bench.core.map_lookup_copy(subject.map, subject.setKey(key(0)), out, 0n)).toBe(-2);
  });

  test("with every element referenced, one goes all the same", () => {
    const subject = new Subject(LRU_HASH, 4, 4, 300);
    for (let n = 0; n < 300; n++) subject.update(key(n), value(n));
    for (let round = 0; round < 50; round++) {
      for (let n = 0; n < 300; n++) subject.lookup(key(n));
      expect(subject.update(key(1000 + round), value(round))).toBe(0);
      expect(subject.count).toBe(300);
    }
  });

  test("updates and deletes keep the lists whole", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("update", "update", "delete", "lookup"), fc.nat(30)), {
          maxLength: 200,
        }),
        (operations) => {
          const subject = new Subject(LRU_HASH, 4, 4, 8);
          for (const [kind, n] of operations) {
            if (kind === "update") {
              expect(subject.update(key(n), value(n))).toBe(0);
              expect(subject.lookup(key(n))?.[0]).toBe(n);
            } else if (kind === "delete") {
              expect([0, -2]).toContain(subject.delete(key(n)));
              expect(subject.lookup(key(n))).toBeUndefined();
            } else {
              subject.lookup(key(n));
            }
            expect(subject.keys().length).toBe(subject.count);
            expect(subject.count).toBeLessThanOrEqual(8);
          }
        },
      ),
      { numRuns: 60, seed: 2 },
    );
  });
});

describe("LPM trie", () => {
  /** Bits of the data as text. */
  const bitsOf = (data: Uint8Array): string =>
    [...data].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const keyBytes = (length: number, data: Uint8Array): Uint8Array => {
    const key = new Uint8Array(4 + data.length);
    new DataView(key.buffer).setUint32(0, length, true);
    key.set(data, 4);
    return key;
  };

  // Enough entries for shortcuts (see shortcut.ts), and few different bytes, so that prefixes nest.
  test.each([1, 2, 4, 5, 8, 11, 16, 20, 256])("%d bytes of data", (size) => {
    const data = fc
      .array(fc.constantFrom(0, 0, 1, 0x80, 0xff), {
        minLength: Math.min(size, 4),
        maxLength: Math.min(size, 4),
      })
      .map((lead) => {
        const bytes = new Uint8Array(size);
        bytes.set(lead);
        bytes[size - 1] = lead[0] ?? 0;
        return bytes;
      });
    const length = fc.oneof(fc.nat(size * 8), fc.nat(Math.min(size * 8, 16)), fc.constant(size * 8));
    const operation = fc.record({
      kind: fc.constantFrom("update", "update", "update", "delete", "lookup", "lookup"),
      length,
      data,
      value: fc.nat(255),
      flags: fc.constantFrom(0, 0, 0, 1, 2),
    });
    fc.assert(
      fc.property(fc.array(operation, { minLength: 20, maxLength: 150 }), (operations) => {
        const subject = new Subject(LPM_TRIE, size + 4, 1, 60, NO_PREALLOC);
        const model = new Map<string, number>();
        for (const { kind, length: bits, data: bytes, value, flags } of operations) {
          const prefix = bitsOf(bytes).slice(0, bits);
          const known = model.has(prefix);
          if (kind === "update") {
            const wanted = known ? (flags === 1 ? -17 : 0) : flags === 2 ? -2 : model.size === 60 ? -28 : 0;
            expect(subject.update(keyBytes(bits, bytes), Uint8Array.of(value), flags)).toBe(wanted);
            if (wanted === 0) model.set(prefix, value);
          } else if (kind === "delete") {
            expect(subject.delete(keyBytes(bits, bytes))).toBe(model.delete(prefix) ? 0 : -2);
          } else {
            let wanted: number | undefined;
            for (let cut = bits; cut >= 0 && wanted === undefined; cut--)
              wanted = model.get(prefix.slice(0, cut));
            expect(subject.lookup(keyBytes(bits, bytes))?.[0]).toBe(wanted);
          }
          expect(subject.count).toBe(model.size);
        }
        expect(subject.keys().length).toBe(model.size);
      }),
      { numRuns: 25, seed: 3 },
    );
  });

  test("a prefix that is too long", () => {
    const subject = new Subject(LPM_TRIE, 8, 1, 4, NO_PREALLOC);
    const key = keyBytes(33, new Uint8Array(4));
    expect(subject.update(key, Uint8Array.of(1))).toBe(-22);
    expect(subject.delete(key)).toBe(-22);
    expect(subject.lookup(key)).toBeUndefined();
    expect(subject.lookup(keyBytes(0xffffffff, new Uint8Array(4)))).toBeUndefined();
  });

  test("nodes of a busy trie come back", () => {
    const subject = new Subject(LPM_TRIE, 8, 8, 100, NO_PREALLOC);
    const { bench } = subject;
    const value = new Uint8Array(8);
    const pages = bench.memory.buffer.byteLength;
    let failures = 0;
    for (let round = 0; round < 200_000; round++) {
      bench.view.setUint32(subject.key, 32, true);
      bench.view.setUint32(subject.key + 4, (round * 2_654_435_761) >>> 0, true);
      bench.bytes(subject.value, 8).set(value);
      if (bench.core.map_update_copy(subject.map, subject.key, subject.value, 0n) !== 0) failures++;
      if (bench.core.map_delete(subject.map, subject.key) !== 0) failures++;
    }
    expect(failures).toBe(0);
    expect(bench.memory.buffer.byteLength).toBe(pages);
  });
});
