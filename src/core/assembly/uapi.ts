/**
 * The numbers of Linux's BPF interface that the core needs, as constants that AssemblyScript can compile. A test
 * holds them against the tables of src/uapi.
 */
export const ENOENT = 2;
export const E2BIG = 7;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EEXIST = 17;
export const EINVAL = 22;
export const ENOSPC = 28;
export const EOPNOTSUPP = 95;
export const ENOTSUPP = 524;

export const MAP_TYPE_HASH = 1;
export const MAP_TYPE_ARRAY = 2;
export const MAP_TYPE_PROG_ARRAY = 3;
export const MAP_TYPE_PERCPU_HASH = 5;
export const MAP_TYPE_PERCPU_ARRAY = 6;
export const MAP_TYPE_LRU_HASH = 9;
export const MAP_TYPE_LRU_PERCPU_HASH = 10;
export const MAP_TYPE_LPM_TRIE = 11;

export const PROG_TYPE_XDP = 6;

export const HELPER_MAP_LOOKUP_ELEM = 1;
export const HELPER_MAP_UPDATE_ELEM = 2;
export const HELPER_MAP_DELETE_ELEM = 3;
export const HELPER_GET_PRANDOM_U32 = 7;
export const HELPER_GET_SMP_PROCESSOR_ID = 8;
export const HELPER_TAIL_CALL = 12;
export const HELPER_REDIRECT = 23;
export const HELPER_SKB_LOAD_BYTES = 26;
export const HELPER_CSUM_DIFF = 28;
export const HELPER_XDP_ADJUST_HEAD = 44;
export const HELPER_XDP_ADJUST_META = 54;
export const HELPER_XDP_ADJUST_TAIL = 65;
export const HELPER_FOR_EACH_MAP_ELEM = 164;
export const HELPER_LOOP = 181;

// Update flags (BPF_ANY is 0).
export const BPF_NOEXIST = 1;
export const BPF_EXIST = 2;
export const BPF_F_LOCK = 4;

// Flags of map creation.
export const BPF_F_NO_PREALLOC = 1 << 0;
export const BPF_F_NO_COMMON_LRU = 1 << 1;
export const BPF_F_NUMA_NODE = 1 << 2;
export const BPF_F_RDONLY = 1 << 3;
export const BPF_F_WRONLY = 1 << 4;
export const BPF_F_ZERO_SEED = 1 << 6;
export const BPF_F_RDONLY_PROG = 1 << 7;
export const BPF_F_WRONLY_PROG = 1 << 8;
export const BPF_F_MMAPABLE = 1 << 10;
export const BPF_F_INNER_MAP = 1 << 12;

export const XDP_ABORTED = 0;
export const XDP_REDIRECT = 4;
export const TC_ACT_SHOT = 2;
export const TC_ACT_REDIRECT = 7;
export const BPF_F_INGRESS = 1;
