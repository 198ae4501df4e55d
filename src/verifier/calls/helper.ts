/** Calls of helpers. */
import type { Instruction } from "../../isa/index.ts";
import type { Environment } from "../environment.ts";

/** Checks a call of a helper with the current registers, and makes r0 what it returns (check_helper_call). */
export function checkHelperCall(env: Environment, { imm }: Instruction): void {
  throw env.unsupported(`helper ${imm}`);
}

/** What the analyses before the run must know of a helper (get_call_summary); undefined if it does not exist or is not allowed. */
export interface CallSummary {
  readonly parameters: number;
  readonly isVoid: boolean;
  /** The kernel replaces the call by instructions that leave r1 to r5 alone. */
  readonly fastcall: boolean;
}

export function callSummary(_env: Environment, _instruction: Instruction): CallSummary | undefined {
  return undefined;
}

/** Whether packet pointers die by this helper (bpf_helper_changes_pkt_data). */
export function helperChangesPacketData(_id: number): boolean {
  return false;
}

/** Whether this helper may sleep (helper_might_sleep). */
export function helperMightSleep(_env: Environment, _id: number): boolean {
  return false;
}
