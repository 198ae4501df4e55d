/**
 * What is known of a packet at a point of the graph: in which ranges values lie, which tests held, how far loads have
 * reached. Loads count from the packet's start or from a computed base; one that succeeded proves every shorter reach
 * from the same base.
 */
import { type GraphNode, type Test, operands, testKey } from "./graph.ts";
import { type Ranges, MAX_U32, complement, intersect, rangeOf, unionAll } from "./ranges.ts";
import { type Slot, type Value, type Values, fold, readsSlot } from "./value.ts";

/** Beyond it nothing more is learned: facts are copied at every node. */
const MAX_FACTS = 32;
const MAX_RANGES = 12;
/** Offsets from here on read properties of the packet, not its bytes. */
const ANCILLARY = 0x80000000;
const START = -1;

interface Held {
  readonly test: Test;
  readonly outcome: boolean;
}

export class Facts {
  // Copies share their tables until one of them learns something: most learn of one value only.
  #ranges: ReadonlyMap<number, Ranges>;
  #held: ReadonlyMap<string, Held>;
  /** By slot: the value that it holds. */
  #written: ReadonlyMap<Slot, Value>;
  #reach: ReadonlyMap<number, number>;
  #evaluated: ReadonlySet<number>;

  constructor(from?: Facts) {
    this.#ranges = from === undefined ? new Map() : from.#ranges;
    this.#held = from === undefined ? new Map() : from.#held;
    this.#written = from === undefined ? new Map() : from.#written;
    this.#reach = from === undefined ? new Map() : from.#reach;
    this.#evaluated = from === undefined ? new Set() : from.#evaluated;
  }

