/**
 * SYN cookies (RFC 4987, 3.6; net/ipv4/syncookies.c): a sequence number that says which maximum segment size a connection began
 * with and in which minute, and that only who knows a secret can make. The secret is this machine's, so its cookies are no kernel's.
 */
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { STATES, type Socket, isIpv6, isIpv6Only } from "../world/sockets.ts";
import { seenSocket, worldSocket } from "./sockets.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

const IPPROTO_TCP = 6;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const TCP_HEADER = 20;
const FIN = 1;
const SYN = 2;
const RST = 4;
const ACK = 16;

/** The sizes that a cookie can name (net/ipv4/syncookies.c, net/ipv6/syncookies.c: msstab). */
const SIZES4: readonly number[] = [536, 1300, 1440, 1460];
const SIZES6: readonly number[] = [1220, 1420, 1440, 8940];
// linux/tcp.h TCP_MSS_DEFAULT; of IPv6 what is left of its smallest packet of 1280 bytes.
const DEFAULT4 = 536;
const DEFAULT6 = 1220;

const MINUTE = 60_000_000_000n;
const SECOND = 1_000_000_000n;
/** Cookies hold for so many minutes. */
const MAX_AGE = 2;
const DATA_BITS = 24;
const DATA_MASK = 0xffffff;

const minute = (world: HelperWorld): number => Number(BigInt.asUintN(32, world.now() / MINUTE));

