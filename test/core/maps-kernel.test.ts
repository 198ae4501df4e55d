/** Maps against what the kernel was seen to answer. */
import { describe, expect, test } from "vitest";
import { MAP_TYPES } from "../../src/uapi/index.ts";
import { Bench } from "./harness.ts";
import { CREATIONS } from "./kernel-creations.ts";
import { HOST_RECORDINGS, PROGRAM_RECORDINGS, type Recording } from "./kernel-operations.ts";

const CPUS = 2;
const ENOENT = -2;
const typeId = (name: string): number => MAP_TYPES.find((row) => row.name === name)?.id ?? -1;
const isError = (result: number): boolean => result < 0 && result >= -4095;
const isHash = (type: number): boolean => [1, 5, 9, 10].includes(type);
const isPerCpu = (type: number): boolean => [5, 6, 10].includes(type);
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("creation", () => {
  const bench = new Bench({ cpus: CPUS });
  test.each(CREATIONS)(
    "%s key %d value %d entries %d flags %d",
    (type, key, value, entries, flags, result) => {
      const map = bench.core.map_create(typeId(type), key, value, entries, flags);
      expect(isError(map) ? map : 0).toBe(result);
      if (!isError(map)) bench.core.map_free(map);
    },
  );

  test.each([
    ["array", 4, 0x7fffffff, 0xffffffff, 0, -12],
    ["array", 4, 4096, 0xffffffff, 0, -12],
    ["array", 4, 8, 0x1fffffff, 0, -12],
    ["percpu_array", 4, 32768, 0xffffffff, 0, -12],
    ["hash", 4, 1 << 20, 1 << 27, 0, -12],
    ["lru_hash", 4, 1000, 1 << 27, 0, -12],
  ] as const)("no memory for %s key %d value %d entries %d", (type, key, value, entries, flags, result) => {
    expect(bench.core.map_create(typeId(type), key, value, entries, flags)).toBe(result);
    // What was taken before the failure has been given back.
    expect(isError(bench.core.map_create(typeId("array"), 4, 8, 1000, 0))).toBe(false);
  });

  test("33 million elements take no memory until they are used", () => {
    const before = process.memoryUsage().rss;
    const map = bench.core.map_create(typeId("array"), 4, 64, 33_000_000, 0);
    const key = bench.alloc(4);
    bench.view.setUint32(key, 32_999_999, true);
    const value = bench.core.map_lookup_elem(map, key) >>> 0;
    bench.view.setUint32(value, 42, true);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
    bench.core.map_free(map);
  });
});

/** A map made as a recording says, and places for its keys and values. */
class Replay {
  readonly bench: Bench = new Bench({ cpus: CPUS });
  readonly map: number;
  readonly key: number = this.bench.alloc(64);
  readonly other: number = this.bench.alloc(64);
  readonly next: number = this.bench.alloc(64);
  readonly value: number = this.bench.alloc(256);
  readonly valueBytes: number;
  readonly recording: Recording;

  constructor(recording: Recording) {
    const { type, keySize, valueSize, maxEntries, flags } = recording;
    this.recording = recording;
    this.map = this.bench.core.map_create(type, keySize, valueSize, maxEntries, flags);
    expect(isError(this.map)).toBe(false);
    this.valueBytes = isPerCpu(type) ? Math.ceil(valueSize / 8) * 8 * CPUS : valueSize;
  }

  put(address: number, hex: string): number {
    const bytes = Buffer.from(hex, "hex");
    this.bench.bytes(address, bytes.length).set(bytes);
    return address;
  }

  get(address: number, size: number): string {
    return toHex(this.bench.bytes(address, size));
  }

  walk(): string[] {
    const { bench, map, recording } = this;
    const keys: string[] = [];
    let from = 0;
    while (bench.core.map_get_next_key(map, from, this.next) === 0) {
      keys.push(this.get(this.next, recording.keySize));
      this.put(this.key, keys.at(-1) as string);
      from = this.key;
    }
    return keys;
  }

