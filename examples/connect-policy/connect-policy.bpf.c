/*
 * Where may the processes of a control group connect to? Networks are allowed port by port; what no rule names is refused (EPERM). A
 * proxy can be put in the way of a network: connections go there, and the map says where they wanted to go.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct network {
	__u32 prefixlen;
	__be32 address;
};

struct rule {
	__u16 port; /* 0: every one */
	__u16 proxy_port; /* 0: none */
	__be32 proxy;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct network);
	__type(value, struct rule);
} rules SEC(".maps");

struct destination {
	__be32 address;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* the socket's cookie */
	__type(value, struct destination);
} wanted SEC(".maps");

enum { ALLOWED, REFUSED, PROXIED };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline void count(__u32 verdict)
{
	__u64 *number = bpf_map_lookup_elem(&verdicts, &verdict);

	if (number)
		__sync_fetch_and_add(number, 1);
}

SEC("cgroup/connect4") int connect(struct bpf_sock_addr *ctx)
{
	struct network to = { 32, ctx->user_ip4 };
	__u16 port = bpf_ntohs(ctx->user_port);
	struct rule *rule = bpf_map_lookup_elem(&rules, &to);
	__u64 cookie = bpf_get_socket_cookie(ctx);

	if (!rule || (rule->port && rule->port != port)) {
		count(REFUSED);
		return 0;
	}
	if (rule->proxy_port) {
		struct destination destination = { ctx->user_ip4, port };

		bpf_map_update_elem(&wanted, &cookie, &destination, BPF_ANY);
		ctx->user_ip4 = rule->proxy;
		ctx->user_port = bpf_htons(rule->proxy_port);
		count(PROXIED);
		return 1;
	}
	count(ALLOWED);
	return 1;
}

char _license[] SEC("license") = "GPL";
