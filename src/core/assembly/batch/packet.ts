/** Puts a record's packet into the buffer and describes it in the context, as the kernel's test run does. */
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
  RECORD_LENGTH,
  RECORD_ORIGIN,
  RUN_BUFFER,
  RUN_BUFFER_SIZE,
  RUN_CTX,
  RUN_CTX_SIZE,
  RUN_HEADROOM,
  RUN_KIND,
  RUN_LINEAR,
  RUN_META,
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
  XDP_DATA,
  XDP_DATA_END,
  XDP_DATA_META,
  XDP_FRAME_END,
  XDP_INGRESS_IFINDEX,
  XDP_PAGE,
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

/** False if the packet does not fit in the buffer. */
export function preparePacket(run: u32, record: u32): bool {
  releaseMoved();
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  const buffer = load<u32>(run, RUN_BUFFER);
  const size = load<u32>(run, RUN_BUFFER_SIZE);
  const data = buffer + load<u32>(run, RUN_HEADROOM);
  const length = load<u32>(record, RECORD_LENGTH);
  const kind = load<i32>(run, RUN_KIND);
  if (kind == KIND_XDP) return prepareFrame(run, record, buffer, size, data);
  if (u64(load<u32>(run, RUN_HEADROOM)) + length > u64(size)) return false;

  // What an earlier run left in the headroom must not be seen through adjust_head.
  const low = load<u32>(header, CTX_HEADER + CTX_LOW);
  if (low >= buffer && low < data) zeroBytes(low, data - low);
  copyBytes(data, load<u32>(record, RECORD_ORIGIN), length);
  describeBuffer(run, kind, buffer, buffer + size, data, length, data);
  const skipped = kind == KIND_SKB_NETWORK ? min<u32>(length, ETH_HEADER) : 0;
  store<u32>(header, ((SKB_PAD + skipped) << 16) | SKB_NO_TRANSPORT, CTX_HEADER + CTX_SKB_HEAD);
  describeSkb(context, record, data, data + length, kind == KIND_SKB_NETWORK);
  const socket = load<u32>(run, RUN_SOCKET);
  if (socket != 0) describeSocket(context, socket, data, length);
  return true;
}

/** The context as it starts, and its header: buffer, packet, lowest byte that a program could have written. */
function describeBuffer(run: u32, kind: i32, head: u32, end: u32, data: u32, length: u32, low: u32): void {
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  copyBytes(context, load<u32>(run, RUN_TEMPLATE), load<u32>(run, RUN_CTX_SIZE));
  store<i32>(header, kind, CTX_HEADER + CTX_KIND);
  store<u32>(header, head, CTX_HEADER + CTX_HEAD);
  store<u32>(header, end, CTX_HEADER + CTX_END);
  store<u32>(header, data, CTX_HEADER + CTX_MAC);
  store<u32>(header, data + min<u32>(length, ETH_HEADER), CTX_HEADER + CTX_NET);
  store<u32>(header, low, CTX_HEADER + CTX_LOW);
  store<u32>(header, load<u32>(run, RUN_CTX_SIZE), CTX_HEADER + CTX_SIZE);
  store<u32>(header, 0, CTX_HEADER + CTX_SKB);
}

/** Metadata and packet in the frame's page, what does not fit there in pages behind it (bpf_prog_test_run_xdp). */
function prepareFrame(run: u32, record: u32, buffer: u32, size: u32, data: u32): bool {
  const context = load<u32>(run, RUN_CTX);
  const header = context - CTX_HEADER;
  const length = load<u32>(record, RECORD_LENGTH);
  const origin = load<u32>(record, RECORD_ORIGIN);
  const meta = load<u32>(run, RUN_META);
  const wanted = load<u32>(run, RUN_LINEAR);
  const start = data - meta;
  const room = buffer + XDP_FRAME_END - start;
  const linear = min(min(length, room), wanted == 0 ? length : wanted);
  const rest = length - linear;
  if (meta > linear || u64(rest) > u64(size - XDP_FRAME_END)) return false;

  const low = load<u32>(header, CTX_HEADER + CTX_LOW);
  if (low >= buffer && low < start) zeroBytes(low, start - low);
  copyBytes(start, origin, linear);
  if (rest != 0) memory.copy(buffer + XDP_PAGE, origin + linear, rest);
  describeBuffer(run, KIND_XDP, buffer, buffer + XDP_FRAME_END, data, linear - meta, start);
  store<u32>(header, buffer + XDP_PAGE, CTX_HEADER + CTX_FRAGS);
  store<u32>(header, rest, CTX_HEADER + CTX_FRAGS_SIZE);
  describeXdp(context, record, start, data, start + linear);
  return true;
}

function describeXdp(context: u32, record: u32, meta: u32, data: u32, dataEnd: u32): void {
  store<u32>(context, data, XDP_DATA);
  store<u32>(context, dataEnd, XDP_DATA_END);
  store<u32>(context, meta, XDP_DATA_META);
  const ifindex = load<u32>(record, RECORD_IFINDEX);
  if (ifindex != 0) store<u32>(context, ifindex, XDP_INGRESS_IFINDEX);
}

function describeSkb(context: u32, record: u32, mac: u32, dataEnd: u32, network: bool): void {
  const length = dataEnd - mac;
  const skipped = network ? min<u32>(length, ETH_HEADER) : 0;
  const data = mac + skipped;
  store<u32>(context, dataEnd - data, SKB_LEN);
  store<u32>(context, data, SKB_DATA);
  store<u32>(context, dataEnd, SKB_DATA_END);
  store<u32>(context, data, SKB_DATA_META);
  const ifindex = load<u32>(record, RECORD_IFINDEX);
  if (ifindex != 0) {
    store<u32>(context, ifindex, SKB_IFINDEX);
    store<u32>(context, ifindex, SKB_INGRESS_IFINDEX);
  }
  if (length >= u32(ETH_HEADER)) {
    store<u32>(context, protocolOf(mac, length), SKB_PROTOCOL);
    store<u32>(context, packetTypeOf(mac), SKB_PKT_TYPE);
  }
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
