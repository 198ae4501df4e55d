/** Interfaces, routes and neighbours, and what a packet finds there. */
import { BpfError } from "../../errors.ts";
import { type Prefix, inPrefix, parseIp, parseMac, parsePrefix, sameBytes } from "./address.ts";
import type { InterfaceOptions, NeighbourOptions, RouteOptions } from "./options.ts";

export interface Interface {
  readonly name: string;
  readonly ifindex: number;
  mtu: number;
  readonly mac: Uint8Array;
  readonly addresses: readonly Prefix[];
  forwarding: boolean;
  up: boolean;
  readonly peer: number | string | undefined;
}

export interface Route {
  readonly to: Prefix;
  readonly via: Uint8Array | undefined;
  readonly ifindex: number;
  readonly source: Uint8Array | undefined;
  readonly mtu: number | undefined;
  readonly table: number;
  readonly metric: number;
  readonly type: NonNullable<RouteOptions["type"]>;
  readonly tos: number;
}

const LOOPBACK = 1;
const MAIN_TABLE = 254;
const LOCAL_TABLE = 255;

/** A packet that a helper has sent while the program went on. */
export interface SentPacket {
  readonly ifindex: number;
  /** It arrives at the interface instead of leaving from it. */
  readonly ingress: boolean;
  readonly packet: Uint8Array;
}

export class Network {
  /** What bpf_clone_redirect has sent, oldest first. */
  readonly sent: SentPacket[] = [];
  readonly #interfaces = new Map<number, Interface>();
  readonly #routes: Route[] = [];
  readonly #neighbours: { ifindex: number; address: Uint8Array; mac: Uint8Array }[] = [];

  constructor() {
    this.addInterface({
      name: "lo",
      ifindex: LOOPBACK,
      mtu: 65536,
      mac: "00:00:00:00:00:00",
      addresses: ["127.0.0.1/8", "::1/128"],
    });
  }

  get interfaces(): readonly Interface[] {
    return [...this.#interfaces.values()];
  }

  get routes(): readonly Route[] {
    return this.#routes;
  }

  addInterface(options: InterfaceOptions): Interface {
    const { name, peer, forwarding = true, up = true } = options;
    const ifindex = options.ifindex ?? Math.max(0, ...this.#interfaces.keys()) + 1;
    const here = `world: interface '${name}'`;
    if (!Number.isInteger(ifindex) || ifindex < 1 || ifindex > 0x7fffffff) {
      throw new BpfError("usage", `${here}: ifindex must be a whole number from 1 on, not ${ifindex}`);
    }
    if (this.#interfaces.has(ifindex))
      throw new BpfError("usage", `${here}: there is an interface ${ifindex}`);
    if (this.interfaces.some((other) => other.name === name)) {
      throw new BpfError("usage", `${here}: there is one of that name`);
    }
    const mtu = options.mtu ?? 1500;
    if (!Number.isInteger(mtu) || mtu < 0 || mtu > 0xffffffff) {
      throw new BpfError("usage", `${here}: mtu must be a whole number, not ${mtu}`);
    }
    const device: Interface = {
      name,
      ifindex,
      mtu,
      mac: parseMac(options.mac ?? `02:00:00:00:00:${(ifindex & 255).toString(16)}`),
      addresses: (options.addresses ?? []).map(parsePrefix),
      forwarding,
      up,
      peer,
    };
    this.#interfaces.set(ifindex, device);
    for (const address of device.addresses) {
      const common = { via: undefined, ifindex, source: address.bytes, mtu: undefined, metric: 0, tos: 0 };
      const own = { bytes: address.bytes, length: address.bytes.length * 8 };
      this.#routes.push({ ...common, to: own, table: LOCAL_TABLE, type: "local" });
      if (address.length < own.length)
        this.#routes.push({ ...common, to: address, table: MAIN_TABLE, type: "unicast" });
    }
    return device;
  }

  /** By index or name; undefined if there is none. */
  device(which: number | string): Interface | undefined {
    return typeof which === "number"
      ? this.#interfaces.get(which)
      : this.interfaces.find(({ name }) => name === which);
  }

  /** @throws BpfError if there is none. */
  known(which: number | string, what: string): Interface {
    const device = this.device(which);
    if (device !== undefined) return device;
    const names = this.interfaces.map(({ name, ifindex }) => `${name} (${ifindex})`).join(", ");
    throw new BpfError("usage", `world: ${what}: no interface ${which}; there are ${names}`);
  }

  addRoute(options: RouteOptions): void {
    const { to, type = "unicast", table = MAIN_TABLE, metric = 0, tos = 0, mtu } = options;
    const via = options.via === undefined ? undefined : parseIp(options.via);
    const ends = type === "blackhole" || type === "unreachable" || type === "prohibit";
    const behind =
      via &&
      this.interfaces.find(({ addresses }) => addresses.some((prefix) => inPrefix(via, prefix)))?.ifindex;
    const dev = options.dev ?? behind ?? (ends ? LOOPBACK : undefined);
    if (dev === undefined) {
      throw new BpfError(
        "usage",
        `world: route to ${to}: no 'dev', and no interface has the gateway's network`,
      );
    }
    const device = this.known(dev, `route to ${to}`);
    const prefix = parsePrefix(to);
    const family = prefix.bytes.length;
    if (via !== undefined && family === 16 && via.length === 4) {
      throw new BpfError("usage", `world: route to ${to}: the gateway ${options.via} is of another family`);
    }
    this.#routes.push({
      to: prefix,
      via,
      ifindex: device.ifindex,
      source: options.source === undefined ? undefined : parseIp(options.source),
      mtu,
      table,
      metric,
      type,
      tos,
    });
  }

  addNeighbour({ address, dev, mac }: NeighbourOptions): void {
    const device = this.known(dev, `neighbour ${address}`);
    this.#neighbours.push({ ifindex: device.ifindex, address: parseIp(address), mac: parseMac(mac) });
  }

  neighbour(ifindex: number, address: Uint8Array): Uint8Array | undefined {
    return this.#neighbours.findLast((row) => row.ifindex === ifindex && sameBytes(row.address, address))
      ?.mac;
  }

  /** The longest prefix wins, then the lowest metric, then the first. Local addresses come first unless a table is named. */
  lookup(
    destination: Uint8Array,
    { table, tos = 0, oif = 0 }: { table?: number; tos?: number; oif?: number } = {},
  ): Route | undefined {
    const tables = table === undefined ? [LOCAL_TABLE, MAIN_TABLE] : [table];
    for (const wanted of tables) {
      let best: Route | undefined;
      for (const route of this.#routes) {
        if (route.table !== wanted || !inPrefix(destination, route.to)) continue;
        if (route.tos !== 0 && route.tos !== tos) continue;
        if (oif !== 0 && route.ifindex !== oif) continue;
        if (this.#interfaces.get(route.ifindex)?.up === false) continue;
        if (best === undefined || preferred(route, best)) best = route;
      }
      if (best !== undefined) return best;
    }
    return undefined;
  }

  /** Whether an address is one of the machine's own. */
  isLocal(address: Uint8Array): boolean {
    return this.lookup(address, { table: LOCAL_TABLE })?.type === "local";
  }
}

function preferred(route: Route, best: Route): boolean {
  if (route.to.length !== best.to.length) return route.to.length > best.to.length;
  if (route.tos !== best.tos) return route.tos !== 0;
  return route.metric < best.metric;
}
