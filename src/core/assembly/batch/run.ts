/** Runs a program over many packets without leaving WebAssembly. */
import {
  CTX_END,
  CTX_FRAGS,
  CTX_FRAGS_SIZE,
  CTX_HEADER,
  CTX_LOW,
  CTX_MAC,
  CTX_NET,
  ENGINE_JIT,
  ETH_HEADER,
  EXEC_REDIRECT,
  EXEC_REDIRECT_KEY,
  EXEC_REDIRECT_MAP,
  EXEC_STACK_END,
  FAULT_MEMORY,
  FUNC_TABLE,
  KEPT_INDEX,
  KEPT_META,
  KEPT_OUT,
  KEPT_OUT_LENGTH,
  KEPT_SIZE,
  KIND_XDP,
  PROG_SAFETY,
  RECORD_IFINDEX,
  RECORD_META,
  RECORD_OUT,
  RECORD_OUT_LENGTH,
  RECORD_REDIRECT,
  RECORD_REDIRECT_KEY,
  RECORD_REDIRECT_MAP,
  RUN_BASE,
  RUN_BUFFER,
  RUN_BUFFER_SIZE,
  RUN_COUNT,
  RUN_CTX,
  RUN_ENGINE,
  RUN_FUEL,
  RUN_HEADROOM,
  RUN_INPUT,
  RUN_INPUT_SIZE,
  RUN_KEEP,
  RUN_KEPT,
  RUN_KEPT_COUNT,
  RUN_KIND,
  RUN_LENGTHS,
  RUN_LINEAR,
  RUN_NEXT,
  RUN_OFFSETS,
  RUN_OUT,
  RUN_OUT_END,
  RUN_PROG,
  RUN_RECORDS,
  RUN_REPEAT,
  RUN_RESERVE,
  RUN_RESULTS,
  RUN_STRIDE,
  RUN_TEMPLATE,
  SAFETY_SANDBOX,
  SKB_DATA_END,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
  XDP_DATA,
  XDP_DATA_END,
  XDP_DATA_META,
  XDP_FRAME_END,
  XDP_INGRESS_IFINDEX,
  XDP_PAGE,
  XDP_RX_QUEUE_INDEX,
} from "../../layout";
import { LARGEST } from "../helpers/skb-buffer";
import { begin, beginAgain, hasTraces, nextRun, resetAgain } from "../interpreter/frames";
import { interpret_slice, sandbox_slice } from "../interpreter/run";
import { SLICE } from "../interpreter/slices";
import { setFault, setFuel } from "../state";
import { copyPacket } from "../bytes";
import { beginCompiled, enterCompiled, interpretOn } from "./compiled";
import { describeBuffer, openContext, preparePacket } from "./packet";

/**
 * Runs the packets of an order from RUN_NEXT on. STATUS_PAUSED when the packet buffer is too small for the next one, or the out area
 * might be (enlarge the one, empty the other, and call again). When a run faults, RUN_NEXT names it; a trap of compiled code leaves it so too.
 */
export function run_batch(state: u32, run: u32): i32 {
  return drive(state, run, false);
}

/**
 * The first half of a run over the first packet of an order, for who wants to drive the interpreter between its instructions: the
 * packet is in place, the program at its first instruction.
 */
export function batch_begin(state: u32, run: u32): void {
  if (drive(state, run, true) != STATUS_DONE) unreachable();
}

/**
 * The second half, after the program's last instruction; of a batch, for the packet whose run was left by an exception. The result is r0
 * of the execution state.
 */
export function batch_end(state: u32, run: u32): void {
  finish(state, run, load<u32>(run, RUN_NEXT));
}

function drive(state: u32, run: u32, half: bool): i32 {
  const prog = load<u32>(run, RUN_PROG);
  const context = load<u32>(run, RUN_CTX);
  const compiled = load<i32>(run, RUN_ENGINE) == ENGINE_JIT;
  const count = load<u32>(run, RUN_COUNT);
  const stride = load<u32>(run, RUN_STRIDE);
  const repeat = load<u32>(run, RUN_REPEAT);
  openContext(run);
  if (compiled) beginCompiled(state, prog, context);
  else begin(state, prog, context, 0);
  for (let index = load<u32>(run, RUN_NEXT); index < count; index++) {
    store<u32>(run, index, RUN_NEXT);
    if (isFull(run)) return STATUS_PAUSED;
    const at = index * stride;
    for (let round = repeat; round != 0; round--) {
      const status = preparePacket(run, at);
      if (status == STATUS_FAULT) setFault(state, FAULT_MEMORY, run);
      if (status != STATUS_DONE || half) return status;
      if (runPacket(state, run, compiled) != STATUS_DONE) return STATUS_FAULT;
    }
    finish(state, run, index);
    if (repeat != 1) continue;
    index = runUsual(state, run, index + 1) - 1;
    if (stopped) return STATUS_FAULT;
  }
  store<u32>(run, count, RUN_NEXT);
  return STATUS_DONE;
}

