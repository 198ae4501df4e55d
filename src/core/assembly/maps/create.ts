/** Creation of maps: what the kernel checks of their attributes, type by type, before it allocates anything. */
import {
  MAP_EXTRA,
  MAP_FLAGS,
  MAP_INNER,
  MAP_KEY_SIZE,
  MAP_MAX_ENTRIES,
  MAP_RECORD,
  MAP_SIZE,
  MAP_SPIN_LOCK,
  MAP_TYPE,
  MAP_VALUE_SIZE,
  MAP_VALUES,
  NO_SPIN_LOCK,
} from "../../layout";
import { alloc, free } from "../allocator";
import { removeRegionsOf } from "../sandbox/regions";
import {
  BPF_F_CLONE,
  BPF_F_INNER_MAP,
  BPF_F_LINK,
  BPF_F_MMAPABLE,
  BPF_F_NO_COMMON_LRU,
  BPF_F_NO_PREALLOC,
  BPF_F_NO_USER_CONV,
  BPF_F_NUMA_NODE,
  BPF_F_PRESERVE_ELEMS,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_SEGV_ON_FAULT,
  BPF_F_STACK_BUILD_ID,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_F_ZERO_SEED,
  E2BIG,
  EINVAL,
  ENOMEM,
  ENOTSUPP,
  MAP_TYPE_ARENA,
  MAP_TYPE_ARRAY,
  MAP_TYPE_ARRAY_OF_MAPS,
  MAP_TYPE_BLOOM_FILTER,
  MAP_TYPE_CGROUP_ARRAY,
  MAP_TYPE_CGROUP_STORAGE,
  MAP_TYPE_CPUMAP,
  MAP_TYPE_DEVMAP,
  MAP_TYPE_DEVMAP_HASH,
  MAP_TYPE_HASH,
  MAP_TYPE_HASH_OF_MAPS,
  MAP_TYPE_LPM_TRIE,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_CGROUP_STORAGE,
  MAP_TYPE_PERCPU_HASH,
  MAP_TYPE_PERF_EVENT_ARRAY,
  MAP_TYPE_PROG_ARRAY,
  MAP_TYPE_QUEUE,
  MAP_TYPE_REUSEPORT_SOCKARRAY,
  MAP_TYPE_RINGBUF,
  MAP_TYPE_SOCKHASH,
  MAP_TYPE_SOCKMAP,
  MAP_TYPE_STACK,
  MAP_TYPE_STACK_TRACE,
  MAP_TYPE_STRUCT_OPS,
  MAP_TYPE_USER_RINGBUF,
  MAP_TYPE_XSKMAP,
} from "../uapi";
import { arenaCreate, arenaFree } from "./arena";
import { arrayCreate, arrayFree } from "./array";
import { bloomCreate } from "./bloom";
import { hashCreate, hashFree } from "./hash";
import { queueCreate } from "./queue";
import { ringCreate } from "./ring";
import { isSlots } from "./slots";
import { stacksCreate, stacksFree } from "./stacks";
import { isStorage, storageCreate, storageFree } from "./storage";
import { trieCreate, trieFree } from "./trie";

const ACCESS_FLAGS = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
const ARRAY_FLAGS = BPF_F_NUMA_NODE | BPF_F_MMAPABLE | BPF_F_INNER_MAP | ACCESS_FLAGS;
const OBJECT_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
const TRIE_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | ACCESS_FLAGS;
const HASH_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | ACCESS_FLAGS;
const QUEUE_FLAGS = BPF_F_NUMA_NODE | ACCESS_FLAGS;
const BLOOM_FLAGS = BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | ACCESS_FLAGS;
const STACKS_FLAGS = OBJECT_FLAGS | BPF_F_STACK_BUILD_ID;
const ARENA_FLAGS = BPF_F_MMAPABLE | BPF_F_SEGV_ON_FAULT | BPF_F_NO_USER_CONV;
// linux/percpu.h PCPU_MIN_UNIT_SIZE, the most that a per-CPU value can take.
const MAX_PERCPU_VALUE: u32 = 32 << 10;
// Key and value of a hash together; value of a trie. Linux 6.18 on x86-64: KMALLOC_MAX_SIZE, 4 MiB, less the kernel's
// own fields.
const MAX_ALLOCATION: u32 = 4 << 20;
const MAX_HASH_ELEMENT: u64 = (4 << 20) - 49;
const MAX_TRIE_VALUE: u32 = (4 << 20) - 280;
// linux/bpf_local_storage.h BPF_LOCAL_STORAGE_MAX_VALUE_SIZE: an element must be less than 65536 bytes, its head included.
const MAX_STORAGE_VALUE: u32 = 0xffff - 160;
// 16 bytes for each bucket, in a size of 32 bits.
const MAX_HASH_ENTRIES: u32 = 1 << 27;
// A key is 4 bytes prefix length and 1 to 256 bytes of data.
const MIN_TRIE_KEY: u32 = 5;
const MAX_TRIE_KEY: u32 = 260;
// Linux on x86-64 as distributions build it; net/core/sock_map.c MAX_BPF_STACK; kernel.perf_event_max_stack.
const MAX_CPUS: u32 = 8192;
const MAX_SOCKET_KEY: u32 = 512;
const MAX_STACK_DEPTH: u32 = 127;
const BUILD_ID_SIZE: u32 = 32;
const PAGE: u32 = 4096;

