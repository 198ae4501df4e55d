/** Link-layer oddities: broadcast and multicast, directions, 802.2, 802.11, ATM, SS7, pf. */
import { SKF_AD_OFF } from "../cbpf/index.ts";
import type { Context } from "./context.ts";
import { hasStations, hostArcnet, hostStation } from "./generate-address.ts";
import { ETHERTYPE, atmProtocol, linkProtocol, outerCheck, wlanDataFrame } from "./generate-link.ts";
import { ALWAYS, type Predicate, and, equals, masked, not, or, within } from "./predicate.ts";
import { MAX_U32 } from "./ranges.ts";
import type { AtmField, AtmType, FieldValue, Mtp2Type, Mtp3Field, Primitive, Span } from "./syntax.ts";
import type { Value } from "./value.ts";
import { LLC_SUPERVISORY, LLC_UNNUMBERED, nameIn } from "./words.ts";

type Node<K extends Primitive["kind"]> = Extract<Primitive, { kind: K }>;

const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

export function broadcast(context: Context, { protocol, span }: Node<"broadcast" | "multicast">): Predicate {
  if (protocol === "ip") {
    const { netmask } = context.options;
    if (netmask === undefined) {
      return context.fail(span, "netmask not known, so 'ip broadcast' not supported", "give a netmask");
    }
    const hosts = ~netmask >>> 0;
    const destination = context.network(16, 4);
    return and(
      linkProtocol(context, ETHERTYPE.ip, span),
      or(masked(context.values, destination, 0, hosts), masked(context.values, destination, hosts, hosts)),
    );
  }
  if (protocol !== undefined && protocol !== "link") {
    return context.fail(span, "only link-layer/IP broadcast filters supported");
  }
  if (context.state.family === "arcnet") return hostArcnet(context, 0, "dst", span);
  return hostStation(context, BROADCAST, "dst", span) ?? context.fail(span, "not a broadcast link");
}

export function multicast(context: Context, { protocol, span }: Node<"broadcast" | "multicast">): Predicate {
  if (protocol === "ip") {
    return and(linkProtocol(context, ETHERTYPE.ip, span), within(context.network(16, 1), 224, 255));
  }
  if (protocol === "ip6") {
    return and(linkProtocol(context, ETHERTYPE.ip6, span), equals(context.network(24, 1), 255));
  }
  const { family, dlt } = context.state;
  const group = (offset: number): Predicate => context.bits(context.header(offset, 1), 1);
  if (protocol === undefined || protocol === "link") {
    if (family === "arcnet") return hostArcnet(context, 0, "dst", span);
    if (family === "ethernet") {
      const outer = outerCheck(context);
      return outer === undefined ? group(0) : and(outer, group(0));
    }
    if (family === "wlan") {
      const control = context.header(0, 1);
      const flags = context.header(1, 1);
      return and(
        context.noBits(control, 0x04),
        or(
          and(context.noBits(control, 0x08), group(4)),
          and(
            context.bits(control, 0x08),
            or(and(context.noBits(flags, 0x01), group(4)), and(context.bits(flags, 0x01), group(16))),
          ),
        ),
      );
    }
    if (hasStations(context)) return group(dlt === 10 ? 1 : 2);
  }
  return context.fail(
    span,
    "link-layer multicast filters supported only where frames have station addresses",
  );
}

export function direction(context: Context, out: boolean, span: Span): Predicate {
  const is = (value: Value, k: number): Predicate => (out ? equals(value, k) : not(equals(value, k)));
  const { family, dlt } = context.state;
  // The first byte is 0 for what came in and 1 for what went out.
  if (dlt === 8) return out ? not(equals(context.header(0, 1), 0)) : equals(context.header(0, 1), 0);
  if (family === "ipnet") return equals(context.header(2, 2), out ? 1 : 2);
  if (family === "sll") return is(context.header(0, 2), 4);
  if (dlt === 276) return is(context.header(10, 1), 4);
  if (family === "pflog") return equals(context.header(60, 1), out ? 2 : 1);
  if (dlt === 166) return equals(context.header(0, 1), out ? 1 : 0);
  if (family === "juniper") return masked(context.values, context.header(3, 1), out ? 0 : 1, 1);
  if (!context.options.savefile) return is(context.packet(SKF_AD_OFF + 4, 2), 4);
  return context.fail(
    span,
    `inbound/outbound not supported on ${context.state.description} when reading savefiles`,
    "frames of this link type don't tell their direction",
  );
}

export function interfaceIndex(
  context: Context,
  { value, span }: { readonly value: number; readonly span: Span },
): Predicate {
  if (context.state.dlt === 276) return equals(context.header(4, 4), value);
  if (!context.options.savefile) return equals(context.packet(SKF_AD_OFF + 8, 4), value);
  return context.fail(
    span,
    `ifindex not supported on ${context.state.description} when reading savefiles`,
    "of files only those of link type LINUX_SLL2 tell the interface",
  );
}

