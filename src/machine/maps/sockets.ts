/** Which sockets the maps of sockets take (net/core/sock_map.c, kernel/bpf/reuseport_array.c, net/xdp/xskmap.c). */
import { ERRNO, type MapType } from "../../uapi/index.ts";
import { type Socket, optionKey } from "../world/sockets.ts";

const REUSEPORT = optionKey(1, 15);

/**
 * Whether bpf(2) puts such a socket into a map: 0, or the error, negated. Socket maps take connections and listeners of TCP,
 * and sockets of UDP; arrays of a group those that wait, unless they are not in one; a map of AF_XDP sockets none of them.
 */
export function socketRefused(type: MapType, socket: Socket): number {
  const { protocol, state, options } = socket;
  if (type === "xskmap") return -ERRNO.EOPNOTSUPP;
  if (type === "reuseport_sockarray") {
    const waits = protocol === "udp" ? state === "close" || state === "established" : state === "listen";
    const option = options.get(REUSEPORT);
    if (!waits || (option !== undefined && option.every((byte) => byte === 0))) return -ERRNO.EINVAL;
    return 0;
  }
  return protocol === "tcp" && state !== "established" && state !== "listen" ? -ERRNO.EOPNOTSUPP : 0;
}
