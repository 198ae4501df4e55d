// Types that are not those of the kernel: what it has otherwise, has in part or has not at all.
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef int s32; typedef long long s64; typedef u8 __u8; typedef u16 __u16; typedef u32 __u32; typedef u64 __u64;
typedef s32 __s32; typedef s64 __s64; typedef u16 __be16; typedef u32 __be32; typedef u32 __wsum; typedef _Bool bool;
enum bpf_map_type { BPF_MAP_TYPE_UNSPEC };
struct pt_regs { long di; };
#define CORE __attribute__((preserve_access_index))
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "GPL";

struct list_head { struct list_head *next, *prev; } CORE;
struct task_struct { int pid; int tgid; int prio; u32 flags; char comm[16]; struct task_struct *real_parent; u64 start_time; } CORE;
struct task_struct___old { long state; long cpu; char comm[16]; void *stack; } CORE;
struct task_struct___new { unsigned int __state; void *stack; } CORE;
struct task_struct___wide { u64 prio; u64 flags; u16 exit_code; } CORE;
struct mm_struct { union { struct { unsigned long total_vm; unsigned long pgd_missing; }; }; } CORE;
struct gone { int a; struct { int b[4]; } c; } CORE;
struct sock_common { union { struct { __be32 skc_daddr; __be32 skc_rcv_saddr; }; u64 skc_addrpair; }; u16 skc_family; u8 skc_reuse : 4; u8 skc_reuseport : 1; } CORE;
struct sock { struct sock_common __sk_common; int sk_rcvbuf; u8 sk_userlocks : 4, sk_no_check_tx : 1; u16 sk_gso_max_segs; } CORE;
union fpregs_state { u8 __padding[1]; } CORE;
enum pid_type { PIDTYPE_PID = 7, PIDTYPE_TGID, PIDTYPE_MAX, PIDTYPE_NONE };
enum pid_type___mine { PIDTYPE_SID___x = 77 };
enum no_such_enum { NOTHING };
typedef int (*initcall_t)(void);
typedef struct { int counter; } atomic_t;
typedef u64 no_such_typedef;
struct pid_namespace { struct { int x; } idr; int pid_allocated; unsigned level; } CORE;
struct perf_event_attr { u32 type; u64 disabled : 1, inherit : 1, exclude_kernel : 1; } CORE;
struct page { unsigned long flags; } CORE;
struct rb_node { struct rb_node *rb_left, *rb_right; } CORE;
struct seq_file { char *buf; u64 size; } CORE;
struct kernfs_node { int count; } CORE;

#define READ(dst, p, ...) bpf_core_read(dst, sizeof(*(dst)), &(p)->__VA_ARGS__)