export function llc(context: Context, { type, span }: Node<"llc">): Predicate {
  const isLlc = hasLlc(context, span);
  if (type === undefined) return isLlc;
  const control = context.payload(2, 1);
  const format = (k: number, mask: number): Predicate => and(isLlc, masked(context.values, control, k, mask));
  if (type === "i") return and(isLlc, context.noBits(control, 0x01));
  if (type === "s") return format(0x01, 0x03);
  if (type === "u") return format(0x03, 0x03);
  const supervisory = nameIn(LLC_SUPERVISORY, type);
  if (supervisory !== undefined) return format(supervisory, 0x0f);
  return format(nameIn(LLC_UNNUMBERED, type) ?? 0, 0xef);
}

function hasLlc(context: Context, span: Span): Predicate {
  const { family, dlt } = context.state;
  if (family === "ethernet" && dlt === 1) {
    return and(within(context.linkType(0, 2), 0, 1500), not(equals(context.payload(0, 2), 0xffff)));
  }
  if (family === "sunatm") return atmProtocol(context, 2);
  if (family === "wlan") return wlanDataFrame(context);
  if (dlt === 6 || dlt === 10 || dlt === 11) return ALWAYS;
  return context.fail(span, `'llc' not supported for ${context.state.description}`);
}

export function wlanType(context: Context, { value, mask, span }: Node<"wlan-type">): Predicate {
  if (context.state.family !== "wlan" || context.state.dlt === 192) {
    return context.fail(span, "802.11 link-layer types supported only on 802.11");
  }
  return masked(context.values, context.header(0, 1), value, mask);
}

export function wlanDirection(context: Context, { value, span }: Node<"wlan-direction">): Predicate {
  if (context.state.family !== "wlan" || context.state.dlt === 192) {
    return context.fail(span, "frame direction supported only with 802.11 headers");
  }
  return masked(context.values, context.header(1, 1), value, 0x03);
}

/** Offsets in struct pfloghdr: interface, rule set, rule, sub-rule, action, reason. */
const PF_OFFSETS = { ifname: 4, rset: 20, rnr: 36, srnr: 40, reason: 3, action: 2 } as const;

export function pf(context: Context, { field, value, span }: Node<"pf">): Predicate {
  if (context.state.family !== "pflog") {
    return context.fail(span, `${field === "rset" ? "ruleset" : field} supported only on PF linktype`);
  }
  const offset = PF_OFFSETS[field];
  if (typeof value === "string") {
    const bytes = [...new TextEncoder().encode(value)];
    if (bytes.length > 15) {
      const what = field === "ifname" ? "ifname interface names" : "ruleset names";
      return context.fail(span, `${what} can only be 15 characters`);
    }
    return context.bytesAt(context.state.header, offset, bytes);
  }
  return equals(context.header(offset, field === "rnr" || field === "srnr" ? 4 : 1), value);
}

/** `value OP k` under a mask. */
function compare(
  context: Context,
  value: Value,
  mask: number,
  { op, value: k }: FieldValue,
  span: Span,
): Predicate {
  const { values } = context;
  const field = mask === MAX_U32 ? value : values.alu("and", value, values.constant(mask));
  switch (op) {
    case "=":
      return equals(field, k);
    case "!=":
      context.warn("compat", "libpcap reads `!=` as `=` here", span);
      return context.options.compat === "libpcap" ? equals(field, k) : not(equals(field, k));
    case ">":
      return k === MAX_U32 ? not(within(field, 0, MAX_U32)) : within(field, k + 1, MAX_U32);
    case ">=":
      return within(field, k, MAX_U32);
    case "<":
      return not(within(field, k, MAX_U32));
    case "<=":
      return within(field, 0, k);
  }
}

const NEEDS_ATM = "supported only on raw ATM";

function atmField(
  context: Context,
  field: AtmField,
  values: readonly FieldValue[],
  span: Span,
  word: string = field,
): Predicate {
  if (context.row.dlt !== 123) return context.fail(span, `'${word}' ${NEEDS_ATM}`);
  const value = field === "vpi" ? context.header(1, 1) : context.header(2, 2);
  return or(...values.map((each) => compare(context, value, MAX_U32, each, span)));
}

/** Well-known channels (ATM UNI 3.1): all on VPI 0. */
const CHANNELS: Readonly<Partial<Record<AtmType, readonly number[]>>> = {
  metac: [1],
  bcc: [2],
  oamf4sc: [3],
  oamf4ec: [4],
  sc: [5],
  ilmic: [16],
  oam: [3, 4],
  oamf4: [3, 4],
};

