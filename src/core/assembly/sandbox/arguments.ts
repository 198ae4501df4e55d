/** What a sandboxed program gives to helpers. Both engines ask before each call of a helper that takes pointers. */
import {
  CTX_HEADER,
  CTX_KIND,
  EXEC_ACCESS_ADDRESS,
  EXEC_ACCESS_RIGHT,
  EXEC_CTX,
  EXEC_HELD,
  EXEC_LOCK,
  EXEC_PROG,
  FAULT_ARGUMENT,
  FIELD_KIND,
  FIELD_SPIN_LOCK,
  KIND_SKB_LINK,
  KIND_SKB_NETWORK,
  MAP_KEY_SIZE,
  MAP_VALUE_SIZE,
  POINTER_ANY,
  POINTER_CONTEXT,
  POINTER_IN,
  POINTER_IN_BYTES,
  POINTER_KEY,
  POINTER_LOCK,
  POINTER_MAP,
  POINTER_NULLABLE,
  POINTER_OBJECT,
  POINTER_OUT,
  POINTER_OUT_BYTES,
  POINTER_REFUSED,
  POINTER_SAMPLE,
  POINTER_START,
  POINTER_STRING,
  POINTER_UNLOCK,
  POINTER_VALUE,
  POINTER_VALUE_OUT,
  PROG_CONTRACTS,
  PROG_CONTRACTS_COUNT,
  REGION_BASE,
  REGION_KIND,
  REGION_OBJECT,
  REGION_OWNER,
  REGION_RUN,
  REGION_SAMPLE,
  RIGHT_READ,
  RIGHT_WRITE,
} from "../../layout";
import { exec, fault } from "../state";
import { isAllowed, refuse } from "./access";
import { field_at } from "./fields";
import { holds, isGranted } from "./grants";
import { lockRegions, regionAt, unlockRegions } from "./regions";
import { contextOf, findWindow, windowRights, windowSize, windowStart } from "./window";

const KINDS: u64 = (1 << 40) - 1;
const R6 = 48;

/** What a helper wants of the program under way: see CONTRACT_KEEPS_BIT. Of ids that no helper has it is nothing. */
function contractOf(state: u32, id: u32): u64 {
  const prog = load<u32>(state, EXEC_PROG);
  if (id >= load<u32>(prog, PROG_CONTRACTS_COUNT)) return 0;
  return load<u64>(load<u32>(prog, PROG_CONTRACTS) + (id << 3));
}

/** Whether what a program could touch before a call of the helper it can touch after it. */
export function keepsWindows(state: u32, id: u32): bool {
  return contractOf(state, id) > KINDS;
}

/** For `ld_abs` and `ld_ind`: r6 must be the context, and one with a packet in it. */
export function check_packet_context(r6: u64, pc: u32): void {
  if (!isContext(POINTER_CONTEXT, r6) || !isSkb(u32(r6))) {
    store<u64>(exec, r6, R6);
    wrong(6, pc);
  }
}

/** Checks r1 to r5 of the execution state for a call of a helper; ends the run if one is not what it must be. */
export function check_call(id: u32, frame: u32, pc: u32): void {
  check_contract(contractOf(exec, id) & KINDS, frame, pc);
}

/** The same for a call of which the host knows what it takes: kernel functions. */
export function check_contract(contract: u64, frame: u32, pc: u32): void {
  let signature = contract;
  let map: u32 = 0;
  for (let register: u32 = 1; signature != 0; register++, signature >>= 8) {
    let kind = u32(signature & 0xff);
    if (kind == POINTER_ANY) continue;
    const at = exec + (register << 3);
    const value = load<u64>(at);
    if (kind < u32(POINTER_IN_BYTES) && (kind & POINTER_NULLABLE) != 0) {
      if (value == 0) continue;
      kind -= POINTER_NULLABLE;
    }
    if (kind == POINTER_MAP) {
      map = u32(value);
      if (value >> 32 != 0 || !holds(load<u32>(exec, EXEC_PROG), map)) wrong(register, pc);
    } else if (kind < u32(POINTER_MAP)) {
      if (!isContext(kind, value)) wrong(register, pc);
    } else {
      checkMemory(kind, register, u32(value), map, u32(load<u64>(at, 8)), frame, pc);
    }
  }
}

/** Ends the run, after noting which argument is to blame. */
function wrong(register: u32, pc: u32): void {
  store<i32>(exec, i32(register << 8), EXEC_ACCESS_RIGHT);
  store<u32>(exec, load<u32>(exec + (register << 3)), EXEC_ACCESS_ADDRESS);
  fault(FAULT_ARGUMENT, pc);
}

