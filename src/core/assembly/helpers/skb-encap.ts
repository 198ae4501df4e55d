/** Headers in front of a packet and inside of it, for the helpers of lightweight tunnels, which machine/helpers/lwt.ts has. */
import { SKB_ENCAPSULATED, SKB_MAC_LEN_SHIFT } from "../../layout";
import { ENOMEM } from "../uapi";
import {
  clearHash,
  dataOf,
  macOf,
  makeRoom,
  moveStart,
  netOf,
  setMac,
  setNet,
  setState,
  setTransport,
  stateOf,
} from "./skb-buffer";
import { insert, remove } from "./skb-room";

/** The data and its network header begin elsewhere, and the link header goes along (linux: skb_mac_header_rebuild). */
function moveFront(context: u32, data: u32): void {
  const mac = macOf(context);
  const link = netOf(context) - mac;
  memory.copy(data - link, mac, link);
  moveStart(context, data);
  setMac(context, data - link);
  setNet(context, data);
}

/** Room for an outer header at the front, whose transport header lies `transport` bytes in if that is not 0. */
export function skb_push_outer(context: u32, length: u32, transport: u32): i32 {
  const link = netOf(context) - macOf(context);
  if (!makeRoom(context, length + max(stateOf(context) >> SKB_MAC_LEN_SHIFT, link), 0)) return -ENOMEM;
  moveFront(context, dataOf(context) - length);
  setState(context, stateOf(context) | SKB_ENCAPSULATED);
  if (transport != 0) setTransport(context, transport);
  clearHash(context);
  return 0;
}

/** linux: bpf_skb_net_hdr_push and bpf_skb_net_hdr_pop. */
export function skb_net_push(context: u32, offset: u32, length: u32): i32 {
  return insert(context, offset, length);
}

export function skb_net_pop(context: u32, offset: u32, length: u32): i32 {
  return remove(context, offset, length);
}

/** Takes bytes off the front; what is there now is the network header. */
export function skb_pop_outer(context: u32, length: u32): void {
  moveFront(context, dataOf(context) + length);
  setTransport(context, 0);
  setState(context, stateOf(context) & ~u32(SKB_ENCAPSULATED));
}