/** Q.2931 message types: release complete, release, connect acknowledge, connect, setup, call proceeding. */
const CONNECT_MESSAGES = [0x5a, 0x4d, 0x0f, 0x07, 0x05, 0x02];
const METACONNECT_MESSAGES = [0x5a, 0x4d, 0x07, 0x05, 0x02];

export function atm(context: Context, { type, span }: Node<"atm">): Predicate {
  if (context.row.dlt !== 123) return context.fail(span, `'${type}' ${NEEDS_ATM}`);
  const channel = (numbers: readonly number[]): Predicate => {
    const any = numbers.map((value): FieldValue => ({ op: "=", value }));
    return and(atmField(context, "vpi", [{ op: "=", value: 0 }], span), atmField(context, "vci", any, span));
  };
  if (type === "lane") return lane(context);
  if (type === "connectmsg" || type === "metaconnect") {
    const messages = type === "connectmsg" ? CONNECT_MESSAGES : METACONNECT_MESSAGES;
    const message = context.header(4 + 5, 1);
    return and(channel(type === "connectmsg" ? [5] : [1]), or(...messages.map((k) => equals(message, k))));
  }
  return channel(CHANNELS[type] ?? []);
}

/** ATM LAN emulation: an Ethernet frame behind two bytes of header. */
function lane(context: Context): Predicate {
  const test = atmProtocol(context, 1);
  const header = { base: undefined, at: 4 + 2 };
  context.push("ethernet", 1, "Ethernet", header);
  context.state = {
    ...context.state,
    type: { base: undefined, at: header.at + 12 },
    payload: { base: undefined, at: header.at + 14 },
    network: 0,
    networkNoSnap: 3,
    inside: "lane",
  };
  return test;
}

export function mtp2(context: Context, { type, span }: Node<"mtp2">): Predicate {
  const offset = context.row.ss7;
  if (offset === undefined) {
    return context.fail(span, `'${type}' supported only on MTP2${type.startsWith("h") ? "_HSL" : ""}`);
  }
  // The length indicator tells the kind of signal unit: 0, 1 or 2, more (Q.703; high-speed links: annex A).
  const high = type.startsWith("h");
  const mask = high ? 0xff80 : 0x3f;
  const unit = high ? 0x80 : 1;
  const value = high ? context.packet(offset + 2, 2) : context.packet(offset, 1);
  const test = (op: FieldValue["op"], k: number): Predicate =>
    compare(context, value, mask, { op, value: k }, span);
  const kinds: Readonly<Record<string, () => Predicate>> = {
    fisu: () => test("=", 0),
    lssu: () => and(test(">", 0), test("<=", 2 * unit)),
    msu: () => test(">", 2 * unit),
  };
  return (kinds[(high ? type.slice(1) : type) as Exclude<Mtp2Type, "hfisu">] as () => Predicate)();
}

export function field(context: Context, node: Node<"field">): Predicate {
  if (node.field === "vpi" || node.field === "vci")
    return atmField(context, node.field, node.values, node.span);
  return or(...node.values.map((value) => mtp3(context, node.field as Mtp3Field, value, node.span)));
}

/** Q.704's routing label, whose point codes lie across bytes; constants are brought into the same disorder. */
function mtp3(context: Context, field: Mtp3Field, wanted: FieldValue, span: Span): Predicate {
  const start = context.row.ss7;
  const high = field.startsWith("h");
  const name = (high ? field.slice(1) : field) as "sio" | "opc" | "dpc" | "sls";
  if (start === undefined) return context.fail(span, `'${name}' supported only on SS7`);
  const { value: k } = wanted;
  const limits = { sio: 255, opc: 16383, dpc: 16383, sls: 15 } as const;
  if (k > limits[name]) {
    return context.fail(span, `${name} value ${k} too big; max value = ${limits[name]}`);
  }
  const shift = high ? 3 : 0;
  switch (name) {
    case "sio":
      return compare(context, context.packet(start + 1 + shift, 1), MAX_U32, wanted, span);
    case "opc": {
      const value = ((k & 0x3c00) >>> 10) + ((k & 0x3fc) << 6) + ((k & 3) << 22);
      return compare(context, context.packet(start + 2 + shift, 4), 0x00c0ff0f, { ...wanted, value }, span);
    }
    case "dpc": {
      const value = (((k & 0xff) << 24) >>> 0) + ((k & 0x3f00) << 8);
      return compare(context, context.packet(start + 2 + shift, 4), 0xff3f0000, { ...wanted, value }, span);
    }
    case "sls":
      return compare(context, context.packet(start + 5 + shift, 1), 0xf0, { ...wanted, value: k << 4 }, span);
  }
}
