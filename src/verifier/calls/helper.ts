/** Calls of helpers (check_helper_call of kernel/bpf/verifier.c). */
import type { Instruction } from "../../isa/index.ts";
import {
  type HelperName,
  MAP_TYPES,
  SOCKMAP_UPDATERS,
  WRITING_HELPERS,
  helperName,
  helperTakesMap,
  programMayWrite,
} from "../../uapi/index.ts";
import type { Environment } from "../environment.ts";
import { specialFields } from "../map-fields.ts";
import { checkMemoryAccess } from "../memory.ts";
import { markChainPrecision } from "../precision.ts";
import { acquireReference, checkResourceLeak, releaseReference } from "../references.ts";
import {
  PTR_MAYBE_NULL,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  NOT_INIT,
  mayBeNull,
} from "../register-types.ts";
import { checkRegister, isNull, markKnownZero, markNotInit, markUnknown } from "../registers.ts";
import { UNKNOWN, constantNumber, isConstant, withRange, withSignedRange } from "../scalar/index.ts";
import { DEF_NOT_SUBREG, type RegisterState } from "../state.ts";
import { checkArgument, constantText } from "./arguments.ts";
import { clearPacketPointers } from "./function.ts";
import { isValidFormat } from "./format.ts";
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
  if (meta.releaseRegno !== 0) release(env, meta);
  checkSpecial(env, meta);
  for (let regno = 0; regno <= 5; regno++) {
    markNotInit(env.registers[regno] as RegisterState);
    checkRegister(env, regno, "destination_no_mark");
  }
  setReturn(env, prototype, meta);
  checkMapType(env, meta);
  if (meta.name === "get_func_ip") throw env.unsupported(helperLabel(id));
  if (meta.name === "tail_call") {
    // A call that succeeds ends the function, and the other program may have done anything to the packet.
    leaveFunction(env, (result) => {
      clearPacketPointers(env);
      markUnknown(result);
    });
  } else if (helperChangesPacketData(id)) clearPacketPointers(env);
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
  if (row.targets === true)
    throw env.unsupported(`${helperLabel(id)}, which depends on the kernel function attached to`);
  if (row.mightSleep !== true) return;
  if (!state.inSleepable && env.program.sleepable !== true) {
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

function release(env: Environment, { id, releaseRegno, refObjId }: CallMeta): void {
  const done =
    refObjId === 0 ? isNull(env.registers[releaseRegno] as RegisterState) : releaseReference(env, refObjId);
  if (!done) throw env.reject("EINVAL", `func ${helperLabel(id)} reference has not been acquired before`);
}

/** What single helpers demand beyond their prototype. */
function checkSpecial(env: Environment, { id, name }: CallMeta): void {
  switch (name) {
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
      if (!isValidFormat(text, bytes / 8)) throw env.reject("EINVAL", "Invalid format string");
      return;
    }
    case "for_each_map_elem":
    case "timer_set_callback":
    case "find_vma":
    case "loop":
    case "user_ringbuf_drain":
    case "dynptr_from_mem":
    case "dynptr_data":
    case "dynptr_write":
    case "dynptr_read":
    case "per_cpu_ptr":
    case "this_cpu_ptr":
    case "kptr_xchg":
      throw env.unsupported(helperLabel(id));
    default:
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
]);

const SOCKET_RETURNS: Readonly<Record<string, number>> = {
  ptr_to_socket: PTR_TO_SOCKET,
  ptr_to_sock_common: PTR_TO_SOCK_COMMON,
  ptr_to_tcp_sock: PTR_TO_TCP_SOCK,
};

function setReturn(env: Environment, { returns, returnFlags }: Prototype, meta: CallMeta): void {
  const { name, map } = meta;
  const result = env.registers[0] as RegisterState;
  result.subregDef = DEF_NOT_SUBREG;
  const socket = SOCKET_RETURNS[returns];
  if (returns === "integer") markUnknown(result);
  else if (returns === "void") result.type = NOT_INIT;
  else if (returns === "ptr_to_map_value") {
    if (map === undefined) throw env.reject("EINVAL", "kernel subsystem misconfigured verifier");
    markKnownZero(result);
    const exists = name === "map_lookup_elem" && meta.constantKey >= 0 && meta.constantKey < map.maxEntries;
    const flags = exists ? returnFlags & ~PTR_MAYBE_NULL : returnFlags;
    result.map = map;
    result.mapUid = meta.mapUid;
    result.type = PTR_TO_MAP_VALUE | flags;
    // Values with a lock are told apart by an id.
    if (!mayBeNull(flags) && specialFields(map).some((field) => field.name.endsWith("spin_lock"))) {
      result.id = env.nextId();
    }
  } else if (socket !== undefined) {
    markKnownZero(result);
    result.type = socket | returnFlags;
  } else if (returns === "ptr_to_mem") {
    markKnownZero(result);
    result.type = PTR_TO_MEM | returnFlags;
    result.memSize = meta.allocated;
  } else throw env.unsupported(`helpers that return ${returns}`);
  if (mayBeNull(result.type)) result.id = env.nextId();
  if (name === undefined) return;
  if (CASTS.has(name)) result.refObjId = meta.refObjId;
  else if (ACQUIRERS.has(name) || (name === "map_lookup_elem" && isSockmap(map?.type))) {
    const id = acquireReference(env, env.index);
    result.id = id;
    result.refObjId = id;
  }
  if (returns === "integer") refineResult(env, result, meta);
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
