/**
 * hash, percpu_hash and their LRU kinds: chained buckets, as many as the kernel takes (a power of two, at least
 * max_entries).
 *
 * An update of a key that exists does not overwrite its value: a new element takes the place of the old one at
 * the head of the chain, and only then does the old one become free. So, as in the kernel, a program that
 * holds a pointer to the old value goes on seeing the old value. Preallocated maps keep a spare element for each CPU
 * for this, so that a full map can be updated. Per-CPU values are written in place.
 */
import {
  MAP_COUNT,
  MAP_CPU_STRIDE,
  MAP_FLAGS,
  MAP_KEY_SIZE,
  MAP_MAX_ENTRIES,
  MAP_TYPE,
  MAP_VALUE_SIZE,
} from "../../layout";
import { alloc, free } from "../allocator";
import { copyBytes, equalBytes, zeroBytes } from "../bytes";
import { cpus, exec_cpu } from "../state";
import {
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_F_NO_PREALLOC,
  BPF_NOEXIST,
  E2BIG,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOMEM,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
} from "../uapi";
import { isPerCpu, roundUp8 } from "./descriptor";
import { poolCreate, poolFree, poolGive, poolTake } from "./elements";
import {
  ELEMENT_HASH,
  ELEMENT_KEY,
  HASH_BUCKETS,
  HASH_MASK,
  HASH_SPARES,
  HASH_VALUE,
  LRU_NODE,
} from "./fields";
import { hash16, hash4, hash8, hashBytes, hashKey } from "./hashing";
import { lruAdd, lruCreate, lruRemove, lruTouch, lruVictim } from "./lru";

function isLru(map: u32): bool {
  const type = load<i32>(map, MAP_TYPE);
  return type == MAP_TYPE_LRU_HASH || type == MAP_TYPE_LRU_PERCPU_HASH;
}

/** Storage for a map whose attributes have been checked. 0 or -errno. */
export function hashCreate(map: u32): i32 {
  const lru = isLru(map);
  const entries = load<u32>(map, MAP_MAX_ENTRIES);
  const buckets = entries == 1 ? 1 : u32(1) << (32 - clz(entries - 1));
  const perCpu = isPerCpu(map);
  const valueStride = roundUp8(load<u32>(map, MAP_VALUE_SIZE));
  const value = ELEMENT_KEY + roundUp8(load<u32>(map, MAP_KEY_SIZE));
  const stride = value + valueStride * (perCpu ? cpus : 1) + (lru ? LRU_NODE : 0);
  if (stride > u64(i32.MAX_VALUE)) return -ENOMEM;
  const preallocate = (load<u32>(map, MAP_FLAGS) & BPF_F_NO_PREALLOC) == 0;
  const spares = preallocate && !perCpu;
  store<u32>(map, u32(value), HASH_VALUE);
  store<u32>(map, perCpu ? u32(valueStride) : 0, MAP_CPU_STRIDE);
  store<u32>(map, buckets - 1, HASH_MASK);
  if (lru) lruCreate(map);
  const table = alloc(buckets << 2, 8);
  store<u32>(map, table, HASH_BUCKETS);
  const blocks = preallocate ? entries + (spares ? cpus : 0) : u32.MAX_VALUE;
  if (table == 0 || !poolCreate(map, u32(stride), blocks, preallocate)) {
    hashFree(map);
    return -ENOMEM;
  }
  if (spares) {
    const list = alloc(cpus << 2, 8);
    store<u32>(map, list, HASH_SPARES);
    if (list == 0) {
      hashFree(map);
      return -ENOMEM;
    }
    for (let cpu: u32 = 0; cpu < cpus; cpu++) store<u32>(list + (cpu << 2), take(map, lru));
  }
  return 0;
}

export function hashFree(map: u32): void {
  poolFree(map);
  free(load<u32>(map, HASH_SPARES));
  free(load<u32>(map, HASH_BUCKETS));
}

function bucketOf(map: u32, hash: u32): u32 {
  return load<u32>(map, HASH_BUCKETS) + ((hash & load<u32>(map, HASH_MASK)) << 2);
}

/** The element with this key, or 0. */
function find(map: u32, key: u32): u32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  if (size == 4) {
    const wanted = load<u32>(key);
    let element = load<u32>(bucketOf(map, hash4(key)));
    while (element != 0 && load<u32>(element, ELEMENT_KEY) != wanted) element = load<u32>(element);
    return element;
  }
  if (size == 8) {
    const wanted = load<u64>(key);
    let element = load<u32>(bucketOf(map, hash8(key)));
    while (element != 0 && load<u64>(element, ELEMENT_KEY) != wanted) element = load<u32>(element);
    return element;
  }
  if (size == 16) {
    const low = load<u64>(key);
    const high = load<u64>(key, 8);
    let element = load<u32>(bucketOf(map, hash16(key)));
    while (
      element != 0 &&
      (load<u64>(element, ELEMENT_KEY) != low || load<u64>(element, ELEMENT_KEY + 8) != high)
    ) {
      element = load<u32>(element);
    }
    return element;
  }
  const hash = hashBytes(key, size);
  let element = load<u32>(bucketOf(map, hash));
  while (
    element != 0 &&
    (load<u32>(element, ELEMENT_HASH) != hash || !equalBytes(element + ELEMENT_KEY, key, size))
  ) {
    element = load<u32>(element);
  }
  return element;
}

/** Address of the value on a CPU, or 0. */
export function hashLookup(map: u32, key: u32, cpu: u32): u32 {
  const element = find(map, key);
  if (element == 0) return 0;
  return hashValue(map, element, cpu);
}

