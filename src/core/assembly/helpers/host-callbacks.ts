/**
 * Functions of the program that a helper in TypeScript calls, or that run by themselves later (timers). r1 to r5 of the
 * execution state are the arguments, r0 the result. The interpreter is entered a second time here, so such a call cannot be
 * paused, unlike those of bpf_loop.
 */
import {
  EXEC_FAULT,
  EXEC_PC,
  EXEC_PROG,
  EXEC_STACK,
  EXEC_STACK_END,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FAULT_FUEL,
  FAULT_NONE,
  FRAME_SIZE,
  FUNC_TABLE,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
} from "../../layout";
import { compile_program } from "../host";
import { begin, enter, functionAt, hasRoom, reset } from "../interpreter/frames";
import { interpret } from "../interpreter/slices";
import { compiled, exec, setCompiled, setExec, setFault, setFuel } from "../state";

const R1 = 8;
const R2 = 16;
const R3 = 24;
const R4 = 32;
const R5 = 40;
const R10 = 80;
const NOT_COMPILED: i32 = -1;

function callTable(state: u32, func: u32, frame: u32): u64 {
  return call_indirect<u64>(
    load<u32>(func, FUNC_TABLE),
    load<u64>(state, R1),
    load<u64>(state, R2),
    load<u64>(state, R3),
    load<u64>(state, R4),
    load<u64>(state, R5),
    frame,
  );
}

/** Runs the interpreter until the function that has been entered returns. */
function finish(state: u32, budget: u32): i32 {
  const status = interpret(state, budget);
  if (status != STATUS_PAUSED) return status;
  setFault(state, FAULT_FUEL, load<u32>(state, EXEC_PC));
  return STATUS_FAULT;
}

export function call_back(func: u32, budget: u32): i32 {
  const state = exec;
  const pc = load<u32>(state, EXEC_PC);
  const prog = load<u32>(state, EXEC_PROG);
  const stack = load<u32>(state, EXEC_STACK);
  const frame = load<u32>(state, R10);
  const code = functionAt(func, state);
  if (code == 0 || !hasRoom(state, frame)) {
    setFault(state, code == 0 ? FAULT_CALL_TARGET : FAULT_CALL_DEPTH, pc);
    return STATUS_FAULT;
  }
  let status: i32 = STATUS_DONE;
  if (compiled) {
    store<u64>(state, callTable(state, func, frame - FRAME_SIZE));
    store<u64>(state, frame, R10);
  } else {
    // The address 0 to return to ends the inner run.
    if (!enter(state, 0)) {
      setFault(state, FAULT_CALL_DEPTH, pc);
      return STATUS_FAULT;
    }
    store<u32>(state, code, EXEC_PC);
    status = finish(state, budget);
  }
  if (load<u32>(state, EXEC_FAULT) != FAULT_NONE) return STATUS_FAULT;
  store<u32>(state, pc, EXEC_PC);
  store<u32>(state, prog, EXEC_PROG);
  store<u32>(state, stack, EXEC_STACK);
  return status;
}

export function run_callback(state: u32, func: u32, jit: i32, budget: u32): i32 {
  setExec(state);
  const r1 = load<u64>(state, R1);
  const r2 = load<u64>(state, R2);
  const r3 = load<u64>(state, R3);
  const r4 = load<u64>(state, R4);
  const r5 = load<u64>(state, R5);
  if (jit == 0) begin(state, func, 0, 0);
  else reset(state, func, 0);
  store<u64>(state, r1, R1);
  store<u64>(state, r2, R2);
  store<u64>(state, r3, R3);
  store<u64>(state, r4, R4);
  store<u64>(state, r5, R5);
  if (jit == 0) return finish(state, budget);
  setCompiled(true);
  setFuel(i64(budget));
  if (load<i32>(func, FUNC_TABLE) == NOT_COMPILED) compile_program(load<u32>(state, EXEC_PROG));
  store<u64>(state, callTable(state, func, load<u32>(state, EXEC_STACK_END)));
  return STATUS_DONE;
}
