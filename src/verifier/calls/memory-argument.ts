/** Pointers to memory as arguments of global functions. */
import type { Environment } from "../environment.ts";

/** Why a register cannot be passed as a pointer to `size` bytes; undefined if it can; "" if the log has said it. */
export function checkGlobalMemoryArgument(
  env: Environment,
  _regno: number,
  _size: number,
  _nullable: boolean,
): string | undefined {
  throw env.unsupported("pointer arguments of global functions");
}
