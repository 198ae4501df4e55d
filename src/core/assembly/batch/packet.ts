/** Puts a packet into the buffer and describes it in the context, as the kernel's test run does. */
import {
  CTX_END,
  CTX_FRAGS,
  CTX_FRAGS_SIZE,
  CTX_HEAD,
  CTX_HEADER,
  CTX_KIND,
  CTX_LOW,
  CTX_MAC,
  CTX_NET,
  CTX_SIZE,
  CTX_SKB,
  CTX_SKB_HEAD,
  ETH_HEADER,
  KIND_SKB_NETWORK,
  KIND_XDP,
  RECORD_IFINDEX,
  RUN_BASE,
  RUN_BUFFER,
  RUN_BUFFER_SIZE,
  RUN_CTX,
  RUN_CTX_SIZE,
  RUN_HEADROOM,
  RUN_INPUT,
  RUN_INPUT_SIZE,
  RUN_KIND,
  RUN_LENGTHS,
  RUN_LINEAR,
  RUN_META,
  RUN_OFFSETS,
  RUN_RECORDS,
  RUN_RESERVE,
  RUN_SOCKET,
  RUN_TEMPLATE,
  SKB_DATA,
  SKB_DATA_END,
  SKB_DATA_META,
  SKB_IFINDEX,
  SKB_INGRESS_IFINDEX,
  SKB_LEN,
  SKB_NO_TRANSPORT,
  SKB_PAD,
  SKB_PKT_TYPE,
  SKB_PROTOCOL,
  SKB_SK,
  SOCK_DST_IP4,
  SOCK_DST_IP6,
  SOCK_FAMILY,
  SOCK_RX_QUEUE_MAPPING,
  SOCK_SIZE,
  SOCK_SRC_IP4,
  SOCK_SRC_IP6,
  SOCK_STATE,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
  XDP_DATA,
  XDP_DATA_END,
  XDP_DATA_META,
  XDP_FRAME_END,
  XDP_INGRESS_IFINDEX,
  XDP_PAGE,
  XDP_RX_QUEUE_INDEX,
} from "../../layout";
import { copyBytes, zeroBytes } from "../bytes";
import { releaseMoved } from "../helpers/skb-buffer";

// uapi/linux/if_packet.h.
const PACKET_HOST = 0;
const PACKET_MULTICAST = 2;
const PACKET_OTHERHOST = 3;
// uapi/linux/if_ether.h, in network byte order.
const ETH_P_802_3: u32 = 0x0100;
const ETH_P_802_2: u32 = 0x0400;
const ETH_P_802_3_MIN: u32 = 0x0600;
const ETH_P_IP: u32 = 0x0008;
const ETH_P_IPV6: u32 = 0xdd86;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
// linux/socket.h, net/tcp_states.h.
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const TCP_CLOSE: u32 = 7;

// As the kernel's, a packet buffer is made of whole pages.
const PAGE: u64 = 4096;

/** The part of a context and its header that no run changes. */
export function openContext(run: u32): void {
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  store<i32>(header, load<i32>(run, RUN_KIND), CTX_HEADER + CTX_KIND);
  store<u32>(header, load<u32>(run, RUN_CTX_SIZE), CTX_HEADER + CTX_SIZE);
}

/**
 * Puts the packet that stands at `at` in the order's arrays in place. STATUS_PAUSED if it needs a larger buffer, STATUS_FAULT if there is
 * no such packet.
 */
export function preparePacket(run: u32, at: u32): i32 {
  const offset = load<u32>(load<u32>(run, RUN_OFFSETS) + at) - load<u32>(run, RUN_BASE);
  const length = load<u32>(load<u32>(run, RUN_LENGTHS) + at);
  if (u64(offset) + length > u64(load<u32>(run, RUN_INPUT_SIZE))) return STATUS_FAULT;
  const origin = load<u32>(run, RUN_INPUT) + offset;
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  const buffer = load<u32>(run, RUN_BUFFER);
  const headroom = load<u32>(run, RUN_HEADROOM);
  const reserve = load<u32>(run, RUN_RESERVE);
  const meta = load<u32>(run, RUN_META);
  const data = buffer + headroom;
  const start = data - meta;
  const xdp = load<i32>(run, RUN_KIND) == KIND_XDP;
  let linear = length;
  let frame = (u64(headroom) + reserve + length + PAGE - 1) & ~(PAGE - 1);
  if (xdp) {
    const wanted = load<u32>(run, RUN_LINEAR);
    linear = min(min(length, buffer + XDP_FRAME_END - start), wanted == 0 ? length : wanted);
    // What the frame's own page does not take because it is told not to needs other ones.
    if (wanted != 0) frame += PAGE;
    if (meta > linear) return STATUS_FAULT;
  }
  if (frame > u64(load<u32>(run, RUN_BUFFER_SIZE))) return STATUS_PAUSED;

  // What an earlier run left in the headroom must not be seen through adjust_head.
  const low = load<u32>(header, CTX_HEADER + CTX_LOW);
  if (low >= buffer && low < start) zeroBytes(low, start - low);
  copyBytes(start, origin, linear);
  const end = xdp ? buffer + XDP_FRAME_END : buffer + u32(frame) - reserve;
  store<u32>(header, buffer, CTX_HEADER + CTX_HEAD);
  store<u32>(header, end, CTX_HEADER + CTX_END);
  store<u32>(header, data, CTX_HEADER + CTX_MAC);
  store<u32>(header, data + min<u32>(linear - meta, ETH_HEADER), CTX_HEADER + CTX_NET);
  store<u32>(header, start, CTX_HEADER + CTX_LOW);
  const records = load<u32>(run, RUN_RECORDS);
  const ifindex = records == 0 ? 0 : load<u32>(records + at, RECORD_IFINDEX);
  if (!xdp) {
    describeBuffer(run, data, length, ifindex);
    return STATUS_DONE;
  }
  const template = load<u32>(run, RUN_TEMPLATE);
  store<u32>(context, data, XDP_DATA);
  store<u32>(context, start + linear, XDP_DATA_END);
  store<u32>(context, start, XDP_DATA_META);
  store<u32>(context, ifindex == 0 ? load<u32>(template, XDP_INGRESS_IFINDEX) : ifindex, XDP_INGRESS_IFINDEX);
  store<u64>(context, load<u64>(template, XDP_RX_QUEUE_INDEX), XDP_RX_QUEUE_INDEX);
  // What does not fit in the page lies in pages behind it (bpf_prog_test_run_xdp).
  store<u32>(header, buffer + XDP_PAGE, CTX_HEADER + CTX_FRAGS);
  store<u32>(header, length - linear, CTX_HEADER + CTX_FRAGS_SIZE);
  if (length != linear) memory.copy(buffer + XDP_PAGE, origin + linear, length - linear);
  return STATUS_DONE;
}

