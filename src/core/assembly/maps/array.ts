/** array and percpu_array: values by index, one area for each CPU in the latter. */
import {
  MAP_CPU_STRIDE,
  MAP_MAX_ENTRIES,
  MAP_RECORD,
  MAP_STRIDE,
  MAP_TYPE,
  MAP_VALUE_SIZE,
  MAP_VALUES,
  REGION_MAP_VALUE,
} from "../../layout";
import { alloc, free } from "../allocator";
import { freeOwned } from "../owned";
import { region_add, setStride } from "../sandbox/regions";
import { cpus } from "../state";
import {
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_NOEXIST,
  E2BIG,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOMEM,
  MAP_TYPE_ARRAY,
  MAP_TYPE_PERCPU_ARRAY,
} from "../uapi";
import { CACHE_LINE, isPerCpu, rightsOf, roundUp8 } from "./descriptor";
import { copyLocked, copyValue, hasSpinLock } from "./values";

/** The bytes of a CPU's values, in whole values, such that with threads the next CPU's lie in other cache lines. */
function apart(size: u64, stride: u32): u64 {
  if (!ASC_FEATURE_THREADS || stride > CACHE_LINE) return size;
  const step = u64(stride) * (CACHE_LINE / min<u32>(stride & (0 - stride), CACHE_LINE));
  return ((size + step - 1) / step) * step;
}

/** Storage for a map whose attributes have been checked. 0 or -errno. */
export function arrayCreate(map: u32): i32 {
  const stride = roundUp8(load<u32>(map, MAP_VALUE_SIZE));
  const perCpu = isPerCpu(map);
  const wanted = u64(load<u32>(map, MAP_MAX_ENTRIES)) * stride;
  const area = perCpu ? apart(wanted, u32(stride)) : wanted;
  const size = perCpu ? area * cpus : area;
  if (area > u64(u32.MAX_VALUE) || size > u64(u32.MAX_VALUE)) return -ENOMEM;
  const values = alloc(u32(size), perCpu ? CACHE_LINE : 8);
  if (values == 0) return -ENOMEM;
  store<u32>(map, values, MAP_VALUES);
  store<u32>(map, u32(stride), MAP_STRIDE);
  store<u32>(map, perCpu ? u32(area) : 0, MAP_CPU_STRIDE);
  // Programs may touch values; what arrays of programs and the like hold is not theirs.
  const type = load<i32>(map, MAP_TYPE);
  if (type == MAP_TYPE_ARRAY || type == MAP_TYPE_PERCPU_ARRAY) {
    for (let at: u32 = 0; at < u32(size); at += u32(area)) {
      const region = region_add(values + at, u32(wanted), REGION_MAP_VALUE, rightsOf(map), map);
      setStride(region, u32(stride), 0, load<u32>(map, MAP_VALUE_SIZE));
    }
  }
  return 0;
}

export function arrayLookup(map: u32, key: u32, cpu: u32): u32 {
  const index = load<u32>(key);
  if (index >= load<u32>(map, MAP_MAX_ENTRIES)) return 0;
  return (
    load<u32>(map, MAP_VALUES) + index * load<u32>(map, MAP_STRIDE) + cpu * load<u32>(map, MAP_CPU_STRIDE)
  );
}

/** What an update checks, in the kernel's order. */
export function arrayCheckUpdate(map: u32, key: u32, flags: u64): i32 {
  if ((flags & ~BPF_F_LOCK) > u64(BPF_EXIST)) return -EINVAL;
  if (load<u32>(key) >= load<u32>(map, MAP_MAX_ENTRIES)) return -E2BIG;
  if ((flags & BPF_NOEXIST) != 0) return -EEXIST;
  return (flags & BPF_F_LOCK) != 0 && !hasSpinLock(map) ? -EINVAL : 0;
}

export function arrayUpdate(map: u32, key: u32, value: u32, flags: u64, cpu: u32): i32 {
  const status = arrayCheckUpdate(map, key, flags);
  if (status != 0) return status;
  const to = arrayLookup(map, key, cpu);
  if ((flags & BPF_F_LOCK) != 0) copyLocked(map, to, value, to);
  else copyValue(map, to, value);
  freeOwned(map, to);
  return 0;
}

export function arrayFree(map: u32): void {
  const values = load<u32>(map, MAP_VALUES);
  if (load<u32>(map, MAP_RECORD) != 0) {
    const copies: u32 = isPerCpu(map) ? cpus : 1;
    for (let index = load<u32>(map, MAP_MAX_ENTRIES); index != 0; index--) {
      const value = values + (index - 1) * load<u32>(map, MAP_STRIDE);
      for (let cpu: u32 = 0; cpu < copies; cpu++)
        freeOwned(map, value + cpu * load<u32>(map, MAP_CPU_STRIDE));
    }
  }
  free(values);
}

/** Indices in order; a key that is no index starts over. */
export function arrayNextKey(map: u32, key: u32, next: u32): i32 {
  const index = key == 0 ? u32.MAX_VALUE : load<u32>(key);
  const count = load<u32>(map, MAP_MAX_ENTRIES);
  if (index >= count) store<u32>(next, 0);
  else if (index == count - 1) return -ENOENT;
  else store<u32>(next, index + 1);
  return 0;
}
