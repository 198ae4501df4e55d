/**
 * Whether a kept state covers the current one (states_equal, regsafe, stacksafe). A kept state was found to be good with all
 * that it allows; if the current state allows no more, it need not be walked again. "not exact": numbers that did not matter
 * are not looked at; "range within": they must lie in the old ranges (inside loops, where it is not known yet what matters);
 * "exact": nothing may differ (endless loops).
 */
import type { Environment, InstructionAux } from "./environment.ts";
import {
  NOT_INIT,
  PTR_TO_ARENA,
  PTR_TO_BUF,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_STACK,
  PTR_TO_TP_BUFFER,
  SCALAR_VALUE,
  baseType,
} from "./register-types.ts";
import { within } from "./scalar/index.ts";
import {
  BPF_ADD_CONST,
  type FunctionState,
  REGISTERS,
  REG_SIZE,
  RegisterState,
  STACK_DYNPTR,
  STACK_INVALID,
  STACK_IRQ_FLAG,
  STACK_ITER,
  STACK_MISC,
  STACK_SPILL,
  STACK_ZERO,
  type StackSlot,
  type VerifierState,
  allOf,
  sameDetail,
  slotType,
} from "./state.ts";

export const NOT_EXACT = 0;
export const EXACT = 1;
export const RANGE_WITHIN = 2;

/** An old id must always meet the same new one (check_ids). */
function checkIds(env: Environment, old: number, current: number): boolean {
  if ((old === 0) !== (current === 0)) return false;
  if (old === 0) return true;
  const { idPairs } = env;
  for (let at = 0; at < idPairs.length; at += 2) {
    if (idPairs[at] === old) return idPairs[at + 1] === current;
    if (idPairs[at + 1] === current) return false;
  }
  idPairs.push(old, current);
  return true;
}

/** An old number that was linked with nothing asks nothing; a current one without id is linked with nothing else. */
function checkScalarIds(env: Environment, old: number, current: number): boolean {
  if (old === 0) return true;
  const other = current === 0 ? ++env.temporaryId : current;
  if (!checkIds(env, old, other)) return false;
  // At a distance from other numbers: from those that it was at a distance from before.
  return (old & BPF_ADD_CONST) === 0 || checkIds(env, old & ~BPF_ADD_CONST, other & ~BPF_ADD_CONST);
}

export function resetIds(env: Environment): void {
  env.idPairs.length = 0;
  env.temporaryId = env.idGenerator;
}

/** Everything before the numbers: type, offset, and what the union of struct bpf_reg_state holds. */
function samePointee(a: RegisterState, b: RegisterState): boolean {
  return a.type === b.type && a.off === b.off && a.range === b.range && sameDetail(a, b);
}

export function registersExact(env: Environment, a: RegisterState, b: RegisterState): boolean {
  return (
    samePointee(a, b) &&
    a.scalar === b.scalar &&
    checkIds(env, a.id, b.id) &&
    checkIds(env, a.refObjId, b.refObjId)
  );
}

/** Also ids must be the same, without any mapping: for a quick look at loops. */
export function registersIdentical(a: RegisterState, b: RegisterState): boolean {
  return samePointee(a, b) && a.scalar === b.scalar && a.id === b.id && a.refObjId === b.refObjId;
}

function registerSafe(env: Environment, old: RegisterState, current: RegisterState, exact: number): boolean {
  if (exact === EXACT) return registersExact(env, old, current);
  if (old.type === NOT_INIT && (exact === NOT_EXACT || current.type === NOT_INIT)) return true;
  if (old.type !== current.type) return false;
  switch (baseType(old.type)) {
    case SCALAR_VALUE:
      if (env.exploreLimits) {
        return (
          samePointee(old, current) &&
          old.scalar === current.scalar &&
          checkScalarIds(env, old.id, current.id)
        );
      }
      if (!old.precise && exact === NOT_EXACT && !env.keepsRanges) return true;
      if (old.id !== 0 && ((old.id ^ current.id) & BPF_ADD_CONST) !== 0) return false;
      if ((old.id & BPF_ADD_CONST) !== 0 && old.off !== current.off) return false;
      return checkScalarIds(env, old.id, current.id) && within(old.scalar, current.scalar);
    case PTR_TO_MAP_KEY:
    case PTR_TO_MAP_VALUE:
    case PTR_TO_MEM:
    case PTR_TO_BUF:
    case PTR_TO_TP_BUFFER:
      return (
        samePointee(old, current) &&
        within(old.scalar, current.scalar) &&
        checkIds(env, old.id, current.id) &&
        checkIds(env, old.refObjId, current.refObjId)
      );
    case PTR_TO_PACKET_META:
    case PTR_TO_PACKET:
      return (
        coversRange(old.range, current.range) &&
        old.off === current.off &&
        checkIds(env, old.id, current.id) &&
        within(old.scalar, current.scalar)
      );
    case PTR_TO_STACK:
      return registersExact(env, old, current) && old.frameno === current.frameno;
    case PTR_TO_ARENA:
      return true;
    default:
      return registersExact(env, old, current);
  }
}

/**
 * Whether what was safe with `old` bytes known to be there is with `current`. Negative ranges are positions at or beyond the packet's end: comparisons
 * with the end went one way only there, so they stand for themselves alone.
 */
function coversRange(old: number, current: number): boolean {
  return old < 0 || current < 0 ? old === current : old <= current;
}

const UNBOUND = new RegisterState();
UNBOUND.type = SCALAR_VALUE;

const ALL_SPILL = allOf(STACK_SPILL);

const ALL_MISC = allOf(STACK_MISC);

