/**
 * Hashing of map keys: multiplications by secret odd numbers of which the upper half counts, so that keys that collide can't be
 * prepared (multiply-shift hashing: Dietzfelbinger et al. 1997). Key sizes 4, 8 and 16 have their own routines, since most
 * maps use them; of 16 bytes both halves are multiplied at once. Of longer keys the halves of each eight bytes, with secret numbers
 * added, are multiplied with one another and the products summed up (multilinear hashing: Lemire, Kaser 2014): no product
 * waits for the one before it, which makes a lookup of 40 bytes as fast as one of 16.
 */
import { tail, words } from "../bytes";

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
  let sum = seed ^ size;
  let secret = factor;
  let at: u32 = 0;
  for (; at + 8 <= size; at += 8) {
    sum += u64(load<u32>(key + at) + u32(secret)) * u64(load<u32>(key + at, 4) + u32(secret >> 32));
    secret += other;
  }
  return u32(fold(sum ^ (tail(key + at, size & 7) * other)));
}

export function hashKey(key: u32, size: u32): u32 {
  if (size == 4) return hash4(key);
  if (size == 8) return hash8(key);
  if (size == 16) return hash16(key);
  return hashBytes(key, size);
}
