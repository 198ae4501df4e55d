/** Sign extension (coerce_reg_to_size_sx, coerce_subreg_to_size_sx of kernel/bpf/verifier.c). */
import { Scalar, isConstant, setConstant } from "./record";
import { outMask, tnumRange } from "./tnum";

function extended(value: i64, size: i32): i64 {
  const shift = 64 - size * 8;
  return (value << shift) >> shift;
}

/** The lowest `size` bytes (1, 2, 4), sign-extended to 64 bits. */
export function signExtend(r: Scalar, size: i32): void {
  if (isConstant(r)) {
    setConstant(r, extended(r.value as i64, size) as u64);
    return;
  }
  const bits = size * 8;
  if ((r.smax as u64) >> bits == (r.smin as u64) >> bits) {
    const a = extended(r.smax, size);
    const b = extended(r.smin, size);
    const most = max(a, b);
    const least = min(a, b);
    if (most >= 0 == least >= 0) {
      r.smin = least;
      r.smax = most;
      r.s32min = least as i32;
      r.s32max = most as i32;
      r.umin = least as u64;
      r.umax = most as u64;
      r.u32min = least as u32;
      r.u32max = most as u32;
      r.value = tnumRange(least as u64, most as u64);
      r.mask = outMask;
      return;
    }
  }
  const least = -(i64(1) << (bits - 1));
  const most = -1 - least;
  r.smin = least;
  r.smax = most;
  r.s32min = least as i32;
  r.s32max = most as i32;
  r.umin = 0;
  r.umax = u64.MAX_VALUE;
  r.u32min = 0;
  r.u32max = u32.MAX_VALUE;
  r.value = 0;
  r.mask = u64.MAX_VALUE;
}

/** The lowest `size` bytes (1, 2), sign-extended to 32 bits; the upper half is the caller's. */
export function signExtend32(r: Scalar, size: i32): void {
  const bits = size * 8;
  if (isConstant(r)) {
    // The kernel keeps the sign-extended 64 bits here; its caller clears the upper half.
    const value = extended(r.value as i64, size);
    r.value = value as u64;
    r.s32min = value as i32;
    r.s32max = value as i32;
    r.u32min = value as u32;
    r.u32max = value as u32;
    return;
  }
  if ((r.s32max as u32) >> bits == (r.s32min as u32) >> bits) {
    const a = extended(r.s32max as i64, size) as i32;
    const b = extended(r.s32min as i64, size) as i32;
    const most = max(a, b);
    const least = min(a, b);
    if (least >= 0 == most >= 0) {
      r.s32min = least;
      r.s32max = most;
      r.u32min = least as u32;
      r.u32max = most as u32;
      r.value = tnumRange(least as i64 as u64, most as i64 as u64) & 0xffffffff;
      r.mask = outMask & 0xffffffff;
      return;
    }
  }
  const least = -(i32(1) << (bits - 1));
  r.s32min = least;
  r.s32max = -1 - least;
  r.u32min = 0;
  r.u32max = u32.MAX_VALUE;
  r.value = 0;
  r.mask = 0xffffffff;
}
