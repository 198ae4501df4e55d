/**
 * Packet access of `ld_abs` and `ld_ind`: big-endian data of a socket buffer, in host order. Negative offsets name
 * the network or the link header (uapi/linux/filter.h SKF_NET_OFF, SKF_LL_OFF).
 */
import { CTX_HEAD, CTX_HEADER, CTX_MAC, CTX_NET, SKB_DATA, SKB_DATA_END } from "../../layout";

const SKF_NET_OFF: i32 = -0x100000;
const SKF_LL_OFF: i32 = -0x200000;

/** The value (below 2^32), or -1 when it does not lie in the packet. */
export function ld_abs(context: u32, offset: i32, size: i32): i64 {
  let start: i64;
  let lowest: i64;
  if (offset >= 0) {
    lowest = load<u32>(context, SKB_DATA);
    start = lowest + offset;
  } else {
    // linux: bpf_internal_load_pointer_neg_helper lets these reach back into the headroom.
    const header = context - CTX_HEADER;
    lowest = load<u32>(header, CTX_HEADER + CTX_HEAD);
    if (offset >= SKF_NET_OFF) start = i64(load<u32>(header, CTX_HEADER + CTX_NET)) + offset - SKF_NET_OFF;
    else if (offset >= SKF_LL_OFF) start = i64(load<u32>(header, CTX_HEADER + CTX_MAC)) + offset - SKF_LL_OFF;
    else return -1;
  }
  if (start < lowest || start + size > i64(load<u32>(context, SKB_DATA_END))) return -1;
  const address = u32(start);
  if (size == 1) return load<u8>(address);
  if (size == 2) return bswap<u16>(load<u16>(address));
  return bswap<u32>(load<u32>(address));
}
