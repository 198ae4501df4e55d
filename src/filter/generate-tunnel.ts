/**
 * Whole packets inside of others: Geneve (RFC 8926) and VXLAN (RFC 7348) over UDP, GRE (RFC 2784 and 2890) and IP in IP
 * (RFC 2003 and 2473). Each of them moves all headers to the inner packet for what comes after. Outside, the first
 * fragment is asked for, and no IPv6 extension headers are stepped over. libpcap 1.10 knows Geneve alone.
 */
import type { Context } from "./context.ts";
import { endSlots } from "./generate-address.ts";
import { ETHERTYPE } from "./generate-link.ts";
import { IP_PROTOCOL, firstFragment, isIp, isIp6, ports4, ports6 } from "./generate-port.ts";
import { NONE } from "./linktypes.ts";
import { type Predicate, and, equals, masked, or } from "./predicate.ts";
import { rangeOf } from "./ranges.ts";
import type { Primitive, Span } from "./syntax.ts";
import type { LoadSize, Slot, Value } from "./value.ts";

export type Tunnel = Extract<Primitive, { kind: "encapsulation" }>;

const MAX_VNI = 0xffffff;
const GENEVE_PORT = 6081;
const VXLAN_PORT = 4789;
const MAX_PORT = 0xffff;
const UDP_HEADER = 8;
const GRE = 47;
const IPV4_INSIDE = 4;
const IPV6_INSIDE = 41;

const set = (slot: Slot, value: Value): Predicate => ({ kind: "set", slot, value });

/** Reads a field of the outer packet's payload, counted from where that begins. */
type Field = (offset: number, size: LoadSize) => Value;

/** The outer header in both versions of IP; `test` says what must hold there, `slot` gets where the payload begins. */
function outer(
  context: Context,
  slot: Slot,
  protocols: { readonly in4: Predicate; readonly in6: Predicate },
  skipped: number,
  test: (field: Field) => readonly Predicate[],
): Predicate {
  const { values, state } = context;
  const past = values.constant(state.payload.at + state.network + skipped);
  const { base } = state.payload;
  const base6 = base === undefined ? values.constant(40) : values.alu("add", base, values.constant(40));
  const in4 = and(
    protocols.in4,
    ...test((offset, size) => context.transport4(offset, size)),
    set(slot, values.alu("add", context.transportBase4(), past)),
  );
  const in6 = and(
    protocols.in6,
    ...test((offset, size) => context.transport6(offset, size)),
    set(slot, values.alu("add", base6, past)),
  );
  return or(in4, in6);
}

function udpTo(
  context: Context,
  port: number,
  span: Span,
): { readonly in4: Predicate; readonly in6: Predicate } {
  if (port > MAX_PORT) context.fail(span, `illegal port number ${port} > ${MAX_PORT}`);
  const sets = [rangeOf(port, port)];
  const slots = endSlots(context, MAX_PORT);
  return {
    in4: ports4(context, sets, IP_PROTOCOL.udp, "dst", span, slots),
    in6: ports6(context, sets, IP_PROTOCOL.udp, "dst", span, slots),
  };
}

function ipProtocol(
  context: Context,
  numbers: readonly number[],
  span: Span,
): { readonly in4: Predicate; readonly in6: Predicate } {
  const any = (value: Value): Predicate => or(...numbers.map((number) => equals(value, number)));
  return {
    in4: and(isIp(context, span), any(context.network(9, 1)), firstFragment(context)),
    in6: and(isIp6(context, span), any(context.network(6, 1))),
  };
}

const checkedVni = (context: Context, name: string, { id, span }: Tunnel): void => {
  if (id !== undefined && id > MAX_VNI)
    context.fail(span, `${name} VNI ${id} greater than maximum ${MAX_VNI}`);
};

/**
 * What a tunnel carries is named by an EtherType `typeAt` bytes into its header at `at`: a frame, or the payload of one.
 * The inner header begins `length` bytes after `at`.
 */
function innerByType(context: Context, at: Value, typeAt: number, length: Value): Predicate {
  const { values } = context;
  const header = values.newSlot("offset of the inner header", 0xffffffff);
  const type = values.newSlot("offset of the inner type", 0xffffffff);
  const payload = values.newSlot("offset of the inner payload", 0xffffffff);
  const inner = values.slot(header);
  const plus = (n: number): Value => values.alu("add", inner, values.constant(n));
  const carriesFrame = equals(values.load(2, at, typeAt), ETHERTYPE.teb);
  context.push("ethernet", 1, "Ethernet", { base: inner, at: 0 });
  context.state = {
    ...context.state,
    type: { base: values.slot(type), at: 0 },
    payload: { base: values.slot(payload), at: 0 },
    network: 0,
    inside: "geneve",
  };
  return and(
    set(header, values.alu("add", length, at)),
    or(
      and(carriesFrame, set(type, plus(12)), set(payload, plus(14))),
      and(set(type, values.alu("add", at, values.constant(typeAt))), set(payload, inner)),
    ),
  );
}

