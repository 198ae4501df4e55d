/** Syntax tree to condition: the walk over the tree, arithmetic, and what identifiers mean. */
import { Context, type GeneratorOptions, sameState } from "./context.ts";
import { arithmetic, guardsOf } from "./generate-arithmetic.ts";
import { hostArcnet, hostIp4, hostIp6, hostStation } from "./generate-address.ts";
import { encapsulation } from "./generate-encapsulation.ts";
import { linkProtocol, prelude } from "./generate-link.ts";
import * as other from "./generate-other.ts";
import { IP_PROTOCOL, isIp, isIp6, ports, protocolNumber, protocolWord } from "./generate-port.ts";
import { networkByName, portByName, portRangeByName, protocolByName } from "./lookup.ts";
import type { LinkRow } from "./linktypes.ts";
import { ALWAYS, type Predicate, and, equals, not, or } from "./predicate.ts";
import type { FilterWarning } from "./problem.ts";
import { parseIp4, parseIp6, parseMac } from "./resolver.ts";
import type { FilterTree, Identifier, Primitive, Protocol, Qualifiers, RelationOp, Span } from "./syntax.ts";
import { Values } from "./value.ts";

export interface Generated {
  readonly predicate: Predicate;
  readonly values: Values;
  readonly warnings: FilterWarning[];
}

/** The condition that a tree stands for, on packets of a link type. */
export function generate(tree: FilterTree, row: LinkRow, options: GeneratorOptions): Generated {
  const values = new Values();
  const context = new Context(values, row, options);
  if (tree.kind === "everything") return { predicate: ALWAYS, values, warnings: context.warnings };
  const body = new Walk(context).tree(tree);
  const before = prelude(context);
  return {
    predicate: before === undefined ? body : and(before, body),
    values,
    warnings: context.warnings,
  };
}

/**
 * Words such as `vlan` move the headers for what comes after. To libpcap "after" is all the rest of the text, so that
 * in `vlan 5 or tcp` the `tcp` is looked for behind a VLAN tag that isn't there. Here a move holds for what is joined
 * by `and`; an `or` starts where its expression started, and what is under `not` moves nothing. Where both sides of an
 * `or` end at the same place (`(vlan 5 or vlan 6) and tcp`), that place stands.
 */
class Walk {
  readonly #context: Context;
  #leak = false;

  constructor(context: Context) {
    this.#context = context;
  }

