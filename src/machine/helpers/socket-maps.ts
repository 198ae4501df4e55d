/** Socket maps and groups of sockets: who gets a message, a stream's data, a datagram (net/core/sock_map.c, filter.c). */
import { hookOf } from "../../hooks/index.ts";
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { sameBytes } from "../world/address.ts";
import { optionKey, STATES } from "../world/sockets.ts";
import { placeSocket, seenSocket, type SeenSocket, worldSocket } from "./sockets.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

const SK_DROP = 0;
const SK_PASS = 1;
const INGRESS = 1n;
const IPPROTO_TCP = 6;

/** The socket at a key of a socket map. */
function socketIn(world: HelperWorld, map: number, key: number): SeenSocket | undefined {
  return seenSocket(world, world.core.map_lookup_elem(map, key) >>> 0);
}

/** With the key in memory, as socket hashes have it; those of arrays are numbers. */
function withKey<T>({ memory }: HelperWorld, index: number, use: (key: number) => T): T {
  const key = memory.alloc(8, "key of a socket map", 8);
  try {
    memory.setU32(key, index);
    return use(key);
  } finally {
    memory.free(key);
  }
}

/** A listener takes no data, nor does a socket of another protocol that has no other end. */
const takesData = ({ protocol, state }: SeenSocket): boolean =>
  protocol === IPPROTO_TCP ? state !== STATES.listen : state === STATES.established;

function redirect(world: HelperWorld, args: HelperArguments, key: number, message: boolean): number {
  const map = args.u32(2);
  const flags = args.u64(4);
  if ((flags & ~INGRESS) !== 0n) return SK_DROP;
  const found = socketIn(world, map, key);
  if (found === undefined || !takesData(found)) return SK_DROP;
  if (message && flags === 0n && found.protocol !== IPPROTO_TCP) return SK_DROP;
  world.run.toSocket = { socket: found.socket, address: found.address, ingress: flags !== 0n };
  return SK_PASS;
}

const byIndex =
  (message: boolean): HostHelper["call"] =>
  (world, args) =>
    withKey(world, args.u32(3), (key) => redirect(world, args, key, message));

const byKey =
  (message: boolean): HostHelper["call"] =>
  (world, args) =>
    redirect(world, args, args.u32(3), message);

/** Events after which a connection may be put into a map: TCP_LISTEN_CB, ACTIVE_ and PASSIVE_ESTABLISHED_CB. */
const SETTLED: readonly number[] = [4, 5, 11];

function update(helper: HelperName, world: HelperWorld, args: HelperArguments): number {
  const { memory, core } = world;
  const [context, map, key, flags] = [args.u32(1), args.u32(2), args.u32(3), args.u64(4)];
  const field = (name: string): number =>
    context + (hookOf("sock_ops")?.context.fields.find((row) => row.name === name)?.offset ?? 0);
  if (!SETTLED.includes(memory.u32(field("op")))) return -ERRNO.EOPNOTSUPP;
  // What is put there is the world's socket if it knows one with these ends: the run's own is gone after it.
  const address = placeSocket(world, worldSocket(helper, world, memory.u32(field("sk"))));
  return core.map_update_elem(map, key, address, flags);
}

const REUSEPORT = optionKey(1, 15);

/** Whether a socket can be in a group at all: it is not connected, and SO_REUSEPORT has not been switched off. */
function inGroup({ socket, protocol, state }: SeenSocket): boolean {
  const option = socket?.options.get(REUSEPORT);
  if (option !== undefined && option.every((byte) => byte === 0)) return false;
  return protocol === IPPROTO_TCP ? state === STATES.listen : socket?.remote === undefined;
}

// struct sk_reuseport_md.sk; struct bpf_sock: family, addresses, port.
const REUSE_SK = 40;
const SOCK_FAMILY = 4;
const SOCK_SOURCE_IP4 = 24;
const SOCK_SOURCE_PORT = 44;
const SOCK_ADDRESS_BYTES = 20;

/** A group is bound to one address: those of another are told from it by what differs. */
function select(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const map = world.mapAt(args.u32(2));
  const chosen = socketIn(world, args.u32(2), args.u32(3));
  if (chosen === undefined) return -ERRNO.ENOENT;
  if (!inGroup(chosen)) return map?.type === "reuseport_sockarray" ? -ERRNO.ENOENT : -ERRNO.EINVAL;
  const own = seenSocket(world, memory.u32(args.u32(1) + REUSE_SK));
  if (own === undefined || own.protocol !== chosen.protocol) return -ERRNO.EPROTOTYPE;
  if (memory.u32(own.address + SOCK_FAMILY) !== memory.u32(chosen.address + SOCK_FAMILY))
    return -ERRNO.EAFNOSUPPORT;
  const end = ({ address }: SeenSocket): Uint8Array =>
    memory.read(address + SOCK_SOURCE_IP4, SOCK_ADDRESS_BYTES);
  const port = ({ address }: SeenSocket): number => memory.u32(address + SOCK_SOURCE_PORT);
  if (port(own) !== port(chosen) || !sameBytes(end(own), end(chosen))) return -ERRNO.EBADFD;
  world.run.selected = { socket: chosen.socket, address: chosen.address };
  return 0;
}

export const SOCKET_MAPS: readonly HostHelper[] = [
  { name: "sock_map_update", args: 4, call: (world, args) => update("sock_map_update", world, args) },
  {
    name: "sock_hash_update",
    args: 4,
    call: (world, args) => update("sock_hash_update", world, args),
  },
  { name: "sk_redirect_map", args: 4, call: byIndex(false) },
  { name: "sk_redirect_hash", args: 4, call: byKey(false) },
  { name: "msg_redirect_map", args: 4, call: byIndex(true) },
  { name: "msg_redirect_hash", args: 4, call: byKey(true) },
  { name: "sk_select_reuseport", args: 4, call: select },
];
