/** Starting a function, calls between functions of a program, and coming back. */
import {
  EXEC_COUNT,
  EXEC_CTX,
  EXEC_DEPTH,
  EXEC_FAULT,
  EXEC_FRAMES,
  EXEC_HELD,
  EXEC_MAY_GOTO,
  EXEC_PC,
  EXEC_PROG,
  EXEC_REDIRECT,
  EXEC_REDIRECT_MAP,
  EXEC_RUN,
  EXEC_STACK,
  EXEC_STACK_END,
  EXEC_STACK_LOW,
  EXEC_STACK_USER,
  EXEC_TAIL_CALLS,
  FRAME_RECORD,
  FRAME_RECORD_CALLBACK,
  FRAME_RECORD_MAY_GOTO,
  FRAME_RECORD_PC,
  FRAME_RECORD_PROG,
  FRAME_RECORD_STACK,
  FRAME_SIZE,
  FUNC_CODE,
  FUNC_PROG,
  FUNC_SIZE,
  MAX_NESTED,
  MAY_GOTO_LIMIT,
  PROG_CODE,
  PROG_CODE_END,
  PROG_FUNCS_END,
  PROG_SAFETY,
  PROG_SIZE,
  SAFETY_SANDBOX,
  STACK_SIZE,
} from "../../layout";
import { forgetWindows } from "../sandbox/access";
import { end_run } from "../sandbox/ends";
import { isSandboxed, setCompiled } from "../state";
import { nextRound } from "./rounds";

const R1 = 8;
const R2 = 16;
const R6 = 48;
const R10 = 80;

/** Makes `state` ready to run a function with two arguments; the rest of the registers is 0. */
export function begin(state: u32, func: u32, r1: u32, r2: u32): void {
  reset(state, func, r1);
  setCompiled(false);
  forgetWindows(state);
  store<u32>(state, 0, EXEC_DEPTH);
  setRegisters(state, func, r1, r2);
}

export function setRegisters(state: u32, func: u32, r1: u32, r2: u32): void {
  // With `memory.fill`, which is a call, and all of `reset` a run of two instructions takes 13.8 ns, without 9.2.
  const zero = i64x2.splat(0);
  v128.store(state, zero);
  v128.store(state, zero, 16);
  v128.store(state, zero, 32);
  v128.store(state, zero, 48);
  v128.store(state, zero, 64);
  store<u64>(state, r1, R1);
  store<u64>(state, r2, R2);
  store<u64>(state, load<u32>(state, EXEC_STACK_END), R10);
  store<u32>(state, load<u32>(func, FUNC_CODE), EXEC_PC);
  store<u32>(state, MAY_GOTO_LIMIT, EXEC_MAY_GOTO);
  store<u64>(state, 0, EXEC_COUNT);
}

/** What both engines need before a run. */
export function reset(state: u32, func: u32, context: u32): void {
  store<u32>(state, load<u32>(state, EXEC_RUN) + 1, EXEC_RUN);
  if (load<u32>(state, EXEC_HELD) != 0) end_run(state);
  const prog = load<u32>(func, FUNC_PROG);
  openStack(state, prog);
  store<u32>(state, prog, EXEC_PROG);
  store<u32>(state, load<u32>(state, EXEC_STACK_END) - STACK_SIZE, EXEC_STACK);
  store<u32>(state, 0, EXEC_TAIL_CALLS);
  store<u32>(state, context, EXEC_CTX);
  // Two fields at a time: EXEC_FAULT and EXEC_FAULT_ADDRESS, EXEC_REDIRECT and EXEC_REDIRECT_FLAGS.
  store<u64>(state, 0, EXEC_FAULT);
  store<u64>(state, 0, EXEC_REDIRECT);
  store<u32>(state, 0, EXEC_REDIRECT_MAP);
}

/** The same as `begin` after a run of the function that came to its end: what it can have changed. */
export function beginAgain(state: u32, func: u32, r1: u32, r2: u32, sandboxed: bool): void {
  resetAgain(state, func, r1);
  if (sandboxed) forgetWindows(state);
  setRegisters(state, func, r1, r2);
}

/** The same as `reset` after such a run. */
export function resetAgain(state: u32, func: u32, context: u32): void {
  if (hasTraces(state)) reset(state, func, context);
  else nextRun(state);
}

/** Whether a run has made tail calls or holds something: two fields, EXEC_TAIL_CALLS and EXEC_HELD. */
export function hasTraces(state: u32): bool {
  return load<u64>(state, EXEC_TAIL_CALLS) != 0;
}

/** What every run leaves. */
export function nextRun(state: u32): void {
  store<u32>(state, load<u32>(state, EXEC_RUN) + 1, EXEC_RUN);
  store<u64>(state, 0, EXEC_REDIRECT);
  store<u32>(state, 0, EXEC_REDIRECT_MAP);
}

/**
 * What a program left on the stack is not for others to read: a sandboxed program begins on zeroes if another one has run
 * there since. Below EXEC_STACK_LOW no program has had a frame since the stack was cleared.
 */
function openStack(state: u32, prog: u32): void {
  const end = load<u32>(state, EXEC_STACK_END);
  const low = load<u32>(state, EXEC_STACK_LOW);
  if (load<u32>(state, EXEC_STACK_USER) == prog) return;
  if (load<i32>(prog, PROG_SAFETY) == SAFETY_SANDBOX) {
    if (low != 0) memory.fill(low, 0, end - low);
    store<u32>(state, end - STACK_SIZE, EXEC_STACK_LOW);
  } else {
    store<u32>(state, low == 0 ? end - STACK_SIZE : min(low, end - STACK_SIZE), EXEC_STACK_LOW);
  }
  store<u32>(state, prog, EXEC_STACK_USER);
}

