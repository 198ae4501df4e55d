/**
 * What the parts of a scalar say about each other (reg_bounds_sync of kernel/bpf/verifier.c, Linux 6.18). The order of the
 * steps and their number is observable, since a further round could find more: three rounds of deduction, as the kernel.
 */
import { Scalar, setConstant } from "./record";
import { outMask, tnumIntersect, tnumRange, tnumStep } from "./tnum";

const LOW: u64 = 0xffffffff;

function fromBits32(r: Scalar): void {
  const value = r.value as u32;
  const mask = r.mask as u32;
  r.s32min = max(r.s32min, (value | (mask & 0x80000000)) as i32);
  r.s32max = min(r.s32max, (value | (mask & 0x7fffffff)) as i32);
  r.u32min = max(r.u32min, value);
  r.u32max = min(r.u32max, value | mask);
}

function fromBits64(r: Scalar): void {
  r.smin = max(r.smin, (r.value | (r.mask & 0x8000000000000000)) as i64);
  r.smax = min(r.smax, (r.value | (r.mask & 0x7fffffffffffffff)) as i64);
  r.umin = max(r.umin, r.value);
  r.umax = min(r.umax, r.value | r.mask);
  // A range that holds one member of the tnum is that member.
  const next = tnumStep(r.value, r.mask, r.umin);
  const most = r.value | r.mask;
  if ((r.umin & ~r.mask) == r.value) {
    if (next > r.umax) setConstant(r, r.umin);
  } else if (next == most) {
    setConstant(r, most);
  } else if (next <= r.umax && tnumStep(r.value, r.mask, next) > r.umax) {
    setConstant(r, next);
  }
}

/** Ranges from known bits (__update_reg_bounds). */
export function fromBits(r: Scalar): void {
  fromBits32(r);
  fromBits64(r);
}

export { fromBits32 };

/**
 * 32-bit ranges (__reg32_deduce_bounds). If the upper halves of both ends are equal, the lower halves are a range; if they
 * follow each other and the lower half goes from negative to not negative, they are a signed one. A range that does not
 * cross the sign is the same in both readings.
 */
function deduce32(r: Scalar): void {
  if (r.umin >> 32 == r.umax >> 32) {
    r.u32min = max(r.u32min, r.umin as u32);
    r.u32max = min(r.u32max, r.umax as u32);
    if ((r.umin as i32) <= (r.umax as i32)) {
      r.s32min = max(r.s32min, r.umin as i32);
      r.s32max = min(r.s32max, r.umax as i32);
    }
  }
  if (r.smin >> 32 == r.smax >> 32) {
    if ((r.smin as u32) <= (r.smax as u32)) {
      r.u32min = max(r.u32min, r.smin as u32);
      r.u32max = min(r.u32max, r.smax as u32);
    }
    if ((r.smin as i32) <= (r.smax as i32)) {
      r.s32min = max(r.s32min, r.smin as i32);
      r.s32max = min(r.s32max, r.smax as i32);
    }
  }
  if (((r.umin >> 32) as u32) + 1 == ((r.umax >> 32) as u32) && (r.umin as i32) < 0 && (r.umax as i32) >= 0) {
    r.s32min = max(r.s32min, r.umin as i32);
    r.s32max = min(r.s32max, r.umax as i32);
  }
  if (((r.smin >> 32) as u32) + 1 == ((r.smax >> 32) as u32) && (r.smin as i32) < 0 && (r.smax as i32) >= 0) {
    r.s32min = max(r.s32min, r.smin as i32);
    r.s32max = min(r.s32max, r.smax as i32);
  }
  if ((r.u32min as i32) <= (r.u32max as i32)) {
    r.s32min = max(r.s32min, r.u32min as i32);
    r.s32max = min(r.s32max, r.u32max as i32);
  }
  if ((r.s32min as u32) <= (r.s32max as u32)) {
    r.u32min = max(r.s32min as u32, r.u32min);
    r.u32max = min(r.s32max as u32, r.u32max);
  } else if (r.u32max < (r.s32min as u32)) {
    // As in `deduce64`: the signed range is two unsigned ones, and only one of them is met.
    r.s32min = r.u32min as i32;
    r.u32max = min(r.u32max, r.s32max as u32);
  } else if ((r.s32max as u32) < r.u32min) {
    r.s32max = r.u32max as i32;
    r.u32min = max(r.u32min, r.s32min as u32);
  }
}

