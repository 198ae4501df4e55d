// SPDX-License-Identifier: Apache-2.0
//
// Counts packets and bytes by protocol and by destination port, and lets everything pass.
//
// Two programs over the same headers: `count` (XDP) walks the packet through direct access, `keep_tcp` (a socket filter)
// copies out what it needs with bpf_skb_load_bytes.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VLAN_TAGS 2
#define MAX_EXTENSIONS 8

/* A row of `protocols`. One packet counts in several: IPV4 and TCP, say. */
enum protocol {
	ARP,
	IPV4,
	IPV6,
	OTHER_ETHERNET,
	VLAN_TAGGED,
	TCP,
	UDP,
	ICMP,
	ICMPV6,
	OTHER_IP,
	FRAGMENT,
	TRUNCATED,
	PROTOCOLS,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct protocol_counter {
	enum protocol protocol; /* repeated from the key, so that a dump shows its name */
	__u64 packets;
	__u64 bytes;
};

struct port {
	__u8 proto; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 zero;
	__u16 port; /* destination, host byte order */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROTOCOLS);
	__type(key, __u32);
	__type(value, struct protocol_counter);
} protocols SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct port);
	__type(value, struct counter);
} ports SEC(".maps");

/* Packets whose port found no room in `ports`. */
__u64 not_counted;

/* Ports from here on are ephemeral: all of them count as this one. 0 keeps every port apart. */
const volatile __u16 first_ephemeral = 32768;

static __always_inline void count_protocol(enum protocol protocol, __u32 bytes)
{
	__u32 key = protocol;
	struct protocol_counter *counter = bpf_map_lookup_elem(&protocols, &key);

	if (counter) {
		counter->protocol = protocol;
		counter->packets++;
		counter->bytes += bytes;
	}
}

static __always_inline void count_port(__u8 proto, __u16 port, __u32 bytes)
{
	struct port key = { .proto = proto, .port = port };
	struct counter *counter, first = { 1, bytes };

	if (first_ephemeral && port > first_ephemeral)
		key.port = first_ephemeral;
	counter = bpf_map_lookup_elem(&ports, &key);
	if (counter) {
		__sync_fetch_and_add(&counter->packets, 1);
		__sync_fetch_and_add(&counter->bytes, bytes);
	} else if (bpf_map_update_elem(&ports, &key, &first, BPF_NOEXIST)) {
		__sync_fetch_and_add(&not_counted, 1);
	}
}

static __always_inline void count_transport(__u8 proto, void *next, void *end, __u32 bytes)
{
	struct udphdr *ports = next; /* TCP and UDP start with the same two ports */

	switch (proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		if ((void *)(ports + 1) > end) {
			count_protocol(TRUNCATED, bytes);
			return;
		}
		count_protocol(proto == IPPROTO_TCP ? TCP : UDP, bytes);
		count_port(proto, bpf_ntohs(ports->dest), bytes);
		return;
	case IPPROTO_ICMP:
		count_protocol(ICMP, bytes);
		return;
	case IPPROTO_ICMPV6:
		count_protocol(ICMPV6, bytes);
		return;
	default:
		count_protocol(OTHER_IP, bytes);
	}
}

static __always_inline void count_ipv4(struct iphdr *ip, void *end, __u32 bytes)
{
	if ((void *)(ip + 1) > end || ip->ihl < 5) {
		count_protocol(TRUNCATED, bytes);
		return;
	}
	count_protocol(IPV4, bytes);
	if (ip->frag_off & bpf_htons(0x1fff))
		count_protocol(FRAGMENT, bytes); /* not the first: no ports in it */
	else
		count_transport(ip->protocol, (void *)ip + ip->ihl * 4, end, bytes);
}

static __always_inline void count_ipv6(struct ipv6hdr *ip6, void *end, __u32 bytes)
{
	__u8 *next = (__u8 *)(ip6 + 1);
	__u8 proto;

	if ((void *)next > end) {
		count_protocol(TRUNCATED, bytes);
		return;
	}
	count_protocol(IPV6, bytes);
	proto = ip6->nexthdr;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (proto != IPPROTO_HOPOPTS && proto != IPPROTO_ROUTING && proto != IPPROTO_DSTOPTS &&
		    proto != IPPROTO_FRAGMENT && proto != IPPROTO_AH)
			break;
		if ((void *)(next + 8) > end) {
			count_protocol(TRUNCATED, bytes);
			return;
		}
		if (proto == IPPROTO_FRAGMENT && (*(__u16 *)(next + 2) & bpf_htons(0xfff8))) {
			count_protocol(FRAGMENT, bytes);
			return;
		}
		proto = next[0];
		if (proto == IPPROTO_FRAGMENT)
			next += 8;
		else
			next += 8 + next[1] * 8;
	}
	count_transport(proto, next, end, bytes);
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 bytes = ctx->data_end - ctx->data;
	struct ethhdr *eth = data;
	void *next = eth + 1;
	__u16 type;

	if (next > end) {
		count_protocol(TRUNCATED, bytes);
		return XDP_PASS;
	}
	type = eth->h_proto;
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		__u16 *tag = next;

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 2) > end) {
			count_protocol(TRUNCATED, bytes);
			return XDP_PASS;
		}
		if (i == 0)
			count_protocol(VLAN_TAGGED, bytes);
		type = tag[1];
		next = tag + 2;
	}

	switch (bpf_ntohs(type)) {
	case ETH_P_IP:
		count_ipv4(next, end, bytes);
		break;
	case ETH_P_IPV6:
		count_ipv6(next, end, bytes);
		break;
	case ETH_P_ARP:
		count_protocol(ARP, bytes);
		break;
	default:
		count_protocol(OTHER_ETHERNET, bytes);
	}
	return XDP_PASS;
}

/*
 * A socket filter as a packet socket would carry it: keeps the headers of TCP segments (the return value is the number
 * of bytes to keep) and drops everything else.
 */
SEC("socket")
int keep_tcp(struct __sk_buff *skb)
{
	__u16 type;
	__u32 at = ETH_HLEN;
	__u8 first, proto;

	if (bpf_skb_load_bytes(skb, 12, &type, sizeof(type)))
		return 0;
	if (type == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, at, &first, 1) || bpf_skb_load_bytes(skb, at + 9, &proto, 1))
			return 0;
		at += (first & 15) * 4;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, at + 6, &proto, 1))
			return 0;
		at += sizeof(struct ipv6hdr);
	} else {
		return 0;
	}
	if (proto != IPPROTO_TCP || bpf_skb_load_bytes(skb, at + 12, &first, 1))
		return 0;
	return at + (first >> 4) * 4;
}

char LICENSE[] SEC("license") = "Apache-2.0";
