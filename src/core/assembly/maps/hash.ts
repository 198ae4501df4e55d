/**
 * hash, percpu_hash and their LRU kinds: chained buckets, a power of two of them, at least twice max_entries. Maps of maps, of sockets and of devices by hash lie here too.
 *
 * An update of a key that exists does not overwrite its value: a new element takes the place of the old one in
 * the chain, and only then does the old one become free. (The kernel puts it at the head: then keys that are updated by
 * turns each find theirs at the end.) So, as in the kernel, a program that
 * holds a pointer to the old value goes on seeing the old value. Preallocated maps keep a spare element for each CPU
 * for this, so that a full map can be updated. Per-CPU values are written in place.
 *
 * Where threads share the memory a bucket has a second word, odd while somebody changes its chain and different afterwards:
 * writers lock it, readers look again when they found nothing and it is not what it was, for the element that they stood on may
 * have moved to another chain under them. LRU maps change one at a time (MAP_LOCK), since an eviction changes a second chain.
 *
 * There the values of each CPU lie in an area of their own behind the elements (of maps that are preallocated; the others have them
 * side by side in the element): threads that write in one line of the cache, or in that of a key which others read, wait for each
 * other.
 */
import {
  MAP_COUNT,
  MAP_CPU_STRIDE,
  MAP_FLAGS,
  MAP_ID,
  MAP_KEY_SIZE,
  MAP_LOCK,
  MAP_MAX_ENTRIES,
  MAP_RECORD,
  MAP_TYPE,
  MAP_VALUE_SIZE,
} from "../../layout";
import { alloc, free } from "../allocator";
import { copyBytes, equalBytes, words, zeroBytes } from "../bytes";
import { addTo, lock, unlock } from "../lock";
import { freeOwned } from "../owned";
import { cpus, exec_cpu } from "../state";
import {
  BPF_EXIST,
  BPF_F_LOCK,
  BPF_F_NO_PREALLOC,
  BPF_F_RDONLY_PROG,
  BPF_NOEXIST,
  E2BIG,
  EACCES,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOMEM,
  ENOSPC,
  MAP_TYPE_HASH_OF_MAPS,
} from "../uapi";
import { CACHE_LINE, isLru, isPerCpu, roundUp8 } from "./descriptor";
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
import { clearFields, copyLocked, copyLong, copyValue, hasSpinLock } from "./values";
import { lruAdd, lruCreate, lruRemove, lruTouch, lruVictim } from "./lru";

// Buckets of a map that has no limit.
const UNLIMITED: u32 = 1024;
// Bytes of a bucket, as a power of two.
const BUCKET_SHIFT: u32 = ASC_FEATURE_THREADS ? 3 : 2;