function isSkb(context: u32): bool {
  const kind = load<i32>(context - CTX_HEADER, CTX_HEADER + CTX_KIND);
  return kind == KIND_SKB_LINK || kind == KIND_SKB_NETWORK;
}

function isContext(kind: u32, value: u64): bool {
  if (value != u64(load<u32>(exec, EXEC_CTX))) return false;
  if (kind == POINTER_START) return true;
  return contextOf(exec) != 0;
}

function checkMemory(kind: u32, register: u32, address: u32, map: u32, next: u32, frame: u32, pc: u32): void {
  let size: u32 = 0;
  let right = RIGHT_READ;
  switch (kind) {
    case POINTER_KEY:
      size = load<u32>(map, MAP_KEY_SIZE);
      break;
    case POINTER_VALUE:
      size = load<u32>(map, MAP_VALUE_SIZE);
      break;
    case POINTER_VALUE_OUT:
      size = load<u32>(map, MAP_VALUE_SIZE);
      right = RIGHT_WRITE;
      break;
    case POINTER_IN:
      size = next;
      break;
    case POINTER_OUT:
      size = next;
      right = RIGHT_WRITE;
      break;
    case POINTER_STRING:
      size = lengthOfText(address, frame);
      break;
    case POINTER_SAMPLE:
    case POINTER_OBJECT:
      if (!isHandedOut(kind, address)) wrong(register, pc);
      return;
    case POINTER_LOCK:
    case POINTER_UNLOCK:
      if (!changesLock(kind, address)) wrong(register, pc);
      return;
    case POINTER_REFUSED:
      wrong(0, pc);
      return;
    default:
      if (kind >= u32(POINTER_OUT_BYTES)) {
        size = kind - POINTER_OUT_BYTES;
        right = RIGHT_WRITE;
      } else {
        size = kind - POINTER_IN_BYTES;
      }
  }
  if (size == 0 || isAllowed(exec, frame, address, size, right)) return;
  refuse(exec, frame, address, size, right | i32(register << 8), pc);
}

/**
 * A program holds at most one bpf_spin_lock (kernel/bpf/verifier.c, process_spin_lock), and gives back the one that it holds.
 * Who waited for its own lock would wait forever.
 */
function changesLock(kind: u32, address: u32): bool {
  const held = load<u32>(exec, EXEC_LOCK);
  if (kind == POINTER_UNLOCK) {
    if (held == 0 || held != address) return false;
    store<u32>(exec, 0, EXEC_LOCK);
    store<u32>(exec, load<u32>(exec, EXEC_HELD) - 1, EXEC_HELD);
    return true;
  }
  const entry = field_at(address);
  if (held != 0 || entry == 0 || load<i32>(entry, FIELD_KIND) != FIELD_SPIN_LOCK) return false;
  store<u32>(exec, address, EXEC_LOCK);
  store<u32>(exec, load<u32>(exec, EXEC_HELD) + 1, EXEC_HELD);
  return true;
}

/** With its zero byte. Of text that has none, one byte more than there is. */
function lengthOfText(address: u32, frame: u32): u32 {
  if (!findWindow(exec, frame, address, RIGHT_READ) || (windowRights & RIGHT_READ) == 0) return 1;
  const end = windowStart + windowSize;
  for (let at = address; at < end; at++) if (load<u8>(at) == 0) return at - address + 1;
  return end - address + 1;
}

/** Whether a region of the right kind is there and is the program's. */
function isHandedOut(kind: u32, address: u32): bool {
  lockRegions();
  const found = lockedIsHandedOut(kind, address);
  unlockRegions();
  return found;
}

function lockedIsHandedOut(kind: u32, address: u32): bool {
  const record = regionAt(address);
  if (record == 0) return false;
  // Of an object a part may be meant: the struct path in a struct file. A record is given back by the run that has reserved it.
  if (kind == POINTER_SAMPLE && load<u32>(record, REGION_BASE) != address) return false;
  if (kind == POINTER_SAMPLE && load<u32>(record, REGION_RUN) != exec) return false;
  if (load<i32>(record, REGION_KIND) != (kind == POINTER_SAMPLE ? REGION_SAMPLE : REGION_OBJECT))
    return false;
  const owner = load<u32>(record, REGION_OWNER);
  const prog = load<u32>(exec, EXEC_PROG);
  return owner == 0 || owner == exec || owner == prog || isGranted(prog, owner);
}
