/** Making socket buffers longer and shorter at their ends and between their headers (net/core/filter.c). */
import {
  SKB_ENCAPSULATED,
  SKB_GSO_SEGS,
  SKB_GSO_SIZE,
  SKB_PROTOCOL,
  SKB_VLAN_PRESENT,
  SKB_VLAN_PROTO,
  SKB_VLAN_TCI,
} from "../../layout";
import * as uapi from "../uapi";
import { EFAULT, EINVAL, ENOMEM, ENOTSUPP } from "../uapi";
import {
  clearHash,
  dataOf,
  hasTransport,
  lengthOf,
  macOf,
  makeRoom,
  moveEnd,
  moveStart,
  netOf,
  setMac,
  setMacLength,
  setNet,
  setState,
  setTransport,
  stateOf,
  transportOffset,
} from "./skb-buffer";
import { resetChecksum } from "./skb-checksum";

// linux/skbuff.h SKB_MAX_ALLOC on x86-64: four pages less struct skb_shared_info.
const MAX_LENGTH: u32 = 16064;
// In network byte order.
const ETH_P_IP: u32 = 0x0008;
const ETH_P_IPV6: u32 = 0xdd86;
const ETH_P_8021Q: u32 = 0x0081;
const ETH_P_8021AD: u32 = 0xa888;
const ETH_P_802_3: u32 = 0x0100;
const ETH_P_802_2: u32 = 0x0400;
const ETH_P_802_3_MIN: u32 = 0x0600;
const ETH_HLEN: u32 = 14;
const VLAN_HLEN: u32 = 4;
const VLAN_ETH_HLEN: u32 = 18;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

function protocolOf(context: u32): u32 {
  return load<u32>(context, SKB_PROTOCOL);
}

function isGso(context: u32): bool {
  return load<u32>(context, SKB_GSO_SIZE) != 0;
}

export function skb_change_tail(context: u32, length: u32, flags: u64): i32 {
  const toNet = i32(netOf(context) - dataOf(context));
  let least: u32 = toNet > 0 ? toNet : 0;
  if (hasTransport(context) && transportOffset(context) > 0) least = transportOffset(context);
  if (flags != 0 || length > MAX_LENGTH || length < least) return -EINVAL;
  if ((stateOf(context) & SKB_ENCAPSULATED) != 0) return -ENOTSUPP;
  const before = lengthOf(context);
  if (length > before) {
    if (!makeRoom(context, 0, length - before)) return -ENOMEM;
    memory.fill(dataOf(context) + before, 0, length - before);
  }
  moveEnd(context, dataOf(context) + length);
  if (isGso(context)) {
    store<u32>(context, 0, SKB_GSO_SIZE);
    store<u32>(context, 0, SKB_GSO_SEGS);
  }
  return 0;
}

export function skb_change_head(context: u32, room: u32, flags: u64): i32 {
  const before = lengthOf(context);
  const length = before + room;
  if (flags != 0 || (!isGso(context) && length > MAX_LENGTH) || length < before) return -EINVAL;
  if (!makeRoom(context, room, 0)) return -ENOMEM;
  moveStart(context, dataOf(context) - room);
  memory.fill(dataOf(context), 0, room);
  setMac(context, dataOf(context));
  setMacLength(context);
  return 0;
}

/** Whether transport and network header are the same: they then stay so. */
function isTransport(context: u32): bool {
  return hasTransport(context) && transportOffset(context) == i32(netOf(context) - dataOf(context));
}

/** Puts zeros between the first `offset` bytes and the rest; the headers stay where they were in front. */
export function insert(context: u32, offset: u32, length: u32): i32 {
  if (!makeRoom(context, length, 0)) return -ENOMEM;
  const atTransport = isTransport(context);
  moveStart(context, dataOf(context) - length);
  const data = dataOf(context);
  // A packet that ends before its network header does has fewer bytes in front.
  const front = min<u32>(offset, lengthOf(context) - length);
  memory.copy(data, data + length, front);
  memory.fill(data + front, 0, length);
  setMac(context, macOf(context) - length);
  setNet(context, netOf(context) - length);
  if (atTransport) setTransport(context, netOf(context) - data);
  return 0;
}

/** Takes bytes out behind the first `offset`. */
export function remove(context: u32, offset: u32, length: u32): i32 {
  if (offset + length > lengthOf(context)) return -ENOMEM;
  const data = dataOf(context);
  const atTransport = isTransport(context);
  memory.copy(data + length, data, offset);
  moveStart(context, data + length);
  setMac(context, macOf(context) + length);
  setNet(context, netOf(context) + length);
  if (atTransport) setTransport(context, netOf(context) - dataOf(context));
  return 0;
}

