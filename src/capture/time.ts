/**
 * Time stamps: the 64-bit tick counts of pcapng to seconds and nanoseconds and back, without BigInt where it can be
 * avoided.
 *
 * A tick count T is two 32-bit halves. With P ticks a second, T = seconds × P + rest. JavaScript's doubles are exact
 * up to 2^53, and T is not: a nanosecond clock passes 2^60 in the year 2006. So:
 *
 * - a microsecond clock stays below 2^53 until the year 2255: one division;
 * - a nanosecond clock is divided by 2^9 first (10^9 = 2^9 × 1,953,125), which is exact until 2116: one division, and
 *   the nine bits come back into the rest;
 * - any other power of ten up to 10^9, and dates beyond those, take a long division in three steps, none of whose
 *   intermediate values passes 2^46;
 * - what is finer than a nanosecond, and every power of two, takes BigInt.
 *
 * Floor of a double quotient t/P is the true quotient while t < 2^53: the quotient's distance to the next integer is at
 * least 1/P, and its rounding error is below t/P × 2^-53.
 */

/** How the ticks of an interface are read: made once for an interface from its if_tsresol and if_tsoffset. */
export interface TickClock {
  /** 0 is microseconds, 1 nanoseconds, 2 another power of ten up to 10^9, 3 anything else. */
  readonly path: 0 | 1 | 2 | 3;
  /** Ticks a second, as a double; exact on paths 0 to 2. */
  readonly rate: number;
  /** Nanoseconds a tick; exact on paths 0 to 2. */
  readonly scale: number;
  /** Seconds that are added to every time stamp. */
  readonly offset: number;
  /** Ticks a second, exact. */
  readonly exactRate: bigint;
}

/**
 * The clock of an interface.
 *
 * @param tsresol the byte of if_tsresol: with the top bit clear 10^-n seconds, with it set 2^-n; 6 is the default
 * @param tsoffset seconds to add
 */
export function tickClock(tsresol: number, tsoffset: number): TickClock {
  const exponent = tsresol & 0x7f;
  if (tsresol & 0x80) {
    return {
      path: 3,
      rate: 2 ** exponent,
      scale: 1e9 / 2 ** exponent,
      offset: tsoffset,
      exactRate: 1n << BigInt(exponent),
    };
  }
  const rate = 10 ** exponent;
  const path = exponent === 6 ? 0 : exponent === 9 ? 1 : exponent < 9 ? 2 : 3;
  return { path, rate, scale: 1e9 / rate, offset: tsoffset, exactRate: 10n ** BigInt(exponent) };
}

/** Splits a tick count and stores it at `index` of both arrays. What is finer than a nanosecond is cut off. */
export function storeTicks(
  clock: TickClock,
  high: number,
  low: number,
  seconds: Float64Array,
  nanoseconds: Uint32Array,
  index: number,
): void {
  if (clock.path === 0 && high < 0x20_0000) {
    const ticks = high * 0x1_0000_0000 + low;
    const whole = Math.floor(ticks / 1e6);
    seconds[index] = whole + clock.offset;
    nanoseconds[index] = (ticks - whole * 1e6) * 1000;
  } else if (clock.path === 1 && high < 0x4000_0000) {
    const units = high * 0x80_0000 + (low >>> 9);
    const whole = Math.floor(units / 1_953_125);
    seconds[index] = whole + clock.offset;
    nanoseconds[index] = (units - whole * 1_953_125) * 512 + (low & 511);
  } else if (clock.path !== 3) {
    const { rate } = clock;
    const first = Math.floor(high / rate);
    const middle = (high - first * rate) * 0x1_0000 + (low >>> 16);
    const second = Math.floor(middle / rate);
    const last = (middle - second * rate) * 0x1_0000 + (low & 0xffff);
    const third = Math.floor(last / rate);
    seconds[index] = first * 0x1_0000_0000 + second * 0x1_0000 + third + clock.offset;
    nanoseconds[index] = (last - third * rate) * clock.scale;
  } else {
    const ticks = (BigInt(high) << 32n) | BigInt(low);
    const whole = ticks / clock.exactRate;
    seconds[index] = Number(whole) + clock.offset;
    nanoseconds[index] = Number(((ticks - whole * clock.exactRate) * 1_000_000_000n) / clock.exactRate);
  }
}

/**
 * The reverse: stores the tick count of a time as two halves, high first. Ticks coarser than the time cut off what they
 * cannot hold. Returns false when 64 bits cannot hold the time.
 */
export function putTicks(
  clock: TickClock,
  seconds: number,
  nanoseconds: number,
  halves: Uint32Array,
): boolean {
  const whole = seconds - clock.offset;
  if (!(whole >= 0)) return false;
  if (clock.path === 3 || whole >= 2 ** 35) {
    // Finer clocks take the first tick of the nanosecond, coarser ones the tick that it falls into.
    const rest = BigInt(nanoseconds) * clock.exactRate;
    const ticks =
      BigInt(whole) * clock.exactRate +
      (clock.exactRate > 1_000_000_000n ? rest + 999_999_999n : rest) / 1_000_000_000n;
    if (ticks >> 64n) return false;
    halves[0] = Number(ticks >> 32n);
    halves[1] = Number(ticks & 0xffff_ffffn);
    return true;
  }
  // seconds × rate + rest, in base 2^16; no part passes 2^51.
  const upper = Math.floor(whole / 0x1_0000);
  const lower = (whole - upper * 0x1_0000) * clock.rate + Math.floor(nanoseconds / clock.scale);
  const carry = Math.floor(lower / 0x1_0000);
  const tail = lower - carry * 0x1_0000;
  const head = upper * clock.rate + carry;
  const high = Math.floor(head / 0x1_0000);
  if (high > 0xffff_ffff) return false;
  halves[0] = high;
  halves[1] = (head - high * 0x1_0000) * 0x1_0000 + tail;
  return true;
}