/** Whether what is kept of the next packet might not fit the out area. A frame stays in its buffer, a socket buffer may move to a larger one. */
function isFull(run: u32): bool {
  if (load<u32>(run, RUN_KEEP) == 0) return false;
  const largest = load<i32>(run, RUN_KIND) == KIND_XDP ? 0 : LARGEST;
  const needed = max<u32>(load<u32>(run, RUN_BUFFER_SIZE), largest);
  return load<u32>(run, RUN_OUT_END) - load<u32>(run, RUN_OUT) < needed;
}

/** STATUS_DONE, with the result in r0 of the execution state, or STATUS_FAULT. */
function runPacket(state: u32, run: u32, compiled: bool): i32 {
  const prog = load<u32>(run, RUN_PROG);
  const context = load<u32>(run, RUN_CTX);
  if (compiled) {
    resetAgain(state, prog, context);
    setFuel(load<i64>(run, RUN_FUEL));
    store<u64>(
      state,
      enterCompiled(load<u32>(prog, FUNC_TABLE), context, 0, load<u32>(state, EXEC_STACK_END)),
    );
    return STATUS_DONE;
  }
  const sandboxed = load<i32>(prog, PROG_SAFETY) == SAFETY_SANDBOX;
  beginAgain(state, prog, context, 0, sandboxed);
  const fuel = load<u64>(run, RUN_FUEL);
  const status = interpretFirst(state, min(fuel, SLICE), sandboxed);
  return status == STATUS_DONE ? status : interpretOn(state, fuel, status);
}

function interpretFirst(state: u32, budget: u64, sandboxed: bool): i32 {
  return sandboxed ? sandbox_slice(state, budget) : interpret_slice(state, budget);
}

/** Whether `runUsual` has left off because a run was stopped. */
let stopped: bool = false;

/**
 * The same for packets from `index` on that are like most are, after one that `drive` has run: the packet takes one page of the buffer, and
 * neither buffer, context nor state are other than that one's run has found them, but for what is written here. Returns the index of the
 * first packet that is not so. A packet of 128 bytes costs 9 ns this way and 16 ns the other.
 */
function runUsual(state: u32, run: u32, index: u32): u32 {
  stopped = false;
  const prog = load<u32>(run, RUN_PROG);
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  const compiled = load<i32>(run, RUN_ENGINE) == ENGINE_JIT;
  const entry = load<u32>(prog, FUNC_TABLE);
  const end = load<u32>(state, EXEC_STACK_END);
  const fuel = load<i64>(run, RUN_FUEL);
  const slice = min<u64>(fuel, SLICE);
  const sandboxed = load<i32>(prog, PROG_SAFETY) == SAFETY_SANDBOX;
  const count = load<u32>(run, RUN_COUNT);
  const stride = load<u32>(run, RUN_STRIDE);
  const offsets = load<u32>(run, RUN_OFFSETS);
  const lengths = load<u32>(run, RUN_LENGTHS);
  const results = load<u32>(run, RUN_RESULTS);
  const records = load<u32>(run, RUN_RECORDS);
  const keep = load<u32>(run, RUN_KEEP);
  const base = load<u32>(run, RUN_BASE);
  const input = load<u32>(run, RUN_INPUT);
  const inputSize = load<u32>(run, RUN_INPUT_SIZE);
  const buffer = load<u32>(run, RUN_BUFFER);
  const data = buffer + load<u32>(run, RUN_HEADROOM);
  const xdp = load<i32>(run, RUN_KIND) == KIND_XDP;
  const room: u32 = xdp ? XDP_FRAME_END : XDP_PAGE - load<u32>(run, RUN_RESERVE);
  const longest = room - load<u32>(run, RUN_HEADROOM);
  // The packet before had more pages, or fragments, or is not to fill its page.
  if (load<u32>(header, CTX_HEADER + CTX_END) != buffer + room) return index;
  if (xdp && (load<u32>(header, CTX_HEADER + CTX_FRAGS_SIZE) | load<u32>(run, RUN_LINEAR)) != 0) return index;
  const template = load<u32>(run, RUN_TEMPLATE);
  const ifindex = u64(load<u32>(template, XDP_INGRESS_IFINDEX)) << 32;
  const queues = load<u64>(template, XDP_RX_QUEUE_INDEX);
  for (; index < count; index++) {
    const at = index * stride;
    const offset = load<u32>(offsets + at) - base;
    const length = load<u32>(lengths + at);
    if (length > longest || u64(offset) + length > u64(inputSize)) break;
    if (load<u32>(header, CTX_HEADER + CTX_LOW) != data || hasTraces(state)) break;
    if (records != 0 && load<u32>(records + at, RECORD_IFINDEX) != 0) break;
    if (keep != 0 && isFull(run)) break;
    store<u32>(run, index, RUN_NEXT);
    copyPacket(data, input + offset, length);
    store<u32>(header, data + min<u32>(length, ETH_HEADER), CTX_HEADER + CTX_NET);
    if (xdp) {
      // Two fields at a time.
      store<u64>(context, u64(data) | (u64(data + length) << 32), XDP_DATA);
      store<u64>(context, u64(data) | ifindex, XDP_DATA_META);
      store<u64>(context, queues, XDP_RX_QUEUE_INDEX);
    } else {
      store<u32>(header, data, CTX_HEADER + CTX_MAC);
      describeBuffer(run, data, length, 0);
    }
    let result: u32;
    if (compiled) {
      nextRun(state);
      setFuel(fuel);
      result = u32(enterCompiled(entry, context, 0, end));
    } else {
      beginAgain(state, prog, context, 0, sandboxed);
      const status = interpretFirst(state, slice, sandboxed);
      if (status != STATUS_DONE && interpretOn(state, fuel, status) != STATUS_DONE) {
        stopped = true;
        break;
      }
      result = load<u32>(state);
    }
    store<u32>(results + at, result);
    if (records != 0) fillRecord(state, records + at);
    if (((keep >> min<u32>(result, 31)) & 1) != 0) keepPacket(run, index);
  }
  return index;
}

