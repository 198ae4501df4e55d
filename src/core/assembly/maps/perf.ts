/**
 * Perf buffers as bpf_perf_event_output fills them: records of linux/perf_event.h in a ring for each CPU. A sample is its
 * header, the size of its raw data and that, padded to 8 bytes. When there is no room samples are lost, and the next one
 * that fits is preceded by a record that says how many.
 */
import {
  CTX_FRAGS,
  CTX_HEADER,
  CTX_KIND,
  FIRST_ADDRESS,
  KIND_NONE,
  KIND_XDP,
  MAP_MAX_ENTRIES,
  PERF_CPU,
  PERF_DATA,
  PERF_HEAD,
  PERF_ID,
  PERF_LOCK,
  PERF_LOST,
  PERF_SIZE,
  PERF_TAIL,
  PERF_WAKEUPS,
  SKB_DATA,
  SKB_LEN,
  XDP_DATA,
  XDP_DATA_END,
} from "../../layout";
import { xdp_get_buff_len } from "../helpers/xdp";
import { addTo, lock, unlock } from "../lock";
import { exec_cpu } from "../state";
import { E2BIG, EFAULT, EINVAL, ENOENT, ENOSPC, EOPNOTSUPP } from "../uapi";
import { slotObject } from "./slots";

const INDEX_MASK: u64 = 0xffffffff;
const CONTEXT_MASK: u64 = u64(0xfffff) << 32;
const RECORD_LOST: u32 = 2;
const RECORD_SAMPLE: u32 = 9;
const LOST_SIZE: u32 = 24;
// The size of a record has 16 bits (struct perf_event_header).
const MAX_RECORD: u64 = 0xffff;

export function perf_event_output(context: u32, map: u32, flags: u64, data: u32, size: u64): i32 {
  // A context that is no run's has no header.
  let kind = KIND_NONE;
  if (context >= u32(FIRST_ADDRESS)) kind = load<i32>(context - CTX_HEADER, CTX_HEADER + CTX_KIND);
  const packets = kind != KIND_NONE;
  if ((flags & ~(INDEX_MASK | (packets ? CONTEXT_MASK : 0))) != 0) return -EINVAL;
  const extra = u32((flags & CONTEXT_MASK) >> 32);
  if (extra > (packets ? packetLength(context, kind) : 0)) return -EFAULT;
  const cpu = exec_cpu();
  const wanted = u32(flags & INDEX_MASK);
  const index = wanted == u32(INDEX_MASK) ? cpu : wanted;
  if (index >= load<u32>(map, MAP_MAX_ENTRIES)) return -E2BIG;
  const buffer = slotObject(map, index);
  if (buffer == 0) return -ENOENT;
  if (load<u32>(buffer, PERF_CPU) != cpu) return -EOPNOTSUPP;
  return writeSample(buffer, context, kind, data, size, extra);
}

function packetLength(context: u32, kind: i32): u32 {
  return kind == KIND_XDP ? u32(xdp_get_buff_len(context)) : load<u32>(context, SKB_LEN);
}

function writeSample(buffer: u32, context: u32, kind: i32, data: u32, size: u64, extra: u32): i32 {
  const raw = (size + extra + 4 + 7) & ~7;
  const length = raw + 8;
  if (length > MAX_RECORD) return -E2BIG;
  lock(buffer + PERF_LOCK);
  const lost = load<u32>(buffer, PERF_LOST);
  const needed = u64(length) + (lost == 0 ? 0 : LOST_SIZE);
  let head = load<u64>(buffer, PERF_HEAD);
  const room = u64(load<u32>(buffer, PERF_SIZE)) - (head - load<u64>(buffer, PERF_TAIL));
  // The ring is never filled to the last byte.
  if (needed >= room) {
    store<u32>(buffer, lost + 1, PERF_LOST);
    unlock(buffer + PERF_LOCK);
    return -ENOSPC;
  }
  if (lost != 0) {
    putWord(buffer, head, RECORD_LOST);
    putWord(buffer, head + 4, LOST_SIZE << 16);
    putWord(buffer, head + 8, load<u32>(buffer, PERF_ID));
    putWord(buffer, head + 12, 0);
    putWord(buffer, head + 16, lost);
    putWord(buffer, head + 20, 0);
    head += LOST_SIZE;
    store<u32>(buffer, 0, PERF_LOST);
  }
  putWord(buffer, head, RECORD_SAMPLE);
  putWord(buffer, head + 4, u32(length) << 16);
  putWord(buffer, head + 8, u32(raw) - 4);
  putBytes(buffer, head + 12, data, u32(size));
  if (extra != 0) putPacket(buffer, head + 12 + size, context, kind, extra);
  for (let at = 12 + size + extra; at < length; at++) {
    store<u8>(buffer + PERF_DATA + (u32(head + at) & (load<u32>(buffer, PERF_SIZE) - 1)), 0);
  }
  if (ASC_FEATURE_THREADS) atomic.store<u64>(buffer + PERF_HEAD, head + length);
  else store<u64>(buffer, head + length, PERF_HEAD);
  unlock(buffer + PERF_LOCK);
  addTo(buffer + PERF_WAKEUPS, 1);
  if (ASC_FEATURE_THREADS) atomic.notify(buffer + PERF_WAKEUPS, -1);
  return 0;
}

/** Positions are multiples of 4, so a word never runs over the end. */
function putWord(buffer: u32, at: u64, value: u32): void {
  store<u32>(buffer + PERF_DATA + (u32(at) & (load<u32>(buffer, PERF_SIZE) - 1)), value);
}

/** The first bytes of a context's packet; a frame's may go on in fragments. */
function putPacket(buffer: u32, at: u64, context: u32, kind: i32, size: u32): void {
  if (kind != KIND_XDP) {
    putBytes(buffer, at, load<u32>(context, SKB_DATA), size);
    return;
  }
  const data = load<u32>(context, XDP_DATA);
  const linear = min(size, load<u32>(context, XDP_DATA_END) - data);
  putBytes(buffer, at, data, linear);
  const rest = size - linear;
  if (rest != 0) putBytes(buffer, at + linear, load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_FRAGS), rest);
}

function putBytes(buffer: u32, at: u64, from: u32, size: u32): void {
  const whole = load<u32>(buffer, PERF_SIZE);
  const offset = u32(at) & (whole - 1);
  const first = min(size, whole - offset);
  memory.copy(buffer + PERF_DATA + offset, from, first);
  memory.copy(buffer + PERF_DATA, from + first, size - first);
}