  /** Only what both know stays. */
  meet(other: Facts): Facts {
    const result = new Facts();
    result.#ranges = common(this.#ranges, other.#ranges, (mine, theirs) => {
      const both = mine === theirs ? mine : unionAll([mine, theirs]);
      return both.length <= 2 * MAX_RANGES ? both : undefined;
    });
    result.#held = common(this.#held, other.#held, (mine, theirs) =>
      mine.outcome === theirs.outcome ? mine : undefined,
    );
    result.#written = common(this.#written, other.#written, (mine, theirs) =>
      mine === theirs ? mine : undefined,
    );
    result.#reach = common(this.#reach, other.#reach, Math.min);
    result.#evaluated =
      this.#evaluated === other.#evaluated
        ? this.#evaluated
        : new Set([...this.#evaluated].filter((id) => other.#evaluated.has(id)));
    return result;
  }

  /** The value if it is known, from its parts if need be. */
  #known(value: Value): number | undefined {
    if (value.kind === "const") return value.value;
    const ranges = this.#ranges.get(value.id);
    if (ranges?.length === 2 && ranges[0] === ranges[1]) return ranges[0];
    if (value.kind !== "alu") return undefined;
    const left = this.#known(value.left);
    const right = left === undefined ? undefined : this.#known(value.right);
    return left === undefined || right === undefined ? undefined : fold(value.op, left, right);
  }

  /** Whether a test's outcome is certain. */
  decide(test: Test): boolean | undefined {
    const held = this.#held.get(testKey(test));
    if (held !== undefined) return held.outcome;
    if (test.kind === "is-set") return undefined;
    if (test.kind === "header-chain") return undefined;
    if (test.kind === "bits") {
      const known = this.#known(test.value);
      return known === undefined ? undefined : (known & test.mask) !== 0;
    }
    const right = this.#known(test.right);
    if (right === undefined) return undefined;
    const known = this.#known(test.left);
    const ranges = known === undefined ? this.#ranges.get(test.left.id) : rangeOf(known, known);
    if (ranges === undefined) return undefined;
    const wanted = holding(test.op, right);
    const common = intersect(ranges, wanted);
    if (common.length === 0) return false;
    return intersect(ranges, complement(wanted, MAX_U32)).length === 0 ? true : undefined;
  }

  /** Whether evaluating a value can't end the program any more. */
  isSafe(value: Value): boolean {
    if (this.#evaluated.has(value.id)) return true;
    switch (value.kind) {
      case "const":
      case "length":
      case "slot":
        return true;
      case "load": {
        if (value.offset >= ANCILLARY) return false;
        const base = value.base === undefined ? START : value.base.id;
        if ((this.#reach.get(base) ?? 0) < value.offset + value.size) return false;
        return value.base === undefined || this.isSafe(value.base);
      }
      case "header-length":
        return (this.#reach.get(START) ?? 0) > value.offset;
      case "negate":
        return this.isSafe(value.operand);
      case "alu": {
        const divides = value.op === "div" || value.op === "mod";
        if (divides && !(value.right.kind === "const" && value.right.value !== 0)) return false;
        return this.isSafe(value.left) && this.isSafe(value.right);
      }
    }
  }

  /** Notes that a value was evaluated, and so every part of it. */
  evaluate(value: Value): void {
    if (value.kind === "const" || this.#evaluated.has(value.id)) return;
    if (this.#evaluated.size >= MAX_FACTS) return;
    this.#evaluated = new Set(this.#evaluated).add(value.id);
    if (value.kind === "load") {
      if (value.base !== undefined) this.evaluate(value.base);
      if (value.offset < ANCILLARY) this.#extend(value.base?.id ?? START, value.offset + value.size);
    } else if (value.kind === "header-length") {
      this.#extend(START, value.offset + 1);
    } else if (value.kind === "alu") {
      this.evaluate(value.left);
      this.evaluate(value.right);
    } else if (value.kind === "negate") {
      this.evaluate(value.operand);
    }
  }

  #extend(base: number, end: number): void {
    if ((this.#reach.get(base) ?? 0) < end) this.#reach = new Map(this.#reach).set(base, end);
  }

  /** Notes the outcome of a test. */
  learn(test: Test, outcome: boolean): void {
    for (const value of operands(test)) this.evaluate(value);
    if (test.kind === "compare" && test.right.kind === "const") {
      const { left } = test;
      const wanted = holding(test.op, test.right.value);
      const before = this.#ranges.get(left.id) ?? rangeOf(0, left.max);
      const after = intersect(before, outcome ? wanted : complement(wanted, MAX_U32));
      const room = this.#ranges.size < MAX_FACTS || this.#ranges.has(left.id);
      if (room && after.length <= 2 * MAX_RANGES && after.length > 0) {
        this.#ranges = new Map(this.#ranges).set(left.id, after);
      }
      return;
    }
    if (this.#held.size < MAX_FACTS || test.kind === "is-set") {
      this.#held = new Map(this.#held).set(testKey(test), { test, outcome });
    }
  }

  /** Forgets all that depends on a slot. */
  #forget(slot: Slot, values: Values): void {
    const stale = (id: number): boolean => {
      const value = id < 0 ? undefined : values.withId(id);
      return value !== undefined && readsSlot(value, slot);
    };
    const without = <V>(from: ReadonlyMap<number, V>): ReadonlyMap<number, V> =>
      new Map([...from].filter(([id]) => !stale(id)));
    this.#ranges = without(this.#ranges);
    this.#reach = without(this.#reach);
    this.#evaluated = new Set([...this.#evaluated].filter((id) => !stale(id)));
    this.#held = new Map(
      [...this.#held].filter(([, { test }]) => !operands(test).some((value) => readsSlot(value, slot))),
    );
    this.#written = new Map([...this.#written].filter(([, value]) => !readsSlot(value, slot)));
  }

  /**
   * What a node adds for those that follow it; `again` says whether a slot that the node writes may have been written
   * before.
   */
  after(node: GraphNode, outcome: boolean, values: Values, again = false): Facts {
    // What is known before an end is of no use.
    const leads = node.kind === "test" ? (outcome ? node.yes : node.no) : this.#next(node);
    if (leads.kind === "end") return this;
    const facts = new Facts(this);
    if (node.kind === "test") facts.learn(node.test, outcome);
    else if (node.kind === "touch") facts.evaluate(node.value);
    else if (node.kind === "set") {
      const { slot, value } = node;
      facts.evaluate(value);
      if (again) facts.#forget(slot, values);
      if (!readsSlot(value, slot)) facts.#written = new Map(facts.#written).set(slot, value);
      facts.learn({ kind: "is-set", slot }, true);
    }
    return facts;
  }

  #next(node: GraphNode): GraphNode {
    return node.kind === "set" || node.kind === "touch" ? node.next : node;
  }

  /** Whether a slot already holds a value. */
  holds(slot: Slot, value: Value): boolean {
    return this.#written.get(slot) === value;
  }
}

function holding(op: "eq" | "gt" | "ge", k: number): Ranges {
  if (op === "eq") return rangeOf(k, k);
  return rangeOf(op === "gt" ? k + 1 : k, MAX_U32);
}

/** What two tables agree on, entry by entry. */
function common<K, V>(
  a: ReadonlyMap<K, V>,
  b: ReadonlyMap<K, V>,
  agree: (mine: V, theirs: V) => V | undefined,
): ReadonlyMap<K, V> {
  if (a === b) return a;
  const result = new Map<K, V>();
  for (const [key, mine] of a) {
    const theirs = b.get(key);
    const both = theirs === undefined ? undefined : agree(mine, theirs);
    if (both !== undefined) result.set(key, both);
  }
  return result;
}
