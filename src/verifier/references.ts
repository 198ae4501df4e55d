/** References that a program must give back: acquiring, releasing, and that none is left. */
import type { Environment } from "./environment.ts";
import { Rejection } from "./reject.ts";
import type { VerifierState } from "./state.ts";

/** Refuses to go on while references are held (check_resource_leak); `prefix` begins the message. */
export function checkResourceLeak(
  env: Environment,
  _exceptionExit: boolean,
  _checkLock: boolean,
  prefix: string,
): void {
  if (env.state.references.length > 0) throw env.unsupported(`${prefix} with references`);
}

/** Drops a pointer reference from a state, registers untouched (release_reference_nomark). */
export function releaseReferenceNoMark(_state: VerifierState, _id: number): void {
  throw new Rejection("EFAULT");
}
