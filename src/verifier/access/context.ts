/** Accesses to a program's context: which fields exist, and what they are (check_ctx_access). The table is `hooks/`. */
import { type FieldKind, contextAccess, hookOf } from "../../hooks/index.ts";
import type { Environment } from "../environment.ts";
import { checkTypedContext } from "../kernel-types/arguments.ts";
import { lineBefore } from "../lines.ts";
import type { MemoryAccess } from "../memory.ts";
import {
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_FLOW_KEYS,
  PTR_TO_PACKET,
  PTR_TO_PACKET_END,
  PTR_TO_PACKET_META,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TP_BUFFER,
  PTR_TRUSTED,
  mayBeNull,
  typeName,
} from "../register-types.ts";
import { markKnownZero, markUnknown } from "../registers.ts";
import { isZero, tnumText } from "../scalar/index.ts";
import { DEF_NOT_SUBREG, type RegisterState } from "../state.ts";
import { checkLeak } from "./leak.ts";

const TYPES: Readonly<Partial<Record<FieldKind, number>>> = {
  packet: PTR_TO_PACKET,
  packet_meta: PTR_TO_PACKET_META,
  packet_end: PTR_TO_PACKET_END,
  socket: PTR_TO_SOCKET,
  socket_or_null: PTR_TO_SOCKET | PTR_MAYBE_NULL,
  sock_common_or_null: PTR_TO_SOCK_COMMON | PTR_MAYBE_NULL,
  flow_keys: PTR_TO_FLOW_KEYS,
  tp_buffer: PTR_TO_TP_BUFFER,
};

/** PTR_TO_CTX of check_mem_access. `access.off` includes the register's fixed offset. Sets the register that is loaded. */
export function checkContextAccess(env: Environment, access: MemoryAccess): void {
  const { index, regno, reg, off, size, write, valueRegno, signExtends } = access;
  checkLeak(env, access, "ctx");
  checkFixedOffset(env, reg, regno, false);
  const hook = hookOf(env.type);
  if (hook.context.arguments === true) {
    if (env.type === "raw_tracepoint" || env.type === "raw_tracepoint_writable") {
      throw env.unsupported(`context of ${env.type} programs`);
    }
    return checkTypedContext(env, access);
  }
  const found = contextAccess(hook, env.program.attachType, {
    offset: off,
    size,
    write,
    signed: signExtends,
  });
  if (found === undefined || needsBpf(env, found.field?.name, write)) {
    env.verbose(`invalid bpf_context access off=${off} size=${size}\n`);
    lineBefore(env, index, "; ");
    throw env.reject("EACCES");
  }
  env.maxContextOffset = Math.max(env.maxContextOffset, off + size);
  const { kind, field } = found;
  const aux = env.currentAux;
  aux.contextFieldSize = field?.size ?? 0;
  if (write || valueRegno < 0) return;
  const value = env.registers[valueRegno] as RegisterState;
  if (kind === "scalar") {
    markUnknown(value);
    return;
  }
  if (kind === "btf") {
    const { kernelBtf } = env.program;
    const struct = kernelBtf?.find(field?.btf ?? "", "struct")[0];
    if (struct === undefined) {
      throw env.unsupported(`context field ${field?.name ?? ""} without the kernel's types`);
    }
    markKnownZero(value);
    value.subregDef = DEF_NOT_SUBREG;
    value.type = PTR_TO_BTF_ID | PTR_TRUSTED;
    value.btf = kernelBtf;
    value.btfId = struct.id;
    return;
  }
  const type = TYPES[kind];
  if (type === undefined) throw env.bug(`context field ${field?.name ?? ""}`);
  markKnownZero(value);
  if (mayBeNull(type)) value.id = env.nextId();
  value.subregDef = DEF_NOT_SUBREG;
  value.type = type;
}

/** Packet pointers and time stamps of cgroup_skb programs are for CAP_BPF (cg_skb_is_valid_access). */
function needsBpf(env: Environment, field: string | undefined, write: boolean): boolean {
  if (env.hasBpf || env.type !== "cgroup_skb") return false;
  return field === "data" || field === "data_end" || (write && field === "tstamp");
}

/** Pointers that may not have been moved, or by constants only (__check_ptr_off_reg). */
export function checkFixedOffset(
  env: Environment,
  { type, off, scalar }: RegisterState,
  regno: number,
  fixedAllowed: boolean,
): void {
  const name = typeName(type);
  if (off < 0) throw env.reject("EACCES", `negative offset ${name} ptr R${regno} off=${off} disallowed`);
  if (!fixedAllowed && off !== 0) {
    throw env.reject("EACCES", `dereference of modified ${name} ptr R${regno} off=${off} disallowed`);
  }
  if (!isZero(scalar)) {
    throw env.reject("EACCES", `variable ${name} access var_off=${tnumText(scalar)} disallowed`);
  }
}
