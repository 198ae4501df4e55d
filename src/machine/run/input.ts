import type { ContextValues } from "../../hooks/index.ts";
import type { ObjectValue } from "../objects/index.ts";
import type { Socket } from "../world/sockets.ts";

/** A register or an argument: a number, an object's address, null, or a text or bytes that are laid out for the run. */
export type Word = ObjectValue;

/** Arguments in order, or by their names in the kernel's declaration. */
export type Arguments = readonly Word[] | Readonly<Record<string, Word>>;

/** What the types that take no packet from a capture are given, each its part. */
export interface EventInput {
  /** Arguments of the function, tracepoint, LSM hook, iterator or method (kprobe, tracing, lsm, raw tracepoints, struct_ops). */
  readonly args?: Arguments;
  /** What the function has returned (kretprobe, fexit, fmod_ret, lsm). */
  readonly ret?: Word;
  /** CPU registers by the kernel's names, `{ ip, sp, ax, di }`, or by the compiler's, `{ rip, rsp, rax, rdi }` (kprobe, perf_event). */
  readonly registers?: Readonly<Record<string, Word>>;
  /** Whose registers. Default "x86_64". */
  readonly arch?: "x86_64" | "arm64";
  /** Fields of a tracepoint's record, by name. */
  readonly fields?: Readonly<Record<string, Word>>;
  /** The text of the event's format file, for a tracepoint whose layout BTF does not tell. */
  readonly format?: string;
  /** Period and address of a perf event; what it has counted, for bpf_perf_prog_read_value. */
  readonly sample?: {
    readonly period?: number | bigint;
    readonly addr?: number | bigint;
    readonly counter?: number | bigint;
    /** Nanoseconds for which it was enabled, and counted. */
    readonly enabled?: number | bigint;
    readonly running?: number | bigint;
  };
  /** What bpf_get_attach_cookie gives. Default 0, as of an attachment without one. */
  readonly cookie?: number | bigint;
  /** The address of connect, bind, sendmsg, ...: "10.0.0.1:80", "[fd00::1]:80", or the path of a unix socket. */
  readonly address?: string;
  /** Of sendmsg: the address that is sent from. */
  readonly source?: string;
  /** The socket that it is about: fields of struct bpf_sock, and its ends as text. */
  readonly socket?: SocketInput;
  /** "c 1:3 rw": type (b, c, or a for all), numbers, what is wanted (r, w, m); or the parts. */
  readonly device?: string | DeviceInput;
  readonly sysctl?: SysctlInput;
  readonly sockopt?: SockoptInput;
  /** What happened to a TCP connection: a name such as "BPF_SOCK_OPS_TCP_CONNECT_CB", with or without BPF_SOCK_OPS_, or a number. */
  readonly op?: string | number;
  /** This machine's end and the other one, "10.0.0.1:80" (sock_ops, sk_lookup, sk_msg, sk_skb, cgroup_skb). */
  readonly local?: string;
  readonly remote?: string;
  /** "tcp", "udp" or a number (sk_lookup, sk_reuseport). */
  readonly protocol?: string | number;
  /** Bytes of a message (sk_msg). */
  readonly data?: Uint8Array | string;
  /** The pulse or space of a remote control, in microseconds (lirc_mode2). */
  readonly pulse?: number;
  readonly space?: number;
  readonly timeout?: number;
  /** The hook of netfilter, "LOCAL_IN" or its number. */
  readonly hook?: string | number;
  /** Bytes that a syscall program is given, or a value of the type that its function declares. */
  readonly argument?: Word;
  /** Fields of the context by their uapi names; they come last and win. */
  readonly context?: ContextValues;
}

