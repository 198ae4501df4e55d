/** VLAN, MPLS, PPPoE, Geneve: tests that also move the headers for what comes after. */
import { SKF_AD_OFF } from "../cbpf/index.ts";
import type { Context, Place } from "./context.ts";
import { endSlots } from "./generate-address.ts";
import { ETHERTYPE, linkProtocol } from "./generate-link.ts";
import { IP_PROTOCOL, ports4, ports6 } from "./generate-port.ts";
import { ALWAYS, type Predicate, and, equals, masked, not, or, within } from "./predicate.ts";
import { rangeOf } from "./ranges.ts";
import type { Primitive, Span } from "./syntax.ts";
import type { Value, Values } from "./value.ts";

const MAX_VLAN = 0xfff;
const MAX_LABEL = 0xfffff;
const MAX_SESSION = 0xffff;
const MAX_VNI = 0xffffff;
/** RFC 8926. */
const GENEVE_PORT = 6081;

export function encapsulation(
  context: Context,
  node: Extract<Primitive, { kind: "encapsulation" }>,
): Predicate {
  switch (node.protocol) {
    case "vlan":
      return vlan(context, node.id, node.last ?? node.id, node.span);
    case "mpls":
      return mpls(context, node.id, node.span);
    case "pppoes":
      return pppoes(context, node.id, node.span);
    case "geneve":
      return geneve(context, node.id, node.span);
  }
}

const moved = (place: Place, by: number): Place => ({ base: place.base, at: (place.at + by) >>> 0 });

function vlan(context: Context, id: number | undefined, last: number | undefined, span: Span): Predicate {
  const { state } = context;
  if (state.labels > 0) context.fail(span, "no VLAN match after MPLS");
  const wlan = state.family === "wlan" && state.dlt !== 192;
  if (state.family !== "ethernet" && !wlan) {
    context.fail(span, `no VLAN support for ${state.description}`);
  }
  const low = Math.min(id ?? 0, last ?? 0);
  const high = Math.max(id ?? 0, last ?? 0);
  if (high > MAX_VLAN) context.fail(span, `VLAN tag ${high} greater than maximum ${MAX_VLAN}`);
  const tag = context.values.alu("and", context.payload(state.network, 2), context.values.constant(MAX_VLAN));
  const isTagged = or(
    linkProtocol(context, ETHERTYPE.qinqOld, span),
    linkProtocol(context, ETHERTYPE.vlan, span),
    linkProtocol(context, ETHERTYPE.qinq, span),
  );
  const outermost =
    state.vlans === 0 && state.header.base === undefined && state.header.at === context.row.header;
  if (context.options.live && state.family === "ethernet" && outermost) {
    return liveVlan(context, isTagged, id, tag, low, high);
  }
  context.state = {
    ...state,
    payload: moved(state.payload, 4),
    type: moved(state.type, 4),
    vlans: state.vlans + 1,
  };
  return id === undefined ? isTagged : and(isTagged, within(tag, low, high));
}

/**
 * On a live Linux socket the outer tag is no longer in the frame: the kernel tells it beside. Only if it doesn't, the
 * frame may still hold one; whether it did decides where the headers are.
 */
function liveVlan(
  context: Context,
  isTagged: Predicate,
  id: number | undefined,
  tag: Value,
  low: number,
  high: number,
): Predicate {
  const { values, state } = context;
  const beside = equals(context.packet(SKF_AD_OFF + 48, 1), 1);
  const shift = values.newSlot("bytes of the VLAN tag in the frame", 4);
  const leaks = context.options.compat === "libpcap";
  if (leaks) context.zeroed.push(shift);
  const none: Predicate = { kind: "set", slot: shift, value: values.constant(0) };
  const four: Predicate = { kind: "set", slot: shift, value: values.constant(4) };
  const base = values.slot(shift);
  context.state = {
    ...state,
    payload: { base, at: state.payload.at },
    type: { base, at: state.type.at },
    vlans: state.vlans + 1,
  };
  if (leaks) {
    // libpcap moves the headers before it has seen whether there is a tag, for whatever comes next.
    const tagIs = id === undefined ? ALWAYS : within(tag, low, high);
    const besideIs = id === undefined ? ALWAYS : within(besideTag(values, context), low, high);
    return or(and(beside, besideIs), and(not(beside), four, isTagged, tagIs));
  }
  if (id === undefined) return or(and(beside, none), and(isTagged, four));
  return or(
    and(beside, within(besideTag(values, context), low, high), none),
    and(not(beside), isTagged, within(tag, low, high), four),
  );
}

/** The tag that the kernel tells; its value holds the priority bits, too. */
const besideTag = (values: Values, context: Context): Value =>
  values.alu("and", context.packet(SKF_AD_OFF + 44, 1), values.constant(MAX_VLAN));