function isAllMisc(env: Environment, { types }: StackSlot): boolean {
  if (!env.hasPerfmon) return (types | 0) === (ALL_MISC | 0);
  for (let rest = types; rest !== 0; rest >>>= 4) {
    const type = rest & 15;
    if (type !== STACK_MISC && type !== STACK_INVALID) return false;
  }
  return true;
}

/** A slot as one number of 64 bits, if it is one. */
function asScalar(env: Environment, slot: StackSlot): RegisterState | undefined {
  if ((slot.types | 0) === (ALL_SPILL | 0) && slot.spilled.type === SCALAR_VALUE) return slot.spilled;
  return isAllMisc(env, slot) ? UNBOUND : undefined;
}

function stackSafe(env: Environment, old: FunctionState, current: FunctionState, exact: number): boolean {
  for (let number = 0; number < old.stack.length; number++) {
    const a = old.stack[number] as StackSlot;
    const b = current.stack[number];
    // Copies of a frame share their slots; ids must be paired all the same.
    if (a === b && a.spilled.id === 0 && a.spilled.refObjId === 0) continue;
    if (exact !== NOT_EXACT && (b === undefined || a.types !== b.types)) return false;
    if (!slotSafe(env, a, b, exact)) return false;
  }
  return true;
}

/** Byte by byte, as the kernel does it: the order decides which ids are paired first. */
function slotSafe(env: Environment, a: StackSlot, b: StackSlot | undefined, exact: number): boolean {
  for (let byte = 0; byte < REG_SIZE; byte++) {
    const type = slotType(a, byte);
    if (type === STACK_INVALID || (type === STACK_MISC && env.hasPerfmon)) continue;
    if (b === undefined) return false;
    const oldScalar = asScalar(env, a);
    const currentScalar = oldScalar === undefined ? undefined : asScalar(env, b);
    if (oldScalar !== undefined && currentScalar !== undefined) {
      return registerSafe(env, oldScalar, currentScalar, exact);
    }
    // Zeroes are data too; without CAP_PERFMON nothing else is.
    if (type === STACK_MISC && slotType(b, byte) === STACK_ZERO) continue;
    if (type !== slotType(b, byte)) return false;
    if (byte !== REG_SIZE - 1) continue;
    return lastByteSafe(env, type, a.spilled, b.spilled, exact);
  }
  return true;
}

function lastByteSafe(
  env: Environment,
  type: number,
  a: RegisterState,
  b: RegisterState,
  exact: number,
): boolean {
  switch (type) {
    case STACK_SPILL:
      return registerSafe(env, a, b, exact);
    case STACK_DYNPTR:
      return (
        a.dynptrType === b.dynptrType &&
        a.dynptrFirstSlot === b.dynptrFirstSlot &&
        checkIds(env, a.refObjId, b.refObjId)
      );
    case STACK_ITER:
      return (
        a.btf === b.btf &&
        a.btfId === b.btfId &&
        a.iterState === b.iterState &&
        checkIds(env, a.refObjId, b.refObjId)
      );
    case STACK_IRQ_FLAG:
      return checkIds(env, a.refObjId, b.refObjId) && a.irqKfuncClass === b.irqKfuncClass;
    case STACK_ZERO:
    case STACK_MISC:
      return true;
    default:
      return false;
  }
}

function referencesSafe(env: Environment, old: VerifierState, current: VerifierState): boolean {
  if (
    old.references.length !== current.references.length ||
    old.activeLocks !== current.activeLocks ||
    old.activePreemptLocks !== current.activePreemptLocks ||
    old.activeRcuLocks !== current.activeRcuLocks ||
    !checkIds(env, old.activeIrqId, current.activeIrqId) ||
    !checkIds(env, old.activeLockId, current.activeLockId) ||
    old.activeLockPointer !== current.activeLockPointer
  ) {
    return false;
  }
  for (const [index, a] of old.references.entries()) {
    const b = current.references[index];
    if (b === undefined || !checkIds(env, a.id, b.id) || a.kind !== b.kind) return false;
    if (a.kind !== "pointer" && a.kind !== "irq" && a.pointer !== b.pointer) return false;
  }
  return true;
}

/** The instruction at which a frame of a state stands: its own, or the call of the next frame. */
export function frameIndex(state: VerifierState, frameno: number): number {
  return frameno === state.frames.length - 1
    ? state.index
    : (state.frames[frameno + 1] as FunctionState).callsite;
}

export function statesEqual(
  env: Environment,
  old: VerifierState,
  current: VerifierState,
  exact: number,
): boolean {
  if (old.frames.length !== current.frames.length) return false;
  resetIds(env);
  // A way that nobody really goes says nothing of one that somebody does: more was forgiven on it.
  if (old.speculative && !current.speculative) return false;
  if (old.inSleepable !== current.inSleepable || !referencesSafe(env, old, current)) return false;
  for (let frameno = 0; frameno < old.frames.length; frameno++) {
    const a = old.frames[frameno] as FunctionState;
    const b = current.frames[frameno] as FunctionState;
    if (a.callsite !== b.callsite || a.callbackDepth > b.callbackDepth) return false;
    const { liveRegisters } = env.aux[frameIndex(old, frameno)] as InstructionAux;
    for (let regno = 0; regno < REGISTERS; regno++) {
      if (((liveRegisters >> regno) & 1) === 0) continue;
      const oldRegister = a.registers[regno] as RegisterState;
      if (!registerSafe(env, oldRegister, b.registers[regno] as RegisterState, exact)) return false;
    }
    if (!stackSafe(env, a, b, exact)) return false;
  }
  return true;
}