/** The same for the program that a tail call leads to: all of its frames lie below `frame`. */
export function handOverStack(state: u32, prog: u32, frame: u32): void {
  const lowest = frame - STACK_SIZE;
  store<u32>(state, 0, EXEC_STACK_USER);
  store<u32>(state, min(load<u32>(state, EXEC_STACK_LOW), lowest), EXEC_STACK_LOW);
  if (load<i32>(prog, PROG_SAFETY) != SAFETY_SANDBOX) return;
  memory.fill(lowest, 0, STACK_SIZE);
  forgetWindows(state);
}

/** Calls leave nothing in r1 to r5 (RFC 9669, section 2.2). No verified program would see it. */
export function forgetArguments(state: u32): void {
  memory.fill(state + R1, 0, R6 - R1);
}

/** The record of a caller whose frame ends at an address. */
export function recordOf(state: u32, frame: u32): u32 {
  return state + EXEC_FRAMES + ((load<u32>(state, EXEC_STACK_END) - frame) / FRAME_SIZE) * FRAME_RECORD;
}

/** Whether the program may have one more frame below the one that ends here. */
export function hasRoom(state: u32, frame: u32): bool {
  return frame - load<u32>(state, EXEC_STACK) >= 2 * FRAME_SIZE;
}

/** Four registers: `memory.copy` would be a call. */
function copyRegisters(to: u32, from: u32): void {
  store<u64>(to, load<u64>(from));
  store<u64>(to, load<u64>(from, 8), 8);
  store<u64>(to, load<u64>(from, 16), 16);
  store<u64>(to, load<u64>(from, 24), 24);
}

/** Enters a function of the program, keeping r6 to r9 of its caller. False if the stack of calls is full. */
export function enter(state: u32, returnTo: u32): bool {
  const depth = load<u32>(state, EXEC_DEPTH);
  const frame = load<u32>(state, R10);
  if (!hasRoom(state, frame) || depth >= u32(MAX_NESTED)) return false;
  const record = state + EXEC_FRAMES + depth * FRAME_RECORD;
  copyRegisters(record, state + R6);
  store<u32>(record, returnTo, FRAME_RECORD_PC);
  store<u32>(record, load<u32>(state, EXEC_MAY_GOTO), FRAME_RECORD_MAY_GOTO);
  store<u32>(record, load<u32>(state, EXEC_PROG), FRAME_RECORD_PROG);
  store<u32>(record, load<u32>(state, EXEC_STACK), FRAME_RECORD_STACK);
  store<u32>(record, 0, FRAME_RECORD_CALLBACK);
  store<u32>(state, depth + 1, EXEC_DEPTH);
  store<u32>(state, MAY_GOTO_LIMIT, EXEC_MAY_GOTO);
  store<u64>(state, frame - FRAME_SIZE, R10);
  if (isSandboxed(state)) {
    forgetWindows(state);
    // As in compiled code, where registers are locals: a function does not see what its caller had in them.
    store<u64>(state, 0);
    memory.fill(state + R6, 0, R10 - R6);
  }
  return true;
}

/** Leaves a function: the address to go on at, or 0 when it was the main one. A callback may begin once more. */
export function leave(state: u32): u32 {
  const depth = load<u32>(state, EXEC_DEPTH);
  if (depth == 0) return 0;
  const record = state + EXEC_FRAMES + (depth - 1) * FRAME_RECORD;
  store<u32>(state, load<u32>(record, FRAME_RECORD_PROG), EXEC_PROG);
  store<u32>(state, load<u32>(record, FRAME_RECORD_STACK), EXEC_STACK);
  const callback = load<u32>(record, FRAME_RECORD_CALLBACK);
  if (isSandboxed(state)) {
    forgetWindows(state);
    forgetArguments(state);
  }
  if (callback != 0 && nextRound(state, record)) return callback;
  copyRegisters(state + R6, record);
  store<u32>(state, load<u32>(record, FRAME_RECORD_MAY_GOTO), EXEC_MAY_GOTO);
  store<u32>(state, depth - 1, EXEC_DEPTH);
  store<u64>(state, load<u64>(state, R10) + FRAME_SIZE, R10);
  return load<u32>(record, FRAME_RECORD_PC);
}

/**
 * The first instruction of the function that a 64-bit value points to, or 0 if it is no descriptor of a function of
 * the program that runs.
 */
export function functionAt(value: u64, state: u32): u32 {
  if (value > (u64(memory.size()) << 16) - FUNC_SIZE) return 0;
  const prog = load<u32>(state, EXEC_PROG);
  // What lies at the address may be a sandboxed program's own work: descriptors are where the loader has put them.
  if (isSandboxed(state) && u32(value) != prog) {
    const at = u32(value) - prog - PROG_SIZE;
    if (at >= load<u32>(prog, PROG_FUNCS_END) - prog - PROG_SIZE || at % FUNC_SIZE != 0) return 0;
  }
  if (load<u32>(u32(value), FUNC_PROG) != prog) return 0;
  const code = load<u32>(u32(value), FUNC_CODE);
  return code >= load<u32>(prog, PROG_CODE) && code < load<u32>(prog, PROG_CODE_END) && (code & 7) == 0
    ? code
    : 0;
}
