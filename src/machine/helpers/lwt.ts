/**
 * Lightweight tunnels: outer headers of IP, and segment routing over IPv6 (net/core/lwt_bpf.c, filter.c, net/ipv6/seg6_local.c).
 *
 * A program of type lwt_seg6local is run when a packet has reached a segment: the kernel has looked at the routing header and
 * remembers how long it is and whether it is valid. Here that is found out when the first helper asks, and counts for the run.
 */
import {
  EXEC_RUN,
  EXEC_PROG,
  SKB_DATA,
  SKB_DATA_END,
  SKB_GSO_SIZE,
  SKB_LEN,
  SKB_PROTOCOL,
} from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { IPV6_HEADER, ROUTING, SRH, findHeader, isSegmentRouting } from "./seg6.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
const IPV4_HEADER = 20;
const UDP_HEADER = 8;
const IPPROTO_UDP = 17;
const IPPROTO_IPV6 = 41;
// net/core/lwt_bpf.c LWT_BPF_MAX_HEADROOM.
const MAX_HEADROOM = 256;

// enum bpf_lwt_encap_mode.
const ENCAP = { seg6: 0, seg6Inline: 1, ip: 2 } as const;

function setProtocol({ memory }: HelperWorld, skb: number, protocol: number): void {
  memory.setU32(skb + SKB_PROTOCOL, protocol);
}

const dataOf = ({ memory }: HelperWorld, skb: number): number => memory.u32(skb + SKB_DATA);
const endOf = ({ memory }: HelperWorld, skb: number): number => memory.u32(skb + SKB_DATA_END);

function encapsulate(world: HelperWorld, skb: number, header: Uint8Array): number {
  const { memory, core } = world;
  if (header.length < IPV4_HEADER || header.length > MAX_HEADROOM) return -ERRNO.EINVAL;
  const version = (header[0] as number) >> 4;
  if (version !== 4 && version !== 6) return -ERRNO.EINVAL;
  const four = version === 4;
  const length = four ? ((header[0] as number) & 15) * 4 : IPV6_HEADER;
  if (header.length < length) return -ERRNO.EINVAL;
  const udp = header[four ? 9 : 6] === IPPROTO_UDP;
  if (udp && header.length < length + UDP_HEADER) return -ERRNO.EINVAL;
  const failed = core.skb_push_outer(skb, header.length, udp ? length : 0);
  if (failed !== 0) return failed;
  const data = dataOf(world, skb);
  memory.write(data, header);
  if (four && memory.u32(data + 8) >>> 16 === 0) {
    const sum = Number(core.csum_diff(0, 0, data, length, 0) & 0xffffffffn);
    const once = (sum & 0xffff) + (sum >>> 16);
    memory.view.setUint16(data + 10, ~(once + (once >>> 16)) & 0xffff, true);
  }
  setProtocol(world, skb, four ? ETH_P_IP : ETH_P_IPV6);
  // Only TCP's large packets may be put into a tunnel, and no packet here says that it is one.
  return memory.u32(skb + SKB_GSO_SIZE) === 0 ? 0 : -ERRNO.ENOTSUPP;
}

/** Where the world sends an IPv6 packet that goes to an address, 0, or why it goes nowhere. */
function route({ world }: HelperWorld, destination: Uint8Array, table: number): number {
  const found = world.network.lookup(destination, table === 0 ? {} : { table });
  switch (found?.type) {
    case "unicast":
      return 0;
    case "unreachable":
      return -ERRNO.EHOSTUNREACH;
    case "prohibit":
      return -ERRNO.EACCES;
    // What is for the machine itself is thrown away here, like what nobody wants.
    case "local":
    case "blackhole":
      return -ERRNO.EINVAL;
    default:
      return found === undefined && table !== 0 ? -ERRNO.EINVAL : -ERRNO.ENETUNREACH;
  }
}

function destinationOf(world: HelperWorld, skb: number): Uint8Array {
  return world.memory.read(dataOf(world, skb) + 24, 16);
}

function setPayloadLength(world: HelperWorld, skb: number): void {
  const { memory } = world;
  memory.view.setUint16(dataOf(world, skb) + 4, memory.u32(skb + SKB_LEN) - IPV6_HEADER);
}

