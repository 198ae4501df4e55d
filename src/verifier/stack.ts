/** Loads from and stores to the stack. */
import type { Environment } from "./environment.ts";
import type { MemoryAccess } from "./memory.ts";

export function checkStackAccess(env: Environment, _access: MemoryAccess): void {
  throw env.unsupported("stack access");
}

/** What a helper does with memory that it fills itself: the caller finds here what it has to mark as written. */
export interface RawMemory {
  rawMode: boolean;
  accessSize: number;
  regno: number;
}

/**
 * Whether a helper may read or write `size` bytes of stack at a register's offset plus `off`, and that they are initialised
 * (check_stack_range_initialized). `raw` set and in raw mode: they need not be; then its size and regno are filled in.
 */
export function checkStackRange(
  env: Environment,
  _regno: number,
  _off: number,
  _size: number,
  _zeroAllowed: boolean,
  _write: boolean,
  _raw: RawMemory | undefined,
): void {
  throw env.unsupported("stack range");
}
