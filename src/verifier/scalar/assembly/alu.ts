/**
 * Arithmetic on scalars (adjust_scalar_min_max_vals of kernel/bpf/verifier.c, Linux 6.18). `d` is changed in place. Each
 * operation works on ranges and bits separately; `sync` brings them together afterwards. What is not computed here (division,
 * modulo, byte swaps, shifts by what is no constant) is unknown.
 */
import { fromBits, fromBits32, sync, zeroExtend } from "./bounds";
import {
  Scalar,
  isConstant,
  isConstant32,
  setConstant,
  setConstant32Bounds,
  setUnknown,
  unbound32,
  unbound64,
} from "./record";
import { outMask, tnumAdd, tnumAnd, tnumArshift, tnumMul, tnumOr, tnumSub, tnumXor } from "./tnum";

const LOW: u64 = 0xffffffff;

/** Signed sums that may overflow are unknown; unsigned ones only if the smaller end does not overflow and the larger does. */
export function addRanges(d: Scalar, s: Scalar): void {
  const lo32 = (d.s32min as i64) + (s.s32min as i64);
  const hi32 = (d.s32max as i64) + (s.s32max as i64);
  if (
    lo32 < (i32.MIN_VALUE as i64) ||
    lo32 > (i32.MAX_VALUE as i64) ||
    hi32 < (i32.MIN_VALUE as i64) ||
    hi32 > (i32.MAX_VALUE as i64)
  ) {
    d.s32min = i32.MIN_VALUE;
    d.s32max = i32.MAX_VALUE;
  } else {
    d.s32min = lo32 as i32;
    d.s32max = hi32 as i32;
  }
  const ulo32 = (d.u32min as u64) + (s.u32min as u64);
  const uhi32 = (d.u32max as u64) + (s.u32max as u64);
  if (ulo32 <= LOW && uhi32 > LOW) {
    d.u32min = 0;
    d.u32max = u32.MAX_VALUE;
  } else {
    d.u32min = ulo32 as u32;
    d.u32max = uhi32 as u32;
  }
  addRanges64(d, s);
}

function addOverflows(a: i64, b: i64): bool {
  const sum = a + b;
  return ((a ^ sum) & (b ^ sum)) < 0;
}

function subOverflows(a: i64, b: i64): bool {
  return ((a ^ b) & (a ^ (a - b))) < 0;
}

function addRanges64(d: Scalar, s: Scalar): void {
  if (addOverflows(d.smin, s.smin) || addOverflows(d.smax, s.smax)) {
    d.smin = i64.MIN_VALUE;
    d.smax = i64.MAX_VALUE;
  } else {
    d.smin += s.smin;
    d.smax += s.smax;
  }
  const lo = d.umin + s.umin;
  const hi = d.umax + s.umax;
  if (lo >= d.umin && hi < d.umax) {
    d.umin = 0;
    d.umax = u64.MAX_VALUE;
  } else {
    d.umin = lo;
    d.umax = hi;
  }
}

export function add(d: Scalar, s: Scalar): void {
  addRanges(d, s);
  d.value = tnumAdd(d.value, d.mask, s.value, s.mask);
  d.mask = outMask;
}

