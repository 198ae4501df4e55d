/** Whatever the bytes: an object or a BpfError, soon, and without much memory. */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { typeName } from "../../src/btf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { linkProgram, parseObject } from "../../src/object/index.ts";
import { CORPUS, hasCorpus, ROOT } from "../helpers.ts";

/** Small objects of many kinds; each is mutated in turn. */
const seeds = [
  "calls",
  "callbacks",
  "globals",
  "globals.eb",
  "maps-legacy",
  "maps-legacy.nobtf",
  "cross-section",
  "tail-calls",
  "bad-symbols",
  "types",
  "btf/values",
].map((name) => join(ROOT, `test/fixtures/${name}.bpf.o`));
if (hasCorpus) {
  for (const name of readdirSync(join(CORPUS, "elf"))) seeds.push(join(CORPUS, "elf", name));
}

/** xorshift32: the same mutations everywhere. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

/** Where the structure is: headers, section table, symbols, relocations and BTF decide more than code and debug data. */
function interesting(bytes: Uint8Array): readonly (readonly [start: number, size: number])[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const littleEndian = bytes[5] === 1;
  const table = Number(view.getBigUint64(40, littleEndian));
  const count = view.getUint16(60, littleEndian);
  const ranges: [number, number][] = [
    [0, 64],
    [table, count * 64],
  ];
  for (let index = 1; index < count; index++) {
    const header = table + index * 64;
    const size = Number(view.getBigUint64(header + 32, littleEndian));
    if (size > 0 && view.getUint32(header + 4, littleEndian) !== 8)
      ranges.push([Number(view.getBigUint64(header + 24, littleEndian)), size]);
  }
  return ranges;
}

const EDGES = [0, 1, 0x7f, 0x80, 0xff];

describe("10,000 mutations of objects", () => {
  it("give a spec or a BpfError", () => {
    const files = seeds.map((path) => new Uint8Array(readFileSync(path)));
    const places = files.map(interesting);
    const random = generator(0x5eed);
    const codes = new Map<string, number>();
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 10_000; round++) {
      const index = round % files.length;
      const bytes = (files[index] as Uint8Array).slice();
      const ranges = places[index] as ReturnType<typeof interesting>;
      for (let change = 1 + random(6); change > 0; change--) {
        const [start, size] = ranges[random(ranges.length)] as readonly [number, number];
        const at = start + random(size);
        if (random(3) === 0)
          bytes.set([random(256), random(256), random(256), random(256)].slice(0, bytes.length - at), at);
        else
          bytes[at] =
            random(2) === 0
              ? (EDGES[random(EDGES.length)] as number)
              : (bytes[at] as number) ^ (1 << random(8));
      }
      const length = random(20) === 0 ? random(bytes.length) : bytes.length;
      const code = outcome(bytes.subarray(0, length));
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    expect([...codes.keys()].sort()).toEqual(
      expect.arrayContaining(["btf", "elf", "fine", "map", "object", "relocation"]),
    );
    expect(process.memoryUsage().rss - before).toBeLessThan(1 << 30);
  }, 300_000);
});

/** Does with an object what a user would; the code of the first error, or "fine". */
function outcome(bytes: Uint8Array): string {
  let first = "fine";
  const attempt = (run: () => unknown): void => {
    try {
      run();
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      if (error.message === "" || error.message.includes("undefined"))
        throw new Error(`poor message: ${error.message}`, { cause: error });
      if (first === "fine") first = error.code;
    }
  };
  attempt(() => {
    const spec = parseObject(bytes);
    for (const name of Object.keys(spec.programs)) attempt(() => linkProgram(spec, name));
    for (const variable of Object.values(spec.variables)) {
      // A mutated size may be anything up to 2 GiB, which is fine as long as nobody asks for it.
      if (variable.size > 1 << 20) continue;
      attempt(() => variable.set(variable.get()));
    }
    for (const map of Object.values(spec.maps)) {
      if (spec.btf !== undefined && map.value !== undefined)
        attempt(() => typeName(spec.btf as NonNullable<typeof spec.btf>, map.value as number));
    }
  });
  return first;
}
