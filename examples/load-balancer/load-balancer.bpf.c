// SPDX-License-Identifier: Apache-2.0
/*
 * A layer 4 load balancer in XDP.
 *
 * A packet to a virtual address (address, port, protocol) goes to one of the servers behind it, wrapped into another IPv4
 * header (IPIP) or into UDP (GUE), and out of the interface it came in by. Which server: that of the connection table if
 * the connection is known, else the one that the virtual address's ring gives for the hash of the five-tuple. A ring is a
 * lookup table of consistent hashing: the host fills it so that few entries change when a server comes or goes. A packet
 * that would become too long is answered with ICMP "fragmentation needed".
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* linux/icmp.h brings the C library's socket headers along. */
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4

struct icmphdr {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 unused;
	__be16 mtu;
};

#define RING_SIZE 1021 /* a prime, so that every step of a permutation visits all entries */
#define MAX_VIPS 16
#define MAX_SERVERS 64

struct vip_key {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

enum encapsulation { IPIP, GUE };

struct vip {
	__u32 id; /* the ring's place among the rings */
	enum encapsulation encapsulation;
};

struct server {
	__be32 address;
};

struct flow {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};

struct statistics {
	__u64 packets;
	__u64 bytes;
	__u64 new_connections;
	__u64 too_long;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct vip_key);
	__type(value, struct vip);
} vips SEC(".maps");

/* Entry id * RING_SIZE + hash % RING_SIZE: the number of a server. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VIPS * RING_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVERS);
	__type(key, __u32);
	__type(value, struct server);
} servers SEC(".maps");

/* Connections keep their server when the ring changes. The least recently used make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, __u32);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_VIPS);
	__type(key, __u32);
	__type(value, struct statistics);
} vip_statistics SEC(".maps");

/* Set before loading. */
const volatile __be32 own_address = bpf_htonl(0x0a000001); /* 10.0.0.1 */
const volatile __u8 gateway[ETH_ALEN] = {0x02, 0, 0, 0, 0, 0xfe};
const volatile __u16 mtu = 1500;
const volatile __u16 gue_port = 6080;

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* Jenkins' one-at-a-time hash over the words of the flow: the same connection gives the same number everywhere. */
static __always_inline __u32 hash_flow(const struct flow *flow)
{
	const __u32 words[] = {
		flow->source,
		flow->destination,
		(__u32)flow->source_port << 16 | flow->destination_port,
		flow->protocol,
	};
	__u32 hash = 0;

	for (int index = 0; index < 4; index++) {
		hash += words[index];
		hash += hash << 10;
		hash ^= hash >> 6;
	}
	hash += hash << 3;
	hash ^= hash >> 11;
	return hash + (hash << 15);
}

static __always_inline void fill_ip(struct iphdr *ip, __u16 length, __u8 protocol, __be32 from, __be32 to)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0;
	ip->tot_len = bpf_htons(length);
	ip->id = 0;
	ip->frag_off = 0;
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->check = 0;
	ip->saddr = from;
	ip->daddr = to;
	ip->check = fold(bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0));
}

/* How much of a packet that is too long comes back with the complaint (RFC 792: header and 64 bits). */
#define QUOTED (sizeof(struct iphdr) + 8)

static __always_inline int complain(struct xdp_md *ctx)
{
	const int room = sizeof(struct iphdr) + sizeof(struct icmphdr);
	const long length = (long)ctx->data_end - (long)ctx->data;
	void *data, *end;
	struct ethhdr *eth;
	struct iphdr *ip, *old;
	struct icmphdr *icmp;
	__u8 address[ETH_ALEN];
	__be32 client, server;

	if (bpf_xdp_adjust_tail(ctx, (int)(sizeof(struct ethhdr) + QUOTED) - (int)length))
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, -room))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	ip = data + sizeof(*eth);
	icmp = (void *)(ip + 1);
	old = (void *)(icmp + 1);
	if ((void *)old + QUOTED > end)
		return XDP_DROP;
	/* The old Ethernet header lies where the new headers end. */
	__builtin_memcpy(eth, (void *)eth + room, sizeof(*eth));
	__builtin_memcpy(address, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, address, ETH_ALEN);
	client = old->saddr;
	server = old->daddr;
	icmp->type = ICMP_DEST_UNREACH;
	icmp->code = ICMP_FRAG_NEEDED;
	icmp->unused = 0;
	icmp->mtu = bpf_htons(mtu - sizeof(struct iphdr) - sizeof(struct udphdr) - 4);
	icmp->checksum = 0;
	icmp->checksum = fold(bpf_csum_diff(0, 0, (__be32 *)icmp, sizeof(*icmp) + QUOTED, 0));
	fill_ip(ip, room + QUOTED, IPPROTO_ICMP, server, client);
	return XDP_TX;
}