/** The same for a program: in an LRU map the element counts as used (bpf(2) leaves no such trace). */
export function lruLookup(map: u32, key: u32, cpu: u32): u32 {
  const element = find(map, key);
  if (element == 0) return 0;
  lruTouch(element);
  return hashValue(map, element, cpu);
}

/** Address of an element's value on a CPU. */
export function hashValue(map: u32, element: u32, cpu: u32): u32 {
  return element + load<u32>(map, HASH_VALUE) + cpu * load<u32>(map, MAP_CPU_STRIDE);
}

/** What an update checks before it looks at memory, in the kernel's order. */
function checkUpdate(map: u32, exists: bool, flags: u64): i32 {
  const action = isPerCpu(map) || isLru(map) ? flags : flags & ~BPF_F_LOCK;
  if (action > u64(BPF_EXIST)) return -EINVAL;
  // No map of ours has a bpf_spin_lock yet.
  if ((flags & BPF_F_LOCK) != 0) return -EINVAL;
  if (exists) return action == BPF_NOEXIST ? -EEXIST : 0;
  return action == BPF_EXIST ? -ENOENT : 0;
}

/** Sets the value: of a per-CPU map on one CPU, or on all when `allCpus` (then `value` holds one for each). */
export function hashUpdate(map: u32, key: u32, value: u32, flags: u64, cpu: u32, allCpus: bool): i32 {
  const old = find(map, key);
  const status = checkUpdate(map, old != 0, flags);
  if (status != 0) return status;
  const perCpu = isPerCpu(map);
  const lru = isLru(map);
  if (old != 0 && perCpu) {
    if (lru) lruTouch(old);
    writePerCpu(map, old, value, cpu, allCpus);
    return 0;
  }
  const spares = load<u32>(map, HASH_SPARES);
  const spare = spares + (exec_cpu() << 2);
  let element: u32;
  if (old != 0 && spares != 0) {
    element = load<u32>(spare);
  } else {
    if (old == 0 && load<u32>(map, MAP_COUNT) >= load<u32>(map, MAP_MAX_ENTRIES)) {
      if (!lru) return -E2BIG;
      remove(map, lruVictim(map));
    }
    element = take(map, lru);
    if (element == 0) return -ENOMEM;
  }
  const keySize = load<u32>(map, MAP_KEY_SIZE);
  const hash = hashKey(key, keySize);
  copyBytes(element + ELEMENT_KEY, key, keySize);
  if (perCpu) {
    zeroBytes(element + load<u32>(map, HASH_VALUE), load<u32>(map, MAP_CPU_STRIDE) * cpus);
    writePerCpu(map, element, value, cpu, allCpus);
  } else {
    copyBytes(element + load<u32>(map, HASH_VALUE), value, load<u32>(map, MAP_VALUE_SIZE));
  }
  const bucket = bucketOf(map, hash);
  store<u32>(element, hash, ELEMENT_HASH);
  store<u32>(element, load<u32>(bucket));
  store<u32>(bucket, element);
  if (lru) lruAdd(map, element, old != 0);
  if (old == 0) {
    store<u32>(map, load<u32>(map, MAP_COUNT) + 1, MAP_COUNT);
  } else {
    unlink(bucket, old);
    if (lru) lruRemove(map, old);
    if (spares != 0) store<u32>(spare, old);
    else give(map, old, lru);
  }
  return 0;
}

function writePerCpu(map: u32, element: u32, values: u32, cpu: u32, allCpus: bool): void {
  const first = element + load<u32>(map, HASH_VALUE);
  const stride = load<u32>(map, MAP_CPU_STRIDE);
  if (allCpus) copyBytes(first, values, stride * cpus);
  else copyBytes(first + cpu * stride, values, load<u32>(map, MAP_VALUE_SIZE));
}

function unlink(bucket: u32, element: u32): void {
  let link = bucket;
  while (load<u32>(link) != element) link = load<u32>(link);
  store<u32>(link, load<u32>(element));
}

export function hashDelete(map: u32, key: u32): i32 {
  const element = find(map, key);
  if (element == 0) return -ENOENT;
  remove(map, element);
  return 0;
}

function remove(map: u32, element: u32): void {
  const lru = isLru(map);
  unlink(bucketOf(map, load<u32>(element, ELEMENT_HASH)), element);
  if (lru) lruRemove(map, element);
  give(map, element, lru);
  store<u32>(map, load<u32>(map, MAP_COUNT) - 1, MAP_COUNT);
}

// A block of an LRU map begins with the node of its list.
function take(map: u32, lru: bool): u32 {
  const block = poolTake(map);
  return block != 0 && lru ? block + LRU_NODE : block;
}

function give(map: u32, element: u32, lru: bool): void {
  poolGive(map, lru ? element - LRU_NODE : element);
}

/** Bucket after bucket; a key that is not there (any more) starts over. */
export function hashNextKey(map: u32, key: u32, next: u32): i32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  const buckets = load<u32>(map, HASH_BUCKETS);
  const mask = load<u32>(map, HASH_MASK);
  const current = key == 0 ? 0 : find(map, key);
  let bucket: u32 = 0;
  let element: u32 = 0;
  if (current != 0) {
    element = load<u32>(current);
    bucket = (hashKey(key, size) & mask) + 1;
  }
  for (; element == 0 && bucket <= mask; bucket++) element = load<u32>(buckets + (bucket << 2));
  if (element == 0) return -ENOENT;
  copyBytes(next, element + ELEMENT_KEY, size);
  return 0;
}
