/** Calls of helpers (check_helper_call of kernel/bpf/verifier.c). */
import { resolve } from "../../btf/index.ts";
import type { Instruction } from "../../isa/index.ts";
import {
  type HelperName,
  MAP_TYPES,
  PROGRAM_TYPES,
  SOCKMAP_UPDATERS,
  WRITING_HELPERS,
  helperName,
  helperTakesMap,
  programMayWrite,
  parseFormat,
} from "../../uapi/index.ts";
import { can } from "../abilities.ts";
import type { Environment } from "../environment.ts";
import { inRcuSection, inSleepable } from "../kernel-types/access.ts";
import { isSleepableHook, isVoidHook } from "../kernel-types/lsm.ts";
import { mapHolds } from "../kernel-types/record.ts";
import { resolveSize } from "../kernel-types/walk.ts";
import { LEVEL2 } from "../log.ts";
import { checkMemoryAccess } from "../memory.ts";
import { markChainPrecision } from "../precision.ts";
import {
  acquireReference,
  checkResourceLeak,
  releaseReference,
  releaseReferenceNoMark,
} from "../references.ts";
import {
  MEM_ALLOC,
  MEM_PERCPU,
  MEM_RCU,
  MEM_RDONLY,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  NOT_INIT,
  mayBeNull,
  typeName,
} from "../register-types.ts";
import { checkRegister, isNull, markInvalid, markKnownZero, markNotInit, markUnknown } from "../registers.ts";
import { UNKNOWN, constantNumber, isConstant, umax, withRange, withSignedRange } from "../scalar/index.ts";
import { dynptrView, isPacketDynptr, releaseDynptr } from "../stack-objects/dynptr.ts";
import { DEF_NOT_SUBREG, type RegisterState, changeRegisters } from "../state.ts";
import { checkArgument, constantText } from "./arguments.ts";
import {
  pushAsyncCallback,
  pushCallback,
  setEachElement,
  setFindVma,
  setLoop,
  setTimer,
  setUserRingbuf,
} from "./callbacks.ts";
import { clearPacketPointers } from "./function.ts";
import { leaveFunction } from "./leave.ts";
import { type CallMeta, createMeta } from "./meta.ts";
import { type Prototype, helperLabel, helperOf } from "./prototype.ts";
import { helperChangesPacketData } from "./summary.ts";

/** Checks a call of a helper with the current registers, and makes r0 what it returns. */
export function checkHelperCall(env: Environment, { imm: id }: Instruction): void {
  const prototype = findPrototype(env, id);
  const { row, args } = prototype;
  checkContext(env, id, prototype);
  const meta = createMeta(id, helperName(id), row.packetAccess === true);
  for (let at = 0; at < args.length; at++) checkArgument(env, at, meta, prototype);
  recordMap(env, meta);
  recordKey(env, meta);
  // What the helper fills is written as if instructions did it, byte by byte.
  for (let at = 0; at < meta.accessSize; at++) {
    checkMemoryAccess(env, env.index, meta.regno, at, 1, true, -1, false, false);
  }
  if (meta.releaseRegno !== 0) release(env, prototype, meta);
  checkSpecial(env, prototype, meta);
  for (let regno = 0; regno <= 5; regno++) {
    markNotInit(env.registers[regno] as RegisterState);
    checkRegister(env, regno, "destination_no_mark");
  }
  setReturn(env, prototype, meta);
  checkMapType(env, meta);
  if (meta.name === "get_func_ip") checkFunctionAddress(env, id);
  if (meta.name === "tail_call") {
    // A call that succeeds ends the function, and the other program may have done anything to the packet.
    leaveFunction(env, (result) => {
      clearPacketPointers(env);
      markUnknown(result);
    });
  } else if (meta.changesPacket || helperChangesPacketData(id)) clearPacketPointers(env);
}

/** bpf_get_func_ip: where a function is attached to (check_get_func_ip). */
function checkFunctionAddress(env: Environment, id: number): void {
  const { type, program } = env;
  if (type === "kprobe") return;
  const trampolines: readonly (string | undefined)[] = ["trace_fentry", "trace_fexit", "modify_return"];
  if (type === "tracing" && trampolines.includes(program.attachType)) return;
  const number = PROGRAM_TYPES.find(({ name }) => name === type)?.id;
  env.verbose(
    type === "tracing"
      ? `func ${helperLabel(id)} supported only for fentry/fexit/fmod_ret programs\n`
      : `func ${helperLabel(id)} not supported for program type ${number}\n`,
  );
  throw env.reject("ENOTSUPP");
}

