/** Messages of sockets, options of TCP headers, addresses that a program binds a socket to (net/core/filter.c). */
import { hookOf } from "../../hooks/index.ts";
import { ERRNO } from "../../uapi/index.ts";
import { AF_INET, AF_INET6, formatEndpoint, networkPort } from "../run/endpoint.ts";
import { sameBytes } from "../world/address.ts";
import type { World } from "../world/world.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

// struct sk_msg_md.
const MSG_DATA = 0;
const MSG_DATA_END = 8;

/** The message lies in one piece, so that pulling moves the two pointers and nothing else. */
function pullData(world: HelperWorld, args: HelperArguments): number {
  const [context, start, end, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u64(4)];
  const { message } = world.run;
  if (message === undefined) {
    throw notInWorld("msg_pull_data", "there is no message", "run the program with run({ data })");
  }
  if (flags !== 0n || end <= start || end > message.length) return -ERRNO.EINVAL;
  world.memory.setU64(context + MSG_DATA, BigInt(message.start + start));
  world.memory.setU64(context + MSG_DATA_END, BigInt(message.start + end));
  return 0;
}

// uapi/linux/bpf.h, uapi/linux/tcp.h.
const LOAD_SYN = 1n;
const HDR_OPT_LEN_CB = 14;
const TCP_HEADER = 20;
const OPTION_END = 0;
const OPTION_NOP = 1;
const EXPERIMENTAL: readonly number[] = [253, 254];

/** Where the option lies; a number below 0 is an error. */
function findOption(options: Uint8Array, kind: number, magic: Uint8Array): number {
  let at = 0;
  while (at < options.length) {
    const here = options[at] as number;
    if (here === OPTION_END) break;
    if (here === OPTION_NOP) {
      at++;
      continue;
    }
    const length = options[at + 1] ?? 0;
    if (length < 2 || options.length - at < length) return -ERRNO.EFAULT;
    if (here === kind) {
      if (magic.length > length - 2) break;
      if (sameBytes(options.subarray(at + 2, at + 2 + magic.length), magic)) return at;
    }
    at += length;
  }
  return -ERRNO.ENOMSG;
}

function loadOption({ memory }: HelperWorld, args: HelperArguments): number {
  const [context, to, room, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u64(4)];
  if (room < 2 || (flags & ~LOAD_SYN) !== 0n) return -ERRNO.EINVAL;
  const [kind = 0, length = 0] = memory.read(to, 2);
  if (length > room || kind === OPTION_NOP || kind === OPTION_END) return -ERRNO.EINVAL;
  const experimental = EXPERIMENTAL.includes(kind);
  if (experimental ? length !== 4 && length !== 6 : length !== 0) return -ERRNO.EINVAL;
  const magic = memory.read(to + 2, experimental ? length - 2 : 0);
  // No socket here has saved the segment that its connection began with.
  if (flags === LOAD_SYN) return -ERRNO.ENOENT;
  const fields = hookOf("sock_ops")?.context.fields ?? [];
  const at = (name: string): number => context + (fields.find((field) => field.name === name)?.offset ?? 0);
  const data = memory.u32(at("skb_data"));
  const end = memory.u32(at("skb_data_end"));
  if (data === 0 || memory.u32(at("op")) === HDR_OPT_LEN_CB) return -ERRNO.EPERM;
  const first = data + TCP_HEADER;
  const options = memory.read(first, Math.max(0, end - first));
  const found = findOption(options, kind, magic);
  if (found < 0) return found;
  const size = options[found + 1] as number;
  memory.write(to, options.subarray(found, found + Math.min(size, room)));
  return size > room ? -ERRNO.ENOSPC : size;
}

// struct sockaddr_in and sockaddr_in6, of the latter up to sin6_scope_id (RFC 2133).
const SOCKADDR_IN = 16;
const SOCKADDR_IN6 = 24;
// struct bpf_sock_addr.sk; struct bpf_sock.
const ADDR_SK = 64;
const SOCK_SOURCE4 = 24;
const SOCK_SOURCE6 = 28;
const SOCK_SOURCE_PORT = 44;
const SOCK_STATE = 72;
const CLOSED = 7;

function isLocal({ network }: World, ip: Uint8Array): boolean {
  if (ip.every((byte) => byte === 0) || (ip.length === 4 && ip[0] === 127)) return true;
  return network.interfaces.some(({ addresses }) => addresses.some(({ bytes }) => sameBytes(bytes, ip)));
}

function bind({ memory, run, world }: HelperWorld, args: HelperArguments): number {
  const [context, address, length] = [args.u32(1), args.u32(2), args.i32(3)];
  if (length < 2) return -ERRNO.EINVAL;
  const family = memory.view.getUint16(address, true);
  if (family !== AF_INET && family !== AF_INET6) return -ERRNO.EAFNOSUPPORT;
  const four = family === AF_INET;
  if (length < (four ? SOCKADDR_IN : SOCKADDR_IN6)) return -ERRNO.EINVAL;
  const port = memory.view.getUint16(address + 2);
  const ip = memory.read(address + (four ? 4 : 8), four ? 4 : 16);
  if (!isLocal(world, ip)) return -ERRNO.EADDRNOTAVAIL;
  const sock = memory.u32(context + ADDR_SK);
  if (memory.u32(sock + SOCK_STATE) !== CLOSED || memory.u32(sock + SOCK_SOURCE_PORT) !== 0)
    return -ERRNO.EINVAL;
  const taken = world.sockets.all.some(
    ({ local, state, protocol }) =>
      port !== 0 &&
      protocol === "tcp" &&
      state === "listen" &&
      local.port === port &&
      sameBytes(local.ip, ip),
  );
  if (taken) return -ERRNO.EADDRINUSE;
  memory.write(sock + (four ? SOCK_SOURCE4 : SOCK_SOURCE6), ip);
  memory.setU32(sock + SOCK_SOURCE_PORT, port);
  const view = new DataView(ip.buffer);
  const words = Array.from({ length: ip.length / 4 }, (_, index) => view.getUint32(4 * index, true));
  run.bound = formatEndpoint(words, networkPort(port));
  return 0;
}

export const MESSAGES: readonly HostHelper[] = [
  { name: "msg_pull_data", args: 4, call: pullData },
  { name: "load_hdr_opt", args: 4, call: loadOption },
  { name: "bind", args: 3, call: bind },
];
