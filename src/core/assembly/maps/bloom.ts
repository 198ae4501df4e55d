/**
 * bloom_filter (kernel/bpf/bloom_filter.c). With BPF_F_ZERO_SEED even its false positives are the kernel's: same hash,
 * same number of bits.
 */
import { CORE_SEED, MAP_EXTRA, MAP_FLAGS, MAP_MAX_ENTRIES, MAP_VALUE_SIZE, MAP_VALUES } from "../../layout";
import { alloc } from "../allocator";
import { BPF_F_ZERO_SEED, EINVAL, ENOENT, ENOMEM } from "../uapi";
import { BLOOM_HASHES, BLOOM_MASK, BLOOM_SEED } from "./fields";
import { jhashBytes, jhashWords } from "./jhash";

const DEFAULT_HASHES: u32 = 5;

export function bloomCreate(map: u32): i32 {
  const extra = load<u32>(map, MAP_EXTRA);
  const hashes = extra == 0 ? DEFAULT_HASHES : extra;
  // The best number of bits is n * k / ln 2, which 7 / 5 comes near; all in 32 bits, as in the kernel.
  const product = u64(load<u32>(map, MAP_MAX_ENTRIES)) * hashes;
  const bits = (product / 5) * 7;
  let mask = u32.MAX_VALUE;
  if (product <= u64(u32.MAX_VALUE) && bits <= u64(1) << 31) {
    mask = bits <= 64 ? 63 : u32((u64(1) << (64 - clz(bits - 1))) - 1);
  }
  const values = alloc((mask >> 3) + 1, 8);
  if (values == 0) return -ENOMEM;
  store<u32>(map, values, MAP_VALUES);
  store<u32>(map, mask, BLOOM_MASK);
  store<u32>(map, hashes, BLOOM_HASHES);
  const zeroSeed = (load<u32>(map, MAP_FLAGS) & BPF_F_ZERO_SEED) != 0;
  store<u32>(map, zeroSeed ? 0 : u32(load<u64>(CORE_SEED) >> 32), BLOOM_SEED);
  return 0;
}

function bitOf(map: u32, value: u32, index: u32): u32 {
  const size = load<u32>(map, MAP_VALUE_SIZE);
  const seed = load<u32>(map, BLOOM_SEED) + index;
  const hash = (size & 3) == 0 ? jhashWords(value, size >> 2, seed) : jhashBytes(value, size, seed);
  return hash & load<u32>(map, BLOOM_MASK);
}

/** 0 if the value may be in it, -ENOENT if it is not. */
export function bloomPeek(map: u32, value: u32): i32 {
  const hashes = load<u32>(map, BLOOM_HASHES);
  for (let index: u32 = 0; index < hashes; index++) {
    const bit = bitOf(map, value, index);
    if (((load<u8>(load<u32>(map, MAP_VALUES) + (bit >> 3)) >> u8(bit & 7)) & 1) == 0) return -ENOENT;
  }
  return 0;
}

export function bloomPush(map: u32, value: u32, flags: u64): i32 {
  if (flags != 0) return -EINVAL;
  const hashes = load<u32>(map, BLOOM_HASHES);
  for (let index: u32 = 0; index < hashes; index++) {
    const bit = bitOf(map, value, index);
    const at = load<u32>(map, MAP_VALUES) + (bit >> 3);
    if (ASC_FEATURE_THREADS) atomic.or<u8>(at, u8(1) << u8(bit & 7));
    else store<u8>(at, load<u8>(at) | (u8(1) << u8(bit & 7)));
  }
  return 0;
}