function subtract(d: Scalar, s: Scalar): void {
  const lo32 = (d.s32min as i64) - (s.s32max as i64);
  const hi32 = (d.s32max as i64) - (s.s32min as i64);
  if (
    lo32 < (i32.MIN_VALUE as i64) ||
    lo32 > (i32.MAX_VALUE as i64) ||
    hi32 < (i32.MIN_VALUE as i64) ||
    hi32 > (i32.MAX_VALUE as i64)
  ) {
    d.s32min = i32.MIN_VALUE;
    d.s32max = i32.MAX_VALUE;
  } else {
    d.s32min = lo32 as i32;
    d.s32max = hi32 as i32;
  }
  if (d.u32min < s.u32max && d.u32max >= s.u32min) {
    d.u32min = 0;
    d.u32max = u32.MAX_VALUE;
  } else {
    d.u32min -= s.u32max;
    d.u32max -= s.u32min;
  }
  if (subOverflows(d.smin, s.smax) || subOverflows(d.smax, s.smin)) {
    d.smin = i64.MIN_VALUE;
    d.smax = i64.MAX_VALUE;
  } else {
    d.smin -= s.smax;
    d.smax -= s.smin;
  }
  if (d.umin < s.umax && d.umax >= s.umin) {
    d.umin = 0;
    d.umax = u64.MAX_VALUE;
  } else {
    d.umin -= s.umax;
    d.umax -= s.umin;
  }
  d.value = tnumSub(d.value, d.mask, s.value, s.mask);
  d.mask = outMask;
}

/** The upper half of a product of unsigned numbers. */
function highProduct(a: u64, b: u64): u64 {
  const al = a & LOW;
  const ah = a >> 32;
  const bl = b & LOW;
  const bh = b >> 32;
  const middle = ah * bl + ((al * bl) >> 32);
  return ah * bh + (middle >> 32) + (((middle & LOW) + al * bh) >> 32);
}

function mulOverflows(a: i64, b: i64): bool {
  const negative = (a ^ b) < 0;
  const ua = (a < 0 ? 0 - a : a) as u64;
  const ub = (b < 0 ? 0 - b : b) as u64;
  if (highProduct(ua, ub) != 0) return true;
  const product = ua * ub;
  return negative ? product > 0x8000000000000000 : product > 0x7fffffffffffffff;
}

function multiply(d: Scalar, s: Scalar): void {
  d.value = tnumMul(d.value, d.mask, s.value, s.mask);
  d.mask = outMask;
  const hi32 = (d.u32max as u64) * (s.u32max as u64);
  const lo32 = (d.u32min as u64) * (s.u32min as u64);
  if (hi32 > LOW || lo32 > LOW) {
    d.u32min = 0;
    d.u32max = u32.MAX_VALUE;
  } else {
    d.u32min = lo32 as u32;
    d.u32max = hi32 as u32;
  }
  const a32 = (d.s32min as i64) * (s.s32min as i64);
  const b32 = (d.s32min as i64) * (s.s32max as i64);
  const c32 = (d.s32max as i64) * (s.s32min as i64);
  const d32 = (d.s32max as i64) * (s.s32max as i64);
  const least32 = min(min(a32, b32), min(c32, d32));
  const most32 = max(max(a32, b32), max(c32, d32));
  if (least32 < (i32.MIN_VALUE as i64) || most32 > (i32.MAX_VALUE as i64)) {
    d.s32min = i32.MIN_VALUE;
    d.s32max = i32.MAX_VALUE;
  } else {
    d.s32min = least32 as i32;
    d.s32max = most32 as i32;
  }
  if (highProduct(d.umax, s.umax) != 0 || highProduct(d.umin, s.umin) != 0) {
    d.umin = 0;
    d.umax = u64.MAX_VALUE;
  } else {
    d.umin *= s.umin;
    d.umax *= s.umax;
  }
  if (
    mulOverflows(d.smin, s.smin) ||
    mulOverflows(d.smin, s.smax) ||
    mulOverflows(d.smax, s.smin) ||
    mulOverflows(d.smax, s.smax)
  ) {
    d.smin = i64.MIN_VALUE;
    d.smax = i64.MAX_VALUE;
  } else {
    const p = d.smin * s.smin;
    const q = d.smin * s.smax;
    const u = d.smax * s.smin;
    const v = d.smax * s.smax;
    d.smin = min(min(p, q), min(u, v));
    d.smax = max(max(p, q), max(u, v));
  }
}

function signedFromUnsigned32(d: Scalar): void {
  if ((d.u32min as i32) <= (d.u32max as i32)) {
    d.s32min = d.u32min as i32;
    d.s32max = d.u32max as i32;
  } else {
    d.s32min = i32.MIN_VALUE;
    d.s32max = i32.MAX_VALUE;
  }
}