/** 32 bits that depend on all bytes and on which of the two secrets it is (the mixing of MurmurHash3, by A. Appleby). */
function keyed(secret: number, bytes: Uint8Array, count: number): number {
  let hash = secret ^ Math.imul(count, 0x9e3779b1);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < bytes.length; at += 4) {
    let word = Math.imul(view.getUint32(at), 0xcc9e2d51);
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash ^= word;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
const FIRST_SECRET = 0x5bd1e995;
const SECOND_SECRET = 0x2545f491;

interface Headers {
  readonly six: boolean;
  /** Addresses and ports. */
  readonly ends: Uint8Array;
  readonly sequence: number;
  readonly acknowledged: number;
  readonly flags: number;
  /** Bytes of the TCP header, as it says. */
  readonly length: number;
  readonly tcp: number;
}

function headersAt({ memory }: HelperWorld, ip: number, tcp: number, six: boolean): Headers {
  const ends = new Uint8Array(six ? 36 : 12);
  ends.set(memory.read(ip + (six ? 8 : 12), six ? 32 : 8));
  ends.set(memory.read(tcp, 4), ends.length - 4);
  const { view } = memory;
  return {
    six,
    ends,
    sequence: view.getUint32(tcp + 4),
    acknowledged: view.getUint32(tcp + 8),
    flags: view.getUint8(tcp + 13),
    length: (view.getUint8(tcp + 12) >> 4) * 4,
    tcp,
  };
}

/** The maximum segment size option of a SYN; 0 if it has none (RFC 9293, 3.7.1). */
function segmentSize({ memory }: HelperWorld, { tcp, length }: Headers): number {
  const options = memory.read(tcp + TCP_HEADER, Math.max(0, length - TCP_HEADER));
  for (let at = 0; at < options.length; ) {
    const kind = options[at] as number;
    if (kind === 0) return 0;
    if (kind === 1) {
      at++;
      continue;
    }
    const size = options[at + 1] ?? 0;
    if (size < 2 || at + size > options.length) return 0;
    if (kind === 2 && size === 4) return ((options[at + 2] as number) << 8) | (options[at + 3] as number);
    at += size;
  }
  return 0;
}

/** The cookie with the size that it stands for above it. */
function make(world: HelperWorld, headers: Headers): bigint {
  const { six, ends, sequence } = headers;
  const sizes = six ? SIZES6 : SIZES4;
  const wanted = segmentSize(world, headers) || (six ? DEFAULT6 : DEFAULT4);
  const index = Math.max(
    0,
    sizes.findLastIndex((size) => wanted >= size),
  );
  const count = minute(world);
  const data = (keyed(SECOND_SECRET, ends, count) + index) & DATA_MASK;
  const cookie = (keyed(FIRST_SECRET, ends, 0) + sequence + (count << DATA_BITS) + data) >>> 0;
  return BigInt(cookie) | (BigInt(sizes[index] as number) << 32n);
}

/** Whether the acknowledgement of a handshake names a cookie that was made in the last two minutes. */
function holds(world: HelperWorld, { six, ends, sequence, acknowledged }: Headers): boolean {
  const bare = (acknowledged - 1 - keyed(FIRST_SECRET, ends, 0) - (sequence - 1)) >>> 0;
  const count = minute(world);
  const age = (count - (bare >>> DATA_BITS)) & 0xff;
  if (age >= MAX_AGE) return false;
  const index = (bare - keyed(SECOND_SECRET, ends, (count - age) >>> 0)) & DATA_MASK;
  return index < (six ? SIZES6 : SIZES4).length;
}

/** What the helpers that are given a listener have in common: the headers that it may answer, or why not. */
function ofListener(
  helper: HelperName,
  world: HelperWorld,
  args: HelperArguments,
  refuse: (listener: Socket, flags: number) => number,
): { listener: Socket; headers: Headers } | number {
  const [ip, ipLength, tcp] = [args.u32(2), args.u32(3), args.u32(4)];
  const seen = seenSocket(world, args.u32(1));
  if (seen === undefined || seen.state !== STATES.listen || seen.protocol !== IPPROTO_TCP)
    return -ERRNO.EINVAL;
  const listener = worldSocket(helper, world, seen.address);
  const refused = refuse(listener, world.memory.view.getUint8(tcp + 13));
  if (refused !== 0) return refused;
  if (ipLength < IPV4_HEADER) return -ERRNO.EINVAL;
  const version = world.memory.view.getUint8(ip) >> 4;
  if (version !== 4 && version !== 6) return -ERRNO.EPROTONOSUPPORT;
  const six = version === 6;
  if (six ? ipLength < IPV6_HEADER || !isIpv6(listener) : isIpv6Only(listener)) return -ERRNO.EINVAL;
  return { listener, headers: headersAt(world, ip, tcp, six) };
}

function generate(world: HelperWorld, args: HelperArguments): number | bigint {
  const [tcp, length] = [args.u32(4), args.u32(5)];
  if (args.u32(1) === 0 || length < TCP_HEADER) return -ERRNO.EINVAL;
  if (length !== (world.memory.view.getUint8(tcp + 12) >> 4) * 4) return -ERRNO.EINVAL;
  const found = ofListener("tcp_gen_syncookie", world, args, (_, flags) => {
    if (world.world.synCookies === 0) return -ERRNO.ENOENT;
    return (flags & (SYN | ACK | FIN | RST)) === SYN ? 0 : -ERRNO.EINVAL;
  });
  if (typeof found === "number") return found;
  if (world.world.synCookies !== 2 && !found.listener.flooded) return -ERRNO.ENOENT;
  found.listener.lastCookie = world.now();
  return make(world, found.headers);
}

function check(world: HelperWorld, args: HelperArguments): number {
  if (args.u32(1) === 0 || args.u32(5) < TCP_HEADER) return -ERRNO.EINVAL;
  const found = ofListener("tcp_check_syncookie", world, args, (listener, flags) => {
    if (world.world.synCookies === 0) return -ERRNO.EINVAL;
    if ((flags & (ACK | RST | SYN)) !== ACK) return -ERRNO.ENOENT;
    if (args.u32(3) < IPV4_HEADER) return -ERRNO.EINVAL;
    // Who has sent no cookie lately does not look whether it gets one back.
    const { lastCookie } = listener;
    const recent = lastCookie !== undefined && world.now() - lastCookie <= MINUTE * BigInt(MAX_AGE) + SECOND;
    return recent ? 0 : -ERRNO.ENOENT;
  });
  if (typeof found === "number") return found;
  return holds(world, found.headers) ? 0 : -ERRNO.ENOENT;
}

const rawGenerate =
  (six: boolean): HostHelper["call"] =>
  (world, args) => {
    const length = args.u32(3);
    if (length < TCP_HEADER) return -ERRNO.EINVAL;
    const headers = headersAt(world, args.u32(1), args.u32(2), six);
    return length === headers.length ? make(world, headers) : -ERRNO.EINVAL;
  };

const rawCheck =
  (six: boolean): HostHelper["call"] =>
  (world, args) =>
    holds(world, headersAt(world, args.u32(1), args.u32(2), six)) ? 0 : -ERRNO.EACCES;

export const SYNCOOKIES: readonly HostHelper[] = [
  { name: "tcp_gen_syncookie", args: 5, call: generate },
  { name: "tcp_check_syncookie", args: 5, call: check },
  { name: "tcp_raw_gen_syncookie_ipv4", args: 3, call: rawGenerate(false) },
  { name: "tcp_raw_gen_syncookie_ipv6", args: 3, call: rawGenerate(true) },
  { name: "tcp_raw_check_syncookie_ipv4", args: 2, call: rawCheck(false) },
  { name: "tcp_raw_check_syncookie_ipv6", args: 2, call: rawCheck(true) },
];
