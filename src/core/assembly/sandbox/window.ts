/**
 * Finds the window that an address lies in: the contiguous bytes around it that the program may touch in the same way. An
 * access is allowed if all of it lies in one window.
 */
import {
  CTX_HEADER,
  CTX_KIND,
  CTX_RIGHTS,
  CTX_SIZE,
  EXEC_CTX,
  EXEC_PROG,
  EXEC_STACK,
  FIELD_ENTRY,
  FIELD_KIND,
  FIELD_OFFSET,
  FRAME_SIZE,
  KIND_XDP,
  PROG_TYPE,
  PROG_WRITER,
  REGION_BASE,
  REGION_CONTEXT,
  REGION_COPIES,
  REGION_COPY_STRIDE,
  REGION_HEAP,
  REGION_KEY,
  REGION_KEY_SIZE,
  REGION_KIND,
  REGION_OBJECT,
  REGION_OFFSET,
  REGION_OWNER,
  REGION_RIGHTS,
  REGION_SIZE,
  REGION_STRIDE,
  REGION_WRITES,
  RIGHT_READ,
  RIGHT_WRITE,
  STACK_SIZE,
  XDP_PAGE,
  WRITE_ENTRY,
  WRITE_OFFSET,
  WRITE_SIZE,
  WRITE_WHO,
} from "../../layout";
import { packetEnd, packetStart } from "../batch/bounds";
import { fragmentsOf, fragmentsSize, pageEnd } from "../helpers/xdp-frags";
import { lockedObject } from "../objects";
import { fieldEnd, mayReach, recordOf, rightsOfField } from "./fields";
import { isGranted } from "./grants";
import { isRecord, lockRegions, regionAt, unlockRegions } from "./regions";

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

// Contexts are few and asked for in every run: the record of the last one, and its last window with whom it was for. A record is
// what it was if it still is one, of a context that begins there. What may be read or written depends on the program's type.
let contextRecord: u32 = 0;
let lastContext: u32 = 0;
let lastProg: u32 = 0;
let lastContextSize: u32 = 0;
let lastRight: i32 = 0;
let lastStart: u32 = 0;
let lastSize: u32 = 0;

/**
 * False if the address lies in no window of the program under way; `right` is what it wants to do. `frame` is the end of the frame of the function that
 * runs: frames of its callers up to the program's main function are its own too, what lies below is nobody's yet.
 */
export function findWindow(state: u32, frame: u32, address: u32, right: i32): bool {
  const lowest = frame - FRAME_SIZE;
  const stackSize = load<u32>(state, EXEC_STACK) + STACK_SIZE - lowest;
  if (address - lowest < stackSize) return set(lowest, stackSize, RIGHT_READ | RIGHT_WRITE);
  lockRegions();
  const found = findElsewhere(state, address, right);
  unlockRegions();
  return found;
}

function findElsewhere(state: u32, address: u32, right: i32): bool {
  const context = lockedContextOf(state);
  if (context != 0) {
    // The packet lies in no region, so nothing else can be meant.
    if (findPacket(context, address)) return true;
    if (
      context == lastContext &&
      right == lastRight &&
      address - lastStart < lastSize &&
      load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_SIZE) == lastContextSize &&
      load<u32>(state, EXEC_PROG) == lastProg
    )
      return set(lastStart, lastSize, right);
  }
  const record = regionAt(address);
  if (record == 0) return false;
  if (load<i32>(record, REGION_KIND) == REGION_CONTEXT) {
    return context == load<u32>(record, REGION_BASE) && findContext(state, context, address, right);
  }
  if (!isTheirs(state, record, address)) return false;
  if ((right & RIGHT_WRITE) != 0 && load<i32>(record, REGION_KIND) == REGION_OBJECT)
    return findMember(state, record, address);
  return findBlock(record, address);
}

/** Whether the program under way, or the run, may touch the block of a region that an address lies in. */
function isTheirs(state: u32, record: u32, address: u32): bool {
  const prog = load<u32>(state, EXEC_PROG);
  if (load<i32>(record, REGION_KIND) == REGION_HEAP) {
    const object = lockedObject(address);
    return object != 0 && mayReach(state, prog, object);
  }
  const owner = load<u32>(record, REGION_OWNER);
  return owner == 0 || owner == state || owner == prog || isGranted(prog, owner);
}

function findBlock(record: u32, address: u32): bool {
  const value = valueIn(record, address);
  if (value != 0)
    return findBetween(recordOf(record), value, load<u32>(record, REGION_SIZE), record, address);
  const key = blockOf(record, address) + load<u32>(record, REGION_KEY);
  if (address - key < load<u32>(record, REGION_KEY_SIZE))
    return set(key, load<u32>(record, REGION_KEY_SIZE), RIGHT_READ);
  return false;
}

