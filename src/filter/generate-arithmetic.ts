/**
 * Arithmetic over packet fields. Reading a protocol's field brings a guard: the packet must have that protocol, and for
 * those above IPv4 be a first fragment. Guards are tested before anything is read.
 */
import type { Context } from "./context.ts";
import { IP_PROTOCOL, firstFragment, isIp, isIp6, protocolWord } from "./generate-port.ts";
import { NEVER, type Predicate, and, equals } from "./predicate.ts";
import type { Arithmetic, ArithmeticOp, Primitive, Protocol, Span } from "./syntax.ts";
import { transport } from "./transport.ts";
import type { LoadSize, Value, ValueOp } from "./value.ts";

export interface Operand {
  readonly value: Value;
  readonly guards: readonly Predicate[];
  /** The guards that libpcap keeps: it forgets those of right operands. */
  readonly kept: readonly Predicate[];
}

const OPS: Readonly<Record<ArithmeticOp, ValueOp>> = {
  "+": "add",
  "-": "sub",
  "*": "mul",
  "/": "div",
  "%": "mod",
  "&": "and",
  "|": "or",
  "^": "xor",
  "<<": "lsh",
  ">>": "rsh",
};

/** The value of an expression. Operators in a row nest to the left, so that spine is walked without recursion. */
export function arithmetic(context: Context, node: Arithmetic): Operand {
  const spine: Extract<Arithmetic, { kind: "binary" }>[] = [];
  let leaf = node;
  while (leaf.kind === "binary") {
    spine.push(leaf);
    leaf = leaf.left;
  }
  let result = operand(context, leaf);
  for (const binary of spine.reverse()) result = combine(context, binary, result);
  return result;
}

function combine(context: Context, node: Extract<Arithmetic, { kind: "binary" }>, left: Operand): Operand {
  const right = arithmetic(context, node.right);
  const k = checkedConstant(context, node.right);
  if (k !== undefined) {
    if (k === 0 && node.op === "/") context.fail(node.right.span, "division by zero");
    if (k === 0 && node.op === "%") context.fail(node.right.span, "modulus by zero");
    if (k > 31 && (node.op === "<<" || node.op === ">>")) {
      context.fail(node.right.span, "shift by more than 31 bits");
    }
  }
  return {
    value: context.values.alu(OPS[node.op], left.value, right.value),
    guards: [...left.guards, ...right.guards],
    kept: left.kept,
  };
}

/**
 * The number that divisors and shift counts are checked by. libpcap takes the first number that its code for the operand
 * loads, be it the index of a field or the left side of a sum.
 */
function checkedConstant(context: Context, node: Arithmetic): number | undefined {
  let leaf = node;
  if (context.options.compat === "libpcap") {
    for (;;) {
      if (leaf.kind === "binary") leaf = leaf.left;
      else if (leaf.kind === "load") leaf = leaf.index;
      else if (leaf.kind === "negate") leaf = leaf.operand;
      else break;
    }
  }
  return leaf.kind === "number" ? leaf.value : undefined;
}

function operand(context: Context, node: Exclude<Arithmetic, { kind: "binary" }>): Operand {
  switch (node.kind) {
    case "number":
      return { value: context.values.constant(node.value), guards: [], kept: [] };
    case "length":
      return { value: context.values.length(), guards: [], kept: [] };
    case "negate": {
      const inner = arithmetic(context, node.operand);
      return { ...inner, value: context.values.negate(inner.value) };
    }
    case "load": {
      const { size, span } = node;
      if (size !== 1 && size !== 2 && size !== 4) {
        return context.fail(span, "data size must be 1, 2, or 4");
      }
      return load(context, node.protocol, arithmetic(context, node.index), size, span);
    }
  }
}

const NETWORK_WORDS: ReadonlySet<Protocol> = new Set([
  "ip",
  "arp",
  "rarp",
  "atalk",
  "decnet",
  "sca",
  "lat",
  "moprc",
  "mopdl",
  "ip6",
]);
/** Those that are looked for in IPv6, too. */
const OVER_BOTH: Readonly<Partial<Record<Protocol, number>>> = {
  tcp: IP_PROTOCOL.tcp,
  udp: IP_PROTOCOL.udp,
  sctp: IP_PROTOCOL.sctp,
};
const TRANSPORT_WORDS: ReadonlySet<Protocol> = new Set([
  "sctp",
  "tcp",
  "udp",
  "icmp",
  "igmp",
  "igrp",
  "pim",
  "vrrp",
  "carp",
]);

function load(context: Context, protocol: Protocol, index: Operand, size: LoadSize, span: Span): Operand {
  const { state, values } = context;
  const result = (value: Value, ...own: Predicate[]): Operand => ({
    value,
    guards: [...index.guards, ...own],
    kept: [...index.kept, ...own],
  });
  if (protocol === "radio") {
    const { prefix } = context.row;
    if (prefix === undefined || prefix === "ppi") {
      return context.fail(span, "radio information not present in capture");
    }
    return result(values.load(size, index.value, 0));
  }
  if (protocol === "link") return result(context.indexed(state.header, 0, index.value, size));
  if (NETWORK_WORDS.has(protocol)) {
    return result(
      context.indexed(state.payload, state.network, index.value, size),
      protocolWord(context, protocol, span),
    );
  }
  const number = OVER_BOTH[protocol];
  if (number !== undefined && context.options.compat !== "libpcap") {
    const { guard, base } = transport(context, number, span);
    if (isIp6(context, span) !== NEVER) {
      context.warn("compat", `libpcap reads ${protocol}[…] in IPv4 only, this also in IPv6`, span);
    }
    const at = values.alu("add", index.value, base);
    return result(values.load(size, at, (state.payload.at + state.network) >>> 0), guard);
  }
  if (TRANSPORT_WORDS.has(protocol)) {
    const base = values.alu("add", index.value, context.transportBase4());
    const value = values.load(size, base, (state.payload.at + state.network) >>> 0);
    const own = [protocolWord(context, protocol, span), firstFragment(context)];
    // IP comes before the guards of the index.
    return {
      value,
      guards: [isIp(context, span), ...index.guards, ...own],
      kept: [isIp(context, span), ...index.kept, ...own],
    };
  }
  if (protocol === "icmp6") {
    const isIcmp = equals(context.network(6, 1), IP_PROTOCOL.icmp6);
    const value = context.indexed(state.payload, state.network + 40, index.value, size);
    return {
      value,
      guards: [...index.guards, and(isIp6(context, span), isIcmp)],
      kept: [...index.kept, and(isIp6(context, span), isIcmp)],
    };
  }
  return context.fail(span, "unsupported index operation", `${protocol}[…] has no fixed place in a packet`);
}

/** What must hold before the two sides are read. */
export function guardsOf(
  context: Context,
  node: Extract<Primitive, { kind: "relation" }>,
  left: Operand,
  right: Operand,
): readonly Predicate[] {
  const all = [...left.guards, ...right.guards];
  const kept = [...left.kept, ...right.kept];
  if (all.length !== kept.length) {
    context.warn(
      "compat",
      "libpcap tests only the first operand's protocol and reads the others' fields from any packet",
      node.span,
    );
  }
  return [...new Set(context.options.compat === "libpcap" ? kept : all)];
}
