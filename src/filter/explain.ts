/** Filters in words: what an expression asks, which bytes each decision reads, and which one decided about a packet. */
import type { CbpfRunOptions } from "../cbpf/index.ts";
import type { CompiledFilter } from "./compile.ts";
import { type Trace, traceGraph } from "./evaluate.ts";
import { type GraphNode, type Test, ordered } from "./graph.ts";
import type { Arithmetic, FilterTree, Primitive } from "./syntax.ts";
import type { Value } from "./value.ts";

/** One decision of a filter. */
export interface Decision {
  /** Number of the decision; decisions only lead to later ones. */
  readonly id: number;
  /** What is asked: "bytes 12 to 13 = 0x800". */
  readonly question: string;
  /** Where the answers lead: the number of a decision, "accept" or "reject". */
  readonly yes: number | "accept" | "reject";
  readonly no: number | "accept" | "reject";
}

export interface Explanation {
  /** The expression in plain English. */
  readonly summary: string;
  readonly decisions: readonly Decision[];
}

/** Why a packet matched or not. */
export interface Reason {
  readonly matched: boolean;
  /** The questions in the order in which they were asked, with the numbers found. */
  readonly steps: readonly {
    readonly question: string;
    readonly found: number | undefined;
    readonly answer: string;
  }[];
  /** The last of them in one sentence. */
  readonly because: string;
}

/**
 * Explains a compiled filter.
 *
 * @example
 * explainFilter(compileFilter("ip")).decisions[0]?.question; // "bytes 12 to 13 = 0x800"
 */
export function explainFilter(filter: CompiledFilter): Explanation {
  const nodes = ordered(filter.graph).filter((node) => node.kind !== "end");
  const numbers = new Map<GraphNode, number>(nodes.map((node, index) => [node, index]));
  const leadsTo = (node: GraphNode): Decision["yes"] =>
    node.kind === "end" ? (node.accept ? "accept" : "reject") : (numbers.get(node) as number);
  const decisions = nodes.map((node, id): Decision => {
    if (node.kind === "test") {
      return { id, question: testText(node.test), yes: leadsTo(node.yes), no: leadsTo(node.no) };
    }
    const next = leadsTo((node as Extract<GraphNode, { kind: "set" | "touch" }>).next);
    return { id, question: stepText(node), yes: next, no: next };
  });
  return { summary: `packets ${clause(filter.tree)}`, decisions };
}

/**
 * Says which test decided about a packet.
 *
 * @example
 * const reason = whyFilter(compileFilter("ip"), new Uint8Array(14));
 * reason.because; // "bytes 12 to 13 = 0x800 is false: found 0x0"
 */
export function whyFilter(filter: CompiledFilter, packet: Uint8Array, meta: CbpfRunOptions = {}): Reason {
  const trace = traceGraph(filter.graph, packet, meta);
  const steps = trace.steps.map(({ node, value, outcome }) => ({
    question: node.kind === "test" ? testText(node.test) : stepText(node),
    found: value,
    answer: outcome === undefined ? "the packet ends before it" : outcome ? "yes" : "no",
  }));
  return { matched: trace.accepted, steps, because: because(trace, packet) };
}

function because(trace: Trace, packet: Uint8Array): string {
  const tests = trace.steps.filter((step) => step.node.kind === "test" || step.outcome === undefined);
  const last = tests.at(-1);
  if (last === undefined) return trace.accepted ? "every packet matches" : "no packet matches";
  if (trace.failed !== undefined) {
    return `${valueText(trace.failed)} can't be read: the packet has ${packet.length} bytes`;
  }
  if (last.node.kind !== "test") return stepText(last.node);
  const found = last.value === undefined ? "" : `: found ${hex(last.value)}`;
  return `${testText(last.node.test)} is ${last.outcome === true}${found}`;
}

const hex = (value: number): string => `0x${value.toString(16)}`;

/** A value as bytes of the packet. */
export function valueText(value: Value): string {
  switch (value.kind) {
    case "const":
      return value.value < 10 ? `${value.value}` : hex(value.value);
    case "length":
      return "the packet's length";
    case "slot":
      return `the ${value.slot.name}`;
    case "header-length":
      return `the IPv4 header length told by byte ${value.offset}`;
    case "negate":
      return `-(${valueText(value.operand)})`;
    case "alu":
      return `(${valueText(value.left)} ${value.op} ${valueText(value.right)})`;
    case "load": {
      if (value.base === undefined && value.offset >= 0x80000000) return "a fact beside the packet";
      const first = value.offset;
      const last = first + value.size - 1;
      const bytes = value.size === 1 ? `byte ${first}` : `bytes ${first} to ${last}`;
      return value.base === undefined ? bytes : `${bytes} after ${valueText(value.base)}`;
    }
  }
}

