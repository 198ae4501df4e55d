/**
 * Loops that copy and fill: with `memory.copy` and `memory.fill` they leave the same registers, memory and fuel as
 * without, for every number of rounds, overlap and place in the memory.
 */
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { DATA, type Harness, MEMORY_BYTES, load } from "./harness.ts";

/** r1: to, r2: from, r3: bytes; all end with a mix of the registers that the loop leaves. */
const MIX = `
  r0 = r1
  r0 *= 31
  r0 += r2
  r0 *= 31
  r0 += r3
  r0 *= 31
  r0 += r4
  r0 *= 31
  r0 += r5
  exit`;

interface Loop {
  readonly name: string;
  readonly text: string;
  /** Whether the compiler should see what it is. */
  readonly bulk: "copy" | "fill" | false;
  /** Lengths are multiples of it. */
  readonly unit?: number;
}

const LOOPS: readonly Loop[] = [
  {
    name: "copy by index, as clang writes it",
    bulk: "copy",
    text: `
      r4 = 0
    next:
      r5 = r1
      r5 += r4
      r0 = r2
      r0 += r4
      r0 = *(u8 *)(r0 + 0)
      *(u8 *)(r5 + 0) = r0
      r4 += 1
      if r4 < r3 goto next
      r5 = r0`,
  },
  {
    name: "copy by a 32-bit index",
    bulk: "copy",
    text: `
      w4 = 0
      w3 = w3
    next:
      r5 = r1
      r5 += r4
      r0 = r2
      r0 += r4
      r0 = *(u8 *)(r0 + 0)
      *(u8 *)(r5 + 0) = r0
      w4 += 1
      if w4 < w3 goto next
      r5 = r0`,
  },
  {
    name: "copy by two pointers, counting down",
    bulk: "copy",
    text: `
    next:
      r4 = *(u8 *)(r2 + 0)
      *(u8 *)(r1 + 0) = r4
      r1 += 1
      r2 += 1
      r3 += -1
      if r3 != 0 goto next
      r5 = 0`,
  },
  {
    name: "copy up to a pointer, the other way round",
    bulk: "copy",
    text: `
      r3 += r2
    next:
      r4 = *(u8 *)(r2 + 0)
      r2 += 1
      *(u8 *)(r1 + 0) = r4
      r1 += 1
      if r3 > r2 goto next
      r5 = 0`,
  },
  {
    name: "copy of words, to the end",
    bulk: "copy",
    unit: 4,
    text: `
      r3 += r1
    next:
      r4 = *(u32 *)(r2 + 0)
      *(u32 *)(r1 + 0) = r4
      r2 += 4
      r1 += 4
      if r1 != r3 goto next
      r5 = 0`,
  },
  {
    name: "copy of double words",
    bulk: "copy",
    unit: 8,
    text: `
      r5 = r3
      r5 >>= 3
    next:
      r4 = *(u64 *)(r2 + 0)
      r2 += 8
      *(u64 *)(r1 + 0) = r4
      r1 += 8
      r5 -= 1
      if r5 != 0 goto next`,
  },
  {
    name: "fill with a byte",
    bulk: "fill",
    text: `
      r4 = 0
    next:
      r5 = r1
      r5 += r4
      *(u8 *)(r5 + 0) = r2
      r4 += 1
      if r4 < r3 goto next`,
  },
  {
    name: "fill with zero words",
    bulk: "fill",
    unit: 8,
    text: `
      r4 = r1
      r4 += r3
      r5 = 0
    next:
      *(u64 *)(r1 + 0) = 0
      r1 += 8
      if r1 != r4 goto next`,
  },
  {
    name: "fill with words of different bytes",
    bulk: false,
    unit: 4,
    text: `
      r4 = r1
      r4 += r3
      r5 = 0
    next:
      *(u32 *)(r1 + 0) = 0x11223344
      r1 += 4
      if r1 != r4 goto next`,
  },
  {
    name: "copy that leaves gaps",
    bulk: false,
    unit: 2,
    text: `
      r5 = 0
    next:
      r4 = *(u8 *)(r2 + 0)
      *(u8 *)(r1 + 0) = r4
      r1 += 2
      r2 += 2
      r3 += -2
      if r3 != 0 goto next`,
  },
  {
    name: "copy that counts the zeros",
    bulk: false,
    text: `
      r5 = 0
    next:
      r4 = *(u8 *)(r2 + 0)
      r5 += r4
      *(u8 *)(r1 + 0) = r4
      r1 += 1
      r2 += 1
      r3 += -1
      if r3 != 0 goto next`,
  },
  {
    name: "a value that is carried from round to round",
    bulk: false,
    text: `
      r4 = 7
      r5 = 0
    next:
      *(u8 *)(r1 + 0) = r4
      r4 = *(u8 *)(r2 + 0)
      r1 += 1
      r2 += 1
      r3 += -1
      if r3 != 0 goto next`,
  },
];

