/**
 * Hashing of map keys: multiplications by secret odd numbers of which the upper half counts, so that keys that collide can't be
 * prepared (multiply-shift hashing: Dietzfelbinger et al. 1997). Key sizes 4, 8 and 16 have their own routines, since most
 * maps use them; of 16 bytes both halves are multiplied at once.
 */
import { tail } from "../bytes";

const K1: u64 = (u64(0x9e3779b9) << 32) | 0x7f4a7c15;
const K2: u64 = (u64(0xd6e8feb8) << 32) | 0x6659fd93;

let seed: u64 = 0;
let factor: u64 = 1;
let other: u64 = 1;

export function setHashSeed(value: u64): void {
  seed = value;
  factor = (value * K1) | 1;
  other = ((value ^ K1) * K2) | 1;
}

/** Both halves of the product matter: the upper bits depend on all bits below them, the fold brings them down. */
function fold(value: u64): u64 {
  value *= K1;
  value ^= value >> 32;
  value *= K2;
  return value ^ (value >> 32);
}

export function hash4(key: u32): u32 {
  return u32((u64(load<u32>(key)) * factor) >> 32);
}

/**
 * Eight bytes of a key, read as two words: programs write keys field by field, and a load of 64 bits that two stores of 32
 * have just made waits until both have left the processor's store buffer (18 ns a lookup instead of 11).
 */
export function words(from: u32): u64 {
  return u64(load<u32>(from)) | (u64(load<u32>(from, 4)) << 32);
}

/** Of 64 bits only the lower half of the product is at hand, which its upper bits do not reach: they are folded in first. */
export function hash8(key: u32): u32 {
  const value = words(key);
  return u32(((value ^ ((value >> 32) * other)) * factor) >> 32);
}

export function hash16(key: u32): u32 {
  const low = words(key);
  const high = words(key + 8);
  return u32((((low ^ ((low >> 32) * other)) * factor) ^ ((high ^ ((high >> 32) * factor)) * other)) >> 32);
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