export function skb_change_proto(context: u32, protocol: u32, flags: u64): i32 {
  if (flags != 0) return -EINVAL;
  const from = protocolOf(context);
  const to = protocol & 0xffff;
  const offset = (netOf(context) - macOf(context)) & 0xffff;
  let result: i32 = -ENOTSUPP;
  if (from == ETH_P_IP && to == ETH_P_IPV6) result = insert(context, offset, IPV6_HEADER - IPV4_HEADER);
  else if (from == ETH_P_IPV6 && to == ETH_P_IP) result = remove(context, offset, IPV6_HEADER - IPV4_HEADER);
  if (result != 0) return result;
  store<u32>(context, to, SKB_PROTOCOL);
  clearHash(context);
  return 0;
}

function baseLength(protocol: u32): u32 {
  return protocol == ETH_P_IP ? IPV4_HEADER : protocol == ETH_P_IPV6 ? IPV6_HEADER : u32(-1);
}

export function skb_adjust_room(context: u32, difference: i32, mode: u32, flags: u64): i32 {
  const protocol = protocolOf(context);
  const shrink = difference < 0;
  const size: u32 = shrink ? u32(0) - u32(difference) : u32(difference);
  if ((flags << 8) >> 8 > u64(uapi.BPF_F_ADJ_ROOM_MASK)) return -EINVAL;
  if (size > 0xfff) return -EFAULT;
  if (protocol != ETH_P_IP && protocol != ETH_P_IPV6) return -ENOTSUPP;
  let offset = (netOf(context) - macOf(context)) & 0xffff;
  if (mode == uapi.BPF_ADJ_ROOM_NET) offset += baseLength(protocol);
  else if (mode != uapi.BPF_ADJ_ROOM_MAC) return -ENOTSUPP;
  let least = baseLength(protocol);
  const decap = u32(flags) & uapi.BPF_F_ADJ_ROOM_DECAP_L3_MASK;
  if (decap != 0) {
    if (!shrink || decap == uapi.BPF_F_ADJ_ROOM_DECAP_L3_MASK) return -EINVAL;
    least = decap == uapi.BPF_F_ADJ_ROOM_DECAP_L3_IPV4 ? IPV4_HEADER : IPV6_HEADER;
  }
  const length = lengthOf(context);
  const current = length - (netOf(context) - dataOf(context));
  if (shrink ? size >= current || current - size < least : length + size > MAX_LENGTH && !isGso(context)) {
    return -ENOTSUPP;
  }
  const result = shrink
    ? shrinkRoom(context, offset, size, flags)
    : growRoom(context, offset, size, u32(flags), u32(flags >> uapi.BPF_ADJ_ROOM_ENCAP_L2_SHIFT) & 0xff);
  if (result == 0 && (flags & uapi.BPF_F_ADJ_ROOM_NO_CSUM_RESET) == 0) resetChecksum(context);
  return result;
}

function shrinkRoom(context: u32, offset: u32, size: u32, flags: u64): i32 {
  const allowed =
    uapi.BPF_F_ADJ_ROOM_FIXED_GSO | uapi.BPF_F_ADJ_ROOM_DECAP_L3_MASK | uapi.BPF_F_ADJ_ROOM_NO_CSUM_RESET;
  if ((flags & ~u64(allowed)) != 0) return -EINVAL;
  // The segmentation type of these packets is unknown, as in test runs.
  if (isGso(context)) return -ENOTSUPP;
  const result = remove(context, offset, size);
  if (result != 0) return result;
  const protocol = protocolOf(context);
  if (protocol == ETH_P_IP && (flags & uapi.BPF_F_ADJ_ROOM_DECAP_L3_IPV6) != 0)
    store<u32>(context, ETH_P_IPV6, SKB_PROTOCOL);
  else if (protocol == ETH_P_IPV6 && (flags & uapi.BPF_F_ADJ_ROOM_DECAP_L3_IPV4) != 0)
    store<u32>(context, ETH_P_IP, SKB_PROTOCOL);
  return 0;
}

