/**
 * Decisions over the words of struct seccomp_data, and their code. A decision is a directed graph without cycles: each node
 * tests one word, masked or not, against one constant; leaves are values to return. Equal nodes are one node, so that
 * alternatives share what they have in common.
 */
import {
  type CbpfInstruction,
  CBPF_ALU_OPS,
  CBPF_CLASSES,
  CBPF_JUMP_OPS,
  CBPF_MODES,
  cbpfJump,
  cbpfStatement,
} from "../cbpf/index.ts";

export type DecisionTest = "jeq" | "jgt" | "jge";

export interface Leaf {
  readonly kind: "leaf";
  readonly id: number;
  readonly value: number;
}

export interface Branch {
  readonly kind: "branch";
  readonly id: number;
  /** Offset of the word. */
  readonly word: number;
  readonly mask: number;
  readonly test: DecisionTest;
  readonly constant: number;
  readonly yes: Decision;
  readonly no: Decision;
}

export type Decision = Leaf | Branch;

const ALL_BITS = 0xffffffff;
const FURTHEST = 255;
const MAX_WALKS = 20_000;

/** What is known of a masked word on the way to a node. */
export interface Known {
  readonly low: number;
  readonly high: number;
}

/** Makes nodes, each only once. */
export class Decisions {
  readonly #nodes = new Map<string, Decision>();

  leaf(value: number): Leaf {
    return this.#once(`leaf ${value}`, (id) => ({ kind: "leaf", id, value })) as Leaf;
  }

  branch(
    word: number,
    mask: number,
    test: DecisionTest,
    constant: number,
    yes: Decision,
    no: Decision,
  ): Decision {
    if (yes === no) return yes;
    const key = `${word} ${mask} ${test} ${constant} ${yes.id} ${no.id}`;
    return this.#once(key, (id) => ({ kind: "branch", id, word, mask, test, constant, yes, no }));
  }

  #once(key: string, make: (id: number) => Decision): Decision {
    let node = this.#nodes.get(key);
    if (node === undefined) {
      node = make(this.#nodes.size);
      this.#nodes.set(key, node);
    }
    return node;
  }

  /**
   * Takes out tests whose outcome follows from tests before them; bounds are kept for each word and mask by itself. A graph
   * with too many different ways through it stays as it is.
   */
  simplify(decision: Decision): Decision {
    const memo = new Map<string, Decision>();
    const walk = (node: Decision, known: ReadonlyMap<string, Known>): Decision => {
      if (node.kind === "leaf") return node;
      const key = `${node.word} ${node.mask}`;
      const facts = [...known].map(([name, { low, high }]) => `${name}:${low}:${high}`).join(",");
      const memoKey = `${node.id} ${facts}`;
      const done = memo.get(memoKey);
      if (done !== undefined) return done;
      if (memo.size >= MAX_WALKS) return node;
      const range = known.get(key) ?? { low: 0, high: node.mask };
      const [yes, no] = split(range, node.test, node.constant);
      const into = (side: Known, next: Decision): Decision => walk(next, new Map(known).set(key, side));
      let result: Decision;
      if (yes === undefined) result = walk(node.no, known);
      else if (no === undefined) result = walk(node.yes, known);
      else {
        const { word, mask, test, constant } = node;
        result = this.branch(word, mask, test, constant, into(yes, node.yes), into(no, node.no));
      }
      memo.set(memoKey, result);
      return result;
    };
    return walk(decision, new Map());
  }
}

/** The range of a value on both sides of a test; undefined for a side that is empty. */
export function split(
  { low, high }: Known,
  test: DecisionTest,
  constant: number,
): [Known | undefined, Known | undefined] {
  const part = (from: number, to: number): Known | undefined =>
    from > to ? undefined : { low: from, high: to };
  if (test === "jeq") {
    const yes = part(Math.max(low, constant), Math.min(high, constant));
    if (yes === undefined) return [undefined, { low, high }];
    // Ranges can lose an end, but have no holes.
    if (low === high) return [yes, undefined];
    if (constant === low) return [yes, { low: low + 1, high }];
    if (constant === high) return [yes, { low, high: high - 1 }];
    return [yes, { low, high }];
  }
  const first = test === "jge" ? constant : constant + 1;
  return [part(Math.max(low, first), high), part(low, Math.min(high, first - 1))];
}

