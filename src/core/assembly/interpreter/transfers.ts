/** Helpers that go on elsewhere than behind their call: bpf_tail_call and those that call back. */
import {
  EXEC_MAY_GOTO,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FRAME_RECORD_BOUND,
  FRAME_RECORD_CALLBACK,
  FRAME_RECORD_CONTEXT,
  FRAME_RECORD_MAP,
  FRAME_RECORD_ROUNDS,
  FUNC_CODE,
  MAY_GOTO_LIMIT,
} from "../../layout";
import { eachStart, isIterable } from "../maps/each";
import { tailTarget } from "../maps/programs";
import { setFault } from "../state";
import { E2BIG, EINVAL, ENOENT, HELPER_FOR_EACH_MAP_ELEM, HELPER_LOOP, HELPER_TAIL_CALL } from "../uapi";
import { enter, functionAt, leave, recordOf } from "./frames";

const R1 = 8;
const R2 = 16;
const R3 = 24;
const R4 = 32;
const R10 = 80;

export function isTransfer(id: i32): bool {
  return id == HELPER_TAIL_CALL || id == HELPER_LOOP || id == HELPER_FOR_EACH_MAP_ELEM;
}

/** The address to go on at, or 0 when the state has a fault. */
export function transfer(id: i32, state: u32, pc: u32): u32 {
  if (id == HELPER_TAIL_CALL) return tailCall(state, pc);
  if (load<u64>(state, R4) != 0) return result(state, pc, -EINVAL);
  const map: u32 = id == HELPER_LOOP ? 0 : load<u32>(state, R1);
  const bound: u32 = id == HELPER_LOOP ? load<u32>(state, R1) : 0;
  if (bound > u32(MAY_GOTO_LIMIT)) return result(state, pc, -E2BIG);
  if (map != 0 ? !isIterable(map) : id != HELPER_LOOP) return result(state, pc, -EINVAL);
  const code = functionAt(load<u64>(state, R2), state);
  if (code == 0) return stop(state, pc, FAULT_CALL_TARGET);
  const record = recordOf(state, load<u32>(state, R10));
  if (!enter(state, pc + 8)) return stop(state, pc, FAULT_CALL_DEPTH);
  store<u32>(record, code, FRAME_RECORD_CALLBACK);
  store<u32>(record, map, FRAME_RECORD_MAP);
  store<u32>(record, 0, FRAME_RECORD_ROUNDS);
  store<u32>(record, bound, FRAME_RECORD_BOUND);
  store<u64>(record, load<u64>(state, R3), FRAME_RECORD_CONTEXT);
  if (map != 0) eachStart(record);
  // As after a round that wants another: begins the first, or ends at once if there is none.
  store<u64>(state, 0);
  return leave(state);
}

/** The program takes the place of the function: its frame, its caller. It gets r1, all else is 0. */
function tailCall(state: u32, pc: u32): u32 {
  const frame = load<u32>(state, R10);
  const prog = tailTarget(state, load<u32>(state, R2), load<u32>(state, R3), frame);
  if (prog == 0) return result(state, pc, -ENOENT);
  store<u64>(state, 0);
  memory.fill(state + R2, 0, R10 - R2);
  store<u32>(state, MAY_GOTO_LIMIT, EXEC_MAY_GOTO);
  return load<u32>(prog, FUNC_CODE);
}

function result(state: u32, pc: u32, value: i32): u32 {
  store<i64>(state, value);
  return pc + 8;
}

function stop(state: u32, pc: u32, code: i32): u32 {
  setFault(state, code, pc);
  return 0;
}
