/**
 * A filter as a graph of decisions without cycles. Nodes are hash-consed, so equal ends of a program are shared from
 * the start. Edges point to what comes later; two ends, accept and reject, have none.
 */
import type { Predicate } from "./predicate.ts";
import { filterError } from "./problem.ts";
import { type Ranges, MAX_U32 } from "./ranges.ts";
import { type Slot, type Value, type Values, bitsOf, mayFail } from "./value.ts";

export type Test =
  | { readonly kind: "compare"; readonly op: "eq" | "gt" | "ge"; readonly left: Value; readonly right: Value }
  | { readonly kind: "bits"; readonly value: Value; readonly mask: number }
  | {
      readonly kind: "header-chain";
      readonly version: 4 | 6;
      readonly protocol: number;
      readonly offset: number;
    }
  /** Whether a slot is written: a question to the optimiser, which no program asks; see `withoutQuestions`. */
  | { readonly kind: "is-set"; readonly slot: Slot };

export type GraphNode = { readonly id: number } & (
  | { readonly kind: "end"; readonly accept: boolean }
  | { readonly kind: "test"; readonly test: Test; readonly yes: GraphNode; readonly no: GraphNode }
  | { readonly kind: "set"; readonly slot: Slot; readonly value: Value; readonly next: GraphNode }
  /** Evaluates a value only because that may reject the packet. */
  | { readonly kind: "touch"; readonly value: Value; readonly next: GraphNode }
);

/** Bounds memory on hostile input; libpcap's programs for the largest useful filters have some thousands. */
const MAX_NODES = 1 << 16;

/** Sets with more ranges than this are searched by halving. */
const LINEAR_RANGES = 6;

export const testKey = (test: Test): string => {
  switch (test.kind) {
    case "compare":
      return `${test.op} ${test.left.id} ${test.right.id}`;
    case "bits":
      return `bits ${test.value.id} ${test.mask}`;
    case "header-chain":
      return `chain ${test.version} ${test.protocol} ${test.offset}`;
    case "is-set":
      return `is-set ${test.slot.id}`;
  }
};

/** The values that a test evaluates. */
export function operands(test: Test): readonly Value[] {
  if (test.kind === "compare") return [test.left, test.right];
  return test.kind === "bits" ? [test.value] : [];
}

export class Graph {
  readonly values: Values;
  readonly accept: GraphNode;
  readonly reject: GraphNode;
  readonly #known = new Map<string, GraphNode>();
  #count = 0;