function signedFromUnsigned64(d: Scalar): void {
  if ((d.umin as i64) <= (d.umax as i64)) {
    d.smin = d.umin as i64;
    d.smax = d.umax as i64;
  } else {
    d.smin = i64.MIN_VALUE;
    d.smax = i64.MAX_VALUE;
  }
}

const AND = 0x50;
const OR = 0x40;

/** and, or, xor: the bits are exact; ranges follow from them and from the operands' ranges. */
function bitwise(op: i32, d: Scalar, s: Scalar): void {
  // Whether the left operand was constant is asked of the result, as in the kernel, after its bits have been computed.
  if (op == AND) d.value = tnumAnd(d.value, d.mask, s.value, s.mask);
  else if (op == OR) d.value = tnumOr(d.value, d.mask, s.value, s.mask);
  else d.value = tnumXor(d.value, d.mask, s.value, s.mask);
  d.mask = outMask;
  const value32 = d.value as u32;
  const mask32 = d.mask as u32;
  if (isConstant32(s) && isConstant32(d)) {
    setConstant32Bounds(d, value32);
  } else {
    if (op == AND) {
      d.u32min = value32;
      d.u32max = min(d.u32max, s.u32max);
    } else if (op == OR) {
      d.u32min = max(d.u32min, s.u32min);
      d.u32max = value32 | mask32;
    } else {
      d.u32min = value32;
      d.u32max = value32 | mask32;
    }
    signedFromUnsigned32(d);
  }
  if (isConstant(s) && isConstant(d)) {
    setConstant(d, d.value);
    return;
  }
  if (op == AND) {
    d.umin = d.value;
    d.umax = min(d.umax, s.umax);
  } else if (op == OR) {
    d.umin = max(d.umin, s.umin);
    d.umax = d.value | d.mask;
  } else {
    d.umin = d.value;
    d.umax = d.value | d.mask;
  }
  signedFromUnsigned64(d);
  fromBits(d);
}

function leftRanges32(d: Scalar, lo: u64, hi: u64): void {
  d.s32min = i32.MIN_VALUE;
  d.s32max = i32.MAX_VALUE;
  if (hi > 31 || (d.u32max as u64) > u64(1) << (31 - hi)) {
    d.u32min = 0;
    d.u32max = u32.MAX_VALUE;
  } else {
    d.u32min <<= lo as u32;
    d.u32max <<= hi as u32;
  }
}

function shiftLeft(is64: bool, d: Scalar, s: Scalar): void {
  if (!is64) {
    const by = s.u32min as u64;
    const value = d.value & LOW;
    const mask = d.mask & LOW;
    leftRanges32(d, by, s.u32max as u64);
    d.value = (value << by) & LOW;
    d.mask = (mask << by) & LOW;
    unbound64(d);
    fromBits32(d);
    return;
  }
  const by = s.umin;
  // Shifting by 32 is how compilers begin a sign extension: the lower half's range becomes the upper half's.
  // How compilers begin a sign extension: the sign stays what it was.
  d.smax = by == 32 ? (d.s32max as i64) << 32 : i64.MAX_VALUE;
  d.smin = by == 32 ? (d.s32min as i64) << 32 : i64.MIN_VALUE;
  if (d.umax > u64(1) << (63 - by)) {
    d.umin = 0;
    d.umax = u64.MAX_VALUE;
  } else {
    d.umin <<= by;
    d.umax <<= by;
  }
  leftRanges32(d, by, by);
  d.value <<= by;
  d.mask <<= by;
  fromBits(d);
}

