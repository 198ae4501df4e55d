/** Sockets of the world as programs see them: found, looked at, given to packets (net/core/filter.c). */
import { CTX_KIND, KIND_XDP, EXEC_PROG, SKB_IFINDEX, XDP_INGRESS_IFINDEX } from "../../core/layout.ts";
import { BpfError } from "../../errors.ts";
import { contextTemplate, hookOf } from "../../hooks/index.ts";
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { AF_INET6, type Endpoint, formatEndpoint } from "../run/endpoint.ts";
import { sockValues } from "../run/sockets.ts";
import { STATES, type Socket, isFull, isIpv6, isIpv6Only } from "../world/sockets.ts";
import { ancestorOf } from "../world/tasks.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
/** What a packet without a socket has for its owner (linux/highuid.h DEFAULT_OVERFLOWUID). */
const OVERFLOW_UID = 65534;

// Members of struct bpf_sock (uapi/linux/bpf.h) that are looked at here.
const SOCK = {
  family: 4,
  protocol: 12,
  mark: 16,
  priority: 20,
  sourceIp4: 24,
  sourceIp6: 28,
  sourcePort: 44,
  destinationPort: 48,
  destinationIp4: 52,
  destinationIp6: 56,
  state: 72,
  size: 80,
} as const;

/** struct bpf_tcp_sock: its members in order; the two of 64 bits lie after twenty of 32. */
const TCP_MEMBERS = [
  "snd_cwnd",
  "srtt_us",
  "rtt_min",
  "snd_ssthresh",
  "rcv_nxt",
  "snd_nxt",
  "snd_una",
  "mss_cache",
  "ecn_flags",
  "rate_delivered",
  "rate_interval_us",
  "packets_out",
  "retrans_out",
  "total_retrans",
  "segs_in",
  "data_segs_in",
  "segs_out",
  "data_segs_out",
  "lost_out",
  "sacked_out",
  "bytes_received",
  "bytes_acked",
  "dsack_dups",
  "delivered",
  "delivered_ce",
  "icsk_retransmits",
] as const;
const TCP_WIDE = ["bytes_received", "bytes_acked"];
const TCP_SIZE = 112;

export const endText = ({ ip, port }: Endpoint): string =>
  `${ip.length === 4 ? ip.join(".") : `[${ipText(ip)}]`}:${port}`;

function ipText(ip: Uint8Array): string {
  const view = new DataView(ip.buffer, ip.byteOffset, ip.byteLength);
  const words = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
  return formatEndpoint(words, 0).slice(1).replace(/\]:0$/, "");
}

const nameOf = ({ protocol, local }: Socket): string => `${protocol} ${endText(local)}`;

/** ::ffff:10.0.0.1 (RFC 4291, 2.5.5.2). */
const mapped = (ip: Uint8Array): Uint8Array => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...ip);

/** The address of a socket's struct bpf_sock. */
export function placeSocket({ memory, regions }: HelperWorld, socket: Socket): number {
  const { placed } = socket;
  if (placed.sock !== 0) return placed.sock;
  const name = nameOf(socket);
  const bytes = contextTemplate(
    hookOf("cgroup_sock"),
    sockValues(name, {
      local: endText(socket.local),
      ...(socket.remote === undefined ? {} : { remote: endText(socket.remote) }),
      protocol: socket.protocol,
      state: STATES[socket.state],
      bound_dev_if: socket.ifindex,
      mark: socket.mark,
      priority: socket.priority,
      rx_queue_mapping: socket.rxQueue,
    }),
  );
  placed.sock = memory.alloc(SOCK.size, `socket ${name}`);
  memory.write(placed.sock, bytes);
  // A connection of TCP over IPv4 has its ends as IPv6 addresses too (sk_daddr_set, sk_rcv_saddr_set), other sockets have not.
  if (socket.protocol === "tcp" && socket.remote?.ip.length === 4) {
    memory.write(placed.sock + SOCK.sourceIp6, mapped(socket.local.ip));
    memory.write(placed.sock + SOCK.destinationIp6, mapped(socket.remote.ip));
  }
  regions.add({
    kind: "object",
    label: `socket ${name}`,
    address: placed.sock,
    size: SOCK.size,
    writable: false,
  });
  return placed.sock;
}