/** Storage for a map whose attributes have been checked. 0 or -errno. */
export function hashCreate(map: u32): i32 {
  const lru = isLru(map);
  const entries = load<u32>(map, MAP_MAX_ENTRIES);
  // Twice as many as the kernel takes: most chains are of one element.
  const buckets = entries == 1 ? 1 : entries == u32.MAX_VALUE ? UNLIMITED : u32(2) << (32 - clz(entries - 1));
  const perCpu = isPerCpu(map);
  const valueStride = roundUp8(load<u32>(map, MAP_VALUE_SIZE));
  const node = u64(lru ? LRU_NODE : 0);
  const value = ELEMENT_KEY + roundUp8(load<u32>(map, MAP_KEY_SIZE));
  const preallocate = (load<u32>(map, MAP_FLAGS) & BPF_F_NO_PREALLOC) == 0;
  const areas = ASC_FEATURE_THREADS && preallocate && perCpu;
  const stride = areas ? max(node + value, valueStride) : node + value + valueStride * (perCpu ? cpus : 1);
  if (stride > u64(i32.MAX_VALUE)) return -ENOMEM;
  const spares = preallocate && !perCpu && !ASC_FEATURE_THREADS;
  store<u32>(map, buckets - 1, HASH_MASK);
  if (lru) lruCreate(map);
  const tableSize = u64(buckets) << BUCKET_SHIFT;
  // With threads every update takes a new element, and so may have one more in hand.
  const blocks = preallocate ? entries + (spares || ASC_FEATURE_THREADS ? cpus : 0) : u32.MAX_VALUE;
  // What can't fit is refused before anything is taken.
  const taken = preallocate ? stride * blocks : 0;
  if (tableSize + taken > u64(u32.MAX_VALUE)) return -ENOMEM;
  // From the elements to the first area, and from one to the next; no line holds parts of two.
  const distance = areas ? ((taken + 2 * CACHE_LINE - 1) / CACHE_LINE) * CACHE_LINE : valueStride;
  const behind = areas ? distance * cpus : 0;
  if (tableSize + taken + behind > u64(u32.MAX_VALUE)) return -ENOMEM;
  store<u32>(map, u32(areas ? distance - node : value), HASH_VALUE);
  store<u32>(map, perCpu ? u32(distance) : 0, MAP_CPU_STRIDE);
  const table = alloc(u32(tableSize), 8);
  store<u32>(map, table, HASH_BUCKETS);
  if (table == 0 || !poolCreate(map, u32(stride), blocks, preallocate, u32(behind))) {
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
  if (load<u32>(map, MAP_RECORD) != 0 && load<u32>(map, HASH_BUCKETS) != 0) {
    for (let index = hash_buckets(map); index != 0; index--) {
      let element = load<u32>(bucketAt(map, index - 1));
      for (; element != 0; element = load<u32>(element)) freeAll(map, element);
    }
  }
  poolFree(map);
  free(load<u32>(map, HASH_SPARES));
  free(load<u32>(map, HASH_BUCKETS));
}

/** Address of a bucket by its number: the first element of its chain. */
export function bucketAt(map: u32, index: u32): u32 {
  return load<u32>(map, HASH_BUCKETS) + (index << BUCKET_SHIFT);
}

function bucketOf(map: u32, hash: u32): u32 {
  return bucketAt(map, hash & load<u32>(map, HASH_MASK));
}

function lockBucket(bucket: u32): void {
  if (!ASC_FEATURE_THREADS) return;
  for (;;) {
    const seen = atomic.load<u32>(bucket + 4);
    if ((seen & 1) == 0 && atomic.cmpxchg<u32>(bucket + 4, seen, seen + 1) == seen) return;
  }
}

function unlockBucket(bucket: u32): void {
  if (ASC_FEATURE_THREADS) atomic.store<u32>(bucket + 4, load<u32>(bucket + 4) + 1);
}

/**
 * The element with this key in a chain, or 0.
 * @inline
 */
function search(bucket: u32, hash: u32, key: u32, size: u32): u32 {
  let element = load<u32>(bucket);
  if (size == 4) {
    const wanted = load<u32>(key);
    while (element != 0 && load<u32>(element, ELEMENT_KEY) != wanted) element = load<u32>(element);
    return element;
  }
  if (size == 8) {
    const wanted = words(key);
    while (element != 0 && load<u64>(element, ELEMENT_KEY) != wanted) element = load<u32>(element);
    return element;
  }
  if (size == 16) {
    const low = words(key);
    const high = words(key + 8);
    while (
      element != 0 &&
      (load<u64>(element, ELEMENT_KEY) != low || load<u64>(element, ELEMENT_KEY + 8) != high)
    ) {
      element = load<u32>(element);
    }
    return element;
  }
  return searchLong(element, hash, key, size);
}

/** Of keys of any size; hashes are compared before. */
function searchLong(element: u32, hash: u32, key: u32, size: u32): u32 {
  while (
    element != 0 &&
    (load<u32>(element, ELEMENT_HASH) != hash || !equalBytes(element + ELEMENT_KEY, key, size))
  ) {
    element = load<u32>(element);
  }
  return element;
}

/**
 * The same for readers, who hold no lock.
 * @inline
 */
function find(map: u32, hash: u32, key: u32, size: u32): u32 {
  const bucket = bucketOf(map, hash);
  let element = search(bucket, hash, key, size);
  if (!ASC_FEATURE_THREADS) return element;
  while (element == 0) {
    const seen = atomic.load<u32>(bucket + 4);
    element = search(bucket, hash, key, size);
    if (element == 0 && (seen & 1) == 0 && atomic.load<u32>(bucket + 4) == seen) break;
  }
  return element;
}

function findKey(map: u32, key: u32): u32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  if (size == 4) return find(map, hash4(key), key, 4);
  if (size == 8) return find(map, hash8(key), key, 8);
  if (size == 16) return find(map, hash16(key), key, 16);
  return find(map, hashBytes(key, size), key, size);
}

