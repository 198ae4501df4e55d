/** What a frame carries: the test for a network protocol, by link type, and the headers that must be measured first. */
import type { Context } from "./context.ts";
import { NONE } from "./linktypes.ts";
import { ALWAYS, NEVER, type Predicate, and, equals, not, or, within } from "./predicate.ts";
import type { Span } from "./syntax.ts";
import type { Slot, Value } from "./value.ts";

/** IEEE 802.3: greater values of the type field are EtherTypes. */
const MAX_LENGTH = 1500;

export const ETHERTYPE = {
  ip: 0x0800,
  arp: 0x0806,
  ns: 0x0600,
  decnet: 0x6003,
  teb: 0x6558,
  rarp: 0x8035,
  atalk: 0x809b,
  aarp: 0x80f3,
  vlan: 0x8100,
  ipx: 0x8137,
  ip6: 0x86dd,
  mpls: 0x8847,
  pppoed: 0x8863,
  pppoes: 0x8864,
  qinq: 0x88a8,
  qinqOld: 0x9100,
} as const;

/** IEEE 802.2 service access points. */
export const SAP = { ip: 0x06, stp: 0x42, snap: 0xaa, ipx: 0xe0, netbeui: 0xf0, iso: 0xfe } as const;

/** ISO network protocol identifiers. */
export const NLPID = { clnp: 0x81, esis: 0x82, isis: 0x83 } as const;

/** PPP protocol numbers (RFC 1332 and its kin) for the EtherTypes and SAPs that have one. */
const PPP_PROTOCOLS: Readonly<Record<number, number>> = {
  [ETHERTYPE.ip]: 0x21,
  [ETHERTYPE.ip6]: 0x57,
  [ETHERTYPE.decnet]: 0x27,
  [ETHERTYPE.atalk]: 0x29,
  [ETHERTYPE.ns]: 0x25,
  [SAP.iso]: 0x23,
  [SAP.stp]: 0x31,
  [SAP.ipx]: 0x2b,
};

/** `frame carries protocol`, an EtherType or, up to 1,500, a service access point. */
export function linkProtocol(context: Context, protocol: number, span: Span): Predicate {
  const { state } = context;
  if (state.labels > 0) return mplsProtocol(context, protocol, span);
  switch (state.family) {
    case "ethernet": {
      const inner = ethernetProtocol(context, protocol);
      const outer = state.inside === "geneve" ? undefined : outerCheck(context);
      return outer === undefined ? inner : and(outer, inner);
    }
    case "hdlc": {
      const type = protocol === SAP.iso ? SAP.iso * 256 + SAP.iso : protocol;
      return equals(context.linkType(0, 2), type);
    }
    case "wlan":
      return and(wlanDataFrame(context), llcProtocol(context, protocol));
    case "llc":
      return llcProtocol(context, protocol);
    case "sunatm":
      return and(atmProtocol(context, 2), llcProtocol(context, protocol));
    case "sll":
      return cookedProtocol(context, protocol);
    case "ip-version": {
      const version = protocol === ETHERTYPE.ip ? 4 : protocol === ETHERTYPE.ip6 ? 6 : undefined;
      return version === undefined ? NEVER : context.masked(context.header(0, 1), version << 4, 0xf0);
    }
    case "ip4":
      return protocol === ETHERTYPE.ip ? ALWAYS : NEVER;
    case "ip6":
      return protocol === ETHERTYPE.ip6 ? ALWAYS : NEVER;
    case "ppp":
      return equals(context.linkType(0, 2), PPP_PROTOCOLS[protocol] ?? protocol);
    case "bsdos-ppp": {
      const type = context.linkType(0, 2);
      if (protocol !== ETHERTYPE.ip) return equals(type, PPP_PROTOCOLS[protocol] ?? protocol);
      // Van Jacobson's compressed and uncompressed TCP (RFC 1144) count as IP.
      return or(equals(type, 0x21), equals(type, 0x2d), equals(type, 0x2f));
    }
    case "family":
      return familyProtocol(context, protocol);
    case "pflog": {
      const family = protocol === ETHERTYPE.ip ? 2 : protocol === ETHERTYPE.ip6 ? 10 : undefined;
      return family === undefined ? NEVER : equals(context.header(1, 1), family);
    }
    case "arcnet":
      return arcnetProtocol(context, protocol);
    case "localtalk":
      return protocol === ETHERTYPE.atalk ? ALWAYS : NEVER;
    case "frame-relay": {
      // RFC 2427: unnumbered information (0x03), then an NLPID.
      const nlpid = context.header(2, 2);
      if (protocol === ETHERTYPE.ip) return equals(nlpid, 0x03cc);
      if (protocol === ETHERTYPE.ip6) return equals(nlpid, 0x038e);
      if (protocol === SAP.iso)
        return or(equals(nlpid, 0x0381), equals(nlpid, 0x0382), equals(nlpid, 0x0383));
      return NEVER;
    }
    case "juniper":
      return context.masked(context.header(0, 4), 0x4d474300, 0xffffff00);
    case "bacnet":
      return context.masked(context.header(0, 4), 0x55ff0000, 0xffff0000);
    case "ipnet": {
      const family = protocol === ETHERTYPE.ip ? 2 : protocol === ETHERTYPE.ip6 ? 26 : undefined;
      return family === undefined ? NEVER : equals(context.linkType(0, 1), family);
    }
    case "ethertype":
      return equals(context.linkType(0, 2), protocol);
    case "none":
      if (context.row.refusal === undefined && state.type.at !== NONE) {
        return equals(context.linkType(0, 2), protocol);
      }
      return context.fail(
        span,
        `${context.row.refusal ?? context.row.description} link-layer type filtering not implemented`,
        "frames of this link type don't tell what they carry",
      );
  }
}

