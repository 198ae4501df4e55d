/** Bits of keys in network order: bit 0 is the highest of the first byte. */

export function bitAt(data: u32, index: u32): u32 {
  return (u32(load<u8>(data + (index >> 3))) >> (7 - (index & 7))) & 1;
}

/** 64 bits of a key as a number, the first bit highest; bytes beyond its end are 0 and not read. */
export function lane(data: u32, size: u32): u64 {
  if (size >= 8) return bswap<u64>(load<u64>(data));
  let value: u64 = 0;
  let shift: u64 = 64;
  if ((size & 4) != 0) {
    shift -= 32;
    value = u64(bswap<u32>(load<u32>(data))) << shift;
    data += 4;
  }
  if ((size & 2) != 0) {
    shift -= 16;
    value |= u64(bswap<u16>(load<u16>(data))) << shift;
    data += 2;
  }
  if ((size & 1) != 0) value |= u64(load<u8>(data)) << (shift - 8);
  return value;
}

/** Leading bits that two keys of `size` bytes have in common, at most `limit`. */
export function matchLength(a: u32, b: u32, size: u32, limit: u32): u32 {
  for (let at: u32 = 0; at << 3 < limit; at += 8) {
    const different = lane(a + at, size - at) ^ lane(b + at, size - at);
    if (different != 0) return min((at << 3) + u32(clz(different)), limit);
  }
  return limit;
}
