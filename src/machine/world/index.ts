/** What lies outside of a machine: networks, sockets, processes, control groups. */
export { World } from "./world.ts";
export type {
  CgroupOptions,
  Cipher,
  ConnectionOptions,
  Digest,
  InterfaceOptions,
  NeighbourOptions,
  PerfCounter,
  RouteOptions,
  SocketOptions,
  SocketState,
  TaskOptions,
  VmaOptions,
  WorldOptions,
} from "./options.ts";
export type { Connection, Connections } from "./connections.ts";
export type { Interface, Network, Route, SentPacket } from "./network.ts";
export type { Cgroup, Cgroups, Task, Tasks } from "./tasks.ts";
export type { Socket, Sockets } from "./sockets.ts";