/** All SKB_SIZE bytes of a context as they start; a loop takes 1.3 ns more for each packet. */
function resetBuffer(context: u32, template: u32): void {
  v128.store(context, v128.load(template));
  v128.store(context, v128.load(template, 16), 16);
  v128.store(context, v128.load(template, 32), 32);
  v128.store(context, v128.load(template, 48), 48);
  v128.store(context, v128.load(template, 64), 64);
  v128.store(context, v128.load(template, 80), 80);
  v128.store(context, v128.load(template, 96), 96);
  v128.store(context, v128.load(template, 112), 112);
  v128.store(context, v128.load(template, 128), 128);
  v128.store(context, v128.load(template, 144), 144);
  v128.store(context, v128.load(template, 160), 160);
  v128.store(context, v128.load(template, 176), 176);
}

/** struct __sk_buff of a packet, and what its header knows of the kernel's buffer. */
export function describeBuffer(run: u32, mac: u32, length: u32, ifindex: u32): void {
  releaseMoved();
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  const skipped = load<i32>(run, RUN_KIND) == KIND_SKB_NETWORK ? min<u32>(length, ETH_HEADER) : 0;
  resetBuffer(context, load<u32>(run, RUN_TEMPLATE));
  store<u32>(header, 0, CTX_HEADER + CTX_SKB);
  store<u32>(header, ((SKB_PAD + skipped) << 16) | SKB_NO_TRANSPORT, CTX_HEADER + CTX_SKB_HEAD);
  const data = mac + skipped;
  store<u32>(context, length - skipped, SKB_LEN);
  store<u32>(context, data, SKB_DATA);
  store<u32>(context, mac + length, SKB_DATA_END);
  store<u32>(context, data, SKB_DATA_META);
  if (ifindex != 0) {
    store<u32>(context, ifindex, SKB_IFINDEX);
    store<u32>(context, ifindex, SKB_INGRESS_IFINDEX);
  }
  if (length >= u32(ETH_HEADER)) {
    store<u32>(context, protocolOf(mac, length), SKB_PROTOCOL);
    store<u32>(context, packetTypeOf(mac), SKB_PKT_TYPE);
  }
  const socket = load<u32>(run, RUN_SOCKET);
  if (socket != 0) describeSocket(context, socket, mac, length);
}

/** The socket of a test run (bpf_prog_test_run_skb): of no type or protocol, closed, between the packet's addresses. */
function describeSocket(context: u32, socket: u32, mac: u32, length: u32): void {
  store<u64>(context, socket, SKB_SK);
  memory.fill(socket, 0, SOCK_SIZE);
  store<u32>(socket, TCP_CLOSE, SOCK_STATE);
  store<i32>(socket, -1, SOCK_RX_QUEUE_MAPPING);
  const network = mac + ETH_HEADER;
  const protocol = load<u32>(context, SKB_PROTOCOL);
  if (protocol == ETH_P_IP && length >= u32(ETH_HEADER) + IPV4_HEADER) {
    store<u32>(socket, AF_INET, SOCK_FAMILY);
    store<u32>(socket, load<u32>(network, 12), SOCK_SRC_IP4);
    store<u32>(socket, load<u32>(network, 16), SOCK_DST_IP4);
  } else if (protocol == ETH_P_IPV6 && length >= u32(ETH_HEADER) + IPV6_HEADER) {
    store<u32>(socket, AF_INET6, SOCK_FAMILY);
    copyBytes(socket + SOCK_SRC_IP6, network + 8, 16);
    copyBytes(socket + SOCK_DST_IP6, network + 24, 16);
  }
}

/**
 * linux: eth_type_trans. Values below 1536 are lengths of IEEE 802.3 frames, of which those that begin with ff ff
 * are Novell's "raw" ones. The result is in network byte order.
 */
function protocolOf(mac: u32, length: u32): u32 {
  const type = load<u16>(mac, 12);
  if (u32(bswap<u16>(type)) >= ETH_P_802_3_MIN) return type;
  return length >= u32(ETH_HEADER + 2) && load<u16>(mac, ETH_HEADER) == 0xffff ? ETH_P_802_3 : ETH_P_802_2;
}

/**
 * linux: eth_skb_pkt_type, for the loopback device of a test run. Its own address and its broadcast address are both
 * zero, so that ff:ff:ff:ff:ff:ff counts as multicast.
 */
function packetTypeOf(mac: u32): u32 {
  if ((load<u32>(mac) | load<u16>(mac, 4)) == 0) return PACKET_HOST;
  return (load<u8>(mac) & 1) != 0 ? PACKET_MULTICAST : PACKET_OTHERHOST;
}
