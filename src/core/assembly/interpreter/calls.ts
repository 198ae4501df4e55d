/** Calls of helpers: those of the core directly, all others through the host. */
import { EXEC_COUNT, EXEC_PC } from "../../layout";
import { callCoreHelper } from "../helpers/dispatch";
import { call_helper, call_kfunc } from "../host";
import { forgetWindows } from "../sandbox/access";
import { check_call, keepsWindows } from "../sandbox/arguments";
import { forgetArguments } from "./frames";
import { SANDBOXED } from "./operands";

const R10 = 80;

/** Whether ids of the core's helpers mean those; off when the host defines other helpers under the same ids. */
let coreHelpers: bool = true;

/** Lets the host take every helper call itself (0), as for programs with another set of helpers; 1 is the default. */
export function use_core_helpers(on: i32): void {
  coreHelpers = on != 0;
}

export function runsCoreHelpers(): bool {
  return coreHelpers;
}

// Helpers of the core that the host has taken over, one bit each, and how many.
const REPLACED: usize = memory.data(64);
const REPLACED_BITS: u32 = 512;
let replaced: u32 = 0;

/** Lets the host take calls of one helper of the core (1), or gives it back (0). */
export function replace_helper(id: u32, on: i32): void {
  if (id >= REPLACED_BITS || isReplaced(id) == (on != 0)) return;
  const byte = REPLACED + (id >> 3);
  store<u8>(byte, load<u8>(byte) ^ u8(1 << u8(id & 7)));
  replaced += on != 0 ? 1 : -1;
}

export function isReplaced(id: u32): bool {
  return replaced != 0 && id < REPLACED_BITS && ((load<u8>(REPLACED + (id >> 3)) >> (id & 7)) & 1) != 0;
}

export function callHelper(id: i32, state: u32, count: u64, pc: u32): void {
  if (coreHelpers && !isReplaced(id) && callCoreHelper(id, state)) return;
  // The host may throw; it finds the state as it is at the call.
  store<u64>(state, count, EXEC_COUNT);
  store<u32>(state, pc, EXEC_PC);
  call_helper(id, state);
}

/** With what sandboxed programs need before and after (S: see `slice`). */
export function callChecked<S>(id: i32, state: u32, pc: u32, count: u64): void {
  if (sizeof<S>() == SANDBOXED) {
    check_call(id, load<u32>(state, R10), pc);
    callHelper(id, state, count, pc);
    if (!keepsWindows(state, id)) forgetWindows(state);
    forgetArguments(state);
  } else {
    callHelper(id, state, count, pc);
  }
}

export function callKfunc<S>(id: i32, state: u32, count: u64, pc: u32): void {
  store<u64>(state, count, EXEC_COUNT);
  store<u32>(state, pc, EXEC_PC);
  call_kfunc(id, state);
  if (sizeof<S>() == SANDBOXED) {
    forgetWindows(state);
    forgetArguments(state);
  }
}
