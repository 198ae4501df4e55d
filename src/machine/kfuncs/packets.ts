/** Connections that are made of SYN cookies, names of sockets in the file system, time stamps (net/core/filter.c). */
import { EXEC_PROG, SKB_PROTOCOL } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { seenSocket } from "../helpers/sockets.ts";
import { type HelperArguments, type HelperWorld, notInWorld } from "../helpers/types.ts";
import { STATES, isIpv6 } from "../world/sockets.ts";
import { isKernelContext, notePath } from "./contexts.ts";
import type { HostKfunc } from "./types.ts";

/** struct bpf_tcp_req_attrs. */
const ATTRS = {
  receivedValue: 0,
  receivedEcho: 4,
  mss: 8,
  receiveScale: 10,
  sendScale: 11,
  echoOk: 12,
  scaleOk: 13,
  sackOk: 14,
  stampOk: 15,
  microseconds: 16,
  reserved: 17,
  bytes: 20,
} as const;
/** linux/if_ether.h, as the context has them: in network order. */
const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
/** The smallest segments of which a cookie is believed: 1280 bytes less headers with options for IPv6. */
const LEAST_MSS: Readonly<Record<number, number>> = { [ETH_P_IP]: 536, [ETH_P_IPV6]: 1220 };
/** net/tcp.h TCP_MAX_WSCALE (RFC 7323). */
const MAX_SCALE = 14;
const IPPROTO_TCP = 6;

/** The listener gets a connection that a cookie was for. */
function assignRequest(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [context, address, attrs, size] = [args.u32(1), args.u32(2), args.u32(3), args.i32(4)];
  const byte = (offset: number): number => memory.u8[attrs + offset] as number;
  if (size !== ATTRS.bytes || [0, 1, 2].some((index) => byte(ATTRS.reserved + index) !== 0))
    return -ERRNO.EINVAL;
  const { attachType } = world.programAt(memory.u32(args.exec + EXEC_PROG));
  if (attachType === "tcx_egress" || attachType === "netkit_peer") return -ERRNO.EINVAL;
  const seen = seenSocket(world, address);
  if (seen?.socket !== undefined && seen.socket.netns !== 0) return -ERRNO.ENETUNREACH;
  const least = LEAST_MSS[memory.u32(context + SKB_PROTOCOL)];
  if (least === undefined) return -ERRNO.EINVAL;
  if (seen?.protocol !== IPPROTO_TCP || seen.state !== STATES.listen) return -ERRNO.EINVAL;
  const mss = memory.view.getUint16(attrs + ATTRS.mss, true);
  if (mss < least) return -ERRNO.EINVAL;
  const scaled = byte(ATTRS.scaleOk) !== 0;
  if (scaled && (byte(ATTRS.sendScale) > MAX_SCALE || byte(ATTRS.receiveScale) > MAX_SCALE))
    return -ERRNO.EINVAL;
  world.world.requests.push({
    listener: seen.socket,
    mss,
    ipv6: seen.socket !== undefined && isIpv6(seen.socket),
    sendScale: byte(ATTRS.sendScale),
    receiveScale: byte(ATTRS.receiveScale),
    windowScaling: scaled,
    selectiveAcks: byte(ATTRS.sackOk) !== 0,
    timestamps: byte(ATTRS.stampOk) !== 0,
    microseconds: byte(ATTRS.microseconds) !== 0,
    congestionNotification: byte(ATTRS.echoOk) !== 0,
    receivedTimestamp: memory.u32(attrs + ATTRS.receivedValue),
  });
  return 0;
}

/** uapi/linux/un.h: UNIX_PATH_MAX. */
const PATH_MAX = 108;

function setPath(world: HelperWorld, args: HelperArguments): number {
  const { memory, run } = world;
  const [from, size] = [args.u32(2), args.u32(3)];
  const { attachType } = world.programAt(memory.u32(args.exec + EXEC_PROG));
  if (!isKernelContext(world, args.u32(1))) return -ERRNO.EINVAL;
  if (attachType?.startsWith("cgroup_unix") !== true || size === 0 || size > PATH_MAX) return -ERRNO.EINVAL;
  run.unixPath = memory.read(from, size);
  notePath(world, run.unixPath);
  return 0;
}

/** enum of uapi/linux/bpf.h: BPF_SOCK_OPS_TSTAMP_SENDMSG_CB. */
const SENDMSG = 20;

function enableStamps(world: HelperWorld, args: HelperArguments): number {
  const { memory, run } = world;
  const context = run.context;
  if (context === undefined || !isKernelContext(world, args.u32(1))) {
    throw notInWorld(
      "sock_ops_enable_tx_tstamp",
      "no message is being sent",
      'run the program with run({ op: "TSTAMP_SENDMSG_CB" })',
    );
  }
  if (memory.u32(context) !== SENDMSG) return -ERRNO.EOPNOTSUPP;
  if (args.u64(2) !== 0n) return -ERRNO.EINVAL;
  run.stamped = true;
  return 0;
}

export const PACKETS: readonly HostKfunc[] = [
  { name: "bpf_sk_assign_tcp_reqsk", call: assignRequest },
  { name: "bpf_sock_addr_set_sun_path", call: setPath },
  { name: "bpf_sock_ops_enable_tx_tstamp", call: enableStamps },
];
