/** What the verifier calls. Values are named by integers: see `table.ts`. */
import { add, byteSwap as swapRecord, compute, truncate as truncateRecord } from "./alu";
import { sync, zeroExtend } from "./bounds";
import { negated, refine as refineRecords, taken } from "./branch";
import { signExtend as signExtendRecord, signExtend32 } from "./extend";
import {
  copy,
  isConstant as isConstantRecord,
  isConstant32 as isConstant32Record,
  setConstant,
  unbound32,
  unbound64,
} from "./record";
import { at, first, intern, second } from "./table";
import { outMask, tnumAdd, tnumIn as tnumInValues, tnumSub } from "./tnum";

export { addressOf, reset, size, violationOf } from "./table";

/** A constant, from its lower and upper 32 bits. */
export function constantParts(low: i32, high: i32): i32 {
  setConstant(first, ((high as u32 as u64) << 32) | (low as u32 as u64));
  return intern(first);
}

/** A constant from 32 bits, sign-extended. */
export function constant(value: i32): i32 {
  setConstant(first, value as i64 as u64);
  return intern(first);
}

export function alu(op: i32, is64: bool, a: i32, b: i32): i32 {
  copy(first, at(a));
  copy(second, at(b));
  compute(op, is64, first, second);
  return intern(first);
}

/** The lower half, zero-extended: a 32-bit move. */
export function move32(a: i32): i32 {
  copy(first, at(a));
  zeroExtend(first);
  sync(first);
  return intern(first);
}

export function signExtend(a: i32, size: i32): i32 {
  copy(first, at(a));
  signExtendRecord(first, size);
  return intern(first);
}

/** Sign-extended to 32 bits, and then zero-extended: a 32-bit move with sign extension. */
export function signExtendTo32(a: i32, size: i32): i32 {
  copy(first, at(a));
  signExtend32(first, size);
  zeroExtend(first);
  sync(first);
  return intern(first);
}

export function truncate(a: i32, size: i32): i32 {
  copy(first, at(a));
  truncateRecord(first, size);
  return intern(first);
}

export function byteSwap(a: i32, size: i32, swap: bool): i32 {
  copy(first, at(a));
  swapRecord(first, size, swap);
  return intern(first);
}

/** A linked value at a constant distance (sync_linked_regs). */
export function addDelta(a: i32, delta: f64, narrow: bool): i32 {
  copy(first, at(a));
  setConstant(second, delta as i64 as u64);
  add(first, second);
  if (narrow) zeroExtend(first);
  sync(first);
  return intern(first);
}

export function branchTaken(op: i32, is32: bool, a: i32, b: i32): i32 {
  return taken(op, is32, at(a), at(b));
}

let refinedSecond: i32 = 0;

/** What holds after `a op b`, or after its negation: the name of a; b's is then `refinedOther()`. */
export function refine(op: i32, is32: bool, negate: bool, a: i32, b: i32): i32 {
  copy(first, at(a));
  copy(second, at(b));
  refineRecords(negate ? negated(op) : op, is32, first, second);
  sync(first);
  sync(second);
  refinedSecond = intern(second);
  return intern(first);
}

/** As `refine`, of a value compared with itself: one record, as in the kernel, not two. */
export function refineSame(op: i32, is32: bool, negate: bool, a: i32): i32 {
  copy(first, at(a));
  refineRecords(negate ? negated(op) : op, is32, first, first);
  sync(first);
  sync(first);
  return intern(first);
}

export function refinedOther(): i32 {
  return refinedSecond;
}

/** The same bits with all ranges forgotten. */
export function unbounded(a: i32): i32 {
  copy(first, at(a));
  unbound64(first);
  unbound32(first);
  return intern(first);
}

/** Offset of a pointer after a constant went into its fixed part. */
export function pointerKeep(a: i32): i32 {
  copy(first, at(a));
  unbound32(first);
  sync(first);
  return intern(first);
}

function addOverflows(a: i64, b: i64): bool {
  const sum = a + b;
  return ((a ^ sum) & (b ^ sum)) < 0;
}

function subOverflows(a: i64, b: i64): bool {
  return ((a ^ b) & (a ^ (a - b))) < 0;
}

/** Variable offset of pointer + scalar (adjust_ptr_min_max_vals), before `pointerSync`. */
export function pointerAdd(a: i32, b: i32): i32 {
  copy(first, at(a));
  const s = at(b);
  unbound32(first);
  if (addOverflows(first.smin, s.smin) || addOverflows(first.smax, s.smax)) {
    first.smin = i64.MIN_VALUE;
    first.smax = i64.MAX_VALUE;
  } else {
    first.smin += s.smin;
    first.smax += s.smax;
  }
  const lo = first.umin + s.umin;
  const hi = first.umax + s.umax;
  if (lo < s.umin || hi < s.umax) {
    first.umin = 0;
    first.umax = u64.MAX_VALUE;
  } else {
    first.umin = lo;
    first.umax = hi;
  }
  first.value = tnumAdd(first.value, first.mask, s.value, s.mask);
  first.mask = outMask;
  return intern(first);
}

