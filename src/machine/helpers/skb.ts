/** Helpers of socket buffers that are rare or ask the world. The others are in core/assembly/helpers. */
import {
  CTX_NET,
  CTX_SKB,
  KIND_XDP,
  CTX_KIND,
  SKB_DATA,
  SKB_DATA_END,
  SKB_GSO_SIZE,
  SKB_HASH,
  SKB_HASH_SET,
  SKB_IFINDEX,
  SKB_LEN,
  SKB_MAC_LEN_SHIFT,
  SKB_PROTOCOL,
  XDP_DATA,
  XDP_DATA_END,
  XDP_INGRESS_IFINDEX,
} from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { LinearMemory } from "../memory.ts";
import { flowHash } from "./flow-hash.ts";
import type { HelperWorld, HostHelper } from "./types.ts";

const ETH_HLEN = 14;
// EtherTypes as __sk_buff shows them: in network byte order.
const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
const IP_PROTOCOLS: readonly number[] = [ETH_P_IP, ETH_P_IPV6];
// Of struct __sk_buff; BPF_SKB_CLOCK_ of uapi/linux/bpf.h.
const SKB_TSTAMP = 152;
const SKB_TSTAMP_TYPE = 180;
const CLOCK_REALTIME = 0;
const CLOCK_TAI = 2;
const VLAN_TYPES: readonly number[] = [0x0081, 0xa888];

/** linux: vlan_get_protocol: what lies behind the VLAN tags of the packet. */
function innerProtocol(memory: LinearMemory, skb: number): number {
  const { view } = memory;
  const end = memory.u32(skb + SKB_DATA_END);
  let protocol = memory.u32(skb + SKB_PROTOCOL);
  const link = memory.u32(skb + CTX_SKB) >>> SKB_MAC_LEN_SHIFT;
  const depth = link === 0 ? ETH_HLEN : link - 4;
  for (let at = memory.u32(skb + SKB_DATA) + depth; VLAN_TYPES.includes(protocol); at += 4) {
    if (at + 4 > end) return 0;
    protocol = view.getUint16(at + 2, true);
  }
  return protocol;
}

/** Marks a packet "congestion experienced" if it is of a flow that can be told (RFC 3168). 1 if it is marked now. */
function setCongestion({ memory }: HelperWorld, skb: number): number {
  const { view } = memory;
  const length = memory.u32(skb + SKB_LEN);
  const end = memory.u32(skb + SKB_DATA_END);
  const header = memory.u32(skb + CTX_NET);
  const protocol = innerProtocol(memory, skb);
  if (protocol === ETH_P_IP) {
    if (length < 20 || header + 20 > end) return 0;
    const tos = view.getUint8(header + 1);
    const next = (tos + 1) & 3;
    if ((next & 2) === 0) return next === 0 ? 1 : 0;
    const change = (0xfffb + next) & 0xffff;
    const sum = view.getUint16(header + 10) + change;
    view.setUint16(header + 10, (sum & 0xffff) + (sum >> 16));
    view.setUint8(header + 1, tos | 3);
    return 1;
  }
  if (protocol === ETH_P_IPV6) {
    if (length < 40 || header + 40 > end) return 0;
    const second = view.getUint8(header + 1);
    if ((second & 0x30) === 0) return 0;
    view.setUint8(header + 1, second | 0x30);
    return 1;
  }
  return 0;
}

// uapi/linux/bpf.h enum bpf_check_mtu_flags and bpf_check_mtu_ret.
const BPF_MTU_CHK_SEGS = 1n;
const BPF_MTU_CHK_RET_FRAG_NEEDED = 1;