function testText(test: Test): string {
  switch (test.kind) {
    case "is-set":
      return `the ${test.slot.name} is known`;
    case "bits":
      return `${valueText(test.value)} has a bit of ${hex(test.mask)}`;
    case "header-chain":
      return `the chain of IPv${test.version} headers from byte ${test.offset} leads to protocol ${test.protocol}`;
    case "compare": {
      const op = { eq: "=", gt: ">", ge: ">=" }[test.op];
      const right = test.right.kind === "const" ? hex(test.right.value) : valueText(test.right);
      return `${valueText(test.left)} ${op} ${right}`;
    }
  }
}

function stepText(node: GraphNode): string {
  if (node.kind === "set") return `compute the ${node.slot.name}: ${valueText(node.value)}`;
  if (node.kind === "touch") return `${valueText(node.value)} can be read`;
  return "";
}

/** A tree as a clause that follows "packets". */
function clause(tree: FilterTree): string {
  switch (tree.kind) {
    case "everything":
      return "of any kind";
    case "not":
      return `not (${clause(tree.operand)})`;
    case "chain": {
      let text = clause(tree.first);
      let before: "and" | "or" | undefined;
      for (const { op, term } of tree.rest) {
        // `and` and `or` have one rank: what was read so far belongs together.
        if (before !== undefined && before !== op) text = `(${text})`;
        text = `${text} ${op} ${term.kind === "chain" ? `(${clause(term)})` : clause(term)}`;
        before = op;
      }
      return text;
    }
    default:
      return primitiveText(tree);
  }
}

const DIRECTIONS: Readonly<Record<string, string>> = {
  src: "source",
  dst: "destination",
  "src or dst": "source or destination",
  "src and dst": "source and destination",
};

function primitiveText(node: Primitive): string {
  switch (node.kind) {
    case "match": {
      const { protocol, direction = "src or dst", type = "host" } = node.qualifiers;
      const { id } = node;
      const shown = id.kind === "number" ? `${id.value}` : id.text;
      const suffix = "prefix" in id && id.prefix !== undefined ? `/${id.prefix}` : "";
      const mask = "mask" in id && id.mask !== undefined ? ` mask ${id.mask}` : "";
      const of = protocol === undefined ? "" : `${protocol} `;
      if (type === "proto" || type === "protochain") return `with ${of}protocol ${shown}`;
      const what = {
        host: "address",
        net: "network",
        port: "port",
        portrange: "port in",
        gateway: "gateway",
      }[type];
      return `with ${of}${DIRECTIONS[direction] ?? direction} ${what} ${shown}${suffix}${mask}`;
    }
    case "protocol":
      return `of protocol ${node.protocol}`;
    case "relation":
      return `where ${arithmeticText(node.left)} ${node.op} ${arithmeticText(node.right)}`;
    case "broadcast":
    case "multicast":
      return `sent to ${node.protocol === undefined ? "link-layer" : node.protocol} ${node.kind}`;
    case "less":
      return `of at most ${node.value} bytes`;
    case "greater":
      return `of at least ${node.value} bytes`;
    case "ifindex":
      return `on interface ${node.value}`;
    case "byte":
      return `where byte ${node.offset} ${node.op} ${node.value}`;
    case "inbound":
    case "outbound":
      return `going ${node.kind}`;
    case "pppoed":
      return "of PPPoE discovery";
    case "encapsulation": {
      const range = node.last === undefined ? "" : ` to ${node.last}`;
      const port = node.port === undefined ? "" : ` to UDP port ${node.port}`;
      return `in ${node.protocol}${node.id === undefined ? "" : ` ${node.id}${range}`}${port}`;
    }
    case "pf":
      return `with pf ${node.field} ${node.value}`;
    case "wlan-type":
      return `with 802.11 type ${hex(node.value)} under mask ${hex(node.mask)}`;
    case "wlan-direction":
      return `with 802.11 direction ${node.value}`;
    case "llc":
      return `of LLC${node.type === undefined ? "" : ` type ${node.type}`}`;
    case "atm":
    case "mtp2":
      return `of ${node.kind} type ${node.type}`;
    case "field":
      return `with ${node.field} ${node.values.map(({ op, value }) => `${op} ${value}`).join(" or ")}`;
  }
}

function arithmeticText(node: Arithmetic): string {
  switch (node.kind) {
    case "number":
      return `${node.value}`;
    case "length":
      return "the length";
    case "negate":
      return `-${arithmeticText(node.operand)}`;
    case "load":
      return `${node.protocol}[${arithmeticText(node.index)}:${node.size}]`;
    case "binary":
      return `(${arithmeticText(node.left)} ${node.op} ${arithmeticText(node.right)})`;
  }
}
