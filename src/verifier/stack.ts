/**
 * Loads from and stores to the stack (check_stack_read_fixed_off, check_stack_write_fixed_off and the forms with variable
 * offsets). A store of a register at the beginning of a slot spills it: a later load of the same bytes gives it back with all
 * that was known. Other stores leave bytes of a type: MISC, or ZERO if zero was stored.
 */
import { checkFastcallStack } from "./fastcall.ts";
import { CLASSES, type Instruction } from "../isa/index.ts";
import { can } from "./abilities.ts";
import type { Environment, InstructionAux, Subprogram } from "./environment.ts";
import { pushHistory, stackAccessFlags } from "./history.ts";
import { lineBefore } from "./lines.ts";
import type { MemoryAccess } from "./memory.ts";
import { markChainPrecision } from "./precision.ts";
import {
  CONST_PTR_TO_MAP,
  NOT_INIT,
  PTR_TO_ARENA,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TO_CTX,
  PTR_TO_FLOW_KEYS,
  PTR_TO_FUNC,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_PACKET,
  PTR_TO_PACKET_END,
  PTR_TO_PACKET_META,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_STACK,
  PTR_TO_TCP_SOCK,
  PTR_TO_XDP_SOCK,
  SCALAR_VALUE,
  baseType,
} from "./register-types.ts";
import { clearLink, isNull, isSecret, markConstantZero, markUnknown, scratchSlot } from "./registers.ts";
import { constant, constantNumber, isConstant, isZero, smax, smin, tnumText, width } from "./scalar/index.ts";
import { destroyDynptr } from "./stack-objects/dynptr-slots.ts";
import { frameOf, slotAt } from "./stack-slots.ts";
import {
  BPF_ADD_CONST,
  EMPTY_SLOT,
  type FunctionState,
  MAX_BPF_STACK,
  REG_SIZE,
  type RegisterState,
  STACK_DYNPTR,
  STACK_INVALID,
  STACK_IRQ_FLAG,
  STACK_ITER,
  STACK_MISC,
  STACK_SPILL,
  STACK_ZERO,
  type StackSlot,
  copyRegister,
  isSpilled,
  ownSlot,
  setSlotType,
  slotType,
} from "./state.ts";

const MAX_VAR_OFF = 1 << 29;

/** Which byte of its slot: 0 is the highest address, 7 the lowest. */
function byteAt(off: number): number {
  return (-off - 1) % REG_SIZE;
}

const SPILLABLE: ReadonlySet<number> = new Set([
  PTR_TO_MAP_VALUE,
  PTR_TO_STACK,
  PTR_TO_CTX,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_PACKET_END,
  PTR_TO_FLOW_KEYS,
  CONST_PTR_TO_MAP,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  PTR_TO_XDP_SOCK,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TO_MEM,
  PTR_TO_FUNC,
  PTR_TO_MAP_KEY,
  PTR_TO_ARENA,
]);

/** Slots are added as far down as a program looks. */
function grow(env: Environment, frame: FunctionState, bytes: number): void {
  const count = Math.ceil(bytes / REG_SIZE);
  if (frame.stack.length >= count) return;
  while (frame.stack.length < count) frame.stack.push(EMPTY_SLOT);
  const subprogram = env.subprograms[frame.subprogno] as Subprogram;
  subprogram.stackDepth = Math.max(subprogram.stackDepth, count * REG_SIZE);
}

