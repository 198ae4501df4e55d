/** What an identifier means with its qualifiers: `host NAME`, `net 10/8`, `tcp dst port 80`. */
import type { Context } from "./context.ts";
import {
  hasStations,
  hostArcnet,
  hostIp4,
  hostIp6,
  hostStation,
  hostsIp4,
  hostsIp6,
  hostsStation,
  ip6Ranges,
  networkRange,
} from "./generate-address.ts";
import { IP_PROTOCOL, isIp, isIp6, ports, protocolNumber } from "./generate-port.ts";
import { networkByName, portByName, portRangeByName, protocolByName } from "./lookup.ts";
import { type Predicate, and, not, or } from "./predicate.ts";
import { type Ranges, rangeOf } from "./ranges.ts";
import { parseIp4, parseIp6, parseStation } from "./resolver.ts";
import type { WordRanges } from "./word-sets.ts";
import type { Identifier, Primitive, Protocol, Qualifiers, Span } from "./syntax.ts";

type Match = Extract<Primitive, { kind: "match" }>;

const TRANSPORTS: Readonly<Partial<Record<Protocol, number>>> = {
  tcp: IP_PROTOCOL.tcp,
  udp: IP_PROTOCOL.udp,
  sctp: IP_PROTOCOL.sctp,
};

export function match(context: Context, qualifiers: Qualifiers, id: Identifier, span: Span): Predicate {
  switch (id.kind) {
    case "name":
      return byName(context, qualifiers, id.text, span, id.span);
    case "number":
      return byNumber(context, qualifiers, id.value, span);
    case "ip4":
      return byIp4(context, qualifiers, id, span);
    case "ip6":
      return byIp6(context, qualifiers, id, span);
    case "mac":
      return byMac(context, qualifiers, id.text, span);
    case "arcnet": {
      const { protocol, type, direction } = qualifiers;
      if (context.state.family !== "arcnet") return context.fail(id.span, "aid supported only on ARCnet");
      if (protocol !== "link" || (type !== undefined && type !== "host")) {
        return context.fail(id.span, "ARCnet address used in non-arc expression", "write `link host $xx`");
      }
      return hostArcnet(context, Number.parseInt(id.text.slice(1), 16), direction, span);
    }
  }
}

function transportOf(context: Context, { protocol, type }: Qualifiers, span: Span): number | undefined {
  if (protocol === undefined) return undefined;
  const number = TRANSPORTS[protocol];
  if (number !== undefined) return number;
  return context.fail(
    span,
    `illegal qualifier of '${type}'`,
    protocol === "ip" || protocol === "ip6" ? `write \`${protocol} and ${type} …\`` : "use tcp, udp or sctp",
  );
}

function byName(context: Context, q: Qualifiers, name: string, span: Span, at: Span): Predicate {
  const { resolver } = context.options;
  switch (q.type) {
    case "net": {
      const { address, mask } = networkByName(context, name, at);
      return hostIp4(context, address, mask, q.protocol, q.direction, "net", span);
    }
    case "port":
    case "portrange": {
      const transport = transportOf(context, q, span);
      const find = q.type === "port" ? portByName : portRangeByName;
      const { low, high, transport: found } = find(context, name, q.protocol, transport, at);
      return ports(context, [rangeOf(Math.min(low, high), Math.max(low, high))], found, q.direction, span);
    }
    case "proto":
      return protocolNumber(
        context,
        protocolByName(context, name, q.protocol, at),
        q.protocol,
        q.direction,
        span,
      );
    case "protochain":
      return headerChain(context, protocolByName(context, name, q.protocol, at), q.protocol, span);
    case "gateway":
      return gateway(context, q, name, span, at);
    default:
  }
  if (q.protocol === "link") {
    const address = resolver.ether(name);
    if (address === undefined) {
      return context.fail(at, `unknown ether host '${name}'`, "names come only from the given ethers file");
    }
    return (
      hostStation(context, address, q.direction, span) ??
      context.fail(span, "this link type has no link-level host names")
    );
  }
  if (q.protocol === "decnet") {
    return context.fail(at, `decnet host name '${name}' cannot be translated`, "write AREA.NODE");
  }
  return hostByName(context, q, name, span, at);
}