function findPrototype(env: Environment, id: number): Prototype {
  if (env.type === "ext") throw env.unsupported("helpers of extensions");
  const found = helperOf(env, id);
  if (found === "unknown") throw env.reject("EINVAL", `invalid func ${helperLabel(id)}`);
  if (found === "not_allowed") {
    throw env.reject("EINVAL", `program of this type cannot use helper ${helperLabel(id)}`);
  }
  return found;
}

/** Licence, what the program attaches to, and whether one may sleep here. */
function checkContext(env: Environment, id: number, { row }: Prototype): void {
  const { state } = env;
  if (row.gplOnly === true && !env.gplCompatible) {
    throw env.reject("EINVAL", "cannot call GPL-restricted function from non-GPL compatible program");
  }
  if (row.targets === true) checkTarget(env, id);
  if (row.mightSleep !== true) return;
  if (!inSleepable(env)) {
    throw env.reject("EINVAL", "helper call might sleep in a non-sleepable prog");
  }
  const region = state.activeRcuLocks
    ? "rcu_read_lock"
    : state.activePreemptLocks
      ? "non-preemptible"
      : state.activeIrqId
        ? "IRQ-disabled"
        : undefined;
  if (region !== undefined) {
    throw env.reject("EINVAL", `sleepable helper ${helperLabel(id)} in ${region} region`);
  }
}

const D_PATH_TARGETS: ReadonlySet<string> = new Set([
  "security_file_permission",
  "security_inode_getattr",
  "security_file_open",
  "security_path_truncate",
  "vfs_truncate",
  "vfs_fallocate",
  "dentry_open",
  "vfs_getattr",
  "filp_close",
]);

/** Helpers that only some functions' programs may call: those that could not be called from themselves (`allowed` of a prototype). */
function checkTarget(env: Environment, id: number): void {
  const { attachType, attachTo = "" } = env.program;
  const name = helperName(id);
  let allowed: boolean;
  if (env.type === "lsm") {
    if (name === "sk_storage_get" || name === "sk_storage_delete") return;
    if (name !== "d_path" && name !== "ima_inode_hash" && name !== "ima_file_hash") {
      throw env.unsupported(`${helperLabel(id)} of LSM programs`);
    }
    allowed = isSleepableHook(env);
  } else if (name === "sk_storage_get" || name === "sk_storage_delete") {
    const traces = attachType === "trace_fentry" || attachType === "trace_fexit";
    allowed =
      attachType === "trace_iter" ||
      attachType === "trace_raw_tp" ||
      (traces && !attachTo.startsWith("bpf_sk_storage"));
  } else if (name === "d_path") allowed = attachType === "trace_iter" || D_PATH_TARGETS.has(attachTo);
  else throw env.unsupported(`${helperLabel(id)}, which depends on the kernel function attached to`);
  if (!allowed) throw env.reject("EINVAL", "helper call is not allowed in probe");
}

/** Helpers whose calls are replaced when their map is known (record_func_map). */
const MAP_CALLS: ReadonlySet<HelperName> = new Set<HelperName>([
  "tail_call",
  "map_lookup_elem",
  "map_update_elem",
  "map_delete_elem",
  "map_push_elem",
  "map_pop_elem",
  "map_peek_elem",
  "for_each_map_elem",
  "redirect_map",
  "map_lookup_percpu_elem",
]);

function recordMap(env: Environment, { name, map }: CallMeta): void {
  if (name === undefined || !MAP_CALLS.has(name) || map === undefined) return;
  if (!programMayWrite(map.flags) && WRITING_HELPERS.includes(name)) {
    throw env.reject("EACCES", "write into map forbidden");
  }
  const aux = env.currentAux;
  if (aux.callMap === undefined) aux.callMap = map;
  else if (aux.callMap !== map) aux.callMap = "poison";
}

