// SPDX-License-Identifier: Apache-2.0
//
// Large programs for the verifier: deep parsing, loops, lookups, calls. Each is thousands of instructions long or has
// hundreds of thousands processed; `npm run verify-diff` has both verifiers judge them.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct flow {
	__u32 saddr[4];
	__u32 daddr[4];
	__u16 sport;
	__u16 dport;
	__u8 protocol;
	__u8 family;
	__u16 vlan;
};

struct counters {
	__u64 packets;
	__u64 bytes;
	__u32 flags;
	__u32 rules[16];
};

struct rule {
	__u32 address;
	__u32 mask;
	__u16 low;
	__u16 high;
	__u8 protocol;
	__u8 action;
	__u16 next;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, struct counters);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

static __always_inline void count(__u32 index)
{
	__u64 *total = bpf_map_lookup_elem(&totals, &index);

	if (total)
		*total += 1;
}

/* TCP options, one after the other, each of a length of its own: paths multiply. */
static __always_inline int tcp_options(void *at, void *end, __u32 length)
{
	__u32 seen = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 10; i++) {
		__u8 *option = at;

		if (length == 0 || option + 1 > (__u8 *)end)
			break;
		if (*option == 0)
			break;
		if (*option == 1) {
			at = option + 1;
			length--;
			continue;
		}
		if (option + 2 > (__u8 *)end)
			return -1;
		__u8 size = option[1];

		if (size < 2 || size > 40 || size > length)
			return -1;
		switch (*option) {
		case 2:
			if (size != 4 || option + 4 > (__u8 *)end)
				return -1;
			seen |= 1;
			count(option[2]);
			break;
		case 3:
			if (size != 3 || option + 3 > (__u8 *)end)
				return -1;
			seen |= 2;
			break;
		case 4:
			seen |= 4;
			break;
		case 8:
			if (size != 10 || option + 10 > (__u8 *)end)
				return -1;
			seen |= 8;
			count(option[9] & 31);
			break;
		}
		length -= size;
		at = option + size;
	}
	return seen;
}

SEC("xdp")
int deep_parser(struct xdp_md *ctx)
{
	void *at = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = at;
	struct flow flow = {};
	__u16 protocol;

	if (eth + 1 > (struct ethhdr *)end)
		return XDP_DROP;
	protocol = eth->h_proto;
	at = eth + 1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 4; i++) {
		__u16 *tag = at;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if (tag + 2 > (__u16 *)end)
			return XDP_DROP;
		flow.vlan = bpf_ntohs(tag[0]) & 0xfff;
		protocol = tag[1];
		at = tag + 2;
	}
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at;

		if (ip + 1 > (struct iphdr *)end || ip->ihl < 5)
			return XDP_DROP;
		flow.family = 4;
		flow.saddr[0] = ip->saddr;
		flow.daddr[0] = ip->daddr;
		flow.protocol = ip->protocol;
		at += ip->ihl * 4;
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;

		if (ip + 1 > (struct ipv6hdr *)end)
			return XDP_DROP;
		flow.family = 6;
		__builtin_memcpy(flow.saddr, &ip->saddr, 16);
		__builtin_memcpy(flow.daddr, &ip->daddr, 16);
		flow.protocol = ip->nexthdr;
		at = ip + 1;
#pragma clang loop unroll(disable)
		for (int i = 0; i < 8; i++) {
			__u8 *extension = at;

			if (flow.protocol != 0 && flow.protocol != 43 && flow.protocol != 60 && flow.protocol != 44)
				break;
			if (extension + 8 > (__u8 *)end)
				return XDP_DROP;
			if (flow.protocol == 44)
				at = extension + 8;
			else
				at = extension + (extension[1] + 1) * 8;
			flow.protocol = extension[0];
			count(32 + i);
		}
	} else {
		return XDP_PASS;
	}
	if (flow.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;

		if (tcp + 1 > (struct tcphdr *)end || tcp->doff < 5)
			return XDP_DROP;
		flow.sport = tcp->source;
		flow.dport = tcp->dest;
		int seen = tcp_options(tcp + 1, end, tcp->doff * 4 - 20);

		if (seen < 0)
			return XDP_DROP;
		count(seen & 15);
	} else if (flow.protocol == IPPROTO_UDP) {
		struct udphdr *udp = at;

		if (udp + 1 > (struct udphdr *)end)
			return XDP_DROP;
		flow.sport = udp->source;
		flow.dport = udp->dest;
	}
	struct counters *counters = bpf_map_lookup_elem(&flows, &flow);

	if (counters) {
		counters->packets++;
		counters->bytes += end - (void *)(long)ctx->data;
	} else {
		struct counters fresh = { .packets = 1 };

		bpf_map_update_elem(&flows, &flow, &fresh, BPF_ANY);
	}
	return XDP_PASS;
}

/* Rules, looked up and compared one after the other, written out. */
SEC("tc")
int rule_chain(struct __sk_buff *skb)
{
	void *at = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct iphdr *ip = at + sizeof(struct ethhdr);
	struct counters local = {};
	__u32 matched = 0;

	if (ip + 1 > (struct iphdr *)end)
		return TC_ACT_OK;
	__u32 source = ip->saddr, target = ip->daddr;
	__u8 protocol = ip->protocol;
	__u16 port = 0;

	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(ip + 1);

		if (udp + 1 > (struct udphdr *)end)
			return TC_ACT_OK;
		port = bpf_ntohs(udp->dest);
	}