/** Frames that a router passes on: to or from its station, but not to or from its addresses. */
function gateway(context: Context, q: Qualifiers, name: string, span: Span, at: Span): Predicate {
  const { protocol } = q;
  if (context.options.compat === "libpcap") {
    return context.fail(
      span,
      "'gateway' not supported in this configuration",
      "libpcap with IPv6 has it not",
    );
  }
  if (
    protocol !== undefined &&
    protocol !== "ip" &&
    protocol !== "arp" &&
    protocol !== "rarp" &&
    protocol !== "ip6"
  ) {
    return context.fail(span, "illegal modifier of 'gateway'");
  }
  const station = context.options.resolver.ether(name);
  if (station === undefined) {
    return context.fail(at, `unknown ether host '${name}'`, "names come only from the given ethers file");
  }
  const frames = hostStation(context, station, undefined, span);
  if (frames === undefined) {
    return context.fail(span, "'gateway' supported only on ethernet/FDDI/token ring/ARCNET/wireless");
  }
  const addresses: Qualifiers = protocol === undefined ? { type: "host" } : { protocol, type: "host" };
  context.warn("compat", "libpcap with IPv6 has no 'gateway'", span);
  return and(frames, not(hostByName(context, addresses, name, span, at)));
}

function hostByName(context: Context, q: Qualifiers, name: string, span: Span, at: Span): Predicate {
  const addresses = context.options.resolver.host(name);
  // Where no field names the payload, both versions are told by their first byte alone: ARP can't be meant.
  const untyped = context.state.type.at === 0xffffffff && q.protocol === undefined;
  const tests: Predicate[] = [];
  // IPv4 addresses in a row are one search, as if they had been written so.
  let run: Ranges[] | undefined;
  for (const text of addresses) {
    const ip4 = parseIp4(text);
    if (ip4 !== undefined) {
      if (q.protocol === "ip6") continue;
      const protocol = untyped ? "ip" : q.protocol;
      const before = run?.length ?? 0;
      run = [...(run ?? []), rangeOf(ip4, ip4)];
      const joined =
        before > 0 && context.options.search && tellsProtocols(context) && q.direction !== "src and dst";
      if (joined) tests.pop();
      tests.push(
        joined
          ? hostsIp4(context, run, protocol, q.direction, span)
          : hostIp4(context, ip4, 0xffffffff, protocol, q.direction, q.type, span),
      );
      continue;
    }
    run = undefined;
    if (q.protocol === "ip") continue;
    const ip6 = parseIp6(text);
    if (ip6 === undefined) return context.fail(at, `the resolver's address '${text}' of '${name}' is none`);
    tests.push(hostIp6(context, ip6, 128, untyped ? "ip6" : q.protocol, q.direction, q.type, span));
  }
  if (tests.length === 0) {
    const family = q.protocol === undefined || addresses.length === 0 ? "" : " for specified address family";
    return context.fail(at, `unknown host '${name}'${family}`, "names come only from the given hosts file");
  }
  return or(...tests);
}

function byNumber(context: Context, q: Qualifiers, value: number, span: Span): Predicate {
  switch (q.type) {
    case "port":
    case "portrange": {
      const transport = transportOf(context, q, span);
      if (value > 65535) return context.fail(span, `illegal port number ${value} > 65535`);
      return ports(context, [rangeOf(value, value)], transport, q.direction, span);
    }
    case "gateway":
      return context.fail(span, "'gateway' requires a name");
    case "proto":
      return protocolNumber(context, value, q.protocol, q.direction, span);
    case "protochain":
      return headerChain(context, value, q.protocol, span);
    default:
  }
  if (q.protocol === "link") return context.fail(span, "illegal link layer address");
  if (q.protocol === "decnet") return hostIp4(context, value, 0, "decnet", q.direction, q.type, span);
  let address = value;
  let mask = 0xffffffff;
  if (q.type === "net") {
    // `net 10` is 10.0.0.0/8.
    while (address !== 0 && (address & 0xff000000) === 0) {
      address = (address << 8) >>> 0;
      mask = (mask << 8) >>> 0;
    }
  }
  return hostIp4(context, address, mask, q.protocol, q.direction, q.type, span);
}

/** One to four decimal bytes, from the left. */
function partialIp4(context: Context, text: string, span: Span): { address: number; bits: number } {
  const bytes = text.split(".").map((part) => (/^\d{1,9}$/.test(part) ? Number(part) : 256));
  if (bytes.some((byte) => byte > 255)) return context.fail(span, `invalid IPv4 address '${text}'`);
  const bits = bytes.length * 8;
  const number = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  return { address: number * 2 ** (32 - bits), bits };
}

