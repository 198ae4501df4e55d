/**
 * Dynptrs (process_dynptr_func and its kin of kernel/bpf/verifier.c): two slots that describe memory whose size is known at run time.
 * Each has an id; slices of it remember that id and die with it. A dynptr of a ring buffer record holds a reference, which its clones
 * share: it must be submitted or discarded, and cannot be overwritten before. A write to part of any other destroys it. Callbacks and
 * global functions get theirs as a pointer that is constant.
 */
import type { Environment } from "../environment.ts";
import { checkMemoryAccess } from "../memory.ts";
import { acquireReference, releaseReference } from "../references.ts";
import {
  CONST_PTR_TO_DYNPTR,
  DYNPTR_TYPE_LOCAL,
  DYNPTR_TYPE_RINGBUF,
  DYNPTR_TYPE_SKB,
  DYNPTR_TYPE_SKB_META,
  DYNPTR_TYPE_XDP,
  MEM_RDONLY,
  MEM_UNINIT,
  PTR_TO_STACK,
} from "../register-types.ts";
import { markKnownZero } from "../registers.ts";
import { frameOf } from "../stack-slots.ts";
import { type RegisterState, STACK_DYNPTR, type StackSlot, allOf, slotType } from "../state.ts";
import { RINGBUF, clearDynptr, destroyDynptr } from "./dynptr-slots.ts";
import {
  type Place,
  isWhole,
  markObjectRead,
  markObjectWritten,
  ownSlotsOf,
  placeOf,
  slotsOf,
} from "./slots.ts";

const SLOTS = 2;

/** enum bpf_dynptr_type. */
export const DYNPTR_INVALID = 0;
const LOCAL = 1;
const SKB = 3;
const XDP = 4;
const SKB_META = 5;

const NAMES = ["<invalid>", "local", "ringbuf", "skb", "xdp", "skb_meta"] as const;
const FLAGS: readonly (readonly [flag: number, type: number])[] = [
  [DYNPTR_TYPE_LOCAL, LOCAL],
  [DYNPTR_TYPE_RINGBUF, RINGBUF],
  [DYNPTR_TYPE_SKB, SKB],
  [DYNPTR_TYPE_XDP, XDP],
  [DYNPTR_TYPE_SKB_META, SKB_META],
];
const ALL_FLAGS = FLAGS.reduce((sum, [flag]) => sum | flag, 0);

/** The kind that an argument's flags ask for. */
function typeOfFlags(flags: number): number {
  return FLAGS.find(([flag]) => (flags & ALL_FLAGS) === flag)?.[1] ?? DYNPTR_INVALID;
}

/** The flag of a kind. */
export function dynptrFlag(type: number): number {
  return FLAGS.find((row) => row[1] === type)?.[0] ?? 0;
}

/** Whether writing through it may move the packet. */
export function isPacketDynptr(type: number): boolean {
  return type === SKB || type === SKB_META;
}

function place(env: Environment, reg: RegisterState): Place {
  return placeOf(env, reg, "dynptr", SLOTS);
}

function setSlot(reg: RegisterState, type: number, first: boolean, id: number): void {
  markKnownZero(reg);
  reg.type = CONST_PTR_TO_DYNPTR;
  reg.id = id;
  reg.dynptrType = type;
  reg.dynptrFirstSlot = first;
}

/** A constant pointer to a dynptr of a kind, for callbacks and global functions (mark_dynptr_cb_reg). */
export function setConstantDynptr(env: Environment, reg: RegisterState, type: number): void {
  setSlot(reg, type, true, env.nextId());
}

export const DYNPTR_LOCAL: number = LOCAL;

/** The slot that describes a dynptr: of a constant pointer the register itself. */
function described(env: Environment, reg: RegisterState): RegisterState | undefined {
  if (reg.type === CONST_PTR_TO_DYNPTR) return reg;
  const first = place(env, reg);
  return typeof first === "number" ? frameOf(env, reg).stack[first]?.spilled : undefined;
}

export interface DynptrView {
  readonly id: number;
  readonly type: number;
  readonly refObjId: number;
}

/** What an initialised dynptr is (dynptr_id, dynptr_get_type, dynptr_ref_obj_id). */
export function dynptrView(env: Environment, reg: RegisterState): DynptrView {
  const slot = described(env, reg);
  if (slot === undefined) throw env.bug("failed to obtain dynptr id");
  return { id: slot.id, type: slot.dynptrType, refObjId: slot.refObjId };
}