/** Whether an access lies within 512 bytes below the frame pointer (check_stack_access_within_bounds). */
export function checkStackBounds(
  env: Environment,
  regno: number,
  off: number,
  size: number,
  write: boolean,
): void {
  const reg = env.registers[regno] as RegisterState;
  const { scalar } = reg;
  const how = write ? " write to" : " read from";
  const fixed = isConstant(scalar);
  let least: number;
  let most: number;
  if (fixed) {
    least = constantNumber(scalar) + off;
    most = least + size;
  } else {
    if (smax(scalar) >= MAX_VAR_OFF || smin(scalar) <= -MAX_VAR_OFF) {
      throw env.reject("EACCES", `invalid unbounded variable-offset${how} stack R${regno}`);
    }
    least = smin(scalar) + off;
    most = smax(scalar) + off + size;
  }
  let errno: "EACCES" | "EINVAL" | "EFAULT" | undefined;
  // What no path has touched yet may be read by those only who may see what the kernel left there.
  const floor = write || env.hasPerfmon ? -MAX_BPF_STACK : -frameOf(env, reg).stack.length * REG_SIZE;
  if (least < floor || least > -1) errno = "EACCES";
  else if (most > 0) errno = "EINVAL";
  else if (size < 0) errno = "EFAULT";
  if (errno === undefined) return grow(env, frameOf(env, reg), -least);
  throw env.reject(
    errno,
    fixed
      ? `invalid${how} stack R${regno} off=${off} size=${size}`
      : `invalid variable-offset${how} stack R${regno} var_off=${tnumText(scalar)} off=${off} size=${size}`,
  );
}

export function checkStackAccess(env: Environment, access: MemoryAccess): void {
  const { regno, reg, off, size, write, valueRegno, index } = access;
  checkStackBounds(env, regno, off, size, write);
  const frame = frameOf(env, reg);
  if (isConstant(reg.scalar)) {
    const at = off + constantNumber(reg.scalar);
    if (write) writeFixed(env, frame, at, size, valueRegno, index);
    else readFixed(env, frame, at, size, valueRegno);
    return;
  }
  if (write) return writeVariable(env, frame, reg, off, size, valueRegno, index);
  if (valueRegno < 0) {
    throw env.reject(
      "EACCES",
      `variable offset stack pointer cannot be passed into helper function; var_off=${tnumText(reg.scalar)} off=${off} size=${size}`,
    );
  }
  checkStackRange(env, regno, off, size, false, false, undefined);
  const least = smin(reg.scalar) + off;
  markRead(env, frame, least, smax(reg.scalar) + off + size, valueRegno);
  checkFastcallStack(env, frame, env.index, least);
}

/** A number that will be copied gets an id, so that what is learnt of one copy holds for all (assign_scalar_id_before_mov). */
export function assignScalarId(env: Environment, reg: RegisterState): void {
  if (reg.type !== SCALAR_VALUE) return;
  if ((reg.id & BPF_ADD_CONST) !== 0) {
    clearLink(reg);
  }
  if (reg.id === 0 && !isConstant(reg.scalar)) reg.id = env.nextId();
}

function scrubSlot(slot: StackSlot): void {
  for (let byte = 0; byte < REG_SIZE; byte++) {
    if (slotType(slot, byte) !== STACK_INVALID) setSlotType(slot, byte, STACK_MISC);
  }
}

function isSpecial(slot: StackSlot): boolean {
  const last = slotType(slot, REG_SIZE - 1);
  return last === STACK_SPILL || last === STACK_DYNPTR || last === STACK_ITER || last === STACK_IRQ_FLAG;
}

/** Data over part of a spilled register ends it: its other bytes are data too (scrub_special_slot). */
function scrubSpecial(slot: StackSlot): void {
  slot.spilled.type = NOT_INIT;
  if (isSpecial(slot)) scrubSlot(slot);
}

/** save_register_state. */
function spill(slot: StackSlot, reg: RegisterState, size: number): void {
  copyRegister(slot.spilled, reg);
  let byte = REG_SIZE;
  for (; byte > REG_SIZE - size; byte--) setSlotType(slot, byte - 1, STACK_SPILL);
  for (; byte > 0; byte--) {
    // What was never written stays so: root may read it.
    const type = slotType(slot, byte - 1);
    if (type !== STACK_ZERO && type !== STACK_INVALID) setSlotType(slot, byte - 1, STACK_MISC);
  }
}

function isStoreOfConstant({ opcode }: Instruction): boolean {
  return (opcode & 7) === CLASSES.st && (opcode & 0xe0) === 0x60;
}

