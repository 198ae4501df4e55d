/**
 * Frames that go on in fragments: pages behind the frame's own. They lie one behind the other, so that what is in them is one
 * range of bytes, CTX_FRAGS and CTX_FRAGS_SIZE of the context's header; where one page ends and the next begins matters only to
 * who asks for a pointer, and to the room behind the last byte.
 */
import {
  CTX_FRAGS,
  CTX_FRAGS_SIZE,
  CTX_HEAD,
  CTX_HEADER,
  XDP_DATA,
  XDP_DATA_END,
  XDP_PAGE,
} from "../../layout";
import { copyBytes } from "../bytes";
import { EINVAL } from "../uapi";

export function fragmentsOf(context: u32): u32 {
  return load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_FRAGS);
}

export function fragmentsSize(context: u32): u32 {
  return load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_FRAGS_SIZE);
}

/** Where the page ends that a byte of a fragment lies in. */
export function pageEnd(context: u32, address: u32): u32 {
  const first = load<u32>(context - CTX_HEADER, CTX_HEADER + CTX_HEAD);
  return address + XDP_PAGE - ((address - first) & (XDP_PAGE - 1));
}

/** net/core/filter.c bpf_xdp_frags_increase_tail: the last page may be filled up. `delta` may be 0. */
export function growFragments(context: u32, delta: u32): i32 {
  const size = fragmentsSize(context);
  const end = fragmentsOf(context) + size;
  if (delta > pageEnd(context, end - 1) - end) return -EINVAL;
  memory.fill(end, 0, delta);
  store<u32>(context - CTX_HEADER, size + delta, CTX_HEADER + CTX_FRAGS_SIZE);
  return 0;
}

/** bpf_xdp_frags_shrink_tail: fragments go first, then the frame's own page gets shorter. */
export function shrinkFragments(context: u32, delta: u32): void {
  const size = fragmentsSize(context);
  const gone = min(size, delta);
  store<u32>(context - CTX_HEADER, size - gone, CTX_HEADER + CTX_FRAGS_SIZE);
  store<u32>(context, load<u32>(context, XDP_DATA_END) - (delta - gone), XDP_DATA_END);
}

/** Bytes of fragments go to the end of the frame's own page, where there is room for them. */
export function takeFragments(context: u32, size: u32): void {
  const from = fragmentsOf(context);
  const end = load<u32>(context, XDP_DATA_END);
  memory.copy(end, from, size);
  store<u32>(context, end + size, XDP_DATA_END);
  store<u32>(context - CTX_HEADER, from + size, CTX_HEADER + CTX_FRAGS);
  store<u32>(context - CTX_HEADER, fragmentsSize(context) - size, CTX_HEADER + CTX_FRAGS_SIZE);
}

/** Copies a range of the frame that lies in it to or from `other` (bpf_xdp_copy_buf). */
export function copyFrame(context: u32, offset: u32, other: u32, size: u32, write: bool): void {
  const data = load<u32>(context, XDP_DATA);
  const linear = load<u32>(context, XDP_DATA_END) - data;
  const first = offset < linear ? min(size, linear - offset) : 0;
  const rest = fragmentsOf(context) + (offset + first - linear);
  if (write) {
    copyBytes(data + offset, other, first);
    copyBytes(rest, other + first, size - first);
  } else {
    copyBytes(other, data + offset, first);
    copyBytes(other + first, rest, size - first);
  }
}

/** Where a range of the frame lies; 0 if not in one piece (bpf_xdp_pointer). */
export function xdp_pointer(context: u32, offset: u32, size: u32): u32 {
  const data = load<u32>(context, XDP_DATA);
  const linear = load<u32>(context, XDP_DATA_END) - data;
  if (offset < linear || fragmentsSize(context) == 0) return offset + size <= linear ? data + offset : 0;
  const at = fragmentsOf(context) + (offset - linear);
  return at + size <= pageEnd(context, at) ? at : 0;
}
