/** Which registers fit which arguments (compatible_reg_types, check_reg_type of kernel/bpf/verifier.c). */
import type { Environment } from "../environment.ts";
import {
  CONST_PTR_TO_DYNPTR,
  CONST_PTR_TO_MAP,
  DYNPTR_TYPE_LOCAL,
  DYNPTR_TYPE_RINGBUF,
  DYNPTR_TYPE_SKB,
  DYNPTR_TYPE_SKB_META,
  DYNPTR_TYPE_XDP,
  MEM_ALLOC,
  MEM_PERCPU,
  MEM_RCU,
  MEM_RDONLY,
  MEM_RINGBUF,
  OBJ_RELEASE,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TO_CTX,
  PTR_TO_FUNC,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_STACK,
  PTR_TO_TCP_SOCK,
  PTR_TO_XDP_SOCK,
  PTR_TRUSTED,
  SCALAR_VALUE,
  baseType,
  mayBeNull,
  typeName,
} from "../register-types.ts";
import type { RegisterState } from "../state.ts";
import type { CallMeta } from "./meta.ts";
import type { Argument } from "./prototype.ts";

const SOCKETS = [PTR_TO_SOCK_COMMON, PTR_TO_SOCKET, PTR_TO_TCP_SOCK, PTR_TO_XDP_SOCK];
const MEMORY = [
  PTR_TO_STACK,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_MEM | MEM_RINGBUF,
  PTR_TO_BUF,
  PTR_TO_BTF_ID | PTR_TRUSTED,
];
const SCALAR = [SCALAR_VALUE];

/** By argument; in the order in which messages list them. */
const COMPATIBLE: Readonly<Record<string, readonly number[]>> = {
  ptr_to_map_key: MEMORY,
  ptr_to_map_value: MEMORY,
  ptr_to_mem: MEMORY,
  const_size: SCALAR,
  const_size_or_zero: SCALAR,
  const_alloc_size_or_zero: SCALAR,
  scalar: SCALAR,
  const_map_ptr: [CONST_PTR_TO_MAP],
  ptr_to_ctx: [PTR_TO_CTX],
  ptr_to_sock_common: SOCKETS,
  ptr_to_btf_id_sock_common: [...SOCKETS, PTR_TO_BTF_ID, PTR_TO_BTF_ID | PTR_TRUSTED],
  ptr_to_socket: [PTR_TO_SOCKET],
  ptr_to_btf_id: [PTR_TO_BTF_ID, PTR_TO_BTF_ID | PTR_TRUSTED, PTR_TO_BTF_ID | MEM_RCU],
  ptr_to_spin_lock: [PTR_TO_MAP_VALUE, PTR_TO_BTF_ID | MEM_ALLOC],
  ptr_to_ringbuf_mem: [PTR_TO_MEM | MEM_RINGBUF],
  ptr_to_percpu_btf_id: [
    PTR_TO_BTF_ID | MEM_PERCPU,
    PTR_TO_BTF_ID | MEM_PERCPU | MEM_RCU,
    PTR_TO_BTF_ID | MEM_PERCPU | PTR_TRUSTED,
  ],
  ptr_to_func: [PTR_TO_FUNC],
  ptr_to_stack: [PTR_TO_STACK],
  ptr_to_const_str: [PTR_TO_MAP_VALUE],
  ptr_to_timer: [PTR_TO_MAP_VALUE],
  kptr_xchg_dest: [PTR_TO_MAP_VALUE, PTR_TO_BTF_ID | MEM_ALLOC],
  ptr_to_dynptr: [PTR_TO_STACK, CONST_PTR_TO_DYNPTR],
};

const DYNPTR_FLAGS =
  DYNPTR_TYPE_LOCAL | DYNPTR_TYPE_RINGBUF | DYNPTR_TYPE_SKB | DYNPTR_TYPE_XDP | DYNPTR_TYPE_SKB_META;

/**
 * Whether a register may be passed as an argument. An argument that is only read takes read-only memory too, one that
 * may be NULL takes pointers that may be; memory takes the data of dynptrs.
 */
export function checkArgumentType(
  env: Environment,
  regno: number,
  { base, flags }: Argument,
  { name }: CallMeta,
): void {
  const reg = env.registers[regno] as RegisterState;
  const compatible = COMPATIBLE[base];
  if (compatible === undefined) throw env.unsupported(`arguments of type ${base}`);
  let { type } = reg;
  if ((flags & MEM_RDONLY) !== 0) type &= ~MEM_RDONLY;
  if ((flags & PTR_MAYBE_NULL) !== 0) type &= ~PTR_MAYBE_NULL;
  if (base === "ptr_to_mem") type &= ~DYNPTR_FLAGS;
  if (name === "kptr_xchg" && regno === 2 && (type & MEM_ALLOC) !== 0) type &= ~(MEM_ALLOC | MEM_PERCPU);
  if (!compatible.includes(type)) {
    throw env.reject(
      "EACCES",
      `R${regno} type=${typeName(reg.type)} expected=${compatible.map(typeName).join(", ")}`,
    );
  }
  if (baseType(reg.type) !== PTR_TO_BTF_ID) return;
  if (compatible === MEMORY) {
    if ((flags & MEM_RDONLY) !== 0) return;
    throw env.reject(
      "EACCES",
      `bpf_${name}() may write into memory pointed by R${regno} type=${typeName(reg.type)}`,
    );
  }
  if (mayBeNull(reg.type) && ((flags & PTR_MAYBE_NULL) === 0 || (flags & OBJ_RELEASE) !== 0)) {
    throw env.reject("EACCES", `Possibly NULL pointer passed to helper arg${regno}`);
  }
  throw env.unsupported("pointers to kernel structures as arguments of helpers");
}
