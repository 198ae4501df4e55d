/** Jenkins' lookup3 hash as Linux has it (linux/jhash.h): bloom filters and stack ids are made with it. */

const INITIAL: u32 = 0xdeadbeef;

let a: u32 = 0;
let b: u32 = 0;
let c: u32 = 0;

function mixAll(): void {
  a -= c;
  a ^= rotl<u32>(c, 4);
  c += b;
  b -= a;
  b ^= rotl<u32>(a, 6);
  a += c;
  c -= b;
  c ^= rotl<u32>(b, 8);
  b += a;
  a -= c;
  a ^= rotl<u32>(c, 16);
  c += b;
  b -= a;
  b ^= rotl<u32>(a, 19);
  a += c;
  c -= b;
  c ^= rotl<u32>(b, 4);
  b += a;
}

function finish(): u32 {
  c ^= b;
  c -= rotl<u32>(b, 14);
  a ^= c;
  a -= rotl<u32>(c, 11);
  b ^= a;
  b -= rotl<u32>(a, 25);
  c ^= b;
  c -= rotl<u32>(b, 16);
  a ^= c;
  a -= rotl<u32>(c, 4);
  b ^= a;
  b -= rotl<u32>(a, 14);
  c ^= b;
  c -= rotl<u32>(b, 24);
  return c;
}

/** jhash2, over 32-bit words. */
export function jhashWords(from: u32, words: u32, seed: u32): u32 {
  a = b = c = INITIAL + (words << 2) + seed;
  while (words > 3) {
    a += load<u32>(from);
    b += load<u32>(from, 4);
    c += load<u32>(from, 8);
    mixAll();
    words -= 3;
    from += 12;
  }
  if (words == 0) return c;
  if (words == 3) c += load<u32>(from, 8);
  if (words >= 2) b += load<u32>(from, 4);
  a += load<u32>(from);
  return finish();
}

/** jhash, over bytes. */
export function jhashBytes(from: u32, size: u32, seed: u32): u32 {
  a = b = c = INITIAL + size + seed;
  while (size > 12) {
    a += load<u32>(from);
    b += load<u32>(from, 4);
    c += load<u32>(from, 8);
    mixAll();
    size -= 12;
    from += 12;
  }
  if (size == 0) return c;
  a += word(from, size);
  if (size > 4) b += word(from + 4, size - 4);
  if (size > 8) c += word(from + 8, size - 8);
  return finish();
}

/** Up to four bytes in little-endian order. */
function word(from: u32, size: u32): u32 {
  if (size >= 4) return load<u32>(from);
  let value = u32(load<u8>(from));
  if (size > 1) value |= u32(load<u8>(from, 1)) << 8;
  if (size > 2) value |= u32(load<u8>(from, 2)) << 16;
  return value;
}