/**
 * Lookups by programs in hashes, by the size of the keys: compiled code calls them by the map that it knows. LRU maps note
 * that the element is used.
 */
export function hash_lookup_4(map: u32, key: u32): u32 {
  const element = find(map, hash4(key), key, 4);
  return element == 0 ? 0 : element + (ELEMENT_KEY + 8);
}

export function hash_lookup_8(map: u32, key: u32): u32 {
  const element = find(map, hash8(key), key, 8);
  return element == 0 ? 0 : element + (ELEMENT_KEY + 8);
}

export function hash_lookup_16(map: u32, key: u32): u32 {
  const element = find(map, hash16(key), key, 16);
  return element == 0 ? 0 : element + (ELEMENT_KEY + 16);
}

export function hash_lookup_long(map: u32, key: u32): u32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  const element = find(map, hashBytes(key, size), key, size);
  return element == 0 ? 0 : element + load<u32>(map, HASH_VALUE);
}

/** `at`: where the first CPU's value lies unless each CPU's have an area of their own. */
function perCpuValue(map: u32, element: u32, at: u32): u32 {
  const first = element + (ASC_FEATURE_THREADS ? load<u32>(map, HASH_VALUE) : at);
  return first + exec_cpu() * load<u32>(map, MAP_CPU_STRIDE);
}

/** In per-CPU hashes: the value of the CPU that asks. */
export function percpu_lookup_4(map: u32, key: u32): u32 {
  const element = find(map, hash4(key), key, 4);
  return element == 0 ? 0 : perCpuValue(map, element, ELEMENT_KEY + 8);
}

export function percpu_lookup_8(map: u32, key: u32): u32 {
  const element = find(map, hash8(key), key, 8);
  return element == 0 ? 0 : perCpuValue(map, element, ELEMENT_KEY + 8);
}

export function percpu_lookup_16(map: u32, key: u32): u32 {
  const element = find(map, hash16(key), key, 16);
  return element == 0 ? 0 : perCpuValue(map, element, ELEMENT_KEY + 16);
}

export function percpu_lookup_long(map: u32, key: u32): u32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  const element = find(map, hashBytes(key, size), key, size);
  return element == 0 ? 0 : hashValue(map, element, exec_cpu());
}

export function lru_lookup_4(map: u32, key: u32): u32 {
  const element = find(map, hash4(key), key, 4);
  if (element == 0) return 0;
  lruTouch(element);
  return element + (ELEMENT_KEY + 8);
}

export function lru_lookup_8(map: u32, key: u32): u32 {
  const element = find(map, hash8(key), key, 8);
  if (element == 0) return 0;
  lruTouch(element);
  return element + (ELEMENT_KEY + 8);
}

export function lru_lookup_16(map: u32, key: u32): u32 {
  const element = find(map, hash16(key), key, 16);
  if (element == 0) return 0;
  lruTouch(element);
  return element + (ELEMENT_KEY + 16);
}

export function lru_lookup_long(map: u32, key: u32): u32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  const element = find(map, hashBytes(key, size), key, size);
  if (element == 0) return 0;
  lruTouch(element);
  return element + load<u32>(map, HASH_VALUE);
}

/** Address of the element with this key, or 0: what bpf(2) copies from. */
export function hashElement(map: u32, key: u32): u32 {
  return findKey(map, key);
}

/** Address of the value on a CPU, or 0. */
export function hashLookup(map: u32, key: u32, cpu: u32): u32 {
  const element = findKey(map, key);
  if (element == 0) return 0;
  return hashValue(map, element, cpu);
}

/** The same for a program: in an LRU map the element counts as used (bpf(2) leaves no such trace). */
export function lruLookup(map: u32, key: u32, cpu: u32): u32 {
  const element = findKey(map, key);
  if (element == 0) return 0;
  lruTouch(element);
  return hashValue(map, element, cpu);
}

/** Address of an element's value on a CPU. */
export function hashValue(map: u32, element: u32, cpu: u32): u32 {
  return element + load<u32>(map, HASH_VALUE) + cpu * load<u32>(map, MAP_CPU_STRIDE);
}

