import { EINVAL } from "../uapi";

/** The ones' complement sum of the `to` words less that of the `from` words, plus the seed, folded to 16 bits. */
export function csum_diff(from: u32, fromSize: u32, to: u32, toSize: u32, seed: u32): u64 {
  if (((fromSize | toSize) & 3) != 0) return u64(-EINVAL);
  let sum = u64(seed);
  for (let at: u32 = 0; at < toSize; at += 4) sum += load<u32>(to + at);
  for (let at: u32 = 0; at < fromSize; at += 4) sum += ~load<u32>(from + at);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}
