/**
 * Register types: a base type in the low 8 bits and flags above it (enum bpf_reg_type and enum bpf_type_flag of
 * include/linux/bpf.h, Linux 6.18). The numbers are the kernel's, so that flags shared with argument types agree.
 */

/** Base types. */
export const NOT_INIT = 0;
export const SCALAR_VALUE = 1;
export const PTR_TO_CTX = 2;
export const CONST_PTR_TO_MAP = 3;
export const PTR_TO_MAP_VALUE = 4;
export const PTR_TO_MAP_KEY = 5;
export const PTR_TO_STACK = 6;
export const PTR_TO_PACKET_META = 7;
export const PTR_TO_PACKET = 8;
export const PTR_TO_PACKET_END = 9;
export const PTR_TO_FLOW_KEYS = 10;
export const PTR_TO_SOCKET = 11;
export const PTR_TO_SOCK_COMMON = 12;
export const PTR_TO_TCP_SOCK = 13;
export const PTR_TO_TP_BUFFER = 14;
export const PTR_TO_XDP_SOCK = 15;
export const PTR_TO_BTF_ID = 16;
export const PTR_TO_MEM = 17;
export const PTR_TO_ARENA = 18;
export const PTR_TO_BUF = 19;
export const PTR_TO_FUNC = 20;
export const CONST_PTR_TO_DYNPTR = 21;

/** Flags. */
export const PTR_MAYBE_NULL = 1 << 8;
export const MEM_RDONLY = 1 << 9;
export const MEM_RINGBUF = 1 << 10;
export const MEM_USER = 1 << 11;
export const MEM_PERCPU = 1 << 12;
export const OBJ_RELEASE = 1 << 13;
export const PTR_UNTRUSTED = 1 << 14;
export const MEM_UNINIT = 1 << 15;
export const DYNPTR_TYPE_LOCAL = 1 << 16;
export const DYNPTR_TYPE_RINGBUF = 1 << 17;
export const MEM_FIXED_SIZE = 1 << 18;
export const MEM_ALLOC = 1 << 19;
export const PTR_TRUSTED = 1 << 20;
export const MEM_RCU = 1 << 21;
export const NON_OWN_REF = 1 << 22;
export const DYNPTR_TYPE_SKB = 1 << 23;
export const DYNPTR_TYPE_XDP = 1 << 24;
export const MEM_ALIGNED = 1 << 25;
export const MEM_WRITE = 1 << 26;
export const DYNPTR_TYPE_SKB_META = 1 << 27;

const BASE_MASK = 0xff;

/** Name of each base type in messages, by number (reg_type_str of kernel/bpf/log.c). */
const BASE_NAMES = [
  "?",
  "scalar",
  "ctx",
  "map_ptr",
  "map_value",
  "map_key",
  "fp",
  "pkt_meta",
  "pkt",
  "pkt_end",
  "flow_keys",
  "sock",
  "sock_common",
  "tcp_sock",
  "tp_buffer",
  "xdp_sock",
  "ptr_",
  "mem",
  "arena",
  "buf",
  "func",
  "dynptr_ptr",
] as const;

export function baseType(type: number): number {
  return type & BASE_MASK;
}

export function typeFlags(type: number): number {
  return type & ~BASE_MASK;
}

export function mayBeNull(type: number): boolean {
  return (type & PTR_MAYBE_NULL) !== 0;
}

/** Pointers into a packet whose accesses a comparison with pkt_end allows. */
export function isPacketPointer(type: number): boolean {
  return type === PTR_TO_PACKET || type === PTR_TO_PACKET_META;
}

/** Pointers into a packet and pkt_end (reg_is_pkt_pointer_any). */
export function isAnyPacketPointer(type: number): boolean {
  return type === PTR_TO_PACKET_END || isPacketPointer(type);
}

export function isSocketPointer(type: number): boolean {
  return (
    type === PTR_TO_SOCKET ||
    type === PTR_TO_SOCK_COMMON ||
    type === PTR_TO_TCP_SOCK ||
    type === PTR_TO_XDP_SOCK
  );
}

/** "map_value_or_null", "rdonly_mem", ... (reg_type_str). */
export function typeName(type: number): string {
  const base = type & BASE_MASK;
  const postfix = (type & PTR_MAYBE_NULL) === 0 ? "" : base === PTR_TO_BTF_ID ? "or_null_" : "_or_null";
  const prefix =
    (type & MEM_RDONLY ? "rdonly_" : "") +
    (type & MEM_RINGBUF ? "ringbuf_" : "") +
    (type & MEM_USER ? "user_" : "") +
    (type & MEM_PERCPU ? "percpu_" : "") +
    (type & MEM_RCU ? "rcu_" : "") +
    (type & PTR_UNTRUSTED ? "untrusted_" : "") +
    (type & PTR_TRUSTED ? "trusted_" : "");
  return `${prefix}${BASE_NAMES[base] ?? "?"}${postfix}`;
}
