/**
 * Objects of the kernel that live on a program's stack: dynptrs, iterators, saved interrupt flags. Each takes whole slots, the
 * first one at the highest slot number (the lowest address); programs hand their address to functions and never look inside.
 */
import type { Environment } from "../environment.ts";
import { scratchSlot } from "../registers.ts";
import { constantNumber, isConstant } from "../scalar/index.ts";
import { frameOf } from "../stack-slots.ts";
import { REG_SIZE, type RegisterState, type StackSlot, allOf, ownSlot } from "../state.ts";

/** Where an object begins: a slot number, "invalid" (the log says why), or "beyond" the slots that exist. */
export type Place = number | "invalid" | "beyond";

/** stack_slot_obj_get_spi. */
export function placeOf(env: Environment, reg: RegisterState, what: string, count: number): Place {
  if (!isConstant(reg.scalar)) {
    env.verbose(`${what} has to be at a constant offset\n`);
    return "invalid";
  }
  const off = reg.off + constantNumber(reg.scalar);
  // Division in C: the frame pointer itself counts as the first slot, though what is there is the caller's.
  const number = Math.trunc((-off - 1) / REG_SIZE);
  const outside = env.options.sound === true && off >= 0;
  if (off % REG_SIZE !== 0 || number + 1 < count || outside) {
    env.verbose(`cannot pass in ${what} at an offset=${off}\n`);
    return "invalid";
  }
  return number < frameOf(env, reg).stack.length ? number : "beyond";
}

/** The slots of an object, the first one first, to be changed. */
export function ownSlotsOf(env: Environment, reg: RegisterState, first: number, count: number): StackSlot[] {
  const frame = frameOf(env, reg);
  return Array.from({ length: count }, (_, index) => ownSlot(frame, first - index));
}

/** The slots of an object, the first one first. */
export function slotsOf(env: Environment, reg: RegisterState, first: number, count: number): StackSlot[] {
  const { stack } = frameOf(env, reg);
  return Array.from({ length: count }, (_, index) => stack[first - index] as StackSlot);
}

export function isWhole(slot: StackSlot, type: number): boolean {
  return (slot.types | 0) === (allOf(type) | 0);
}

/** An object is read: its slots are alive until here (mark_stack_slot_obj_read). */
export function markObjectRead(env: Environment, reg: RegisterState, first: number, count: number): void {
  for (let number = first; number > first - count; number--) {
    env.liveness.markRead(reg.frameno, env.index, number);
    scratchSlot(env, number);
  }
}

export function markObjectWritten(env: Environment, frameno: number, first: number, count: number): void {
  for (let number = first; number > first - count; number--) env.liveness.markWrite(frameno, number);
}
