import {
  ENGINE_JIT,
  EXEC_PC,
  EXEC_REDIRECT,
  EXEC_REDIRECT_MAP,
  EXEC_RUN,
  EXEC_STACK_END,
  FAULT_FUEL,
  FUNC_TABLE,
  PROG_REPEAT,
  RUN_COUNT,
  RUN_ENGINE,
  RUN_FUEL,
  RUN_PROG,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
} from "../../layout";
import { begin, beginAgain, hasTraces, reset, setRegisters } from "../interpreter/frames";
import { interpret_slice, sandbox_slice } from "../interpreter/run";
import { SLICE, interpretRest } from "../interpreter/slices";
import { forgetWindows } from "../sandbox/access";
import { isSandboxed, setCompiled, setExec, setFault, setFuel } from "../state";

/** What a compiled program needs before its first run. */
export function beginCompiled(state: u32, func: u32, r1: u32): void {
  setExec(state);
  setCompiled(true);
  reset(state, func, r1);
}

/** Calls the compiled function at an index of the table: five arguments and the end of its stack frame. */
export function enterCompiled(index: u32, r1: u32, r2: u32, end: u32): u64 {
  const zero: u64 = 0;
  return call_indirect<u64>(index, u64(r1), u64(r2), zero, zero, zero, end);
}

/** Begins and calls a compiled function. */
export function callCompiled(state: u32, func: u32, r1: u32, r2: u32): u64 {
  beginCompiled(state, func, r1);
  return enterCompiled(load<u32>(func, FUNC_TABLE), r1, r2, load<u32>(state, EXEC_STACK_END));
}

/** Runs a compiled function; its result goes to r0 of the execution state. */
export function run_jit(state: u32, func: u32, r1: u32, r2: u32): void {
  store<u64>(state, callCompiled(state, func, r1, r2));
}

/**
 * Runs the program of an order RUN_COUNT times with two arguments, without packets. STATUS_DONE or STATUS_FAULT; the result
 * of the last run is r0 of the execution state.
 */
export function run_calls(state: u32, run: u32, r1: u32, r2: u32): i32 {
  const prog = load<u32>(run, RUN_PROG);
  const count = load<u32>(run, RUN_COUNT);
  const fuel = load<i64>(run, RUN_FUEL);
  if (load<i32>(run, RUN_ENGINE) != ENGINE_JIT) return interpretCalls(state, prog, r1, r2, count, fuel);
  beginCompiled(state, prog, r1);
  const index = load<u32>(prog, FUNC_TABLE);
  const end = load<u32>(state, EXEC_STACK_END);
  let result: u64 = 0;
  const repeat = load<u32>(prog, PROG_REPEAT);
  if (repeat != 0 && count != 0) {
    const zero: u64 = 0;
    result = call_indirect<u64>(repeat, u64(r1), u64(r2), u64(count), u64(fuel), zero, end);
    store<u64>(state, result);
    return STATUS_DONE;
  }
  for (let left = count; left != 0; ) {
    setFuel(fuel);
    result = enterCompiled(index, r1, r2, end);
    left--;
    if (left != 0) reset(state, prog, r1);
  }
  store<u64>(state, result);
  return STATUS_DONE;
}

function interpretCalls(state: u32, prog: u32, r1: u32, r2: u32, count: u32, fuel: u64): i32 {
  begin(state, prog, r1, r2);
  const sandboxed = isSandboxed(state);
  const first = min(fuel, SLICE);
  for (let left = count; left != 0; ) {
    // Most runs end in their first slice: it is called from here, without what `interpret` needs for more of them.
    const status = sandboxed ? sandbox_slice(state, first) : interpret_slice(state, first);
    if (status != STATUS_DONE && interpretOn(state, fuel, status) != STATUS_DONE) return STATUS_FAULT;
    left--;
    if (left == 0) break;
    // As `beginAgain`, whose calls take as long as a short program.
    if (hasTraces(state)) {
      beginAgain(state, prog, r1, r2, sandboxed);
      continue;
    }
    store<u32>(state, load<u32>(state, EXEC_RUN) + 1, EXEC_RUN);
    store<u64>(state, 0, EXEC_REDIRECT);
    store<u32>(state, 0, EXEC_REDIRECT_MAP);
    if (sandboxed) forgetWindows(state);
    setRegisters(state, prog, r1, r2);
  }
  return STATUS_DONE;
}

/** The rest of a run whose first slice has ended with a status. */
export function interpretOn(state: u32, fuel: u64, status: i32): i32 {
  status = interpretRest(state, fuel, status);
  if (status == STATUS_PAUSED) setFault(state, FAULT_FUEL, load<u32>(state, EXEC_PC));
  return status == STATUS_DONE ? STATUS_DONE : STATUS_FAULT;
}