/** Of the kernel's structures a few members may be written, by programs of certain types and struct_ops. */
function findMember(state: u32, record: u32, address: u32): bool {
  const writes = load<u32>(record, REGION_WRITES);
  const base = load<u32>(record, REGION_BASE);
  const prog = load<u32>(state, EXEC_PROG);
  let entry = writes + 4;
  for (let left: u32 = writes == 0 ? 0 : load<u32>(writes); left != 0; left--, entry += WRITE_ENTRY) {
    const start = base + load<u32>(entry, WRITE_OFFSET);
    const who = load<u32>(entry, WRITE_WHO);
    if (address - start >= load<u32>(entry, WRITE_SIZE)) continue;
    if (who == load<u32>(prog, PROG_TYPE) || who == load<u32>(prog, PROG_WRITER))
      return set(start, load<u32>(entry, WRITE_SIZE), RIGHT_READ | RIGHT_WRITE);
  }
  return findBlock(record, address);
}

function blockOf(record: u32, address: u32): u32 {
  const base = load<u32>(record, REGION_BASE);
  const stride = load<u32>(record, REGION_STRIDE);
  return stride == 0 ? base : address - ((address - base) % stride);
}

/** The first byte of the value, or of the CPU's copy of it, that an address lies in; 0 if it lies in none. */
function valueIn(record: u32, address: u32): u32 {
  const first = blockOf(record, address) + load<u32>(record, REGION_OFFSET);
  const size = load<u32>(record, REGION_SIZE);
  if (address - first < size) return first;
  const distance = load<u32>(record, REGION_COPY_STRIDE);
  if (distance == 0 || address < first) return 0;
  const copy = (address - first) / distance;
  if (copy >= load<u32>(record, REGION_COPIES) || (address - first) % distance >= size) return 0;
  return first + copy * distance;
}

/** The value or object that an address lies in, if the program under way may touch it; or 0. The table is locked. */
export function lockedValue(state: u32, address: u32): u32 {
  const record = regionAt(address);
  return record != 0 && isTheirs(state, record, address) ? valueIn(record, address) : 0;
}

/** The kernel's fields in a value part it into several windows. */
function findBetween(fields: u32, value: u32, size: u32, record: u32, address: u32): bool {
  const rights = load<i32>(record, REGION_RIGHTS);
  if (fields == 0) return set(value, size, rights);
  let from = value;
  let entry = fields + 4;
  for (let left = load<u32>(fields); left != 0; left--, entry += FIELD_ENTRY) {
    const start = value + load<u32>(entry, FIELD_OFFSET);
    const end = value + fieldEnd(entry);
    if (address < start) return set(from, start - from, rights);
    if (address < end) return set(start, end - start, rights & rightsOfField(load<i32>(entry, FIELD_KIND)));
    from = end;
  }
  return set(from, value + size - from, rights);
}

/** Address of the context of the run, or 0 if r1 was something else. */
export function contextOf(state: u32): u32 {
  lockRegions();
  const context = lockedContextOf(state);
  unlockRegions();
  return context;
}

function lockedContextOf(state: u32): u32 {
  const context = load<u32>(state, EXEC_CTX);
  if (!isRecord(contextRecord) || !isContext(contextRecord, context)) {
    const record = regionAt(context);
    if (record == 0 || !isContext(record, context)) return 0;
    contextRecord = record;
  }
  return context;
}

function isContext(record: u32, context: u32): bool {
  return load<u32>(record, REGION_BASE) == context && load<i32>(record, REGION_KIND) == REGION_CONTEXT;
}

/** Neighbouring bytes with the right form a window. */
function findContext(state: u32, context: u32, address: u32, right: i32): bool {
  const header = context - CTX_HEADER;
  const size = load<u32>(header, CTX_HEADER + CTX_SIZE);
  const table = load<u32>(header, CTX_HEADER + CTX_RIGHTS);
  const at = address - context;
  if (at >= size) return false;
  if (table == 0) return set(context, size, RIGHT_READ);
  let first = at;
  let end = at;
  while (end < size && (load<u8>(table + end) & right) == right) end++;
  if (end == at) return false;
  while (first > 0 && (load<u8>(table + first - 1) & right) == right) first--;
  lastContext = context;
  lastProg = load<u32>(state, EXEC_PROG);
  lastRight = right;
  lastContextSize = size;
  lastStart = context + first;
  lastSize = end - first;
  return set(lastStart, lastSize, right);
}

function findPacket(context: u32, address: u32): bool {
  const start = packetStart(context);
  const end = packetEnd(context);
  if (end > start && address - start < end - start) return set(start, end - start, RIGHT_READ | RIGHT_WRITE);
  if (load<i32>(context - CTX_HEADER, CTX_HEADER + CTX_KIND) != KIND_XDP) return false;
  // What a slice of a frame that has fragments may lead to: one page of them.
  const first = fragmentsOf(context);
  const size = fragmentsSize(context);
  if (address - first >= size) return false;
  const last = min(pageEnd(context, address), first + size);
  const from = max(first, pageEnd(context, address) - XDP_PAGE);
  return set(from, last - from, RIGHT_READ | RIGHT_WRITE);
}
