/** The primitives that are words of their own: `vlan 5`, `less 64`, `type mgt`, `llc`, `vpi 3`, `on em0`, … */
import type { Parser } from "./parser.ts";
import { filterError } from "./problem.ts";
import type { AtmField, AtmType, Encapsulation, Mtp2Type, Mtp3Field, PfField, Primitive } from "./syntax.ts";
import type { Protocol, Span } from "./syntax.ts";
import {
  LLC_SUPERVISORY,
  LLC_UNNUMBERED,
  PF_ACTIONS,
  PF_REASONS,
  WLAN_DIRECTIONS,
  WLAN_SUBTYPES,
  WLAN_SUBTYPE_MASK,
  WLAN_TYPES,
  WLAN_TYPE_MASK,
  nameIn,
} from "./words.ts";

const words = (text: string): ReadonlySet<string> => new Set(text.split(" "));
const ATM_TYPES = words("lane metac bcc oamf4ec oamf4sc sc ilmic oam oamf4 connectmsg metaconnect");
const MTP2_TYPES = words("fisu lssu msu hfisu hlssu hmsu");
const FIELDS = words("vpi vci sio opc dpc sls hsio hopc hdpc hsls");
const PF_FIELDS = words("ifname rset rnr srnr reason action");
const ENCAPSULATIONS = words("vlan mpls pppoes geneve");
const AFTER_PROTOCOL = words("broadcast multicast type subtype dir");
const BYTE_OPS = words("& | < > =");

/**
 * Reads such a primitive if one comes next. After a protocol (`ether broadcast`, `wlan type data`) only few can stand.
 */
export function parseSpecial(
  parser: Parser,
  protocol: Protocol | undefined,
  start: Span,
): Primitive | undefined {
  const { kind } = parser.peek();
  if (protocol !== undefined && !AFTER_PROTOCOL.has(kind)) return undefined;
  const read = READERS[kind] ?? groupReader(kind);
  if (read === undefined) return undefined;
  parser.next();
  const body = read(parser, kind, protocol);
  return { ...body, span: parser.spanFrom(start) } as Primitive;
}

type Unplaced = Primitive extends infer P ? (P extends Primitive ? Omit<P, "span"> : never) : never;
type Reader = (parser: Parser, word: string, protocol: Protocol | undefined) => Unplaced;

const number = (parser: Parser): number => parser.expect("num", "a number").value;

const READERS: Readonly<Record<string, Reader>> = {
  broadcast: (_, __, protocol) => ({ kind: "broadcast", protocol }),
  multicast: (_, __, protocol) => ({ kind: "multicast", protocol }),
  less: (parser) => ({ kind: "less", value: number(parser) }),
  greater: (parser) => ({ kind: "greater", value: number(parser) }),
  ifindex: (parser) => ({ kind: "ifindex", value: number(parser) }),
  inbound: () => ({ kind: "inbound" }),
  outbound: () => ({ kind: "outbound" }),
  pppoed: () => ({ kind: "pppoed" }),
  byte: (parser) => {
    const offset = number(parser);
    const op = parser.peek().kind;
    if (!BYTE_OPS.has(op)) throw parser.syntaxError("expected one of & | < > =");
    parser.next();
    return { kind: "byte", offset, op: op as "=", value: number(parser) };
  },
  type: readWlanType,
  subtype: (parser) => {
    const token = parser.expect("id", "an 802.11 subtype");
    for (const { type, names } of WLAN_SUBTYPES) {
      const subtype = nameIn(names, token.text);
      if (subtype !== undefined) {
        return { kind: "wlan-type", value: type | subtype, mask: WLAN_TYPE_MASK | WLAN_SUBTYPE_MASK };
      }
    }
    throw filterError(token.span, `unknown 802.11 subtype name '${token.text}'`);
  },
  dir: (parser) => {
    if (parser.peek().kind === "num") return { kind: "wlan-direction", value: number(parser) };
    const token = parser.expect("id", "an 802.11 direction");
    const value = nameIn(WLAN_DIRECTIONS, token.text);
    if (value === undefined) {
      throw filterError(token.span, "unknown 802.11 direction", "there are nods, tods, fromds and dstods");
    }
    return { kind: "wlan-direction", value };
  },
  llc: (parser) => {
    // The scanner takes `rnr` for pf's rule number.
    if (parser.accept("rnr")) return { kind: "llc", type: "rnr" };
    if (parser.peek().kind !== "id") return { kind: "llc", type: undefined };
    const token = parser.next();
    const type = token.text.toLowerCase();
    const known =
      ["i", "s", "u"].includes(type) ||
      nameIn(LLC_SUPERVISORY, type) !== undefined ||
      nameIn(LLC_UNNUMBERED, type) !== undefined;
    if (!known) throw filterError(token.span, `unknown LLC type name '${token.text}'`);
    return { kind: "llc", type };
  },
};