/** What a node's test needs in A; nodes that need the same can be entered without loading it again. */
const needs = (node: Branch): string => `${node.word} ${node.mask}`;

/**
 * The program of a decision. It is written from its end to its beginning, so that every target's distance is known: one
 * that is too far for 8 bits gets a copy of its `ret`, or a `ja`, close by.
 */
export function emitDecision(decision: Decision): CbpfInstruction[] {
  /** The program, backwards: position p is p instructions before the end. */
  const code: CbpfInstruction[] = [];
  /** Where a node begins: with its load, and behind it. */
  const loaded = new Map<number, number>();
  const bare = new Map<number, number>();
  const leaves = new Map<number, number>();

  const order = inOrder(decision);
  /** Nodes that are entered with another word in A, and so load theirs. */
  const cold = new Set([decision.id]);
  for (const node of order)
    for (const next of [node.yes, node.no])
      if (next.kind === "branch" && needs(next) !== needs(node)) cold.add(next.id);

  const push = (instruction: CbpfInstruction): number => code.push(instruction) - 1;
  const jumpTo = (position: number): number =>
    push(cbpfStatement(CBPF_CLASSES.jmp, code.length - position - 1));

  /** A position for the target that the next instruction but `extra` can reach. */
  const near = (target: Decision, from: string | undefined, extra: number): number => {
    if (target.kind === "leaf") {
      const at = leaves.get(target.value);
      if (at !== undefined && code.length - at - 1 + extra <= FURTHEST) return at;
      const copy = push(cbpfStatement(CBPF_CLASSES.ret, target.value));
      leaves.set(target.value, copy);
      return copy;
    }
    const at = (from === needs(target) ? bare : loaded).get(target.id) as number;
    return code.length - at - 1 + extra <= FURTHEST ? at : jumpTo(at);
  };

  const write = (node: Branch): void => {
    const { word, mask, test, constant, yes, no } = node;
    // First what may have to be pushed, then the distances: one push can move the other target away.
    let yesAt = near(yes, needs(node), 1);
    const noAt = near(no, needs(node), 0);
    if (code.length - yesAt - 1 > FURTHEST) yesAt = near(yes, needs(node), 0);
    const jump = cbpfJump(
      CBPF_CLASSES.jmp | CBPF_JUMP_OPS[test],
      constant,
      code.length - yesAt - 1,
      code.length - noAt - 1,
    );
    bare.set(node.id, push(jump));
    if (!cold.has(node.id)) return;
    if (mask !== ALL_BITS) push(cbpfStatement(CBPF_CLASSES.alu | CBPF_ALU_OPS.and, mask));
    loaded.set(node.id, push(cbpfStatement(CBPF_CLASSES.ld | CBPF_MODES.abs, word)));
  };

  for (const node of order) write(node);
  if (decision.kind === "leaf") push(cbpfStatement(CBPF_CLASSES.ret, decision.value));
  return code.reverse();
}

/** Branches, each after those that it leads to; without recursion, for graphs can be deep. */
function inOrder(decision: Decision): Branch[] {
  const done = new Set<number>();
  const order: Branch[] = [];
  const stack: { node: Decision; ready: boolean }[] = [{ node: decision, ready: false }];
  for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
    const { node, ready } = top;
    if (node.kind === "leaf" || done.has(node.id)) continue;
    if (ready) {
      done.add(node.id);
      order.push(node);
    } else
      stack.push({ node, ready: true }, { node: node.yes, ready: false }, { node: node.no, ready: false });
  }
  return order;
}
