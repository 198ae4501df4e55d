/**
 * Two tests change places so that a value is asked about while it is still in the accumulator.
 *
 *     host A and host B:   src = A? else dst = A and src = B     before: src, dst, src again
 *                          src = A? else src = B and dst = A     after:  src, dst
 *
 * The first test, of `v`, leads to the second, of `u`, or to some place T; so does the second. All ways to the first have
 * just asked about `u`, so that its load can't fail here. Afterwards there is one new way to T, on which `v` was not
 * evaluated. Nothing changes if evaluating `v` can't reject the packet, or if no way from T accepts a packet without
 * evaluating it: a packet in which that fails is then rejected a little later.
 */
import { Facts } from "./facts.ts";
import { type Graph, type GraphNode, type Test, operands, ordered } from "./graph.ts";
import { type Value, mayFail } from "./value.ts";

type TestNode = Extract<GraphNode, { kind: "test" }>;

/** Each exchange makes new nodes, and long lists gain nothing from it. */
const MAX_NODES = 400;
/** How far ahead a value's evaluation is looked for. */
const MAX_DEPTH = 24;

interface Exchange {
  readonly second: TestNode;
  readonly common: GraphNode;
  /** Where the second test leads otherwise. */
  readonly rest: GraphNode;
}

/** The one value that a test compares with constants. */
function subject(test: Test): Value | undefined {
  if (test.kind === "bits") return test.value;
  return test.kind === "compare" && test.right.kind === "const" ? test.left : undefined;
}

/** Exchanges what it can once; the same root if there is nothing. */
export function exchange(graph: Graph, root: GraphNode): GraphNode {
  const order = ordered(root);
  if (order.length > MAX_NODES) return root;
  const before = new Map<GraphNode, GraphNode[]>();
  const arrive = (to: GraphNode, from: GraphNode): void => {
    const known = before.get(to);
    if (known === undefined) before.set(to, [from]);
    else known.push(from);
  };
  for (const node of order) {
    if (node.kind === "test") {
      arrive(node.yes, node);
      arrive(node.no, node);
    } else if (node.kind !== "end") arrive(node.next, node);
  }
  const found = new Map<GraphNode, Exchange>();
  const taken = new Set<GraphNode>();
  for (const node of order) {
    if (node.kind !== "test" || taken.has(node)) continue;
    const way = exchangeable(node, before);
    if (way === undefined || taken.has(way.second)) continue;
    found.set(node, way);
    taken.add(way.second);
  }
  if (found.size === 0) return root;
  const rebuilt = new Map<GraphNode, GraphNode>();
  const now = (node: GraphNode): GraphNode => rebuilt.get(node) as GraphNode;
  for (const node of [...order].reverse()) {
    if (node.kind === "end") rebuilt.set(node, node);
    else if (node.kind === "set") rebuilt.set(node, graph.set(node.slot, node.value, now(node.next)));
    else if (node.kind === "touch") rebuilt.set(node, graph.touch(node.value, now(node.next)));
    else {
      const way = found.get(node);
      rebuilt.set(
        node,
        way === undefined
          ? graph.test(node.test, now(node.yes), now(node.no))
          : turned(graph, node, way, now),
      );
    }
  }
  return now(root);
}

function turned(
  graph: Graph,
  node: TestNode,
  { second, common, rest }: Exchange,
  now: (node: GraphNode) => GraphNode,
): GraphNode {
  const [to, on] = [now(common), now(rest)];
  const inner = node.yes === second ? graph.test(node.test, on, to) : graph.test(node.test, to, on);
  return second.yes === common ? graph.test(second.test, to, inner) : graph.test(second.test, inner, to);
}

function exchangeable(
  node: TestNode,
  before: ReadonlyMap<GraphNode, readonly GraphNode[]>,
): Exchange | undefined {
  const value = subject(node.test);
  if (value === undefined) return undefined;
  for (const [second, common] of [
    [node.yes, node.no],
    [node.no, node.yes],
  ] as const) {
    if (second.kind !== "test" || before.get(second)?.length !== 1) continue;
    const asked = subject(second.test);
    if (asked === undefined || asked === value || (second.yes !== common && second.no !== common)) continue;
    const ways = before.get(node) ?? [];
    if (ways.length === 0 || !ways.every((way) => way.kind === "test" && subject(way.test) === asked))
      continue;
    const rest = second.yes === common ? second.no : second.yes;
    if (mayFail(value) && !evaluates(common, value, MAX_DEPTH, new Map())) continue;
    return { second, common, rest };
  }
  return undefined;
}

/** Whether no way from a node accepts without evaluating what proves that a value's evaluation does not fail. */
function evaluates(node: GraphNode, value: Value, depth: number, known: Map<GraphNode, boolean>): boolean {
  if (node.kind === "end") return !node.accept;
  if (depth === 0) return false;
  const answer = known.get(node);
  if (answer !== undefined) return answer;
  const facts = new Facts();
  for (const each of node.kind === "test" ? operands(node.test) : [node.value]) facts.evaluate(each);
  const result =
    facts.isSafe(value) ||
    (node.kind === "test"
      ? evaluates(node.yes, value, depth - 1, known) && evaluates(node.no, value, depth - 1, known)
      : node.kind !== "set" && evaluates(node.next, value, depth - 1, known));
  known.set(node, result);
  return result;
}
