/** Reading and writing the bytes of a socket buffer (net/core/filter.c). All buffers here are linear. */
import { SKB_DATA, SKB_DATA_END, SKB_HASH, SKB_HASH_SET, SKB_PKT_TYPE } from "../../layout";
import { copyBytes } from "../bytes";
import {
  BPF_F_INVALIDATE_HASH,
  BPF_F_RECOMPUTE_CSUM,
  BPF_HDR_START_MAC,
  BPF_HDR_START_NET,
  EFAULT,
  EINVAL,
  ENOMEM,
} from "../uapi";
import { clearHash, dataOf, lengthOf, macOf, netOf, setState, stateOf } from "./skb-buffer";

const INT_MAX: u32 = 0x7fffffff;

/** Copies packet bytes; when they do not all lie in the packet, zeroes `to` and fails. */
export function skb_load_bytes(context: u32, offset: u32, to: u32, size: u32): i32 {
  const data = load<u32>(context, SKB_DATA);
  const length = load<u32>(context, SKB_DATA_END) - data;
  if (u64(offset) + size > u64(length)) {
    memory.fill(to, 0, size);
    return -EFAULT;
  }
  copyBytes(to, data + offset, size);
  return 0;
}

/** The same from the link or the network header on, wherever the data begins. */
export function skb_load_bytes_relative(context: u32, offset: u32, to: u32, size: u32, start: u32): i32 {
  const from = start == BPF_HDR_START_MAC ? macOf(context) : start == BPF_HDR_START_NET ? netOf(context) : 0;
  if (offset > 0xffff || from == 0 || u64(from) + offset + size > u64(load<u32>(context, SKB_DATA_END))) {
    memory.fill(to, 0, size);
    return -EFAULT;
  }
  copyBytes(to, from + offset, size);
  return 0;
}

export function skb_store_bytes(context: u32, offset: u32, from: u32, size: u32, flags: u64): i32 {
  if ((flags & ~u64(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH)) != 0) return -EINVAL;
  if (offset > INT_MAX || offset + size > lengthOf(context)) return -EFAULT;
  copyBytes(dataOf(context) + offset, from, size);
  if ((flags & BPF_F_INVALIDATE_HASH) != 0) clearHash(context);
  return 0;
}

export function skb_pull_data(context: u32, length: u32): i32 {
  return length > lengthOf(context) ? -ENOMEM : 0;
}

// uapi/linux/if_packet.h: PACKET_OTHERHOST is the last type that may be left or taken.
const PACKET_OTHERHOST: u32 = 3;

export function skb_change_type(context: u32, type: u32): i32 {
  if (load<u32>(context, SKB_PKT_TYPE) > PACKET_OTHERHOST || type > PACKET_OTHERHOST) return -EINVAL;
  store<u32>(context, type, SKB_PKT_TYPE);
  return 0;
}

export function set_hash(context: u32, hash: u32): i32 {
  store<u32>(context, hash, SKB_HASH);
  setState(context, stateOf(context) | SKB_HASH_SET);
  return 0;
}

export function set_hash_invalid(context: u32): i32 {
  clearHash(context);
  return 0;
}