function byIp4(context: Context, q: Qualifiers, id: Ip4, span: Span): Predicate {
  const plain = id.prefix === undefined && id.mask === undefined;
  if (plain && q.type !== undefined && q.type !== "host" && q.type !== "net") {
    return context.fail(
      id.span,
      q.type === "gateway" ? "'gateway' requires a name" : `'${q.type}' modifier applied to ip host`,
    );
  }
  if (plain && q.protocol === "decnet") {
    const [area = 0, node = 0] = id.text.split(".").map(Number);
    const decnet = ((area << 10) & 0xfc00) | (node & 0x3ff);
    return hostIp4(context, decnet, 0, "decnet", q.direction, q.type, span);
  }
  const { address, mask } = ip4Network(context, q, id);
  if (plain && q.protocol === "link") return context.fail(id.span, "illegal link layer address");
  return hostIp4(context, address, mask, q.protocol, q.direction, q.type, span);
}

type Ip4 = Extract<Identifier, { kind: "ip4" }>;

/** `10.0.0.0/8`, `10.0.0.0 mask 255.0.0.0`, or as many bytes as are given. */
function ip4Network(context: Context, q: Qualifiers, id: Ip4): { address: number; mask: number } {
  const { address, bits } = partialIp4(context, id.text, id.span);
  if (id.prefix === undefined && id.mask === undefined) {
    return { address, mask: (0xffffffff << (32 - bits)) >>> 0 };
  }
  const prefix = id.prefix ?? 0;
  let mask: number;
  if (id.mask !== undefined) {
    mask = partialIp4(context, id.mask, id.span).address;
  } else {
    if (prefix > 32) return context.fail(id.span, "mask length must be <= 32");
    mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  }
  if ((address & ~mask) >>> 0 !== 0) {
    const shown = id.mask === undefined ? `${id.text}/${prefix}` : `${id.text} mask ${id.mask}`;
    return context.fail(id.span, `non-network bits set in "${shown}"`);
  }
  if (q.type !== "net")
    return context.fail(id.span, "Mask syntax for networks only", "write `net` before it");
  return { address, mask };
}

type Ip6 = Extract<Identifier, { kind: "ip6" }>;

function byIp6(context: Context, q: Qualifiers, id: Ip6, span: Span): Predicate {
  const { words, prefix } = ip6Network(context, q, id);
  return hostIp6(context, words, prefix, q.protocol, q.direction, q.type, span);
}

/** An IPv6 address or network, checked. */
function ip6Network(
  context: Context,
  q: Qualifiers,
  id: Ip6,
): { readonly words: readonly number[]; readonly prefix: number } {
  const words = parseIp6(id.text);
  if (words === undefined) return context.fail(id.span, `bogus IPv6 address ${id.text}`);
  const prefix = id.prefix ?? 128;
  if (prefix > 128) return context.fail(id.span, "mask length must be <= 128");
  const outside = words.some((word, index) => {
    const ones = Math.max(0, Math.min(32, prefix - 32 * index));
    return ones < 32 && word % 2 ** (32 - ones) !== 0;
  });
  if (outside) return context.fail(id.span, `non-network bits set in "${id.text}/${prefix}"`);
  if (q.type !== undefined && q.type !== "host" && q.type !== "net") {
    return context.fail(id.span, "invalid qualifier against IPv6 address");
  }
  if (q.type !== "net" && prefix !== 128) {
    return context.fail(id.span, "Mask syntax for networks only", "write `net` before it");
  }
  return { words, prefix };
}

function byMac(context: Context, q: Qualifiers, text: string, span: Span): Predicate {
  const address = parseStation(text);
  if (address === undefined) return context.fail(span, `bogus ethernet address ${text}`);
  if (q.protocol !== "link" || (q.type !== undefined && q.type !== "host")) {
    return context.fail(
      span,
      "ethernet address used in non-ether expression",
      `write \`ether host ${text}\``,
    );
  }
  return (
    hostStation(context, address, q.direction, span) ??
    context.fail(
      span,
      "ethernet addresses supported only on ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel",
    )
  );
}

function headerChain(
  context: Context,
  number: number,
  protocol: Protocol | undefined,
  span: Span,
): Predicate {
  const one = (version: 4 | 6): Predicate => {
    const { payload, network } = context.state;
    if (payload.base !== undefined) {
      return context.fail(span, "'protochain' not supported with variable length headers");
    }
    const chain: Predicate = {
      kind: "header-chain",
      version,
      protocol: number,
      offset: (payload.at + network) >>> 0,
    };
    return and(version === 4 ? isIp(context, span) : isIp6(context, span), chain);
  };
  if (protocol === undefined) return or(one(4), one(6));
  if (protocol === "ip") return one(4);
  if (protocol === "ip6") return one(6);
  return context.fail(span, "bad protocol applied for 'protochain'");
}

