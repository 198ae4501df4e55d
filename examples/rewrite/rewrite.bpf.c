// SPDX-License-Identifier: Apache-2.0
//
// Programs that change their packet.
//
//   encapsulate  XDP: wraps IPv4 to a service address into another IPv4 header (IP in IP, RFC 2003) and sends it back out
//   reflect      XDP: counts the TTL down with an incremental checksum update (RFC 1624) and sends the packet back to its sender
//   classify     tc: gives the packet a mark and a priority, and rewrites the DSCP field of some
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TUNNEL_TTL 64

/* Where `encapsulate` sends: the tunnel's two ends, and the hardware address of the next hop. */
struct tunnel {
	__u8 source[4];
	__u8 destination[4];
	__u8 next_hop[ETH_ALEN];
	__u16 port; /* only packets to this port are wrapped; 0: all of them */
};

const volatile struct tunnel tunnel = {
	.source = { 192, 0, 2, 1 },
	.destination = { 192, 0, 2, 2 },
	.next_hop = { 0x02, 0, 0, 0, 0, 0x99 },
	.port = 80,
};

struct totals {
	__u64 packets;
	__u64 bytes_before;
	__u64 bytes_after;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} encapsulated SEC(".maps");

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void count(__u32 before, __u32 after)
{
	__u32 key = 0;
	struct totals *totals = bpf_map_lookup_elem(&encapsulated, &key);

	if (totals) {
		totals->packets++;
		totals->bytes_before += before;
		totals->bytes_after += after;
	}
}

SEC("xdp")
int encapsulate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data, *new_eth;
	struct iphdr *ip = (void *)(eth + 1), *outer;
	__u8 sender[ETH_ALEN], receiver[ETH_ALEN];
	__u32 before = ctx->data_end - ctx->data;
	__u16 inner_length;
	__u8 tos;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl != 5)
		return XDP_PASS;
	if (tunnel.port) {
		struct tcphdr *tcp = (void *)(ip + 1);

		if (ip->protocol != IPPROTO_TCP || (void *)(tcp + 1) > end || tcp->dest != bpf_htons(tunnel.port))
			return XDP_PASS;
	}
	inner_length = bpf_ntohs(ip->tot_len);
	tos = ip->tos;
	__builtin_memcpy(receiver, eth->h_dest, ETH_ALEN);

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*outer)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	new_eth = data;
	outer = (void *)(new_eth + 1);
	if ((void *)(outer + 1) > end)
		return XDP_DROP;

	for (int i = 0; i < ETH_ALEN; i++)
		sender[i] = tunnel.next_hop[i];
	__builtin_memcpy(new_eth->h_dest, sender, ETH_ALEN);
	__builtin_memcpy(new_eth->h_source, receiver, ETH_ALEN);
	new_eth->h_proto = bpf_htons(ETH_P_IP);

	outer->version = 4;
	outer->ihl = 5;
	outer->tos = tos;
	outer->tot_len = bpf_htons(inner_length + sizeof(*outer));
	outer->id = 0;
	outer->frag_off = bpf_htons(0x4000);
	outer->ttl = TUNNEL_TTL;
	outer->protocol = IPPROTO_IPIP;
	outer->check = 0;
	for (int i = 0; i < 4; i++) {
		((__u8 *)&outer->saddr)[i] = tunnel.source[i];
		((__u8 *)&outer->daddr)[i] = tunnel.destination[i];
	}
	outer->check = fold(bpf_csum_diff(0, 0, (__be32 *)outer, sizeof(*outer), 0));
	count(before, ctx->data_end - ctx->data);
	return XDP_TX;
}

SEC("xdp")
int reflect(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u8 mac[ETH_ALEN];
	__be32 address;
	__u32 sum;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->ttl <= 1)
		return XDP_DROP;

	/* One 16-bit word of the header falls by 0x0100 (the TTL is its upper byte), so its checksum grows by as much. */
	sum = ip->check + bpf_htons(0x0100);
	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;

	/* Exchanging two addresses leaves every checksum as it is. */
	address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	return XDP_TX;
}

enum class {
	BULK = 1,
	WEB = 2,
	NAMES = 3,
	CONTROL = 7,
};

static __always_inline enum class class_of(__u8 proto, __u16 port)
{
	if (proto == IPPROTO_ICMP)
		return CONTROL;
	if (proto == IPPROTO_UDP && port == 53)
		return NAMES;
	if (proto == IPPROTO_TCP && (port == 80 || port == 8080))
		return WEB;
	return BULK;
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct udphdr ports = {};
	enum class class;
	__u32 sum;
	__u8 tos;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return TC_ACT_SHOT;
	/* The ports may lie past the linear part of the packet, where only a helper reaches. */
	if (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP)
		if (bpf_skb_load_bytes(skb, ETH_HLEN + ip->ihl * 4, &ports, sizeof(ports)))
			return TC_ACT_SHOT;

	class = class_of(ip->protocol, bpf_ntohs(ports.dest));
	skb->mark = 0x5e00 | class;
	skb->priority = class;
	skb->cb[0] = class;
	if (class != NAMES)
		return TC_ACT_OK;

	/* Names go out as "expedited", DSCP 46: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3. */
	tos = 46 << 2 | (ip->tos & 3);
	sum = (__u16)~ip->check + (__u16)~bpf_htons(ip->tos) + bpf_htons(tos);
	ip->check = fold(sum);
	ip->tos = tos;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Apache-2.0";
