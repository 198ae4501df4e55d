/** The arguments of a helper call, one after the other (check_func_arg of kernel/bpf/verifier.c). */
import { MAP_FLAGS, mapRules } from "../../uapi/index.ts";
import { checkFixedOffset } from "../access/context.ts";
import { checkMapValue, isReadOnly } from "../access/map-value.ts";
import { mayTouchPacket } from "../access/packet.ts";
import { checkPointerAlignment } from "../alignment.ts";
import type { Environment } from "../environment.ts";
import type { VerifierMap } from "../input.ts";
import { inTreeCallback } from "../graph.ts";
import { mapRecord } from "../kernel-types/record.ts";
import { checkKptrArgument } from "../kptr.ts";
import { processLock } from "../locks.ts";
import { markChainPrecision, markPrecision } from "../precision.ts";
import {
  MEM_ALIGNED,
  MEM_ALLOC,
  MEM_FIXED_SIZE,
  MEM_RCU,
  MEM_RDONLY,
  MEM_RINGBUF,
  MEM_UNINIT,
  MEM_WRITE,
  NON_OWN_REF,
  OBJ_RELEASE,
  PTR_MAYBE_NULL,
  PTR_TO_ARENA,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_STACK,
  PTR_TRUSTED,
  SCALAR_VALUE,
  isPacketPointer,
} from "../register-types.ts";
import { checkRegister, isNull, isSecret } from "../registers.ts";
import { constantNumber, isConstant } from "../scalar/index.ts";
import { checkDynptr, holdsReference } from "../stack-objects/dynptr.ts";
import { isSpilledScalar } from "../stack.ts";
import { type RegisterState, STACK_SPILL, STACK_ZERO, type StackSlot, slotType } from "../state.ts";
import { checkArgumentType } from "./argument-types.ts";
import { checkHelperMemory, checkSizeArgument } from "./memory.ts";
import type { CallMeta } from "./meta.ts";
import type { Argument, Prototype } from "./prototype.ts";

export function checkArgument(env: Environment, at: number, meta: CallMeta, prototype: Prototype): void {
  const regno = at + 1;
  const declared = prototype.args[at] as Argument;
  const reg = env.registers[regno] as RegisterState;
  checkRegister(env, regno, "source");
  // A number or a pointer: those who may know addresses may pass them on.
  if (declared.base === "anything") {
    if (isSecret(env, reg)) throw env.reject("EACCES", `R${regno} leaks addr into helper function`);
    return;
  }
  if (isPacketPointer(reg.type) && !mayTouchPacket(env, false, meta)) {
    throw env.reject("EACCES", "helper access to the packet is not allowed");
  }
  const argument = declared.base === "ptr_to_map_value" ? resolveValue(env, declared, meta) : declared;
  const { base, flags } = argument;
  // NULL is a number, so its type is not looked at. Linux 6.18 does not mark it as precise, as it should.
  if (!isNull(reg) || (flags & PTR_MAYBE_NULL) === 0) {
    checkArgumentType(env, regno, argument, meta);
    checkOffset(env, regno, argument);
  }
  if ((flags & OBJ_RELEASE) !== 0) {
    if (base === "ptr_to_dynptr") {
      if (reg.type !== PTR_TO_STACK) throw env.reject("EINVAL", "cannot release unowned const bpf_dynptr");
      if (!holdsReference(env, reg)) {
        throw env.reject("EINVAL", `arg ${regno} is an unacquired reference`);
      }
    } else if (reg.refObjId === 0 && !isNull(reg)) {
      throw env.reject("EINVAL", `R${regno} must be referenced when passed to release function`);
    }
    meta.releaseRegno = regno;
  }
  if (reg.refObjId !== 0 && base !== "kptr_xchg_dest") {
    if (meta.refObjId !== 0) {
      throw env.bug(`more than one arg with ref_obj_id R${regno} ${reg.refObjId} ${meta.refObjId}`);
    }
    meta.refObjId = reg.refObjId;
  }
  checkMeaning(env, at, argument, meta, prototype);
}

