/** bpf_fib_lookup: where a packet would be forwarded to, by the world's routes and neighbours (net/core/filter.c). */
import { CTX_KIND, KIND_XDP, SKB_LEN } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { Network, Route } from "../world/network.ts";
import type { HostHelper } from "./types.ts";

// uapi/linux/bpf.h struct bpf_fib_lookup; tbid and the VLAN fields share four bytes, mark and the addresses twelve.
const SIZE = 64;
const AT = {
  family: 0,
  totalLength: 6,
  ifindex: 8,
  tos: 12,
  source: 16,
  destination: 32,
  table: 48,
  smac: 52,
  dmac: 58,
} as const;
const AF_INET = 2;
const AF_INET6 = 10;

const LOOKUP = { direct: 1, output: 2, skipNeigh: 4, tbid: 8, src: 16, mark: 32 } as const;
const LOOKUP_MASK = 0x3f;

const RESULT = {
  success: 0,
  blackhole: 1,
  unreachable: 2,
  prohibit: 3,
  notForwarded: 4,
  forwardingDisabled: 5,
  noNeighbour: 7,
  fragmentationNeeded: 8,
  noSource: 9,
} as const;

const ETH_HLEN = 14;
const VLAN_HLEN = 4;

interface Question {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly flags: number;
  readonly checkMtu: boolean;
  readonly network: Network;
}

function needsStrict(address: Uint8Array): boolean {
  const [first = 0, second = 0] = address;
  // Multicast and link-local addresses are never forwarded.
  return first === 0xff || (first === 0xfe && (second & 0xc0) === 0x80);
}

function lookup({ view, bytes, flags, checkMtu, network }: Question): number {
  const ipv6 = view.getUint8(AT.family) === AF_INET6;
  const length = ipv6 ? 16 : 4;
  const destination = bytes.slice(AT.destination, AT.destination + length);
  const source = bytes.slice(AT.source, AT.source + length);
  if (ipv6 && (needsStrict(destination) || needsStrict(source))) return RESULT.notForwarded;
  const ifindex = view.getUint32(AT.ifindex, true);
  const arrived = network.device(ifindex);
  if (arrived === undefined) return -ERRNO.ENODEV;
  if (!arrived.forwarding) return RESULT.forwardingDisabled;
  const direct = (flags & LOOKUP.direct) !== 0;
  let table: number | undefined = direct ? 254 : undefined;
  if (direct && (flags & LOOKUP.tbid) !== 0) {
    table = view.getUint32(AT.table, true);
    view.setUint32(AT.table, 0, true);
  }
  const route = network.lookup(destination, {
    ...(table === undefined ? {} : { table }),
    tos: ipv6 ? 0 : view.getUint8(AT.tos) & 0xfc,
    oif: (flags & LOOKUP.output) !== 0 ? ifindex : 0,
  });
  const ends = endOf(route);
  if (route === undefined || ends !== undefined) return ends ?? RESULT.notForwarded;
  const out = network.device(route.ifindex);
  if (out === undefined) return RESULT.notForwarded;
  const mtu = route.mtu ?? out.mtu;
  if (checkMtu && view.getUint16(AT.totalLength, true) > mtu) {
    view.setUint16(AT.totalLength, mtu, true);
    return RESULT.fragmentationNeeded;
  }
  if (ipv6 && route.via !== undefined) bytes.set(route.via, AT.destination);
  view.setUint32(AT.tos, route.metric, true);
  view.setUint32(AT.ifindex, out.ifindex, true);
  if ((flags & LOOKUP.src) !== 0) {
    const from = route.source ?? out.addresses.find((prefix) => prefix.bytes.length === length)?.bytes;
    if (from !== undefined) bytes.set(from, AT.source);
    else if (ipv6) return RESULT.noSource;
    else bytes.fill(0, AT.source, AT.source + 4);
  }
  if (!ipv6 && route.via !== undefined) {
    if (route.via.length === 16) view.setUint8(AT.family, AF_INET6);
    bytes.set(route.via, AT.destination);
  }
  if ((flags & LOOKUP.skipNeigh) === 0) {
    const hop = view.getUint8(AT.family) === AF_INET6 ? 16 : 4;
    const mac = network.neighbour(out.ifindex, bytes.slice(AT.destination, AT.destination + hop));
    if (mac === undefined) return RESULT.noNeighbour;
    bytes.set(mac, AT.dmac);
    bytes.set(out.mac, AT.smac);
  }
  view.setUint32(AT.table, 0, true);
  if (checkMtu && mtu !== 0) view.setUint16(AT.totalLength, mtu, true);
  return RESULT.success;
}

/** Why a packet of a route goes nowhere; undefined if it is forwarded. */
function endOf(route: Route | undefined): number | undefined {
  switch (route?.type) {
    case "unicast":
      return undefined;
    case "blackhole":
      return RESULT.blackhole;
    case "unreachable":
      return RESULT.unreachable;
    case "prohibit":
      return RESULT.prohibit;
    default:
      return RESULT.notForwarded;
  }
}

export const FIB: readonly HostHelper[] = [
  {
    name: "fib_lookup",
    args: 4,
    call({ memory, world: { network } }, args) {
      const [context, params, flags] = [args.u32(1), args.u32(2), args.u32(4)];
      if (args.i32(3) < SIZE || (flags & ~LOOKUP_MASK) !== 0) return -ERRNO.EINVAL;
      const { buffer } = memory.u8;
      const view = new DataView(buffer, params, SIZE);
      const family = view.getUint8(AT.family);
      const xdp = memory.u32(context + CTX_KIND) === KIND_XDP;
      const checkMtu = xdp || view.getUint16(AT.totalLength, true) !== 0;
      if (family !== AF_INET && family !== AF_INET6) return -ERRNO.EAFNOSUPPORT;
      const bytes = new Uint8Array(buffer, params, SIZE);
      let result = lookup({ view, bytes, flags, checkMtu, network });
      if (result === RESULT.success && !checkMtu) {
        // Where the caller names no length, the packet's own counts (is_skb_forwardable).
        const mtu = network.device(view.getUint32(AT.ifindex, true))?.mtu ?? 0;
        if (memory.u32(context + SKB_LEN) > mtu + ETH_HLEN + VLAN_HLEN) result = RESULT.fragmentationNeeded;
        view.setUint16(AT.totalLength, mtu, true);
      }
      return result;
    },
  },
];