/**
 * Under which key a term can be searched together with others joined to it by `or`: those with equal keys differ only in
 * their constants. Undefined for all that aren't addresses or ports.
 */
export function groupable(context: Context, node: Match): string | undefined {
  const { direction = "src or dst" } = node.qualifiers;
  if (!tellsProtocols(context)) return undefined;
  if (direction !== "src" && direction !== "dst" && direction !== "src or dst") return undefined;
  const constant = constantOf(context, node);
  return constant === undefined ? undefined : `${constant.key} ${direction}`;
}

/**
 * Whether a frame has one network protocol at most, so that terms of one of them never read where those of another would.
 * Juniper's and BACnet's frames are believed to carry all protocols at once.
 */
const tellsProtocols = ({ state }: Context): boolean =>
  state.family !== "juniper" && state.family !== "bacnet";

/** What such a term compares with. */
type Constant = { readonly key: string } & (
  | { readonly kind: "port"; readonly ranges: Ranges; readonly transport: number | undefined }
  | { readonly kind: "ip4"; readonly ranges: Ranges }
  | { readonly kind: "ip6"; readonly words: WordRanges }
  | { readonly kind: "station"; readonly address: readonly number[] }
);

function constantOf(context: Context, node: Match): Constant | undefined {
  const { qualifiers: q, id, span } = node;
  const { protocol, type } = q;
  if (type === "port" || type === "portrange") {
    if (protocol !== undefined && TRANSPORTS[protocol] === undefined) return undefined;
    const transport = transportOf(context, q, span);
    if (id.kind === "number") {
      if (id.value > 65535) return undefined;
      return {
        kind: "port",
        key: `port ${transport ?? "any"}`,
        ranges: rangeOf(id.value, id.value),
        transport,
      };
    }
    if (id.kind !== "name") return undefined;
    const find = type === "port" ? portByName : portRangeByName;
    const { low, high, transport: found } = find(context, id.text, protocol, transport, id.span);
    const ranges = rangeOf(Math.min(low, high), Math.max(low, high));
    return { kind: "port", key: `port ${found ?? "any"}`, ranges, transport: found };
  }
  if (type !== undefined && type !== "host" && type !== "net") return undefined;
  if (id.kind === "ip4") {
    if (protocol !== undefined && protocol !== "ip" && protocol !== "arp" && protocol !== "rarp")
      return undefined;
    const { address, mask } = ip4Network(context, q, id);
    const ranges = networkRange(address, mask);
    return ranges === undefined ? undefined : { kind: "ip4", key: `host ${protocol ?? "any"}`, ranges };
  }
  if (id.kind === "ip6") {
    if (protocol !== undefined && protocol !== "ip6") return undefined;
    const { words, prefix } = ip6Network(context, q, id);
    return { kind: "ip6", key: "host6", words: ip6Ranges(words, prefix) };
  }
  if (id.kind === "mac" && protocol === "link" && type !== "net" && context.state.family !== "wlan") {
    const address = parseStation(id.text);
    if (address === undefined || !hasStations(context)) return undefined;
    return { kind: "station", key: "station", address };
  }
  return undefined;
}

/** Any of several terms of one key. */
export function matchAny(context: Context, nodes: readonly Match[]): Predicate {
  const [first] = nodes as readonly [Match, ...Match[]];
  const { protocol, direction } = first.qualifiers;
  const constants = nodes.map((node) => constantOf(context, node) as Constant);
  const of = <K extends Constant["kind"]>(kind: K): Extract<Constant, { kind: K }>[] =>
    constants.filter((each): each is Extract<Constant, { kind: K }> => each.kind === kind);
  const { kind } = constants[0] as Constant;
  let found: Predicate | undefined;
  if (kind === "port") {
    const sets = of("port");
    const ranges = sets.map((each) => each.ranges);
    found = ports(context, ranges, sets[0]?.transport, direction, first.span);
  } else if (kind === "ip4") {
    const ranges = of("ip4").map((each) => each.ranges);
    found = hostsIp4(context, ranges, protocol, direction, first.span);
  } else if (nodes.length > 1 && kind === "ip6") {
    const words = of("ip6").map((each) => each.words);
    found = hostsIp6(context, words, direction, first.span);
  } else if (nodes.length > 1) {
    const addresses = of("station").map((each) => each.address);
    found = hostsStation(context, addresses, direction, first.span);
  }
  return found ?? or(...nodes.map((node) => match(context, node.qualifiers, node.id, node.span)));
}