/** What an update checks before it looks at memory, in the kernel's order. */
function checkFlags(map: u32, flags: u64): i32 {
  const action = isPerCpu(map) || isLru(map) ? flags : flags & ~BPF_F_LOCK;
  if (action > u64(BPF_EXIST)) return -EINVAL;
  return (flags & BPF_F_LOCK) != 0 && !hasSpinLock(map) ? -EINVAL : 0;
}

/** An update by a program of a plain hash without fields of the kernel, called like hash_lookup_4. */
export function hash_update(map: u32, key: u32, value: u32, flags: u64): i32 {
  if ((load<u32>(map, MAP_FLAGS) & BPF_F_RDONLY_PROG) != 0) return -EACCES;
  if (ASC_FEATURE_THREADS || flags != 0) return hashUpdate(map, key, value, flags, 0, false);
  const size = load<u32>(map, MAP_KEY_SIZE);
  const hash = hashKey(key, size);
  const bucket = bucketOf(map, hash);
  const spares = load<u32>(map, HASH_SPARES);
  const old = spares == 0 ? 0 : search(bucket, hash, key, size);
  if (old == 0) return put(map, bucket, hash, key, value, flags, 0, false, false);
  // The most frequent case in one piece: the spare element takes the old one's place.
  const spare = spares + (exec_cpu() << 2);
  const element = load<u32>(spare);
  store<u32>(element, hash, ELEMENT_HASH);
  if (size == 4) store<u32>(element, load<u32>(key), ELEMENT_KEY);
  else if (size == 16) {
    store<u64>(element, words(key), ELEMENT_KEY);
    store<u64>(element, words(key + 8), ELEMENT_KEY + 8);
  } else copyBytes(element + ELEMENT_KEY, key, size);
  const bytes = load<u32>(map, MAP_VALUE_SIZE);
  if (bytes == 8) store<u64>(element + load<u32>(map, HASH_VALUE), load<u64>(value));
  else copyBytes(element + load<u32>(map, HASH_VALUE), value, bytes);
  store<u32>(element, load<u32>(old));
  store<u32>(linkTo(bucket, old), element);
  store<u32>(spare, old);
  return 0;
}

/** Number of buckets, for the batch commands. */
export function hash_buckets(map: u32): u32 {
  return load<u32>(map, HASH_MASK) + 1;
}

/** Sets the value: of a per-CPU map on one CPU, or on all when `allCpus` (then `value` holds one for each). */
export function hashUpdate(map: u32, key: u32, value: u32, flags: u64, cpu: u32, allCpus: bool): i32 {
  const wrong = checkFlags(map, flags);
  if (wrong != 0) return wrong;
  const hash = hashKey(key, load<u32>(map, MAP_KEY_SIZE));
  const bucket = bucketOf(map, hash);
  const lru = isLru(map);
  if (lru) lock(map + MAP_LOCK);
  else lockBucket(bucket);
  const status = put(map, bucket, hash, key, value, flags, cpu, allCpus, lru);
  if (lru) unlock(map + MAP_LOCK);
  else unlockBucket(bucket);
  return status;
}

