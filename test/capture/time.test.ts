/** Tick counts of every resolution against BigInt arithmetic. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { putTicks, storeTicks, tickClock } from "../../src/capture/time.ts";

const seconds = new Float64Array(1);
const nanoseconds = new Uint32Array(1);
const halves = new Uint32Array(2);

const RESOLUTIONS = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 19, 30, 127, 0x80, 0x81, 0x8a, 0x94, 0xa0, 0xbf, 0xc0, 0xff,
];

const rateOf = (tsresol: number): bigint =>
  tsresol & 0x80 ? 1n << BigInt(tsresol & 0x7f) : 10n ** BigInt(tsresol);

const EDGES = [
  0n,
  1n,
  999_999n,
  1_000_000n,
  (1n << 32n) - 1n,
  1n << 32n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 62n) - 1n,
  1n << 62n,
  (1n << 64n) - 1n,
];

const ticks = fc.oneof(
  fc.constantFrom(...EDGES),
  fc.bigInt(0n, (1n << 64n) - 1n),
  fc.bigInt(1_600_000_000_000_000n, 1_800_000_000_000_000n),
  fc.bigInt(1_600_000_000_000_000_000n, 1_800_000_000_000_000_000n),
);

test("reading", () => {
  fc.assert(
    fc.property(fc.constantFrom(...RESOLUTIONS), ticks, (tsresol, value) => {
      storeTicks(
        tickClock(tsresol, 0),
        Number(value >> 32n),
        Number(value & 0xffff_ffffn),
        seconds,
        nanoseconds,
        0,
      );
      const rate = rateOf(tsresol);
      // Above 2^53 seconds a double rounds; no clock of less than a second's resolution comes there.
      expect(seconds[0]).toBe(Number(value / rate));
      expect(BigInt(nanoseconds[0]!)).toBe(((value % rate) * 1_000_000_000n) / rate);
      expect(nanoseconds[0]).toBeLessThan(1e9);
    }),
    { seed: 1, numRuns: 20_000 },
  );
});

test("an offset moves whole seconds", () => {
  storeTicks(tickClock(6, -5), 0, 1_000_002, seconds, nanoseconds, 0);
  expect([seconds[0], nanoseconds[0]]).toEqual([-4, 2000]);
  storeTicks(tickClock(0xff, 7), 0, 0, seconds, nanoseconds, 0);
  expect([seconds[0], nanoseconds[0]]).toEqual([7, 0]);
});

test("what is written is the tick of that time, and reads back unless the clock is coarser", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...RESOLUTIONS),
      fc.oneof(fc.integer({ min: 0, max: 2 ** 36 }), fc.integer({ min: 1_600_000_000, max: 1_800_000_000 })),
      fc.integer({ min: 0, max: 999_999_999 }),
      fc.integer({ min: -10, max: 10 }),
      (tsresol, whole, part, offset) => {
        const clock = tickClock(tsresol, offset);
        const rate = rateOf(tsresol);
        const relative = BigInt(whole - offset);
        const product = BigInt(part) * rate;
        const finer = rate > 1_000_000_000n && product % 1_000_000_000n !== 0n ? 1n : 0n;
        const exact = relative * rate + product / 1_000_000_000n + finer;
        const possible = relative >= 0n && exact < 1n << 64n;
        expect(putTicks(clock, whole, part, halves)).toBe(possible);
        if (!possible) return;
        expect((BigInt(halves[0]!) << 32n) | BigInt(halves[1]!)).toBe(exact);
        storeTicks(clock, halves[0]!, halves[1]!, seconds, nanoseconds, 0);
        expect(seconds[0]).toBe(whole);
        if (rate >= 1_000_000_000n) expect(nanoseconds[0]).toBe(part);
        else expect(nanoseconds[0]).toBeLessThanOrEqual(part);
      },
    ),
    { seed: 2, numRuns: 20_000 },
  );
});

test.each([
  [-1, 0],
  [Number.NaN, 0],
  [2 ** 53, 0],
])("%d seconds do not fit nanoseconds", (whole, part) => {
  expect(putTicks(tickClock(9, 0), whole, part, halves)).toBe(false);
});