/**
 * The address of the new map's descriptor (as a signed number: errors are -4095 to -1), or -errno. `extra` is map_extra's
 * low half, `inner` the descriptor of the map that shows what the maps in a map of maps are like.
 */
export function map_create(
  type: i32,
  keySize: u32,
  valueSize: u32,
  maxEntries: u32,
  flags: u32,
  extra: u32,
  inner: u32,
): i32 {
  if (extra != 0 && type != MAP_TYPE_BLOOM_FILTER && type != MAP_TYPE_ARENA) return -EINVAL;
  const status = check(type, keySize, valueSize, maxEntries, flags, extra, inner);
  if (status != 0) return status;
  const map = alloc(MAP_SIZE, 16);
  if (map == 0) return -ENOMEM;
  store<i32>(map, type, MAP_TYPE);
  store<u32>(map, keySize, MAP_KEY_SIZE);
  store<u32>(map, valueSize, MAP_VALUE_SIZE);
  // Local storage has no limit (its attribute is 0), and takes memory as it comes.
  store<u32>(map, isStorage(type) ? u32.MAX_VALUE : maxEntries, MAP_MAX_ENTRIES);
  store<u32>(map, isStorage(type) ? flags | BPF_F_NO_PREALLOC : flags, MAP_FLAGS);
  store<u32>(map, extra, MAP_EXTRA);
  store<u32>(map, inner, MAP_INNER);
  store<u32>(map, u32(NO_SPIN_LOCK), MAP_SPIN_LOCK);
  const created = createStorage(map, type);
  if (created == 0) return i32(map);
  free(map);
  return created;
}

export function map_free(map: u32): void {
  const type = load<i32>(map, MAP_TYPE);
  removeRegionsOf(map);
  if (isSlots(type)) free(load<u32>(map, MAP_VALUES));
  else {
    switch (type) {
      case MAP_TYPE_ARRAY:
      case MAP_TYPE_PERCPU_ARRAY:
        arrayFree(map);
        break;
      case MAP_TYPE_PROG_ARRAY:
      case MAP_TYPE_QUEUE:
      case MAP_TYPE_STACK:
      case MAP_TYPE_BLOOM_FILTER:
      case MAP_TYPE_RINGBUF:
      case MAP_TYPE_USER_RINGBUF:
      case MAP_TYPE_STRUCT_OPS:
        free(load<u32>(map, MAP_VALUES));
        break;
      case MAP_TYPE_LPM_TRIE:
        trieFree(map);
        break;
      case MAP_TYPE_STACK_TRACE:
        stacksFree(map);
        break;
      case MAP_TYPE_ARENA:
        arenaFree(map);
        break;
      default:
        if (isStorage(type)) storageFree(map);
        hashFree(map);
    }
  }
  free(load<u32>(map, MAP_RECORD));
  free(map);
}

function createStorage(map: u32, type: i32): i32 {
  if (isSlots(type)) return arrayCreate(map);
  switch (type) {
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
    case MAP_TYPE_PROG_ARRAY:
    case MAP_TYPE_STRUCT_OPS:
      return arrayCreate(map);
    case MAP_TYPE_LPM_TRIE:
      return trieCreate(map);
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      return queueCreate(map);
    case MAP_TYPE_BLOOM_FILTER:
      return bloomCreate(map);
    case MAP_TYPE_RINGBUF:
    case MAP_TYPE_USER_RINGBUF:
      return ringCreate(map);
    case MAP_TYPE_STACK_TRACE:
      return stacksCreate(map);
    case MAP_TYPE_ARENA:
      return arenaCreate(map);
    default:
      if (isStorage(type) && !storageCreate(map)) return -ENOMEM;
      return hashCreate(map);
  }
}