function put(
  map: u32,
  bucket: u32,
  hash: u32,
  key: u32,
  value: u32,
  flags: u64,
  cpu: u32,
  allCpus: bool,
  lru: bool,
): i32 {
  const keySize = load<u32>(map, MAP_KEY_SIZE);
  const old = search(bucket, hash, key, keySize);
  if (old != 0) {
    if ((flags & BPF_NOEXIST) != 0) return -EEXIST;
  } else if ((flags & BPF_EXIST) != 0) return -ENOENT;
  const perCpu = isPerCpu(map);
  if (old != 0 && perCpu) {
    if (lru) lruTouch(old);
    writePerCpu(map, old, value, cpu, allCpus);
    if (allCpus) freeAll(map, old);
    else freeOwned(map, hashValue(map, old, cpu));
    return 0;
  }
  const valueAt = load<u32>(map, HASH_VALUE);
  if (old != 0 && (flags & BPF_F_LOCK) != 0) {
    copyLocked(map, old + valueAt, value, old + valueAt);
    return 0;
  }
  const spares = load<u32>(map, HASH_SPARES);
  const spare = spares + (exec_cpu() << 2);
  let element: u32;
  if (old != 0 && spares != 0) {
    element = load<u32>(spare);
  } else {
    if (old == 0 && !count(map)) {
      if (!lru) return -E2BIG;
      remove(map, lruVictim(map), true);
      count(map);
    }
    element = take(map, lru);
    if (element == 0) {
      if (old == 0) addTo(map + MAP_COUNT, u32(-1));
      return -ENOMEM;
    }
  }
  copyBytes(element + ELEMENT_KEY, key, keySize);
  if (perCpu) {
    zeroPerCpu(map, element + valueAt);
    writePerCpu(map, element, value, cpu, allCpus);
  } else {
    copyValue(map, element + valueAt, value);
    clearFields(map, element + valueAt);
  }
  store<u32>(element, hash, ELEMENT_HASH);
  if (lru) lockBucket(bucket);
  const link = old == 0 ? bucket : linkTo(bucket, old);
  store<u32>(element, load<u32>(old == 0 ? bucket : old));
  if (ASC_FEATURE_THREADS) atomic.store<u32>(link, element);
  else store<u32>(link, element);
  if (lru) unlockBucket(bucket);
  if (lru) lruAdd(map, element, old != 0);
  if (old != 0) {
    freeAll(map, old);
    if (lru) lruRemove(map, old);
    if (spares != 0) store<u32>(spare, old);
    else give(map, old, lru);
  }
  return 0;
}

/** Counts one element more; false if the map is full. */
function count(map: u32): bool {
  if (addTo(map + MAP_COUNT, 1) < load<u32>(map, MAP_MAX_ENTRIES)) return true;
  addTo(map + MAP_COUNT, u32(-1));
  return false;
}

/** Bytes from one CPU's value to the next where bpf(2) shows them. */
function valueStrideOf(map: u32): u32 {
  return (load<u32>(map, MAP_VALUE_SIZE) + 7) & ~7;
}

function zeroPerCpu(map: u32, first: u32): void {
  const distance = load<u32>(map, MAP_CPU_STRIDE);
  const stride = valueStrideOf(map);
  if (distance == stride) zeroBytes(first, stride * cpus);
  else for (let cpu: u32 = 0; cpu < cpus; cpu++) zeroBytes(first + cpu * distance, stride);
}

function writePerCpu(map: u32, element: u32, values: u32, cpu: u32, allCpus: bool): void {
  const first = element + load<u32>(map, HASH_VALUE);
  const distance = load<u32>(map, MAP_CPU_STRIDE);
  if (!allCpus) {
    copyValue(map, first + cpu * distance, values);
    return;
  }
  const stride = valueStrideOf(map);
  for (let to: u32 = 0; to < cpus; to++) copyLong(map, first + to * distance, values + to * stride);
}

/** The bucket or element whose next this one is. */
function linkTo(bucket: u32, element: u32): u32 {
  let link = bucket;
  while (load<u32>(link) != element) link = load<u32>(link);
  return link;
}

function unlink(bucket: u32, element: u32): void {
  store<u32>(linkTo(bucket, element), load<u32>(element));
}

export function hashDelete(map: u32, key: u32): i32 {
  return takeOut(map, key, 0, 0);
}

/** The same, and copies what bpf(2) shows of the value to `out` before. */
export function hashLookupAndDelete(map: u32, key: u32, out: u32, flags: u64): i32 {
  return takeOut(map, key, out, flags);
}

function takeOut(map: u32, key: u32, out: u32, flags: u64): i32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  const hash = hashKey(key, size);
  const bucket = bucketOf(map, hash);
  const lru = isLru(map);
  if (lru) lock(map + MAP_LOCK);
  else lockBucket(bucket);
  const element = search(bucket, hash, key, size);
  if (element != 0) {
    if (out != 0) hashCopy(map, element, out, flags);
    remove(map, element, lru);
  }
  if (lru) unlock(map + MAP_LOCK);
  else unlockBucket(bucket);
  return element == 0 ? -ENOENT : 0;
}

