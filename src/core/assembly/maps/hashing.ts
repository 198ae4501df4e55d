/**
 * Hashing of map keys: multiplications with secret numbers of which the upper half counts, so that keys that collide can't be
 * prepared. Key sizes 4, 8 and 16 have their own routines, since most maps use them. 4 bytes are multiplied by an odd number
 * (multiply-shift hashing: Dietzfelbinger et al. 1997). Of 8 and 16 the two words of each eight bytes, with secret numbers of 64 bits
 * added, are multiplied with one another (pair-multiply-shift hashing: Thorup 2015). So are those of longer keys, with numbers of 32 bits
 * (multilinear hashing: Lemire, Kaser 2014). The products are summed up: none waits for the one before it.
 */
import { tail, words } from "../bytes";

const K1: u64 = (u64(0x9e3779b9) << 32) | 0x7f4a7c15;
const K2: u64 = (u64(0xd6e8feb8) << 32) | 0x6659fd93;

let seed: u64 = 0;
let factor: u64 = 1;
let other: u64 = 1;
let first: u64 = 0;
let second: u64 = 0;
let third: u64 = 0;
let fourth: u64 = 0;

export function setHashSeed(value: u64): void {
  seed = value;
  factor = (value * K1) | 1;
  other = ((value ^ K1) * K2) | 1;
  first = fold(value + K2);
  second = fold(first + K2);
  third = fold(second + K2);
  fourth = fold(third + K2);
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

/** Counters in one word fall in steps of one length; put over one another at two scales they fall as at random. */
function spread(sum: u64): u32 {
  const upper = u32(sum >> 32);
  return upper ^ (upper >> 15);
}

export function hash8(key: u32): u32 {
  return spread((first + load<u32>(key)) * (second + load<u32>(key, 4)));
}

export function hash16(key: u32): u32 {
  const left = (first + load<u32>(key)) * (second + load<u32>(key, 4));
  return spread(left + (third + load<u32>(key, 8)) * (fourth + load<u32>(key, 12)));
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
