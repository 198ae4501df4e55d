import { BpfError } from "../../errors.ts";

/** Levels and options (asm-generic/socket.h, in.h, in6.h, tcp.h). */
export const LEVELS: Readonly<Record<string, number>> = {
  SOL_IP: 0,
  IPPROTO_IP: 0,
  SOL_SOCKET: 1,
  SOL_TCP: 6,
  IPPROTO_TCP: 6,
  SOL_UDP: 17,
  IPPROTO_UDP: 17,
  SOL_IPV6: 41,
  IPPROTO_IPV6: 41,
};
export const OPTIONS: Readonly<Record<string, number>> = {
  SO_DEBUG: 1,
  SO_REUSEADDR: 2,
  SO_TYPE: 3,
  SO_ERROR: 4,
  SO_DONTROUTE: 5,
  SO_BROADCAST: 6,
  SO_SNDBUF: 7,
  SO_RCVBUF: 8,
  SO_KEEPALIVE: 9,
  SO_PRIORITY: 12,
  SO_LINGER: 13,
  SO_REUSEPORT: 15,
  SO_PEERCRED: 17,
  SO_RCVLOWAT: 18,
  SO_BINDTODEVICE: 25,
  SO_SNDBUFFORCE: 32,
  SO_RCVBUFFORCE: 33,
  SO_MARK: 36,
  SO_MAX_PACING_RATE: 47,
  SO_BINDTOIFINDEX: 62,
  SO_TXREHASH: 74,
  TCP_NODELAY: 1,
  TCP_MAXSEG: 2,
  TCP_CORK: 3,
  TCP_KEEPIDLE: 4,
  TCP_KEEPINTVL: 5,
  TCP_KEEPCNT: 6,
  TCP_SYNCNT: 7,
  TCP_WINDOW_CLAMP: 10,
  TCP_INFO: 11,
  TCP_QUICKACK: 12,
  TCP_CONGESTION: 13,
  TCP_THIN_LINEAR_TIMEOUTS: 16,
  TCP_USER_TIMEOUT: 18,
  TCP_NOTSENT_LOWAT: 25,
  TCP_SAVE_SYN: 27,
  TCP_SAVED_SYN: 28,
  TCP_ZEROCOPY_RECEIVE: 35,
  TCP_BPF_IW: 1001,
  TCP_BPF_SNDCWND_CLAMP: 1002,
  TCP_BPF_DELACK_MAX: 1003,
  TCP_BPF_RTO_MIN: 1004,
  TCP_BPF_SOCK_OPS_CB_FLAGS: 1008,
  IP_TOS: 1,
  IP_TTL: 2,
  IPV6_UNICAST_HOPS: 16,
  IPV6_V6ONLY: 26,
  IPV6_TCLASS: 67,
  IPV6_AUTOFLOWLABEL: 70,
};

export function optionNumber(
  known: Readonly<Record<string, number>>,
  value: string | number,
  what: string,
): number {
  if (typeof value === "number") return value;
  const number = Object.hasOwn(known, value) ? known[value] : undefined;
  if (number !== undefined) return number;
  throw new BpfError(
    "context",
    `${what}: no '${value}'; give its number, or one of ${Object.keys(known).join(", ")}`,
  );
}
