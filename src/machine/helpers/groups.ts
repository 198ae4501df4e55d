/** Whether processes and packets belong to control groups of a cgroup array. */
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import { isFull } from "../world/sockets.ts";
import { type Cgroup, ancestorOf } from "../world/tasks.ts";
import { contextSocket, worldSocket } from "./sockets.ts";
import { type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

/** 1 or 0, or why the array cannot say. */
function under(
  helper: HelperName,
  world: HelperWorld,
  cgroup: Cgroup,
  [descriptor, index]: readonly [number, number],
): number {
  const map = world.mapAt(descriptor);
  if (map === undefined || index >= map.maxEntries) return -ERRNO.E2BIG;
  const handle = map.objectAt(new Uint8Array(Uint32Array.of(index).buffer));
  if (handle === undefined) return -ERRNO.EAGAIN;
  const above =
    "classid" in handle
      ? handle
      : "address" in handle
        ? world.world.cgroups.byObject(handle.address)
        : undefined;
  if (above !== undefined) return ancestorOf(cgroup, above.level) === above ? 1 : 0;
  throw notInWorld(
    helper,
    `the entry ${index} of map '${map.name}' is none of the world's control groups`,
    "give the group that address: world: { cgroups: [{ path, object: ADDRESS }] }",
  );
}

export const GROUPS: readonly HostHelper[] = [
  {
    name: "current_task_under_cgroup",
    args: 2,
    call: (world, args) =>
      under("current_task_under_cgroup", world, world.world.current.cgroup, [args.u32(1), args.u32(2)]),
  },
  {
    name: "skb_under_cgroup",
    args: 3,
    call(world, args) {
      const address = contextSocket(world, args);
      if (address === 0) return -ERRNO.ENOENT;
      const socket = world.world.sockets.fullOf(worldSocket("skb_under_cgroup", world, address));
      if (socket === undefined || !isFull(socket)) return -ERRNO.ENOENT;
      return under("skb_under_cgroup", world, socket.cgroup, [args.u32(2), args.u32(3)]);
    },
  },
  {
    // No packet here has gone through IPsec.
    name: "skb_get_xfrm_state",
    args: 5,
    call({ memory }, args) {
      memory.u8.fill(0, args.u32(3), args.u32(3) + args.u32(4));
      return -ERRNO.EINVAL;
    },
  },
];
