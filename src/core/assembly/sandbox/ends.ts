/** The end of a sandboxed run: what it holds is taken from it. */
import { EXEC_HELD, EXEC_LOCK } from "../../layout";
import { spinUnlock } from "../lock";
import { discardSamples } from "../maps/ring";

export function end_run(state: u32): void {
  const lock = load<u32>(state, EXEC_LOCK);
  if (lock != 0) spinUnlock(lock);
  store<u32>(state, 0, EXEC_LOCK);
  discardSamples(state);
  store<u32>(state, 0, EXEC_HELD);
}