function shiftRight(is64: bool, d: Scalar, s: Scalar): void {
  if (!is64) {
    const by = s.u32min;
    d.s32min = i32.MIN_VALUE;
    d.s32max = i32.MAX_VALUE;
    d.value = (d.value & LOW) >> (by as u64);
    d.mask = (d.mask & LOW) >> (by as u64);
    d.u32min >>= by;
    d.u32max >>= by;
    unbound64(d);
    fromBits32(d);
    return;
  }
  const by = s.umin;
  d.smin = i64.MIN_VALUE;
  d.smax = i64.MAX_VALUE;
  d.value >>= by;
  d.mask >>= by;
  d.umin >>= by;
  d.umax >>= by;
  unbound32(d);
  fromBits(d);
}

function shiftArithmetic(is64: bool, d: Scalar, s: Scalar): void {
  if (!is64) {
    const by = s.u32min;
    d.s32min >>= by as i32;
    d.s32max >>= by as i32;
    d.value = tnumArshift(d.value & LOW, d.mask & LOW, by as u64, 32);
    d.mask = outMask;
    d.u32min = 0;
    d.u32max = u32.MAX_VALUE;
    unbound64(d);
    fromBits32(d);
    return;
  }
  const by = s.umin;
  d.smin >>= by as i64;
  d.smax >>= by as i64;
  d.value = tnumArshift(d.value, d.mask, by, 64);
  d.mask = outMask;
  d.umin = 0;
  d.umax = u64.MAX_VALUE;
  unbound32(d);
  fromBits(d);
}

/** `op` is the upper half of the opcode; `s` must not be `d`. */
export function compute(op: i32, is64: bool, d: Scalar, s: Scalar): void {
  if (op == 0x60 || op == 0x70 || op == 0xc0) {
    const constant = is64
      ? isConstant(s) && s.smin == s.smax && s.umin == s.umax
      : isConstant32(s) && s.s32min == s.s32max && s.u32min == s.u32max;
    if (!constant || s.umax >= (is64 ? 64 : 32)) {
      setUnknown(d);
      return;
    }
  }
  switch (op) {
    case 0x00:
      add(d, s);
      break;
    case 0x10:
      subtract(d, s);
      break;
    case 0x20:
      multiply(d, s);
      break;
    case OR:
    case AND:
    case 0xa0:
      bitwise(op, d, s);
      break;
    case 0x60:
      shiftLeft(is64, d, s);
      break;
    case 0x70:
      shiftRight(is64, d, s);
      break;
    case 0xc0:
      shiftArithmetic(is64, d, s);
      break;
    case 0x80:
      // Negation: zero minus the operand, which the caller passes as `s`.
      setConstant(d, 0);
      subtract(d, s);
      break;
    default:
      setUnknown(d);
      return;
  }
  if (!is64) zeroExtend(d);
  sync(d);
}

/** The lowest `size` bytes, zero-extended: what a load gives (coerce_reg_to_size). */
export function truncate(r: Scalar, size: i32): void {
  const mask = size >= 8 ? u64.MAX_VALUE : (u64(1) << (size * 8)) - 1;
  r.value &= mask;
  r.mask &= mask;
  if ((r.umin & ~mask) == (r.umax & ~mask)) {
    r.umin &= mask;
    r.umax &= mask;
  } else {
    r.umin = 0;
    r.umax = mask;
  }
  r.smin = r.umin as i64;
  r.smax = r.umax as i64;
  if (size < 4) unbound32(r);
  sync(r);
}

function swapped(value: u64, bytes: i32): u64 {
  let result: u64 = 0;
  for (let index = 0; index < bytes; index++) {
    result = (result << 8) | (value & 0xff);
    value >>= 8;
  }
  return result;
}

/**
 * The lowest `size` bytes, in the other order if `swap`, zero-extended. Known bits move with their bytes; ranges can only be
 * found again from them.
 */
export function byteSwap(r: Scalar, size: i32, swap: bool): void {
  if (swap) {
    r.value = swapped(r.value, size);
    r.mask = swapped(r.mask, size);
    unbound64(r);
    unbound32(r);
  }
  if (size < 8) truncate(r, size);
  sync(r);
}
