/**
 * Conditional jumps (check_cond_jmp_op). A jump that is decided goes one way, and the numbers that decided it were needed
 * precisely. Otherwise one way waits, and each way knows more than before: ranges of the compared numbers, of all numbers
 * linked with them, and which pointers are not NULL.
 */
import { matchPacketPointers, packetBranchTaken } from "./access/packet.ts";
import { CLASSES, type Instruction } from "../isa/index.ts";
import { can, isNumberPair } from "./abilities.ts";
import { checkSanity } from "./bounds.ts";
import type { Environment, InstructionAux } from "./environment.ts";
import { frameIndex } from "./equal.ts";
import { DST_IS_STACK, LINKED_MAX, SRC_IS_STACK, linkedEntry, pushHistory } from "./history.ts";
import { findPreviousEntry, widenImpreciseScalars } from "./loops.ts";
import { hasField } from "./kernel-types/record.ts";
import { recordOf } from "./locks.ts";
import { pushPath } from "./paths.ts";
import { markChainPrecision } from "./precision.ts";
import { printInstructionState } from "./print.ts";
import { releaseReferenceNoMark } from "./references.ts";
import {
  NON_OWN_REF,
  MEM_ALLOC,
  PTR_TO_BTF_ID,
  PTR_TO_STACK,
  SCALAR_VALUE,
  baseType,
  isAnyPacketPointer,
  mayBeNull,
} from "./register-types.ts";
import {
  checkRegister,
  clearLink,
  isNotNull,
  isSecret,
  markPointerNotNull,
  markUnknown,
} from "./registers.ts";
import {
  addDelta,
  branchTaken,
  constant,
  isConstant,
  isConstant32,
  isZero,
  lowBits,
  refine,
  refineSame,
  refinedOther,
} from "./scalar/index.ts";
import {
  BPF_ADD_CONST,
  BPF_ADD_CONST32,
  type FunctionState,
  type RegisterState,
  type StackSlot,
  type VerifierState,
  copyRegister,
  changeRegisters,
  isSpilled,
  ownSlot,
} from "./state.ts";

const JEQ = 0x10;
const JNE = 0x50;
const JCOND = 0xe0;
const MAY_GOTO_CODE = 0xe5;

/** a op b as b op a (flip_opcode). */
const FLIPPED: Readonly<Record<number, number>> = {
  16: 0x10,
  80: 0x50,
  64: 0x40,
  48: 0xb0,
  32: 0xa0,
  176: 0x30,
  160: 0x20,
  112: 0xd0,
  96: 0xc0,
  208: 0x70,
  192: 0x60,
};

function isConstantRegister(reg: RegisterState, is32: boolean): boolean {
  return reg.type === SCALAR_VALUE && (is32 ? isConstant32(reg.scalar) : isConstant(reg.scalar));
}

/** Equality has always narrowed both. */
function pairNarrows(env: Environment, op: number, is32: boolean): boolean {
  return (!is32 && (op === JEQ || op === JNE)) || can(env, "number_pairs");
}

/** 1 taken, 0 not, -1 unknown (is_branch_taken). */
function decide(env: Environment, dst: RegisterState, src: RegisterState, op: number, is32: boolean): number {
  if (isAnyPacketPointer(dst.type) && isAnyPacketPointer(src.type) && !is32) {
    return packetBranchTaken(dst, src, op);
  }
  if (dst.type === SCALAR_VALUE && src.type === SCALAR_VALUE) {
    if (isNumberPair(dst, src, is32) && !can(env, "number_pairs")) return -1;
    return branchTaken(op, is32, dst.scalar, src.scalar);
  }
  let pointer = dst;
  let number = src;
  let operation = op;
  if (!isConstantRegister(number, is32)) {
    operation = FLIPPED[op] ?? 0;
    pointer = src;
    number = dst;
  }
  if (!isConstantRegister(number, is32) || !isNotNull(pointer)) return -1;
  const zero = is32 ? lowBits(number.scalar) === 0 : isZero(number.scalar);
  if (!zero) return -1;
  return operation === JEQ ? 0 : operation === JNE ? 1 : -1;
}

