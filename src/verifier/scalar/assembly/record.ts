/**
 * A scalar value as the verifier knows it: which bits are known (a tnum), and four ranges that the value lies in. Field by
 * field what struct bpf_reg_state has in Linux 6.18.
 */
@unmanaged
export class Scalar {
  /** Bits that are known to be set. */
  value: u64;
  /** Bits that are unknown; disjoint from `value`. */
  mask: u64;
  smin: i64;
  smax: i64;
  umin: u64;
  umax: u64;
  s32min: i32;
  s32max: i32;
  u32min: u32;
  u32max: u32;
}

/** Bytes of the fields above; two words of bookkeeping follow in the table. */
export const FIELDS: usize = 64;

export function copy(to: Scalar, from: Scalar): void {
  memory.copy(changetype<usize>(to), changetype<usize>(from), FIELDS);
}

export function unbound64(r: Scalar): void {
  r.smin = i64.MIN_VALUE;
  r.smax = i64.MAX_VALUE;
  r.umin = 0;
  r.umax = u64.MAX_VALUE;
}

export function unbound32(r: Scalar): void {
  r.s32min = i32.MIN_VALUE;
  r.s32max = i32.MAX_VALUE;
  r.u32min = 0;
  r.u32max = u32.MAX_VALUE;
}

export function setUnknown(r: Scalar): void {
  r.value = 0;
  r.mask = u64.MAX_VALUE;
  unbound64(r);
  unbound32(r);
}

export function setConstant(r: Scalar, value: u64): void {
  r.value = value;
  r.mask = 0;
  r.smin = value as i64;
  r.smax = value as i64;
  r.umin = value;
  r.umax = value;
  setConstant32Bounds(r, value as u32);
}

export function setConstant32Bounds(r: Scalar, value: u32): void {
  r.s32min = value as i32;
  r.s32max = value as i32;
  r.u32min = value;
  r.u32max = value;
}

export function isConstant(r: Scalar): bool {
  return r.mask == 0;
}

export function isConstant32(r: Scalar): bool {
  return (r.mask & 0xffffffff) == 0;
}
