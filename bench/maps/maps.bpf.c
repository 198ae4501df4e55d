// build: maps.bpf.o -mcpu=v3
/* Map operations as programs make them: each program does OPERATIONS of one kind, over keys that are in the map. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Apache-2.0";

#define ENTRIES 1024
#define OPERATIONS 64

struct key40 {
	__u32 number;
	__u32 rest[9];
};

struct prefix {
	__u32 prefixlen;
	__u32 number;
};

#define MAP(map, kind, key_type, extra) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, ENTRIES); \
		__uint(map_flags, extra); \
		__type(key, key_type); \
		__type(value, __u64); \
	} map SEC(".maps")

MAP(array, BPF_MAP_TYPE_ARRAY, __u32, 0);
MAP(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, 0);
MAP(hash4, BPF_MAP_TYPE_HASH, __u32, 0);
MAP(hash40, BPF_MAP_TYPE_HASH, struct key40, 0);
MAP(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, __u32, 0);
MAP(lru_hash, BPF_MAP_TYPE_LRU_HASH, __u32, 0);
MAP(lpm_trie, BPF_MAP_TYPE_LPM_TRIE, struct prefix, BPF_F_NO_PREALLOC);

#define LOOKUP(map, key_type, field, initial) \
	SEC("xdp") int map##_lookup(struct xdp_md *ctx) \
	{ \
		key_type key = initial; \
		__u64 sum = 0; \
		for (int i = 0; i < OPERATIONS; i++) { \
			__u64 *value; \
			field = i * 13; \
			value = bpf_map_lookup_elem(&map, &key); \
			if (value) \
				sum += *value; \
		} \
		return sum; \
	}

#define UPDATE(map, key_type, field, initial) \
	SEC("xdp") int map##_update(struct xdp_md *ctx) \
	{ \
		key_type key = initial; \
		__u64 value = 1, failed = 0; \
		for (int i = 0; i < OPERATIONS; i++) { \
			field = i * 13; \
			failed += bpf_map_update_elem(&map, &key, &value, BPF_ANY) != 0; \
		} \
		return failed; \
	}

#define DELETE(map, key_type, field, initial) \
	SEC("xdp") int map##_delete_insert(struct xdp_md *ctx) \
	{ \
		key_type key = initial; \
		__u64 value = 1, failed = 0; \
		for (int i = 0; i < OPERATIONS / 2; i++) { \
			field = i * 13; \
			failed += bpf_map_delete_elem(&map, &key) != 0; \
			failed += bpf_map_update_elem(&map, &key, &value, BPF_ANY) != 0; \
		} \
		return failed; \
	}

LOOKUP(array, __u32, key, 0)
LOOKUP(percpu_array, __u32, key, 0)
LOOKUP(hash4, __u32, key, 0)
LOOKUP(hash40, struct key40, key.number, {})
LOOKUP(percpu_hash, __u32, key, 0)
LOOKUP(lru_hash, __u32, key, 0)
LOOKUP(lpm_trie, struct prefix, key.number, { 32 })
UPDATE(array, __u32, key, 0)
UPDATE(hash4, __u32, key, 0)
UPDATE(hash40, struct key40, key.number, {})
UPDATE(lru_hash, __u32, key, 0)
DELETE(hash4, __u32, key, 0)
DELETE(lru_hash, __u32, key, 0)
