/**
 * Hashing of map keys: multiply and fold of 64-bit lanes, with a seed for each machine so that keys that
 * collide can't be prepared. Key sizes 4, 8 and 16 have their own routines, since most maps use them.
 */
import { tail } from "../bytes";

const K1: u64 = (u64(0x9e3779b9) << 32) | 0x7f4a7c15;
const K2: u64 = (u64(0xd6e8feb8) << 32) | 0x6659fd93;

let seed: u64 = 0;

export function setHashSeed(value: u64): void {
  seed = value;
}

/** Both halves of the product matter: the upper bits depend on all bits below them, the fold brings them down. */
function fold(value: u64): u64 {
  value *= K1;
  value ^= value >> 32;
  value *= K2;
  return value ^ (value >> 32);
}

export function hash4(key: u32): u32 {
  return u32(fold(load<u32>(key) ^ seed));
}

export function hash8(key: u32): u32 {
  return u32(fold(load<u64>(key) ^ seed));
}

export function hash16(key: u32): u32 {
  return u32(fold(fold(load<u64>(key) ^ seed) ^ load<u64>(key, 8)));
}

export function hashBytes(key: u32, size: u32): u32 {
  let value = seed ^ size;
  let at: u32 = 0;
  for (; at + 8 <= size; at += 8) value = fold(value ^ load<u64>(key + at));
  return u32(fold(value ^ tail(key + at, size & 7)));
}

export function hashKey(key: u32, size: u32): u32 {
  if (size == 4) return hash4(key);
  if (size == 8) return hash8(key);
  if (size == 16) return hash16(key);
  return hashBytes(key, size);
}
