/** Options of TCP headers, and addresses that a program binds a socket to (net/core/filter.c). */
import { hookOf } from "../../hooks/index.ts";
import { ERRNO } from "../../uapi/index.ts";
import { AF_INET, AF_INET6, formatEndpoint, networkPort } from "../run/endpoint.ts";
import { sameBytes } from "../world/address.ts";
import type { World } from "../world/world.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

// uapi/linux/bpf.h, uapi/linux/tcp.h.
const LOAD_SYN = 1n;
const HDR_OPT_LEN_CB = 14;
const WRITE_HDR_OPT_CB = 15;
const TCP_HEADER = 20;
const OPTION_END = 0;
const OPTION_NOP = 1;
const EXPERIMENTAL: readonly number[] = [253, 254];

/** Where the option lies; a number below 0 is an error. `ended` is told if the options have been closed before their end. */
function findOption(
  options: Uint8Array,
  kind: number,
  magic: Uint8Array,
  ended: () => void = () => undefined,
): number {
  let at = 0;
  while (at < options.length) {
    const here = options[at] as number;
    if (here === OPTION_END) {
      ended();
      break;
    }
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

/** Where a member of struct bpf_sock_ops lies. */
const memberAt = (context: number, name: string): number =>
  context + (hookOf("sock_ops")?.context.fields.find((field) => field.name === name)?.offset ?? 0);

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
  const data = memory.u32(memberAt(context, "skb_data"));
  const end = memory.u32(memberAt(context, "skb_data_end"));
  if (data === 0 || memory.u32(memberAt(context, "op")) === HDR_OPT_LEN_CB) return -ERRNO.EPERM;
  const first = data + TCP_HEADER;
  const options = memory.read(first, Math.max(0, end - first));
  const found = findOption(options, kind, magic);
  if (found < 0) return found;
  const size = options[found + 1] as number;
  memory.write(to, options.subarray(found, found + Math.min(size, room)));
  return size > room ? -ERRNO.ENOSPC : size;
}

// A TCP header has at most 60 bytes (RFC 9293, 3.1).
const MAX_OPTIONS = 40;

/** How many bytes options may still take; options of the header that is there already count. */
function optionRoom({ memory, run }: HelperWorld, context: number): number {
  const data = memory.u32(memberAt(context, "skb_data"));
  const used = data === 0 ? 0 : memory.u32(memberAt(context, "skb_data_end")) - data - TCP_HEADER;
  return run.optionRoom ?? MAX_OPTIONS - Math.max(0, used);
}

function reserveOption(world: HelperWorld, args: HelperArguments): number {
  const [context, length] = [args.u32(1), args.u32(2)];
  if (world.memory.u32(memberAt(context, "op")) !== HDR_OPT_LEN_CB) return -ERRNO.EPERM;
  if (args.u64(3) !== 0n || length < 2) return -ERRNO.EINVAL;
  const room = optionRoom(world, context);
  if (length > room) return -ERRNO.ENOSPC;
  world.run.optionRoom = room - length;
  return 0;
}

function storeOption(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [context, from, size] = [args.u32(1), args.u32(2), args.u32(3)];
  if (memory.u32(memberAt(context, "op")) !== WRITE_HDR_OPT_CB) return -ERRNO.EPERM;
  if (size < 2 || args.u64(4) !== 0n) return -ERRNO.EINVAL;
  const [kind = 0, length = 0] = memory.read(from, 2);
  if (length > size || kind === OPTION_NOP || kind === OPTION_END) return -ERRNO.EINVAL;
  const room = optionRoom(world, context);
  if (length > room) return -ERRNO.ENOSPC;
  const experimental = EXPERIMENTAL.includes(kind);
  if (experimental && length < 4) return -ERRNO.EINVAL;
  const data = memory.u32(memberAt(context, "skb_data"));
  if (data === 0) {
    throw notInWorld(
      "store_hdr_opt",
      "there is no TCP header to write to",
      'run the program with run({ op: "WRITE_HDR_OPT_CB", data: HEADER })',
    );
  }
  const end = memory.u32(memberAt(context, "skb_data_end"));
  const options = memory.read(data + TCP_HEADER, Math.max(0, end - data - TCP_HEADER));
  let closed = false;
  // Experimental options are told apart by 16 bits of magic (RFC 6994).
  const found = findOption(options, kind, memory.read(from + 2, experimental ? 2 : 0), () => {
    closed = true;
  });
  if (found >= 0) return -ERRNO.EEXIST;
  if (found !== -ERRNO.ENOMSG) return found;
  if (closed) return -ERRNO.ENOSPC;
  memory.write(end, memory.read(from, length));
  memory.setU64(memberAt(context, "skb_data_end"), BigInt(end + length));
  world.run.optionRoom = room - length;
  return 0;
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

export const TCP_OPTIONS: readonly HostHelper[] = [
  { name: "load_hdr_opt", args: 4, call: loadOption },
  { name: "store_hdr_opt", args: 4, call: storeOption },
  { name: "reserve_hdr_opt", args: 3, call: reserveOption },
  { name: "bind", args: 3, call: bind },
];
