/** What is done to single registers: marking them, and checking that an instruction may read or write them. */
import { CLASSES, type Instruction } from "../isa/index.ts";
import type { Environment } from "./environment.ts";
import { mapHolds } from "./kernel-types/record.ts";
import {
  CONST_PTR_TO_MAP,
  MEM_ALLOC,
  NON_OWN_REF,
  NOT_INIT,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  PTR_TO_XDP_SOCK,
  PTR_TRUSTED,
  PTR_UNTRUSTED,
  SCALAR_VALUE,
  baseType,
  mayBeNull,
  typeFlags,
} from "./register-types.ts";
import { UNKNOWN, ZERO, isZero } from "./scalar/index.ts";
import { type FunctionState, type RegisterState, DEF_NOT_SUBREG, clearRegister } from "./state.ts";

/** Without CAP_BPF every number counts as one that matters. Set once for each verification, as the table of numbers is. */
let preciseFromTheStart = false;

export function setPreciseFromTheStart(precise: boolean): void {
  preciseFromTheStart = precise;
}

/** A number of which nothing is known (__mark_reg_unknown). */
export function markUnknown(reg: RegisterState): void {
  clearRegister(reg);
  reg.type = SCALAR_VALUE;
  reg.id = 0;
  reg.refObjId = 0;
  reg.scalar = UNKNOWN;
  reg.frameno = 0;
  reg.precise = preciseFromTheStart;
}

/** What a pointer was is gone: those who may know addresses keep a number, others nothing (mark_reg_invalid). */
export function markInvalid(env: Environment, reg: RegisterState): void {
  if (env.hasPerfmon) markUnknown(reg);
  else markNotInit(reg);
}

/** Whether a register holds what the program must not make known (is_pointer_value). */
export function isSecret(env: Environment, { type }: RegisterState): boolean {
  return type !== SCALAR_VALUE && !env.hasPerfmon;
}

/** Nothing that may be read (__mark_reg_not_init). */
export function markNotInit(reg: RegisterState): void {
  markUnknown(reg);
  reg.type = NOT_INIT;
}

/** The number becomes a known one, by its name in `scalar/`; type and the rest stay but for the id (__mark_reg_known). */
export function markKnown(reg: RegisterState, scalar: number): void {
  clearRegister(reg);
  reg.id = 0;
  reg.refObjId = 0;
  reg.scalar = scalar;
}

/** A number is linked with no other any more: id and distance go together (clear_scalar_id). */
export function clearLink(reg: RegisterState): void {
  reg.id = 0;
  reg.off = 0;
}

/** Offset or number 0: what the caller makes a pointer of afterwards (mark_reg_known_zero). */
export function markKnownZero(reg: RegisterState): void {
  markKnown(reg, ZERO);
}

/** The constant 0 (__mark_reg_const_zero). */
export function markConstantZero(reg: RegisterState): void {
  markKnown(reg, ZERO);
  reg.type = SCALAR_VALUE;
  reg.precise = preciseFromTheStart;
}

/** Whether it is the number 0 (register_is_null). */
export function isNull(reg: RegisterState): boolean {
  return reg.type === SCALAR_VALUE && isZero(reg.scalar);
}

/** A nullable pointer was found not to be NULL (mark_ptr_not_null_reg). */
export function markPointerNotNull(reg: RegisterState): void {
  if (baseType(reg.type) === PTR_TO_MAP_VALUE) {
    const map = reg.map;
    if (map?.inner !== undefined) {
      reg.type = CONST_PTR_TO_MAP;
      reg.map = map.inner;
      // Inner maps with timers or work queues are told apart by the lookup that gave them.
      if (mapHolds(map.inner, "timer", "wq", "task_work")) reg.mapUid = reg.id;
    } else if (map?.type === "xskmap") reg.type = PTR_TO_XDP_SOCK;
    else if (map?.type === "sockmap" || map?.type === "sockhash") reg.type = PTR_TO_SOCKET;
    else reg.type = PTR_TO_MAP_VALUE;
    return;
  }
  reg.type &= ~PTR_MAYBE_NULL;
}

