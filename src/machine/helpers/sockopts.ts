/** Options of sockets: which programs may ask for and set, and what the kernel makes of a value (net/core/filter.c). */
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { LEVELS, OPTIONS } from "../world/sockopt.ts";
import { type Socket, isFull, isIpv6, isIpv6Only, optionKey } from "../world/sockets.ts";
import type { World } from "../world/world.ts";
import { contextSocket, worldSocket } from "./sockets.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

const INT = 4;
const INT_MAX = 0x7fffffff;
/** net.core.rmem_max and wmem_max of a kernel that nobody has told otherwise. */
const BUFFER_MAX = 212992;

interface Rule {
  /** Absent: any length. */
  readonly length?: number;
  /** What is kept of a value; undefined: the kernel says EINVAL. */
  readonly set?: (value: number) => number | undefined;
  readonly get?: false;
}

const flag = (value: number): number => (value === 0 ? 0 : 1);
const within =
  (least: number, most: number) =>
  (value: number): number | undefined =>
    value < least || value > most ? undefined : value;
/** Twice what is asked for, for the kernel's own needs, and not less than one packet (two to send). */
const buffer =
  (least: number) =>
  (value: number): number =>
    Math.max(Math.min(value >>> 0, BUFFER_MAX) * 2, least);
const any = (value: number): number => value;

/** By level and option. */
const RULES: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  SOL_SOCKET: {
    SO_REUSEADDR: { length: INT, set: flag },
    SO_SNDBUF: { length: INT, set: buffer(4608) },
    SO_RCVBUF: { length: INT, set: buffer(2304) },
    SO_KEEPALIVE: { length: INT, set: flag },
    SO_PRIORITY: { length: INT, set: any },
    SO_REUSEPORT: { length: INT, set: flag },
    SO_RCVLOWAT: { length: INT, set: (value) => (value < 0 ? INT_MAX : value || 1) },
    SO_MARK: { length: INT, set: any },
    SO_MAX_PACING_RATE: { length: INT, set: any },
    SO_BINDTOIFINDEX: { length: INT, set: within(0, INT_MAX) },
    SO_TXREHASH: { length: INT, set: within(-1, 1) },
    SO_BINDTODEVICE: { get: false },
  },
  SOL_TCP: {
    TCP_NODELAY: { length: INT, set: flag },
    TCP_MAXSEG: { length: INT, set: (value) => (value === 0 ? 0 : within(88, 32767)(value)) },
    TCP_KEEPIDLE: { length: INT, set: within(1, 32767) },
    TCP_KEEPINTVL: { length: INT, set: within(1, 32767) },
    TCP_KEEPCNT: { length: INT, set: within(1, 127) },
    TCP_SYNCNT: { length: INT, set: within(1, 127) },
    TCP_WINDOW_CLAMP: { length: INT, set: within(0, INT_MAX) },
    TCP_THIN_LINEAR_TIMEOUTS: { length: INT, set: within(0, 1) },
    TCP_USER_TIMEOUT: { length: INT, set: within(0, INT_MAX) },
    TCP_NOTSENT_LOWAT: { length: INT, set: any },
    TCP_SAVE_SYN: { length: INT, set: within(0, 2) },
    TCP_SAVED_SYN: {},
    TCP_CONGESTION: {},
    TCP_BPF_IW: { length: INT, set: within(1, INT_MAX), get: false },
    TCP_BPF_SNDCWND_CLAMP: { length: INT, set: within(1, INT_MAX), get: false },
    // Microseconds, one jiffy (1 ms at 1000 Hz) to TCP_DELACK_MAX and TCP_RTO_MIN, 200 ms both.
    TCP_BPF_DELACK_MAX: { length: INT, set: within(1, 200_000), get: false },
    TCP_BPF_RTO_MIN: { length: INT, set: within(1, 200_000), get: false },
    TCP_BPF_SOCK_OPS_CB_FLAGS: { length: INT, set: within(0, 0x7f) },
  },
  SOL_IP: { IP_TOS: { length: INT, set: (value) => value & 0xff } },
  SOL_IPV6: {
    IPV6_TCLASS: { length: INT, set: (value) => (value === -1 ? 0 : within(0, 255)(value)) },
    IPV6_AUTOFLOWLABEL: { length: INT, set: flag },
  },
};

interface Question {
  readonly name: string;
  readonly rule: Rule;
  readonly key: string;
}

/** Which option it is; undefined for those that the kernel keeps from programs. */
function optionOf(socket: Socket, level: number, option: number): Question | undefined {
  if (!isFull(socket)) return undefined;
  if (level === LEVELS["SOL_TCP"] && socket.protocol !== "tcp") return undefined;
  if (level === LEVELS["SOL_IPV6"] && !isIpv6(socket)) return undefined;
  if (level === LEVELS["SOL_IP"] && isIpv6Only(socket)) return undefined;
  for (const [where, options] of Object.entries(RULES)) {
    if (LEVELS[where] !== level) continue;
    for (const [name, rule] of Object.entries(options)) {
      if (OPTIONS[name] === option) return { name: `${where}.${name}`, rule, key: optionKey(level, option) };
    }
  }
  return undefined;
}

