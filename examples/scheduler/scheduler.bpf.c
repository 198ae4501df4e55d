/*
 * A scheduler in the manner of sched_ext, as a struct_ops: processes that wait go into one queue, ordered by the virtual time that they have used, and
 * heavier ones use it up more slowly. A CPU that has nothing to do takes the first. What the kernel does for it are kernel functions.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define SHARED_QUEUE 0
#define SLICE 20000000ULL /* ns */
#define FULL_WEIGHT 100

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sched_ext_entity {
	__u32 weight;
	__u64 slice;
	__u64 dsq_vtime;
};
struct task_struct {
	int pid;
	struct sched_ext_entity scx;
};
struct sched_ext_ops {
	int (*select_cpu)(struct task_struct *p, int prev_cpu, __u64 wake_flags);
	void (*enqueue)(struct task_struct *p, __u64 enq_flags);
	void (*dispatch)(int cpu, struct task_struct *prev);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, _Bool runnable);
	int (*init)(void);
	char name[128];
};
#pragma clang attribute pop

extern int scx_bpf_create_dsq(__u64 id, int node) __ksym;
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, __u64 id, __u64 slice, __u64 vtime, __u64 flags) __ksym;
extern _Bool scx_bpf_dsq_move_to_local(__u64 id) __ksym;

/* How far the process that runs has come. */
__u64 now;
__u64 queued, dispatched;

SEC("struct_ops/select_cpu") int BPF_PROG(select_cpu, struct task_struct *p, int prev_cpu, __u64 wake_flags)
{
	/* Caches are warm there. */
	return prev_cpu;
}

SEC("struct_ops/enqueue") void BPF_PROG(enqueue, struct task_struct *p, __u64 flags)
{
	__u64 vtime = p->scx.dsq_vtime;

	/* Who has slept may not save up more than one slice. */
	if ((__s64)(vtime - (now - SLICE)) < 0)
		vtime = now - SLICE;
	scx_bpf_dsq_insert_vtime(p, SHARED_QUEUE, SLICE, vtime, flags);
	__sync_fetch_and_add(&queued, 1);
}

SEC("struct_ops/dispatch") void BPF_PROG(dispatch, int cpu, struct task_struct *prev)
{
	if (scx_bpf_dsq_move_to_local(SHARED_QUEUE))
		__sync_fetch_and_add(&dispatched, 1);
}

SEC("struct_ops/running") void BPF_PROG(running, struct task_struct *p)
{
	if ((__s64)(now - p->scx.dsq_vtime) < 0)
		now = p->scx.dsq_vtime;
}

SEC("struct_ops/stopping") void BPF_PROG(stopping, struct task_struct *p, _Bool runnable)
{
	__u32 weight = p->scx.weight;

	if (weight)
		p->scx.dsq_vtime += (SLICE - p->scx.slice) * FULL_WEIGHT / weight;
}

SEC("struct_ops.s/init") int BPF_PROG(init)
{
	return scx_bpf_create_dsq(SHARED_QUEUE, -1);
}

SEC(".struct_ops.link") struct sched_ext_ops scheduler = {
	.select_cpu = (void *)select_cpu,
	.enqueue = (void *)enqueue,
	.dispatch = (void *)dispatch,
	.running = (void *)running,
	.stopping = (void *)stopping,
	.init = (void *)init,
	.name = "by_weight",
};

char _license[] SEC("license") = "GPL";
