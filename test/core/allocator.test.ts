import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createMemory, instantiateCore } from "../../src/core/index.ts";
import { FIRST_ADDRESS } from "../../src/core/layout.ts";
import { BpfError } from "../../src/errors.ts";
import { Bench } from "./harness.ts";

interface Block {
  readonly address: number;
  readonly size: number;
  readonly mark: number;
}

describe("alloc and free", () => {
  const size = fc.oneof(
    fc.nat(300),
    fc.nat(5000),
    fc.integer({ min: 60_000, max: 70_000 }),
    fc.integer({ min: 65_000, max: 3_000_000 }),
  );
  const operation = fc.oneof(
    fc.record({
      kind: fc.constant("alloc" as const),
      size,
      align: fc.constantFrom(1, 8, 8, 8, 16, 64, 4096),
    }),
    fc.record({ kind: fc.constant("free" as const), index: fc.nat(1000) }),
  );

  test("blocks are aligned, zero, disjoint and keep their contents", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
        const bench = new Bench();
        const blocks: Block[] = [];
        let mark = 1;
        for (const step of operations) {
          if (step.kind === "alloc") {
            const address = bench.core.alloc(step.size, step.align) >>> 0;
            expect(address).toBeGreaterThan(FIRST_ADDRESS);
            expect(address % Math.max(step.align, 8)).toBe(0);
            expect(bench.bytes(address, step.size).every((byte) => byte === 0)).toBe(true);
            for (const other of blocks) {
              const apart = address + step.size <= other.address || other.address + other.size <= address;
              expect(apart).toBe(true);
            }
            mark = (mark % 255) + 1;
            bench.bytes(address, step.size).fill(mark);
            blocks.push({ address, size: step.size, mark });
          } else if (blocks.length > 0) {
            const [block] = blocks.splice(step.index % blocks.length, 1);
            if (block === undefined) continue;
            expect(bench.bytes(block.address, block.size).every((byte) => byte === block.mark)).toBe(true);
            bench.core.free(block.address);
          }
        }
        for (const block of blocks) {
          expect(bench.bytes(block.address, block.size).every((byte) => byte === block.mark)).toBe(true);
        }
      }),
      { numRuns: 40, seed: 4 },
    );
  });

  test.each([16, 100, 4000, 65_536, 65_537, 1 << 20])(
    "%d bytes again and again take no more memory",
    (bytes) => {
      const bench = new Bench();
      for (let warm = 0; warm < 4; warm++) bench.core.free(bench.alloc(bytes));
      const before = bench.memory.buffer.byteLength;
      for (let round = 0; round < 3000; round++) {
        const pair = [bench.alloc(bytes), bench.alloc(bytes / 2)];
        for (const address of pair) bench.core.free(address);
      }
      expect(bench.memory.buffer.byteLength - before).toBeLessThanOrEqual(3 * bytes + (1 << 18));
    },
  );

  test("large blocks of growing size use the room of the smaller ones", () => {
    const bench = new Bench();
    let last = bench.alloc(1 << 20);
    for (let bytes = 1 << 20; bytes < 1 << 26; bytes += 1 << 20) {
      bench.core.free(last);
      last = bench.alloc(bytes);
    }
    expect(bench.memory.buffer.byteLength).toBeLessThan(100 << 20);
  });

  test("sizes that no memory has", () => {
    const bench = new Bench();
    for (const bytes of [0xffffffff, 0xfffffff8, 0xfffffff7, 0xffff0001, 0xffff0000, 0xfffe0000]) {
      expect(bench.core.alloc(bytes, 8)).toBe(0);
    }
    expect(bench.core.alloc(8, 1 << 31)).not.toBe(bench.core.alloc(8, 8));
    expect(bench.core.alloc(100, 8)).not.toBe(0);
  });

  test("almost all of it can be had, untouched", () => {
    const bench = new Bench();
    const before = process.memoryUsage().rss;
    const block = bench.core.alloc(0xf0000000, 8) >>> 0;
    expect(block).not.toBe(0);
    bench.view.setUint8(block + 0xefffffff, 1);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
    expect(bench.core.alloc(0x10000000, 8)).toBe(0);
  });

  test("freeing nothing, twice, or what is no block", () => {
    const bench = new Bench();
    const block = bench.alloc(100);
    for (const address of [0, 5, 0x10000, block + 8, block, block]) bench.core.free(address);
    const first = bench.alloc(100);
    const second = bench.alloc(100);
    expect(first).toBe(block);
    expect(second).not.toBe(first);
  });
});

describe("the memory", () => {
  test("stops at the size that it was given", () => {
    const memory = createMemory({ maxBytes: 4 << 20 });
    const table = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
    const core = instantiateCore({
      memory,
      table,
      host: { call_helper() {}, call_kfunc() {}, compile_program() {} },
    });
    core.init(1, 1);
    expect(core.alloc(2 << 20, 8)).not.toBe(0);
    expect(core.alloc(3 << 20, 8)).toBe(0);
    expect(core.alloc(1 << 20, 8)).not.toBe(0);
    expect(memory.buffer.byteLength).toBeLessThanOrEqual(4 << 20);
  });

  test.each([0, -1, 1000, Number.NaN])("of %d bytes is too small", (maxBytes) => {
    expect(() => createMemory({ maxBytes })).toThrow(BpfError);
  });
});