/** Pointers that cannot be NULL (reg_not_null). */
export function isNotNull(reg: RegisterState): boolean {
  if (mayBeNull(reg.type)) return false;
  const base = baseType(reg.type);
  return (
    base === PTR_TO_SOCKET ||
    base === PTR_TO_TCP_SOCK ||
    base === PTR_TO_MAP_VALUE ||
    base === PTR_TO_MAP_KEY ||
    base === PTR_TO_SOCK_COMMON ||
    (base === PTR_TO_BTF_ID && isTrusted(reg)) ||
    (base === PTR_TO_MEM && (reg.type & PTR_UNTRUSTED) === 0) ||
    base === CONST_PTR_TO_MAP
  );
}

/** Whether a kernel function may rely on the pointer (is_trusted_reg). */
export function isTrusted(reg: RegisterState): boolean {
  if (reg.refObjId !== 0) return true;
  const flags = typeFlags(reg.type);
  if ((flags & ~TRUSTED_FLAGS) !== 0) return false;
  const base = baseType(reg.type);
  if (
    base === PTR_TO_SOCKET ||
    base === PTR_TO_SOCK_COMMON ||
    base === PTR_TO_TCP_SOCK ||
    base === CONST_PTR_TO_MAP
  ) {
    return true;
  }
  return flags !== 0;
}

const TRUSTED_FLAGS = MEM_ALLOC | PTR_TRUSTED | NON_OWN_REF;

export function scratchRegister(env: Environment, regno: number): void {
  env.scratchedRegisters |= 1 << regno;
}

export function scratchSlot(env: Environment, slot: number): void {
  if (slot < 32) env.scratchedLow |= 1 << slot;
  else env.scratchedHigh |= 1 << (slot - 32);
}

/** Everything is to be printed next time. */
export function scratchAll(env: Environment): void {
  env.scratchedRegisters = -1;
  env.scratchedLow = -1;
  env.scratchedHigh = -1;
}

/** How an instruction uses a register: reads it, writes it, or writes it and marks it itself. */
export type RegisterUse = "source" | "destination" | "destination_no_mark";

/**
 * Checks that the current instruction may use a register so (check_reg_arg). A register that is written becomes an unknown
 * number, unless the use is "destination_no_mark".
 */
export function checkRegister(env: Environment, regno: number, use: RegisterUse): void {
  checkRegisterOf(env, env.frame, regno, use);
}

export function checkRegisterOf(
  env: Environment,
  frame: FunctionState,
  regno: number,
  use: RegisterUse,
): void {
  if (regno > 10) throw env.reject("EINVAL", `R${regno} is invalid`);
  scratchRegister(env, regno);
  const reg = frame.registers[regno] as RegisterState;
  if (use === "source") {
    if (reg.type === NOT_INIT) throw env.reject("EACCES", `R${regno} !read_ok`);
    if (regno !== 10 && reg.subregDef !== DEF_NOT_SUBREG && is64(env.instruction, regno, reg.type, true)) {
      reg.subregDef = DEF_NOT_SUBREG;
    }
    return;
  }
  if (regno === 10) throw env.reject("EACCES", "frame pointer is read only");
  reg.subregDef = is64(env.instruction, regno, reg.type, false) ? DEF_NOT_SUBREG : env.index + 1;
  if (use === "destination") markUnknown(reg);
}

/** Whether an instruction uses all 64 bits of an operand (is_reg64). */
function is64({ opcode, src, imm }: Instruction, _regno: number, type: number, source: boolean): boolean {
  const cls = opcode & 7;
  const op = opcode & 0xf0;
  if (cls === CLASSES.jmp) {
    if (op === 0x90) return true;
    if (op === 0x80) return src === 1 ? false : source;
  }
  if (cls === CLASSES.alu64 && op === 0xd0 && (imm === 16 || imm === 32)) return false;
  if (cls === CLASSES.alu64 || cls === CLASSES.jmp || (cls === CLASSES.alu && op === 0xd0 && imm === 64))
    return true;
  if (cls === CLASSES.alu || cls === CLASSES.jmp32) return false;
  const size = opcode & 0x18;
  const mode = opcode & 0xe0;
  if (cls === CLASSES.ldx) return source || size === 0x18 || mode === 0x80;
  if (cls === CLASSES.stx) return source && type !== SCALAR_VALUE ? true : size === 0x18;
  if (cls === CLASSES.ld) return mode === 0 || source;
  return true;
}
