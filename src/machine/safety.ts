/**
 * What is known of a program, and so what is checked while it runs.
 *
 * - "verified": a verifier has proved that it stays within its memory. Nothing is checked.
 * - "sandbox": nothing is known. Every access, helper argument and call is checked, at the cost of speed.
 * - "trusted": nothing is known, and nothing is checked: the host vouches for it. Only the linear memory's limits hold.
 */
import { BpfError } from "../errors.ts";
import { SAFETY_SANDBOX, SAFETY_TRUSTED, SAFETY_VERIFIED } from "../core/layout.ts";

export type Safety = "verified" | "sandbox" | "trusted";

/** What becomes of programs that no verifier has proved. */
export type Unverified = "sandbox" | "trusted";

const UNVERIFIED: readonly Unverified[] = ["sandbox", "trusted"];

/** What a machine does with them unless it is told. */
export const DEFAULT_UNVERIFIED: Unverified = "trusted";

export const SAFETY_CODES: Readonly<Record<Safety, number>> = {
  verified: SAFETY_VERIFIED,
  sandbox: SAFETY_SANDBOX,
  trusted: SAFETY_TRUSTED,
};

/**
 * The one place where it is decided how a program runs.
 *
 * @throws BpfError code "usage" for a choice that does not exist.
 */
export function safetyOf(proved: boolean, choice: Unverified): Safety {
  if (!UNVERIFIED.includes(choice)) {
    throw new BpfError("usage", `unverified must be ${UNVERIFIED.join(" or ")}, not '${String(choice)}'`);
  }
  return proved ? "verified" : choice;
}