function placeTcp({ memory, regions }: HelperWorld, socket: Socket): number {
  const { placed } = socket;
  if (placed.tcp !== 0) return placed.tcp;
  const name = nameOf(socket);
  const unknown = Object.keys(socket.tcp).find((key) => !(TCP_MEMBERS as readonly string[]).includes(key));
  if (unknown !== undefined) {
    throw new BpfError(
      "usage",
      `world: socket ${name}: struct bpf_tcp_sock has no '${unknown}'; it has ${TCP_MEMBERS.join(", ")}`,
    );
  }
  placed.tcp = memory.alloc(TCP_SIZE, `socket ${name}`);
  let at = placed.tcp;
  for (const member of TCP_MEMBERS) {
    const value = BigInt(socket.tcp[member] ?? 0);
    const wide = TCP_WIDE.includes(member);
    if (wide) memory.setU64(at, value);
    else memory.setU32(at, Number(BigInt.asUintN(32, value)));
    at += wide ? 8 : 4;
  }
  const label = `struct bpf_tcp_sock of socket ${name}`;
  regions.add({ kind: "object", label, address: placed.tcp, size: TCP_SIZE, writable: false });
  return placed.tcp;
}

/** A socket as its struct bpf_sock tells of it: those of a run's input are nothing else. */
export interface SeenSocket {
  readonly address: number;
  readonly state: number;
  readonly protocol: number;
  readonly ipv6: boolean;
  /** The world's socket with these ends, if it has one. */
  readonly socket: Socket | undefined;
}

export function seenSocket({ memory, world }: HelperWorld, address: number): SeenSocket | undefined {
  if (address === 0) return undefined;
  const own = world.sockets.at(address);
  if (own !== undefined) {
    const protocol = own.protocol === "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
    return { address, state: STATES[own.state], protocol, ipv6: isIpv6(own), socket: own };
  }
  const word = (at: number): number => memory.u32(address + at);
  const ipv6 = word(SOCK.family) === AF_INET6;
  const protocol = word(SOCK.protocol);
  const end = (four: number, six: number, port: number): Endpoint => ({
    ip: memory.read(address + (ipv6 ? six : four), ipv6 ? 16 : 4),
    port,
  });
  const local = end(SOCK.sourceIp4, SOCK.sourceIp6, word(SOCK.sourcePort));
  const remotePort = memory.view.getUint16(address + SOCK.destinationPort);
  const remote = remotePort === 0 ? undefined : end(SOCK.destinationIp4, SOCK.destinationIp6, remotePort);
  const kind = protocol === IPPROTO_TCP ? "tcp" : protocol === IPPROTO_UDP ? "udp" : undefined;
  const socket = kind === undefined ? undefined : world.sockets.withEnds(kind, local, remote);
  return { address, state: word(SOCK.state), protocol, ipv6, socket };
}

/** The world's socket at an address, or an error that says how to make it known. */
export function worldSocket(helper: string, world: HelperWorld, address: number): Socket {
  const { socket } = seenSocket(world, address) ?? {};
  if (socket !== undefined) return socket;
  throw notInWorld(
    helper,
    `the socket at 0x${address.toString(16)} is none of the world's`,
    'name one with the same ends: world: { sockets: [{ protocol: "tcp", local: "10.0.0.1:80", remote: "10.0.0.2:4000" }] }',
  );
}