function writeFixed(
  env: Environment,
  frame: FunctionState,
  off: number,
  size: number,
  valueRegno: number,
  index: number,
): void {
  const number = slotAt(off);
  const instruction = env.instructions[index] as Instruction;
  const reg = valueRegno < 0 ? undefined : (env.registers[valueRegno] as RegisterState);
  if (!env.hasPerfmon) guardStore(env, frame.stack[number] as StackSlot, reg, off, size, index);
  let flags = stackAccessFlags(frame.frameno, number);
  destroyDynptr(env, frame, number);
  const slot = ownSlot(frame, number);
  const whole = off % REG_SIZE === 0;
  if (whole && size === REG_SIZE) env.liveness.markWrite(frame.frameno, number);
  checkFastcallStack(env, frame, index, off);
  scratchSlot(env, number);
  if (reg !== undefined && whole && reg.type === SCALAR_VALUE && env.hasBpf) {
    const fits = width(reg.scalar) <= size * 8;
    if (fits) assignScalarId(env, reg);
    spill(slot, reg, size);
    if (!fits) clearLink(slot.spilled);
  } else if (reg === undefined && whole && isStoreOfConstant(instruction) && env.hasBpf) {
    const value = env.fakeRegister;
    markUnknown(value);
    value.scalar = constant(instruction.imm);
    value.subregDef = 0;
    spill(slot, value, size);
  } else if (reg !== undefined && SPILLABLE.has(baseType(reg.type))) {
    if (size !== REG_SIZE) {
      lineBefore(env, index, "; ");
      throw env.reject("EACCES", "invalid size of register spill");
    }
    if (frame !== env.frame && reg.type === PTR_TO_STACK) {
      throw env.reject("EINVAL", "cannot spill pointers to stack into stack frame of the caller");
    }
    spill(slot, reg, size);
  } else {
    let type = STACK_MISC;
    scrubSpecial(slot);
    const zero = reg === undefined ? isStoreOfConstant(instruction) && instruction.imm === 0 : isNull(reg);
    if (zero) {
      // Bytes of zero are believed later without looking where they came from.
      markChainPrecision(env, valueRegno);
      type = STACK_ZERO;
    }
    const first = byteAt(off);
    for (let byte = 0; byte < size; byte++) setSlotType(slot, (first - byte) & 7, type);
    flags = 0;
  }
  if (flags !== 0) pushHistory(env, flags);
}

/**
 * Without CAP_PERFMON a spilled pointer stays whole. A store over what is no plain data is followed by a barrier, since a
 * processor may go on with what was there before (Spectre v4).
 */
function guardStore(
  env: Environment,
  slot: StackSlot,
  reg: RegisterState | undefined,
  off: number,
  size: number,
  index: number,
): void {
  if (isSpilled(slot) && slot.spilled.type !== SCALAR_VALUE && size !== REG_SIZE) {
    throw env.reject("EACCES", "attempt to corrupt spilled pointer on stack");
  }
  let guarded = reg !== undefined && SPILLABLE.has(baseType(reg.type));
  const first = byteAt(off);
  for (let byte = 0; byte < size && !guarded; byte++) {
    const type = slotType(slot, (first - byte) & 7);
    guarded = type !== STACK_MISC && type !== STACK_ZERO;
  }
  if (guarded) (env.aux[index] as InstructionAux).barrierAfter = true;
}

