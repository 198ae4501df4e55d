import { EXEC_STACK_END, FUNC_TABLE } from "../../layout";
import { reset } from "../interpreter/frames";
import { setExec } from "../state";

/** Calls a compiled function: five arguments and the end of its stack frame. */
export function callCompiled(state: u32, func: u32, r1: u32, r2: u32): u64 {
  setExec(state);
  reset(state, func, r1);
  const zero: u64 = 0;
  return call_indirect<u64>(
    load<u32>(func, FUNC_TABLE),
    u64(r1),
    u64(r2),
    zero,
    zero,
    zero,
    load<u32>(state, EXEC_STACK_END),
  );
}

/** Runs a compiled function; its result goes to r0 of the execution state. */
export function run_jit(state: u32, func: u32, r1: u32, r2: u32): void {
  store<u64>(state, callCompiled(state, func, r1, r2));
}
