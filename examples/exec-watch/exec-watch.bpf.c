/*
 * Who starts which program? One event for each execve that succeeds, with the parent's name and the first arguments, through a ring buffer.
 * What the kernel's structures look like is found by CO-RE: only the members that are used are declared.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define MAX_ARGS 6
#define ARG_SIZE 32

struct task_struct {
	int tgid;
	struct task_struct *real_parent;
	char comm[16];
} __attribute__((preserve_access_index));

struct exec {
	__u32 pid;
	__u32 uid;
	__u32 parent;
	__u32 count;
	char comm[16];
	char parent_comm[16];
	char args[MAX_ARGS][ARG_SIZE];
};
/* clang describes only types that something refers to. */
struct exec *unused_exec __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

/* Arguments are in the caller's memory only until the new program has taken its place. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct exec);
} starting SEC(".maps");

struct sys_enter_execve {
	__u64 common;
	__s64 id;
	const char *filename;
	const char *const *argv;
	const char *const *envp;
};
struct sys_exit_execve {
	__u64 common;
	__s64 id;
	__s64 ret;
};

static const struct exec empty;

SEC("tracepoint/syscalls/sys_enter_execve") int on_execve(struct sys_enter_execve *ctx)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	struct exec *exec;

	bpf_map_update_elem(&starting, &thread, &empty, BPF_ANY);
	exec = bpf_map_lookup_elem(&starting, &thread);
	if (!exec)
		return 0;
	for (int i = 0; i < MAX_ARGS; i++) {
		const char *arg = NULL;

		if (bpf_probe_read_user(&arg, sizeof(arg), &ctx->argv[i]) || !arg)
			break;
		if (bpf_probe_read_user_str(exec->args[i], ARG_SIZE, arg) < 0)
			break;
		exec->count++;
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_execve") int on_execve_done(struct sys_exit_execve *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 thread = (__u32)id;
	struct exec *exec = bpf_map_lookup_elem(&starting, &thread);
	struct task_struct *task = (void *)bpf_get_current_task();

	if (!exec)
		return 0;
	if (ctx->ret == 0) {
		exec->pid = id >> 32;
		exec->uid = (__u32)bpf_get_current_uid_gid();
		exec->parent = BPF_CORE_READ(task, real_parent, tgid);
		BPF_CORE_READ_STR_INTO(&exec->parent_comm, task, real_parent, comm);
		bpf_get_current_comm(exec->comm, sizeof(exec->comm));
		bpf_ringbuf_output(&events, exec, sizeof(*exec), 0);
	}
	bpf_map_delete_elem(&starting, &thread);
	return 0;
}

char _license[] SEC("license") = "GPL";
