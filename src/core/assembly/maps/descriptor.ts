/** What the map types have in common. */
import { MAP_TYPE } from "../../layout";
import { MAP_TYPE_LRU_PERCPU_HASH, MAP_TYPE_PERCPU_ARRAY, MAP_TYPE_PERCPU_HASH } from "../uapi";

export function isPerCpu(map: u32): bool {
  const type = load<i32>(map, MAP_TYPE);
  return type == MAP_TYPE_PERCPU_ARRAY || type == MAP_TYPE_PERCPU_HASH || type == MAP_TYPE_LRU_PERCPU_HASH;
}

/** Values lie 8 bytes aligned, as in the kernel. 64 bits, so that sizes near 4 GiB don't wrap. */
export function roundUp8(size: u32): u64 {
  return (u64(size) + 7) & ~7;
}
