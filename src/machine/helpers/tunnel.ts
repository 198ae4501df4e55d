/**
 * Tunnel keys and options. As in the kernel there is one record for each CPU, which a packet points to once a key has been set;
 * it says what the packet shall be sent with.
 */
import { CTX_SKB, EXEC_CPU, SKB_TUNNEL } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { LinearMemory } from "../memory.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

// uapi/linux/bpf.h struct bpf_tunnel_key.
const KEY_SIZE = 44;
const KEY = { id: 0, remote: 4, tos: 20, ttl: 21, flags: 22, label: 24, local: 28 } as const;
/** Sizes of older layouts, up to a member: local_ipv6, tunnel_label, tunnel_ext, the rest of remote_ipv6. */
const OLD_SIZES: readonly number[] = [28, 24, 22, 8];
const OLDEST_SIZE = 8;

const TUNINFO_IPV6 = 1n;
const ZERO_CSUM_TX = 2n;
const DONT_FRAGMENT = 4n;
const SEQ_NUMBER = 8n;
const NO_TUNNEL_KEY = 16n;
const TUNINFO_FLAGS = 16n;
const SET_FLAGS = TUNINFO_IPV6 | ZERO_CSUM_TX | DONT_FRAGMENT | SEQ_NUMBER | NO_TUNNEL_KEY;

// uapi/linux/if_tunnel.h: bits of a tunnel's flags, which programs see in network byte order.
const TUNNEL = {
  csum: 1 << 0,
  key: 1 << 2,
  seq: 1 << 3,
  dontFragment: 1 << 8,
  options: 0x5800,
  noCache: 1 << 13,
};
// linux/net/ip_tunnels.h IP_TUNNEL_OPTS_MAX.
const MAX_OPTIONS = 255;

/** What a packet is sent with. Addresses in network byte order. */
export interface TunnelRecord {
  id: number;
  tos: number;
  ttl: number;
  flags: number;
  ipv6: boolean;
  label: number;
  source: Uint8Array;
  destination: Uint8Array;
  options: Uint8Array;
}

const RECORDS = new WeakMap<LinearMemory, Map<number, TunnelRecord>>();

function recordOf({ memory }: HelperWorld, args: HelperArguments): TunnelRecord | undefined {
  if ((memory.u32(args.u32(1) + CTX_SKB) & SKB_TUNNEL) === 0) return undefined;
  return RECORDS.get(memory)?.get(memory.u32(args.exec + EXEC_CPU));
}

const swapped = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

function getKey(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [to, size, flags] = [args.u32(2), args.u32(3), args.u64(4)];
  const record = recordOf(world, args);
  const fail = (errno: number): number => {
    memory.u8.fill(0, to, to + size);
    return -errno;
  };
  if (record === undefined || (flags & ~(TUNINFO_IPV6 | TUNINFO_FLAGS)) !== 0n) return fail(ERRNO.EINVAL);
  const ipv6 = (flags & TUNINFO_IPV6) !== 0n;
  if (record.ipv6 !== ipv6) return fail(ERRNO.EPROTO);
  if (size !== KEY_SIZE && (!OLD_SIZES.includes(size) || (size === OLDEST_SIZE && ipv6)))
    return fail(ERRNO.EINVAL);
  const bytes = new Uint8Array(KEY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(KEY.id, record.id, true);
  bytes[KEY.tos] = record.tos;
  bytes[KEY.ttl] = record.ttl;
  if ((flags & TUNINFO_FLAGS) !== 0n) view.setUint16(KEY.flags, swapped(record.flags), true);
  // From the receiver's side: the source is the other end.
  if (ipv6) {
    bytes.set(record.source, KEY.remote);
    bytes.set(record.destination, KEY.local);
    view.setUint32(KEY.label, record.label, true);
  } else {
    bytes.set(record.source.toReversed(), KEY.remote);
    bytes.set(record.destination.toReversed(), KEY.local);
  }
  memory.write(to, bytes.subarray(0, size));
  return 0;
}

function setKey({ memory }: HelperWorld, args: HelperArguments): number {
  const [skb, from, size, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u64(4)];
  if ((flags & ~SET_FLAGS) !== 0n) return -ERRNO.EINVAL;
  if (size !== KEY_SIZE && !OLD_SIZES.includes(size)) return -ERRNO.EINVAL;
  const bytes = new Uint8Array(KEY_SIZE);
  bytes.set(memory.u8.subarray(from, from + size));
  const view = new DataView(bytes.buffer);
  const ipv6 = (flags & TUNINFO_IPV6) !== 0n;
  const label = view.getUint32(KEY.label, true);
  if ((!ipv6 && label !== 0) || view.getUint16(KEY.flags, true) !== 0) return -ERRNO.EINVAL;
  const has = (flag: bigint): boolean => (flags & flag) !== 0n;
  const address = (at: number): Uint8Array =>
    ipv6 ? bytes.slice(at, at + 16) : bytes.slice(at, at + 4).toReversed();
  let records = RECORDS.get(memory);
  if (records === undefined) RECORDS.set(memory, (records = new Map()));
  records.set(memory.u32(args.exec + EXEC_CPU), {
    id: view.getUint32(KEY.id, true),
    tos: bytes[KEY.tos] as number,
    ttl: bytes[KEY.ttl] as number,
    flags:
      TUNNEL.noCache |
      (has(DONT_FRAGMENT) ? TUNNEL.dontFragment : 0) |
      (has(ZERO_CSUM_TX) ? 0 : TUNNEL.csum) |
      (has(SEQ_NUMBER) ? TUNNEL.seq : 0) |
      (has(NO_TUNNEL_KEY) ? 0 : TUNNEL.key),
    ipv6,
    label: ipv6 ? label & 0xfffff : 0,
    source: address(KEY.local),
    destination: address(KEY.remote),
    options: new Uint8Array(0),
  });
  memory.setU32(skb + CTX_SKB, memory.u32(skb + CTX_SKB) | SKB_TUNNEL);
  return 0;
}

export const TUNNELS: readonly HostHelper[] = [
  { name: "skb_get_tunnel_key", args: 4, call: getKey },
  { name: "skb_set_tunnel_key", args: 4, call: setKey },
  {
    name: "skb_get_tunnel_opt",
    args: 3,
    call(world, args) {
      const { memory } = world;
      const [to, size] = [args.u32(2), args.u32(3)];
      const options = recordOf(world, args)?.options ?? new Uint8Array(0);
      memory.u8.fill(0, to, to + size);
      if (options.length === 0) return -ERRNO.ENOENT;
      if (size < options.length) return -ERRNO.ENOMEM;
      memory.write(to, options);
      return options.length;
    },
  },
  {
    name: "skb_set_tunnel_opt",
    args: 3,
    call(world, args) {
      const [from, size] = [args.u32(2), args.u32(3)];
      const record = recordOf(world, args);
      if (record === undefined || (size & 3) !== 0) return -ERRNO.EINVAL;
      if (size > MAX_OPTIONS) return -ERRNO.ENOMEM;
      record.options = world.memory.read(from, size);
      if (size > 0) record.flags |= TUNNEL.options;
      return 0;
    },
  },
];