const programOf = ({ text }: Loop): readonly Instruction[] => assemble(text + MIX).instructions;

function fillMemory({ memory }: Harness): void {
  for (let at = DATA; at < MEMORY_BYTES; at++) memory[at] = (at * 167 + (at >> 8)) & 255;
}

describe("loops that copy and fill", () => {
  const FUEL = 100_000n;
  for (const loop of LOOPS) {
    it(loop.name, () => {
      const instructions = programOf(loop);
      const unit = loop.unit ?? 1;
      for (const fuel of [undefined, FUEL]) {
        const options = { instructions, ...(fuel === undefined ? {} : { fuel }) };
        const [fast, plain] = [load(options), load({ ...options, optimize: false })] as const;
        const text = Buffer.from(fast.compiled.bytes).toString("latin1");
        expect(text.includes("\xfc\x0a\0\0")).toBe(loop.bulk === "copy");
        expect(text.includes("\xfc\x0b\0")).toBe(loop.bulk === "fill");
        const end = MEMORY_BYTES - DATA;
        for (const length of [1, 2, 47, 48, 49, 50, 100, 1000, 5000].map((count) => count * unit)) {
          for (const [to, from] of [
            [0, 20_000],
            [20_000, 0],
            [100, 100],
            [100, 101],
            [101, 100],
            [100, 108],
            [108, 100],
            [1000, 1096],
            [1096, 1000],
            [end - length, 0],
            [0, end - length],
          ] as const) {
            // What lies outside the memory traps in another test.
            if (to < 0 || from < 0 || to + length > end || from + length > end) continue;
            const args = [BigInt(DATA + to), BigInt(DATA + from), BigInt(length)];
            const seen = [fast, plain].map((harness) => {
              fillMemory(harness);
              if (fuel !== undefined) harness.fuel.value = fuel;
              const r0 = harness.run(...args);
              return { r0, fuel: harness.fuel.value };
            });
            expect(seen[0], `${length} bytes from ${from} to ${to}`).toEqual(seen[1]);
            const same = Buffer.compare(fast.memory.subarray(DATA), plain.memory.subarray(DATA));
            expect(same, `${length} bytes from ${from} to ${to}`).toBe(0);
          }
        }
      }
    });
  }

  it("stops at the same round when the fuel is used up, with the same bytes written", () => {
    const instructions = programOf(LOOPS[0] as Loop);
    for (const fuel of [1n, 100n, 299n, 300n, 301n]) {
      const written = [true, false].map((optimize) => {
        const harness = load({ instructions, fuel, optimize });
        fillMemory(harness);
        let outcome = "done";
        try {
          harness.run(DATA, DATA + 20_000, 300);
        } catch {
          outcome = "stopped";
        }
        return { outcome, memory: Buffer.from(harness.memory).toString("hex"), fuel: harness.fuel.value };
      });
      expect(written[0]).toEqual(written[1]);
    }
  });

  it("traps at the same byte when the memory ends", () => {
    const instructions = programOf(LOOPS[0] as Loop);
    for (const args of [
      [MEMORY_BYTES - 100, DATA, 200],
      [DATA, MEMORY_BYTES - 100, 200],
      [DATA, DATA + 20_000, 0xffff_ffff],
    ]) {
      const seen = [true, false].map((optimize) => {
        const harness = load({ instructions, optimize });
        fillMemory(harness);
        expect(() => harness.run(...args)).toThrow(WebAssembly.RuntimeError);
        return Buffer.from(harness.memory).toString("hex");
      });
      expect(seen[0]).toBe(seen[1]);
    }
  });
});
