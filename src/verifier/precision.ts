/** Which numbers mattered: walking back from where a number was needed. */
import type { Environment } from "./environment.ts";

/** The number in a register of the current frame decided something: so did what it was computed from (mark_chain_precision). */
export function markChainPrecision(_env: Environment, _regno: number): void {
  // Until backtracking exists nothing is pruned, so nothing need be marked.
}
