/** Calls of helpers: those of the core directly, all others through the host. */
import { EXEC_COUNT } from "../../layout";
import { callCoreHelper } from "../helpers/dispatch";
import { call_helper } from "../host";

/** Whether ids of the core's helpers mean those; off when the host defines other helpers under the same ids. */
let coreHelpers: bool = true;

/** Lets the host take every helper call itself (0), as for programs with another set of helpers; 1 is the default. */
export function use_core_helpers(on: i32): void {
  coreHelpers = on != 0;
}

export function runsCoreHelpers(): bool {
  return coreHelpers;
}

export function callHelper(id: i32, state: u32, count: u64): void {
  if (coreHelpers && callCoreHelper(id, state)) return;
  // The host may throw; it finds the state as it is at the call.
  store<u64>(state, count, EXEC_COUNT);
  call_helper(id, state);
}