/** The key of a tail call, if it is always the same (record_func_key). */
function recordKey(env: Environment, { name, map }: CallMeta): void {
  if (name !== "tail_call") return;
  if (map?.type !== "prog_array") {
    // The kernel ends this line by no line feed.
    env.verbose("expected prog array map for tail call");
    throw env.reject("EINVAL");
  }
  const aux = env.currentAux;
  const { scalar, type } = env.registers[3] as RegisterState;
  const key = type === 1 && isConstant(scalar) ? constantNumber(scalar) : -1;
  if (key < 0 || key >= map.maxEntries) {
    aux.callKey = "poison";
    return;
  }
  markChainPrecision(env, 3);
  if (aux.callKey === undefined) aux.callKey = key;
  else if (aux.callKey !== key) aux.callKey = "poison";
}

function release(
  env: Environment,
  { args }: Prototype,
  { id, name, releaseRegno, refObjId }: CallMeta,
): void {
  const reg = env.registers[releaseRegno] as RegisterState;
  let done: boolean;
  if (args[releaseRegno - 1]?.base === "ptr_to_dynptr") done = releaseDynptr(env, reg);
  else if (name === "kptr_xchg" && refObjId !== 0) done = handOver(env, refObjId);
  else done = refObjId === 0 ? isNull(reg) : releaseReference(env, refObjId);
  if (!done) throw env.reject("EINVAL", `func ${helperLabel(id)} reference has not been acquired before`);
}

/** The map owns the reference now. Per-CPU objects stay readable while RCU protects them. */
function handOver(env: Environment, refObjId: number): boolean {
  const protects = inRcuSection(env);
  if (!releaseReferenceNoMark(env.state, refObjId)) return false;
  changeRegisters(
    env.state,
    (reg) => reg.refObjId === refObjId,
    (reg) => {
      if (protects && (reg.type & MEM_ALLOC) !== 0 && (reg.type & MEM_PERCPU) !== 0) {
        reg.refObjId = 0;
        reg.type = (reg.type & ~MEM_ALLOC) | MEM_RCU;
      } else markInvalid(env, reg);
    },
  );
  return true;
}

/** What single helpers demand beyond their prototype. */
function checkSpecial(env: Environment, prototype: Prototype, meta: CallMeta): void {
  switch (meta.name) {
    case "tail_call":
      checkResourceLeak(env, false, true, "tail_call");
      return;
    case "get_local_storage":
      if (!isNull(env.registers[2] as RegisterState)) {
        throw env.reject("EINVAL", "get_local_storage() doesn't support non-zero flags");
      }
      return;
    case "snprintf": {
      const length = env.registers[5] as RegisterState;
      const bytes = constantNumber(length.scalar);
      if (bytes % 8 !== 0) throw env.reject("EINVAL");
      const text = constantText(env, env.registers[3] as RegisterState) ?? "";
      if (!parseFormat(text, bytes / 8).valid) throw env.reject("EINVAL", "Invalid format string");
      return;
    }
    case "for_each_map_elem":
      pushCallback(env, meta.subprogno, setEachElement);
      return;
    case "timer_set_callback":
      pushAsyncCallback(env, meta.subprogno, setTimer, false);
      return;
    case "find_vma":
      pushCallback(env, meta.subprogno, setFindVma);
      return;
    case "loop":
      checkLoop(env, meta);
      return;
    case "user_ringbuf_drain":
      pushCallback(env, meta.subprogno, setUserRingbuf);
      return;
    case "dynptr_from_mem": {
      const { type } = env.registers[1] as RegisterState;
      if (type !== PTR_TO_MAP_VALUE) {
        throw env.reject("EACCES", `Unsupported reg type ${typeName(type)} for bpf_dynptr_from_mem data`);
      }
      return;
    }
    case "dynptr_data": {
      const view = dynptrView(env, dynptrRegister(env, prototype));
      meta.dynptrId = view.id;
      meta.refObjId = view.refObjId;
      return;
    }
    case "dynptr_write":
      meta.changesPacket = isPacketDynptr(dynptrView(env, dynptrRegister(env, prototype)).type);
      return;
    case "set_retval":
      if (env.type === "lsm" && env.program.attachType === "lsm_cgroup" && isVoidHook(env)) {
        throw env.reject("EINVAL", "BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!");
      }
      return;
    default:
  }
}

