// build: packets.bpf.o -mcpu=v3
/*
 * Programs over packets, as they are used: none changes the packet in a way that a second run would see, so that the
 * kernel, which does not reset a packet between the runs of a test run, does the same work in each.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Apache-2.0";

struct headers {
	struct iphdr *ip;
	__u16 source, dest;
};

/* Ethernet, IPv4 without options, TCP or UDP. */
static __always_inline int parse(struct xdp_md *ctx, struct headers *h)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *ports = (void *)(ip + 1);

	if ((void *)(ports + 1) > end)
		return 0;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return 0;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	h->ip = ip;
	h->source = ports->source;
	h->dest = ports->dest;
	return 1;
}

/* Passes web traffic. */
SEC("xdp") int header_parse(struct xdp_md *ctx)
{
	struct headers h;

	if (!parse(ctx, &h))
		return XDP_DROP;
	if (h.dest == bpf_htons(80) || h.dest == bpf_htons(443))
		return XDP_PASS;
	return XDP_DROP;
}

/* The checksum of the IPv4 header and of the first 64 bytes behind it. */
SEC("xdp") int checksum(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u16 *words = data + sizeof(struct ethhdr);
	__u32 sum = 0;

	if ((void *)(words + 42) > end)
		return XDP_DROP;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 42; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum == 0 ? XDP_DROP : XDP_PASS;
}

struct tuple {
	__u32 saddr, daddr;
	__u16 source, dest;
	__u32 protocol;
};

struct counters {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tuple);
	__type(value, struct counters);
} flows SEC(".maps");

static __always_inline void fill(struct tuple *key, const struct headers *h)
{
	key->saddr = h->ip->saddr;
	key->daddr = h->ip->daddr;
	key->source = h->source;
	key->dest = h->dest;
	key->protocol = h->ip->protocol;
}

/* Counts packets and bytes of each five-tuple. */
SEC("xdp") int flow_counter(struct xdp_md *ctx)
{
	struct counters *found, fresh = {};
	struct headers h;
	struct tuple key;

	if (!parse(ctx, &h))
		return XDP_PASS;
	fill(&key, &h);
	found = bpf_map_lookup_elem(&flows, &key);
	if (!found) {
		bpf_map_update_elem(&flows, &key, &fresh, BPF_ANY);
		found = bpf_map_lookup_elem(&flows, &key);
		if (!found)
			return XDP_PASS;
	}
	found->packets++;
	found->bytes += ctx->data_end - ctx->data;
	return XDP_PASS;
}

struct prefix {
	__u32 prefixlen;
	__u8 addr[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

/* Looks the source up among prefixes, counts by rule. */
SEC("xdp") int lpm_firewall(struct xdp_md *ctx)
{
	struct prefix key = { .prefixlen = 32 };
	struct headers h;
	__u32 *rule, none = 0;
	__u64 *counter;

	if (!parse(ctx, &h))
		return XDP_PASS;
	__builtin_memcpy(key.addr, &h.ip->saddr, 4);
	rule = bpf_map_lookup_elem(&blocked, &key);
	counter = bpf_map_lookup_elem(&hits, rule ? rule : &none);
	if (counter)
		*counter += 1;
	return rule ? XDP_DROP : XDP_PASS;
}

struct backend {
	__u32 addr;
	__u8 mac[6];
	__u16 weight;
};

#define BACKENDS 64

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BACKENDS);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tuple);
	__type(value, __u32);
} connections SEC(".maps");

static __always_inline __u32 mix(__u32 hash, __u32 value)
{
	hash ^= value * 0xcc9e2d51;
	hash = hash << 13 | hash >> 19;
	return hash * 5 + 0xe6546b64;
}

/* Chooses a backend by a hash of the source, remembers it, and rewrites the destination. */
SEC("xdp") int load_balancer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct backend *backend;
	struct headers h;
	struct tuple key;
	__u32 *known, chosen;
	__u64 sum;

	if (!parse(ctx, &h))
		return XDP_PASS;
	fill(&key, &h);
	/* Of the connection, whatever it has been sent to. */
	key.daddr = 0;
	known = bpf_map_lookup_elem(&connections, &key);
	if (known) {
		chosen = *known;
	} else {
		chosen = mix(mix(0, key.saddr), key.source << 16 | key.dest) % BACKENDS;
		bpf_map_update_elem(&connections, &key, &chosen, BPF_ANY);
	}
	backend = bpf_map_lookup_elem(&backends, &chosen);
	if (!backend)
		return XDP_DROP;
	/* RFC 1624: the checksum follows the address. */
	sum = (__u16)~h.ip->check;
	sum += (__u16)~(h.ip->daddr & 0xffff) + (__u16)~(h.ip->daddr >> 16);
	sum += (backend->addr & 0xffff) + (backend->addr >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	h.ip->check = ~sum;
	h.ip->daddr = backend->addr;
	__builtin_memcpy(((struct ethhdr *)data)->h_dest, backend->mac, 6);
	return XDP_TX;
}

/* What remains is the cost of a run. */
SEC("xdp") int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
