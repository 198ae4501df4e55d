// SPDX-License-Identifier: Apache-2.0
/*
 * Limits what each IPv4 source may send: a token bucket a source, filled by time, emptied by packets.
 *
 * Buckets live in an LRU map, so that a flood of new sources pushes out those that have been silent longest and never fills
 * the map.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NS_PER_SECOND 1000000000ULL

struct bucket {
	__u64 tokens; /* in thousandths of a packet */
	__u64 filled_ns;
	__u64 dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __be32);
	__type(value, struct bucket);
} buckets SEC(".maps");

/* Set before loading. */
const volatile __u64 packets_per_second = 100;
const volatile __u64 burst = 20;

SEC("tc") int limit(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	const __u64 full = burst * 1000;
	struct bucket *bucket;
	__u64 now, passed, earned;
	__be32 source;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	source = ip->saddr;
	now = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&buckets, &source);
	if (!bucket) {
		struct bucket fresh = {.tokens = full - 1000, .filled_ns = now};

		bpf_map_update_elem(&buckets, &source, &fresh, BPF_ANY);
		return TC_ACT_OK;
	}
	passed = now - bucket->filled_ns;
	/* A silent hour fills the bucket as a second does, and cannot overflow. */
	if (passed > burst * NS_PER_SECOND)
		passed = burst * NS_PER_SECOND;
	earned = passed * packets_per_second / (NS_PER_SECOND / 1000);
	if (earned > 0) {
		bucket->tokens = bucket->tokens + earned > full ? full : bucket->tokens + earned;
		bucket->filled_ns = now;
	}
	if (bucket->tokens < 1000) {
		__sync_fetch_and_add(&bucket->dropped, 1);
		return TC_ACT_SHOT;
	}
	bucket->tokens -= 1000;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual MIT/GPL";