/**
 * 64-bit ranges from each other (__reg64_deduce_bounds). A signed range that crosses zero is two unsigned ones; if the
 * unsigned range meets only one of them, both become that part.
 */
function deduce64(r: Scalar): void {
  if ((r.umin as i64) <= (r.umax as i64)) {
    r.smin = max(r.smin, r.umin as i64);
    r.smax = min(r.smax, r.umax as i64);
  }
  if ((r.smin as u64) <= (r.smax as u64)) {
    r.umin = max(r.smin as u64, r.umin);
    r.umax = min(r.smax as u64, r.umax);
  } else if (r.umax < (r.smin as u64)) {
    r.smin = r.umin as i64;
    r.umax = min(r.umax, r.smax as u64);
  } else if ((r.smax as u64) < r.umin) {
    r.smax = r.umax as i64;
    r.umin = max(r.umin, r.smin as u64);
  }
}

/**
 * 64-bit ranges from 32-bit ones (__reg_deduce_mixed_bounds): the lower halves of both ends can be replaced. And a value
 * within 32 signed bits whose lower half is not negative is that lower half.
 */
function deduceMixed(r: Scalar): void {
  r.umin = max(r.umin, (r.umin & ~LOW) | (r.u32min as u64));
  r.umax = min(r.umax, (r.umax & ~LOW) | (r.u32max as u64));
  r.smin = max(r.smin, (((r.smin as u64) & ~LOW) | (r.u32min as u64)) as i64);
  r.smax = min(r.smax, (((r.smax as u64) & ~LOW) | (r.u32max as u64)) as i64);
  if (r.s32min >= 0 && r.smin >= (i32.MIN_VALUE as i64) && r.smax <= (i32.MAX_VALUE as i64)) {
    r.smin = r.s32min as i64;
    r.smax = r.s32max as i64;
    r.umin = r.s32min as i64 as u64;
    r.umax = r.s32max as i64 as u64;
    const value = tnumRange(r.smin as u64, r.smax as u64);
    r.value = tnumIntersect(r.value, r.mask, value, outMask);
    r.mask = outMask;
  }
}

/** Known bits from unsigned ranges (__reg_bound_offset). */
function toBits(r: Scalar): void {
  const range = tnumRange(r.umin, r.umax);
  const value = tnumIntersect(r.value, r.mask, range, outMask);
  const mask = outMask;
  const range32 = tnumRange(r.u32min as u64, r.u32max as u64);
  const value32 = tnumIntersect(value & LOW, mask & LOW, range32, outMask);
  const v = (value & ~LOW) | value32;
  r.value = v;
  r.mask = ((mask & ~LOW) | outMask) & ~v;
}

export function sync(r: Scalar): void {
  fromBits(r);
  for (let round = 0; round < 3; round++) {
    deduce32(r);
    deduce64(r);
    deduceMixed(r);
  }
  toBits(r);
  fromBits(r);
}

/** 1: an empty range, 2 and 3: a constant that a range contradicts (reg_bounds_sanity_check); 0: nothing wrong. */
export function violation(r: Scalar): i32 {
  if (r.umin > r.umax || r.smin > r.smax || r.u32min > r.u32max || r.s32min > r.s32max) return 1;
  if (r.mask == 0) {
    const v = r.value;
    if (r.umin != v || r.umax != v || r.smin != (v as i64) || r.smax != (v as i64)) return 2;
  }
  if ((r.mask as u32) == 0) {
    const v = r.value as u32;
    if (r.u32min != v || r.u32max != v || r.s32min != (v as i32) || r.s32max != (v as i32)) return 3;
  }
  return 0;
}

/** The upper half becomes zero (zext_32_to_64). */
export function zeroExtend(r: Scalar): void {
  r.value &= LOW;
  r.mask &= LOW;
  r.umin = r.u32min as u64;
  r.umax = r.u32max as u64;
  if (r.s32min >= 0 && r.s32max >= 0) {
    r.smin = r.s32min as i64;
    r.smax = r.s32max as i64;
  } else {
    r.smin = 0;
    r.smax = LOW as i64;
  }
}
