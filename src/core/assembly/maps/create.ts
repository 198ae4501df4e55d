/** Creation of maps: what the kernel checks of their attributes, type by type, before it allocates anything. */
import {
  MAP_FLAGS,
  MAP_KEY_SIZE,
  MAP_MAX_ENTRIES,
  MAP_SIZE,
  MAP_TYPE,
  MAP_VALUE_SIZE,
  MAP_VALUES,
} from "../../layout";
import { alloc, free } from "../allocator";
import {
  BPF_F_INNER_MAP,
  BPF_F_MMAPABLE,
  BPF_F_NO_COMMON_LRU,
  BPF_F_NO_PREALLOC,
  BPF_F_NUMA_NODE,
  BPF_F_RDONLY,
  BPF_F_RDONLY_PROG,
  BPF_F_WRONLY,
  BPF_F_WRONLY_PROG,
  BPF_F_ZERO_SEED,
  E2BIG,
  EINVAL,
  ENOMEM,
  ENOTSUPP,
  EOPNOTSUPP,
  MAP_TYPE_ARRAY,
  MAP_TYPE_HASH,
  MAP_TYPE_LPM_TRIE,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_HASH,
  MAP_TYPE_PROG_ARRAY,
} from "../uapi";
import { arrayCreate } from "./array";
import { hashCreate, hashFree } from "./hash";
import { trieCreate, trieFree } from "./trie";

const ACCESS_FLAGS = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG;
const ARRAY_FLAGS = BPF_F_NUMA_NODE | BPF_F_MMAPABLE | BPF_F_INNER_MAP | ACCESS_FLAGS;
const PROGRAMS_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
const TRIE_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | ACCESS_FLAGS;
const HASH_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | ACCESS_FLAGS;
// linux/percpu.h PCPU_MIN_UNIT_SIZE, the most that a per-CPU value can take.
const MAX_PERCPU_VALUE: u32 = 32 << 10;
// Key and value of a hash together; value of a trie. Linux 6.18 on x86-64: KMALLOC_MAX_SIZE, 4 MiB, less the kernel's
// own fields.
const MAX_HASH_ELEMENT: u64 = (4 << 20) - 49;
const MAX_TRIE_VALUE: u32 = (4 << 20) - 280;
// 16 bytes for each bucket, in a size of 32 bits.
const MAX_HASH_ENTRIES: u32 = 1 << 27;
// A key is 4 bytes prefix length and 1 to 256 bytes of data.
const MIN_TRIE_KEY: u32 = 5;
const MAX_TRIE_KEY: u32 = 260;

/** The address of the new map's descriptor (as a signed number: errors are -4095 to -1), or -errno. */
export function map_create(type: i32, keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  const status = check(type, keySize, valueSize, maxEntries, flags);
  if (status != 0) return status;
  const map = alloc(MAP_SIZE, 16);
  if (map == 0) return -ENOMEM;
  store<i32>(map, type, MAP_TYPE);
  store<u32>(map, keySize, MAP_KEY_SIZE);
  store<u32>(map, valueSize, MAP_VALUE_SIZE);
  store<u32>(map, maxEntries, MAP_MAX_ENTRIES);
  store<u32>(map, flags, MAP_FLAGS);
  const created = createStorage(map, type);
  if (created == 0) return i32(map);
  free(map);
  return created;
}

export function map_free(map: u32): void {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
    case MAP_TYPE_PROG_ARRAY:
      free(load<u32>(map, MAP_VALUES));
      break;
    case MAP_TYPE_LPM_TRIE:
      trieFree(map);
      break;
    default:
      hashFree(map);
  }
  free(map);
}

function createStorage(map: u32, type: i32): i32 {
  switch (type) {
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
    case MAP_TYPE_PROG_ARRAY:
      return arrayCreate(map);
    case MAP_TYPE_LPM_TRIE:
      return trieCreate(map);
    default:
      return hashCreate(map);
  }
}

function check(type: i32, keySize: u32, valueSize: u32, maxEntries: u32, flags: u32): i32 {
  switch (type) {
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return checkArray(type == MAP_TYPE_PERCPU_ARRAY, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_PROG_ARRAY:
      if (valueSize != 4 || (flags & ~PROGRAMS_FLAGS) != 0) return -EINVAL;
      return checkArray(false, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_HASH:
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
      return checkHash(type, keySize, valueSize, maxEntries, flags);
    case MAP_TYPE_LPM_TRIE:
      return checkTrie(keySize, valueSize, maxEntries, flags);
    default:
      return -EOPNOTSUPP;
  }
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
