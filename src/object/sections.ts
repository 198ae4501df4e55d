import type { AttachType, ProgramType } from "../uapi/index.ts";

/** Attach types of kernels after 6.18 that the conventions already know. */
export type LaterAttachType =
  | "trace_fsession"
  | "trace_fentry_multi"
  | "trace_fexit_multi"
  | "trace_fsession_multi";

/** What a section's name says about the programs in it. */
export interface SectionRule {
  /**
   * How the name must look: "xdp" itself; "kprobe+" is "kprobe" or "kprobe/..." with what it attaches to after the slash.
   * A question mark before the name means that the program is not loaded unless asked for.
   */
  readonly pattern: string;
  readonly type: ProgramType;
  /** expected_attach_type; none if the kernel wants 0. */
  readonly attach?: AttachType | LaterAttachType;
  /** BPF_F_SLEEPABLE. */
  readonly sleepable?: true;
  /** Its target is a function of the kernel or of another program, found through BTF. */
  readonly btf?: true;
  /** BPF_F_XDP_HAS_FRAGS. */
  readonly frags?: true;
  /** A user-level statically defined tracepoint. */
  readonly usdt?: true;
}

/**
 * The section names of libbpf (its documentation, "Program Types and ELF Sections", and the table that the page is made
 * from), in its order: the first that matches counts.
 */
