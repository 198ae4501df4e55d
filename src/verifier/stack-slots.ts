/** Where bytes of the stack lie in slots, and which frame a stack pointer belongs to. */
import type { Environment } from "./environment.ts";
import { type FunctionState, REG_SIZE, type RegisterState } from "./state.ts";

/** Number of the slot that holds the byte at an offset from the frame pointer. */
export function slotAt(off: number): number {
  return Math.floor((-off - 1) / REG_SIZE);
}

/** The frame that a stack pointer points into. */
export function frameOf(env: Environment, reg: RegisterState): FunctionState {
  return env.state.frames[reg.frameno] as FunctionState;
}
