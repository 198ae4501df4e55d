/** Paths that wait to be walked (push_stack, pop_stack). */
import type { Environment, PendingPath } from "./environment.ts";
import { VerifierState, copyState } from "./state.ts";

/** BPF_COMPLEXITY_LIMIT_JMP_SEQ. */
const MAX_PENDING = 8192;

/**
 * Keeps a copy of the current state for later; `index` is where it goes on, `previous` where it came from. `errno` is the
 * kernel's answer if too many wait. `speculative`: only a processor that guesses wrong goes there.
 */
export function pushPath(
  env: Environment,
  index: number,
  previous: number,
  errno: "EFAULT" | "ENOMEM",
  speculative = false,
): VerifierState {
  const state = new VerifierState();
  copyState(state, env.state);
  if (speculative) state.speculative = true;
  env.pending.push({ state, index, previous, logPosition: env.log.position, from: env.pathLog.current });
  env.tracer?.fork(state);
  if (env.pending.length > MAX_PENDING) {
    throw env.reject(errno, `The sequence of ${env.pending.length} jumps is too complex.`);
  }
  if (state.parent !== undefined) state.parent.branches++;
  return state;
}

/** The path that was added last; what the log says of the path before it goes, if only failures are logged. */
export function popPath(env: Environment, takeBack: boolean): PendingPath | undefined {
  const path = env.pending.pop();
  if (path === undefined) return undefined;
  // The state is the waiting one itself: nobody else has it.
  env.state = path.state;
  env.tracer?.resume(path.state);
  if (takeBack) env.log.reset(path.logPosition);
  return path;
}
