/**
 * Since which release a program type may call what other types could before. Found by reading the get_func_proto functions and
 * the kernel functions registered for each type in 5.15, 6.1, 6.6, 6.12 and 6.18, and comparing all pairs; commits are mainline's.
 */
import { KFUNC_SETS, type ProgramType } from "../uapi/index.ts";

/** What one commit allowed. */
interface AccessRow {
  readonly since: string;
  readonly commit: string;
  /** Program types, with spaces between. */
  readonly types: string;
  /** Helpers or kernel functions, with spaces between; "*": every kernel function that is not for all types. */
  readonly names: string;
}

/** Types whose programs do not run in a process's context as a matter of course, and had no helpers about it. */
const NETWORK =
  "socket_filter sched_cls sched_act xdp cgroup_skb lwt_in lwt_out lwt_xmit lwt_seg6local sock_ops sk_skb sk_msg sk_reuseport flow_dissector sk_lookup netfilter";
const CGROUP = "cgroup_sock cgroup_device cgroup_sock_addr cgroup_sockopt cgroup_sysctl";
const TRACING = "kprobe tracepoint perf_event raw_tracepoint raw_tracepoint_writable tracing lsm syscall";

export const HELPER_ACCESS_VERSIONS: readonly AccessRow[] = [
  { since: "5.19", commit: "2fcc82411e74", types: "tracing lsm", names: "get_attach_cookie" },
  { since: "6.0", commit: "69fd337a975c", types: "lsm", names: "get_local_storage" },
  { since: "6.0", commit: "9113d7e48e91", types: "lsm", names: "setsockopt getsockopt" },
  {
    since: "6.1",
    commit: "8a67f2de9b1d",
    types: `${NETWORK} ${TRACING} cgroup_sock cgroup_device cgroup_sock_addr cgroup_sockopt`,
    names: "strtol strtoul",
  },
  {
    since: "6.1",
    commit: "bed89185af0d",
    types: "cgroup_device cgroup_sockopt cgroup_sysctl",
    names: "get_cgroup_classid get_current_ancestor_cgroup_id get_current_comm get_current_pid_tgid",
  },
  {
    since: "6.4",
    commit: "c501bf55c88b",
    // sk_msg could before.
    types: NETWORK.replace(" sk_msg", ""),
    names: "get_current_cgroup_id get_current_ancestor_cgroup_id",
  },
  { since: "6.10", commit: "eb166e522c77", types: `${NETWORK} ${CGROUP}`, names: "get_ns_current_pid_tgid" },
  {
    since: "6.10",
    commit: "eb166e522c77",
    types: NETWORK.replace(" sk_msg", ""),
    names: "get_current_pid_tgid",
  },
  {
    since: "6.10",
    commit: "68ca5d4eebb8",
    types: "raw_tracepoint raw_tracepoint_writable",
    names: "get_attach_cookie",
  },
  { since: "6.12", commit: "7f6287417baf", types: CGROUP, names: "current_task_under_cgroup" },
  { since: "6.13", commit: "eb62f49de7ec", types: "sched_cls sched_act", names: "get_netns_cookie" },
  { since: "6.15", commit: "c221d3744ad3", types: "cgroup_skb socket_filter", names: "get_netns_cookie" },
  {
    since: "6.16",
    commit: "ee971630f20f",
    types: `${NETWORK} ${CGROUP}`,
    names:
      "copy_from_user copy_from_user_task find_vma get_branch_snapshot get_task_stack perf_event_read perf_event_read_value send_signal send_signal_thread task_storage_get task_storage_delete",
  },
  {
    since: "6.16",
    commit: "ee971630f20f",
    types: NETWORK,
    names: "current_task_under_cgroup get_current_comm",
  },
  {
    since: "6.16",
    commit: "ee971630f20f",
    types: NETWORK.replace(" sk_msg", ""),
    names: "get_current_uid_gid",
  },
  {
    since: "6.16",
    commit: "ee971630f20f",
    types: `cgroup_skb flow_dissector sk_lookup sk_reuseport sk_skb sock_ops socket_filter xdp netfilter ${TRACING}`,
    names: "get_cgroup_classid",
  },
];

