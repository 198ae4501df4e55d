/**
 * Shortens a graph without changing any verdict, not even of a packet that ends in the middle of a field.
 *
 * A branch that leads to a test whose outcome is certain on that branch goes on to where the test would lead, provided
 * that evaluating the test could not have rejected the packet. A test whose outcome is certain on every way to it but
 * whose load may still fail stays as a load alone. Tests change places where that saves a load (exchange.ts). Rebuilding from the ends merges what has become equal. This repeats
 * until nothing changes.
 */
import { exchange } from "./exchange.ts";
import { Facts } from "./facts.ts";
import { type Graph, type GraphNode, operands, ordered } from "./graph.ts";
import { type Slot, type Value, mayFail } from "./value.ts";

const MAX_ROUNDS = 12;

export function optimize(graph: Graph, root: GraphNode): GraphNode {
  const settled = repeat(graph, root);
  const plain = withoutQuestions(graph, settled);
  return plain === settled ? settled : repeat(graph, plain);
}

/** Where it isn't known whether a slot is written, it is computed again. */
export function withoutQuestions(graph: Graph, root: GraphNode): GraphNode {
  const rebuilt = new Map<GraphNode, GraphNode>();
  const now = (node: GraphNode): GraphNode => rebuilt.get(node) as GraphNode;
  for (const node of [...ordered(root)].reverse()) {
    if (node.kind === "end") rebuilt.set(node, node);
    else if (node.kind === "set") rebuilt.set(node, graph.set(node.slot, node.value, now(node.next)));
    else if (node.kind === "touch") rebuilt.set(node, graph.touch(node.value, now(node.next)));
    else if (node.test.kind === "is-set") rebuilt.set(node, now(node.no));
    else rebuilt.set(node, graph.test(node.test, now(node.yes), now(node.no)));
  }
  return now(root);
}

function repeat(graph: Graph, root: GraphNode): GraphNode {
  let current = withoutDeadSets(graph, root);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const next = pass(graph, exchange(graph, current));
    if (next === current) break;
    current = next;
  }
  return withoutDeadSets(graph, current);
}

/** Drops what writes slots that nothing reads; that may leave others unread, written before. */
function withoutDeadSets(graph: Graph, root: GraphNode): GraphNode {
  const order = ordered(root);
  const read = new Set<Slot>();
  const rebuilt = new Map<GraphNode, GraphNode>();
  const now = (node: GraphNode): GraphNode => rebuilt.get(node) as GraphNode;
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i] as GraphNode;
    if (node.kind === "end") {
      rebuilt.set(node, node);
    } else if (node.kind === "test") {
      for (const value of operands(node.test)) slotsOf(value, read);
      rebuilt.set(node, graph.test(node.test, now(node.yes), now(node.no)));
    } else {
      const live = node.kind === "set" && read.has(node.slot);
      if (live || mayFail(node.value)) slotsOf(node.value, read);
      const next = now(node.next);
      rebuilt.set(node, live ? graph.set(node.slot, node.value, next) : graph.touch(node.value, next));
    }
  }
  return now(root);
}

function slotsOf(value: Value, into: Set<Slot>): void {
  switch (value.kind) {
    case "slot":
      into.add(value.slot);
      return;
    case "load":
      if (value.base !== undefined) slotsOf(value.base, into);
      return;
    case "negate":
      slotsOf(value.operand, into);
      return;
    case "alu":
      slotsOf(value.left, into);
      slotsOf(value.right, into);
      return;
    default:
  }
}

/** The nodes that write a slot which another node may have written before them. */
function secondWrites(order: readonly GraphNode[]): ReadonlySet<GraphNode> {
  const writers = new Map<Slot, number>();
  for (const node of order) {
    if (node.kind === "set") writers.set(node.slot, (writers.get(node.slot) ?? 0) + 1);
  }
  const found = new Set<GraphNode>();
  if (![...writers.values()].some((count) => count > 1)) return found;
  const written = new Map<GraphNode, ReadonlySet<Slot>>();
  const nothing: ReadonlySet<Slot> = new Set();
  const flow = (to: GraphNode, slots: ReadonlySet<Slot>): void => {
    const known = written.get(to);
    if (known === undefined) written.set(to, slots);
    else if (![...slots].every((slot) => known.has(slot))) written.set(to, new Set([...known, ...slots]));
  };
  for (const node of order) {
    const slots = written.get(node) ?? nothing;
    if (node.kind === "test") {
      flow(node.yes, slots);
      flow(node.no, slots);
    } else if (node.kind === "set") {
      if (slots.has(node.slot)) found.add(node);
      const several = (writers.get(node.slot) as number) > 1;
      flow(node.next, several ? new Set(slots).add(node.slot) : slots);
    } else if (node.kind === "touch") {
      flow(node.next, slots);
    }
  }
  return found;
}