/** The address of the socket that a context is about; 0 if it has none. */
export function contextSocket(world: HelperWorld, args: HelperArguments): number {
  const context = args.u32(1);
  const { type } = world.programAt(world.memory.u32(args.exec + EXEC_PROG));
  // Here the context is the socket, and tracing programs hand one over.
  if (type === undefined || type === "cgroup_sock" || isKernelSocket(world, args)) return context;
  const field = hookOf(type)?.context.fields.find(({ name }) => name === "sk");
  return field === undefined ? 0 : world.memory.u32(context + field.offset);
}

/** A program that is given a struct sock of the kernel's. */
function isKernelSocket(world: HelperWorld, { exec }: HelperArguments): boolean {
  const { type } = world.programAt(world.memory.u32(exec + EXEC_PROG));
  return type === "tracing" || type === "lsm" || type === "struct_ops";
}

const full = ({ state }: SeenSocket): boolean => state !== STATES.time_wait && state !== STATES.new_syn_recv;

// struct bpf_sock_tuple: two addresses, two ports, all in network order.
const TUPLE4 = 12;
const TUPLE6 = 36;

function find(world: HelperWorld, args: HelperArguments, protocol: "tcp" | "udp"): Socket | undefined {
  const { memory } = world;
  const [context, tuple, length, netns, flags] = [
    args.u32(1),
    args.u32(2),
    args.u32(3),
    args.u64(4),
    args.u64(5),
  ];
  if (length !== TUPLE4 && length !== TUPLE6) return undefined;
  const id = Number(BigInt.asIntN(32, netns));
  if (flags !== 0n || !(id < 0 || netns <= 0x7fffffffn)) return undefined;
  const width = length === TUPLE4 ? 4 : 16;
  const end = (ip: number, port: number): Endpoint => ({
    ip: memory.read(tuple + ip, width),
    port: memory.view.getUint16(tuple + port),
  });
  const { type } = world.programAt(memory.u32(args.exec + EXEC_PROG));
  let ifindex = 0;
  if (type !== "cgroup_sock_addr") {
    const xdp = memory.u32(context + CTX_KIND) === KIND_XDP;
    ifindex = memory.u32(context + (xdp ? XDP_INGRESS_IFINDEX : SKB_IFINDEX));
  }
  return world.world.sockets.lookup({
    protocol,
    remote: end(0, 2 * width),
    local: end(width, 2 * width + 2),
    ifindex,
    netns: Math.max(id, 0),
  });
}

function lookupFull(protocol: "tcp" | "udp"): HostHelper["call"] {
  return (world, args) => {
    const found = find(world, args, protocol);
    const socket = found === undefined ? undefined : world.world.sockets.fullOf(found);
    return socket === undefined || !isFull(socket) ? 0 : BigInt(placeSocket(world, socket));
  };
}

const LOOKUP_REPLACE = 1n;
const LOOKUP_NO_REUSEPORT = 2n;
// struct bpf_sk_lookup.
const LOOKUP_SK = 0;
const LOOKUP_FAMILY = 8;
const LOOKUP_PROTOCOL = 12;

/** Of sk_lookup programs: the socket becomes the answer. */
function assignLookup(world: HelperWorld, context: number, address: number, flags: bigint): number {
  const { memory } = world;
  if ((flags & ~(LOOKUP_REPLACE | LOOKUP_NO_REUSEPORT)) !== 0n) return -ERRNO.EINVAL;
  const seen = seenSocket(world, address);
  if (seen !== undefined) {
    const waits = seen.protocol === IPPROTO_TCP ? STATES.listen : STATES.close;
    if (seen.state !== waits) return -ERRNO.ESOCKTNOSUPPORT;
    if (seen.protocol !== memory.u32(context + LOOKUP_PROTOCOL)) return -ERRNO.EPROTOTYPE;
    const packetIpv6 = memory.u32(context + LOOKUP_FAMILY) === AF_INET6;
    const only = seen.socket !== undefined && isIpv6Only(seen.socket);
    if (seen.ipv6 !== packetIpv6 && (!seen.ipv6 || only)) return -ERRNO.EAFNOSUPPORT;
  }
  if (memory.u64(context + LOOKUP_SK) !== 0n && (flags & LOOKUP_REPLACE) === 0n) return -ERRNO.EEXIST;
  memory.setU64(context + LOOKUP_SK, BigInt(address));
  return 0;
}