/** The element's value as bpf(2) gives it: of all CPUs, without the kernel's fields. */
export function hashCopy(map: u32, element: u32, out: u32, flags: u64): void {
  const value = element + load<u32>(map, HASH_VALUE);
  if (isPerCpu(map)) {
    const distance = load<u32>(map, MAP_CPU_STRIDE);
    const stride = valueStrideOf(map);
    for (let cpu: u32 = 0; cpu < cpus; cpu++) {
      copyLong(map, out + cpu * stride, value + cpu * distance);
      clearFields(map, out + cpu * stride);
    }
    return;
  }
  if ((flags & BPF_F_LOCK) != 0) copyLocked(map, out, value, value);
  else copyValue(map, out, value);
  clearFields(map, out);
}

/** The caller holds the bucket's lock, or the map's if it is an LRU map. */
function remove(map: u32, element: u32, lru: bool): void {
  const bucket = bucketOf(map, load<u32>(element, ELEMENT_HASH));
  if (lru) lockBucket(bucket);
  unlink(bucket, element);
  if (lru) {
    unlockBucket(bucket);
    lruRemove(map, element);
  }
  freeAll(map, element);
  give(map, element, lru);
  addTo(map + MAP_COUNT, u32(-1));
}

/** What an element's value owns, on all CPUs. */
function freeAll(map: u32, element: u32): void {
  if (load<u32>(map, MAP_RECORD) == 0) return;
  const copies: u32 = isPerCpu(map) ? cpus : 1;
  for (let cpu: u32 = 0; cpu < copies; cpu++) freeOwned(map, hashValue(map, element, cpu));
}

/**
 * All elements of one bucket, for the batch commands: their number, or -ENOSPC if there is no room for so many. Keys and
 * values one after the other; `drop` takes the elements out.
 */
export function hash_batch(
  map: u32,
  index: u32,
  keys: u32,
  values: u32,
  room: u32,
  flags: u64,
  drop: i32,
): i32 {
  const keySize = load<u32>(map, MAP_KEY_SIZE);
  const valueSize = isPerCpu(map) ? valueStrideOf(map) * cpus : load<u32>(map, MAP_VALUE_SIZE);
  const bucket = bucketAt(map, index);
  const lru = isLru(map);
  const ids = load<i32>(map, MAP_TYPE) == MAP_TYPE_HASH_OF_MAPS;
  if (lru) lock(map + MAP_LOCK);
  else lockBucket(bucket);
  let found: u32 = 0;
  for (let element = load<u32>(bucket); element != 0; element = load<u32>(element)) found++;
  if (found <= room) {
    for (let element = load<u32>(bucket); element != 0; ) {
      const next = load<u32>(element);
      copyBytes(keys, element + ELEMENT_KEY, keySize);
      hashCopy(map, element, values, flags);
      // Of maps bpf(2) shows the ids.
      if (ids) store<u32>(values, load<u32>(load<u32>(values), MAP_ID));
      if (drop != 0) remove(map, element, lru);
      keys += keySize;
      values += valueSize;
      element = next;
    }
  }
  if (lru) unlock(map + MAP_LOCK);
  else unlockBucket(bucket);
  return found <= room ? i32(found) : -ENOSPC;
}

// A block of an LRU map begins with the node of its list.
function take(map: u32, lru: bool): u32 {
  if (!lru) lock(map + MAP_LOCK);
  const block = poolTake(map);
  if (!lru) unlock(map + MAP_LOCK);
  return block != 0 && lru ? block + LRU_NODE : block;
}

function give(map: u32, element: u32, lru: bool): void {
  if (!lru) lock(map + MAP_LOCK);
  poolGive(map, lru ? element - LRU_NODE : element);
  if (!lru) unlock(map + MAP_LOCK);
}

/** Bucket after bucket; a key that is not there (any more) starts over. */
export function hashNextKey(map: u32, key: u32, next: u32): i32 {
  const size = load<u32>(map, MAP_KEY_SIZE);
  const mask = load<u32>(map, HASH_MASK);
  const current = key == 0 ? 0 : findKey(map, key);
  let bucket: u32 = 0;
  let element: u32 = 0;
  if (current != 0) {
    element = load<u32>(current);
    bucket = (hashKey(key, size) & mask) + 1;
  }
  for (; element == 0 && bucket <= mask; bucket++) element = load<u32>(bucketAt(map, bucket));
  if (element == 0) return -ENOENT;
  copyBytes(next, element + ELEMENT_KEY, size);
  return 0;
}
