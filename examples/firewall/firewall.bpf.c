// SPDX-License-Identifier: Apache-2.0
//
// A small stateless firewall for XDP.
//
// Two sources of rules: a table that is compiled in (`rules`, in .rodata, so a loader can rewrite it before the program is
// loaded), and maps that a running system fills (`blocked4`, `blocked6`, `blocked_ports`). Both name a rule by its
// number, and `rule_hits` counts by that number.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_RULES 64
#define MAX_VLAN_TAGS 2
#define MAX_EXTENSIONS 6
#define ICMP_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128

enum reason {
	PASSED,
	NOT_IP,
	BLOCKED_SOURCE,
	BLOCKED_PORT,
	LARGE_ECHO,
	LATER_FRAGMENT,
	MALFORMED,
	REASONS,
};

enum rule_kind {
	UNUSED,
	SOURCE4,
	SOURCE6,
	PORT,
	ECHO_SIZE,
};

struct rule {
	char name[16];
	enum rule_kind kind;
	__u32 prefixlen; /* SOURCE4, SOURCE6 */
	__u8 addr[16];   /* SOURCE4 uses the first four bytes */
	__u8 proto;      /* PORT */
	__u16 port;      /* PORT: destination, host byte order */
	__u32 max_bytes; /* ECHO_SIZE: an echo request longer than this is dropped */
};

#define DEFAULT_RULES 8

const volatile struct rule rules[DEFAULT_RULES] = {
	{ .name = "test-net-3", .kind = SOURCE4, .prefixlen = 24, .addr = { 203, 0, 113 } },
	{ .name = "scanner", .kind = SOURCE4, .prefixlen = 32, .addr = { 198, 51, 100, 66 } },
	{ .name = "bad-v6", .kind = SOURCE6, .prefixlen = 48, .addr = { 0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad } },
	{ .name = "telnet", .kind = PORT, .proto = IPPROTO_TCP, .port = 23 },
	{ .name = "http-alt", .kind = PORT, .proto = IPPROTO_TCP, .port = 8081 },
	{ .name = "ssdp", .kind = PORT, .proto = IPPROTO_UDP, .port = 1900 },
	{ .name = "large-echo", .kind = ECHO_SIZE, .max_bytes = 1000 },
};

/* A fragment that is not the first has no ports; with this set it is dropped. */
const volatile _Bool drop_later_fragments = 1;

struct key4 {
	__u32 prefixlen;
	__u8 addr[4];
};

struct key6 {
	__u32 prefixlen;
	__u8 addr[16];
};

struct port_key {
	__u8 proto;
	__u8 zero;
	__u16 port; /* host byte order */
};

struct hits {
	__u64 packets;
	__u64 bytes;
	__u64 last_seen_ns;
};

struct tally {
	enum reason reason; /* repeated from the key, so that a dump shows its name */
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 10000);
	__type(key, struct key4);
	__type(value, __u32); /* rule number */
} blocked4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 10000);
	__type(key, struct key6);
	__type(value, __u32);
} blocked6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct port_key);
	__type(value, __u32);
} blocked_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, struct hits);
} rule_hits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct tally);
} verdicts SEC(".maps");

/* What the parser found; offsets are checked against data_end again wherever they are used. */
struct packet {
	const __u8 *source; /* 4 or 16 bytes */
	__u32 bytes;
	__u16 port;
	__u8 family; /* 4 or 6 */
	__u8 proto;
	_Bool echo;
};

static __always_inline void count_rule(__u32 rule, __u32 bytes)
{
	struct hits *hits = bpf_map_lookup_elem(&rule_hits, &rule);

	if (!hits)
		return;
	__sync_fetch_and_add(&hits->packets, 1);
	__sync_fetch_and_add(&hits->bytes, bytes);
	hits->last_seen_ns = bpf_ktime_get_ns();
}

static __always_inline int finish(enum reason reason, __u32 bytes, int action)
{
	__u32 key = reason;
	struct tally *tally = bpf_map_lookup_elem(&verdicts, &key);

	if (tally) {
		tally->reason = reason;
		tally->packets++;
		tally->bytes += bytes;
	}
	return action;
}

static __always_inline _Bool in_prefix(const __u8 *addr, const volatile struct rule *rule, __u32 words)
{
	__u32 left = rule->prefixlen;

	for (__u32 i = 0; i < words; i++) {
		__u32 have, want, mask;

		if (left == 0)
			return 1;
		have = ((__u32)addr[4 * i] << 24) | ((__u32)addr[4 * i + 1] << 16) |
		       ((__u32)addr[4 * i + 2] << 8) | addr[4 * i + 3];
		want = ((__u32)rule->addr[4 * i] << 24) | ((__u32)rule->addr[4 * i + 1] << 16) |
		       ((__u32)rule->addr[4 * i + 2] << 8) | rule->addr[4 * i + 3];
		mask = left >= 32 ? 0xffffffff : 0xffffffff << (32 - left);
		if ((have ^ want) & mask)
			return 0;
		left -= left >= 32 ? 32 : left;
	}
	return 1;
}

