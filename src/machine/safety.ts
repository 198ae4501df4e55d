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

/** What becomes of programs of objects that the verifier cannot judge, unless it is told. */
const DEFAULT_UNVERIFIED: Unverified = "sandbox";

/** What becomes of bare instructions, which the host itself has put together, unless it is told. */
export const DEFAULT_BARE: Unverified = "trusted";

/** What was said of verifying and of programs without proof, by a load or by the machine. */
export interface SafetyChoice {
  readonly verify?: boolean | undefined;
  readonly unverified?: Unverified | undefined;
}

/**
 * Whether a load verifies, and how programs run that are not proved. A load's word goes before the machine's; who says only
 * how unverified programs run wants them unverified; who says nothing gets the verifier, and the sandbox where it has no answer.
 */
export function chooseSafety(
  load: SafetyChoice,
  machine: SafetyChoice,
): { readonly verify: boolean; readonly unverified: Unverified } {
  const wish = (choice: SafetyChoice): boolean | undefined =>
    choice.verify ?? (choice.unverified === undefined ? undefined : false);
  return {
    verify: wish(load) ?? wish(machine) ?? true,
    unverified: load.unverified ?? machine.unverified ?? DEFAULT_UNVERIFIED,
  };
}

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
