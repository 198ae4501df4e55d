/**
 * Open-coded iterators (process_iter_arg, process_iter_next_call of kernel/bpf/verifier.c): `new` makes one on the stack, `next` gives
 * an element or NULL, `destroy` ends it. An iterator ends some day, and once it gave NULL it always will. So at each `next` of an
 * active iterator the walk forks: one way gets NULL and a drained iterator, and must come to an end; the other way, which waits,
 * gets an element, with the iterator's depth raised by one. When that way meets `next` again in a state that lies in the ranges of an
 * earlier one, further rounds bring nothing new. Numbers that differ from the last round and were not needed precisely are forgotten,
 * so that counters do not make every round a new one.
 */
import { type BtfType, resolve } from "../../btf/index.ts";
import type { KfuncMeta } from "../calls/kfunc-meta.ts";
import type { Environment } from "../environment.ts";
import { inRcuSection } from "../kernel-types/access.ts";
import { findPreviousEntry, widenImpreciseScalars } from "../loops.ts";
import { checkMemoryAccess } from "../memory.ts";
import { pushPath } from "../paths.ts";
import { sameCallsites } from "../prune-list.ts";
import { acquireReference, releaseReference } from "../references.ts";
import { MEM_RCU, PTR_TO_STACK, PTR_UNTRUSTED } from "../register-types.ts";
import {
  markConstantZero,
  markKnownZero,
  markNotInit,
  markPointerNotNull,
  scratchSlot,
} from "../registers.ts";
import { frameOf } from "../stack-slots.ts";
import {
  type FunctionState,
  type RegisterState,
  STACK_INVALID,
  STACK_ITER,
  type StackSlot,
  type VerifierState,
  allOf,
  ownSlot,
  slotType,
} from "../state.ts";
import { isWhole, markObjectRead, markObjectWritten, ownSlotsOf, placeOf, slotsOf } from "./slots.ts";

const ACTIVE = 1;
const DRAINED = 2;

/** The structure behind an argument that is an iterator, `struct bpf_iter_num *it` (btf_check_iter_arg). */
function iteratorType({ kfunc: { btf, prototype } }: KfuncMeta, at: number): BtfType | undefined {
  const parameter = prototype.parameters[at];
  const pointer = parameter === undefined ? undefined : resolve(btf, parameter.type);
  if (pointer?.kind !== "ptr") return undefined;
  const type = resolve(btf, pointer.type);
  return type.kind === "struct" && type.name.startsWith("bpf_iter_") ? type : undefined;
}

export function checkIteratorArgument(env: Environment, regno: number, meta: KfuncMeta): void {
  const { kfunc } = meta;
  const { btf, flags, name } = kfunc;
  const reg = env.registers[regno] as RegisterState;
  if (reg.type !== PTR_TO_STACK) {
    throw env.reject("EINVAL", `arg#${regno - 1} expected pointer to an iterator on stack`);
  }
  const type = iteratorType(meta, regno - 1);
  if (type?.kind !== "struct") {
    throw env.reject("EINVAL", `expected valid iter pointer as arg #${regno - 1}`);
  }
  const count = type.size / 8;
  const short = type.name.slice("bpf_iter_".length);
  const first = placeOf(env, reg, "iter", count);
  if (flags.has("iter_new")) {
    const taken =
      typeof first === "number" && slotsOf(env, reg, first, count).some((slot) => hasByte(slot, STACK_ITER));
    if (first === "invalid" || taken) {
      throw env.reject("EINVAL", `expected uninitialized iter_${short} as arg #${regno - 1}`);
    }
    for (let at = 0; at < type.size; at += 8) {
      checkMemoryAccess(env, env.index, regno, at, 8, true, -1, false, false);
    }
    create(env, reg, meta, type.id, count);
    return;
  }
  const slots = typeof first === "number" ? slotsOf(env, reg, first, count) : [];
  const state = validity(slots, btf, type.id);
  if (state === "invalid" || typeof first !== "number") {
    throw env.reject("EINVAL", `expected an initialized iter_${short} as arg #${regno - 1}`);
  }
  if (state === "unprotected") throw env.reject("EPROTO", `expected an RCU CS when using ${name}`);
  markObjectRead(env, reg, first, count);
  meta.iterator = { frameno: reg.frameno, slot: first };
  meta.refObjId = (slots[0] as StackSlot).spilled.refObjId;
  if (!flags.has("iter_destroy")) return;
  for (const [index, slot] of ownSlotsOf(env, reg, first, count).entries()) {
    if (index === 0) releaseReference(env, slot.spilled.refObjId);
    markNotInit(slot.spilled);
    slot.types = allOf(STACK_INVALID);
    scratchSlot(env, first - index);
  }
  markObjectWritten(env, reg.frameno, first, count);
}