  constructor(values: Values) {
    this.values = values;
    this.accept = { id: this.#count++, kind: "end", accept: true };
    this.reject = { id: this.#count++, kind: "end", accept: false };
  }

  #intern(key: string, make: (id: number) => GraphNode): GraphNode {
    let node = this.#known.get(key);
    if (node === undefined) {
      if (this.#count > MAX_NODES) {
        throw filterError({ start: 0, end: 0 }, `it needs more than ${MAX_NODES} tests`);
      }
      node = make(this.#count++);
      this.#known.set(key, node);
    }
    return node;
  }

  test(test: Test, yes: GraphNode, no: GraphNode): GraphNode {
    if (operands(test).some((value) => value.fails)) return this.reject;
    if (test.kind === "bits" && (test.mask & bitsOf(test.value.max)) === 0) return this.touch(test.value, no);
    if (yes === no) {
      if (test.kind === "header-chain") {
        return yes === this.reject
          ? yes
          : this.#intern(`${testKey(test)} ${yes.id}`, (id) => ({ id, kind: "test", test, yes, no }));
      }
      return operands(test).reduceRight((next, value) => this.touch(value, next), yes);
    }
    return this.#intern(`${testKey(test)} ${yes.id} ${no.id}`, (id) => ({ id, kind: "test", test, yes, no }));
  }

  set(slot: Slot, value: Value, next: GraphNode): GraphNode {
    if (next === this.reject || value.fails) return this.reject;
    return this.#intern(`set ${slot.id} ${value.id} ${next.id}`, (id) => ({
      id,
      kind: "set",
      slot,
      value,
      next,
    }));
  }

  touch(value: Value, next: GraphNode): GraphNode {
    // Nothing is lost by rejecting at once what may be rejected a little earlier.
    if (value.fails) return this.reject;
    if (!mayFail(value) || next === this.reject) return next;
    return this.#intern(`touch ${value.id} ${next.id}`, (id) => ({ id, kind: "touch", value, next }));
  }

  /** The graph of a condition; the first items of nested runs are followed without recursion. */
  build(predicate: Predicate, yes: GraphNode, no: GraphNode): GraphNode {
    let current = predicate;
    let [whenTrue, whenFalse] = [yes, no];
    for (;;) {
      switch (current.kind) {
        case "constant":
          return current.value ? whenTrue : whenFalse;
        case "in":
          return this.#ranges(current.value, current.ranges, whenTrue, whenFalse);
        case "bits":
          return this.test({ kind: "bits", value: current.value, mask: current.mask }, whenTrue, whenFalse);
        case "compare":
          return this.#compare(current, whenTrue, whenFalse);
        case "header-chain":
          return this.test(current, whenTrue, whenFalse);
        case "choice": {
          const { test, yes: first, no: second } = current;
          const [onYes, onNo] = [first, second].map((each) => this.build(each, whenTrue, whenFalse));
          return this.build(test, onYes as GraphNode, onNo as GraphNode);
        }
        case "touch":
          return this.touch(current.value, whenTrue);
        case "set":
          return this.set(current.slot, current.value, whenTrue);
        case "once": {
          const { slot, body } = current;
          return this.test({ kind: "is-set", slot }, whenTrue, this.build(body, whenTrue, whenFalse));
        }
        case "not":
          [whenTrue, whenFalse] = [whenFalse, whenTrue];
          current = current.operand;
          continue;
        case "and":
        case "or": {
          const { items, kind } = current;
          for (let i = items.length - 1; i > 0; i--) {
            const node = this.build(items[i] as Predicate, whenTrue, whenFalse);
            if (kind === "and") whenTrue = node;
            else whenFalse = node;
          }
          current = items[0] as Predicate;
        }
      }
    }
  }

  #compare(
    { op, left, right }: Extract<Predicate, { kind: "compare" }>,
    yes: GraphNode,
    no: GraphNode,
  ): GraphNode {
    if (right.kind === "const") return this.atom(op, left, right.value, yes, no);
    if (left.kind === "const") {
      // Constants stand on the right: k > x is not x >= k.
      if (op === "eq") return this.atom("eq", right, left.value, yes, no);
      return this.atom(op === "gt" ? "ge" : "gt", right, left.value, no, yes);
    }
    return this.test({ kind: "compare", op, left, right }, yes, no);
  }

  /** A comparison with a constant; those that can't fail or can't hold only evaluate their value. */
  atom(op: "eq" | "gt" | "ge", value: Value, k: number, yes: GraphNode, no: GraphNode): GraphNode {
    if (value.kind === "const") {
      const holds = op === "eq" ? value.value === k : op === "gt" ? value.value > k : value.value >= k;
      return holds ? yes : no;
    }
    if (op === "ge" && k === 0) return this.touch(value, yes);
    if (op === "gt" ? k >= value.max : k > value.max) return this.touch(value, no);
    const simplest = this.#maskedAtom(op, value, k, yes, no);
    if (simplest !== undefined) return simplest;
    // `> 0` is `!= 0`, and at the upper end only one value is left.
    if (op === "gt" && k === 0) return this.atom("eq", value, 0, no, yes);
    if (op === "ge" && k === 1) return this.atom("eq", value, 0, no, yes);
    if (op === "gt" && k === value.max - 1) return this.atom("eq", value, value.max, yes, no);
    if (op === "ge" && k === value.max) return this.atom("eq", value, value.max, yes, no);
    return this.test({ kind: "compare", op, left: value, right: this.values.constant(k) }, yes, no);
  }

  /** `x & mask` compared with 0 or with a mask of one bit is one jset. */
  #maskedAtom(
    op: "eq" | "gt" | "ge",
    value: Value,
    k: number,
    yes: GraphNode,
    no: GraphNode,
  ): GraphNode | undefined {
    if (value.kind !== "alu" || value.op !== "and" || value.right.kind !== "const") return undefined;
    const mask = value.right.value;
    const single = mask !== 0 && (mask & (mask - 1)) === 0;
    const test = { kind: "bits", value: value.left, mask } as const;
    if (op === "eq" && k === 0) return this.test(test, no, yes);
    if (op === "gt" && k === 0) return this.test(test, yes, no);
    if (op === "ge" && k === 1) return this.test(test, yes, no);
    if (op === "eq" && single && k === mask) return this.test(test, yes, no);
    return undefined;
  }

  #ranges(value: Value, ranges: Ranges, yes: GraphNode, no: GraphNode): GraphNode {
    const count = ranges.length >> 1;
    if (count === 0) return this.touch(value, no);
    const shift = count > LINEAR_RANGES ? blockBits(ranges) : 0;
    if (shift > 0) {
      // Networks of one size: each is one number without its last bits.
      const shifted = this.values.alu("rsh", value, this.values.constant(shift));
      const blocks = ranges.map((bound) => bound >>> shift);
      return this.#search(shifted, blocks, 0, count, 0, shifted.max, yes, no);
    }
    return this.#search(value, ranges, 0, count, 0, Math.min(value.max, MAX_U32), yes, no);
  }

  /** Searches ranges[from, to) given that the value lies in [low, high]. */
  #search(
    value: Value,
    ranges: Ranges,
    from: number,
    to: number,
    low: number,
    high: number,
    yes: GraphNode,
    no: GraphNode,
  ): GraphNode {
    if (to - from > LINEAR_RANGES) {
      const middle = (from + to) >> 1;
      const pivot = ranges[2 * middle] as number;
      return this.atom(
        "ge",
        value,
        pivot,
        this.#search(value, ranges, middle, to, pivot, high, yes, no),
        this.#search(value, ranges, from, middle, low, pivot - 1, yes, no),
      );
    }
    let rest = no;
    for (let i = to - 1; i >= from; i--) {
      const first = ranges[2 * i] as number;
      const last = ranges[2 * i + 1] as number;
      if (first === last) {
        rest = this.atom("eq", value, first, yes, rest);
      } else if (first <= low) {
        rest = this.atom("gt", value, last, rest, yes);
      } else {
        const upper = last >= high ? yes : this.atom("gt", value, last, rest, yes);
        rest = this.atom("ge", value, first, upper, rest);
      }
    }
    return rest;
  }
}