struct gue_header {
	struct udphdr udp;
	__u8 flags; /* version, control, length of the optional part */
	__u8 protocol;
	__be16 more;
};

static __always_inline int send_to(struct xdp_md *ctx, __be32 server, enum encapsulation how, __u32 hash)
{
	const bool gue = how == GUE;
	const int room = sizeof(struct iphdr) + (gue ? sizeof(struct gue_header) : 0);
	void *data, *end;
	struct ethhdr *eth;
	struct iphdr *outer, *inner;
	__u16 length;

	if (bpf_xdp_adjust_head(ctx, -room))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	outer = data + sizeof(*eth);
	inner = (void *)outer + room;
	if ((void *)(inner + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(eth->h_source, (void *)eth + room, ETH_ALEN); /* we were its destination */
	for (int index = 0; index < ETH_ALEN; index++)
		eth->h_dest[index] = gateway[index];
	eth->h_proto = bpf_htons(ETH_P_IP);
	length = bpf_ntohs(inner->tot_len) + room;
	if (gue) {
		struct gue_header *header = (void *)(outer + 1);

		/* Routers between spread flows by the source port. A checksum of zero means none. */
		header->udp.source = bpf_htons((hash & 0x3fff) | 0xc000);
		header->udp.dest = bpf_htons(gue_port);
		header->udp.len = bpf_htons(length - sizeof(struct iphdr));
		header->udp.check = 0;
		header->flags = 0;
		header->protocol = IPPROTO_IPIP;
		header->more = 0;
	}
	fill_ip(outer, length, gue ? IPPROTO_UDP : IPPROTO_IPIP, own_address, server);
	return XDP_TX;
}

SEC("xdp") int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct flow flow = {};
	struct vip_key key = {};
	struct statistics *counted;
	struct server *server;
	struct vip *vip;
	__u32 *known, *entry, number, place, hash;
	__be16 *ports;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	/* Ports of later fragments are not there, options make nobody's day. */
	if (ip->ihl != 5 || (ip->frag_off & bpf_htons(0x3fff)))
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	ports = (void *)(ip + 1);
	if ((void *)(ports + 2) > end)
		return XDP_PASS;
	flow.source = ip->saddr;
	flow.destination = ip->daddr;
	flow.source_port = ports[0];
	flow.destination_port = ports[1];
	flow.protocol = ip->protocol;
	key.address = ip->daddr;
	key.port = ports[1];
	key.protocol = ip->protocol;
	vip = bpf_map_lookup_elem(&vips, &key);
	if (!vip)
		return XDP_PASS;
	counted = bpf_map_lookup_elem(&vip_statistics, &vip->id);
	if (!counted)
		return XDP_ABORTED;
	counted->packets++;
	counted->bytes += (long)end - (long)data;

	hash = hash_flow(&flow);
	known = bpf_map_lookup_elem(&connections, &flow);
	if (known) {
		number = *known;
	} else {
		place = vip->id * RING_SIZE + hash % RING_SIZE;
		entry = bpf_map_lookup_elem(&rings, &place);
		if (!entry)
			return XDP_ABORTED;
		number = *entry;
		counted->new_connections++;
		bpf_map_update_elem(&connections, &flow, &number, BPF_ANY);
	}
	server = bpf_map_lookup_elem(&servers, &number);
	if (!server || !server->address)
		return XDP_DROP;
	if (bpf_ntohs(ip->tot_len) + sizeof(struct iphdr) +
		    (vip->encapsulation == GUE ? sizeof(struct gue_header) : 0) > mtu) {
		counted->too_long++;
		return complain(ctx);
	}
	return send_to(ctx, server->address, vip->encapsulation, hash);
}

char _license[] SEC("license") = "Dual MIT/GPL";
