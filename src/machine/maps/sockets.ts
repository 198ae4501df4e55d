/** Which sockets the maps of sockets take (net/core/sock_map.c, kernel/bpf/reuseport_array.c, net/xdp/xskmap.c). */
import { ERRNO, type MapType } from "../../uapi/index.ts";
import { type Socket, optionKey } from "../world/sockets.ts";

const REUSEPORT = optionKey(1, 15);

/** Which arrays of groups hold a socket, and at which key: it can be in one place only. */
const members = new WeakMap<Socket, { readonly map: Holder; readonly key: Uint8Array }>();

interface Holder {
  objectAt(key: Uint8Array): unknown;
}

/**
 * Whether bpf(2) puts such a socket into a map: 0, or the error, negated. Socket maps take connections and listeners of TCP,
 * and sockets of UDP; a map of AF_XDP sockets none of them.
 */
export function socketRefused(type: MapType, { protocol, state }: Socket): number {
  if (type === "xskmap") return -ERRNO.EOPNOTSUPP;
  return protocol === "tcp" && state !== "established" && state !== "listen" ? -ERRNO.EOPNOTSUPP : 0;
}

/** The same of reuseport arrays, which take sockets that wait, are in a group (SO_REUSEPORT) and in no such array yet. */
export function memberRefused(socket: Socket): number {
  const { protocol, state, options } = socket;
  const waits = protocol === "udp" ? state === "close" || state === "established" : state === "listen";
  const option = options.get(REUSEPORT);
  if (!waits || (option !== undefined && option.every((byte) => byte === 0))) return -ERRNO.EINVAL;
  const place = members.get(socket);
  return place?.map.objectAt(place.key) === socket ? -ERRNO.EBUSY : 0;
}

/** The socket is in a reuseport array from now on. */
export function noteMember(socket: Socket, map: Holder, key: Uint8Array): void {
  members.set(socket, { map, key: key.slice() });
}
