// Programs of the kinds that tracing and networking tools use, against vmlinux.h. They are made to be relocated; some
// are never loaded.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct event { u32 pid, ppid; u64 value; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } counts SEC(".maps");

static __noinline u64 parent_of(struct task_struct *task) { return BPF_CORE_READ(task, real_parent, tgid); }

SEC("kprobe/do_unlinkat") int BPF_KPROBE(k_unlink, int dfd, struct filename *name) {
  struct task_struct *task = (void *)bpf_get_current_task();
  struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
  if (!e) return 0;
  e->pid = BPF_CORE_READ(task, tgid);
  e->ppid = parent_of(task);
  e->value = BPF_CORE_READ(task, start_time);
  BPF_CORE_READ_STR_INTO(&e->comm, task, comm);
  bpf_ringbuf_submit(e, 0);
  return 0;
}
SEC("kretprobe/do_unlinkat") int BPF_KRETPROBE(k_ret, long ret) {
  struct task_struct *task = (void *)bpf_get_current_task();
  return ret + BPF_CORE_READ(task, mm, total_vm) + bpf_core_field_size(task->comm);
}
SEC("kprobe/tcp_v4_connect") int BPF_KPROBE(k_tcp, struct sock *sk) {
  u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
  u32 daddr = BPF_CORE_READ(sk, __sk_common.skc_daddr);
  u16 port = BPF_CORE_READ(sk, __sk_common.skc_dport);
  struct inet_sock *inet = (struct inet_sock *)sk;
  return family + daddr + port + BPF_CORE_READ(inet, inet_sport);
}
SEC("kprobe/vfs_read") int BPF_KPROBE(k_file, struct file *file) {
  unsigned long ino = BPF_CORE_READ(file, f_inode, i_ino);
  const unsigned char *name = BPF_CORE_READ(file, f_path.dentry, d_name.name);
  u32 dev = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
  return ino + (long)name + dev;
}
SEC("tracepoint/sched/sched_process_exec") int tp_exec(struct trace_event_raw_sched_process_exec *ctx) {
  unsigned off = ctx->__data_loc_filename & 0xffff;
  char name[16];
  bpf_probe_read_str(name, sizeof(name), (void *)ctx + off);
  return ctx->pid + ctx->old_pid + name[0];
}
SEC("tp/syscalls/sys_enter_openat") int tp_open(struct trace_event_raw_sys_enter *ctx) {
  return ctx->args[1] != 0 && ctx->id == 257;
}
SEC("tp/block/block_rq_complete") int tp_block(void *ctx) {
  struct trace_event_raw_block_rq_completion *args = ctx;
  return args->nr_sector + args->error;
}
SEC("fentry/tcp_connect") int BPF_PROG(f_entry, struct sock *sk) {
  return sk->__sk_common.skc_family == 2 && sk->sk_protocol == 6;
}
SEC("fexit/vfs_open") int BPF_PROG(f_exit, const struct path *path, struct file *file, int ret) {
  return file->f_inode->i_mode + file->f_flags + ret;
}
SEC("fmod_ret/security_file_open") int BPF_PROG(f_mod, struct file *file) { return file->f_mode & 2; }
SEC("raw_tp/sched_switch") int BPF_PROG(raw_switch, bool preempt, struct task_struct *prev, struct task_struct *next) {
  return BPF_CORE_READ(prev, pid) + BPF_CORE_READ(next, prio) + BPF_CORE_READ(prev, se.vruntime);
}
SEC("tp_btf/sched_wakeup") int BPF_PROG(btf_wakeup, struct task_struct *p) {
  u32 key = p->pid; u64 one = p->se.sum_exec_runtime;
  bpf_map_update_elem(&counts, &key, &one, 0);
  return p->signal->nr_threads;
}
SEC("perf_event") int perf(struct bpf_perf_event_data *ctx) { return ctx->sample_period + ctx->addr; }
SEC("uprobe//bin/true:main") int BPF_KPROBE(u_main, int argc) { return argc + PT_REGS_IP_CORE(ctx); }
SEC("uretprobe//bin/true:main") int BPF_KRETPROBE(u_ret, int ret) { return ret + PT_REGS_SP_CORE(ctx); }
SEC("lsm/file_open") int BPF_PROG(lsm_open, struct file *file) {
  return file->f_cred->uid.val == 1000 && file->f_path.dentry->d_flags ? -1 : 0;
}
SEC("lsm/bprm_check_security") int BPF_PROG(lsm_exec, struct linux_binprm *bprm) { return bprm->argc > 3 ? -1 : 0; }
SEC("cgroup_skb/egress") int cg_skb(struct __sk_buff *skb) {
  struct bpf_sock *sk = skb->sk;
  return sk ? sk->family + (skb->len > 100) : 1;
}
SEC("cgroup/connect4") int cg_connect(struct bpf_sock_addr *ctx) {
  struct task_struct *task = (void *)bpf_get_current_task();
  return BPF_CORE_READ(task, cred, euid.val) != 0 || ctx->user_port == 80;
}
SEC("cgroup/sock_create") int cg_create(struct bpf_sock *ctx) { return ctx->type == 1; }
SEC("sk_lookup") int lookup(struct bpf_sk_lookup *ctx) { return ctx->local_port == 80; }
SEC("sockops") int ops(struct bpf_sock_ops *ctx) {
  struct tcp_sock *tp = (void *)bpf_skc_to_tcp_sock(ctx->sk);
  return tp ? tp->snd_cwnd + tp->srtt_us : 0;
}
SEC("struct_ops/cong_init") void BPF_PROG(cong_init, struct sock *sk) {
  struct tcp_sock *tp = (struct tcp_sock *)sk;
  u64 value = tp->snd_ssthresh + tp->rcv_nxt;
  u32 key = 1;
  bpf_map_update_elem(&counts, &key, &value, 0);
}
SEC("struct_ops/cong_avoid") u32 BPF_PROG(cong_ssthresh, struct sock *sk) {
  return ((struct tcp_sock *)sk)->snd_cwnd / 2;
}
SEC("iter/task") int it_task(struct bpf_iter__task *ctx) {
  struct task_struct *task = ctx->task;
  if (!task) return 0;
  return ctx->meta->seq_num + task->tgid + task->flags;
}
SEC("iter/tcp") int it_tcp(struct bpf_iter__tcp *ctx) { return ctx->sk_common ? ctx->sk_common->skc_state : 0; }
SEC("iter/bpf_map") int it_map(struct bpf_iter__bpf_map *ctx) { return ctx->map ? ctx->map->max_entries : 0; }
SEC("tc") int tc_cls(struct __sk_buff *skb) {
  struct sk_buff *kernel = (void *)skb;
  return bpf_core_field_exists(kernel->mark) + bpf_core_field_offset(struct sk_buff, data);
}
SEC("xdp") int xdp_prog(struct xdp_md *ctx) {
  void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  struct ethhdr *eth = data;
  struct iphdr *ip = (void *)(eth + 1);
  if ((void *)(ip + 1) > end) return 2;
  return ip->protocol == 6 && ip->ihl == 5 ? 1 : 2;
}
SEC("kprobe/wake_up_new_task") int BPF_KPROBE(k_bits, struct task_struct *task) {
  return BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork) + BPF_CORE_READ_BITFIELD_PROBED(task, in_execve) +
         BPF_CORE_READ_BITFIELD_PROBED(task, no_cgroup_migration);
}
SEC("fentry/tcp_close") int BPF_PROG(f_bits, struct sock *sk) {
  struct tcp_sock *tp = (void *)sk;
  return BPF_CORE_READ_BITFIELD(tp, repair) + BPF_CORE_READ_BITFIELD(sk, sk_userlocks) +
         BPF_CORE_READ_BITFIELD(tp, is_sack_reneg) + BPF_CORE_READ_BITFIELD(sk, sk_no_check_tx);
}