/** The dynptr among the arguments. */
function dynptrRegister(env: Environment, { args }: Prototype): RegisterState {
  return env.registers[args.findIndex(({ base }) => base === "ptr_to_dynptr") + 1] as RegisterState;
}

/** bpf_loop: whether there is another round is told by r1, and whether it can be inlined by its flags. */
function checkLoop(env: Environment, { subprogno }: CallMeta): void {
  const aux = env.currentAux;
  const flags = env.registers[4] as RegisterState;
  const flagsAreZero = (): boolean => {
    const zero = isNull(flags);
    if (zero) markChainPrecision(env, 4);
    return zero;
  };
  if (aux.loopInline === undefined) aux.loopInline = { fits: flagsAreZero(), subprogram: subprogno };
  else if (aux.loopInline.fits)
    aux.loopInline.fits = flagsAreZero() && aux.loopInline.subprogram === subprogno;
  markChainPrecision(env, 1);
  if (env.frame.callbackDepth < umax((env.registers[1] as RegisterState).scalar)) {
    pushCallback(env, subprogno, setLoop);
    return;
  }
  env.frame.callbackDepth = 0;
  if ((env.log.level & LEVEL2) !== 0) {
    env.verbose(`frame${env.state.frames.length - 1} bpf_loop iteration limit reached\n`);
  }
}

/** Helpers that return another view of the socket they are given; its reference stays one. */
const CASTS: ReadonlySet<HelperName> = new Set<HelperName>([
  "tcp_sock",
  "sk_fullsock",
  "skc_to_tcp_sock",
  "skc_to_tcp6_sock",
  "skc_to_udp6_sock",
  "skc_to_mptcp_sock",
  "skc_to_tcp_timewait_sock",
  "skc_to_tcp_request_sock",
]);

const ACQUIRERS: ReadonlySet<HelperName> = new Set<HelperName>([
  "sk_lookup_tcp",
  "sk_lookup_udp",
  "skc_lookup_tcp",
  "ringbuf_reserve",
  "kptr_xchg",
]);

const SOCKET_RETURNS: Readonly<Record<string, number>> = {
  ptr_to_socket: PTR_TO_SOCKET,
  ptr_to_sock_common: PTR_TO_SOCK_COMMON,
  ptr_to_tcp_sock: PTR_TO_TCP_SOCK,
};

function setReturn(
  env: Environment,
  { returns, returnFlags, returnStruct }: Prototype,
  meta: CallMeta,
): void {
  const { name, map } = meta;
  const result = env.registers[0] as RegisterState;
  result.subregDef = DEF_NOT_SUBREG;
  const socket = SOCKET_RETURNS[returns];
  if (returns === "integer") markUnknown(result);
  else if (returns === "void") result.type = NOT_INIT;
  else if (returns === "ptr_to_map_value") {
    if (map === undefined) throw env.reject("EINVAL", "kernel subsystem misconfigured verifier");
    markKnownZero(result);
    const exists =
      name === "map_lookup_elem" &&
      meta.constantKey >= 0 &&
      meta.constantKey < map.maxEntries &&
      can(env, "constant_keys");
    const flags = exists ? returnFlags & ~PTR_MAYBE_NULL : returnFlags;
    result.map = map;
    result.mapUid = meta.mapUid;
    result.type = PTR_TO_MAP_VALUE | flags;
    // Values with a lock are told apart by an id.
    if (!mayBeNull(flags) && mapHolds(map, "spin_lock", "res_spin_lock")) {
      result.id = env.nextId();
    }
  } else if (socket !== undefined) {
    markKnownZero(result);
    result.type = socket | returnFlags;
  } else if (returns === "ptr_to_mem") {
    markKnownZero(result);
    result.type = PTR_TO_MEM | returnFlags;
    result.memSize = meta.allocated;
  } else if (returns === "ptr_to_mem_or_btf_id") setPerCpu(env, result, returnFlags, meta);
  else if (returns === "ptr_to_btf_id") setStruct(env, result, returnFlags, returnStruct, meta);
  else throw env.unsupported(`helpers that return ${returns}`);
  if (mayBeNull(result.type)) result.id = env.nextId();
  if (name === undefined) return;
  if (name === "dynptr_data") result.dynptrId = meta.dynptrId;
  if (CASTS.has(name) || name === "dynptr_data") result.refObjId = meta.refObjId;
  else if (ACQUIRERS.has(name) || (name === "map_lookup_elem" && isSockmap(map?.type))) {
    const id = acquireReference(env, env.index);
    result.id = id;
    result.refObjId = id;
  }
  if (returns === "integer") refineResult(env, result, meta);
}