function assign(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [context, address, flags] = [args.u32(1), args.u32(2), args.u64(3)];
  const { type, attachType } = world.programAt(memory.u32(args.exec + EXEC_PROG));
  if (type === "sk_lookup") return assignLookup(world, context, address, flags);
  if (address === 0 || flags !== 0n) return -ERRNO.EINVAL;
  // Without a named side a program stands for one at ingress, the only place where the call means something.
  if (attachType === "tcx_egress" || attachType === "netkit_peer") return -ERRNO.EOPNOTSUPP;
  const seen = seenSocket(world, address);
  if (seen?.socket !== undefined && seen.socket.netns !== 0) return -ERRNO.ENETUNREACH;
  if (seen?.protocol === IPPROTO_TCP && seen.state === STATES.close) return -ERRNO.EOPNOTSUPP;
  const sk = hookOf("sched_cls")?.context.fields.find(({ name }) => name === "sk");
  if (sk !== undefined) memory.setU64(context + sk.offset, BigInt(address));
  return 0;
}

/** A pointer to the kernel's own structure of a socket, for those of a kind. */
function toKernel(name: HelperName, fits: (seen: SeenSocket) => boolean): HostHelper {
  return {
    name,
    args: 1,
    call(world, args) {
      const seen = seenSocket(world, args.u32(1));
      if (seen === undefined || !fits(seen)) return 0;
      if (seen.socket?.object !== undefined) return BigInt(seen.socket.object);
      throw notInWorld(
        name,
        `the socket at 0x${seen.address.toString(16)} has no ${name.slice(7)} structure of the kernel's`,
        "give its address: world: { sockets: [{ ..., object: ADDRESS }] }",
      );
    },
  };
}

const isTcp = ({ protocol }: SeenSocket): boolean => protocol === IPPROTO_TCP;