/** What the argument means to the helper. */
function checkMeaning(
  env: Environment,
  at: number,
  argument: Argument,
  meta: CallMeta,
  { args }: Prototype,
): void {
  const regno = at + 1;
  const reg = env.registers[regno] as RegisterState;
  const { base, flags, size } = argument;
  const writes = (flags & MEM_WRITE) !== 0;
  switch (base) {
    case "const_map_ptr":
      if (meta.map !== undefined && (meta.map !== reg.map || meta.mapUid !== reg.mapUid)) {
        throw env.reject(
          "EINVAL",
          `timer pointer in R1 map_uid=${meta.mapUid} doesn't match map pointer in R2 map_uid=${reg.mapUid}`,
        );
      }
      meta.map = reg.map;
      meta.mapUid = reg.mapUid;
      return;
    case "ptr_to_map_key": {
      if (meta.map === undefined) throw env.reject("EACCES", "invalid map_ptr to access map->key");
      const { keySize, type, flags: mapFlags } = meta.map;
      checkHelperMemory(env, regno, keySize, false, false, undefined);
      // The arrays behind a template with BPF_F_INNER_MAP may have other sizes.
      const sized = (mapFlags & MAP_FLAGS.inner_map) === 0;
      if (sized && (type === "array" || type === "percpu_array"))
        meta.constantKey = constantKey(env, reg, keySize);
      return;
    }
    case "ptr_to_map_value":
      if ((flags & PTR_MAYBE_NULL) !== 0 && isNull(reg)) return;
      if (meta.map === undefined) throw env.reject("EACCES", "invalid map_ptr to access map->value");
      meta.rawMode = (flags & MEM_UNINIT) !== 0;
      checkHelperMemory(env, regno, meta.map.valueSize, writes, false, meta);
      return;
    case "ptr_to_mem":
      // Memory whose length follows is checked there.
      meta.rawMode = (flags & MEM_UNINIT) !== 0;
      if ((flags & MEM_FIXED_SIZE) === 0) return;
      checkHelperMemory(env, regno, size, writes, false, meta);
      if ((flags & MEM_ALIGNED) !== 0) checkPointerAlignment(env, reg, 0, size, true);
      return;
    case "const_size":
    case "const_size_or_zero":
      checkSizeArgument(
        env,
        regno,
        ((args[at - 1]?.flags ?? 0) & MEM_WRITE) !== 0,
        base === "const_size_or_zero",
        meta,
      );
      return;
    case "const_alloc_size_or_zero":
      if (!isConstant(reg.scalar)) throw env.reject("EACCES", `R${regno} is not a known constant'`);
      // An u32 in the kernel.
      meta.allocated = constantNumber(reg.scalar) >>> 0;
      markChainPrecision(env, regno);
      return;
    case "ptr_to_func":
      meta.subprogno = reg.subprogno;
      return;
    case "ptr_to_const_str":
      checkConstantString(env, regno);
      return;
    case "ptr_to_spin_lock":
      if (inTreeCallback(env)) throw env.reject("EACCES", "can't spin_{lock,unlock} in rbtree cb");
      processLock(env, regno, "lock", meta.name === "spin_lock");
      return;
    case "ptr_to_timer":
      checkTimer(env, regno, meta);
      return;
    case "ptr_to_dynptr":
      checkDynptr(env, regno, flags, 0);
      return;
    case "ptr_to_percpu_btf_id":
      if (reg.btf === undefined || reg.btfId === 0) {
        throw env.reject("EACCES", `Helper has invalid btf_id in R${regno}`);
      }
      meta.percpu = { btf: reg.btf, id: reg.btfId, allocated: (reg.type & MEM_RCU) !== 0 };
      return;
    case "kptr_xchg_dest":
      checkKptrArgument(env, regno, meta);
      return;
    default:
  }
}

/** A timer in a map value (process_timer_func). */
function checkTimer(env: Environment, regno: number, meta: CallMeta): void {
  const reg = env.registers[regno] as RegisterState;
  const map = reg.map as VerifierMap;
  if (!isConstant(reg.scalar)) {
    throw env.reject(
      "EINVAL",
      `R${regno} doesn't have constant offset. bpf_timer has to be at the constant offset`,
    );
  }
  if (map.btf === undefined) {
    throw env.reject("EINVAL", `map '${map.name}' has to have BTF in order to use bpf_timer`);
  }
  const field = mapRecord(env, map).find(({ kind }) => kind === "timer");
  if (field === undefined) throw env.reject("EINVAL", `map '${map.name}' has no valid bpf_timer`);
  const off = constantNumber(reg.scalar) + reg.off;
  if (field.offset !== off) {
    throw env.reject("EINVAL", `off ${off} doesn't point to 'struct bpf_timer' that is at ${field.offset}`);
  }
  if (meta.map !== undefined) throw env.bug("Two map pointers in a timer helper");
  meta.mapUid = reg.mapUid;
  meta.map = map;
}