function growRoom(context: u32, offset: u32, size: u32, flags: u32, innerMac: u32): i32 {
  if (isGso(context)) return -ENOTSUPP;
  const ipv4 = (flags & uapi.BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) != 0;
  const ipv6 = (flags & uapi.BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) != 0;
  const encapsulates = ipv4 || ipv6;
  if (encapsulates) {
    if (ipv4 && ipv6) return -EINVAL;
    const l4 = uapi.BPF_F_ADJ_ROOM_ENCAP_L4_GRE | uapi.BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
    if ((flags & l4) == l4) return -EINVAL;
    if ((flags & uapi.BPF_F_ADJ_ROOM_ENCAP_L2_ETH) != 0 && innerMac < ETH_HLEN) return -EINVAL;
    if ((stateOf(context) & SKB_ENCAPSULATED) != 0) return -uapi.EALREADY;
    if (innerMac > size) return -EINVAL;
  }
  const result = insert(context, offset, size);
  if (result != 0 || !encapsulates) return result;
  setState(context, stateOf(context) | SKB_ENCAPSULATED);
  setNet(context, dataOf(context) + ((netOf(context) - macOf(context)) & 0xffff));
  if ((flags & (uapi.BPF_F_ADJ_ROOM_ENCAP_L4_GRE | uapi.BPF_F_ADJ_ROOM_ENCAP_L4_UDP)) != 0) {
    setTransport(context, netOf(context) - dataOf(context) + (ipv6 ? IPV6_HEADER : IPV4_HEADER));
  }
  store<u32>(context, ipv6 ? ETH_P_IPV6 : ETH_P_IP, SKB_PROTOCOL);
  return 0;
}

function isVlan(protocol: u32): bool {
  return protocol == ETH_P_8021Q || protocol == ETH_P_8021AD;
}

function putTag(context: u32, protocol: u32, tci: u32): void {
  store<u32>(context, 1, SKB_VLAN_PRESENT);
  store<u32>(context, protocol, SKB_VLAN_PROTO);
  store<u32>(context, tci, SKB_VLAN_TCI);
}

/** The tag goes beside the packet; one that is there already goes into it. */
export function skb_vlan_push(context: u32, protocol: u32, tci: u32): i32 {
  protocol &= 0xffff;
  if (!isVlan(protocol)) protocol = ETH_P_8021Q;
  if (load<u32>(context, SKB_VLAN_PRESENT) != 0) {
    const outer = load<u32>(context, SKB_VLAN_PROTO) & 0xffff;
    // The addresses move; what the type field was becomes the type behind the tag.
    if (!makeRoom(context, VLAN_HLEN, 0)) return -ENOMEM;
    moveStart(context, dataOf(context) - VLAN_HLEN);
    const data = dataOf(context);
    memory.copy(data, data + VLAN_HLEN, ETH_HLEN - 2);
    setMac(context, macOf(context) - VLAN_HLEN);
    setNet(context, netOf(context) - VLAN_HLEN);
    store<u16>(data, u16(outer), 12);
    store<u16>(data, bswap<u16>(u16(load<u32>(context, SKB_VLAN_TCI))), 14);
    store<u32>(context, outer, SKB_PROTOCOL);
  }
  putTag(context, protocol, tci & 0xffff);
  setMacLength(context);
  return 0;
}

/** Takes a tag out of the packet; its TCI, or an errno. */
function popTag(context: u32): i32 {
  if (lengthOf(context) < VLAN_ETH_HLEN) return -ENOMEM;
  const data = dataOf(context);
  const tci = bswap<u16>(load<u16>(data, 14));
  const inner = u32(load<u16>(data, 16));
  const raw = lengthOf(context) >= VLAN_ETH_HLEN + 2 && load<u16>(data, 18) == 0xffff;
  memory.copy(data + VLAN_HLEN, data, ETH_HLEN - 2);
  moveStart(context, data + VLAN_HLEN);
  setMac(context, macOf(context) + VLAN_HLEN);
  if (i32(netOf(context) - dataOf(context)) < i32(ETH_HLEN)) setNet(context, dataOf(context) + ETH_HLEN);
  setMacLength(context);
  const isType = u32(bswap<u16>(u16(inner))) >= ETH_P_802_3_MIN;
  store<u32>(context, isType ? inner : raw ? ETH_P_802_3 : ETH_P_802_2, SKB_PROTOCOL);
  return tci;
}

/** Takes the tag beside the packet, or else the one in it; then the next one in it comes beside it. */
export function skb_vlan_pop(context: u32): i32 {
  if (load<u32>(context, SKB_VLAN_PRESENT) != 0) {
    store<u32>(context, 0, SKB_VLAN_PRESENT);
    store<u32>(context, 0, SKB_VLAN_PROTO);
    store<u32>(context, 0, SKB_VLAN_TCI);
  } else {
    if (!isVlan(protocolOf(context))) return 0;
    const result = popTag(context);
    if (result < 0) return result;
  }
  const next = protocolOf(context);
  if (!isVlan(next)) return 0;
  const tci = popTag(context);
  if (tci < 0) return tci;
  putTag(context, next, tci);
  return 0;
}
