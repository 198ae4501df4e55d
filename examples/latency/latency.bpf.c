/*
 * How long do reads and writes take? A histogram for each system call, over its tracepoints: the entry of a call notes the time, its
 * return looks it up. A bucket counts the calls that took from 2^n to 2^(n+1) - 1 microseconds.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define BUCKETS 24

/* Only this process, unless it is 0. */
const volatile __u32 target_pid = 0;

struct histogram {
	__u64 calls;
	__u64 failed;
	__u32 buckets[BUCKETS];
};

struct entry {
	__u64 since;
	__u64 number;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32); /* thread */
	__type(value, struct entry);
} entered SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, __u64); /* number of the system call */
	__type(value, struct histogram);
} latencies SEC(".maps");

/* The records of raw_syscalls:sys_enter and sys_exit, as their format files have them. */
struct sys_enter {
	__u64 common;
	__s64 id;
	__u64 args[6];
};
struct sys_exit {
	__u64 common;
	__s64 id;
	__s64 ret;
};

static const struct histogram empty;

SEC("tracepoint/raw_syscalls/sys_enter") int on_enter(struct sys_enter *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 thread = (__u32)id;
	struct entry entry = { bpf_ktime_get_ns(), ctx->id };

	if (target_pid && id >> 32 != target_pid)
		return 0;
	bpf_map_update_elem(&entered, &thread, &entry, BPF_ANY);
	return 0;
}

static __always_inline __u32 bucket_of(__u64 value)
{
	__u32 bucket = 0;

	for (int i = 0; i < BUCKETS - 1; i++) {
		value >>= 1;
		if (!value)
			break;
		bucket++;
	}
	return bucket;
}

SEC("tracepoint/raw_syscalls/sys_exit") int on_exit(struct sys_exit *ctx)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid(), bucket;
	struct entry *entry = bpf_map_lookup_elem(&entered, &thread);
	struct histogram *histogram;
	__u64 number, took;

	if (!entry)
		return 0;
	number = entry->number;
	took = bpf_ktime_get_ns() - entry->since;
	bpf_map_delete_elem(&entered, &thread);

	bpf_map_update_elem(&latencies, &number, &empty, BPF_NOEXIST);
	histogram = bpf_map_lookup_elem(&latencies, &number);
	if (!histogram)
		return 0;
	bucket = bucket_of(took / 1000);
	if (bucket < BUCKETS)
		__sync_fetch_and_add(&histogram->buckets[bucket], 1);
	__sync_fetch_and_add(&histogram->calls, 1);
	if (ctx->ret < 0)
		__sync_fetch_and_add(&histogram->failed, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
