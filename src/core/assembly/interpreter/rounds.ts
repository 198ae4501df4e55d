/**
 * Helpers that call back, in the interpreter: bpf_loop and bpf_for_each_map_elem. Between two rounds all that they know lies
 * in the record of the frame that called them, so a run can stop inside a callback and go on later like anywhere else.
 */
import {
  EXEC_MAY_GOTO,
  FRAME_RECORD_BOUND,
  FRAME_RECORD_CONTEXT,
  FRAME_RECORD_KEY,
  FRAME_RECORD_MAP,
  FRAME_RECORD_ROUNDS,
  FRAME_RECORD_VALUE,
  MAY_GOTO_LIMIT,
} from "../../layout";
import { eachNext } from "../maps/each";

const R1 = 8;
const R2 = 16;
const R3 = 24;
const R4 = 32;
const R5 = 40;

/** r0 is what the last round returned; if there is another one, its arguments are set, else r0 becomes the helper's result. */
export function nextRound(state: u32, record: u32): bool {
  const map = load<u32>(record, FRAME_RECORD_MAP);
  const rounds = load<u32>(record, FRAME_RECORD_ROUNDS);
  const stopped = load<u64>(state) != 0;
  if (map == 0) {
    if (stopped || rounds >= load<u32>(record, FRAME_RECORD_BOUND)) return finish(state, record);
    store<u32>(record, rounds + 1, FRAME_RECORD_ROUNDS);
    store<u64>(state, rounds, R1);
    store<u64>(state, load<u64>(record, FRAME_RECORD_CONTEXT), R2);
    store<u64>(state, 0, R3);
    store<u64>(state, 0, R4);
  } else {
    if (stopped || !eachNext(record)) return finish(state, record);
    store<u64>(state, map, R1);
    store<u64>(state, load<u32>(record, FRAME_RECORD_KEY), R2);
    store<u64>(state, load<u32>(record, FRAME_RECORD_VALUE), R3);
    store<u64>(state, load<u64>(record, FRAME_RECORD_CONTEXT), R4);
  }
  store<u64>(state, 0, R5);
  store<u32>(state, MAY_GOTO_LIMIT, EXEC_MAY_GOTO);
  return true;
}

function finish(state: u32, record: u32): bool {
  store<u64>(state, load<u32>(record, FRAME_RECORD_ROUNDS));
  return false;
}