/** Stores what a run has left: its result, what its record says, the packet that is kept. */
function finish(state: u32, run: u32, index: u32): void {
  const at = index * load<u32>(run, RUN_STRIDE);
  const result = load<u32>(state);
  store<u32>(load<u32>(run, RUN_RESULTS) + at, result);
  const records = load<u32>(run, RUN_RECORDS);
  if (records != 0) fillRecord(state, records + at);
  if (((load<u32>(run, RUN_KEEP) >> min<u32>(result, 31)) & 1) != 0) keepPacket(run, index);
}

/** Where the packet of a run was sent; that it was not kept. */
function fillRecord(state: u32, record: u32): void {
  store<u32>(record, load<u32>(state, EXEC_REDIRECT), RECORD_REDIRECT);
  store<u32>(record, load<u32>(state, EXEC_REDIRECT_MAP), RECORD_REDIRECT_MAP);
  store<u32>(record, load<u32>(state, EXEC_REDIRECT_KEY), RECORD_REDIRECT_KEY);
  store<u32>(record, 0, RECORD_OUT);
}

/**
 * Copies what the program left of the packet, metadata first, to the out area: from the link header on, also where the
 * program's own data begins behind it.
 */
function keepPacket(run: u32, index: u32): void {
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  const xdp = load<i32>(run, RUN_KIND) == KIND_XDP;
  const data = xdp ? load<u32>(context, XDP_DATA) : load<u32>(header, CTX_HEADER + CTX_MAC);
  const end = xdp ? load<u32>(context, XDP_DATA_END) : load<u32>(context, SKB_DATA_END);
  const meta = xdp ? load<u32>(context, XDP_DATA_META) : data;
  const out = load<u32>(run, RUN_OUT);
  memory.copy(out, meta, end - meta);
  let rest: u32 = 0;
  if (xdp) {
    rest = load<u32>(header, CTX_HEADER + CTX_FRAGS_SIZE);
    if (rest != 0) memory.copy(out + (end - meta), load<u32>(header, CTX_HEADER + CTX_FRAGS), rest);
  }
  store<u32>(run, out + (end - meta) + rest, RUN_OUT);
  noteKept(run, index, out + (data - meta), end - data + rest, data - meta);
}

/** In the packet's record, or on the list of kept packets. */
function noteKept(run: u32, index: u32, out: u32, length: u32, meta: u32): void {
  const records = load<u32>(run, RUN_RECORDS);
  if (records != 0) {
    const record = records + index * load<u32>(run, RUN_STRIDE);
    store<u32>(record, out, RECORD_OUT);
    store<u32>(record, length, RECORD_OUT_LENGTH);
    store<u32>(record, meta, RECORD_META);
    return;
  }
  const count = load<u32>(run, RUN_KEPT_COUNT);
  const kept = load<u32>(run, RUN_KEPT) + count * KEPT_SIZE;
  store<u32>(kept, index, KEPT_INDEX);
  store<u32>(kept, out, KEPT_OUT);
  store<u32>(kept, length, KEPT_OUT_LENGTH);
  store<u32>(kept, meta, KEPT_META);
  store<u32>(run, count + 1, RUN_KEPT_COUNT);
}
