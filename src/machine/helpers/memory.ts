/** Addresses that programs give to helpers. */
import { FIRST_ADDRESS } from "../../core/layout.ts";
import type { LinearMemory } from "../memory.ts";

/** Whether all bytes of a range lie in the machine's memory, above what is never handed out. */
export function inMemory(memory: LinearMemory, address: bigint, length: number): boolean {
  return address >= BigInt(FIRST_ADDRESS) && address + BigInt(length) <= BigInt(memory.u8.length);
}