/** A store somewhere in a range: every slot of it may have changed (check_stack_write_var_off). */
function writeVariable(
  env: Environment,
  frame: FunctionState,
  { scalar }: RegisterState,
  off: number,
  size: number,
  valueRegno: number,
  index: number,
): void {
  const least = smin(scalar) + off;
  const end = smax(scalar) + off + size;
  const instruction = env.instructions[index] as Instruction;
  const reg = valueRegno < 0 ? undefined : (env.registers[valueRegno] as RegisterState);
  const zero = reg === undefined ? isStoreOfConstant(instruction) && instruction.imm === 0 : isNull(reg);
  for (let at = least; at < end; at++) destroyDynptr(env, frame, slotAt(at));
  checkFastcallStack(env, frame, index, least);
  let zeroUsed = false;
  for (let at = least; at < end; at++) {
    const number = slotAt(at);
    const slot = frame.stack[number] as StackSlot;
    const byte = byteAt(at);
    scratchSlot(env, number);
    const old = slotType(slot, byte);
    if (!env.hasPerfmon && old !== STACK_MISC && old !== STACK_ZERO) {
      // The kernel ends this line by no line feed.
      env.verbose(`spilled ptr in range of var-offset stack write; insn ${index}, ptr off: ${at}`);
      throw env.reject("EINVAL");
    }
    if (zero && old === STACK_SPILL && isSpilledScalar(slot) && isZero(slot.spilled.scalar)) {
      zeroUsed = true;
      continue;
    }
    const own = ownSlot(frame, number);
    scrubSpecial(own);
    if (zero && old === STACK_ZERO) zeroUsed = true;
    else setSlotType(own, byte, STACK_MISC);
  }
  if (zeroUsed) markChainPrecision(env, valueRegno);
}

export function isSpilledScalar(slot: StackSlot): boolean {
  return isSpilled(slot) && slot.spilled.type === SCALAR_VALUE;
}

/** What bytes of no register give: zero if all are, else something (mark_reg_stack_read). */
function markRead(env: Environment, frame: FunctionState, least: number, end: number, regno: number): void {
  let zeros = 0;
  for (let at = least; at < end; at++) {
    const number = slotAt(at);
    scratchSlot(env, number);
    if (slotType(frame.stack[number] as StackSlot, byteAt(at)) !== STACK_ZERO) break;
    zeros++;
  }
  const reg = env.registers[regno] as RegisterState;
  if (zeros === end - least) markConstantZero(reg);
  else markUnknown(reg);
}

function readFixed(
  env: Environment,
  frame: FunctionState,
  off: number,
  size: number,
  valueRegno: number,
): void {
  const number = slotAt(off);
  const slot = frame.stack[number] as StackSlot;
  const { spilled } = slot;
  const first = byteAt(off);
  scratchSlot(env, number);
  checkFastcallStack(env, env.frame, env.index, off);
  env.liveness.markRead(frame.frameno, env.index, number);
  if (!isSpilled(slot)) {
    for (let byte = 0; byte < size; byte++) {
      checkReadable(env, slot, (first - byte) & 7, off, byte, size, false);
    }
    if (valueRegno >= 0) markRead(env, frame, off, off + size, valueRegno);
    return;
  }
  let flags = stackAccessFlags(frame.frameno, number);
  let spillSize = 1;
  for (let byte = REG_SIZE - 1; byte > 0 && slotType(slot, byte - 1) === STACK_SPILL; byte--) spillSize++;
  if (size === REG_SIZE && spillSize === REG_SIZE) {
    if (valueRegno >= 0) copyRegister(env.registers[valueRegno] as RegisterState, spilled);
    else if (isSecret(env, spilled)) {
      throw env.reject("EACCES", `leaking pointer from stack off ${off}`);
    }
    return pushHistory(env, flags);
  }
  if (spilled.type !== SCALAR_VALUE) {
    lineBefore(env, env.index, "; ");
    throw env.reject("EACCES", "invalid size of register fill");
  }
  if (valueRegno < 0) return;
  const reg = env.registers[valueRegno] as RegisterState;
  if (size <= spillSize && off % REG_SIZE === 0) {
    const { subregDef } = reg;
    copyRegister(reg, spilled);
    reg.subregDef = subregDef;
    // The register is cut to the load's size by the caller; then it is no longer the same number.
    if (width(spilled.scalar) > size * 8) clearLink(reg);
  } else {
    let spills = 0;
    let zeros = 0;
    for (let byte = 0; byte < size; byte++) {
      const type = slotType(slot, (first - byte) & 7);
      if (type === STACK_SPILL) spills++;
      else if (type === STACK_ZERO) zeros++;
      else checkReadable(env, slot, (first - byte) & 7, off, byte, size, false);
    }
    if (spills === size && isZero(spilled.scalar)) markConstantZero(reg);
    else {
      if (zeros === size) markConstantZero(reg);
      else markUnknown(reg);
      flags = 0;
    }
  }
  if (flags !== 0) pushHistory(env, flags);
}

