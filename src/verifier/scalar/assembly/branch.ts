/** Conditional jumps between scalars: whether they are decided, and what each way tells (Linux 6.18). */
import { Scalar, isConstant, isConstant32, unbound32, unbound64 } from "./record";
import { outMask, tnumAnd, tnumIntersect, tnumOr, tnumOverlap } from "./tnum";

const LOW: u64 = 0xffffffff;

const JEQ = 0x10;
const JGT = 0x20;
const JGE = 0x30;
const JSET = 0x40;
const NOT_JSET = 0x48;
const JNE = 0x50;
const JSGT = 0x60;
const JSGE = 0x70;
const JLT = 0xa0;
const JLE = 0xb0;
const JSLT = 0xc0;
const JSLE = 0xd0;

/** Whether the two cannot be equal (JEQ of is_scalar_branch_taken). */
function disjoint(a: Scalar, b: Scalar, is32: bool): bool {
  if (is32) {
    return (
      !tnumOverlap(a.value & LOW, a.mask & LOW, b.value & LOW, b.mask & LOW) ||
      a.u32min > b.u32max ||
      a.u32max < b.u32min ||
      a.s32min > b.s32max ||
      a.s32max < b.s32min
    );
  }
  return (
    !tnumOverlap(a.value, a.mask, b.value, b.mask) ||
    a.umin > b.umax ||
    a.umax < b.umin ||
    a.smin > b.smax ||
    a.smax < b.smin ||
    a.u32min > b.u32max ||
    a.u32max < b.u32min ||
    a.s32min > b.s32max ||
    a.s32max < b.s32min
  );
}

function constant(r: Scalar, is32: bool): bool {
  return is32 ? isConstant32(r) : isConstant(r);
}

/** 1: always taken, 0: never, -1: not known. */
export function taken(op: i32, is32: bool, a: Scalar, b: Scalar): i32 {
  if (op == JEQ || op == JNE) {
    const equal = op == JEQ ? 1 : 0;
    if (constant(a, is32) && constant(b, is32)) {
      const same = is32 ? (a.value as u32) == (b.value as u32) : a.value == b.value;
      return same ? equal : 1 - equal;
    }
    return disjoint(a, b, is32) ? 1 - equal : -1;
  }
  if (op == JSET) {
    if (!constant(b, is32)) {
      const t = a;
      a = b;
      b = t;
    }
    if (!constant(b, is32)) return -1;
    const bits = is32 ? b.value & LOW : b.value;
    if (~a.mask & a.value & bits) return 1;
    if (!((a.mask | a.value) & bits)) return 0;
    return -1;
  }
  const umin1 = is32 ? (a.u32min as u64) : a.umin;
  const umax1 = is32 ? (a.u32max as u64) : a.umax;
  const smin1 = is32 ? (a.s32min as i64) : a.smin;
  const smax1 = is32 ? (a.s32max as i64) : a.smax;
  const umin2 = is32 ? (b.u32min as u64) : b.umin;
  const umax2 = is32 ? (b.u32max as u64) : b.umax;
  const smin2 = is32 ? (b.s32min as i64) : b.smin;
  const smax2 = is32 ? (b.s32max as i64) : b.smax;
  switch (op) {
    case JGT:
      return umin1 > umax2 ? 1 : umax1 <= umin2 ? 0 : -1;
    case JSGT:
      return smin1 > smax2 ? 1 : smax1 <= smin2 ? 0 : -1;
    case JLT:
      return umax1 < umin2 ? 1 : umin1 >= umax2 ? 0 : -1;
    case JSLT:
      return smax1 < smin2 ? 1 : smin1 >= smax2 ? 0 : -1;
    case JGE:
      return umin1 >= umax2 ? 1 : umax1 < umin2 ? 0 : -1;
    case JSGE:
      return smin1 >= smax2 ? 1 : smax1 < smin2 ? 0 : -1;
    case JLE:
      return umax1 <= umin2 ? 1 : umin1 > umax2 ? 0 : -1;
    case JSLE:
      return smax1 <= smin2 ? 1 : smin1 > smax2 ? 0 : -1;
    default:
      return -1;
  }
}

/** The condition that holds when `op` does not (rev_opcode). */
export function negated(op: i32): i32 {
  switch (op) {
    case JEQ:
      return JNE;
    case JNE:
      return JEQ;
    case JSET:
      return NOT_JSET;
    case JGE:
      return JLT;
    case JGT:
      return JLE;
    case JLE:
      return JGT;
    case JLT:
      return JGE;
    case JSGE:
      return JSLT;
    case JSGT:
      return JSLE;
    case JSLE:
      return JSGT;
    default:
      return JSGE;
  }
}

