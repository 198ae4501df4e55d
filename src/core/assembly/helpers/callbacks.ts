/**
 * bpf_tail_call, bpf_loop and bpf_for_each_map_elem for compiled programs; the interpreter has its own, which can pause.
 * `frame` is the end of the caller's stack frame, `pc` the address of the instruction that calls.
 */
import {
  EXEC_PROG,
  EXEC_STACK,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FRAME_RECORD_KEY,
  FRAME_RECORD_MAP,
  FRAME_RECORD_ROUNDS,
  FRAME_RECORD_VALUE,
  FRAME_SIZE,
  FUNC_TABLE,
  MAY_GOTO_LIMIT,
} from "../../layout";
import { compile_program } from "../host";
import { functionAt, hasRoom, recordOf } from "../interpreter/frames";
import { eachNext, eachStart, isIterable } from "../maps/each";
import { tailTarget } from "../maps/programs";
import { exec, fault } from "../state";
import { E2BIG, EINVAL, ENOENT } from "../uapi";

const NOT_COMPILED: i32 = -1;

/** Index of the program's main function in the table, or -ENOENT. */
export function tail_call(context: u64, map: u32, index: u32, frame: u32, pc: u32): i32 {
  const prog = tailTarget(exec, map, index, frame);
  if (prog == 0) return -ENOENT;
  if (load<i32>(prog, FUNC_TABLE) == NOT_COMPILED) compile_program(prog);
  return load<i32>(prog, FUNC_TABLE);
}

/** The callback's index in the table; ends the run if it is none, or has no room for its frame. */
function callbackAt(callback: u64, frame: u32, pc: u32): u32 {
  if (functionAt(callback, exec) == 0) fault(FAULT_CALL_TARGET, pc);
  if (!hasRoom(exec, frame)) fault(FAULT_CALL_DEPTH, pc);
  return load<u32>(u32(callback), FUNC_TABLE);
}

export function loop(rounds: u32, callback: u64, context: u64, flags: u64, frame: u32, pc: u32): i32 {
  if (flags != 0) return -EINVAL;
  if (rounds > u32(MAY_GOTO_LIMIT)) return -E2BIG;
  const target = callbackAt(callback, frame, pc);
  const prog = load<u32>(exec, EXEC_PROG);
  const stack = load<u32>(exec, EXEC_STACK);
  const zero: u64 = 0;
  for (let round: u32 = 0; round < rounds; round++) {
    const stop = call_indirect<u64>(target, u64(round), context, zero, zero, zero, frame - FRAME_SIZE);
    comeBack(prog, stack);
    if (stop != 0) return round + 1;
  }
  return rounds;
}

export function for_each_map_elem(
  map: u32,
  callback: u64,
  context: u64,
  flags: u64,
  frame: u32,
  pc: u32,
): i64 {
  if (flags != 0 || map == 0 || !isIterable(map)) return -EINVAL;
  const target = callbackAt(callback, frame, pc);
  const prog = load<u32>(exec, EXEC_PROG);
  const stack = load<u32>(exec, EXEC_STACK);
  const record = recordOf(exec, frame);
  const zero: u64 = 0;
  store<u32>(record, map, FRAME_RECORD_MAP);
  store<u32>(record, 0, FRAME_RECORD_ROUNDS);
  eachStart(record);
  while (eachNext(record)) {
    const stop = call_indirect<u64>(
      target,
      u64(map),
      u64(load<u32>(record, FRAME_RECORD_KEY)),
      u64(load<u32>(record, FRAME_RECORD_VALUE)),
      context,
      zero,
      frame - FRAME_SIZE,
    );
    comeBack(prog, stack);
    if (stop != 0) break;
  }
  return load<u32>(record, FRAME_RECORD_ROUNDS);
}

/** The callback may have ended in another program, by a tail call. */
function comeBack(prog: u32, stack: u32): void {
  store<u32>(exec, prog, EXEC_PROG);
  store<u32>(exec, stack, EXEC_STACK);
}
