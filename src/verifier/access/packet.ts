/** Packets: accesses through pkt and pkt_meta pointers, and what comparisons with pkt_end tell. */
import type { Environment } from "../environment.ts";
import type { Instruction } from "../../isa/index.ts";
import type { MemoryAccess } from "../memory.ts";
import type { RegisterState, VerifierState } from "../state.ts";
import { isAnyPacketPointer } from "../register-types.ts";

export function checkPacketAccess(env: Environment, _access: MemoryAccess): void {
  throw env.unsupported("packet access");
}

/**
 * Whether a conditional jump compares packet pointers in a way that tells a range; then the ranges in both states are set
 * (try_match_pkt_pointers). `state` falls through, `other` jumps.
 */
export function matchPacketPointers(
  env: Environment,
  _instruction: Instruction,
  dst: RegisterState,
  src: RegisterState,
  _state: VerifierState,
  _other: VerifierState,
): boolean {
  if (isAnyPacketPointer(dst.type) && isAnyPacketPointer(src.type))
    throw env.unsupported("comparing packet pointers");
  return false;
}

/** Whether a comparison of packet pointers is decided already: 1, 0, or -1 (is_pkt_ptr_branch_taken). */
export function packetBranchTaken(_dst: RegisterState, _src: RegisterState, _op: number): number {
  return -1;
}
