/** Connections that netfilter tracks. */
import type { KernelObject } from "../objects/object.ts";
import { type Endpoint, parseEndpoint } from "../run/endpoint.ts";
import { sameBytes } from "./address.ts";
import type { ConnectionOptions } from "./options.ts";

export interface ConnectionEnds {
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

export interface Connection {
  readonly protocol: "tcp" | "udp";
  /** As its first packet has them. */
  readonly ends: ConnectionEnds;
  readonly zone: number;
  /** Bits of those whose packets are in the zone: 1 as the connection began, 2 replies; the others are in zone 0. */
  readonly zoneDirections: number;
  /** IPS_ bits. */
  status: number;
  /** Ticks. */
  timeout: number;
  mark: number;
  /** What a program has asked to be made of its addresses. */
  readonly nat: { source?: Endpoint; destination?: Endpoint };
  /** Its struct nf_conn; undefined until a program asks for it. */
  object: KernelObject | undefined;
}

/** net/netfilter/nf_conntrack_zones.h NF_CT_DEFAULT_ZONE_DIR. */
export const BOTH_DIRECTIONS = 3;
const CONFIRMED = 8;
const sameEnd = (a: Endpoint, b: Endpoint): boolean => a.port === b.port && sameBytes(a.ip, b.ip);
const sameEnds = (a: ConnectionEnds, b: ConnectionEnds): boolean =>
  sameEnd(a.source, b.source) && sameEnd(a.destination, b.destination);
const turned = ({ source, destination }: ConnectionEnds): ConnectionEnds => ({
  source: destination,
  destination: source,
});

/** Of packets in one direction. */
const zoneOf = (row: Pick<Connection, "zone" | "zoneDirections">, reply: boolean): number =>
  (row.zoneDirections & (reply ? 2 : 1)) === 0 ? 0 : row.zone;

export class Connections {
  readonly #known: Connection[] = [];
  /** Those that programs have made and not yet inserted. */
  readonly #fresh: Connection[] = [];

  get all(): readonly Connection[] {
    return this.#known;
  }

  /**
   * @throws BpfError code "context" for ends that are none.
   * @example
   * machine.world.connections.add({ protocol: "tcp", source: "10.0.0.1:4000", destination: "10.0.0.2:80" });
   */
  add(options: ConnectionOptions): Connection {
    const { protocol, source, destination, zone = 0, status = 0, timeout = 0, mark = 0 } = options;
    const what = `world: connection ${protocol} ${source}`;
    const ends = { source: parseEndpoint(source, what), destination: parseEndpoint(destination, what) };
    const connection = this.create({ protocol, ends, zone, zoneDirections: BOTH_DIRECTIONS, timeout });
    connection.status = status | CONFIRMED;
    connection.mark = mark;
    this.insert(connection);
    return connection;
  }

  create(row: Pick<Connection, "protocol" | "ends" | "zone" | "zoneDirections" | "timeout">): Connection {
    const connection: Connection = { ...row, status: 0, mark: 0, nat: {}, object: undefined };
    this.#fresh.push(connection);
    return connection;
  }

  /** False if one with its ends is there. */
  insert(connection: Connection): boolean {
    const index = this.#fresh.indexOf(connection);
    if (index >= 0) this.#fresh.splice(index, 1);
    if (this.find({ ...connection, ...connection.ends }) !== undefined) return false;
    this.#known.push(connection);
    return true;
  }

  find(
    asked: ConnectionEnds & Pick<Connection, "protocol" | "zone" | "zoneDirections">,
  ): { readonly connection: Connection; readonly reply: boolean } | undefined {
    for (const connection of this.#known) {
      if (connection.protocol !== asked.protocol) continue;
      for (const reply of [false, true]) {
        const ends = reply ? turned(asked) : asked;
        if (zoneOf(connection, reply) === zoneOf(asked, reply) && sameEnds(connection.ends, ends))
          return { connection, reply };
      }
    }
    return undefined;
  }

  /** By the address of its struct nf_conn. */
  at(address: number): Connection | undefined {
    return [...this.#known, ...this.#fresh].find(({ object }) => object?.address === address);
  }
}
