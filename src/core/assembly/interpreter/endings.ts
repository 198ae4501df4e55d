/** How a slice of a run ends. */
import { EXEC_COUNT, EXEC_PC, STATUS_FAULT } from "../../layout";
import { setFault } from "../state";

/** Of a slice: the loop for the other kind of programs must go on. */
export const STATUS_OTHER_SAFETY = 3;

export function pause(state: u32, pc: u32, count: u64, status: i32): i32 {
  store<u32>(state, pc, EXEC_PC);
  store<u64>(state, count, EXEC_COUNT);
  return status;
}

export function stop(state: u32, pc: u32, count: u64, code: i32): i32 {
  setFault(state, code, pc);
  return pause(state, pc, count, STATUS_FAULT);
}
