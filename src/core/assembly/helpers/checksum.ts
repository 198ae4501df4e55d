/**
 * The Internet checksum as Linux computes it (RFC 1071; lib/checksum.c, net/core/filter.c bpf_csum_diff). Ones'
 * complement has two zeros, and programs see which one comes out: a sum is 0 only if everything summed is 0.
 */

/** The sum of 32-bit words, the last one filled up with zero bytes, folded to 32 bits. */
function partial(address: usize, size: u32, sum: u32): u32 {
  let total = u64(sum);
  const whole = size & ~3;
  for (let at: u32 = 0; at < whole; at += 4) total += load<u32>(address + at);
  let rest: u32 = 0;
  for (let at = whole; at < size; at++) rest |= u32(load<u8>(address + at)) << ((at & 3) << 3);
  total += rest;
  total = (total & 0xffffffff) + (total >> 32);
  total = (total & 0xffffffff) + (total >> 32);
  return u32(total);
}

function add(a: u32, b: u32): u32 {
  const sum = a + b;
  return sum + u32(sum < b);
}

/** Takes the `from` bytes out of a checksum and puts the `to` bytes in; folded to 16 bits. */
export function csum_diff(from: u32, fromSize: u32, to: u32, toSize: u32, seed: u32): u64 {
  let sum = seed;
  if (fromSize != 0 && toSize != 0) sum = add(partial(to, toSize, seed), ~partial(from, fromSize, 0));
  else if (toSize != 0) sum = partial(to, toSize, seed);
  else if (fromSize != 0) sum = ~partial(from, fromSize, ~seed);
  return u64((sum + rotl<u32>(sum, 16)) >> 16);
}