/** Holds if the frame inside of another is one of the inner kind; undefined if nothing can be wrong. */
export function outerCheck(context: Context): Predicate | undefined {
  const { state, values } = context;
  if (state.inside === "geneve") {
    const header = state.header.base;
    const payload = state.payload.base;
    if (header === undefined || payload === undefined) return undefined;
    return not({ kind: "compare", op: "eq", left: header, right: payload });
  }
  if (state.inside === "lane") {
    return not(equals(values.load(2, state.previousHeader.base, state.previousHeader.at + 4), 0xff00));
  }
  return undefined;
}

const isLength = (context: Context): Predicate => within(context.linkType(0, 2), 0, MAX_LENGTH);

function ethernetProtocol(context: Context, protocol: number): Predicate {
  const type = context.linkType(0, 2);
  switch (protocol) {
    case SAP.iso:
    case SAP.ip:
    case SAP.netbeui:
      return and(isLength(context), equals(context.payload(0, 2), protocol * 257));
    case SAP.ipx:
      // By EtherType, or in an 802.3 frame: behind a SNAP header, an LLC header or (Novell's way) none.
      return or(
        equals(type, ETHERTYPE.ipx),
        and(
          isLength(context),
          or(
            snap(context, 0, ETHERTYPE.ipx),
            equals(context.payload(0, 1), SAP.ipx),
            equals(context.payload(0, 2), 0xffff),
          ),
        ),
      );
    case ETHERTYPE.atalk:
    case ETHERTYPE.aarp:
      return or(
        equals(type, protocol),
        and(isLength(context), snap(context, protocol === ETHERTYPE.atalk ? 0x080007 : 0, protocol)),
      );
  }
  if (protocol > MAX_LENGTH) return equals(type, protocol);
  return and(isLength(context), equals(context.linkType(2, 1), protocol));
}