export const SECTION_RULES: readonly SectionRule[] = [
  { pattern: "socket", type: "socket_filter" },
  { pattern: "sk_reuseport/migrate", type: "sk_reuseport", attach: "sk_reuseport_select_or_migrate" },
  { pattern: "sk_reuseport", type: "sk_reuseport", attach: "sk_reuseport_select" },
  { pattern: "kprobe+", type: "kprobe" },
  { pattern: "uprobe+", type: "kprobe" },
  { pattern: "uprobe.s+", type: "kprobe", sleepable: true },
  { pattern: "kretprobe+", type: "kprobe" },
  { pattern: "uretprobe+", type: "kprobe" },
  { pattern: "uretprobe.s+", type: "kprobe", sleepable: true },
  { pattern: "kprobe.multi+", type: "kprobe", attach: "trace_kprobe_multi" },
  { pattern: "kretprobe.multi+", type: "kprobe", attach: "trace_kprobe_multi" },
  { pattern: "kprobe.session+", type: "kprobe", attach: "trace_kprobe_session" },
  { pattern: "uprobe.multi+", type: "kprobe", attach: "trace_uprobe_multi" },
  { pattern: "uretprobe.multi+", type: "kprobe", attach: "trace_uprobe_multi" },
  { pattern: "uprobe.session+", type: "kprobe", attach: "trace_uprobe_session" },
  { pattern: "uprobe.multi.s+", type: "kprobe", attach: "trace_uprobe_multi", sleepable: true },
  { pattern: "uretprobe.multi.s+", type: "kprobe", attach: "trace_uprobe_multi", sleepable: true },
  { pattern: "uprobe.session.s+", type: "kprobe", attach: "trace_uprobe_session", sleepable: true },
  { pattern: "ksyscall+", type: "kprobe" },
  { pattern: "kretsyscall+", type: "kprobe" },
  { pattern: "usdt+", type: "kprobe", usdt: true },
  { pattern: "usdt.s+", type: "kprobe", sleepable: true, usdt: true },
  { pattern: "tc/ingress", type: "sched_cls", attach: "tcx_ingress" },
  { pattern: "tc/egress", type: "sched_cls", attach: "tcx_egress" },
  { pattern: "tcx/ingress", type: "sched_cls", attach: "tcx_ingress" },
  { pattern: "tcx/egress", type: "sched_cls", attach: "tcx_egress" },
  { pattern: "tc", type: "sched_cls" },
  { pattern: "classifier", type: "sched_cls" },
  { pattern: "action", type: "sched_act" },
  { pattern: "netkit/primary", type: "sched_cls", attach: "netkit_primary" },
  { pattern: "netkit/peer", type: "sched_cls", attach: "netkit_peer" },
  { pattern: "tracepoint+", type: "tracepoint" },
  { pattern: "tp+", type: "tracepoint" },
  { pattern: "tracepoint.s+", type: "tracepoint", sleepable: true },
  { pattern: "tp.s+", type: "tracepoint", sleepable: true },
  { pattern: "raw_tracepoint+", type: "raw_tracepoint" },
  { pattern: "raw_tp+", type: "raw_tracepoint" },
  { pattern: "raw_tracepoint.s+", type: "raw_tracepoint", sleepable: true },
  { pattern: "raw_tp.s+", type: "raw_tracepoint", sleepable: true },
  { pattern: "raw_tracepoint.w+", type: "raw_tracepoint_writable" },
  { pattern: "raw_tp.w+", type: "raw_tracepoint_writable" },
  { pattern: "tp_btf+", type: "tracing", attach: "trace_raw_tp", btf: true },
  { pattern: "tp_btf.s+", type: "tracing", attach: "trace_raw_tp", sleepable: true, btf: true },
  { pattern: "fentry+", type: "tracing", attach: "trace_fentry", btf: true },
  { pattern: "fmod_ret+", type: "tracing", attach: "modify_return", btf: true },
  { pattern: "fexit+", type: "tracing", attach: "trace_fexit", btf: true },
  { pattern: "fentry.s+", type: "tracing", attach: "trace_fentry", sleepable: true, btf: true },
  { pattern: "fmod_ret.s+", type: "tracing", attach: "modify_return", sleepable: true, btf: true },
  { pattern: "fexit.s+", type: "tracing", attach: "trace_fexit", sleepable: true, btf: true },
  { pattern: "fsession+", type: "tracing", attach: "trace_fsession", btf: true },
  { pattern: "fsession.s+", type: "tracing", attach: "trace_fsession", sleepable: true, btf: true },
  { pattern: "fsession.multi+", type: "tracing", attach: "trace_fsession_multi" },
  { pattern: "fsession.multi.s+", type: "tracing", attach: "trace_fsession_multi", sleepable: true },
  { pattern: "fentry.multi+", type: "tracing", attach: "trace_fentry_multi" },
  { pattern: "fexit.multi+", type: "tracing", attach: "trace_fexit_multi" },
  { pattern: "fentry.multi.s+", type: "tracing", attach: "trace_fentry_multi", sleepable: true },
  { pattern: "fexit.multi.s+", type: "tracing", attach: "trace_fexit_multi", sleepable: true },
  { pattern: "freplace+", type: "ext", btf: true },
  { pattern: "lsm+", type: "lsm", attach: "lsm_mac", btf: true },
  { pattern: "lsm.s+", type: "lsm", attach: "lsm_mac", sleepable: true, btf: true },
  { pattern: "lsm_cgroup+", type: "lsm", attach: "lsm_cgroup", btf: true },
  { pattern: "iter+", type: "tracing", attach: "trace_iter", btf: true },
  { pattern: "iter.s+", type: "tracing", attach: "trace_iter", sleepable: true, btf: true },
  { pattern: "syscall", type: "syscall", sleepable: true },
  { pattern: "xdp.frags/devmap", type: "xdp", attach: "xdp_devmap", frags: true },
  { pattern: "xdp/devmap", type: "xdp", attach: "xdp_devmap" },
  { pattern: "xdp.frags/cpumap", type: "xdp", attach: "xdp_cpumap", frags: true },
  { pattern: "xdp/cpumap", type: "xdp", attach: "xdp_cpumap" },
  { pattern: "xdp.frags", type: "xdp", attach: "xdp", frags: true },
  { pattern: "xdp", type: "xdp", attach: "xdp" },
  { pattern: "perf_event", type: "perf_event" },
  { pattern: "lwt_in", type: "lwt_in" },
  { pattern: "lwt_out", type: "lwt_out" },
  { pattern: "lwt_xmit", type: "lwt_xmit" },
  { pattern: "lwt_seg6local", type: "lwt_seg6local" },
  { pattern: "sockops", type: "sock_ops", attach: "cgroup_sock_ops" },
  { pattern: "sk_skb/stream_parser", type: "sk_skb", attach: "sk_skb_stream_parser" },
  { pattern: "sk_skb/stream_verdict", type: "sk_skb", attach: "sk_skb_stream_verdict" },
  { pattern: "sk_skb/verdict", type: "sk_skb", attach: "sk_skb_verdict" },
  { pattern: "sk_skb", type: "sk_skb" },
  { pattern: "sk_msg", type: "sk_msg", attach: "sk_msg_verdict" },
  { pattern: "lirc_mode2", type: "lirc_mode2", attach: "lirc_mode2" },
  { pattern: "flow_dissector", type: "flow_dissector", attach: "flow_dissector" },
  { pattern: "cgroup_skb/ingress", type: "cgroup_skb", attach: "cgroup_inet_ingress" },
  { pattern: "cgroup_skb/egress", type: "cgroup_skb", attach: "cgroup_inet_egress" },
  { pattern: "cgroup/skb", type: "cgroup_skb" },
  { pattern: "cgroup/sock_create", type: "cgroup_sock", attach: "cgroup_inet_sock_create" },
  { pattern: "cgroup/sock_release", type: "cgroup_sock", attach: "cgroup_inet_sock_release" },
  { pattern: "cgroup/sock", type: "cgroup_sock", attach: "cgroup_inet_sock_create" },
  { pattern: "cgroup/post_bind4", type: "cgroup_sock", attach: "cgroup_inet4_post_bind" },
  { pattern: "cgroup/post_bind6", type: "cgroup_sock", attach: "cgroup_inet6_post_bind" },
  { pattern: "cgroup/bind4", type: "cgroup_sock_addr", attach: "cgroup_inet4_bind" },
  { pattern: "cgroup/bind6", type: "cgroup_sock_addr", attach: "cgroup_inet6_bind" },
  { pattern: "cgroup/connect4", type: "cgroup_sock_addr", attach: "cgroup_inet4_connect" },
  { pattern: "cgroup/connect6", type: "cgroup_sock_addr", attach: "cgroup_inet6_connect" },
  { pattern: "cgroup/connect_unix", type: "cgroup_sock_addr", attach: "cgroup_unix_connect" },
  { pattern: "cgroup/sendmsg4", type: "cgroup_sock_addr", attach: "cgroup_udp4_sendmsg" },
  { pattern: "cgroup/sendmsg6", type: "cgroup_sock_addr", attach: "cgroup_udp6_sendmsg" },
  { pattern: "cgroup/sendmsg_unix", type: "cgroup_sock_addr", attach: "cgroup_unix_sendmsg" },
  { pattern: "cgroup/recvmsg4", type: "cgroup_sock_addr", attach: "cgroup_udp4_recvmsg" },
  { pattern: "cgroup/recvmsg6", type: "cgroup_sock_addr", attach: "cgroup_udp6_recvmsg" },
  { pattern: "cgroup/recvmsg_unix", type: "cgroup_sock_addr", attach: "cgroup_unix_recvmsg" },
  { pattern: "cgroup/getpeername4", type: "cgroup_sock_addr", attach: "cgroup_inet4_getpeername" },
  { pattern: "cgroup/getpeername6", type: "cgroup_sock_addr", attach: "cgroup_inet6_getpeername" },
  { pattern: "cgroup/getpeername_unix", type: "cgroup_sock_addr", attach: "cgroup_unix_getpeername" },
  { pattern: "cgroup/getsockname4", type: "cgroup_sock_addr", attach: "cgroup_inet4_getsockname" },
  { pattern: "cgroup/getsockname6", type: "cgroup_sock_addr", attach: "cgroup_inet6_getsockname" },
  { pattern: "cgroup/getsockname_unix", type: "cgroup_sock_addr", attach: "cgroup_unix_getsockname" },
  { pattern: "cgroup/sysctl", type: "cgroup_sysctl", attach: "cgroup_sysctl" },
  { pattern: "cgroup/getsockopt", type: "cgroup_sockopt", attach: "cgroup_getsockopt" },
  { pattern: "cgroup/setsockopt", type: "cgroup_sockopt", attach: "cgroup_setsockopt" },
  { pattern: "cgroup/dev", type: "cgroup_device", attach: "cgroup_device" },
  { pattern: "struct_ops+", type: "struct_ops" },
  { pattern: "struct_ops.s+", type: "struct_ops", sleepable: true },
  { pattern: "sk_lookup", type: "sk_lookup", attach: "sk_lookup" },
  { pattern: "netfilter", type: "netfilter", attach: "netfilter" },
];

