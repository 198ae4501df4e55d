/** Ports and protocols above IP. */
import type { Context } from "./context.ts";
import { type EndSlots, byDirection, eitherEnd, endSlots, onlyWlan } from "./generate-address.ts";
import { ETHERTYPE, NLPID, SAP, linkProtocol } from "./generate-link.ts";
import { type Predicate, and, equals, or } from "./predicate.ts";
import { type Ranges, unionAll } from "./ranges.ts";
import type { Direction, Protocol, Span } from "./syntax.ts";
import type { Value } from "./value.ts";

/** IANA protocol numbers. */
export const IP_PROTOCOL = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  igrp: 9,
  udp: 17,
  esp: 50,
  ah: 51,
  icmp6: 58,
  pim: 103,
  vrrp: 112,
  carp: 112,
  sctp: 132,
} as const;

const FRAGMENT = 44;

export const isIp = (context: Context, span: Span): Predicate => linkProtocol(context, ETHERTYPE.ip, span);
export const isIp6 = (context: Context, span: Span): Predicate => linkProtocol(context, ETHERTYPE.ip6, span);

/** The first fragment of an IPv4 packet, or all of it: only there is a transport header. */
export const firstFragment = (context: Context): Predicate => context.noBits(context.network(6, 2), 0x1fff);

/** Ports in any of the sets, at one or both ends, in the transport protocols with ports unless one is named. */
export function ports(
  context: Context,
  sets: readonly Ranges[],
  transport: number | undefined,
  direction: Direction | undefined,
  span: Span,
): Predicate {
  const slots = endSlots(context, 0xffff);
  return or(
    ports6(context, sets, transport, direction, span, slots),
    ports4(context, sets, transport, direction, span, slots),
  );
}

function ends(
  context: Context,
  sets: readonly Ranges[],
  port: (offset: number) => Value,
  direction: Direction | undefined,
  span: Span,
  slots: EndSlots,
): Predicate {
  const ranges = unionAll(sets);
  return byDirection(
    direction,
    () => ({ kind: "in", value: port(0), ranges }),
    () => ({ kind: "in", value: port(2), ranges }),
    onlyWlan(context, span, "ports"),
    () => eitherEnd(slots, sets, port(0), port(2)),
  );
}

/** SCTP, TCP, UDP: that order has no meaning, but a load that fails in the first rejects before the second is asked. */
const transports = (transport: number | undefined): readonly number[] =>
  transport === undefined ? [IP_PROTOCOL.sctp, IP_PROTOCOL.tcp, IP_PROTOCOL.udp] : [transport];

export function ports4(
  context: Context,
  sets: readonly Ranges[],
  transport: number | undefined,
  direction: Direction | undefined,
  span: Span,
  slots: EndSlots,
): Predicate {
  const port = (offset: number): Value => context.transport4(offset, 2);
  const tests = transports(transport).map((number) =>
    and(
      equals(context.network(9, 1), number),
      firstFragment(context),
      ends(context, sets, port, direction, span, slots),
    ),
  );
  return and(isIp(context, span), or(...tests));
}

export function ports6(
  context: Context,
  sets: readonly Ranges[],
  transport: number | undefined,
  direction: Direction | undefined,
  span: Span,
  slots: EndSlots,
): Predicate {
  const port = (offset: number): Value => context.transport6(offset, 2);
  const tests = transports(transport).map((number) =>
    and(equals(context.network(6, 1), number), ends(context, sets, port, direction, span, slots)),
  );
  return and(isIp6(context, span), or(...tests));
}

