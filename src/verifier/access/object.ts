/** Accesses to kernel objects without BTF: sockets, flow keys, buffers. */
import type { Environment } from "../environment.ts";
import type { MemoryAccess } from "../memory.ts";
import {
  MEM_RDONLY,
  PTR_TO_FLOW_KEYS,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  PTR_TO_TP_BUFFER,
  PTR_TO_XDP_SOCK,
  isSocketPointer,
  typeName,
} from "../register-types.ts";
import { isZero, smin, tnumText } from "../scalar/index.ts";
import type { RegisterState } from "../state.ts";
import { checkLeak } from "./leak.ts";
import { loadUnknown, negative } from "./map-value.ts";

/** sizeof(struct bpf_flow_keys). */
const FLOW_KEYS = 56;

/** All pointer types that `memory.ts` sends nowhere else, but for those that may not be accessed at all. */
export function checkObjectAccess(env: Environment, access: MemoryAccess): void {
  const { regno, reg, off, size, write } = access;
  const { type } = reg;
  if (type === PTR_TO_FLOW_KEYS) {
    checkLeak(env, access, "flow keys");
    if (off < 0 || off + size > FLOW_KEYS) {
      throw env.reject("EACCES", `invalid access to flow keys off=${off} size=${size}`);
    }
  } else if (isSocketPointer(type)) {
    if (write) throw env.reject("EACCES", `R${regno} cannot write into ${typeName(type)}`);
    if (smin(reg.scalar) < 0) throw negative(env, regno);
    if (!isSocketField(type, off, size)) {
      throw env.reject("EACCES", `R${regno} invalid ${typeName(type)} access off=${off} size=${size}`);
    }
  } else if (type === PTR_TO_TP_BUFFER) {
    checkBufferOffset(env, "tracepoint", reg, regno, off, size);
    env.maxTracepointAccess = Math.max(env.maxTracepointAccess, off + size);
  } else {
    if (write && (type & MEM_RDONLY) !== 0) {
      throw env.reject("EACCES", `R${regno} cannot write into ${typeName(type)}`);
    }
    checkBuffer(env, reg, regno, off, size);
  }
  loadUnknown(env, access);
}

/** A buffer whose size is known when the program is attached: what it touches at most is remembered (check_buffer_access). */
export function checkBuffer(
  env: Environment,
  reg: RegisterState,
  regno: number,
  off: number,
  size: number,
): void {
  const readOnly = (reg.type & MEM_RDONLY) !== 0;
  checkBufferOffset(env, readOnly ? "rdonly" : "rdwr", reg, regno, off, size);
  if (readOnly) env.maxReadOnlyAccess = Math.max(env.maxReadOnlyAccess, off + size);
  else env.maxReadWriteAccess = Math.max(env.maxReadWriteAccess, off + size);
}

function checkBufferOffset(
  env: Environment,
  what: string,
  { scalar }: RegisterState,
  regno: number,
  off: number,
  size: number,
): void {
  if (off < 0) {
    throw env.reject("EACCES", `R${regno} invalid ${what} buffer access: off=${off}, size=${size}`);
  }
  if (!isZero(scalar)) {
    throw env.reject(
      "EACCES",
      `R${regno} invalid variable buffer offset: off=${off}, var_off=${tnumText(scalar)}`,
    );
  }
}

/** Offsets of struct bpf_sock, bpf_tcp_sock and bpf_xdp_sock (uapi/linux/bpf.h). */
const SOCK = {
  type: 8,
  srcIp4: 24,
  srcPort: 44,
  dstPort: 48,
  dstPortEnd: 50,
  dstIp4: 52,
  state: 72,
  end: 80,
} as const;
const TCP_SOCK = { bytesReceived: 80, bytesAcked: 88, end: 112 } as const;
const XDP_SOCK_END = 4;
/** family, type, protocol, src_port, state, rx_queue_mapping: narrow loads, from their first byte only. */
const NARROW_FIELDS: readonly number[] = [4, 8, 12, SOCK.srcPort, SOCK.state, 76];

/** bpf_sock_is_valid_access and its kin: offset and size of a load; a mirror of the kernel's own struct. */
function isSocketField(type: number, off: number, size: number): boolean {
  if (off < 0 || off % size !== 0) return false;
  if (type === PTR_TO_XDP_SOCK) return off < XDP_SOCK_END && size === 4;
  if (type === PTR_TO_TCP_SOCK) {
    if (off >= TCP_SOCK.end) return false;
    return size === (off === TCP_SOCK.bytesReceived || off === TCP_SOCK.bytesAcked ? 8 : 4);
  }
  if (type !== PTR_TO_SOCKET && type !== PTR_TO_SOCK_COMMON) return false;
  if (off >= SOCK.end) return false;
  // Not every sock_common is a full socket.
  if (type === PTR_TO_SOCK_COMMON && off >= SOCK.type && off < SOCK.srcIp4) return false;
  const isAddress = (off >= SOCK.srcIp4 && off < SOCK.srcPort) || (off >= SOCK.dstIp4 && off < SOCK.state);
  if (isAddress || NARROW_FIELDS.includes(off)) return size <= 4;
  if (off >= SOCK.dstPort && off < SOCK.dstPortEnd) return size === 4 || size <= 2;
  if (off >= SOCK.dstPortEnd && off < SOCK.dstIp4) return false;
  return size === 4;
}
