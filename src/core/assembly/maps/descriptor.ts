/** What the map types have in common. */
import { MAP_FLAGS, MAP_TYPE, RIGHT_READ, RIGHT_WRITE } from "../../layout";
import {
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY_PROG,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_HASH,
} from "../uapi";

export function isPerCpu(map: u32): bool {
  const type = load<i32>(map, MAP_TYPE);
  return type == MAP_TYPE_PERCPU_ARRAY || type == MAP_TYPE_PERCPU_HASH || type == MAP_TYPE_LRU_PERCPU_HASH;
}

export function isLru(map: u32): bool {
  const type = load<i32>(map, MAP_TYPE);
  return type == MAP_TYPE_LRU_HASH || type == MAP_TYPE_LRU_PERCPU_HASH;
}

/** Two lines of the cache, as processors fetch them: two threads that write in one wait for each other. */
export const CACHE_LINE: u32 = 128;

/** Values lie 8 bytes aligned, as in the kernel. 64 bits, so that sizes near 4 GiB don't wrap. */
export function roundUp8(size: u32): u64 {
  return (u64(size) + 7) & ~7;
}

/** What programs may do with its values: RIGHT_ constants. */
export function rightsOf(map: u32): i32 {
  const flags = load<u32>(map, MAP_FLAGS);
  if ((flags & BPF_F_RDONLY_PROG) != 0) return RIGHT_READ;
  return (flags & BPF_F_WRONLY_PROG) != 0 ? RIGHT_WRITE : RIGHT_READ | RIGHT_WRITE;
}