/** Names of congestion control that are known: those every kernel has, and those of sockets. */
function hasCongestion(world: World, name: string): boolean {
  const key = optionKey(LEVELS["SOL_TCP"] as number, OPTIONS["TCP_CONGESTION"] as number);
  return [
    "reno",
    "cubic",
    ...world.sockets.all.map(({ options }) => text(options.get(key) ?? new Uint8Array(0))),
  ].includes(name);
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.slice(0, end < 0 ? bytes.length : end));
}

function setOption(
  helperWorld: HelperWorld,
  socket: Socket,
  level: number,
  option: number,
  bytes: Uint8Array,
): number {
  const { world, memory } = helperWorld;
  const found = optionOf(socket, level, option);
  if (found === undefined || (found.rule.length ?? bytes.length) !== bytes.length) return -ERRNO.EINVAL;
  const { name, rule, key } = found;
  if (name === "SOL_TCP.TCP_CONGESTION") {
    if (bytes.length < 2) return -ERRNO.EINVAL;
    if (!hasCongestion(world, text(bytes))) return -ERRNO.ENOENT;
    socket.options.set(key, bytes);
    return 0;
  }
  if (name === "SOL_SOCKET.SO_BINDTODEVICE") {
    const device = text(bytes);
    const ifindex = device === "" ? 0 : world.network.device(device)?.ifindex;
    if (ifindex === undefined) return -ERRNO.ENODEV;
    socket.ifindex = ifindex;
    return 0;
  }
  const value = rule.set?.(new DataView(bytes.buffer).getInt32(0, true));
  if (value === undefined) return -ERRNO.EINVAL;
  const kept = new Uint8Array(INT);
  new DataView(kept.buffer).setInt32(0, value, true);
  socket.options.set(key, kept);
  const { sock } = socket.placed;
  if (name === "SOL_SOCKET.SO_MARK") {
    socket.mark = value >>> 0;
    if (sock !== 0) memory.setU32(sock + 16, value);
  } else if (name === "SOL_SOCKET.SO_PRIORITY") {
    socket.priority = value >>> 0;
    if (sock !== 0) memory.setU32(sock + 20, value);
  } else if (name === "SOL_SOCKET.SO_BINDTOIFINDEX") {
    socket.ifindex = value;
    if (sock !== 0) memory.setU32(sock, value);
  }
  return 0;
}

/** What the socket itself tells beside the options it was given. */
function valueOf(socket: Socket, { name, key }: Question): Uint8Array | undefined {
  const number = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
  if (name === "SOL_SOCKET.SO_MARK") return number(socket.mark);
  if (name === "SOL_SOCKET.SO_PRIORITY") return number(socket.priority);
  if (name === "SOL_SOCKET.SO_BINDTOIFINDEX") return number(socket.ifindex);
  return socket.options.get(key) ?? (name === "SOL_TCP.TCP_BPF_SOCK_OPS_CB_FLAGS" ? number(0) : undefined);
}

/** The value's bytes; a number below 0 is an error. */
function get(socket: Socket, level: number, option: number, length: number): Uint8Array | number {
  const found = optionOf(socket, level, option);
  if (found === undefined || found.rule.get === false) return -ERRNO.EINVAL;
  if ((found.rule.length ?? length) !== length) return -ERRNO.EINVAL;
  const congestion = found.name === "SOL_TCP.TCP_CONGESTION";
  if (congestion && length < 2) return -ERRNO.EINVAL;
  const value = valueOf(socket, found);
  if (found.name === "SOL_TCP.TCP_SAVED_SYN" && (value === undefined || length < 1 || length > value.length))
    return -ERRNO.EINVAL;
  if (value === undefined) {
    throw notInWorld(
      "getsockopt",
      `the socket has no value of ${found.name}`,
      `give it: world: { sockets: [{ ..., options: { "${found.name}": 1 } }] }`,
    );
  }
  // The last byte of a name is always NUL.
  return value.slice(0, congestion ? length - 1 : length);
}

function socketOf(helper: HelperName, world: HelperWorld, args: HelperArguments): Socket | undefined {
  const address =
    world.world.sockets.at(args.u32(1)) === undefined ? contextSocket(world, args) : args.u32(1);
  return address === 0 ? undefined : worldSocket(helper, world, address);
}

export const SOCKOPTS: readonly HostHelper[] = [
  {
    name: "setsockopt",
    args: 5,
    call(world, args) {
      const socket = socketOf("setsockopt", world, args);
      if (socket === undefined) return -ERRNO.EINVAL;
      const bytes = world.memory.read(args.u32(4), args.u32(5));
      return setOption(world, socket, args.i32(2), args.i32(3), bytes);
    },
  },
  {
    // What is not filled is zero, after an error all of it.
    name: "getsockopt",
    args: 5,
    call(world, args) {
      const [to, length] = [args.u32(4), args.u32(5)];
      const socket = socketOf("getsockopt", world, args);
      const value = socket === undefined ? -ERRNO.EINVAL : get(socket, args.i32(2), args.i32(3), length);
      world.memory.u8.fill(0, to, to + length);
      if (typeof value === "number") return value;
      world.memory.write(to, value);
      return 0;
    },
  },
];