SEC("raw_tp/sys_enter") int moved(void *ctx) {
  struct task_struct *task = (void *)bpf_get_current_task();
  u64 sum = 0; int value;
  READ(&value, task, tgid); sum += value;
  READ(&value, task, comm[3]); sum += value;
  struct task_struct *parent; READ(&parent, task, real_parent);
  READ(&value, parent, pid); return sum + value;
}
SEC("raw_tp/sys_enter") int exists(void *ctx) {
  struct task_struct___old *old = ctx; struct task_struct___new *new = ctx; struct gone *gone = ctx; struct mm_struct *mm = ctx;
  return bpf_core_field_exists(old->state) + 2 * bpf_core_field_exists(new->__state) + 4 * bpf_core_field_exists(old->cpu) +
         8 * bpf_core_field_exists(gone->c.b[2]) + 16 * bpf_core_field_exists(mm->total_vm) + 32 * bpf_core_field_exists(mm->pgd_missing);
}
SEC("raw_tp/sys_enter") int guarded(void *ctx) {
  struct task_struct___old *old = (void *)bpf_get_current_task(); struct task_struct___new *new = (void *)old;
  u64 value = 0;
  if (bpf_core_field_exists(old->state)) bpf_core_read(&value, sizeof(long), &old->state);
  else bpf_core_read(&value, sizeof(unsigned), &new->__state);
  return value;
}
SEC("raw_tp/sys_enter") int missing(void *ctx) {
  struct gone *gone = (void *)bpf_get_current_task(); int value = 0;
  if (bpf_core_type_exists(struct gone)) { READ(&value, gone, c.b[2]); value += gone->a; }
  return value + bpf_core_type_size(struct gone);
}
SEC("tp_btf/sched_wakeup") int direct(u64 *ctx) {
  struct task_struct *task = (void *)ctx[0]; struct task_struct___wide *wide = (void *)ctx[0];
  return task->tgid + task->real_parent->pid + wide->flags + task->comm[1];
}
SEC("tp_btf/sched_wakeup") int signed_resize(u64 *ctx) { struct task_struct___wide *wide = (void *)ctx[0]; return wide->prio; }
SEC("tp_btf/sched_wakeup") int narrow(u64 *ctx) { struct task_struct___wide *wide = (void *)ctx[0]; return wide->exit_code; }
SEC("raw_tp/sys_enter") int sizes(void *ctx) {
  struct task_struct *task = ctx; struct sock *sk = ctx; struct task_struct___wide *wide = ctx;
  return bpf_core_field_size(task->comm) + bpf_core_field_size(task->comm[2]) + bpf_core_field_size(sk->__sk_common) + bpf_core_field_size(wide->flags) +
         bpf_core_type_size(struct task_struct) + bpf_core_type_size(struct sock) + bpf_core_type_size(atomic_t) +
         bpf_core_type_size(enum pid_type) + bpf_core_type_size(no_such_typedef) + bpf_core_type_size(initcall_t);
}
SEC("raw_tp/sys_enter") int bits(void *ctx) {
  struct sock *sk = (void *)bpf_get_current_task(); struct perf_event_attr *attr = (void *)sk;
  return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) + BPF_CORE_READ_BITFIELD_PROBED(sk, sk_no_check_tx) +
         BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuse) + BPF_CORE_READ_BITFIELD_PROBED(attr, exclude_kernel) +
         BPF_CORE_READ_BITFIELD_PROBED(sk, sk_gso_max_segs) + BPF_CORE_READ_BITFIELD_PROBED(sk, sk_rcvbuf);
}
SEC("raw_tp/sys_enter") int bits_direct(u64 *ctx) {
  struct sock *sk = (void *)ctx; struct perf_event_attr *attr = (void *)ctx;
  return BPF_CORE_READ_BITFIELD(sk, sk_userlocks) + BPF_CORE_READ_BITFIELD(attr, inherit) + BPF_CORE_READ_BITFIELD(sk, sk_rcvbuf);
}
SEC("raw_tp/sys_enter") int signs(void *ctx) {
  struct task_struct *task = ctx; struct sock *sk = ctx;
  return __builtin_preserve_field_info(task->pid, 3) + 2 * __builtin_preserve_field_info(task->flags, 3) +
         4 * __builtin_preserve_field_info(sk->sk_rcvbuf, 3) + 8 * __builtin_preserve_field_info(task->prio, 3);
}
SEC("raw_tp/sys_enter") int enums(void *ctx) {
  return bpf_core_enum_value(enum pid_type, PIDTYPE_TGID) + 16 * bpf_core_enum_value(enum pid_type, PIDTYPE_MAX) +
         256 * bpf_core_enum_value_exists(enum pid_type, PIDTYPE_NONE) + 512 * bpf_core_enum_value_exists(enum pid_type___mine, PIDTYPE_SID___x) +
         1024 * bpf_core_enum_value(enum pid_type___mine, PIDTYPE_SID___x) + 8192 * bpf_core_enum_value_exists(enum no_such_enum, NOTHING);
}
SEC("raw_tp/sys_enter") int enum_missing(void *ctx) {
  if (bpf_core_enum_value_exists(enum pid_type, PIDTYPE_NONE)) return bpf_core_enum_value(enum pid_type, PIDTYPE_NONE);
  return 1;
}
SEC("raw_tp/sys_enter") int types(void *ctx) {
  return bpf_core_type_exists(struct task_struct) + 2 * bpf_core_type_exists(struct gone) + 4 * bpf_core_type_exists(enum pid_type) +
         8 * bpf_core_type_exists(initcall_t) + 16 * bpf_core_type_exists(no_such_typedef) + 32 * bpf_core_type_exists(union fpregs_state) +
         64 * bpf_core_type_exists(atomic_t);
}
SEC("raw_tp/sys_enter") int matches(void *ctx) {
  return __builtin_preserve_type_info(*(struct task_struct *)0, 2) + 2 * __builtin_preserve_type_info(*(struct list_head *)0, 2) +
         4 * __builtin_preserve_type_info(*(enum pid_type *)0, 2) + 8 * __builtin_preserve_type_info(*(enum pid_type___mine *)0, 2) +
         16 * __builtin_preserve_type_info(*(atomic_t *)0, 2) + 32 * __builtin_preserve_type_info(*(initcall_t *)0, 2) +
         64 * __builtin_preserve_type_info(*(struct rb_node *)0, 2) + 128 * __builtin_preserve_type_info(*(struct mm_struct *)0, 2) +
         256 * __builtin_preserve_type_info(*(struct pid_namespace *)0, 2) + 512 * __builtin_preserve_type_info(*(struct seq_file *)0, 2) +
         1024 * __builtin_preserve_type_info(*(struct task_struct___wide *)0, 2) + 2048 * __builtin_preserve_type_info(*(union fpregs_state *)0, 2);
}
SEC("raw_tp/sys_enter") int ids(void *ctx) {
  return bpf_core_type_id_kernel(struct task_struct) + bpf_core_type_id_kernel(struct gone) + bpf_core_type_id_kernel(atomic_t) +
         bpf_core_type_id_kernel(enum pid_type);
}