/** Puts a routing header into a packet of IPv6, or with an outer IPv6 header before any packet. */
function pushSegments(world: HelperWorld, skb: number, mode: number, header: Uint8Array): number {
  const { memory, core } = world;
  if (!isSegmentRouting(header, false)) return -ERRNO.EINVAL;
  const six = memory.u32(skb + SKB_PROTOCOL) === ETH_P_IPV6;
  const first = SRH.segments + 16 * (header[SRH.first] as number);
  if (mode === ENCAP.seg6Inline) {
    if (!six) return -ERRNO.EBADMSG;
    const failed = core.skb_net_push(skb, IPV6_HEADER, header.length);
    if (failed !== 0) return failed;
    const data = dataOf(world, skb);
    const routing = data + IPV6_HEADER;
    memory.write(routing, header);
    memory.u8[routing + SRH.next] = memory.u8[data + 6] as number;
    memory.u8[data + 6] = ROUTING;
    memory.write(routing + SRH.segments, memory.read(data + 24, 16));
    memory.write(data + 24, memory.read(routing + first, 16));
  } else {
    const inner = memory.read(dataOf(world, skb), six ? IPV6_HEADER : 1);
    const failed = core.skb_push_outer(skb, IPV6_HEADER + header.length, 0);
    if (failed !== 0) return failed;
    const data = dataOf(world, skb);
    const destination = header.slice(first, first + 16);
    const outer = new Uint8Array(IPV6_HEADER);
    // Traffic class and hop limit are the packet's own, as is the flow label by default (net.ipv6.seg6_flowlabel 0: none).
    outer[0] = 0x60 | (six ? (inner[0] as number) & 15 : 0);
    outer[1] = six ? (inner[1] as number) & 0xf0 : 0;
    outer[6] = ROUTING;
    outer[7] = six ? (inner[7] as number) : 64;
    const device = world.world.network.device(world.world.network.lookup(destination)?.ifindex ?? 0);
    const source = device?.addresses.find(({ bytes }) => bytes.length === 16);
    if (source !== undefined) outer.set(source.bytes, 8);
    outer.set(destination, 24);
    memory.write(data, outer);
    memory.write(data + IPV6_HEADER, header);
    memory.u8[data + IPV6_HEADER + SRH.next] = IPPROTO_IPV6;
    setProtocol(world, skb, ETH_P_IPV6);
  }
  setPayloadLength(world, skb);
  return route(world, destinationOf(world, skb), 0);
}

function pushEncapsulation(world: HelperWorld, args: HelperArguments): number {
  const [skb, mode, from, length] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
  const { type } = world.programAt(world.memory.u32(args.exec + EXEC_PROG));
  const header = world.memory.read(from, length);
  if (mode === ENCAP.ip) return encapsulate(world, skb, header);
  if (type === "lwt_xmit" || (mode !== ENCAP.seg6 && mode !== ENCAP.seg6Inline)) return -ERRNO.EINVAL;
  return pushSegments(world, skb, mode, header);
}

/** What is known of the routing header of the packet. */
interface Segments {
  exec: number;
  run: number;
  skb: number;
  present: boolean;
  /** Bytes behind the first 8, as helpers have made them. */
  length: number;
  valid: boolean;
}

const states = new WeakMap<HelperWorld, Segments>();

function look(world: HelperWorld, skb: number, state: Segments): void {
  const at = findHeader(world.memory, dataOf(world, skb), endOf(world, skb), ROUTING);
  state.present = at !== undefined;
  if (at === undefined) return;
  state.length = (world.memory.u8[dataOf(world, skb) + at + SRH.length] as number) * 8;
  state.valid = true;
}

function stateOf(world: HelperWorld, { exec }: HelperArguments, skb: number): Segments {
  const run = world.memory.u32(exec + EXEC_RUN);
  let state = states.get(world);
  if (state?.exec === exec && state.run === run && state.skb === skb) return state;
  state = { exec, run, skb, present: false, length: 0, valid: false };
  look(world, skb, state);
  states.set(world, state);
  return state;
}

/** Address of the routing header. */
function headerAt(world: HelperWorld, skb: number): number {
  const data = dataOf(world, skb);
  return data + (findHeader(world.memory, data, endOf(world, skb), ROUTING) ?? 0);
}