  host(line: string): string {
    const { bench, map, recording, value } = this;
    const [name = "", key = "", flags = "0", bytes = ""] = line.split(" ");
    const flagBits = BigInt(name === "lookup" || name === "update" ? flags : 0);
    switch (name) {
      case "lookup": {
        const result = bench.core.map_lookup_copy(map, this.put(this.key, key), value, flagBits);
        return `${result}${result === 0 ? ` ${this.get(value, this.valueBytes)}` : ""}`;
      }
      case "update": {
        const at = this.put(this.key, key);
        return `${bench.core.map_update_copy(map, at, this.put(value, bytes), flagBits)}`;
      }
      case "delete":
        return `${bench.core.map_delete(map, this.put(this.key, key))}`;
      case "next": {
        const from = key === "-" ? 0 : this.put(this.key, key);
        const result = bench.core.map_get_next_key(map, from, this.next);
        return `${result}${result === 0 ? ` ${this.get(this.next, recording.keySize)}` : ""}`;
      }
      default:
        return this.walk().join(" ");
    }
  }

  program(line: string): string {
    const { bench, map, value } = this;
    const [name, key = "", other = "", flags = "0", bytes = ""] = line.split(" ");
    // Each operation was a run of its own.
    bench.core.begin(bench.exec, bench.program([]), 0, 0);
    this.put(this.key, key);
    this.put(this.other, other);
    this.put(value, bytes);
    const update = (at: number, bits: bigint): number => bench.core.map_update_elem(map, at, value, bits);
    const remove = (): number => bench.core.map_delete_elem(map, this.key);
    if (name === "update") return `${update(this.key, BigInt(flags))} ${bytes}`;
    if (name === "delete") return `${remove()} ${bytes}`;
    const pointer = bench.core.map_lookup_elem(map, this.key) >>> 0;
    if (pointer === 0) return `0 ${bytes}`;
    let result = 1;
    if (name === "update-under") result = update(this.key, BigInt(flags));
    if (name === "delete-under") result = remove();
    if (name === "replace") result = remove() * 1000 + update(this.other, 0n);
    if (name === "crowd") result = update(this.key, 0n) * 1000 + update(this.other, 0n);
    return `${result} ${this.get(pointer, this.recording.valueSize)}`;
  }
}

const linesOf = ({ operations }: Recording): [string, string][] =>
  operations
    .trim()
    .split("\n")
    .map((line) => line.split(/ ?= ?/) as [string, string]);

describe("through bpf(2)", () => {
  test.each(HOST_RECORDINGS.map((row) => [row.name, row] as const))("%s", (_, recording) => {
    const replay = new Replay(recording);
    for (const [index, [line, expected]] of linesOf(recording).entries()) {
      let answer = replay.host(line);
      let wanted = expected;
      if (isHash(recording.type)) {
        if (line.startsWith("next")) continue;
        if (line === "walk") [answer, wanted] = [sortWords(answer), sortWords(wanted)];
      }
      expect(`${index} ${line} = ${answer}`).toBe(`${index} ${line} = ${wanted}`);
    }
  });
});

function sortWords(text: string): string {
  return text.split(" ").toSorted().join(" ");
}

describe("by programs", () => {
  test.each(PROGRAM_RECORDINGS.map((row) => [row.name, row] as const))("%s", (_, recording) => {
    const replay = new Replay(recording);
    for (const [index, [line, expected]] of linesOf(recording).entries()) {
      expect(`${index} ${line} = ${replay.program(line)}`).toBe(`${index} ${line} = ${expected}`);
    }
  });
});

test("a type that the core does not have", () => {
  const bench = new Bench();
  expect(bench.core.map_create(99, 4, 4, 1, 0)).toBe(-22);
  const array = bench.core.map_create(2, 4, 4, 1, 0);
  expect(bench.core.map_get_next_key(array, 0, bench.alloc(4))).toBe(0);
  const empty = bench.core.map_create(1, 4, 4, 1, 0);
  expect(bench.core.map_get_next_key(empty, 0, bench.alloc(4))).toBe(ENOENT);
});
