/** Moving the ends of a packet. The context's hidden header says how far its buffer reaches. */
import { CTX_END, CTX_HEAD, CTX_HEADER, CTX_LOW, XDP_DATA, XDP_DATA_END, XDP_DATA_META } from "../../layout";
import { EACCES, EFAULT, EINVAL } from "../uapi";
import { copyFrame, fragmentsSize, growFragments, shrinkFragments, takeFragments } from "./xdp-frags";

// A packet keeps at least an Ethernet header.
const ETH_HLEN: i64 = 14;
// linux/net/xdp.h: struct xdp_frame is put at the start of the headroom.
const XDP_FRAME_SIZE: i64 = 40;
// linux/skbuff.h struct skb_shared_info has 8 bits for the length of metadata.
const MAX_META: i64 = 255;

function headroomStart(context: u32): i64 {
  return i64(load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_HEAD)) + XDP_FRAME_SIZE;
}

/** Notes how far down the program has come, so that the next packet finds the headroom as it was. */
function exposes(context: u32, address: u32): void {
  const header = context - CTX_HEADER;
  if (address < load<u32>(header, CTX_HEADER + CTX_LOW)) store<u32>(header, address, CTX_HEADER + CTX_LOW);
}

/** Moves the start; metadata in front of the packet moves along. */
export function xdp_adjust_head(context: u32, delta: i32): i32 {
  const data = load<u32>(context, XDP_DATA);
  const meta = load<u32>(context, XDP_DATA_META);
  const moved = i64(data) + delta;
  if (moved < headroomStart(context) + (data - meta)) return -EINVAL;
  if (moved > i64(load<u32>(context, XDP_DATA_END)) - ETH_HLEN) return -EINVAL;
  memory.copy(meta + delta, meta, data - meta);
  store<u32>(context, meta + delta, XDP_DATA_META);
  store<u32>(context, u32(moved), XDP_DATA);
  exposes(context, meta + delta);
  return 0;
}

/** Moves the end; bytes that are gained are zero. */
export function xdp_adjust_tail(context: u32, delta: i32): i32 {
  if (fragmentsSize(context) != 0) {
    if (delta >= 0) return growFragments(context, delta);
    if (-i64(delta) > i64(xdp_get_buff_len(context)) - ETH_HLEN) return -EINVAL;
    shrinkFragments(context, -delta);
    return 0;
  }
  const end = load<u32>(context, XDP_DATA_END);
  const moved = i64(end) + delta;
  if (moved > i64(load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_END))) return -EINVAL;
  if (moved < i64(load<u32>(context, XDP_DATA)) + ETH_HLEN) return -EINVAL;
  if (delta > 0) memory.fill(end, 0, delta);
  store<u32>(context, u32(moved), XDP_DATA_END);
  return 0;
}

/** Moves the start of the metadata, which ends where the packet starts. */
export function xdp_adjust_meta(context: u32, delta: i32): i32 {
  const data = i64(load<u32>(context, XDP_DATA));
  const moved = i64(load<u32>(context, XDP_DATA_META)) + delta;
  if (moved < headroomStart(context) || moved > data) return -EINVAL;
  const size = data - moved;
  if ((size & 3) != 0 || size > MAX_META) return -EACCES;
  store<u32>(context, u32(moved), XDP_DATA_META);
  exposes(context, u32(moved));
  return 0;
}

export function xdp_get_buff_len(context: u32): u64 {
  return load<u32>(context, XDP_DATA_END) - load<u32>(context, XDP_DATA) + fragmentsSize(context);
}

/** The first `size` bytes come out of fragments into the frame's own page; where its end is too near, all of it moves. */
export function xdp_pull_data(context: u32, size: u32): i32 {
  const end = load<u32>(context, XDP_DATA_END);
  const linear = end - load<u32>(context, XDP_DATA);
  if (size <= linear) return 0;
  if (size > u32(xdp_get_buff_len(context))) return -EINVAL;
  const start = load<u32>(context, XDP_DATA_META);
  const headroom = i64(start) - headroomStart(context);
  const tailroom = i64(load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_END)) - end;
  const delta = size - linear;
  if (i64(delta) > headroom + tailroom) return -EINVAL;
  if (i64(delta) > tailroom) {
    const shift = delta - u32(tailroom);
    memory.copy(start - shift, start, end - start);
    store<u32>(context, start - shift, XDP_DATA_META);
    store<u32>(context, load<u32>(context, XDP_DATA) - shift, XDP_DATA);
    store<u32>(context, end - shift, XDP_DATA_END);
    exposes(context, start - shift);
  }
  takeFragments(context, delta);
  return 0;
}

/** net/core/filter.c bpf_xdp_pointer: 0 if the range lies in the packet. */
function checkRange(context: u32, offset: u32, size: u32): i32 {
  if (offset > 0xffff || size > 0xffff) return -EFAULT;
  return u64(offset) + size > xdp_get_buff_len(context) ? -EINVAL : 0;
}

export function xdp_load_bytes(context: u32, offset: u32, to: u32, size: u32): i32 {
  const bad = checkRange(context, offset, size);
  if (bad == 0) copyFrame(context, offset, to, size, false);
  return bad;
}

export function xdp_store_bytes(context: u32, offset: u32, from: u32, size: u32): i32 {
  const bad = checkRange(context, offset, size);
  if (bad == 0) copyFrame(context, offset, from, size, true);
  return bad;
}
