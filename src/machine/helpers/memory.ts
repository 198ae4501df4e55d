/** Addresses that programs give to helpers. */
import type { HelperWorld } from "./types.ts";

/**
 * Whether all bytes of a range can be read for the program under way: in the machine's memory, above what is never handed out;
 * of a sandboxed program only what is its own.
 */
export function mayRead(core: HelperWorld["core"], address: bigint, length: number): boolean {
  return core.may_probe(address, length) !== 0;
}