function groupReader(word: string): Reader | undefined {
  if (ATM_TYPES.has(word)) return () => ({ kind: "atm", type: word as AtmType });
  if (MTP2_TYPES.has(word)) return () => ({ kind: "mtp2", type: word as Mtp2Type });
  if (FIELDS.has(word)) {
    return (parser) => ({ kind: "field", field: word as AtmField | Mtp3Field, values: parser.fieldValues() });
  }
  if (PF_FIELDS.has(word)) return readPf;
  if (ENCAPSULATIONS.has(word)) return readEncapsulation;
  return undefined;
}

/** `vlan 5`, `vlan 5-9`, `geneve 7 port 6082`: an identifier and more, all of which may be absent. */
export function readEncapsulation(parser: Parser, word: string): Unplaced & { kind: "encapsulation" } {
  const protocol = word as Encapsulation;
  const none = { last: undefined, port: undefined };
  const range = protocol === "vlan" && parser.extended ? vlanRange(parser) : undefined;
  if (range !== undefined)
    return { kind: "encapsulation", protocol, id: range[0], last: range[1], port: undefined };
  const id = protocol === "ipip" ? undefined : parser.optionalNumber();
  const overUdp = protocol === "geneve" || protocol === "vxlan";
  const ported = overUdp && parser.extended && parser.peek().kind === "port" && parser.peek(1).kind === "num";
  if (!ported) return { kind: "encapsulation", protocol, id, ...none };
  parser.next();
  return { kind: "encapsulation", protocol, id, last: undefined, port: number(parser) };
}

/** `10-20`: one name to the scanner, or with spaces three tokens. */
function vlanRange(parser: Parser): readonly [number, number] | undefined {
  const token = parser.peek();
  const joined = token.kind === "id" ? /^(\d{1,5})-(\d{1,5})$/.exec(token.text) : null;
  if (joined !== null) {
    parser.next();
    return [Number(joined[1]), Number(joined[2])];
  }
  const spaced = token.kind === "num" && parser.peek(1).kind === "-" && parser.peek(2).kind === "num";
  if (!spaced) return undefined;
  const first = number(parser);
  parser.next();
  return [first, number(parser)];
}

function readWlanType(parser: Parser): Unplaced {
  const token = parser.next();
  let type: number | undefined;
  if (token.kind === "num") {
    type = token.value;
    if ((type & ~WLAN_TYPE_MASK) !== 0) {
      throw filterError(token.span, `invalid 802.11 type value ${token.text}`, "0, 4 and 8 are valid");
    }
  } else if (token.kind === "id") {
    type = nameIn(WLAN_TYPES, token.text);
    if (type === undefined) throw filterError(token.span, `unknown 802.11 type name '${token.text}'`);
  } else {
    throw parser.syntaxError("expected an 802.11 type", token);
  }
  if (!parser.accept("subtype")) return { kind: "wlan-type", value: type, mask: WLAN_TYPE_MASK };
  const mask = WLAN_TYPE_MASK | WLAN_SUBTYPE_MASK;
  const sub = parser.next();
  if (sub.kind === "num") {
    if ((sub.value & ~WLAN_SUBTYPE_MASK) !== 0) {
      throw filterError(sub.span, `invalid 802.11 subtype value ${sub.text}`);
    }
    return { kind: "wlan-type", value: type | sub.value, mask };
  }
  if (sub.kind !== "id") throw parser.syntaxError("expected an 802.11 subtype", sub);
  const names = WLAN_SUBTYPES.find((row) => row.type === type)?.names;
  if (names === undefined) throw filterError(token.span, "unknown 802.11 type");
  const subtype = nameIn(names, sub.text);
  if (subtype === undefined) throw filterError(sub.span, `unknown 802.11 subtype name '${sub.text}'`);
  return { kind: "wlan-type", value: type | subtype, mask };
}

function readPf(parser: Parser, word: string): Unplaced {
  const field = word as PfField;
  if (field === "rnr" || field === "srnr") return { kind: "pf", field, value: number(parser) };
  if (field === "reason" && parser.peek().kind === "num") {
    return { kind: "pf", field, value: number(parser) };
  }
  const token = parser.expect("id", "a name");
  if (field === "reason" || field === "action") {
    const value = nameIn(field === "reason" ? PF_REASONS : PF_ACTIONS, token.text);
    if (value === undefined) throw filterError(token.span, `unknown PF ${field} '${token.text}'`);
    return { kind: "pf", field, value };
  }
  return { kind: "pf", field, value: token.text };
}
