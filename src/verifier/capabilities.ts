/**
 * What a process may load at all (bpf_prog_load of kernel/bpf/syscall.c), and which helpers ask for more than the program type does
 * (bpf_base_func_proto, bpf_sk_base_func_proto). The kernel says no word about either; here the log names what is missing.
 */
import type { HelperName, ProgramType } from "../uapi/index.ts";
import type { Environment } from "./environment.ts";
import type { Capability, VerifierOptions } from "./input.ts";

/** BPF_MAXINSNS: longer programs need CAP_BPF. */
const UNPRIVILEGED_LENGTH = 4096;

const UNPRIVILEGED_TYPES: ReadonlySet<ProgramType> = new Set<ProgramType>(["socket_filter", "cgroup_skb"]);

/** is_net_admin_prog_type. */
const NETWORK_TYPES: ReadonlySet<ProgramType> = new Set<ProgramType>([
  "sched_cls",
  "sched_act",
  "xdp",
  "lwt_in",
  "lwt_out",
  "lwt_xmit",
  "lwt_seg6local",
  "sk_skb",
  "sk_msg",
  "flow_dissector",
  "cgroup_device",
  "cgroup_sock",
  "cgroup_sock_addr",
  "cgroup_sockopt",
  "cgroup_sysctl",
  "sock_ops",
  "ext",
  "netfilter",
]);

/** is_perfmon_prog_type. */
const TRACING_TYPES: ReadonlySet<ProgramType> = new Set<ProgramType>([
  "kprobe",
  "tracepoint",
  "perf_event",
  "raw_tracepoint",
  "raw_tracepoint_writable",
  "tracing",
  "lsm",
  "struct_ops",
  "ext",
]);

/** The capabilities without which no program of a type is loaded. */
export function capabilitiesOf(type: ProgramType): readonly Capability[] {
  const needed: Capability[] = [];
  if (!UNPRIVILEGED_TYPES.has(type)) needed.push("bpf");
  if (NETWORK_TYPES.has(type)) needed.push("net_admin");
  if (TRACING_TYPES.has(type)) needed.push("perfmon");
  return needed;
}

function names(capabilities: readonly Capability[]): string {
  return capabilities.map((name) => `CAP_${name.toUpperCase()}`).join(" and ");
}

/** Refuses what bpf(2) refuses before its verifier looks. */
export function checkMayLoad(env: Environment): void {
  if (env.options.capabilities === undefined) return;
  if (!env.hasBpf && env.instructions.length > UNPRIVILEGED_LENGTH) {
    throw env.reject(
      "E2BIG",
      `programs of more than ${UNPRIVILEGED_LENGTH} instructions need CAP_BPF: this one has ${env.instructions.length}`,
    );
  }
  const type = env.isExtension ? "ext" : env.type;
  const missing = capabilitiesOf(type).filter((name) => !env.may(name));
  if (missing.length > 0) throw env.reject("EPERM", `${type} programs need ${names(missing)}`);
}

/**
 * Helpers that are nobody's own: what each program type may call beyond its own list depends on the process. Which need CAP_PERFMON
 * was asked of a kernel, type by type: no type has one of them in its own list.
 */
const PERFMON_HELPERS: ReadonlySet<HelperName> = new Set<HelperName>([
  "trace_printk",
  "trace_vprintk",
  "get_current_comm",
  "get_current_task",
  "get_current_task_btf",
  "perf_event_read",
  "perf_event_read_value",
  "send_signal",
  "send_signal_thread",
  "probe_read_user",
  "probe_read_kernel",
  "probe_read_user_str",
  "probe_read_kernel_str",
  "skc_to_tcp_sock",
  "skc_to_tcp6_sock",
  "skc_to_tcp_timewait_sock",
  "skc_to_tcp_request_sock",
  "skc_to_udp6_sock",
  "skc_to_unix_sock",
  "skc_to_mptcp_sock",
  "get_task_stack",
  "task_pt_regs",
  "copy_from_user",
  "copy_from_user_task",
  "snprintf",
  "snprintf_btf",
  "get_branch_snapshot",
  "find_vma",
  "sys_bpf",
]);

/** Of the helpers of socket filters and cgroup_skb programs, those that need CAP_BPF. */
const BPF_HELPERS: ReadonlySet<HelperName> = new Set<HelperName>([
  "spin_lock",
  "spin_unlock",
  "jiffies64",
  "per_cpu_ptr",
  "this_cpu_ptr",
  "timer_init",
  "timer_set_callback",
  "timer_start",
  "timer_cancel",
  "kptr_xchg",
  "for_each_map_elem",
  "loop",
  "user_ringbuf_drain",
  "ringbuf_reserve_dynptr",
  "ringbuf_submit_dynptr",
  "ringbuf_discard_dynptr",
  "dynptr_from_mem",
  "dynptr_read",
  "dynptr_write",
  "dynptr_data",
  "cgrp_storage_get",
  "cgrp_storage_delete",
  "get_current_cgroup_id",
  "get_current_ancestor_cgroup_id",
  "current_task_under_cgroup",
  "get_cgroup_classid",
  "task_storage_get",
  "task_storage_delete",
]);

/** The capability that a helper asks for and the process lacks. */
export function missingForHelper(name: string | undefined, options: VerifierOptions): Capability | undefined {
  const { capabilities } = options;
  if (name === undefined || capabilities === undefined) return undefined;
  const lacks = (capability: Capability): Capability | undefined =>
    capabilities.includes(capability) ? undefined : capability;
  const names: ReadonlySet<string> = BPF_HELPERS;
  const tracing: ReadonlySet<string> = PERFMON_HELPERS;
  if (names.has(name)) return lacks("bpf");
  return tracing.has(name) ? (lacks("bpf") ?? lacks("perfmon")) : undefined;
}