const GENERIC =
  "bpf_cgroup_acquire bpf_cgroup_ancestor bpf_cgroup_from_id bpf_cgroup_release bpf_list_pop_back bpf_list_pop_front bpf_list_push_back_impl bpf_list_push_front_impl bpf_obj_drop_impl bpf_obj_new_impl bpf_percpu_obj_drop_impl bpf_percpu_obj_new_impl bpf_rbtree_add_impl bpf_rbtree_first bpf_rbtree_remove bpf_refcount_acquire_impl bpf_task_acquire bpf_task_from_pid bpf_task_get_cgroup1 bpf_task_release bpf_task_under_cgroup bpf_throw crash_kexec";
const CPUMASKS =
  "bpf_cpumask_acquire bpf_cpumask_and bpf_cpumask_any_and_distribute bpf_cpumask_any_distribute bpf_cpumask_clear bpf_cpumask_clear_cpu bpf_cpumask_copy bpf_cpumask_create bpf_cpumask_empty bpf_cpumask_equal bpf_cpumask_first bpf_cpumask_first_and bpf_cpumask_first_zero bpf_cpumask_full bpf_cpumask_intersects bpf_cpumask_or bpf_cpumask_release bpf_cpumask_set_cpu bpf_cpumask_setall bpf_cpumask_subset bpf_cpumask_test_and_clear_cpu bpf_cpumask_test_and_set_cpu bpf_cpumask_test_cpu bpf_cpumask_weight bpf_cpumask_xor";

export const KFUNC_ACCESS_VERSIONS: readonly AccessRow[] = [
  { since: "6.7", commit: "53e380d21441", types: "cgroup_sock_addr", names: "bpf_dynptr_from_skb" },
  { since: "6.8", commit: "7489723c2e26", types: "xdp", names: GENERIC },
  { since: "6.10", commit: "a8e03b6bbb2c", types: "syscall", names: `${GENERIC} ${CPUMASKS}` },
  { since: "6.12", commit: "bc638d8cb5be", types: "tracepoint perf_event", names: "*" },
  {
    since: "6.12",
    commit: "67666479edf1",
    types: "cgroup_sock cgroup_device cgroup_sockopt cgroup_sysctl",
    names: "*",
  },
  { since: "6.12", commit: "67666479edf1", types: "cgroup_skb cgroup_sock_addr", names: GENERIC },
  { since: "6.12", commit: "ffc83860d8c0", types: "tracing lsm", names: "bpf_dynptr_from_skb" },
  { since: "6.15", commit: "59422464266f", types: "sock_ops", names: "*" },
  { since: "6.16", commit: "870c28588afa", types: "struct_ops", names: "bpf_dynptr_from_skb" },
  {
    since: "6.18",
    commit: "8cd189e414bb",
    types:
      "sched_cls xdp struct_ops syscall cgroup_skb cgroup_sock cgroup_device cgroup_sock_addr cgroup_sockopt cgroup_sysctl sock_ops",
    names: "bpf_key_put bpf_lookup_system_key bpf_lookup_user_key bpf_verify_pkcs7_signature",
  },
];

const COMMON: ReadonlySet<string> = new Set(KFUNC_SETS.find(({ types }) => types === undefined)?.functions);

/** The last row for a program type and a function: since when the type may call it, if it is younger than both. */
export function accessSince(
  kind: "helper" | "kernel function",
  type: ProgramType,
  name: string,
): AccessRow | undefined {
  const rows = kind === "helper" ? HELPER_ACCESS_VERSIONS : KFUNC_ACCESS_VERSIONS;
  return rows.findLast(
    ({ types, names }) =>
      types.split(" ").includes(type) &&
      (names === "*" ? !COMMON.has(name) : names.split(" ").includes(name)),
  );
}
