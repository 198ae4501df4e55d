/** Which registers fit which arguments (compatible_reg_types, check_reg_type of kernel/bpf/verifier.c). */
import type { Environment } from "../environment.ts";
import { nameOf } from "../kernel-types/access.ts";
import { structsMatch } from "../kernel-types/walk.ts";
import { matchesKptr } from "../kptr.ts";
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
const SOCKETS_BY_BTF = [...SOCKETS, PTR_TO_BTF_ID, PTR_TO_BTF_ID | PTR_TRUSTED];
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
  ptr_to_btf_id_sock_common: SOCKETS_BY_BTF,
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

/** An argument as far as its type goes; `struct` is a name or an id in the kernel's BTF. */
export interface TypeArgument extends Pick<Argument, "base" | "flags"> {
  readonly struct: string | number | undefined;
}

export type TypeMeta = Pick<CallMeta, "name" | "kptr">;

/**
 * Whether a register may be passed as an argument. An argument that is only read takes read-only memory too, one that
 * may be NULL takes pointers that may be; memory takes the data of dynptrs.
 */
export function checkArgumentType(
  env: Environment,
  regno: number,
  { base, flags, struct }: TypeArgument,
  meta: TypeMeta,
): void {
  const { name } = meta;
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
  checkStructArgument(env, regno, compatible, flags, struct, meta);
}

/** What the pointer points to (the end of check_reg_type). */
function checkStructArgument(
  env: Environment,
  regno: number,
  compatible: readonly number[],
  flags: number,
  struct: string | number | undefined,
  { name, kptr }: TypeMeta,
): void {
  const reg = env.registers[regno] as RegisterState;
  const released = (flags & OBJ_RELEASE) !== 0;
  switch (reg.type & ~PTR_MAYBE_NULL) {
    case PTR_TO_BTF_ID:
    case PTR_TO_BTF_ID | PTR_TRUSTED:
    case PTR_TO_BTF_ID | MEM_RCU: {
      if (mayBeNull(reg.type) && ((flags & PTR_MAYBE_NULL) === 0 || released)) {
        throw env.reject("EACCES", `Possibly NULL pointer passed to helper arg${regno}`);
      }
      if (name === "kptr_xchg") {
        if (kptr !== undefined && !matchesKptr(env, kptr.field, reg, regno)) throw env.reject("EACCES");
        return;
      }
      const { kernelBtf } = env.program;
      const wanted = struct ?? (compatible === SOCKETS_BY_BTF ? "sock_common" : undefined);
      const id = typeof wanted === "string" ? kernelBtf?.find(wanted, "struct")[0]?.id : wanted;
      if (kernelBtf === undefined || id === undefined || reg.btf === undefined) {
        throw env.unsupported(`pointers to struct ${wanted ?? "?"} without the kernel's types`);
      }
      // bpf_sk_release takes all that begins as a socket does.
      const strict = released && name !== "sk_release";
      if (structsMatch(env, reg.btf, reg.btfId, reg.off, kernelBtf, id, strict)) return;
      throw env.reject(
        "EACCES",
        `R${regno} is of type ${nameOf(reg.btf, reg.btfId)} but ${nameOf(kernelBtf, id)} is expected`,
      );
    }
    case PTR_TO_BTF_ID | MEM_ALLOC:
    case PTR_TO_BTF_ID | MEM_PERCPU | MEM_ALLOC:
      if (name !== "spin_lock" && name !== "spin_unlock" && name !== "kptr_xchg") {
        throw env.bug("unimplemented handling of MEM_ALLOC");
      }
      if (name === "kptr_xchg" && regno === 2 && kptr !== undefined) {
        if (!matchesKptr(env, kptr.field, reg, regno)) throw env.reject("EACCES");
      }
      return;
    case PTR_TO_BTF_ID | MEM_PERCPU:
    case PTR_TO_BTF_ID | MEM_PERCPU | MEM_RCU:
    case PTR_TO_BTF_ID | MEM_PERCPU | PTR_TRUSTED:
      return;
    default:
      throw env.bug("invalid PTR_TO_BTF_ID register for type match");
  }
}