function pass(graph: Graph, root: GraphNode): GraphNode {
  const order = ordered(root);
  const atStart = new Facts();
  for (const node of order) {
    if (node.kind === "test" && node.test.kind === "is-set") atStart.learn(node.test, false);
  }
  const rewritten = secondWrites(order);
  const incoming = new Map<GraphNode, Facts>([[root, atStart]]);
  const flow = (to: GraphNode, facts: Facts): void => {
    if (to.kind === "end") return;
    const known = incoming.get(to);
    incoming.set(to, known === undefined ? facts : known.meet(facts));
  };
  /** Per node: where its branches go now. */
  const targets = new Map<GraphNode, readonly [yes: GraphNode, no: GraphNode]>();
  for (const node of order) {
    if (node.kind === "end") continue;
    const facts = incoming.get(node);
    // Nothing leads here any more.
    if (facts === undefined) continue;
    if (node.kind === "test") {
      const certain = facts.decide(node.test);
      const yesFacts = facts.after(node, certain ?? true, graph.values);
      const noFacts = certain === undefined ? facts.after(node, false, graph.values) : yesFacts;
      const yes = follow(certain === false ? node.no : node.yes, yesFacts);
      const no = certain === undefined ? follow(node.no, noFacts) : yes;
      targets.set(node, [yes, no]);
      flow(yes, yesFacts);
      if (certain === undefined) flow(no, noFacts);
    } else {
      const after = facts.after(node, true, graph.values, node.kind === "set" && rewritten.has(node));
      const next = follow(node.next, after);
      targets.set(node, [next, next]);
      flow(next, after);
    }
  }
  const rebuilt = new Map<GraphNode, GraphNode>();
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i] as GraphNode;
    if (node.kind === "end") {
      rebuilt.set(node, node);
      continue;
    }
    const to = targets.get(node);
    const facts = incoming.get(node);
    if (to === undefined || facts === undefined) continue;
    const yes = rebuilt.get(to[0]) as GraphNode;
    const no = rebuilt.get(to[1]) as GraphNode;
    rebuilt.set(node, rebuild(graph, node, facts, yes, no));
  }
  return rebuilt.get(root) as GraphNode;
}

function rebuild(graph: Graph, node: GraphNode, facts: Facts, yes: GraphNode, no: GraphNode): GraphNode {
  switch (node.kind) {
    case "end":
      return node;
    case "test": {
      const unneeded = yes === no && operands(node.test).every((value) => facts.isSafe(value));
      if (unneeded && node.test.kind !== "header-chain") return yes;
      return graph.test(node.test, yes, no);
    }
    case "touch":
      return facts.isSafe(node.value) || reachedBy(node.value, yes) ? yes : graph.touch(node.value, yes);
    case "set":
      return facts.holds(node.slot, node.value) ? yes : graph.set(node.slot, node.value, yes);
  }
}

/** Where a branch ends up, given what is known on it. */
function follow(start: GraphNode, facts: Facts): GraphNode {
  let node = start;
  for (;;) {
    if (node.kind === "test") {
      const certain = facts.decide(node.test);
      const { test } = node;
      if (certain === undefined || !operands(test).every((value) => facts.isSafe(value))) return node;
      node = certain ? node.yes : node.no;
    } else if (node.kind === "touch" && facts.isSafe(node.value)) {
      node = node.next;
    } else if (node.kind === "set" && facts.holds(node.slot, node.value)) {
      node = node.next;
    } else {
      return node;
    }
  }
}

/** Whether the very next evaluation fails wherever the evaluation of a value does: then the value need not be touched. */
function reachedBy(value: Value, next: GraphNode): boolean {
  if (next.kind === "end") return false;
  const after = new Facts();
  const evaluated = next.kind === "test" ? operands(next.test) : [next.value];
  for (const each of evaluated) after.evaluate(each);
  return after.isSafe(value);
}
