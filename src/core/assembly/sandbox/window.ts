/**
 * Finds the window that an address lies in: the contiguous bytes around it that the program may touch in the same way. An
 * access is allowed if all of it lies in one window.
 */
import {
  CTX_HEADER,
  CTX_RIGHTS,
  CTX_SIZE,
  EXEC_CTX,
  EXEC_PROG,
  EXEC_STACK,
  FRAME_SIZE,
  REGION_BASE,
  REGION_CONTEXT,
  REGION_COPIES,
  REGION_COPY_STRIDE,
  REGION_KEY,
  REGION_KEY_SIZE,
  REGION_KIND,
  REGION_OFFSET,
  REGION_OWNER,
  REGION_RIGHTS,
  REGION_SIZE,
  REGION_STRIDE,
  RIGHT_READ,
  RIGHT_WRITE,
  STACK_SIZE,
} from "../../layout";
import { packetEnd, packetStart } from "../batch/bounds";
import { isGranted } from "./grants";
import { regionAt } from "./regions";

/** What `findWindow` found: first byte, number of bytes, RIGHT_ constants. */
export let windowStart: u32 = 0;
export let windowSize: u32 = 0;
export let windowRights: i32 = 0;

function set(start: u32, size: u32, rights: i32): bool {
  windowStart = start;
  windowSize = size;
  windowRights = rights;
  return true;
}

/**
 * False if the address lies in no window of the program under way; `right` is what it wants to do. `frame` is the end of the frame of the function that
 * runs: frames of its callers up to the program's main function are its own too, what lies below is nobody's yet.
 */
export function findWindow(state: u32, frame: u32, address: u32, right: i32): bool {
  const lowest = frame - FRAME_SIZE;
  const stackSize = load<u32>(state, EXEC_STACK) + STACK_SIZE - lowest;
  if (address - lowest < stackSize) return set(lowest, stackSize, RIGHT_READ | RIGHT_WRITE);
  const record = regionAt(address);
  if (record == 0) return findPacket(state, address);
  if (load<i32>(record, REGION_KIND) == REGION_CONTEXT) return findContext(state, record, address, right);
  const owner = load<u32>(record, REGION_OWNER);
  if (owner != 0 && owner != state) {
    const prog = load<u32>(state, EXEC_PROG);
    if (owner != prog && !isGranted(prog, owner)) return false;
  }
  return findBlock(record, address);
}

function findBlock(record: u32, address: u32): bool {
  const base = load<u32>(record, REGION_BASE);
  const stride = load<u32>(record, REGION_STRIDE);
  const rights = load<i32>(record, REGION_RIGHTS);
  const block = stride == 0 ? base : address - ((address - base) % stride);
  const at = address - block;
  const size = load<u32>(record, REGION_SIZE);
  const offset = load<u32>(record, REGION_OFFSET);
  if (at - offset < size) return set(block + offset, size, rights);
  if (at - load<u32>(record, REGION_KEY) < load<u32>(record, REGION_KEY_SIZE)) {
    return set(block + load<u32>(record, REGION_KEY), load<u32>(record, REGION_KEY_SIZE), RIGHT_READ);
  }
  const distance = load<u32>(record, REGION_COPY_STRIDE);
  if (distance == 0 || at < offset) return false;
  const copy = (at - offset) / distance;
  if (copy >= load<u32>(record, REGION_COPIES) || (at - offset) % distance >= size) return false;
  return set(block + offset + copy * distance, size, rights);
}

/** Address of the context of the run, or 0 if r1 was something else. */
export function contextOf(state: u32): u32 {
  const context = load<u32>(state, EXEC_CTX);
  const record = regionAt(context);
  if (record == 0 || load<i32>(record, REGION_KIND) != REGION_CONTEXT) return 0;
  return load<u32>(record, REGION_BASE) == context ? context : 0;
}

/** Neighbouring bytes with the right form a window. */
function findContext(state: u32, record: u32, address: u32, right: i32): bool {
  const context = load<u32>(record, REGION_BASE);
  if (context != load<u32>(state, EXEC_CTX)) return false;
  const header = context - CTX_HEADER;
  const size = load<u32>(header, CTX_HEADER + CTX_SIZE);
  const table = load<u32>(header, CTX_HEADER + CTX_RIGHTS);
  const at = address - context;
  if (at >= size) return false;
  if (table == 0) return set(context, size, RIGHT_READ);
  let first = at;
  let end = at;
  while (end < size && (load<u8>(table + end) & right) != 0) end++;
  if (end == at) return false;
  while (first > 0 && (load<u8>(table + first - 1) & right) != 0) first--;
  return set(context + first, end - first, right);
}

function findPacket(state: u32, address: u32): bool {
  const context = contextOf(state);
  if (context == 0) return false;
  const start = packetStart(context);
  const end = packetEnd(context);
  if (end <= start || address - start >= end - start) return false;
  return set(start, end - start, RIGHT_READ | RIGHT_WRITE);
}
