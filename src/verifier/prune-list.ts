/** Where kept states lie. */
import type { Environment } from "./environment.ts";
import type { FunctionState, VerifierState } from "./state.ts";

/**
 * The bucket of states at an instruction, given the current frame's call site. As in the kernel, states of different
 * instructions may share a bucket; the counts of states tell.
 */
export function bucketOf(env: Environment, index: number): number {
  const { callsite } = env.frame;
  return ((index ^ callsite) >>> 0) % env.instructions.length;
}

export function sameCallsites(a: VerifierState, b: VerifierState): boolean {
  if (a.frames.length !== b.frames.length) return false;
  for (let frameno = a.frames.length - 1; frameno >= 0; frameno--) {
    if ((a.frames[frameno] as FunctionState).callsite !== (b.frames[frameno] as FunctionState).callsite)
      return false;
  }
  return true;
}
