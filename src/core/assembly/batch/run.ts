/** Runs a program over many packets without leaving WebAssembly. */
import {
  CTX_FRAGS,
  CTX_FRAGS_SIZE,
  CTX_HEADER,
  CTX_MAC,
  ENGINE_JIT,
  EXEC_PC,
  EXEC_REDIRECT,
  EXEC_REDIRECT_KEY,
  EXEC_REDIRECT_MAP,
  FAULT_FUEL,
  FAULT_MEMORY,
  KIND_XDP,
  RECORD_META,
  RECORD_OUT,
  RECORD_OUT_LENGTH,
  RECORD_REDIRECT,
  RECORD_REDIRECT_KEY,
  RECORD_REDIRECT_MAP,
  RECORD_RESULT,
  RECORD_SIZE,
  RUN_BUFFER_SIZE,
  RUN_COUNT,
  RUN_CTX,
  RUN_ENGINE,
  RUN_FUEL,
  RUN_KEEP,
  RUN_KIND,
  RUN_NEXT,
  RUN_OUT,
  RUN_OUT_END,
  RUN_PROG,
  RUN_RECORDS,
  RUN_REPEAT,
  SKB_DATA_END,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
  XDP_DATA,
  XDP_DATA_END,
  XDP_DATA_META,
} from "../../layout";
import { LARGEST } from "../helpers/skb-buffer";
import { begin } from "../interpreter/frames";
import { interpret } from "../interpreter/slices";
import { setFault, setFuel } from "../state";
import { callCompiled } from "./compiled";
import { preparePacket } from "./packet";

/**
 * Runs the records of an order from RUN_NEXT on. STATUS_PAUSED when the next kept packet might not fit (empty the
 * out area and call again). When a record faults, RUN_NEXT names it; a trap of compiled code leaves it so too.
 */
export function run_batch(state: u32, run: u32): i32 {
  const count = load<u32>(run, RUN_COUNT);
  const keep = load<u32>(run, RUN_KEEP);
  // A frame stays in its buffer, a socket buffer may move to a larger one.
  const largest = load<i32>(run, RUN_KIND) == KIND_XDP ? 0 : LARGEST;
  const mayTake: u32 = keep == 0 ? 0 : max<u32>(load<u32>(run, RUN_BUFFER_SIZE), largest);
  for (let index = load<u32>(run, RUN_NEXT); index < count; index++) {
    store<u32>(run, index, RUN_NEXT);
    if (load<u32>(run, RUN_OUT_END) - load<u32>(run, RUN_OUT) < mayTake) return STATUS_PAUSED;
    const record = load<u32>(run, RUN_RECORDS) + index * RECORD_SIZE;
    for (let round = load<u32>(run, RUN_REPEAT); round != 0; round--) {
      if (!runOnce(state, run, record)) return STATUS_FAULT;
    }
    finish(state, run, record);
  }
  store<u32>(run, count, RUN_NEXT);
  return STATUS_DONE;
}

/** Stores what a run has left in its record. */
function finish(state: u32, run: u32, record: u32): void {
  const result = load<u32>(state);
  store<u32>(record, result, RECORD_RESULT);
  store<u32>(record, load<u32>(state, EXEC_REDIRECT), RECORD_REDIRECT);
  store<u32>(record, load<u32>(state, EXEC_REDIRECT_MAP), RECORD_REDIRECT_MAP);
  store<u32>(record, load<u32>(state, EXEC_REDIRECT_KEY), RECORD_REDIRECT_KEY);
  if (((load<u32>(run, RUN_KEEP) >> min<u32>(result, 31)) & 1) != 0) keepPacket(run, record);
  else store<u32>(record, 0, RECORD_OUT);
}

/**
 * The first half of a run over the first record of an order, for who wants to drive the interpreter between its instructions: the
 * packet is in place, the program at its first instruction.
 */
export function batch_begin(state: u32, run: u32): void {
  if (!preparePacket(run, load<u32>(run, RUN_RECORDS))) unreachable();
  begin(state, load<u32>(run, RUN_PROG), load<u32>(run, RUN_CTX), 0);
}

/** The second half, after the program's last instruction; of a batch, for the record whose run was left by an exception. */
export function batch_end(state: u32, run: u32): void {
  finish(state, run, load<u32>(run, RUN_RECORDS) + load<u32>(run, RUN_NEXT) * RECORD_SIZE);
}

function runOnce(state: u32, run: u32, record: u32): bool {
  const prog = load<u32>(run, RUN_PROG);
  const context = load<u32>(run, RUN_CTX);
  if (!preparePacket(run, record)) {
    setFault(state, FAULT_MEMORY, record);
    return false;
  }
  if (load<i32>(run, RUN_ENGINE) == ENGINE_JIT) {
    setFuel(load<i64>(run, RUN_FUEL));
    store<u64>(state, callCompiled(state, prog, context, 0));
    return true;
  }
  begin(state, prog, context, 0);
  const status = interpret(state, load<u64>(run, RUN_FUEL));
  if (status == STATUS_PAUSED) setFault(state, FAULT_FUEL, load<u32>(state, EXEC_PC));
  return status == STATUS_DONE;
}

/**
 * Copies what the program left of the packet, metadata first, to the out area: from the link header on, also where the
 * program's own data begins behind it.
 */
function keepPacket(run: u32, record: u32): void {
  const context = load<u32>(run, RUN_CTX);
  const xdp = load<i32>(run, RUN_KIND) == KIND_XDP;
  const data = xdp ? load<u32>(context, XDP_DATA) : load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_MAC);
  const end = xdp ? load<u32>(context, XDP_DATA_END) : load<u32>(context, SKB_DATA_END);
  const meta = xdp ? load<u32>(context, XDP_DATA_META) : data;
  const out = load<u32>(run, RUN_OUT);
  memory.copy(out, meta, end - meta);
  let rest: u32 = 0;
  if (xdp) {
    rest = load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_FRAGS_SIZE);
    memory.copy(out + (end - meta), load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_FRAGS), rest);
  }
  store<u32>(record, out + (data - meta), RECORD_OUT);
  store<u32>(record, end - data + rest, RECORD_OUT_LENGTH);
  store<u32>(record, data - meta, RECORD_META);
  store<u32>(run, out + (end - meta) + rest, RUN_OUT);
}
