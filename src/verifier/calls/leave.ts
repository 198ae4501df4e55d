/**
 * Instructions that may end the function they stand in without its exit: LD_ABS outside of the packet, a tail call that succeeds.
 * In a function that was called, the caller goes on then; what follows the instruction is a path of its own.
 */
import type { Environment } from "../environment.ts";
import { pushPath } from "../paths.ts";
import { scratchRegister } from "../registers.ts";
import type { RegisterState } from "../state.ts";
import { returnFromFunction } from "./function.ts";

/** Returns to the caller with what `set` makes of r0; false in the main program, which just ends. */
export function leaveFunction(env: Environment, set: (result: RegisterState) => void): boolean {
  if (env.state.frames.length === 1) return false;
  scratchRegister(env, 0);
  pushPath(env, env.index + 1, env.index, "EFAULT");
  set(env.registers[0] as RegisterState);
  env.liveness.update();
  returnFromFunction(env);
  // The walk goes on behind the current instruction.
  env.index--;
  return true;
}
