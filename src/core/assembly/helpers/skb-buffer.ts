/**
 * A socket buffer that changes its size. Where the kernel allocates a larger head (skb_cow, pskb_expand_head), the packet
 * moves to a buffer of its own here, until the next packet comes.
 */
import {
  CTX_END,
  CTX_HEAD,
  CTX_HEADER,
  CTX_LOW,
  CTX_MAC,
  CTX_NET,
  CTX_SKB,
  CTX_SKB_HEAD,
  SKB_DATA,
  SKB_DATA_END,
  SKB_DATA_META,
  SKB_HASH,
  SKB_HASH_SET,
  SKB_LEN,
  SKB_MAC_LEN_SHIFT,
  SKB_NO_TRANSPORT,
  SKB_PAD,
} from "../../layout";
import { alloc, free } from "../allocator";

// What a new buffer has in front and behind beyond what is asked for.
const SPARE: u32 = 256;

// No packet grows beyond that, those that are to be segmented neither: the batch loop keeps room for so many bytes.
export const LARGEST: u32 = 1 << 17;

let moved: u32 = 0;

/** The packet's own buffer is used again. */
export function releaseMoved(): void {
  if (moved == 0) return;
  free(moved);
  moved = 0;
}

export function headerOf(context: u32): u32 {
  return context - CTX_HEADER;
}

export function dataOf(context: u32): u32 {
  return load<u32>(context, SKB_DATA);
}

export function lengthOf(context: u32): u32 {
  return load<u32>(context, SKB_DATA_END) - load<u32>(context, SKB_DATA);
}

export function macOf(context: u32): u32 {
  return load<u32>(headerOf(context), CTX_HEADER + CTX_MAC);
}

export function netOf(context: u32): u32 {
  return load<u32>(headerOf(context), CTX_HEADER + CTX_NET);
}

export function setMac(context: u32, address: u32): void {
  store<u32>(headerOf(context), address, CTX_HEADER + CTX_MAC);
}

export function setNet(context: u32, address: u32): void {
  store<u32>(headerOf(context), address, CTX_HEADER + CTX_NET);
}

/** Bits of CTX_SKB. */
export function stateOf(context: u32): u32 {
  return load<u32>(headerOf(context), CTX_HEADER + CTX_SKB);
}

export function setState(context: u32, bits: u32): void {
  store<u32>(headerOf(context), bits, CTX_HEADER + CTX_SKB);
}

export function clearHash(context: u32): void {
  store<u32>(context, 0, SKB_HASH);
  setState(context, stateOf(context) & ~u32(SKB_HASH_SET));
}

/** Bytes before the data in the kernel's buffer. */
function headroomOf(context: u32): u32 {
  return load<u32>(headerOf(context), CTX_HEADER + CTX_SKB_HEAD) >> 16;
}

function setHeadroom(context: u32, headroom: u32): void {
  const transport = load<u32>(headerOf(context), CTX_HEADER + CTX_SKB_HEAD) & 0xffff;
  store<u32>(headerOf(context), (headroom << 16) | transport, CTX_HEADER + CTX_SKB_HEAD);
}

/** The transport header from the data on; valid if it is set. */
export function transportOffset(context: u32): i32 {
  return i32(load<u32>(headerOf(context), CTX_HEADER + CTX_SKB_HEAD) & 0xffff) - i32(headroomOf(context));
}

export function hasTransport(context: u32): bool {
  return (load<u32>(headerOf(context), CTX_HEADER + CTX_SKB_HEAD) & 0xffff) != SKB_NO_TRANSPORT;
}

export function setTransport(context: u32, offset: u32): void {
  const headroom = headroomOf(context);
  store<u32>(headerOf(context), (headroom << 16) | ((headroom + offset) & 0xffff), CTX_HEADER + CTX_SKB_HEAD);
}

export function setMacLength(context: u32): void {
  const state = stateOf(context) & 0xffff;
  setState(context, state | ((netOf(context) - macOf(context)) << SKB_MAC_LEN_SHIFT));
}

/**
 * linux: skb_cow. A buffer that lacks room in front moves by whole cache lines, and its transport header along, also one that is
 * not set: what was 0xffff is then a small number, which bpf_skb_change_tail takes for a header.
 */
function ownRoom(context: u32, before: u32): void {
  const headroom = headroomOf(context);
  if (headroom >= before) return;
  const more = (before - headroom + SKB_PAD - 1) & ~u32(SKB_PAD - 1);
  const transport = (load<u32>(headerOf(context), CTX_HEADER + CTX_SKB_HEAD) + more) & 0xffff;
  store<u32>(headerOf(context), ((headroom + more) << 16) | transport, CTX_HEADER + CTX_SKB_HEAD);
}

/** Makes room before and behind the packet. False if there is no memory. */
export function makeRoom(context: u32, before: u32, behind: u32): bool {
  const header = headerOf(context);
  const head = load<u32>(header, CTX_HEADER + CTX_HEAD);
  const end = load<u32>(header, CTX_HEADER + CTX_END);
  const data = load<u32>(context, SKB_DATA);
  const dataEnd = load<u32>(context, SKB_DATA_END);
  if (data - head >= before && end - dataEnd >= behind) {
    ownRoom(context, before);
    return true;
  }
  if (before > LARGEST || behind > LARGEST) return false;
  const front: u32 = data - head >= before ? 0 : before + SPARE;
  const back: u32 = end - dataEnd >= behind ? 0 : behind + SPARE;
  const size = u64(front) + (end - head) + back;
  if (size > u64(LARGEST)) return false;
  const buffer = alloc(u32(size), 64);
  if (buffer == 0) return false;
  memory.copy(buffer + front, head, end - head);
  const low = load<u32>(header, CTX_HEADER + CTX_LOW);
  if (low >= head && low < data) memory.fill(low, 0, data - low);
  releaseMoved();
  moved = buffer;
  ownRoom(context, before);
  const distance = buffer + front - head;
  store<u32>(header, buffer, CTX_HEADER + CTX_HEAD);
  store<u32>(header, buffer + u32(size), CTX_HEADER + CTX_END);
  store<u32>(header, data + distance, CTX_HEADER + CTX_LOW);
  setMac(context, macOf(context) + distance);
  setNet(context, netOf(context) + distance);
  store<u32>(context, data + distance, SKB_DATA);
  store<u32>(context, dataEnd + distance, SKB_DATA_END);
  store<u32>(context, load<u32>(context, SKB_DATA_META) + distance, SKB_DATA_META);
  return true;
}

/** Moves the start of the data; the metadata keeps its length. Room must be there. */
export function moveStart(context: u32, data: u32): void {
  const header = headerOf(context);
  setHeadroom(context, headroomOf(context) + data - load<u32>(context, SKB_DATA));
  const meta = data - (load<u32>(context, SKB_DATA) - load<u32>(context, SKB_DATA_META));
  store<u32>(context, data, SKB_DATA);
  store<u32>(context, meta, SKB_DATA_META);
  store<u32>(context, load<u32>(context, SKB_DATA_END) - data, SKB_LEN);
  if (data < load<u32>(header, CTX_HEADER + CTX_LOW)) store<u32>(header, data, CTX_HEADER + CTX_LOW);
}

export function moveEnd(context: u32, end: u32): void {
  store<u32>(context, end, SKB_DATA_END);
  store<u32>(context, end - load<u32>(context, SKB_DATA), SKB_LEN);
}