/** Replaces the known bits of the lower half. */
function setLow(r: Scalar, value: u64, mask: u64): void {
  r.value = (r.value & ~LOW) | value;
  r.mask = ((r.mask & ~LOW) | mask) & ~r.value;
}

/** What `a op b` tells of both (regs_refine_cond_op). Ranges and bits only: the caller synchronises. */
export function refine(op: i32, is32: bool, a: Scalar, b: Scalar): void {
  if (op == JGE || op == JGT || op == JSGE || op == JSGT) {
    const t = a;
    a = b;
    b = t;
    op = op == JGE ? JLE : op == JGT ? JLT : op == JSGE ? JSLE : JSLT;
  }
  if (op == JNE || op == JSET || op == NOT_JSET) {
    if (!constant(b, is32)) {
      const t = a;
      a = b;
      b = t;
    }
    if (!constant(b, is32)) return;
  }
  switch (op) {
    case JEQ:
      if (is32) {
        a.u32min = max(a.u32min, b.u32min);
        a.u32max = min(a.u32max, b.u32max);
        a.s32min = max(a.s32min, b.s32min);
        a.s32max = min(a.s32max, b.s32max);
        b.u32min = a.u32min;
        b.u32max = a.u32max;
        b.s32min = a.s32min;
        b.s32max = a.s32max;
        const value = tnumIntersect(a.value & LOW, a.mask & LOW, b.value & LOW, b.mask & LOW);
        const mask = outMask;
        setLow(a, value, mask);
        setLow(b, value, mask);
      } else {
        a.umin = max(a.umin, b.umin);
        a.umax = min(a.umax, b.umax);
        a.smin = max(a.smin, b.smin);
        a.smax = min(a.smax, b.smax);
        b.umin = a.umin;
        b.umax = a.umax;
        b.smin = a.smin;
        b.smax = a.smax;
        a.value = tnumIntersect(a.value, a.mask, b.value, b.mask);
        a.mask = outMask;
        b.value = a.value;
        b.mask = a.mask;
      }
      break;
    case JNE:
      // A constant at the end of a range makes it shorter by one.
      if (is32) {
        const v = b.value as u32;
        if (a.u32min == v) a.u32min++;
        if (a.u32max == v) a.u32max--;
        if (a.s32min == (v as i32)) a.s32min++;
        if (a.s32max == (v as i32)) a.s32max--;
      } else {
        const v = b.value;
        if (a.umin == v) a.umin++;
        if (a.umax == v) a.umax--;
        if (a.smin == (v as i64)) a.smin++;
        if (a.smax == (v as i64)) a.smax--;
      }
      break;
    case JSET: {
      // Only a single bit that is tested is known to be set.
      const v = is32 ? b.value & LOW : b.value;
      if (v == 0 || (v & (v - 1)) != 0) break;
      if (is32) {
        const value = tnumOr(a.value & LOW, a.mask & LOW, v, 0);
        setLow(a, value, outMask);
      } else {
        a.value = tnumOr(a.value, a.mask, v, 0);
        a.mask = outMask;
      }
      break;
    }
    case NOT_JSET: {
      // The ranges are forgotten first: on a way that cannot be gone they would contradict the bits.
      const v = is32 ? b.value & LOW : b.value;
      unbound64(a);
      unbound32(a);
      if (is32) {
        const value = tnumAnd(a.value & LOW, a.mask & LOW, ~v, 0);
        setLow(a, value, outMask);
      } else {
        a.value = tnumAnd(a.value, a.mask, ~v, 0);
        a.mask = outMask;
      }
      break;
    }
    case JLE:
      if (is32) {
        a.u32max = min(a.u32max, b.u32max);
        b.u32min = max(a.u32min, b.u32min);
      } else {
        a.umax = min(a.umax, b.umax);
        b.umin = max(a.umin, b.umin);
      }
      break;
    case JLT:
      if (is32) {
        a.u32max = min(a.u32max, b.u32max - 1);
        b.u32min = max(a.u32min + 1, b.u32min);
      } else {
        a.umax = min(a.umax, b.umax - 1);
        b.umin = max(a.umin + 1, b.umin);
      }
      break;
    case JSLE:
      if (is32) {
        a.s32max = min(a.s32max, b.s32max);
        b.s32min = max(a.s32min, b.s32min);
      } else {
        a.smax = min(a.smax, b.smax);
        b.smin = max(a.smin, b.smin);
      }
      break;
    case JSLT:
      if (is32) {
        a.s32max = min(a.s32max, b.s32max - 1);
        b.s32min = max(a.s32min + 1, b.s32min);
      } else {
        a.smax = min(a.smax, b.smax - 1);
        b.smin = max(a.smin + 1, b.smin);
      }
      break;
    default:
      break;
  }
}
