/** Where the packet of a context lies. Programs cannot write the fields that say so. */
import {
  CTX_HEADER,
  CTX_KIND,
  KIND_SKB_LINK,
  KIND_SKB_NETWORK,
  KIND_XDP,
  SKB_DATA_END,
  SKB_DATA_META,
  XDP_DATA_END,
  XDP_DATA_META,
} from "../../layout";

/** First byte of the metadata, or of the packet where there is none; 0 for contexts without a packet. */
export function packetStart(context: u32): u32 {
  switch (load<i32>(context - CTX_HEADER, CTX_HEADER + CTX_KIND)) {
    case KIND_XDP:
      return load<u32>(context, XDP_DATA_META);
    case KIND_SKB_LINK:
    case KIND_SKB_NETWORK:
      return load<u32>(context, SKB_DATA_META);
    default:
      return 0;
  }
}

/** One past the last byte. */
export function packetEnd(context: u32): u32 {
  switch (load<i32>(context - CTX_HEADER, CTX_HEADER + CTX_KIND)) {
    case KIND_XDP:
      return load<u32>(context, XDP_DATA_END);
    case KIND_SKB_LINK:
    case KIND_SKB_NETWORK:
      return load<u32>(context, SKB_DATA_END);
    default:
      return 0;
  }
}