#pragma clang loop unroll(full)
	for (int i = 0; i < 96; i++) {
		__u32 key = i;
		struct rule *rule = bpf_map_lookup_elem(&rules, &key);

		if (!rule)
			continue;
		if (rule->protocol && rule->protocol != protocol)
			continue;
		if ((source & rule->mask) != rule->address && (target & rule->mask) != rule->address)
			continue;
		if (port < rule->low || port > rule->high)
			continue;
		local.rules[i & 15] += rule->action;
		matched++;
		if (rule->action == 2)
			return TC_ACT_SHOT;
	}
	local.packets = matched;
	count(matched & 63);
	__u32 zero = 0;
	struct flow flow = { .saddr[0] = source, .daddr[0] = target, .protocol = protocol };

	bpf_map_update_elem(&flows, &flow, &local, BPF_ANY);
	return matched > 90 ? TC_ACT_SHOT : TC_ACT_OK + zero;
}

/* Loops in loops that the verifier walks round by round, over bytes of the packet and a table on the stack. */
SEC("xdp")
int nested_loops(struct xdp_md *ctx)
{
	__u8 *at = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u8 table[256] = {};
	__u32 sum = 0;

	if (at + 1500 > end)
		return XDP_PASS;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 1500; i++) {
		__u8 byte = at[i];

#pragma clang loop unroll(disable)
		for (int bit = 0; bit < 12; bit++) {
			__u32 where = (i * 7 + bit * 31) & 255;

			if (byte > bit * 20)
				sum += table[where];
			table[where] = byte;
		}
	}
	return sum & 1 ? XDP_DROP : XDP_PASS;
}

/* A machine of states in functions of their own, called round by round. */
struct automaton {
	__u32 state;
	__u32 depth;
	__u32 stack[16];
	__u32 errors;
};

static __attribute__((noinline)) int push(struct automaton *automaton, __u32 value)
{
	if (automaton->depth >= 16)
		return -1;
	automaton->stack[automaton->depth & 15] = value;
	automaton->depth++;
	return 0;
}

static __attribute__((noinline)) int pop(struct automaton *automaton)
{
	if (automaton->depth == 0)
		return -1;
	automaton->depth--;
	return automaton->stack[automaton->depth & 15];
}

static __attribute__((noinline)) int step(struct automaton *automaton, __u8 byte)
{
	switch (automaton->state) {
	case 0:
		if (byte == '{' || byte == '[')
			return push(automaton, byte);
		if (byte == '}' || byte == ']') {
			int open = pop(automaton);

			if (open < 0 || (open == '{') != (byte == '}'))
				automaton->errors++;
			return 0;
		}
		if (byte == '"')
			automaton->state = 1;
		else if (byte >= '0' && byte <= '9')
			automaton->state = 3;
		return 0;
	case 1:
		if (byte == '\\')
			automaton->state = 2;
		else if (byte == '"')
			automaton->state = 0;
		return 0;
	case 2:
		automaton->state = 1;
		return 0;
	case 3:
		if (byte == '.' || byte == 'e' || (byte >= '0' && byte <= '9'))
			return 0;
		automaton->state = 0;
		return 0;
	}
	automaton->errors++;
	return -1;
}

SEC("tc")
int json_automaton(struct __sk_buff *skb)
{
	__u8 *at = (void *)(long)skb->data;
	__u8 *end = (void *)(long)skb->data_end;
	struct automaton automaton = {};

#pragma clang loop unroll(disable)
	for (int i = 0; i < 200; i++) {
		if (at + i + 1 > end)
			break;
		if (step(&automaton, at[i]) < 0)
			return TC_ACT_SHOT;
	}
	count(automaton.errors & 63);
	return automaton.depth == 0 ? TC_ACT_OK : TC_ACT_SHOT;
}

/* Names of the domain name system: labels of any length, compared with a table in a loop, with spilled pointers about. */
SEC("xdp")
int dns_names(struct xdp_md *ctx)
{
	__u8 *at = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	char name[128] = {};
	__u32 length = 0, labels = 0, hash = 5381;
	__u32 offset = 54;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 64; i++) {
		if (at + offset + 1 > end || offset > 512)
			return XDP_DROP;
		__u8 size = at[offset];

		if (size == 0)
			break;
		if ((size & 0xc0) == 0xc0)
			break;
		if (size > 63)
			return XDP_DROP;
		offset++;
		labels++;
#pragma clang loop unroll(disable)
		for (int k = 0; k < 63; k++) {
			if (k >= size)
				break;
			if (at + offset + 1 > end || offset > 512)
				return XDP_DROP;
			__u8 letter = at[offset++];

			if (letter >= 'A' && letter <= 'Z')
				letter |= 32;
			hash = hash * 33 + letter;
			name[length & 127] = letter;
			length++;
		}
		count(labels & 63);
	}
	struct flow flow = { .protocol = 53 };

	__builtin_memcpy(flow.saddr, name, 16);
	flow.daddr[0] = hash;
	struct counters *counters = bpf_map_lookup_elem(&flows, &flow);

	if (counters)
		counters->packets += labels;
	return XDP_PASS;
}