export function checkConditionalJump(env: Environment, instruction: Instruction): void {
  const { opcode, dst: dstno, src: srcno, offset, imm } = instruction;
  const op = opcode & 0xf0;
  const is32 = (opcode & 7) === CLASSES.jmp32;
  const fromRegister = (opcode & 8) !== 0;
  if (op > JCOND || op === 0) {
    throw env.reject("EINVAL", `invalid BPF_JMP/JMP32 opcode ${op.toString(16)}`);
  }
  if (op === JCOND) return checkMayGoto(env, instruction);
  checkRegister(env, dstno, "source");
  const { state, registers } = env;
  const dst = registers[dstno] as RegisterState;
  let src: RegisterState;
  let flags = 0;
  if (fromRegister) {
    if (imm !== 0) throw env.reject("EINVAL", "BPF_JMP/JMP32 uses reserved fields");
    checkRegister(env, srcno, "source");
    src = registers[srcno] as RegisterState;
    const packets = isAnyPacketPointer(dst.type) && isAnyPacketPointer(src.type);
    if (!packets && isSecret(env, src)) throw env.reject("EACCES", `R${srcno} pointer comparison prohibited`);
    if (src.type === PTR_TO_STACK) flags |= SRC_IS_STACK;
  } else {
    if (srcno !== 0) throw env.reject("EINVAL", "BPF_JMP/JMP32 uses reserved fields");
    src = env.fakeRegister;
    markUnknown(src);
    src.scalar = constant(imm);
  }
  if (dst.type === PTR_TO_STACK) flags |= DST_IS_STACK;
  if (flags !== 0) pushHistory(env, flags);
  const decided = decide(env, dst, src, op, is32);
  if (decided >= 0) {
    // A pointer that is compared with zero needs no precision; numbers do. Root's pointers are never "leaking" here, so
    // only the type tells.
    if (dst.type === SCALAR_VALUE) markChainPrecision(env, dstno);
    if (fromRegister && src.type === SCALAR_VALUE) markChainPrecision(env, srcno);
    if (!env.hasPerfmon) followWrongGuess(env, instruction, decided === 1 ? 0 : offset);
    if (env.log.traces) printInstructionState(env);
    if (decided === 1) env.index += offset;
    return;
  }
  const linked: number[] = [];
  if (fromRegister && src.type === SCALAR_VALUE && src.id !== 0) collectLinked(env, state, src.id, linked);
  if (dst.type === SCALAR_VALUE && dst.id !== 0) collectLinked(env, state, dst.id, linked);
  if (linked.length > 1) pushHistory(env, 0, linked);
  const other = pushPath(env, env.index + offset + 1, env.index, "EFAULT");
  const otherRegisters = (other.frames[other.frames.length - 1] as FunctionState).registers;
  const otherDst = otherRegisters[dstno] as RegisterState;
  const otherSrc = fromRegister ? (otherRegisters[srcno] as RegisterState) : undefined;
  if (dst.type === SCALAR_VALUE && src.type === SCALAR_VALUE) {
    const left = dst.scalar;
    const right = src.scalar;
    if (isNumberPair(dst, src, is32) && !pairNarrows(env, op, is32)) {
      // Neither is narrowed.
    } else if (src === dst) {
      dst.scalar = refineSame(op, is32, true, left);
      otherDst.scalar = refineSame(op, is32, false, left);
    } else {
      dst.scalar = refine(op, is32, true, left, right);
      src.scalar = refinedOther();
      otherDst.scalar = refine(op, is32, false, left, right);
      if (otherSrc !== undefined) otherSrc.scalar = refinedOther();
    }
    checkSanity(env, otherDst, "true_reg1");
    if (otherSrc !== undefined) checkSanity(env, otherSrc, "true_reg2");
    checkSanity(env, dst, "false_reg1");
    if (fromRegister) checkSanity(env, src, "false_reg2");
  }
  if (otherSrc !== undefined && src.type === SCALAR_VALUE && src.id !== 0) {
    syncLinked(state, src, linked);
    syncLinked(other, otherSrc, linked);
  }
  if (dst.type === SCALAR_VALUE && dst.id !== 0) {
    syncLinked(state, dst, linked);
    syncLinked(other, otherDst, linked);
  }
  if (!is32 && otherSrc !== undefined) liftNull(dst, src, otherDst, otherSrc, op);
  if (!is32 && !fromRegister && imm === 0 && (op === JEQ || op === JNE) && mayBeNull(dst.type)) {
    markPointerOrNull(env, state, dstno, op === JNE);
    markPointerOrNull(env, other, dstno, op === JEQ);
  } else {
    const matched = fromRegister && !is32 && matchPacketPointers(env, instruction, dst, src, state, other);
    if (!matched && isSecret(env, dst)) throw env.reject("EACCES", `R${dstno} pointer comparison prohibited`);
  }
  if (env.log.traces) printInstructionState(env);
}

/**
 * A jump that is decided can be guessed wrong: then the other way is walked, with numbers in the compared registers of which nothing
 * is known (sanitize_speculative_path). `offset`: of the way that is not taken.
 */
function followWrongGuess(env: Environment, { opcode, dst, src }: Instruction, offset: number): void {
  const { frames } = pushPath(env, env.index + offset + 1, env.index, "EFAULT", true);
  const { registers } = frames[frames.length - 1] as FunctionState;
  markUnknown(registers[dst] as RegisterState);
  if ((opcode & 8) !== 0) markUnknown(registers[src] as RegisterState);
}

/** may_goto: the way on waits, the jump is taken first; repeated visits widen what is not needed precisely. */
function checkMayGoto(env: Environment, { opcode, src, dst, imm, offset }: Instruction): void {
  if (opcode !== MAY_GOTO_CODE || src !== 0 || dst !== 0 || imm !== 0) {
    throw env.reject("EINVAL", `invalid may_goto imm ${imm}`);
  }
  const { index, state } = env;
  const previous = findPreviousEntry(env, state.parent, index);
  const queued = pushPath(env, index + 1, index, "ENOMEM");
  queued.mayGotoDepth++;
  if (previous !== undefined) widenImpreciseScalars(env, previous, queued);
  env.index += offset;
}