/** Linux's cooked header marks 802.2 frames with protocol 4, Novell's raw 802.3 ones with 1. */
function cookedProtocol(context: Context, protocol: number): Predicate {
  const type = context.linkType(0, 2);
  const is8022 = equals(type, 4);
  switch (protocol) {
    case SAP.iso:
    case SAP.ip:
    case SAP.netbeui:
      return and(is8022, equals(context.payload(0, 2), protocol * 257));
    case SAP.ipx:
      return or(
        equals(type, ETHERTYPE.ipx),
        equals(type, 1),
        and(is8022, or(equals(context.payload(0, 1), SAP.ipx), snap(context, 0, ETHERTYPE.ipx))),
      );
    case ETHERTYPE.atalk:
    case ETHERTYPE.aarp:
      return or(
        equals(type, protocol),
        and(is8022, snap(context, protocol === ETHERTYPE.atalk ? 0x080007 : 0, protocol)),
      );
  }
  if (protocol > MAX_LENGTH) return equals(type, protocol);
  return and(is8022, equals(context.header(context.state.payload.at, 1), protocol));
}

/** An LLC header, with a SNAP header behind it for EtherTypes. */
function llcProtocol(context: Context, protocol: number): Predicate {
  switch (protocol) {
    case SAP.iso:
    case SAP.ip:
    case SAP.netbeui:
      return equals(context.payload(0, 2), protocol * 257);
    case SAP.ipx:
      return equals(context.payload(0, 1), SAP.ipx);
    case ETHERTYPE.atalk:
      return snap(context, 0x080007, ETHERTYPE.atalk);
  }
  return protocol <= MAX_LENGTH
    ? equals(context.payload(0, 1), protocol)
    : equals(context.payload(6, 2), protocol);
}

function snap(context: Context, organization: number, protocol: number): Predicate {
  const bytes = [organization >> 16, organization >> 8, organization, protocol >> 8, protocol];
  return context.bytesAt(context.state.payload, 0, [
    SAP.snap,
    SAP.snap,
    3,
    ...bytes.map((byte) => byte & 0xff),
  ]);
}

function familyProtocol(context: Context, protocol: number): Predicate {
  // DLT_NULL and DLT_ENC keep the family in the order of the machine that captured; a file of a little-endian one.
  const swapped = context.state.dlt !== 108;
  const family = (number: number): Predicate =>
    equals(context.header(0, 4), swapped ? (number << 24) >>> 0 : number);
  if (protocol === ETHERTYPE.ip) return family(2);
  if (protocol === ETHERTYPE.ip6) {
    // In a file it can be any of Darwin's, the other BSDs' and FreeBSD's; else it is Linux's.
    return context.options.savefile ? or(family(30), family(24), family(28)) : family(10);
  }
  return NEVER;
}

function arcnetProtocol(context: Context, protocol: number): Predicate {
  const type = context.linkType(0, 1);
  switch (protocol) {
    case ETHERTYPE.ip6:
      return equals(type, 0xc4);
    case ETHERTYPE.ip:
      return or(equals(type, 212), equals(type, 240));
    case ETHERTYPE.arp:
      return or(equals(type, 213), equals(type, 241));
    case ETHERTYPE.rarp:
      return equals(type, 214);
    case ETHERTYPE.atalk:
      return equals(type, 221);
  }
  return NEVER;
}

function mplsProtocol(context: Context, protocol: number, span: Span): Predicate {
  const version = protocol === ETHERTYPE.ip ? 4 : protocol === ETHERTYPE.ip6 ? 6 : undefined;
  if (version === undefined) {
    return context.fail(span, "unsupported protocol over mpls", "only ip and ip6 can be told below MPLS");
  }
  // Bottom of the stack, then the version of what follows: MPLS itself names no protocol.
  return and(
    context.bits(context.network(-2, 1), 1),
    context.masked(context.network(0, 1), version << 4, 0xf0),
  );
}

/** 802.11: type data; bit 2 of the type must be clear. */
export function wlanDataFrame(context: Context): Predicate {
  const control = context.header(0, 1);
  return and(context.noBits(control, 0x04), context.bits(control, 0x08));
}

/** SunATM: the low nibble of the first byte; 1 is LANE, 2 is LLC. */
export function atmProtocol(context: Context, protocol: number): Predicate {
  const flags = context.values.alu("and", context.header(0, 1), context.values.constant(0xf));
  return equals(flags, protocol);
}