/** This CPU's copy of a variable: a structure, or memory. */
function setPerCpu(env: Environment, result: RegisterState, flags: number, { percpu }: CallMeta): void {
  if (percpu === undefined) throw env.bug("no per-CPU variable");
  const { btf, id, allocated } = percpu;
  markKnownZero(result);
  const type = resolve(btf, id);
  if (type.kind !== "struct" && type.kind !== "union") {
    const size = resolveSize(btf, id)?.size;
    if (size === undefined) {
      throw env.reject("EINVAL", `unable to resolve the size of type '${type.name}': -22`);
    }
    result.type = PTR_TO_MEM | flags;
    result.memSize = size;
    return;
  }
  result.type = PTR_TO_BTF_ID | (allocated ? MEM_ALLOC | MEM_RCU : flags & ~MEM_RDONLY);
  result.btf = btf;
  result.btfId = id;
}

/** A structure of the kernel, or what was in a field. */
function setStruct(
  env: Environment,
  result: RegisterState,
  flags: number,
  struct: string | undefined,
  { id, name, kptr }: CallMeta,
): void {
  markKnownZero(result);
  result.type = PTR_TO_BTF_ID | flags;
  if (name === "kptr_xchg") {
    if (kptr === undefined) throw env.bug("no kernel pointer");
    const { pointer, field } = kptr;
    if (!pointer.kernel) result.type |= MEM_ALLOC | (field.kind === "kptr_percpu" ? MEM_PERCPU : 0);
    result.btf = pointer.btf;
    result.btfId = pointer.id;
    return;
  }
  const { kernelBtf } = env.program;
  const found = struct === undefined ? undefined : kernelBtf?.find(struct, "struct")[0];
  if (kernelBtf === undefined) throw env.unsupported(`${helperLabel(id)} without the kernel's types`);
  if (found === undefined) throw env.unsupported(`${helperLabel(id)}: the kernel has no struct ${struct}`);
  result.btf = kernelBtf;
  result.btfId = found.id;
}

function isSockmap(type: string | undefined): boolean {
  return type === "sockmap" || type === "sockhash";
}

/** Largest error number that a helper returns negated (MAX_ERRNO). */
const LARGEST_ERRNO = 4095;

/** Helpers that return a length return at most the one that they were given (do_refine_retval_range). */
function refineResult(env: Environment, result: RegisterState, { name, largestSize }: CallMeta): void {
  switch (name) {
    case "get_stack":
    case "get_task_stack":
    case "probe_read_str":
    case "probe_read_kernel_str":
    case "probe_read_user_str":
      result.scalar = withSignedRange(UNKNOWN, -LARGEST_ERRNO, largestSize);
      return;
    case "get_smp_processor_id":
      result.scalar = withRange(UNKNOWN, 0, (env.options.cpus ?? MOST_CPUS) - 1);
      return;
    default:
  }
}

/** CONFIG_NR_CPUS of distributions' kernels at most. */
const MOST_CPUS = 8192;

/** Which helpers take which maps (check_map_func_compatibility). */
function checkMapType(env: Environment, { id, name, map }: CallMeta): void {
  if (map === undefined || name === undefined) return;
  const updatesSocket = isSockmap(map.type) && (name === "map_update_elem" || name === "map_delete_elem");
  if (updatesSocket ? mayUpdateSockets(env, name) : helperTakesMap(name, map.type)) return;
  if (updatesSocket) env.verbose("cannot update sockmap in this context\n");
  const number = MAP_TYPES.find((row) => row.name === map.type)?.id;
  throw env.reject("EINVAL", `cannot pass map_type ${number} into func ${helperLabel(id)}`);
}

function mayUpdateSockets({ type, program }: Environment, name: HelperName): boolean {
  if (type === "tracing") return program.attachType === "trace_iter";
  // These update sockmaps by helpers of their own; deleting is fine.
  if (type === "sock_ops") return name === "map_delete_elem";
  return SOCKMAP_UPDATERS.includes(type);
}