/* The first rule that names the packet's source, or -1. */
static __always_inline int match_source(const struct packet *p)
{
	for (int i = 0; i < DEFAULT_RULES; i++) {
		if (rules[i].kind == SOURCE4 && p->family == 4 && in_prefix(p->source, &rules[i], 1))
			return i;
		if (rules[i].kind == SOURCE6 && p->family == 6 && in_prefix(p->source, &rules[i], 4))
			return i;
	}

	__u32 *rule;

	if (p->family == 4) {
		struct key4 key = { .prefixlen = 32 };

		__builtin_memcpy(key.addr, p->source, sizeof(key.addr));
		rule = bpf_map_lookup_elem(&blocked4, &key);
	} else {
		struct key6 key = { .prefixlen = 128 };

		__builtin_memcpy(key.addr, p->source, sizeof(key.addr));
		rule = bpf_map_lookup_elem(&blocked6, &key);
	}
	return rule ? *rule & 0x7fffffff : -1;
}

static __always_inline int match_port(const struct packet *p)
{
	struct port_key key = { .proto = p->proto, .port = p->port };
	__u32 *rule;

	for (int i = 0; i < DEFAULT_RULES; i++)
		if (rules[i].kind == PORT && rules[i].proto == p->proto && rules[i].port == p->port)
			return i;
	rule = bpf_map_lookup_elem(&blocked_ports, &key);
	return rule ? *rule & 0x7fffffff : -1;
}

static __always_inline int match_echo(const struct packet *p)
{
	for (int i = 0; i < DEFAULT_RULES; i++)
		if (rules[i].kind == ECHO_SIZE && p->bytes > rules[i].max_bytes)
			return i;
	return -1;
}

/* Fills in family, source, proto, port and echo. PASSED means "nothing wrong so far, go on with the rules". */
static __always_inline enum reason parse(void *data, void *end, struct packet *p)
{
	struct ethhdr *eth = data;
	void *next = eth + 1;
	__u16 type;
	__u8 proto;

	if (next > end)
		return MALFORMED;
	type = eth->h_proto;
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		__u16 *tag = next;

		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 2) > end)
			return MALFORMED;
		type = tag[1];
		next = tag + 2;
	}

	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = next;

		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
			return MALFORMED;
		p->family = 4;
		p->source = (const __u8 *)&ip->saddr;
		proto = ip->protocol;
		next = (void *)ip + ip->ihl * 4;
		if (ip->frag_off & bpf_htons(0x1fff))
			return LATER_FRAGMENT;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = next;

		if ((void *)(ip6 + 1) > end || ip6->version != 6)
			return MALFORMED;
		p->family = 6;
		p->source = (const __u8 *)&ip6->saddr;
		proto = ip6->nexthdr;
		next = ip6 + 1;
		for (int i = 0; i < MAX_EXTENSIONS; i++) {
			__u8 *extension = next;

			if (proto != IPPROTO_HOPOPTS && proto != IPPROTO_ROUTING && proto != IPPROTO_DSTOPTS &&
			    proto != IPPROTO_FRAGMENT)
				break;
			if ((void *)(extension + 8) > end)
				return MALFORMED;
			if (proto == IPPROTO_FRAGMENT) {
				if (*(__u16 *)(extension + 2) & bpf_htons(0xfff8))
					return LATER_FRAGMENT;
				next = extension + 8;
			} else {
				next = extension + 8 + extension[1] * 8;
			}
			proto = extension[0];
		}
	} else {
		return NOT_IP;
	}

	p->proto = proto;
	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP) {
		struct udphdr *ports = next; /* TCP and UDP start with the same two ports */

		if ((void *)(ports + 1) > end)
			return MALFORMED;
		p->port = bpf_ntohs(ports->dest);
	} else if (proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6) {
		__u8 *kind = next;

		if ((void *)(kind + 1) > end)
			return MALFORMED;
		p->echo = *kind == (proto == IPPROTO_ICMP ? ICMP_ECHO_REQUEST : ICMP6_ECHO_REQUEST);
	}
	return PASSED;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct packet p = { .bytes = ctx->data_end - ctx->data };
	enum reason reason = parse(data, end, &p);
	int rule;

	if (reason == NOT_IP)
		return finish(NOT_IP, p.bytes, XDP_PASS);
	if (reason == MALFORMED)
		return finish(MALFORMED, p.bytes, XDP_DROP);

	rule = match_source(&p);
	if (rule >= 0) {
		count_rule(rule, p.bytes);
		return finish(BLOCKED_SOURCE, p.bytes, XDP_DROP);
	}
	if (reason == LATER_FRAGMENT)
		return finish(LATER_FRAGMENT, p.bytes, drop_later_fragments ? XDP_DROP : XDP_PASS);
	if (p.proto == IPPROTO_TCP || p.proto == IPPROTO_UDP) {
		rule = match_port(&p);
		if (rule >= 0) {
			count_rule(rule, p.bytes);
			return finish(BLOCKED_PORT, p.bytes, XDP_DROP);
		}
	}
	if (p.echo) {
		rule = match_echo(&p);
		if (rule >= 0) {
			count_rule(rule, p.bytes);
			return finish(LARGE_ECHO, p.bytes, XDP_DROP);
		}
	}
	return finish(PASSED, p.bytes, XDP_PASS);
}

char LICENSE[] SEC("license") = "Apache-2.0";