export interface SocketInput {
  readonly local?: string;
  readonly remote?: string;
  /** "stream", "dgram", "raw" or a number. */
  readonly type?: string | number;
  /** "tcp", "udp", "icmp" or a number. */
  readonly protocol?: string | number;
  /** "inet", "inet6", "unix" or a number. */
  readonly family?: string | number;
  readonly bound_dev_if?: number;
  readonly mark?: number;
  readonly priority?: number;
  /** Of enum BPF_TCP_..., 1 is established. */
  readonly state?: number;
  readonly rx_queue_mapping?: number;
}

export interface DeviceInput {
  readonly type: "block" | "char" | "all";
  readonly major: number;
  readonly minor: number;
  /** Letters of r, w and m (mknod). */
  readonly access: string;
}

export interface SysctlInput {
  /** "net/ipv4/ip_forward" or with dots. */
  readonly name: string;
  /** What the file holds. */
  readonly value?: string;
  /** What is being written; without it the file is being read. */
  readonly write?: string;
  readonly position?: number;
}

export interface SockoptInput {
  /** SOL_SOCKET, IPPROTO_TCP or a number. */
  readonly level: string | number;
  readonly name: string | number;
  /** The buffer: bytes, a text, or an int. */
  readonly value?: Uint8Array | string | number;
  /** Default: bytes of the value. */
  readonly length?: number;
  /** getsockopt: what the kernel answered. Default 0. */
  readonly ret?: number;
}

/** What a remote control's decoder has found. */
export type RemoteEvent =
  | { readonly kind: "key"; readonly protocol: number; readonly scancode: bigint; readonly toggle: boolean }
  | { readonly kind: "repeat" }
  | { readonly kind: "pointer"; readonly x: number; readonly y: number };

/** A socket that a program has chosen out of a map: the world's, if it is one of those, and its address in the memory. */
export interface ChosenSocket {
  readonly socket: Socket | undefined;
  readonly address: number;
}

/** What those types leave beside a return value, each its part. */
export interface EventResult {
  /** What bpf_override_return lets the function return, if it was called (kprobe). */
  readonly overridden?: bigint;
  /** What bpf_set_retval has set, if it was called (control groups). */
  readonly retval?: number;
  /** What bpf_msg_apply_bytes and bpf_msg_cork_bytes have set (sk_msg). */
  readonly applyBytes?: number;
  readonly corkBytes?: number;
  /** Where bpf_msg_redirect_map, bpf_sk_redirect_map and their kin have sent the message: to what it sends or to what it receives. */
  readonly toSocket?: ChosenSocket & { readonly ingress: boolean };
  /** The socket that bpf_sk_select_reuseport has chosen (sk_reuseport). */
  readonly selected?: ChosenSocket;
  /** The address that bpf_bind has given the socket, "10.0.0.1:0" (cgroup_sock_addr). */
  readonly bound?: string;
  /** What bpf_rc_keydown and its kin have reported, oldest first (lirc_mode2). */
  readonly remote?: readonly RemoteEvent[];
  /** The address after the run (cgroup_sock_addr). */
  readonly address?: string;
  readonly source?: string;
  /** What a program has set a sysctl to, if it has. */
  readonly sysctl?: {
    readonly value: string;
    readonly position: number;
    readonly newValue: string | undefined;
  };
  readonly sockopt?: {
    readonly level: number;
    readonly name: number;
    readonly value: Uint8Array;
    readonly length: number;
    readonly ret: number;
  };
  /** What a TCP event's program answered (sock_ops). */
  readonly reply?: number;
  /** bpf_sock_ops_enable_tx_tstamp has asked for time stamps of the message (sock_ops). */
  readonly stamped?: boolean;
  /** The message as the program left it (sk_msg), the TCP header (sock_ops). */
  readonly data?: Uint8Array;
  /** What the dissector found, fields of struct bpf_flow_keys (flow_dissector). */
  readonly flowKeys?: Readonly<Record<string, number | readonly number[]>>;
  /** The same as the bytes that BPF_PROG_TEST_RUN gives. */
  readonly flowKeyBytes?: Uint8Array;
  /** The argument as a syscall program left it. */
  readonly argument?: Uint8Array;
}
