/** Sockets, and which of them a packet belongs to (net/ipv4/inet_hashtables.c, net/ipv4/udp.c). */
import { BpfError } from "../../errors.ts";
import { type Endpoint, parseEndpoint } from "../run/endpoint.ts";
import { sameBytes } from "./address.ts";
import type { Network } from "./network.ts";
import type { SocketOptions, SocketState } from "./options.ts";
import { LEVELS, OPTIONS, optionNumber } from "./sockopt.ts";
import type { Cgroup, Cgroups } from "./tasks.ts";

/** uapi/linux/bpf.h: BPF_TCP_ESTABLISHED and the following. */
export const STATES: Readonly<Record<SocketState, number>> = {
  established: 1,
  syn_sent: 2,
  syn_recv: 3,
  fin_wait1: 4,
  fin_wait2: 5,
  time_wait: 6,
  close: 7,
  close_wait: 8,
  last_ack: 9,
  listen: 10,
  closing: 11,
  new_syn_recv: 12,
};

export interface Socket {
  readonly protocol: "tcp" | "udp";
  readonly local: Endpoint;
  readonly remote: Endpoint | undefined;
  readonly state: SocketState;
  /** bound_dev_if; 0 if it is bound to none. */
  ifindex: number;
  mark: number;
  priority: number;
  readonly rxQueue: number;
  readonly uid: number;
  readonly cgroup: Cgroup;
  readonly netns: number;
  readonly cookie: bigint;
  readonly tcp: Readonly<Record<string, number | bigint>>;
  /** Bytes of options by `optionKey`. */
  readonly options: Map<string, Uint8Array>;
  readonly object: number | undefined;
  flooded: boolean;
  /** When it last answered with a SYN cookie, in nanoseconds on the machine's clock. */
  lastCookie: bigint | undefined;
  /** Addresses of its struct bpf_sock and bpf_tcp_sock; 0 until a program asks for them. */
  readonly placed: { sock: number; tcp: number };
}

/** A connection that a SYN cookie stood for, as a program has read it out of the packet (bpf_sk_assign_tcp_reqsk). */
export interface ConnectionRequest {
  /** Undefined if the program's socket is none of the world's. */
  readonly listener: Socket | undefined;
  readonly ipv6: boolean;
  readonly mss: number;
  readonly sendScale: number;
  readonly receiveScale: number;
  readonly windowScaling: boolean;
  readonly selectiveAcks: boolean;
  readonly timestamps: boolean;
  /** Time stamps count microseconds. */
  readonly microseconds: boolean;
  readonly congestionNotification: boolean;
  readonly receivedTimestamp: number;
}

/** Which packet is looked for: the socket's own end and the other one. */
export interface SocketQuestion {
  readonly protocol: "tcp" | "udp";
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly ifindex: number;
  readonly netns: number;
}

export const optionKey = (level: number, name: number): string => `${level}:${name}`;

/** Cookies of sockets that nobody has told of begin here. */
const MADE_UP = 2n ** 32n;

const V6_ONLY = optionKey(41, 26);
const isUnspecified = ({ ip }: Endpoint): boolean => ip.every((byte) => byte === 0);
const sameEnd = (a: Endpoint, b: Endpoint): boolean => a.port === b.port && sameBytes(a.ip, b.ip);

/** Whether a socket is more than a remnant or a beginning (sk_fullsock). */
export const isFull = ({ state }: Socket): boolean => state !== "time_wait" && state !== "new_syn_recv";

export const isIpv6 = ({ local }: Pick<Socket, "local">): boolean => local.ip.length === 16;

/** Takes IPv6 packets only. */
export const isIpv6Only = (socket: Socket): boolean =>
  isIpv6(socket) && socket.options.get(V6_ONLY)?.[0] === 1;

export class Sockets {
  readonly #all: Socket[] = [];
  readonly #cookies = new Map<string, bigint>();
  readonly #network: Network;
  readonly #cgroups: Cgroups;

  constructor(network: Network, cgroups: Cgroups) {
    this.#network = network;
    this.#cgroups = cgroups;
  }

  get all(): readonly Socket[] {
    return this.#all;
  }

  /**
   * @throws BpfError code "usage" or "context" for ends and options that make no sense.
   * @example
   * machine.world.sockets.add({ protocol: "tcp", local: "10.0.0.1:80" });
   */
  add(options: SocketOptions): Socket {
    const { protocol, local, remote, mark = 0, priority = 0, rxQueue = -1, uid = 0, netns = 0 } = options;
    const what = `world: socket ${protocol} ${local}`;
    if (protocol !== "tcp" && protocol !== "udp") {
      throw new BpfError("usage", `${what}: protocol must be tcp or udp`);
    }
    const here = parseEndpoint(local, what);
    const there = remote === undefined ? undefined : parseEndpoint(remote, what);
    if (there !== undefined && there.ip.length !== here.ip.length) {
      throw new BpfError("usage", `${what}: the remote end ${remote} is of another family`);
    }
    const silent = protocol === "tcp" ? "listen" : "close";
    const state = options.state ?? (there === undefined ? silent : "established");
    if (!Object.hasOwn(STATES, state)) {
      throw new BpfError(
        "usage",
        `${what}: no state '${state}'; there are ${Object.keys(STATES).join(", ")}`,
      );
    }
    const cookie =
      options.cookie ?? this.#all.reduce((most, one) => (one.cookie > most ? one.cookie : most), 0n) + 1n;
    const socket: Socket = {
      protocol,
      local: here,
      remote: there,
      state,
      ifindex: options.dev === undefined ? 0 : this.#network.known(options.dev, what).ifindex,
      mark,
      priority,
      rxQueue,
      uid,
      cgroup: this.#cgroups.add({ path: options.cgroup ?? "/" }),
      netns,
      cookie,
      tcp: options.tcp ?? {},
      options: new Map(
        Object.entries(options.options ?? {}).map(([name, value]) => [optionOf(name, what), bytesOf(value)]),
      ),
      object: options.object,
      flooded: options.flooded ?? false,
      lastCookie: undefined,
      placed: { sock: 0, tcp: 0 },
    };
    this.#all.push(socket);
    return socket;
  }