/** `PROTOCOL proto NUMBER`. */
export function protocolNumber(
  context: Context,
  number: number,
  protocol: Protocol | undefined,
  direction: Direction | undefined,
  span: Span,
): Predicate {
  if (direction !== undefined) return context.fail(span, "direction applied to 'proto'");
  switch (protocol) {
    case undefined:
      return or(
        protocolNumber(context, number, "ip", direction, span),
        protocolNumber(context, number, "ip6", direction, span),
      );
    case "link":
      return linkProtocol(context, number, span);
    case "ip":
      return and(isIp(context, span), equals(context.network(9, 1), number));
    case "ip6":
      return and(
        isIp6(context, span),
        or(
          equals(context.network(6, 1), number),
          and(equals(context.network(6, 1), FRAGMENT), equals(context.network(40, 1), number)),
        ),
      );
    case "iso": {
      const { family } = context.state;
      if (family === "frame-relay") return equals(context.header(2, 2), (0x0300 | number) >>> 0);
      const hdlc = family === "hdlc";
      const iso = linkProtocol(context, hdlc ? SAP.iso * 257 : SAP.iso, span);
      return and(iso, equals(context.networkNoSnap(hdlc ? 1 : 0, 1), number));
    }
    case "isis":
      return and(
        protocolNumber(context, NLPID.isis, "iso", undefined, span),
        equals(context.networkNoSnap(4, 1), number),
      );
    case "arp":
    case "rarp":
    case "lat":
    case "sca":
    case "moprc":
    case "mopdl":
      return context.fail(span, `${protocol} does not encapsulate another protocol`);
    case "atalk":
    case "decnet":
      return context.fail(span, `${protocol} encapsulation is not specifiable`);
    default:
      return context.fail(span, `'${protocol} proto' is bogus`);
  }
}

/** IS-IS PDU types (ISO 10589). */
const ISIS = {
  l1Hello: 15,
  l2Hello: 16,
  hello: 17,
  l1Lsp: 18,
  l2Lsp: 20,
  l1Csnp: 24,
  l2Csnp: 25,
  l1Psnp: 26,
  l2Psnp: 27,
} as const;

/** Which of them a word stands for, in the order in which they are tested. */
const ISIS_WORDS: Readonly<Partial<Record<Protocol, readonly number[]>>> = {
  l1: [ISIS.l1Psnp, ISIS.l1Csnp, ISIS.l1Lsp, ISIS.l1Hello, ISIS.hello],
  l2: [ISIS.l2Psnp, ISIS.l2Csnp, ISIS.l2Lsp, ISIS.l2Hello, ISIS.hello],
  iih: [ISIS.hello, ISIS.l1Hello, ISIS.l2Hello],
  lsp: [ISIS.l1Lsp, ISIS.l2Lsp],
  snp: [ISIS.l2Psnp, ISIS.l1Psnp, ISIS.l1Csnp, ISIS.l2Csnp],
  csnp: [ISIS.l1Csnp, ISIS.l2Csnp],
  psnp: [ISIS.l1Psnp, ISIS.l2Psnp],
};

const LINK_WORDS: Readonly<Partial<Record<Protocol, number>>> = {
  ip: ETHERTYPE.ip,
  arp: ETHERTYPE.arp,
  rarp: ETHERTYPE.rarp,
  atalk: ETHERTYPE.atalk,
  aarp: ETHERTYPE.aarp,
  decnet: ETHERTYPE.decnet,
  sca: 0x6007,
  lat: 0x6004,
  mopdl: 0x6001,
  moprc: 0x6002,
  ip6: ETHERTYPE.ip6,
  iso: SAP.iso,
  stp: SAP.stp,
  ipx: SAP.ipx,
  netbeui: SAP.netbeui,
};

/** A protocol's word alone, such as `tcp`. */
export function protocolWord(context: Context, protocol: Protocol, span: Span): Predicate {
  const link = LINK_WORDS[protocol];
  if (link !== undefined) return linkProtocol(context, link, span);
  const isis = ISIS_WORDS[protocol];
  if (isis !== undefined) {
    return or(...isis.map((type) => protocolNumber(context, type, "isis", undefined, span)));
  }
  const number = (inside: Protocol | undefined, value: number): Predicate =>
    protocolNumber(context, value, inside, undefined, span);
  switch (protocol) {
    case "sctp":
    case "tcp":
    case "udp":
    case "pim":
    case "ah":
    case "esp":
      return number(undefined, IP_PROTOCOL[protocol]);
    case "icmp":
    case "igmp":
    case "igrp":
    case "vrrp":
    case "carp":
      return number("ip", IP_PROTOCOL[protocol]);
    case "icmp6":
      return number("ip6", IP_PROTOCOL.icmp6);
    case "esis":
    case "isis":
    case "clnp":
      return number("iso", NLPID[protocol]);
    case "link":
      return context.fail(span, "link layer applied in wrong context");
    default:
      return context.fail(span, `'${protocol}' is not a valid protocol type`);
  }
}