/** All numbers that share an id and may still be read; those beyond the limit lose it (collect_linked_regs). */
function collectLinked(env: Environment, state: VerifierState, linkedId: number, linked: number[]): void {
  const id = linkedId & ~BPF_ADD_CONST;
  const isLinked = (reg: RegisterState): boolean =>
    reg.type === SCALAR_VALUE && (reg.id & ~BPF_ADD_CONST) === id;
  for (let frameno = state.frames.length - 1; frameno >= 0; frameno--) {
    const frame = state.frames[frameno] as FunctionState;
    const { liveRegisters } = env.aux[frameIndex(state, frameno)] as InstructionAux;
    for (let regno = 0; regno < 10; regno++) {
      if (((liveRegisters >> regno) & 1) === 0) continue;
      const reg = frame.registers[regno] as RegisterState;
      if (!isLinked(reg)) continue;
      if (linked.length < LINKED_MAX) linked.push(linkedEntry(frameno, regno, true));
      else clearLink(reg);
    }
    for (let number = 0; number < frame.stack.length; number++) {
      const slot = frame.stack[number] as StackSlot;
      if (!isSpilled(slot) || !isLinked(slot.spilled)) continue;
      if (linked.length < LINKED_MAX) linked.push(linkedEntry(frameno, number, false));
      else clearLink(ownSlot(frame, number).spilled);
    }
  }
}

/** What is known of one number goes to those linked with it (sync_linked_regs). */
function syncLinked(state: VerifierState, known: RegisterState, linked: readonly number[]): void {
  for (const entry of linked) {
    const frame = state.frames[entry & 7] as FunctionState;
    const number = (entry >> 3) & 63;
    const isRegister = (entry & 512) !== 0;
    const found = isRegister ? frame.registers[number] : frame.stack[number]?.spilled;
    if (found === undefined || found.type !== SCALAR_VALUE || found === known) continue;
    if ((found.id & ~BPF_ADD_CONST) !== (known.id & ~BPF_ADD_CONST)) continue;
    // A 32-bit distance says nothing of a 64-bit one.
    if (((found.id ^ known.id) & BPF_ADD_CONST) === BPF_ADD_CONST) continue;
    const reg = isRegister ? found : ownSlot(frame, number).spilled;
    const { subregDef, off, id } = reg;
    if (((reg.id | known.id) & BPF_ADD_CONST) === 0 || off === known.off) {
      copyRegister(reg, known);
      reg.subregDef = subregDef;
    } else {
      const narrow = ((id | known.id) & BPF_ADD_CONST32) !== 0;
      const delta = off - known.off;
      copyRegister(reg, known);
      reg.off = off;
      reg.id = id;
      reg.subregDef = subregDef;
      reg.scalar = addDelta(reg.scalar, delta, narrow);
    }
  }
}

/** A pointer that equals one that is not NULL is not NULL. */
function liftNull(
  dst: RegisterState,
  src: RegisterState,
  otherDst: RegisterState,
  otherSrc: RegisterState,
  op: number,
): void {
  if (dst.type === SCALAR_VALUE || src.type === SCALAR_VALUE) return;
  if (mayBeNull(src.type) === mayBeNull(dst.type)) return;
  if (baseType(src.type) === PTR_TO_BTF_ID || baseType(dst.type) === PTR_TO_BTF_ID) return;
  const srcIsNullable = mayBeNull(src.type);
  if (op === JEQ) markPointerNotNull(srcIsNullable ? otherSrc : otherDst);
  else if (op === JNE) markPointerNotNull(srcIsNullable ? src : dst);
}

/** All copies of a nullable pointer become NULL or certain (mark_ptr_or_null_regs). */
function markPointerOrNull(env: Environment, state: VerifierState, regno: number, isNull: boolean): void {
  const frame = state.frames[state.frames.length - 1] as FunctionState;
  const { id, refObjId } = frame.registers[regno] as RegisterState;
  if (refObjId !== 0 && refObjId === id && isNull) releaseReferenceNoMark(state, id);
  const isCopy = (reg: RegisterState): boolean => {
    if (!mayBeNull(reg.type) || reg.id !== id || id === 0) return false;
    if (!isZero(reg.scalar)) return false;
    const allocated = baseType(reg.type) === PTR_TO_BTF_ID && (reg.type & (MEM_ALLOC | NON_OWN_REF)) !== 0;
    return allocated || reg.off === 0;
  };
  changeRegisters(state, isCopy, (reg) => {
    if (isNull) {
      reg.type = SCALAR_VALUE;
      reg.id = 0;
      reg.refObjId = 0;
      return;
    }
    markPointerNotNull(reg);
    // Locks are told apart by their pointer's id.
    if (!hasField(recordOf(env, reg), "spin_lock", "res_spin_lock")) reg.id = 0;
  });
}