/** What must be computed before anything else, given what the expression used. */
export function prelude(context: Context): Predicate | undefined {
  const steps: Predicate[] = [];
  const { row, values, headerSlot, payloadSlot } = context;
  if (row.prefix === "ppi" && context.state.dlt === 192) {
    // The DLT inside, little-endian, must be 802.11's.
    steps.push(equals(context.packet(4, 4), 0x69000000));
  }
  const header = context.headerLost ? values.newSlot("length of the prefix", 0xffffffff) : headerSlot;
  if (header !== undefined && headerSlot !== undefined && (context.headerUsed || context.payloadUsed)) {
    steps.push(prefixLength(context, header));
    if (context.headerLost) steps.push({ kind: "set", slot: headerSlot, value: values.constant(0) });
  }
  if (payloadSlot !== undefined && context.payloadUsed) {
    if (row.family === "pflog") {
      const padded = values.alu("add", context.packet(0, 1), values.constant(3));
      const value = values.alu("and", padded, values.constant(0xfffffffc));
      steps.push({ kind: "set", slot: payloadSlot, value });
    } else {
      steps.push(wlanHeaderLength(context, header));
    }
  }
  return steps.length === 0 ? undefined : and(...steps);
}

function prefixLength(context: Context, headerSlot: Slot): Predicate {
  const { values, row } = context;
  const set = (value: Value): Predicate => ({ kind: "set", slot: headerSlot, value });
  if (row.prefix === "avs") return set(context.packet(4, 4));
  if (row.prefix === "prism") {
    // An AVS header can pose as a Prism header; its first word tells, and its second is its length.
    const cookie = context.masked(context.packet(0, 4), 0x80211000, 0xfffff000);
    return or(and(cookie, set(context.packet(4, 4))), set(values.constant(144)));
  }
  const high = values.alu("lsh", context.packet(3, 1), values.constant(8));
  return set(values.alu("or", context.packet(2, 1), high));
}

/**
 * An 802.11 header has 24 bytes, 2 more for QoS, and radiotap may say that it is padded to 4. Only data frames are
 * measured; for others the length doesn't matter.
 */
function wlanHeaderLength(context: Context, headerSlot: Slot | undefined): Predicate {
  const { values, payloadSlot, row } = context;
  if (payloadSlot === undefined) return ALWAYS;
  const header = headerSlot === undefined ? values.constant(0) : values.slot(headerSlot);
  const plus = (n: number): Value => values.alu("add", header, values.constant(n));
  const set = (slot: Slot, value: Value): Predicate => ({ kind: "set", slot, value });
  const control = values.load(1, headerSlot && header, 0);
  const bits = (value: Value, mask: number): Predicate => context.bits(value, mask);
  const noBits = (value: Value, mask: number): Predicate => context.noBits(value, mask);
  const present = context.packet(4, 4);
  const padded = and(
    bits(present, 0x02000000),
    noBits(present, 0x80),
    or(
      and(bits(present, 0x01000000), bits(context.packet(16, 1), 0x20)),
      and(noBits(present, 0x01000000), bits(context.packet(8, 1), 0x20)),
    ),
  );
  const qos = bits(control, 0x80);
  const isData = and(bits(control, 0x08), noBits(control, 0x04));
  const shortest = values.newSlot("offset behind the shortest 802.11 header", 0xffffffff, payloadSlot);
  const length = values.newSlot("offset behind the 802.11 header", 0xffffffff, payloadSlot);
  const before = values.slot(shortest);
  const unpadded = values.slot(length);
  const rounded = values.alu(
    "and",
    values.alu("add", unpadded, values.constant(3)),
    values.constant(0xfffffffc),
  );
  const measured = or(
    and(qos, set(length, values.alu("add", before, values.constant(2)))),
    set(length, before),
  );
  const rounding =
    row.prefix === "radiotap" && !context.headerLost
      ? or(and(padded, set(payloadSlot, rounded)), set(payloadSlot, unpadded))
      : set(payloadSlot, unpadded);
  return and(set(shortest, plus(24)), or(and(isData, measured, rounding), set(payloadSlot, before)));
}