/** An argument that is a dynptr: one that is made here (MEM_UNINIT), or one that exists. `cloneRefObjId`: of the dynptr it is a clone of. */
export function checkDynptr(env: Environment, regno: number, flags: number, cloneRefObjId: number): void {
  const reg = env.registers[regno] as RegisterState;
  if (reg.type !== PTR_TO_STACK && reg.type !== CONST_PTR_TO_DYNPTR) {
    throw env.reject("EINVAL", `arg#${regno - 1} expected pointer to stack or const struct bpf_dynptr`);
  }
  if ((flags & MEM_UNINIT) !== 0) {
    if (reg.type === CONST_PTR_TO_DYNPTR || place(env, reg) === "invalid") {
      throw env.reject("EINVAL", "Dynptr has to be an uninitialized dynptr");
    }
    for (let at = 0; at < SLOTS * 8; at += 8) {
      checkMemoryAccess(env, env.index, regno, at, 8, true, -1, false, false);
    }
    create(env, reg, flags, cloneRefObjId);
    return;
  }
  if (reg.type === CONST_PTR_TO_DYNPTR && (flags & MEM_RDONLY) === 0) {
    throw env.reject("EINVAL", "cannot pass pointer to const bpf_dynptr, the helper mutates it");
  }
  if (!isInitialised(env, reg)) {
    throw env.reject("EINVAL", `Expected an initialized dynptr as arg #${regno - 1}`);
  }
  const wanted = typeOfFlags(flags);
  if ((flags & ALL_FLAGS) !== 0 && described(env, reg)?.dynptrType !== wanted) {
    throw env.reject("EINVAL", `Expected a dynptr of type ${NAMES[wanted]} as arg #${regno - 1}`);
  }
  if (reg.type === CONST_PTR_TO_DYNPTR) return;
  const first = place(env, reg);
  if (typeof first === "number") markObjectRead(env, reg, first, SLOTS);
}

function isInitialised(env: Environment, reg: RegisterState): boolean {
  if (reg.type === CONST_PTR_TO_DYNPTR) return true;
  const first = place(env, reg);
  if (typeof first !== "number") return false;
  const slots = slotsOf(env, reg, first, SLOTS);
  return slots[0]?.spilled.dynptrFirstSlot === true && slots.every((slot) => isWhole(slot, STACK_DYNPTR));
}

/** Two slots become a dynptr (mark_stack_slots_dynptr). */
function create(env: Environment, reg: RegisterState, flags: number, cloneRefObjId: number): void {
  const frame = frameOf(env, reg);
  const first = place(env, reg);
  if (typeof first !== "number") throw env.reject(first === "beyond" ? "ERANGE" : "EINVAL");
  destroyDynptr(env, frame, first);
  destroyDynptr(env, frame, first - 1);
  const type = typeOfFlags(flags);
  const id = env.nextId();
  const refObjId = type !== RINGBUF ? 0 : cloneRefObjId !== 0 ? cloneRefObjId : 0;
  const slots = ownSlotsOf(env, reg, first, SLOTS);
  for (const [index, slot] of slots.entries()) {
    slot.types = allOf(STACK_DYNPTR);
    setSlot(slot.spilled, type, index === 0, id);
  }
  if (type === RINGBUF) {
    const reference = refObjId === 0 ? acquireReference(env, env.index) : refObjId;
    for (const slot of slots) slot.spilled.refObjId = reference;
  }
  markObjectWritten(env, frame.frameno, first, SLOTS);
}

/** Whether the dynptr that a release function gets holds a reference. */
export function holdsReference(env: Environment, reg: RegisterState): boolean {
  const first = place(env, reg);
  return typeof first === "number" && (frameOf(env, reg).stack[first]?.spilled.refObjId ?? 0) !== 0;
}

/** A release function ends a dynptr, its clones and slices (unmark_stack_slots_dynptr). */
export function releaseDynptr(env: Environment, reg: RegisterState): boolean {
  const first = place(env, reg);
  if (typeof first !== "number") return false;
  const frame = frameOf(env, reg);
  const { dynptrType, refObjId } = (frame.stack[first] as StackSlot).spilled;
  if (dynptrType !== RINGBUF) {
    clearDynptr(env, frame, first);
    return true;
  }
  releaseReference(env, refObjId);
  for (let number = 1; number < frame.stack.length; number++) {
    const slot = frame.stack[number] as StackSlot;
    if (slot.spilled.refObjId !== refObjId) continue;
    if (slotType(slot, 0) !== STACK_DYNPTR) throw env.bug("misconfigured ref_obj_id");
    if (slot.spilled.dynptrFirstSlot) clearDynptr(env, frame, number);
  }
  return true;
}