export const SOCKETS: readonly HostHelper[] = [
  { name: "sk_lookup_tcp", args: 5, call: lookupFull("tcp") },
  { name: "sk_lookup_udp", args: 5, call: lookupFull("udp") },
  {
    name: "skc_lookup_tcp",
    args: 5,
    call(world, args) {
      const socket = find(world, args, "tcp");
      return socket === undefined ? 0 : BigInt(placeSocket(world, socket));
    },
  },
  // Sockets of the world stay until they are removed: there is no count to take back.
  { name: "sk_release", args: 1, call: () => 0 },
  {
    name: "sk_fullsock",
    args: 1,
    call(world, args) {
      const seen = seenSocket(world, args.u32(1));
      return seen !== undefined && full(seen) ? BigInt(seen.address) : 0;
    },
  },
  {
    name: "tcp_sock",
    args: 1,
    call(world, args) {
      const seen = seenSocket(world, args.u32(1));
      if (seen === undefined || !full(seen) || !isTcp(seen)) return 0;
      return BigInt(placeTcp(world, worldSocket("tcp_sock", world, seen.address)));
    },
  },
  {
    name: "get_listener_sock",
    args: 1,
    call(world, args) {
      const seen = seenSocket(world, args.u32(1));
      if (seen === undefined) return 0;
      if (seen.state === STATES.listen) return BigInt(seen.address);
      if (seen.state !== STATES.new_syn_recv) return 0;
      const listener = world.world.sockets.fullOf(worldSocket("get_listener_sock", world, seen.address));
      return listener?.state === "listen" ? BigInt(placeSocket(world, listener)) : 0;
    },
  },
  { name: "sk_assign", args: 3, call: assign },
  {
    name: "get_socket_cookie",
    args: 1,
    call(world, args) {
      const address = contextSocket(world, args);
      if (address === 0) return 0;
      const { sockets } = world.world;
      // Tracing programs hand over the kernel's own structure, whose ends lie elsewhere.
      if (isKernelSocket(world, args)) return sockets.at(address)?.cookie ?? sockets.cookieOf(`${address}`);
      const known = seenSocket(world, address)?.socket;
      return known?.cookie ?? sockets.cookieOf(world.memory.read(address, SOCK.size).join());
    },
  },
  {
    name: "get_socket_uid",
    args: 1,
    call(world, args) {
      const address = contextSocket(world, args);
      if (address === 0) return OVERFLOW_UID;
      const socket = world.world.sockets.fullOf(worldSocket("get_socket_uid", world, address));
      return socket === undefined || !isFull(socket) ? OVERFLOW_UID : BigInt(socket.uid);
    },
  },
  {
    name: "get_netns_cookie",
    args: 1,
    call(world, args) {
      const address = args.u32(1) === 0 ? 0 : contextSocket(world, args);
      const netns = address === 0 ? 0 : (seenSocket(world, address)?.socket?.netns ?? 0);
      if (netns === 0) return world.world.netnsCookie;
      throw notInWorld(
        "get_netns_cookie",
        `nothing is known of the cookie of network namespace ${netns}`,
        "ask for a socket of the machine's own",
      );
    },
  },
  {
    name: "sk_cgroup_id",
    args: 1,
    call: (world, args) => cgroupOf("sk_cgroup_id", world, args.u32(1))?.id ?? 0,
  },
  {
    name: "sk_ancestor_cgroup_id",
    args: 2,
    call(world, args) {
      const cgroup = cgroupOf("sk_ancestor_cgroup_id", world, args.u32(1));
      return cgroup === undefined ? 0 : (ancestorOf(cgroup, args.i32(2))?.id ?? 0);
    },
  },
  {
    name: "skb_cgroup_id",
    args: 1,
    call: (world, args) => cgroupOf("skb_cgroup_id", world, contextSocket(world, args))?.id ?? 0,
  },
  {
    name: "skb_ancestor_cgroup_id",
    args: 2,
    call(world, args) {
      const cgroup = cgroupOf("skb_ancestor_cgroup_id", world, contextSocket(world, args));
      return cgroup === undefined ? 0 : (ancestorOf(cgroup, args.i32(2))?.id ?? 0);
    },
  },
  {
    name: "skb_cgroup_classid",
    args: 1,
    call: (world, args) => cgroupOf("skb_cgroup_classid", world, contextSocket(world, args))?.classid ?? 0,
  },
  toKernel("skc_to_tcp_sock", (seen) => full(seen) && isTcp(seen)),
  toKernel("skc_to_tcp6_sock", (seen) => full(seen) && isTcp(seen) && seen.ipv6),
  toKernel("skc_to_udp6_sock", (seen) => full(seen) && seen.protocol === IPPROTO_UDP && seen.ipv6),
  toKernel("skc_to_tcp_timewait_sock", (seen) => isTcp(seen) && seen.state === STATES.time_wait),
  toKernel("skc_to_tcp_request_sock", (seen) => isTcp(seen) && seen.state === STATES.new_syn_recv),
  // The world's sockets are of IP.
  toKernel("skc_to_unix_sock", () => false),
  toKernel("skc_to_mptcp_sock", () => false),
];

/** Of a whole socket; a packet without one has no group (sock_cgroup_ptr). */
function cgroupOf(helper: HelperName, world: HelperWorld, address: number): Socket["cgroup"] | undefined {
  if (address === 0) return undefined;
  const socket = world.world.sockets.fullOf(worldSocket(helper, world, address));
  return socket === undefined || !isFull(socket) ? undefined : socket.cgroup;
}
