/**
 * Tracked numbers (kernel/bpf/tnum.c): the set of all numbers that agree with `value` where `mask` is 0. An operation
 * returns the value and leaves the mask in `outMask`.
 */
export let outMask: u64 = 0;

function result(value: u64, mask: u64): u64 {
  outMask = mask;
  return value;
}

/** The smallest tnum that holds min to max: all bits below the highest one in which they differ are unknown. */
export function tnumRange(min: u64, max: u64): u64 {
  const bits = 64 - clz(min ^ max);
  if (bits > 63) return result(0, u64.MAX_VALUE);
  const delta = (u64(1) << bits) - 1;
  return result(min & ~delta, delta);
}

/** A carry into a bit is uncertain where the sums of smallest and largest members differ. */
export function tnumAdd(av: u64, am: u64, bv: u64, bm: u64): u64 {
  const sm = am + bm;
  const sv = av + bv;
  const mu = ((sm + sv) ^ sv) | am | bm;
  return result(sv & ~mu, mu);
}

export function tnumSub(av: u64, am: u64, bv: u64, bm: u64): u64 {
  const dv = av - bv;
  const mu = ((dv + am) ^ (dv - bm)) | am | bm;
  return result(dv & ~mu, mu);
}

export function tnumAnd(av: u64, am: u64, bv: u64, bm: u64): u64 {
  const v = av & bv;
  return result(v, (av | am) & (bv | bm) & ~v);
}

export function tnumOr(av: u64, am: u64, bv: u64, bm: u64): u64 {
  const v = av | bv;
  return result(v, (am | bm) & ~v);
}

export function tnumXor(av: u64, am: u64, bv: u64, bm: u64): u64 {
  const mu = am | bm;
  return result((av ^ bv) & ~mu, mu);
}

/**
 * Long multiplication. Where a bit of the multiplier is unknown the sum so far is joined with the sum that has the
 * multiplicand added: Linux 6.18's rule, more precise than the older one that collected unknown parts.
 */
export function tnumMul(av: u64, am: u64, bv: u64, bm: u64): u64 {
  let v: u64 = 0;
  let m: u64 = 0;
  while (av | am) {
    if (av & 1) {
      v = tnumAdd(v, m, bv, bm);
      m = outMask;
    } else if (am & 1) {
      const sv = tnumAdd(v, m, bv, bm);
      m = (v ^ sv) | m | outMask;
      v = v & sv & ~m;
    }
    av >>= 1;
    am >>= 1;
    bv <<= 1;
    bm <<= 1;
  }
  return result(v, m);
}

/** What is in both. Where they contradict each other, a bit known to be set wins. */
export function tnumIntersect(av: u64, am: u64, bv: u64, bm: u64): u64 {
  const mu = am & bm;
  return result((av | bv) & ~mu, mu);
}

export function tnumArshift(v: u64, m: u64, shift: u64, bits: i32): u64 {
  if (bits == 32) {
    return result(((v as i32) >> (shift as i32)) as u32 as u64, ((m as i32) >> (shift as i32)) as u32 as u64);
  }
  return result(((v as i64) >> (shift as i64)) as u64, ((m as i64) >> (shift as i64)) as u64);
}

/** Whether some number is in both. */
export function tnumOverlap(av: u64, am: u64, bv: u64, bm: u64): bool {
  const known = ~am & ~bm;
  return (av & known) == (bv & known);
}

/** Whether all of b is in a. */
export function tnumIn(av: u64, am: u64, bv: u64, bm: u64): bool {
  if (bm & ~am) return false;
  return av == (bv & ~am);
}

/** The smallest member above z, or the largest member if there is none (tnum_step). */
export function tnumStep(v: u64, m: u64, z: u64): u64 {
  const most = v | m;
  if (z >= most) return most;
  if (z < v) return v;
  // Members are v plus a subset of the mask's bits. Ones everywhere else let a carry pass to the next such bit.
  const d = z - v;
  const outside = d & ~m;
  const below = outside == 0 ? 0 : u64.MAX_VALUE >> clz(outside);
  return v | (((d | below | ~m) + 1) & m);
}