/** Stack that nobody wrote may hold what the kernel left there. */
function mayReadUnwritten(env: Environment): boolean {
  return env.hasPerfmon && can(env, "uninit_stack");
}

function checkReadable(
  env: Environment,
  slot: StackSlot,
  byte: number,
  off: number,
  at: number,
  size: number,
  _spillAllowed: boolean,
): void {
  const type = slotType(slot, byte);
  if (type === STACK_MISC || type === STACK_ZERO) return;
  if (type === STACK_INVALID && mayReadUnwritten(env)) return;
  throw env.reject("EACCES", `invalid read from stack off ${off}+${at} size ${size}`);
}

/** What a helper does with memory that it fills itself: the caller finds here what it has to mark as written. */
export interface RawMemory {
  rawMode: boolean;
  accessSize: number;
  regno: number;
}

/**
 * Whether a helper may read or write `size` bytes of stack at a register's offset plus `off` (which includes the register's
 * fixed offset), and that they are initialised (check_stack_range_initialized). `raw` set and in raw mode: they need not be;
 * then its size and regno are filled in.
 */
export function checkStackRange(
  env: Environment,
  regno: number,
  off: number,
  size: number,
  zeroAllowed: boolean,
  write: boolean,
  raw: RawMemory | undefined,
): void {
  const reg = env.registers[regno] as RegisterState;
  const frame = frameOf(env, reg);
  if (size === 0 && !zeroAllowed) throw env.reject("EACCES", "invalid zero-sized read");
  checkStackBounds(env, regno, off, size, write);
  const { scalar } = reg;
  const fixed = isConstant(scalar);
  if (!fixed && !env.hasPerfmon) {
    throw env.reject(
      "EACCES",
      `R${regno} variable offset stack access prohibited for !root, var_off=${tnumText(scalar)}`,
    );
  }
  const least = (fixed ? constantNumber(scalar) : smin(scalar)) + off;
  const end = (fixed ? least : smax(scalar) + off) + size;
  if (fixed && raw?.rawMode === true) {
    for (let at = least; at < end; at++) {
      const slot = frame.stack[slotAt(at)];
      if (slot !== undefined && slotType(slot, byteAt(at)) === STACK_DYNPTR) {
        throw env.reject("EACCES", `potential write to dynptr at off=${at} disallowed`);
      }
    }
    raw.accessSize = size;
    raw.regno = regno;
    return;
  }
  for (let at = least; at < end; at++) {
    const number = slotAt(at);
    const byte = byteAt(at);
    const slot = frame.stack[number];
    if (slot === undefined) throw env.reject("EFAULT", "allocated_stack too small");
    const type = slotType(slot, byte);
    if (type === STACK_ZERO || (type === STACK_INVALID && mayReadUnwritten(env))) {
      if (write) setSlotType(ownSlot(frame, number), byte, STACK_MISC);
    } else if (type !== STACK_MISC) {
      if (!isSpilled(slot) || isSecret(env, slot.spilled)) {
        throw env.reject(
          "EACCES",
          fixed
            ? `invalid read from stack R${regno} off ${least}+${at - least} size ${size}`
            : `invalid read from stack R${regno} var_off ${tnumText(scalar)}+${at - least} size ${size}`,
        );
      }
      if (write) {
        const own = ownSlot(frame, number);
        markUnknown(own.spilled);
        scrubSlot(own);
      }
    }
    env.liveness.markRead(reg.frameno, env.index, number);
  }
}
