/**
 * What programs can use beyond what `versions.ts` and the instruction table list: features that are seen in sections, maps and types.
 * Each row names the release that brought it and the commit in mainline; `programs.ts` finds out which a program uses.
 */

export interface FeatureRow {
  readonly id: FeatureId;
  readonly title: string;
  readonly since: string;
  readonly commit: string;
}

export type FeatureId =
  | "bounded_loops"
  | "million_instructions"
  | "bpf_to_bpf_calls"
  | "global_functions"
  | "callbacks"
  | "tail_calls_in_functions"
  | "kernel_functions"
  | "sleepable"
  | "sleepable_uprobe"
  | "sleepable_struct_ops"
  | "sleepable_storage"
  | "sleepable_allocated"
  | "sleepable_lock"
  | "perf_event_allocated"
  | "xdp_frags"
  | "argument_tags"
  | "trusted_arguments"
  | "untrusted_arguments"
  | "arena_arguments"
  | "spin_lock"
  | "timer"
  | "kptr"
  | "percpu_kptr"
  | "uptr"
  | "list"
  | "rbtree"
  | "refcount"
  | "workqueue"
  | "res_spin_lock"
  | "task_work"
  | "struct_ops_link"
  | "sched_ext"
  | "hid_struct_ops"
  | "qdisc";

export const FEATURES: readonly FeatureRow[] = [
  {
    id: "bpf_to_bpf_calls",
    title: "functions of the program that call each other",
    since: "4.16",
    commit: "cc8b0b92a169",
  },
  { id: "spin_lock", title: "bpf_spin_lock in map values", since: "5.1", commit: "d83525ca62cf" },
  { id: "million_instructions", title: "more than 4096 instructions", since: "5.2", commit: "c04c0d2b968a" },
  { id: "bounded_loops", title: "loops", since: "5.3", commit: "2589726d12a1" },
  {
    id: "global_functions",
    title: "global functions, verified by themselves",
    since: "5.6",
    commit: "51c39bb1d5d1",
  },
  { id: "sleepable", title: "programs that may sleep", since: "5.10", commit: "1e6c62a88215" },
  {
    id: "tail_calls_in_functions",
    title: "tail calls together with functions",
    since: "5.10",
    commit: "e411901c0b77",
  },
  { id: "callbacks", title: "functions passed as callbacks", since: "5.13", commit: "69c087ba6225" },
  { id: "kernel_functions", title: "calls of kernel functions", since: "5.13", commit: "e6ac2450d6de" },
  { id: "timer", title: "bpf_timer in map values", since: "5.15", commit: "b00628b1c7d5" },
  {
    id: "sleepable_storage",
    title: "local storages in programs that may sleep",
    since: "5.17",
    commit: "0fe4b381a59e",
  },
  { id: "xdp_frags", title: "XDP with packets in several buffers", since: "5.18", commit: "c2f2cdbeffda" },
  { id: "kptr", title: "kernel pointers (__kptr) in map values", since: "5.19", commit: "c0a5a21c25f3" },
  { id: "sleepable_uprobe", title: "uprobes that may sleep", since: "6.0", commit: "64ad7556c75e" },
  {
    id: "sleepable_allocated",
    title: "hash maps that are not preallocated in programs that may sleep",
    since: "6.1",
    commit: "02cc5aa29e8c",
  },
  {
    id: "perf_event_allocated",
    title: "hash maps that are not preallocated in perf_event programs",
    since: "6.1",
    commit: "96da3f7d489d",
  },
  { id: "list", title: "linked lists (bpf_list_head) in map values", since: "6.2", commit: "f0c5941ff5b2" },
  { id: "rbtree", title: "trees (bpf_rb_root) in map values", since: "6.3", commit: "9c395c1b99bd" },
  {
    id: "sleepable_struct_ops",
    title: "struct_ops that may sleep",
    since: "6.3",
    commit: "1e12d3ef47d2",
  },
  {
    id: "refcount",
    title: "objects with several owners (bpf_refcount)",
    since: "6.4",
    commit: "7c50b1cb76ac",
  },
  { id: "struct_ops_link", title: "struct_ops attached by links", since: "6.4", commit: "68b04864ca42" },
  {
    id: "sleepable_lock",
    title: "bpf_spin_lock in programs that may sleep",
    since: "6.6",
    commit: "5861d1e8dbc4",
  },
  {
    id: "percpu_kptr",
    title: "per-CPU kernel pointers (__percpu_kptr)",
    since: "6.7",
    commit: "36d8bdf75a93",
  },
  {
    id: "argument_tags",
    title: "tags of arguments of global functions (__arg_ctx, __arg_nonnull)",
    since: "6.8",
    commit: "94e1c70a3452",
  },
  {
    id: "trusted_arguments",
    title: "trusted arguments of global functions (__arg_trusted)",
    since: "6.9",
    commit: "e2b3c4ff5d18",
  },
  {
    id: "arena_arguments",
    title: "arena arguments of global functions (__arg_arena)",
    since: "6.9",
    commit: "2edc3de6fb65",
  },
  { id: "workqueue", title: "work queues (bpf_wq) in map values", since: "6.10", commit: "eb48f6cd41a0" },
  {
    id: "hid_struct_ops",
    title: "HID devices by struct_ops (hid_bpf_ops)",
    since: "6.11",
    commit: "ebc0d8093e8c",
  },
  { id: "sched_ext", title: "schedulers (sched_ext_ops)", since: "6.12", commit: "f0e1a0643a59" },
  {
    id: "uptr",
    title: "pointers to user memory (__uptr) in map values",
    since: "6.13",
    commit: "1cb80d9e93f8",
  },
  {
    id: "res_spin_lock",
    title: "resilient locks (bpf_res_spin_lock)",
    since: "6.15",
    commit: "97eb35f3ad42",
  },
  { id: "qdisc", title: "queueing disciplines (Qdisc_ops)", since: "6.16", commit: "c8240344956e" },
  {
    id: "untrusted_arguments",
    title: "arguments of global functions that may be any address (__arg_untrusted)",
    since: "6.17",
    commit: "182f7df70419",
  },
  {
    id: "task_work",
    title: "task work (bpf_task_work) in map values",
    since: "6.18",
    commit: "38aa7003e369",
  },
];
