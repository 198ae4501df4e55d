/**
 * Division and modulo of RFC 9669, section 4.1: division by zero gives 0, modulo by zero leaves the dividend, and the
 * smallest number divided by -1 is itself with remainder 0, where WebAssembly would trap.
 */

export function divU64(a: u64, b: u64): u64 {
  return b == 0 ? 0 : a / b;
}

export function modU64(a: u64, b: u64): u64 {
  return b == 0 ? a : a % b;
}

export function divS64(a: i64, b: i64): i64 {
  if (b == 0) return 0;
  return b == -1 ? 0 - a : a / b;
}

// WebAssembly's remainder does not trap on the smallest number and -1.
export function modS64(a: i64, b: i64): i64 {
  return b == 0 ? a : a % b;
}

export function divU32(a: u32, b: u32): u32 {
  return b == 0 ? 0 : a / b;
}

export function modU32(a: u32, b: u32): u32 {
  return b == 0 ? a : a % b;
}

export function divS32(a: i32, b: i32): i32 {
  if (b == 0) return 0;
  return b == -1 ? 0 - a : a / b;
}

export function modS32(a: i32, b: i32): i32 {
  return b == 0 ? a : a % b;
}

/** `bswap` and `be` of 16, 32 or 64 bits: the low bits in reverse byte order, the rest zero. */
export function swapBytes(value: u64, bits: i32): u64 {
  if (bits == 16) return u64(bswap<u16>(u16(value)));
  if (bits == 32) return u64(bswap<u32>(u32(value)));
  return bswap<u64>(value);
}

/** `le` on this little-endian machine: the low bits. */
export function truncate(value: u64, bits: i32): u64 {
  if (bits == 16) return value & 0xffff;
  if (bits == 32) return value & 0xffffffff;
  return value;
}