function mpls(context: Context, label: number | undefined, span: Span): Predicate {
  const { state, values } = context;
  const tests: Predicate[] = [];
  if (state.labels > 0) {
    // The label before must not be the bottom of the stack.
    tests.push(masked(values, context.network(-2, 1), 0, 1));
  } else if (state.family === "hdlc" || state.family === "ethernet") {
    tests.push(linkProtocol(context, ETHERTYPE.mpls, span));
  } else if (state.family === "ppp" && state.dlt === 9) {
    tests.push(linkProtocol(context, 0x281, span));
  } else {
    context.fail(span, `no MPLS support for ${state.description}`);
  }
  if (label !== undefined) {
    if (label > MAX_LABEL) context.fail(span, `MPLS label ${label} greater than maximum ${MAX_LABEL}`);
    tests.push(masked(values, context.network(0, 4), label << 12, 0xfffff000));
  }
  context.state = {
    ...state,
    network: (state.network + 4) >>> 0,
    networkNoSnap: (state.networkNoSnap + 4) >>> 0,
    labels: state.labels + 1,
  };
  return and(...tests);
}

/** PPPoE session data: a PPP header of which only the protocol is left follows. */
function pppoes(context: Context, session: number | undefined, span: Span): Predicate {
  const tests = [linkProtocol(context, ETHERTYPE.pppoes, span)];
  if (session !== undefined) {
    if (session > MAX_SESSION) {
      context.fail(span, `PPPoE session number ${session} greater than maximum ${MAX_SESSION}`);
    }
    tests.push(masked(context.values, context.network(0, 4), session, MAX_SESSION));
  }
  const { payload, network } = context.state;
  if (context.headerSlot !== undefined && !context.headerLost) {
    context.headerLost = context.options.compat === "libpcap";
    context.warn("compat", "libpcap mistakes where the 802.11 header begins in this expression", span);
  }
  const header = moved(payload, network + 6);
  context.push("ppp", 9, "PPP", header);
  context.state = {
    ...context.state,
    type: header,
    payload: moved(header, 2),
    network: 0,
    networkNoSnap: 0,
  };
  return and(...tests);
}

/** RFC 8926: UDP port 6081, version 0; the header's length and what it carries decide where the inner frame begins. */
function geneve(context: Context, vni: number | undefined, span: Span): Predicate {
  const { values, state } = context;
  if (vni !== undefined && vni > MAX_VNI) {
    context.fail(span, `Geneve VNI ${vni} greater than maximum ${MAX_VNI}`);
  }
  const outer = values.newSlot("offset of the Geneve header", 0xffffffff);
  const check = (field: (offset: number, size: 1 | 4) => Value): Predicate[] => {
    const tests = [masked(values, field(8, 1), 0, 0xc0)];
    if (vni !== undefined) tests.push(masked(values, field(12, 4), (vni << 8) >>> 0, 0xffffff00));
    return tests;
  };
  const past = values.constant(state.payload.at + state.network + 8);
  const base6 =
    state.payload.base === undefined
      ? values.constant(40)
      : values.alu("add", state.payload.base, values.constant(40));
  const port = rangeOf(GENEVE_PORT, GENEVE_PORT);
  const slots = endSlots(context, 0xffff);
  const in4 = and(
    ports4(context, [port], IP_PROTOCOL.udp, "dst", span, slots),
    ...check((offset, size) => context.transport4(offset, size)),
    { kind: "set", slot: outer, value: values.alu("add", context.transportBase4(), past) },
  );
  const in6 = and(
    ports6(context, [port], IP_PROTOCOL.udp, "dst", span, slots),
    ...check((offset, size) => context.transport6(offset, size)),
    { kind: "set", slot: outer, value: values.alu("add", base6, past) },
  );
  const header = values.newSlot("offset behind the Geneve header", 0xffffffff);
  const type = values.newSlot("offset of the inner type", 0xffffffff);
  const payload = values.newSlot("offset of the inner payload", 0xffffffff);
  const at = values.slot(outer);
  const inner = values.slot(header);
  const words = values.alu("and", values.load(1, at, 0), values.constant(0x3f));
  const length = values.alu("add", values.alu("mul", words, values.constant(4)), values.constant(8));
  const set = (slot: typeof header, value: Value): Predicate => ({ kind: "set", slot, value });
  const plus = (n: number): Value => values.alu("add", inner, values.constant(n));
  const carriesFrame = equals(values.load(2, at, 2), ETHERTYPE.teb);
  context.push("ethernet", 1, "Ethernet", { base: inner, at: 0 });
  context.state = {
    ...context.state,
    type: { base: values.slot(type), at: 0 },
    payload: { base: values.slot(payload), at: 0 },
    network: 0,
    inside: "geneve",
  };
  return and(
    or(in4, in6),
    set(header, values.alu("add", length, at)),
    or(
      and(carriesFrame, set(type, plus(12)), set(payload, plus(14))),
      and(set(type, values.alu("add", at, values.constant(2))), set(payload, inner)),
    ),
  );
}
