/** VLAN, MPLS, PPPoE: tests that also move the headers for what comes after. */
import { SKF_AD_OFF } from "../cbpf/index.ts";
import type { Context, Place } from "./context.ts";
import { ETHERTYPE, linkProtocol } from "./generate-link.ts";
import { geneve, gre, ipInIp, vxlan } from "./generate-tunnel.ts";
import { type Ranges, rangeOf, unionAll } from "./ranges.ts";
import { ALWAYS, type Predicate, and, equals, masked, not, or } from "./predicate.ts";
import type { Primitive, Span } from "./syntax.ts";
import type { Value } from "./value.ts";

const MAX_VLAN = 0xfff;
const MAX_LABEL = 0xfffff;
const MAX_SESSION = 0xffff;

export function encapsulation(
  context: Context,
  node: Extract<Primitive, { kind: "encapsulation" }>,
): Predicate {
  switch (node.protocol) {
    case "vlan":
      return node.id === undefined ? vlan(context, undefined, node.span) : vlanAny(context, [node]);
    case "mpls":
      return mpls(context, node.id, node.span);
    case "pppoes":
      return pppoes(context, node.id, node.span);
    case "geneve":
      return geneve(context, node);
    case "vxlan":
      return vxlan(context, node);
    case "gre":
      return gre(context, node);
    case "ipip":
      return ipInIp(context, node);
  }
}

const moved = (place: Place, by: number): Place => ({ base: place.base, at: (place.at + by) >>> 0 });

type Tag = Extract<Primitive, { kind: "encapsulation" }>;

/** A VLAN tag of any of several numbers. */
export function vlanAny(context: Context, nodes: readonly Tag[]): Predicate {
  const [{ span }] = nodes as readonly [Tag, ...Tag[]];
  const ranges = nodes.map((node) => {
    const { id = 0, last = id } = node;
    const [low, high] = [Math.min(id, last), Math.max(id, last)];
    if (high > MAX_VLAN) context.fail(node.span, `VLAN tag ${high} greater than maximum ${MAX_VLAN}`);
    return rangeOf(low, high);
  });
  return vlan(context, unionAll(ranges), span);
}

/** `ids` undefined: whatever the number. */
function vlan(context: Context, ids: Ranges | undefined, span: Span): Predicate {
  const { state } = context;
  if (state.labels > 0) context.fail(span, "no VLAN match after MPLS");
  const wlan = state.family === "wlan" && state.dlt !== 192;
  if (state.family !== "ethernet" && !wlan) {
    context.fail(span, `no VLAN support for ${state.description}`);
  }
  const tag = context.values.alu("and", context.payload(state.network, 2), context.values.constant(MAX_VLAN));
  const isTagged = or(
    linkProtocol(context, ETHERTYPE.qinqOld, span),
    linkProtocol(context, ETHERTYPE.vlan, span),
    linkProtocol(context, ETHERTYPE.qinq, span),
  );
  const isWanted = (value: Value): Predicate =>
    ids === undefined ? ALWAYS : { kind: "in", value, ranges: ids };
  const outermost =
    state.vlans === 0 && state.header.base === undefined && state.header.at === context.row.header;
  if (context.options.live && state.family === "ethernet" && outermost) {
    return liveVlan(context, and(isTagged, isWanted(tag)), isWanted);
  }
  context.state = {
    ...state,
    payload: moved(state.payload, 4),
    type: moved(state.type, 4),
    vlans: state.vlans + 1,
  };
  return and(isTagged, isWanted(tag));
}

/**
 * On a live Linux socket the outer tag is no longer in the frame: the kernel tells it beside. Only if it doesn't, the
 * frame may still hold one; whether it did decides where the headers are.
 */
function liveVlan(context: Context, inFrame: Predicate, isWanted: (tag: Value) => Predicate): Predicate {
  const { values, state } = context;
  const isBeside = equals(context.packet(SKF_AD_OFF + 48, 1), 1);
  // The kernel's value holds the priority bits, too.
  const tagBeside = values.alu("and", context.packet(SKF_AD_OFF + 44, 1), values.constant(MAX_VLAN));
  const beside = and(isBeside, isWanted(tagBeside));
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
  // libpcap moves the headers before it has seen whether there is a tag, for whatever comes next.
  if (leaks) return or(beside, and(not(isBeside), four, inFrame));
  return or(and(beside, none), and(not(isBeside), inFrame, four));
}

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
  context.loseHeader(span);
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
