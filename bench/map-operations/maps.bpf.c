// SPDX-License-Identifier: Apache-2.0
//
// Map operations in loops of ROUNDS, each with a loop that does the same without the operation.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ROUNDS 256
#define KEYS 8192

struct key16 {
	__u32 words[4];
};

struct key40 {
	__u32 words[10];
};

struct prefix6 {
	__u32 bits;
	__u32 address[4];
};

#define MAP(map, kind, entries, flags, key_type, value_type)      \
	struct {                                                  \
		__uint(type, kind);                               \
		__uint(max_entries, entries);                     \
		__uint(map_flags, flags);                         \
		__type(key, key_type);                            \
		__type(value, value_type);                        \
	} map SEC(".maps")

MAP(hash4, BPF_MAP_TYPE_HASH, KEYS, 0, __u32, __u64);
MAP(hash16, BPF_MAP_TYPE_HASH, KEYS, 0, struct key16, __u64);
MAP(hash40, BPF_MAP_TYPE_HASH, KEYS, 0, struct key40, __u64);
MAP(lru4, BPF_MAP_TYPE_LRU_HASH, KEYS, 0, __u32, __u64);
MAP(percpu4, BPF_MAP_TYPE_PERCPU_HASH, KEYS, 0, __u32, __u64);
MAP(routes6, BPF_MAP_TYPE_LPM_TRIE, 20000, BPF_F_NO_PREALLOC, struct prefix6, __u64);
MAP(addresses, BPF_MAP_TYPE_ARRAY, KEYS, 0, __u32, struct prefix6);
MAP(counters, BPF_MAP_TYPE_PERCPU_ARRAY, 256, 0, __u32, __u64);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 64);
	__type(value, __u64);
} queue SEC(".maps");

__u32 at;

#define LOOP(...)                                      \
	__u32 start = at;                              \
	at = start + ROUNDS;                           \
	ROUNDS_FROM(start, __VA_ARGS__)

#define ROUNDS_FROM(start, ...)                        \
	__u64 sum = 0;                                 \
	for (__u32 i = 0; i < ROUNDS; i++) {           \
		__u32 n = (start + i) & (KEYS - 1);    \
		__VA_ARGS__                            \
	}                                              \
	return sum == 0x12345

SEC("xdp")
int empty(struct xdp_md *ctx)
{
	LOOP(__u32 key = n * 0x9e3779b1; asm volatile("" : : "r"(key)););
}

#define LOOKUP(map)                                                   \
	LOOP(__u32 key = n * 0x9e3779b1;                              \
	     __u64 *value = bpf_map_lookup_elem(&map, &key);          \
	     if (value) sum += *value;)

SEC("xdp")
int hash4_hit(struct xdp_md *ctx)
{
	LOOKUP(hash4);
}

SEC("xdp")
int lru4_hit(struct xdp_md *ctx)
{
	LOOKUP(lru4);
}

SEC("xdp")
int percpu4_hit(struct xdp_md *ctx)
{
	LOOKUP(percpu4);
}

SEC("xdp")
int hash16_hit(struct xdp_md *ctx)
{
	LOOP(struct key16 key = { { n * 0x9e3779b1, 1, 2, n } };
	     __u64 *value = bpf_map_lookup_elem(&hash16, &key);
	     if (value) sum += *value;);
}

SEC("xdp")
int hash40_hit(struct xdp_md *ctx)
{
	LOOP(struct key40 key = { { n * 0x9e3779b1, 1, 2, n } };
	     __u64 *value = bpf_map_lookup_elem(&hash40, &key);
	     if (value) sum += *value;);
}

SEC("xdp")
int hash4_miss(struct xdp_md *ctx)
{
	LOOP(__u32 key = n * 0x9e3779b1 + 1;
	     __u64 *value = bpf_map_lookup_elem(&hash4, &key);
	     if (value) sum += *value;);
}

SEC("xdp")
int hash4_update(struct xdp_md *ctx)
{
	LOOP(__u32 key = n * 0x9e3779b1; __u64 value = n;
	     sum += bpf_map_update_elem(&hash4, &key, &value, BPF_ANY););
}

SEC("xdp")
int hash16_update(struct xdp_md *ctx)
{
	LOOP(struct key16 key = { { n * 0x9e3779b1, 1, 2, n } }; __u64 value = n;
	     sum += bpf_map_update_elem(&hash16, &key, &value, BPF_ANY););
}

SEC("xdp")
int array_hit(struct xdp_md *ctx)
{
	LOOP(__u32 key = n & 255;
	     __u64 *value = bpf_map_lookup_elem(&counters, &key);
	     if (value) *value += 1;);
}

SEC("xdp")
int lpm_empty(struct xdp_md *ctx)
{
	LOOP(struct prefix6 *address = bpf_map_lookup_elem(&addresses, &n);
	     if (address) sum += address->address[3];);
}

SEC("xdp")
int lpm6(struct xdp_md *ctx)
{
	LOOP(struct prefix6 *address = bpf_map_lookup_elem(&addresses, &n);
	     if (address) {
		     __u64 *value = bpf_map_lookup_elem(&routes6, address);
		     if (value) sum += *value;
	     });
}

SEC("xdp")
int ring_submit(struct xdp_md *ctx)
{
	LOOP(__u64 *record = bpf_ringbuf_reserve(&ring, 8, 0);
	     if (record) {
		     *record = n;
		     bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	     });
}

SEC("xdp")
int queue_push_pop(struct xdp_md *ctx)
{
	LOOP(__u64 value = n;
	     sum += bpf_map_push_elem(&queue, &value, 0);
	     bpf_map_pop_elem(&queue, &value););
}

// For two threads: nothing but the map is shared.
SEC("xdp")
int array_add_each(struct xdp_md *ctx)
{
	ROUNDS_FROM(0, __u32 key = n & 255;
		    __u64 *value = bpf_map_lookup_elem(&counters, &key);
		    if (value) *value += 1;);
}

SEC("xdp")
int hash_add_each(struct xdp_md *ctx)
{
	ROUNDS_FROM(0, __u32 key = n * 0x9e3779b1;
		    __u64 *value = bpf_map_lookup_elem(&percpu4, &key);
		    if (value) *value += 1;);
}

char LICENSE[] SEC("license") = "Apache-2.0";