/** Whether the header is in order; one that was changed is written its length and looked at again. */
function isValid(world: HelperWorld, skb: number, state: Segments): boolean {
  if (!state.present) return false;
  if (state.valid) return true;
  if ((state.length & 7) !== 0) return false;
  const { memory } = world;
  const header = headerAt(world, skb);
  memory.u8[header + SRH.length] = state.length >> 3;
  const length = SRH.segments + (state.length & ~0x7f8 ? 0 : state.length);
  if (!isSegmentRouting(memory.read(header, length), true)) return false;
  state.valid = true;
  return true;
}

function storeBytes(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [skb, offset, from, length] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
  const state = stateOf(world, args, skb);
  if (!state.present) return -ERRNO.EINVAL;
  const header = headerAt(world, skb);
  // The kernel counts the options from the header's start here, not from its segments.
  const options = header + 16 * ((memory.u8[header + SRH.first] as number) + 1);
  const end = header + SRH.segments + state.length;
  const to = dataOf(world, skb) + offset;
  if (to >= options && to + length <= end) state.valid = false;
  else if (to < header + SRH.flags || to + length > header + SRH.segments) return -ERRNO.EFAULT;
  if (to + length > endOf(world, skb)) return -ERRNO.EFAULT;
  memory.write(to, memory.read(from, length));
  return 0;
}

function adjust(world: HelperWorld, args: HelperArguments): number {
  const { memory, core } = world;
  const [skb, offset, length] = [args.u32(1), args.u32(2), args.i32(3)];
  const state = stateOf(world, args, skb);
  if (!state.present) return -ERRNO.EINVAL;
  const header = headerAt(world, skb);
  const options = header + SRH.segments + 16 * ((memory.u8[header + SRH.first] as number) + 1);
  const end = header + SRH.segments + state.length;
  const at = dataOf(world, skb) + offset;
  if (at < options || at > end || (length < 0 && at - length > end)) return -ERRNO.EFAULT;
  const status = length > 0 ? core.skb_net_push(skb, offset, length) : core.skb_net_pop(skb, offset, -length);
  if (status < 0) return status;
  setPayloadLength(world, skb);
  state.length += length;
  state.valid = false;
  return 0;
}

// enum of uapi/linux/seg6_local.h, those that programs may ask for.
const ACTION = { endX: 2, endT: 3, endDt6: 7, endB6: 9, endB6Encap: 10 } as const;

function act(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [skb, action, from, length] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
  const state = stateOf(world, args, skb);
  switch (action) {
    case ACTION.endX:
      if (!isValid(world, skb, state)) return -ERRNO.EBADMSG;
      return length === 16 ? route(world, memory.read(from, 16), 0) : -ERRNO.EINVAL;
    case ACTION.endT:
      if (!isValid(world, skb, state)) return -ERRNO.EBADMSG;
      return length === 4 ? route(world, destinationOf(world, skb), memory.u32(from)) : -ERRNO.EINVAL;
    case ACTION.endDt6: {
      if (!isValid(world, skb, state)) return -ERRNO.EBADMSG;
      if (length !== 4) return -ERRNO.EINVAL;
      const inner = findHeader(memory, dataOf(world, skb), endOf(world, skb), IPPROTO_IPV6);
      if (inner === undefined) return -ERRNO.EBADMSG;
      const table = memory.u32(from);
      world.core.skb_pop_outer(skb, inner);
      look(world, skb, state);
      return route(world, destinationOf(world, skb), table);
    }
    case ACTION.endB6:
    case ACTION.endB6Encap: {
      if (state.present && !isValid(world, skb, state)) return -ERRNO.EBADMSG;
      const mode = action === ACTION.endB6 ? ENCAP.seg6Inline : ENCAP.seg6;
      const status = pushSegments(world, skb, mode, memory.read(from, length));
      if (status === 0) look(world, skb, state);
      return status;
    }
    default:
      return -ERRNO.EINVAL;
  }
}

export const LIGHT_TUNNELS: readonly HostHelper[] = [
  { name: "lwt_push_encap", args: 4, call: pushEncapsulation },
  { name: "lwt_seg6_store_bytes", args: 4, call: storeBytes },
  { name: "lwt_seg6_adjust_srh", args: 3, call: adjust },
  { name: "lwt_seg6_action", args: 4, call: act },
];