/** How many low bits are free in all ranges, if each is one aligned block of that size. */
function blockBits(ranges: Ranges): number {
  const size = (ranges[1] as number) - (ranges[0] as number) + 1;
  const isPower = size > 1 && size < 2 ** 31 && (size & (size - 1)) === 0;
  if (!isPower) return 0;
  for (let i = 0; i < ranges.length; i += 2) {
    const low = ranges[i] as number;
    if ((low & (size - 1)) !== 0 || (ranges[i + 1] as number) - low + 1 !== size) return 0;
  }
  return Math.log2(size);
}

/** All nodes, each before those that it points to; the `yes` side of a test comes right behind it. */
export function ordered(root: GraphNode): readonly GraphNode[] {
  const seen = new Set<GraphNode>();
  const out: GraphNode[] = [];
  const stack: { node: GraphNode; leaving: boolean }[] = [{ node: root, leaving: false }];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { node, leaving } = top;
    if (leaving) {
      out.push(node);
      continue;
    }
    if (seen.has(node)) continue;
    seen.add(node);
    stack.push({ node, leaving: true });
    if (node.kind === "test") {
      stack.push({ node: node.yes, leaving: false }, { node: node.no, leaving: false });
    } else if (node.kind !== "end") {
      stack.push({ node: node.next, leaving: false });
    }
  }
  return out.reverse();
}