  /** Of a socket that is none of these: a number that stays with what it is called, out of the way of the others. */
  cookieOf(name: string): bigint {
    const known = this.#cookies.get(name);
    if (known !== undefined) return known;
    const cookie = MADE_UP + BigInt(this.#cookies.size);
    this.#cookies.set(name, cookie);
    return cookie;
  }

  /** Programs do not find it any more. */
  remove(socket: Socket): void {
    const index = this.#all.indexOf(socket);
    if (index >= 0) this.#all.splice(index, 1);
  }

  /** By the address of its struct bpf_sock, bpf_tcp_sock or kernel object. */
  at(address: number): Socket | undefined {
    if (address === 0) return undefined;
    return this.#all.find(
      ({ placed, object }) => placed.sock === address || placed.tcp === address || object === address,
    );
  }

  /** The one with these very ends. */
  withEnds(protocol: "tcp" | "udp", local: Endpoint, remote: Endpoint | undefined): Socket | undefined {
    return this.#all.find(
      (one) =>
        one.protocol === protocol &&
        sameEnd(one.local, local) &&
        (one.remote === undefined || remote === undefined
          ? one.remote === remote
          : sameEnd(one.remote, remote)),
    );
  }

  /**
   * Whose a packet is: a connection's, then of those that wait at its very address, then of those that wait at any; among these
   * one that is bound to the interface, then one of the packet's own family, then the first.
   */
  lookup(question: SocketQuestion): Socket | undefined {
    const { protocol, local, remote, ifindex, netns } = question;
    const here = this.#all.filter(
      (one) =>
        one.protocol === protocol &&
        one.netns === netns &&
        one.local.port === local.port &&
        (one.ifindex === 0 || one.ifindex === ifindex),
    );
    if (protocol === "tcp") {
      const connection = here.find(
        (one) =>
          one.remote !== undefined &&
          one.state !== "listen" &&
          one.state !== "close" &&
          sameEnd(one.local, local) &&
          sameEnd(one.remote, remote),
      );
      if (connection !== undefined) return connection;
    }
    const waiting = here.filter((one) => protocol === "udp" || one.state === "listen");
    const score = (one: Socket): number => {
      const family = one.local.ip.length === local.ip.length ? 1 : 0;
      if (protocol === "tcp") return family + (one.ifindex === 0 ? 1 : 2);
      if (one.remote !== undefined && !sameEnd(one.remote, remote)) return -1;
      return family + (one.ifindex === 0 ? 1 : 5) + (one.remote === undefined ? 0 : 8);
    };
    return (
      best(
        waiting.filter((one) => sameBytes(one.local.ip, local.ip)),
        score,
      ) ??
      best(
        waiting.filter(
          (one) =>
            isUnspecified(one.local) && (one.local.ip.length === local.ip.length || takesIpv4(one, local)),
        ),
        score,
      )
    );
  }

  /** The listener that a connection's beginning belongs to; another socket is its own (sk_to_full_sk). */
  fullOf(socket: Socket): Socket | undefined {
    if (socket.state !== "new_syn_recv") return socket;
    return this.lookup({
      protocol: socket.protocol,
      local: socket.local,
      remote: { ip: new Uint8Array(socket.local.ip.length), port: 0 },
      ifindex: socket.ifindex,
      netns: socket.netns,
    });
  }
}

const takesIpv4 = (one: Socket, local: Endpoint): boolean =>
  local.ip.length === 4 && isIpv6(one) && !isIpv6Only(one);

/** The first of those with the highest score from 0 on. */
function best(sockets: readonly Socket[], score: (socket: Socket) => number): Socket | undefined {
  let found: Socket | undefined;
  let most = -1;
  for (const socket of sockets) {
    const value = score(socket);
    if (value <= most) continue;
    most = value;
    found = socket;
  }
  return found;
}

function optionOf(name: string, what: string): string {
  const [level = "", option = ""] = name.split(".");
  return optionKey(
    optionNumber(LEVELS, level, `${what}: option '${name}'`),
    optionNumber(OPTIONS, option, `${what}: option '${name}'`),
  );
}

function bytesOf(value: number | string | Uint8Array): Uint8Array {
  if (typeof value === "string") return new TextEncoder().encode(value);
  if (typeof value !== "number") return value.slice();
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}
