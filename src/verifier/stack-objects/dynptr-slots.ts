/** The end of dynptrs: by a write to one of their slots, or by a function that releases them. */
import type { Environment } from "../environment.ts";
import { PTR_MAYBE_NULL, PTR_TO_MEM } from "../register-types.ts";
import { markInvalid, markNotInit, scratchSlot } from "../registers.ts";
import {
  type FunctionState,
  type RegisterState,
  STACK_DYNPTR,
  STACK_INVALID,
  type StackSlot,
  allOf,
  changeRegisters,
  ownSlot,
  slotType,
} from "../state.ts";
import { markObjectWritten } from "./slots.ts";

/** BPF_DYNPTR_TYPE_RINGBUF: those that hold a reference. */
export const RINGBUF = 2;

/** A dynptr is gone. `first`: its first slot. */
export function clearDynptr(env: Environment, frame: FunctionState, first: number): void {
  for (const number of [first, first - 1]) {
    const slot = ownSlot(frame, number);
    slot.types = allOf(STACK_INVALID);
    markNotInit(slot.spilled);
  }
  markObjectWritten(env, frame.frameno, first, 2);
}

/** A write to a slot ends the dynptr that it belongs to, and its slices (destroy_if_dynptr_stack_slot). */
export function destroyDynptr(env: Environment, frame: FunctionState, number: number): void {
  const slot = frame.stack[number];
  if (slot === undefined || slotType(slot, 0) !== STACK_DYNPTR) return;
  const first = slot.spilled.dynptrFirstSlot ? number : number + 1;
  const { spilled } = frame.stack[first] as StackSlot;
  if (spilled.dynptrType === RINGBUF) throw env.reject("EINVAL", "cannot overwrite referenced dynptr");
  scratchSlot(env, first);
  scratchSlot(env, first - 1);
  const { id } = spilled;
  const isSlice = ({ type, dynptrId }: RegisterState): boolean =>
    (type === PTR_TO_MEM || type === (PTR_TO_MEM | PTR_MAYBE_NULL)) && dynptrId === id;
  changeRegisters(env.state, isSlice, (reg) => markInvalid(env, reg));
  clearDynptr(env, frame, first);
}