function checkMtu(
  { memory, world }: HelperWorld,
  ctx: number,
  ifindex: number,
  to: number,
  more: number,
  flags: bigint,
): number {
  const xdp = memory.u32(ctx + CTX_KIND) === KIND_XDP;
  const asked = memory.u32(to);
  if (xdp ? flags !== 0n : (flags & ~BPF_MTU_CHK_SEGS) !== 0n) return -ERRNO.EINVAL;
  if (flags !== 0n && (more !== 0 || asked !== 0)) return -ERRNO.EINVAL;
  const own = memory.u32(ctx + (xdp ? XDP_INGRESS_IFINDEX : SKB_IFINDEX));
  const device = world.network.device(ifindex === 0 ? own : ifindex);
  if (device === undefined) return -ERRNO.ENODEV;
  const length = xdp
    ? memory.u32(ctx + XDP_DATA_END) - memory.u32(ctx + XDP_DATA)
    : memory.u32(ctx + SKB_LEN);
  const total = ((asked === 0 ? length : asked + ETH_HLEN) + more) | 0;
  let result = total <= ((device.mtu + ETH_HLEN) | 0) ? 0 : BPF_MTU_CHK_RET_FRAG_NEEDED;
  if (result !== 0 && !xdp && memory.u32(ctx + SKB_GSO_SIZE) !== 0) {
    // The transport header of these packets is not known, as in test runs.
    if (flags !== 0n) return -ERRNO.EINVAL;
    result = 0;
  }
  memory.setU32(to, device.mtu);
  return result;
}

export const SKB: readonly HostHelper[] = [
  {
    name: "get_hash_recalc",
    args: 1,
    call({ memory }, args) {
      const skb = args.u32(1);
      const state = memory.u32(skb + CTX_SKB);
      const known = memory.u32(skb + SKB_HASH);
      if (known !== 0 || (state & SKB_HASH_SET) !== 0) return known;
      const hash = flowHash(memory, skb);
      memory.setU32(skb + SKB_HASH, hash);
      memory.setU32(skb + CTX_SKB, state | SKB_HASH_SET);
      return hash;
    },
  },
  { name: "skb_ecn_set_ce", args: 1, call: (world, args) => setCongestion(world, args.u32(1)) },
  {
    name: "check_mtu",
    args: 5,
    call: (world, args) => checkMtu(world, args.u32(1), args.u32(2), args.u32(3), args.i32(4), args.u64(5)),
  },
  // No packet here has been routed, so there is no realm.
  { name: "get_route_realm", args: 1, call: () => 0 },
  {
    // A packet of another protocol has no delivery time, and only one in real time may have none.
    name: "skb_set_tstamp",
    args: 3,
    call({ memory }, args) {
      const [skb, time, clock] = [args.u32(1), args.u64(2), args.u32(3)];
      if (!IP_PROTOCOLS.includes(memory.u32(skb + SKB_PROTOCOL))) return -ERRNO.EOPNOTSUPP;
      if (clock > CLOCK_TAI || (clock !== CLOCK_REALTIME && time === 0n)) return -ERRNO.EINVAL;
      memory.setU64(skb + SKB_TSTAMP, time);
      memory.view.setUint8(skb + SKB_TSTAMP_TYPE, clock);
      return 0;
    },
  },
  { name: "get_cgroup_classid", args: 1, call: ({ world }) => world.current.cgroup.classid },
  {
    name: "clone_redirect",
    args: 3,
    call({ memory, world }, args) {
      const skb = args.u32(1);
      const flags = args.u64(3);
      if ((flags & ~1n) !== 0n) return -ERRNO.EINVAL;
      if (memory.u32(skb + SKB_GSO_SIZE) !== 0) return -ERRNO.EBADMSG;
      const device = world.network.device(args.u32(2));
      if (device === undefined) return -ERRNO.EINVAL;
      const data = memory.u32(skb + SKB_DATA);
      const length = memory.u32(skb + SKB_LEN);
      if (memory.u32(skb + CTX_NET) <= data || length === 0) return -ERRNO.ERANGE;
      world.network.sent.push({
        ifindex: device.ifindex,
        ingress: flags === 1n,
        packet: memory.read(data, length),
      });
      return 0;
    },
  },
];