/** What {@link matchSection} found. */
export interface SectionMatch {
  readonly rule: SectionRule;
  /** What follows the slash: a kernel function, "syscalls/sys_enter_openat", ...; undefined if nothing does. */
  readonly target: string | undefined;
  /** libbpf 1.x would take it as well; false if only the beginning of the name fits, as libbpf 0.x and cilium/ebpf do. */
  readonly exact: boolean;
}

/**
 * The rule for a section's name (without its question mark), or undefined if it names no program type.
 *
 * @example
 * matchSection("kprobe/do_unlinkat"); // { rule: { pattern: "kprobe+", type: "kprobe" }, target: "do_unlinkat", exact: true }
 */
export function matchSection(name: string): SectionMatch | undefined {
  const slash = name.indexOf("/");
  const head = slash < 0 ? name : name.slice(0, slash);
  const rest = slash < 0 ? "" : name.slice(slash + 1);
  for (const rule of SECTION_RULES) {
    if (!rule.pattern.endsWith("+")) {
      if (rule.pattern === name) return { rule, target: undefined, exact: true };
    } else if (rule.pattern.slice(0, -1) === head) {
      // SEC("struct_ops/x") is allowed, but x is only a remark: the struct_ops map says where the program goes.
      const target = rest === "" || rule.type === "struct_ops" ? undefined : rest;
      return { rule, target, exact: true };
    }
  }
  for (const rule of SECTION_RULES) {
    if (!rule.pattern.endsWith("+") && name.startsWith(rule.pattern)) {
      return { rule, target: undefined, exact: false };
    }
  }
  return undefined;
}