/** Sockets are the values of some maps (resolve_map_arg_type). */
function resolveValue(env: Environment, argument: Argument, { map, name }: CallMeta): Argument {
  if (map === undefined) throw env.reject("EACCES", "invalid map_ptr to access map->type");
  if (map.type === "sockmap" || map.type === "sockhash") {
    if (argument.flags !== 0) throw env.reject("EINVAL", "invalid arg_type for sockmap/sockhash");
    return { ...argument, base: "ptr_to_btf_id_sock_common" };
  }
  if (map.type === "bloom_filter" && name === "map_peek_elem") return { ...argument, flags: 0 };
  return argument;
}

/** Pointers that may point inside of what they are for; all others must point to its beginning. */
const INSIDE: ReadonlySet<number> = new Set([
  PTR_TO_STACK,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_MEM | MEM_RDONLY,
  PTR_TO_MEM | MEM_RINGBUF,
  PTR_TO_BUF,
  PTR_TO_BUF | MEM_RDONLY,
  PTR_TO_ARENA,
  SCALAR_VALUE,
]);
const FIXED_INSIDE: ReadonlySet<number> = new Set([
  PTR_TO_BTF_ID,
  PTR_TO_BTF_ID | MEM_ALLOC,
  PTR_TO_BTF_ID | PTR_TRUSTED,
  PTR_TO_BTF_ID | MEM_RCU,
  PTR_TO_BTF_ID | MEM_ALLOC | NON_OWN_REF,
  PTR_TO_BTF_ID | MEM_ALLOC | NON_OWN_REF | MEM_RCU,
]);

/** Whether a pointer may point where it does (check_func_arg_reg_off). */
export function checkOffset(env: Environment, regno: number, { base, flags }: Argument): void {
  const reg = env.registers[regno] as RegisterState;
  if ((flags & OBJ_RELEASE) !== 0) {
    if (base === "ptr_to_dynptr" && reg.type === PTR_TO_STACK) return;
    if (reg.off !== 0) {
      throw env.reject(
        "EINVAL",
        `R${regno} must have zero offset when passed to release func or trusted arg to kfunc`,
      );
    }
    checkFixedOffset(env, reg, regno, false);
  } else if (!INSIDE.has(reg.type)) checkFixedOffset(env, reg, regno, FIXED_INSIDE.has(reg.type));
}

/**
 * The key of an array that lies on the stack as a constant, or -1: an element of that number exists, so its address is not
 * NULL (get_constant_map_key).
 */
function constantKey(env: Environment, key: RegisterState, size: number): number {
  if (key.type !== PTR_TO_STACK || !isConstant(key.scalar)) return -1;
  const byte = -(key.off + constantNumber(key.scalar)) - 1;
  const number = Math.floor(byte / 8);
  const from = byte % 8;
  const slot = env.state.frames[key.frameno]?.stack[number];
  if (slot === undefined) return -1;
  if (run(slot, from, STACK_ZERO) >= size) return 0;
  if (!isSpilledScalar(slot) || run(slot, from, STACK_SPILL) !== size) return -1;
  const { scalar } = slot.spilled;
  if (!isConstant(scalar)) return -1;
  env.backtrack.setSlot(key.frameno, number);
  markPrecision(env, env.state, -1);
  return constantNumber(scalar);
}

/** How many bytes from one downwards have a type. */
function run(slot: StackSlot, from: number, type: number): number {
  let count = 0;
  for (let index = from; index >= 0 && slotType(slot, index) === type; index--) count++;
  return count;
}

/** A string that never changes (check_reg_const_str). */
export function checkConstantString(env: Environment, regno: number): void {
  const reg = env.registers[regno] as RegisterState;
  const map = reg.map as VerifierMap;
  if (!isReadOnly(map)) throw env.reject("EACCES", `R${regno} does not point to a readonly map'`);
  if (!isConstant(reg.scalar)) throw env.reject("EACCES", `R${regno} is not a constant address'`);
  if (mapRules(map.type).direct !== true) {
    throw env.reject("EACCES", "no direct value access support for this map type");
  }
  checkMapValue(env, regno, reg.off, map.valueSize - reg.off, false, true);
  if (constantText(env, reg) === undefined) throw env.reject("EINVAL", "string is not zero-terminated");
}

/** The string at a pointer into a frozen map, one byte a character; undefined if no NUL ends it. */
export function constantText(env: Environment, { map, off, scalar }: RegisterState): string | undefined {
  const { contents, maxEntries } = map as VerifierMap;
  if (maxEntries !== 1) {
    env.verbose("direct value access on string failed\n");
    throw env.reject("ENOTSUPP");
  }
  if (contents === undefined) throw env.unsupported("strings in a map whose contents are not known");
  const from = off + constantNumber(scalar);
  const end = contents.indexOf(0, from);
  if (end < 0) return undefined;
  return Array.from(contents.subarray(from, end), (byte) => String.fromCharCode(byte)).join("");
}
