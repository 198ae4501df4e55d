/** Runs, cut into slices. */
import { isSandboxed } from "../state";
import { EXEC_COUNT, STATUS_PAUSED } from "../../layout";
import { STATUS_OTHER_SAFETY } from "./endings";
import { interpret_slice, sandbox_slice } from "./run";

export const SLICE: u64 = 1 << 18;

/**
 * Runs at most `budget` instructions from where `state` stands. One of the STATUS_ constants.
 *
 * Engines do not replace a WebAssembly function while it runs: a long run would end in the code of the baseline
 * compiler that it began in (6.9 ns an instruction against 1.5 ns, V8 11.3). So it is cut into slices.
 */
export function interpret(state: u32, budget: u64): i32 {
  const end = load<u64>(state, EXEC_COUNT) + budget;
  return interpretRest(state, end, interpretSlice(state, min(budget, SLICE)));
}

/** Goes on until `end` instructions have been counted, after a slice that ended with `status`. */
export function interpretRest(state: u32, end: u64, status: i32): i32 {
  let left = end - load<u64>(state, EXEC_COUNT);
  while (status == STATUS_OTHER_SAFETY || (status == STATUS_PAUSED && left != 0)) {
    status = interpretSlice(state, min(left, SLICE));
    left = end - load<u64>(state, EXEC_COUNT);
  }
  return status;
}

function interpretSlice(state: u32, budget: u64): i32 {
  return isSandboxed(state) ? sandbox_slice(state, budget) : interpret_slice(state, budget);
}