function hasByte(slot: StackSlot, type: number): boolean {
  for (let byte = 0; byte < 8; byte++) if (slotType(slot, byte) === type) return true;
  return false;
}

/** is_iter_reg_valid_init. */
function validity(
  slots: readonly StackSlot[],
  btf: unknown,
  id: number,
): "valid" | "invalid" | "unprotected" {
  if (slots.length === 0) return "invalid";
  for (const [index, slot] of slots.entries()) {
    const { type, refObjId, btf: own, btfId } = slot.spilled;
    if ((type & PTR_UNTRUSTED) !== 0) return "unprotected";
    if ((index === 0) !== (refObjId !== 0)) return "invalid";
    if (own !== btf || btfId !== id || !isWhole(slot, STACK_ITER)) return "invalid";
  }
  return "valid";
}

/** mark_stack_slots_iter. */
function create(env: Environment, reg: RegisterState, { kfunc }: KfuncMeta, id: number, count: number): void {
  const first = placeOf(env, reg, "iter", count);
  if (typeof first !== "number") throw env.reject(first === "beyond" ? "ERANGE" : "EINVAL");
  const reference = acquireReference(env, env.index);
  for (const [index, slot] of ownSlotsOf(env, reg, first, count).entries()) {
    const { spilled } = slot;
    markKnownZero(spilled);
    spilled.type = PTR_TO_STACK;
    if (kfunc.flags.has("rcu_protected")) spilled.type |= inRcuSection(env) ? MEM_RCU : PTR_UNTRUSTED;
    spilled.refObjId = index === 0 ? reference : 0;
    spilled.btf = kfunc.btf;
    spilled.btfId = id;
    spilled.iterState = ACTIVE;
    spilled.iterDepth = 0;
    slot.types = allOf(STACK_ITER);
    scratchSlot(env, first - index);
  }
  markObjectWritten(env, frameOf(env, reg).frameno, first, count);
}

/** The iterator of a call, in a state, to be changed. */
export function iteratorIn(state: VerifierState, { iterator }: KfuncMeta): RegisterState {
  const { frameno, slot } = iterator as { readonly frameno: number; readonly slot: number };
  return ownSlot(state.frames[frameno] as FunctionState, slot).spilled;
}

/** After a `next` has set r0 to an element that may be NULL. */
export function forkAtNext(env: Environment, meta: KfuncMeta): void {
  const { state, index } = env;
  if (iteratorIn(state, meta).iterState === ACTIVE) {
    const { parent } = state;
    if (parent === undefined || parent.index !== index || !sameCallsites(parent, state)) {
      throw env.bug("bad parent state for iter next call");
    }
    const previous = findPreviousEntry(env, parent, index);
    const queued = pushPath(env, index + 1, index, "ENOMEM");
    const other = iteratorIn(queued, meta);
    other.iterState = ACTIVE;
    other.iterDepth++;
    if (previous !== undefined) widenImpreciseScalars(env, previous, queued);
    const frame = queued.frames[queued.frames.length - 1] as FunctionState;
    markPointerNotNull(frame.registers[0] as RegisterState);
  }
  // Asked for once more: the slot may be shared with the state that waits.
  iteratorIn(state, meta).iterState = DRAINED;
  markConstantZero(env.registers[0] as RegisterState);
}

/** Whether the iterator that r1 points to is active: then a state that was met before is a loop that ends. */
export function activeAtNext(env: Environment): boolean {
  const reg = env.registers[1] as RegisterState;
  const first = placeOf(env, reg, "iter", 1);
  if (typeof first !== "number") return false;
  return frameOf(env, reg).stack[first]?.spilled.iterState === ACTIVE;
}
