/**
 * Members of kernel structures that programs may write: what the btf_struct_access functions of program types and of struct_ops
 * interfaces list (net/netfilter/nf_conntrack_bpf.c, net/ipv4/bpf_tcp_ca.c, net/bpf/bpf_dummy_struct_ops.c, kernel/sched/ext.c,
 * drivers/hid/bpf/hid_bpf_struct_ops.c). All else is read only.
 */
import type { ProgramType } from "./types.ts";

export interface KernelWriteRow {
  /** Program types other than struct_ops. */
  readonly types?: readonly ProgramType[];
  /** The structure of methods that a struct_ops program is for. */
  readonly interface?: string;
  readonly struct: string;
  /** From the structure to the member; empty for all of it. */
  readonly path: readonly string[];
}

const CLASSIFIERS = ["sched_cls", "sched_act", "xdp"] as const satisfies readonly ProgramType[];

export const KERNEL_WRITES: readonly KernelWriteRow[] = [
  { types: CLASSIFIERS, struct: "nf_conn", path: ["mark"] },
  { interface: "tcp_congestion_ops", struct: "sock", path: ["sk_pacing_rate"] },
  { interface: "tcp_congestion_ops", struct: "sock", path: ["sk_pacing_status"] },
  { interface: "tcp_congestion_ops", struct: "inet_connection_sock", path: ["icsk_ca_priv"] },
  { interface: "tcp_congestion_ops", struct: "inet_connection_sock", path: ["icsk_ack", "pending"] },
  { interface: "tcp_congestion_ops", struct: "tcp_sock", path: ["snd_cwnd"] },
  { interface: "tcp_congestion_ops", struct: "tcp_sock", path: ["snd_cwnd_cnt"] },
  { interface: "tcp_congestion_ops", struct: "tcp_sock", path: ["snd_cwnd_stamp"] },
  { interface: "tcp_congestion_ops", struct: "tcp_sock", path: ["snd_ssthresh"] },
  { interface: "tcp_congestion_ops", struct: "tcp_sock", path: ["ecn_flags"] },
  { interface: "tcp_congestion_ops", struct: "tcp_sock", path: ["app_limited"] },
  { interface: "bpf_dummy_ops", struct: "bpf_dummy_ops_state", path: [] },
  { interface: "sched_ext_ops", struct: "task_struct", path: ["scx", "slice"] },
  { interface: "sched_ext_ops", struct: "task_struct", path: ["scx", "dsq_vtime"] },
  { interface: "sched_ext_ops", struct: "task_struct", path: ["scx", "disallow"] },
  { interface: "hid_bpf_ops", struct: "hid_bpf_ctx", path: ["retval"] },
  { interface: "hid_bpf_ops", struct: "hid_device", path: ["name"] },
  { interface: "hid_bpf_ops", struct: "hid_device", path: ["uniq"] },
  { interface: "hid_bpf_ops", struct: "hid_device", path: ["phys"] },
];