function check(
  type: i32,
  keySize: u32,
  valueSize: u32,
  maxEntries: u32,
  flags: u32,
  extra: u32,
  inner: u32,
): i32 {
  switch (type) {
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return checkArray(type == MAP_TYPE_PERCPU_ARRAY, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_PERF_EVENT_ARRAY:
      flags &= ~BPF_F_PRESERVE_ELEMS;
    case MAP_TYPE_PROG_ARRAY:
    case MAP_TYPE_CGROUP_ARRAY:
      if (valueSize != 4 || (flags & ~OBJECT_FLAGS) != 0) return -EINVAL;
      return checkArray(false, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_ARRAY_OF_MAPS: {
      if (valueSize != 4 || (flags & ~OBJECT_FLAGS) != 0) return -EINVAL;
      const status = checkArray(false, keySize, valueSize, maxEntries, flags);
      return status != 0 ? status : checkInner(inner);
    }
    case MAP_TYPE_HASH_OF_MAPS: {
      if (valueSize != 4) return -EINVAL;
      const status = checkHash(MAP_TYPE_HASH, keySize, valueSize, maxEntries, flags);
      return status != 0 ? status : checkInner(inner);
    }
    case MAP_TYPE_REUSEPORT_SOCKARRAY:
      if (valueSize != 4 && valueSize != 8) return -EINVAL;
      if ((flags & ~(BPF_F_NUMA_NODE | ACCESS_FLAGS)) != 0) return -EINVAL;
      return checkArray(false, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_DEVMAP:
    case MAP_TYPE_SOCKMAP:
    case MAP_TYPE_DEVMAP_HASH:
    case MAP_TYPE_SOCKHASH:
    case MAP_TYPE_CPUMAP:
    case MAP_TYPE_XSKMAP:
      return checkObjects(type, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_HASH:
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
      return checkHash(type, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_LPM_TRIE:
      return checkTrie(keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      if (maxEntries == 0 || keySize != 0 || valueSize == 0) return -EINVAL;
      if ((flags & ~QUEUE_FLAGS) != 0 || !accessAllowed(flags)) return -EINVAL;
      return valueSize > MAX_ALLOCATION ? -E2BIG : 0;
    case MAP_TYPE_BLOOM_FILTER:
      if (valueSize > MAX_ALLOCATION) return -E2BIG;
      if (maxEntries == 0 || keySize != 0 || valueSize == 0 || (extra & ~15) != 0) return -EINVAL;
      return (flags & ~BLOOM_FLAGS) != 0 || !accessAllowed(flags) ? -EINVAL : 0;
    case MAP_TYPE_RINGBUF:
    case MAP_TYPE_USER_RINGBUF:
      if ((flags & ~BPF_F_NUMA_NODE) != 0 || keySize != 0 || valueSize != 0) return -EINVAL;
      return maxEntries == 0 || popcnt(maxEntries) != 1 || (maxEntries & (PAGE - 1)) != 0 ? -EINVAL : 0;
    case MAP_TYPE_STACK_TRACE:
      return checkStacks(keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_ARENA:
      if (keySize != 0 || valueSize != 0 || maxEntries == 0 || (flags & BPF_F_MMAPABLE) == 0) return -EINVAL;
      if ((flags & ~ARENA_FLAGS) != 0 || (extra & (PAGE - 1)) != 0) return -EINVAL;
      return maxEntries > 1 << 20 ? -E2BIG : 0;
    case MAP_TYPE_STRUCT_OPS:
      return keySize != 4 || maxEntries != 1 || valueSize == 0 || (flags & ~(BPF_F_LINK | (1 << 15))) != 0
        ? -EINVAL
        : 0;
    default:
      return isStorage(type) ? checkStorage(type, keySize, valueSize, maxEntries, flags) : -EINVAL;
  }
}

/** Maps of maps hold maps of one kind only, and none that hold maps or programs again (linux: bpf_map_meta_alloc). */
function checkInner(inner: u32): i32 {
  if (inner == 0) return -EINVAL;
  switch (load<i32>(inner, MAP_TYPE)) {
    case MAP_TYPE_ARRAY_OF_MAPS:
    case MAP_TYPE_HASH_OF_MAPS:
      return -EINVAL;
    case MAP_TYPE_PROG_ARRAY:
    case MAP_TYPE_CGROUP_STORAGE:
    case MAP_TYPE_PERCPU_CGROUP_STORAGE:
    case MAP_TYPE_STRUCT_OPS:
      return -ENOTSUPP;
    default:
      return 0;
  }
}

function checkObjects(type: i32, keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  if (maxEntries == 0 || (valueSize != 4 && valueSize != 8)) return -EINVAL;
  if ((flags & ~(type == MAP_TYPE_CPUMAP ? BPF_F_NUMA_NODE : OBJECT_FLAGS)) != 0) return -EINVAL;
  if (type == MAP_TYPE_XSKMAP && valueSize != 4) return -EINVAL;
  if (type == MAP_TYPE_SOCKHASH) {
    if (keySize == 0) return -EINVAL;
    if (keySize > MAX_SOCKET_KEY) return -E2BIG;
    return maxEntries > MAX_HASH_ENTRIES ? -EINVAL : 0;
  }
  if (keySize != 4) return -EINVAL;
  if (type == MAP_TYPE_CPUMAP && maxEntries > MAX_CPUS) return -E2BIG;
  if (type != MAP_TYPE_DEVMAP_HASH) return 0;
  return maxEntries > u32(1) << 31 ? -EINVAL : maxEntries > MAX_HASH_ENTRIES ? -ENOMEM : 0;
}

function checkStacks(keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  if ((flags & ~STACKS_FLAGS) != 0) return -EINVAL;
  if (maxEntries == 0 || keySize != 4 || valueSize < 8 || (valueSize & 7) != 0) return -EINVAL;
  const size = (flags & BPF_F_STACK_BUILD_ID) != 0 ? BUILD_ID_SIZE : 8;
  if (valueSize % size != 0 || valueSize / size > MAX_STACK_DEPTH) return -EINVAL;
  return maxEntries > u32(1) << 31 ? -E2BIG : 0;
}

function checkStorage(type: i32, keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  if (type == MAP_TYPE_CGROUP_STORAGE || type == MAP_TYPE_PERCPU_CGROUP_STORAGE) {
    if ((keySize != 8 && keySize != 16) || valueSize == 0) return -EINVAL;
    if (valueSize > (type == MAP_TYPE_CGROUP_STORAGE ? MAX_STORAGE_VALUE : MAX_PERCPU_VALUE)) return -E2BIG;
    return (flags & ~QUEUE_FLAGS) != 0 || !accessAllowed(flags) || maxEntries != 0 ? -EINVAL : 0;
  }
  if ((flags & ~(BPF_F_NO_PREALLOC | BPF_F_CLONE)) != 0 || (flags & BPF_F_NO_PREALLOC) == 0) return -EINVAL;
  if (maxEntries != 0 || keySize != 4 || valueSize == 0) return -EINVAL;
  return valueSize > MAX_STORAGE_VALUE ? -E2BIG : 0;
}

/** Read-only and write-only at once is refused, for bpf(2) as for programs. */
function accessAllowed(flags: u32): bool {
  const host = BPF_F_RDONLY | BPF_F_WRONLY;
  const program = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
  return (flags & host) != host && (flags & program) != program;
}

function checkArray(perCpu: bool, keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  if (maxEntries == 0 || keySize != 4 || valueSize == 0) return -EINVAL;
  if ((flags & ~ARRAY_FLAGS) != 0 || !accessAllowed(flags)) return -EINVAL;
  if (perCpu && (flags & (BPF_F_MMAPABLE | BPF_F_INNER_MAP | BPF_F_NUMA_NODE)) != 0) return -EINVAL;
  if (valueSize > u32(i32.MAX_VALUE)) return -E2BIG;
  if (perCpu && valueSize > MAX_PERCPU_VALUE) return -E2BIG;
  return 0;
}

function checkHash(type: i32, keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  const perCpu = type == MAP_TYPE_PERCPU_HASH || type == MAP_TYPE_LRU_PERCPU_HASH;
  const lru = type == MAP_TYPE_LRU_HASH || type == MAP_TYPE_LRU_PERCPU_HASH;
  if ((flags & ~HASH_FLAGS) != 0 || !accessAllowed(flags)) return -EINVAL;
  if (!lru && (flags & BPF_F_NO_COMMON_LRU) != 0) return -EINVAL;
  if (lru && (flags & BPF_F_NO_PREALLOC) != 0) return -ENOTSUPP;
  if ((flags & BPF_F_NUMA_NODE) != 0 && perCpu) return -EINVAL;
  if (maxEntries == 0 || keySize == 0 || valueSize == 0) return -EINVAL;
  if (maxEntries > MAX_HASH_ENTRIES) return -E2BIG;
  if (u64(keySize) + valueSize > MAX_HASH_ELEMENT) return -E2BIG;
  if (perCpu && valueSize > MAX_PERCPU_VALUE) return -E2BIG;
  return 0;
}

function checkTrie(keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  if (maxEntries == 0 || (flags & BPF_F_NO_PREALLOC) == 0) return -EINVAL;
  if ((flags & ~TRIE_FLAGS) != 0 || !accessAllowed(flags)) return -EINVAL;
  if (keySize < MIN_TRIE_KEY || keySize > MAX_TRIE_KEY) return -EINVAL;
  return valueSize == 0 || valueSize > MAX_TRIE_VALUE ? -EINVAL : 0;
}
