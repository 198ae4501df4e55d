/*
 * One service, many addresses: connections to any port of a range, at any address of a network, reach the socket of one listener (sk_lookup). In front
 * of the lookup in the kernel's tables, so nothing has to be bound a thousand times.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2

const volatile __be32 network;
const volatile __be32 mask;
const volatile __u32 first_port = 8000;
const volatile __u32 last_port = 8999;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

enum { STEERED, LEFT_ALONE, NOBODY };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline int answer(__u32 what, int verdict)
{
	__u64 *count = bpf_map_lookup_elem(&counts, &what);

	if (count)
		*count += 1;
	return verdict;
}

SEC("sk_lookup") int steer(struct bpf_sk_lookup *ctx)
{
	__u32 index = ctx->protocol == IPPROTO_UDP;
	struct bpf_sock *listener;
	long error;

	if (ctx->family != AF_INET || (ctx->local_ip4 & mask) != network)
		return answer(LEFT_ALONE, SK_PASS);
	if (ctx->local_port < first_port || ctx->local_port > last_port)
		return answer(LEFT_ALONE, SK_PASS);
	listener = bpf_map_lookup_elem(&listeners, &index);
	if (!listener)
		return answer(NOBODY, SK_DROP);
	error = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return error ? answer(NOBODY, SK_DROP) : answer(STEERED, SK_PASS);
}

char _license[] SEC("license") = "GPL";
