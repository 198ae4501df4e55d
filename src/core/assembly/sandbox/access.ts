/** The check of one access, for both engines: allowed if one window with the right holds all of its bytes. */
import {
  EXEC_ACCESS_ADDRESS,
  EXEC_ACCESS_FRAME,
  EXEC_ACCESS_RIGHT,
  EXEC_ACCESS_SIZE,
  EXEC_PC,
  EXEC_WINDOWS,
  EXEC_WRITE_WINDOWS,
  FAULT_ACCESS,
  FIRST_ADDRESS,
  RIGHT_READ,
  RIGHT_WRITE,
  WINDOW_BIAS,
} from "../../layout";
import { LOAD_ACQUIRE, STORE_RELEASE } from "../interpreter/atomics";
import { exec, fault } from "../state";
import { findWindow, windowRights, windowSize, windowStart } from "./window";

const R10 = 80;
// A window that holds nothing: no memory ever reaches so far.
const NOWHERE: u32 = 0xffff0000;

/** Of the window that `check_access` found: its bytes less those of the caller's widest access. */
export let window_room: u32 = 0;

export function isAllowed(state: u32, frame: u32, address: u32, size: u32, right: i32): bool {
  return (
    findWindow(state, frame, address, right) &&
    (windowRights & right) == right &&
    windowSize >= size &&
    address - windowStart <= windowSize - size
  );
}

/** Ends the run, after noting what it wanted. `right` may carry the register of a helper's argument in bits 8 to 15. */
export function refuse(state: u32, frame: u32, address: u32, size: u32, right: i32, pc: u32): void {
  store<u32>(state, address, EXEC_ACCESS_ADDRESS);
  store<u32>(state, size, EXEC_ACCESS_SIZE);
  store<i32>(state, right, EXEC_ACCESS_RIGHT);
  store<u32>(state, frame, EXEC_ACCESS_FRAME);
  fault(FAULT_ACCESS, pc);
}

/**
 * For compiled code: `shape` holds the bytes of the access, the right in bits 8 to 15, the bytes of the function's widest
 * access in bits 16 to 23, above them the register of a helper's argument or 0. Gives the first byte of the window, for later accesses, and sets `window_room`.
 */
export function check_access(address: u32, shape: u32, frame: u32, pc: u32): u32 {
  const size = shape & 0xff;
  const right = (shape >> 8) & 0xff;
  const widest = (shape >> 16) & 0xff;
  if (!isAllowed(exec, frame, address, size, right))
    refuse(exec, frame, address, size, right | ((shape >> 24) << 8), pc);
  if (windowSize < widest || !isShareable(right)) {
    window_room = 0;
    return NOWHERE;
  }
  window_room = windowSize - widest;
  return windowStart;
}

/** For compiled code that would do many accesses at once: whether each of them is allowed. */
export function may_access(address: u32, size: u32, right: i32, frame: u32): i32 {
  return isAllowed(exec, frame, address, size, right) ? 1 : 0;
}

/** For compiled code: whether a load through a pointer that may point anywhere finds something of the program's there. */
export function may_read(address: u64, size: u32, frame: u32): i32 {
  if (address < u64(FIRST_ADDRESS) || address > (u64(memory.size()) << 16) - size) return 0;
  return isAllowed(exec, frame, u32(address), size, RIGHT_READ) ? 1 : 0;
}

/** For the interpreter, when the window of the access's register does not hold it. `register` is its distance from the state. */
export function checkRegister(state: u32, register: u32, address: u32, size: u32, right: i32): void {
  const frame = load<u32>(state, R10);
  if (!isAllowed(state, frame, address, size, right))
    refuse(state, frame, address, size, right, load<u32>(state, EXEC_PC));
  if (windowSize < 8 || !isShareable(right)) return;
  const slot = state + register + (right == RIGHT_READ ? EXEC_WINDOWS : EXEC_WRITE_WINDOWS);
  store<u32>(slot, windowStart + WINDOW_BIAS);
  store<u32>(slot, windowSize - 8, 4);
}

/** The window of an access that may write is kept for others that read too, so it must allow both. */
function isShareable(right: i32): bool {
  return right == RIGHT_READ || (windowRights & (RIGHT_READ | RIGHT_WRITE)) == (RIGHT_READ | RIGHT_WRITE);
}

/** Atomic operations: `dst` and `src` are addresses of registers. */
export function checkAtomic(imm: i32, state: u32, dst: u32, src: u32, word: i32, size: u32): void {
  const right =
    imm == LOAD_ACQUIRE ? RIGHT_READ : imm == STORE_RELEASE ? RIGHT_WRITE : RIGHT_READ | RIGHT_WRITE;
  const register = imm == LOAD_ACQUIRE ? src : dst;
  checkRegister(state, register - state, load<u32>(register) + (word >> 16), size, right);
}

/** What was found before may not hold any more: the frame is another one, or the packet has moved. */
export function forgetWindows(state: u32): void {
  const zero = i64x2.splat(0);
  const windows = state + EXEC_WINDOWS;
  // All 22, two at a time: with a loop a sandboxed run of two instructions takes a tenth longer.
  v128.store(windows, zero);
  v128.store(windows, zero, 16);
  v128.store(windows, zero, 32);
  v128.store(windows, zero, 48);
  v128.store(windows, zero, 64);
  v128.store(windows, zero, 80);
  v128.store(windows, zero, 96);
  v128.store(windows, zero, 112);
  v128.store(windows, zero, 128);
  v128.store(windows, zero, 144);
  v128.store(windows, zero, 160);
}
