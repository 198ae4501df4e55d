/** Moving the ends of a packet. The context's hidden header says how far its buffer reaches. */
import { CTX_END, CTX_HEAD, CTX_HEADER, CTX_LOW, XDP_DATA, XDP_DATA_END, XDP_DATA_META } from "../../layout";
import { EACCES, EINVAL } from "../uapi";

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
