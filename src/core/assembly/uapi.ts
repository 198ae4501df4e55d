/**
 * The numbers of Linux's BPF interface that the core needs, as constants that AssemblyScript can compile. A test
 * holds them against the tables of src/uapi.
 */
export const EPERM = 1;
export const ENOENT = 2;
export const E2BIG = 7;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ERANGE = 34;
export const ENOSPC = 28;
export const EOVERFLOW = 75;
export const EOPNOTSUPP = 95;
export const EALREADY = 114;
export const ENOTSUPP = 524;

export const MAP_TYPE_HASH = 1;
export const MAP_TYPE_ARRAY = 2;
export const MAP_TYPE_PROG_ARRAY = 3;
export const MAP_TYPE_PERF_EVENT_ARRAY = 4;
export const MAP_TYPE_PERCPU_HASH = 5;
export const MAP_TYPE_PERCPU_ARRAY = 6;
export const MAP_TYPE_STACK_TRACE = 7;
export const MAP_TYPE_CGROUP_ARRAY = 8;
export const MAP_TYPE_LRU_HASH = 9;
export const MAP_TYPE_LRU_PERCPU_HASH = 10;
export const MAP_TYPE_LPM_TRIE = 11;
export const MAP_TYPE_ARRAY_OF_MAPS = 12;
export const MAP_TYPE_HASH_OF_MAPS = 13;
export const MAP_TYPE_DEVMAP = 14;
export const MAP_TYPE_SOCKMAP = 15;
export const MAP_TYPE_CPUMAP = 16;
export const MAP_TYPE_XSKMAP = 17;
export const MAP_TYPE_SOCKHASH = 18;
export const MAP_TYPE_CGROUP_STORAGE = 19;
export const MAP_TYPE_REUSEPORT_SOCKARRAY = 20;
export const MAP_TYPE_PERCPU_CGROUP_STORAGE = 21;
export const MAP_TYPE_QUEUE = 22;
export const MAP_TYPE_STACK = 23;
export const MAP_TYPE_SK_STORAGE = 24;
export const MAP_TYPE_DEVMAP_HASH = 25;
export const MAP_TYPE_STRUCT_OPS = 26;
export const MAP_TYPE_RINGBUF = 27;
export const MAP_TYPE_INODE_STORAGE = 28;
export const MAP_TYPE_TASK_STORAGE = 29;
export const MAP_TYPE_BLOOM_FILTER = 30;
export const MAP_TYPE_USER_RINGBUF = 31;
export const MAP_TYPE_CGRP_STORAGE = 32;
export const MAP_TYPE_ARENA = 33;

export const PROG_TYPE_XDP = 6;
export const BPF_XDP_DEVMAP = 33;
export const BPF_XDP_CPUMAP = 35;

// Helpers that the interpreter has a way of its own for; the numbers of all others are in helpers/dispatch.ts.
export const HELPER_TAIL_CALL = 12;
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
export const BPF_F_STACK_BUILD_ID = 1 << 5;
export const BPF_F_ZERO_SEED = 1 << 6;
export const BPF_F_RDONLY_PROG = 1 << 7;
export const BPF_F_WRONLY_PROG = 1 << 8;
export const BPF_F_CLONE = 1 << 9;
export const BPF_F_MMAPABLE = 1 << 10;
export const BPF_F_PRESERVE_ELEMS = 1 << 11;
export const BPF_F_INNER_MAP = 1 << 12;
export const BPF_F_LINK = 1 << 13;
export const BPF_F_SEGV_ON_FAULT = 1 << 17;
export const BPF_F_NO_USER_CONV = 1 << 18;

export const XDP_ABORTED = 0;
export const XDP_REDIRECT = 4;
export const TC_ACT_SHOT = 2;
export const TC_ACT_REDIRECT = 7;
export const BPF_F_INGRESS = 1;

// Headers that bpf_skb_load_bytes_relative starts from.
export const BPF_HDR_START_MAC = 0;
export const BPF_HDR_START_NET = 1;
// Flags of bpf_skb_store_bytes.
export const BPF_F_RECOMPUTE_CSUM = 1;
export const BPF_F_INVALIDATE_HASH = 2;
// Flags of bpf_l3_csum_replace and bpf_l4_csum_replace.
export const BPF_F_HDR_FIELD_MASK = 0xf;
export const BPF_F_PSEUDO_HDR = 1 << 4;
export const BPF_F_MARK_MANGLED_0 = 1 << 5;
export const BPF_F_MARK_ENFORCE = 1 << 6;
export const BPF_F_IPV6 = 1 << 7;
// What bpf_csum_level does.
export const BPF_CSUM_LEVEL_QUERY = 0;
export const BPF_CSUM_LEVEL_INC = 1;
export const BPF_CSUM_LEVEL_DEC = 2;
export const BPF_CSUM_LEVEL_RESET = 3;
// Modes and flags of bpf_skb_adjust_room; an inner link header's length is in the flags' top byte.
export const BPF_ADJ_ROOM_NET = 0;
export const BPF_ADJ_ROOM_MAC = 1;
export const BPF_F_ADJ_ROOM_FIXED_GSO = 1 << 0;
export const BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 = 1 << 1;
export const BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 = 1 << 2;
export const BPF_F_ADJ_ROOM_ENCAP_L4_GRE = 1 << 3;
export const BPF_F_ADJ_ROOM_ENCAP_L4_UDP = 1 << 4;
export const BPF_F_ADJ_ROOM_NO_CSUM_RESET = 1 << 5;
export const BPF_F_ADJ_ROOM_ENCAP_L2_ETH = 1 << 6;
export const BPF_F_ADJ_ROOM_DECAP_L3_IPV4 = 1 << 7;
export const BPF_F_ADJ_ROOM_DECAP_L3_IPV6 = 1 << 8;
export const BPF_F_ADJ_ROOM_DECAP_L3_MASK = 0x180;
export const BPF_ADJ_ROOM_ENCAP_L2_SHIFT = 56;
// All flags but that length.
export const BPF_F_ADJ_ROOM_MASK = 0x1ff;