  get #scoped(): boolean {
    return this.#context.options.compat !== "libpcap";
  }

  tree(node: FilterTree): Predicate {
    if (node.kind === "not") {
      const before = this.#context.state;
      const operand = this.tree(node.operand);
      this.#restore(before);
      return not(operand);
    }
    if (node.kind === "everything") return ALWAYS;
    if (node.kind !== "chain") {
      this.#warnOfLeak(node);
      return primitive(this.#context, node);
    }
    const start = this.#context.state;
    let left = this.tree(node.first);
    let open: Predicate[] | undefined;
    for (const { op, term } of node.rest) {
      const middle = this.#context.state;
      if (op === "or") this.#restore(start);
      const right = this.tree(term);
      if (op === "or" && this.#scoped && !sameState(middle, this.#context.state)) this.#restore(start);
      if (open !== undefined && left.kind === op) {
        open.push(right);
      } else {
        open = [left, right];
        left = { kind: op, items: open };
      }
    }
    return left;
  }

  #restore(state: Context["state"]): void {
    if (!this.#scoped) return;
    if (!sameState(state, this.#context.state)) this.#leak = true;
    this.#context.state = state;
  }

  #warnOfLeak(node: Primitive): void {
    if (!this.#leak) return;
    this.#leak = false;
    this.#context.warn(
      "compat",
      "libpcap looks for this behind the header that an earlier term (vlan, mpls, pppoes, geneve) asks for",
      node.span,
    );
  }
}

function primitive(context: Context, node: Primitive): Predicate {
  switch (node.kind) {
    case "match":
      return match(context, node.qualifiers, node.id, node.span);
    case "protocol":
      return protocolWord(context, node.protocol, node.span);
    case "relation":
      return relation(context, node);
    case "broadcast":
      return other.broadcast(context, node);
    case "multicast":
      return other.multicast(context, node);
    case "less":
      return not({
        kind: "compare",
        op: "gt",
        left: context.values.length(),
        right: context.values.constant(node.value),
      });
    case "greater":
      return {
        kind: "compare",
        op: "ge",
        left: context.values.length(),
        right: context.values.constant(node.value),
      };
    case "ifindex":
      return other.interfaceIndex(context, node);
    case "byte":
      return byteTest(context, node);
    case "inbound":
      return other.direction(context, false, node.span);
    case "outbound":
      return other.direction(context, true, node.span);
    case "pppoed":
      return linkProtocol(context, 0x8863, node.span);
    case "encapsulation":
      return encapsulation(context, node);
    case "pf":
      return other.pf(context, node);
    case "wlan-type":
      return other.wlanType(context, node);
    case "wlan-direction":
      return other.wlanDirection(context, node);
    case "llc":
      return other.llc(context, node);
    case "atm":
      return other.atm(context, node);
    case "mtp2":
      return other.mtp2(context, node);
    case "field":
      return other.field(context, node);
  }
}

function byteTest(context: Context, node: Extract<Primitive, { kind: "byte" }>): Predicate {
  const value = context.header(node.offset, 1);
  const { values } = context;
  const k = values.constant(node.value);
  switch (node.op) {
    case "=":
      return equals(value, node.value);
    case ">":
      return { kind: "compare", op: "gt", left: value, right: k };
    case "<":
      return not({ kind: "compare", op: "ge", left: value, right: k });
    case "&":
    case "|":
      context.warn("compat", `libpcap's \`byte N ${node.op} V\` does not read the byte`, node.span);
      if (context.options.compat === "libpcap") {
        // It tests what the accumulator holds, which is 0 at the start of a program.
        return node.op === "|" && node.value !== 0 ? ALWAYS : not(ALWAYS);
      }
      if (node.op === "&") return context.bits(value, node.value);
      return not(equals(values.alu("or", value, k), 0));
  }
}

function relation(context: Context, node: Extract<Primitive, { kind: "relation" }>): Predicate {
  const left = arithmetic(context, node.left);
  const right = arithmetic(context, node.right);
  const test = compare(node.op, left, right);
  const guards = guardsOf(context, node, left, right);
  return guards.length === 0 ? test : and(...guards, test);
}

function compare(
  op: RelationOp,
  left: { readonly value: Parameters<typeof equals>[0] },
  right: { readonly value: Parameters<typeof equals>[0] },
): Predicate {
  const test = (kind: "eq" | "gt" | "ge"): Predicate => ({
    kind: "compare",
    op: kind,
    left: left.value,
    right: right.value,
  });
  switch (op) {
    case "=":
      return test("eq");
    case "!=":
      return not(test("eq"));
    case ">":
      return test("gt");
    case ">=":
      return test("ge");
    case "<":
      return not(test("ge"));
    case "<=":
      return not(test("gt"));
  }
}

const TRANSPORTS: Readonly<Partial<Record<Protocol, number>>> = {
  tcp: IP_PROTOCOL.tcp,
  udp: IP_PROTOCOL.udp,
  sctp: IP_PROTOCOL.sctp,
};

function match(context: Context, qualifiers: Qualifiers, id: Identifier, span: Span): Predicate {
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
      return ports(context, Math.min(low, high), Math.max(low, high), found, q.direction, span);
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
      return context.fail(
        span,
        "'gateway' not supported in this configuration",
        "libpcap with IPv6 has it not either",
      );
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

function hostByName(context: Context, q: Qualifiers, name: string, span: Span, at: Span): Predicate {
  const addresses = context.options.resolver.host(name);
  // Where no field names the payload, both versions are told by their first byte alone: ARP can't be meant.
  const untyped = context.state.type.at === 0xffffffff && q.protocol === undefined;
  const tests: Predicate[] = [];
  for (const text of addresses) {
    const ip4 = parseIp4(text);
    if (ip4 !== undefined) {
      if (q.protocol === "ip6") continue;
      const protocol = untyped ? "ip" : q.protocol;
      tests.push(hostIp4(context, ip4, 0xffffffff, protocol, q.direction, q.type, span));
      continue;
    }
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
      return ports(context, value, value, transport, q.direction, span);
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

function byIp4(
  context: Context,
  q: Qualifiers,
  id: Extract<Identifier, { kind: "ip4" }>,
  span: Span,
): Predicate {
  if (id.prefix === undefined && id.mask === undefined) {
    if (q.type !== undefined && q.type !== "host" && q.type !== "net") {
      return context.fail(
        id.span,
        q.type === "gateway" ? "'gateway' requires a name" : `'${q.type}' modifier applied to ip host`,
      );
    }
    if (q.protocol === "decnet") {
      const [area = 0, node = 0] = id.text.split(".").map(Number);
      const address = ((area << 10) & 0xfc00) | (node & 0x3ff);
      return hostIp4(context, address, 0, "decnet", q.direction, q.type, span);
    }
    const { address, bits } = partialIp4(context, id.text, id.span);
    if (q.protocol === "link") return context.fail(id.span, "illegal link layer address");
    const mask = (0xffffffff << (32 - bits)) >>> 0;
    return hostIp4(context, address, mask, q.protocol, q.direction, q.type, span);
  }
  const { address } = partialIp4(context, id.text, id.span);
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
  return hostIp4(context, address, mask, q.protocol, q.direction, "net", span);
}

function byIp6(
  context: Context,
  q: Qualifiers,
  id: Extract<Identifier, { kind: "ip6" }>,
  span: Span,
): Predicate {
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
  return hostIp6(context, words, prefix, q.protocol, q.direction, q.type, span);
}

function byMac(context: Context, q: Qualifiers, text: string, span: Span): Predicate {
  const address = parseMac(text);
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