/** UDP port 6081, version 0; the header's length and what it carries decide where the inner frame begins. */
export function geneve(context: Context, node: Tunnel): Predicate {
  const { values } = context;
  const { id, port = GENEVE_PORT, span } = node;
  checkedVni(context, "Geneve", node);
  const slot = values.newSlot("offset of the Geneve header", 0xffffffff);
  const found = outer(context, slot, udpTo(context, port, span), UDP_HEADER, (field) => [
    masked(values, field(8, 1), 0, 0xc0),
    ...(id === undefined ? [] : [masked(values, field(12, 4), (id << 8) >>> 0, 0xffffff00)]),
  ]);
  context.loseHeader(span);
  const at = values.slot(slot);
  const words = values.alu("and", values.load(1, at, 0), values.constant(0x3f));
  const length = values.alu("add", values.alu("mul", words, values.constant(4)), values.constant(8));
  return and(found, innerByType(context, at, 2, length));
}

/** UDP port 4789 and the flag that says that there is a network identifier; an Ethernet frame follows. */
export function vxlan(context: Context, node: Tunnel): Predicate {
  const { values } = context;
  const { id, port = VXLAN_PORT, span } = node;
  checkedVni(context, "VXLAN", node);
  const slot = values.newSlot("offset of the frame in VXLAN", 0xffffffff);
  const found = outer(context, slot, udpTo(context, port, span), UDP_HEADER + 8, (field) => [
    context.bits(field(8, 1), 0x08),
    ...(id === undefined ? [] : [masked(values, field(12, 4), (id << 8) >>> 0, 0xffffff00)]),
  ]);
  const base = values.slot(slot);
  context.push("ethernet", 1, "Ethernet", { base, at: 0 });
  context.state = {
    ...context.state,
    type: { base, at: 12 },
    payload: { base, at: 14 },
    network: 0,
    networkNoSnap: 3,
    labels: 0,
    vlans: 0,
    inside: undefined,
  };
  return found;
}

/**
 * GRE of version 0 without the routing of RFC 1701. Three bits of its first byte say which of checksum, key and sequence
 * number are there, four bytes each.
 */
export function gre(context: Context, { id, span }: Tunnel): Predicate {
  const { values } = context;
  const slot = values.newSlot("offset of the GRE header", 0xffffffff);
  const found = outer(context, slot, ipProtocol(context, [GRE], span), 0, (field) => [
    context.noBits(field(0, 2), 0x4007),
    ...(id === undefined ? [] : [context.bits(field(0, 1), 0x20)]),
  ]);
  const at = values.slot(slot);
  const flags = values.load(1, at, 0);
  /** 4 if a flag is set. */
  const four = (shift: number): Value =>
    values.alu("and", values.alu("rsh", flags, values.constant(shift)), values.constant(4));
  const checksum = four(5);
  const optional = values.alu("add", values.alu("add", checksum, four(3)), four(2));
  const keyed = id === undefined ? [] : [equals(values.load(4, values.alu("add", checksum, at), 4), id)];
  const length = values.alu("add", optional, values.constant(4));
  const inner = innerByType(context, at, 2, length);
  context.state = { ...context.state, labels: 0, vlans: 0 };
  return and(found, ...keyed, inner);
}

/** IPv4 or IPv6 right behind an IP header. */
export function ipInIp(context: Context, { span }: Tunnel): Predicate {
  const { values } = context;
  const slot = values.newSlot("offset of the inner IP header", 0xffffffff);
  const found = outer(context, slot, ipProtocol(context, [IPV4_INSIDE, IPV6_INSIDE], span), 0, () => []);
  const base = values.slot(slot);
  context.push("ip-version", 12, "IP in IP", { base, at: 0 });
  context.state = {
    ...context.state,
    type: { base: undefined, at: NONE },
    payload: { base, at: 0 },
    network: 0,
    networkNoSnap: 0,
    labels: 0,
    vlans: 0,
    inside: undefined,
  };
  return found;
}