export function pointerSubtract(a: i32, b: i32): i32 {
  copy(first, at(a));
  const s = at(b);
  unbound32(first);
  if (subOverflows(first.smin, s.smax) || subOverflows(first.smax, s.smin)) {
    first.smin = i64.MIN_VALUE;
    first.smax = i64.MAX_VALUE;
  } else {
    first.smin -= s.smax;
    first.smax -= s.smin;
  }
  if (first.umin < s.umax) {
    first.umin = 0;
    first.umax = u64.MAX_VALUE;
  } else {
    first.umin -= s.umax;
    first.umax -= s.umin;
  }
  first.value = tnumSub(first.value, first.mask, s.value, s.mask);
  first.mask = outMask;
  return intern(first);
}

export function pointerSync(a: i32): i32 {
  copy(first, at(a));
  sync(first);
  return intern(first);
}

/** Bounds that are known besides, in both signed widths (__mark_reg_s32_range). */
export function withSignedRange(a: i32, least: i32, most: i32): i32 {
  copy(first, at(a));
  first.s32min = max(first.s32min, least);
  first.s32max = min(first.s32max, most);
  first.smin = max(first.smin, least as i64);
  first.smax = min(first.smax, most as i64);
  sync(first);
  return intern(first);
}

/** Bounds that are known besides, in the unsigned and signed 64 bits and 32 bits; 0 <= least <= most. */
export function withRange(a: i32, least: u32, most: u32): i32 {
  copy(first, at(a));
  first.umin = least as u64;
  first.umax = most as u64;
  first.smin = least as i64;
  first.smax = most as i64;
  first.u32min = least;
  first.u32max = most;
  first.s32min = least as i32;
  first.s32max = most as i32;
  sync(first);
  return intern(first);
}

export function isConstant(a: i32): bool {
  return isConstantRecord(at(a));
}

export function isConstant32(a: i32): bool {
  return isConstant32Record(at(a));
}

/** Whether it is a constant and zero. */
export function isZero(a: i32): bool {
  const r = at(a);
  return r.mask == 0 && r.value == 0;
}

export function isUnknownBits(a: i32): bool {
  const r = at(a);
  return r.mask == u64.MAX_VALUE && r.value == 0;
}

export function low(a: i32): i32 {
  return at(a).value as i32;
}

export function high(a: i32): i32 {
  return (at(a).value >> 32) as i32;
}

/** Known bits as a signed number; exact to 53 bits. */
export function constantNumber(a: i32): f64 {
  return at(a).value as i64 as f64;
}

export function umin(a: i32): f64 {
  return at(a).umin as f64;
}

export function umax(a: i32): f64 {
  return at(a).umax as f64;
}

export function smin(a: i32): f64 {
  return at(a).smin as f64;
}

export function smax(a: i32): f64 {
  return at(a).smax as f64;
}

export function u32min(a: i32): u32 {
  return at(a).u32min;
}

export function u32max(a: i32): u32 {
  return at(a).u32max;
}

export function s32min(a: i32): i32 {
  return at(a).s32min;
}

export function s32max(a: i32): i32 {
  return at(a).s32max;
}

/** Bits that the largest unsigned value needs. */
export function width(a: i32): i32 {
  return (64 - clz(at(a).umax)) as i32;
}

/** Whether umax is below 2**bits. */
export function fits(a: i32, bits: i32): bool {
  return at(a).umax < u64(1) << bits;
}

/** Whether all values of `current` are values of `old` (range_within and tnum_in). */
export function within(old: i32, current: i32): bool {
  if (old == current) return true;
  const a = at(old);
  const b = at(current);
  return (
    a.umin <= b.umin &&
    a.umax >= b.umax &&
    a.smin <= b.smin &&
    a.smax >= b.smax &&
    a.u32min <= b.u32min &&
    a.u32max >= b.u32max &&
    a.s32min <= b.s32min &&
    a.s32max >= b.s32max &&
    tnumInValues(a.value, a.mask, b.value, b.mask)
  );
}

/** Whether value + offset is a multiple of `size` for certain (tnum_is_aligned). */
export function aligned(a: i32, offset: i32, size: i32): bool {
  const r = at(a);
  const value = tnumAdd(r.value, r.mask, offset as i64 as u64, 0);
  return ((value | outMask) & ((size - 1) as u64)) == 0;
}

/** adjust_ptr_min_max_vals' question whether an offset's bounds contradict each other. */
export function contradictory(a: i32): bool {
  const r = at(a);
  return (r.mask == 0 && (r.smin != r.smax || r.umin != r.umax)) || r.smin > r.smax || r.umin > r.umax;
}
