/** Runs, cut into slices. */
import { isSandboxed } from "../state";
import { EXEC_COUNT, STATUS_PAUSED } from "../../layout";
import { STATUS_OTHER_SAFETY } from "./endings";
import { interpret_slice, sandbox_slice } from "./run";

const SLICE: u64 = 1 << 18;
/**
 * Runs at most `budget` instructions from where `state` stands. One of the STATUS_ constants.
 *
 * Engines do not replace a WebAssembly function while it runs: a long run would end in the code of the baseline
 * compiler that it began in (6.9 ns an instruction against 1.5 ns, V8 11.3). So it is cut into slices.
 */
export function interpret(state: u32, budget: u64): i32 {
  const end = load<u64>(state, EXEC_COUNT) + budget;
  let status = STATUS_PAUSED;
  let left = budget;
  do {
    const part = min(left, SLICE);
    status = isSandboxed(state) ? sandbox_slice(state, part) : interpret_slice(state, part);
    left = end - load<u64>(state, EXEC_COUNT);
  } while (status == STATUS_OTHER_SAFETY || (status == STATUS_PAUSED && left != 0));
  return status;
}
