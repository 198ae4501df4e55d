/** Syntax tree to condition: the walk over the tree, arithmetic, and what identifiers mean. */
import { Context, type GeneratorOptions, sameState } from "./context.ts";
import { arithmetic, guardsOf } from "./generate-arithmetic.ts";
import { encapsulation, vlanAny } from "./generate-encapsulation.ts";
import { linkProtocol, prelude } from "./generate-link.ts";
import * as other from "./generate-other.ts";
import { groupable, match, matchAny } from "./generate-match.ts";
import { protocolWord } from "./generate-port.ts";
import type { LinkRow } from "./linktypes.ts";
import { ALWAYS, type Predicate, and, equals, not, or } from "./predicate.ts";
import type { FilterWarning } from "./problem.ts";
import type { FilterTree, Primitive, RelationOp } from "./syntax.ts";
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
  const zeroes = context.zeroed.map((slot): Predicate => ({ kind: "set", slot, value: values.constant(0) }));
  return {
    predicate: and(...zeroes, ...(before === undefined ? [] : [before]), body),
    values,
    warnings: context.warnings,
  };
}

type Chain = Extract<FilterTree, { kind: "chain" }>;
type Match = Extract<Primitive, { kind: "match" }>;
type Vlan = Extract<Primitive, { kind: "encapsulation" }>;

interface Member {
  readonly key: string;
  readonly node: Match;
}

/**
 * Terms in a row, sorted into searches. Terms of one key read the same fields. So once a term of each key has been
 * tested and none of them rejected the packet for its length, the order of the rest is free.
 */
function searches(run: readonly Member[]): readonly (readonly Match[])[] {
  const first = run[0]?.key;
  const alike = run.findIndex((member) => member.key !== first);
  if (alike < 0) return [run.map((member) => member.node)];
  const keys = new Set(run.map((member) => member.key));
  const heads: Match[][] = [];
  const rests = new Map<string, Match[]>();
  let at = 0;
  for (const seen = new Set<string>(); seen.size < keys.size; at++) {
    const { key, node } = run[at] as Member;
    const again = run[at - 1]?.key === key;
    if (again) heads.at(-1)?.push(node);
    else heads.push([node]);
    seen.add(key);
  }
  for (const { key, node } of run.slice(at)) {
    const known = rests.get(key);
    if (known === undefined) rests.set(key, [node]);
    else known.push(node);
  }
  return [...heads, ...rests.values()];
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
    let [left, at] = this.#run(node, -1);
    let open: Predicate[] | undefined;
    while (at < node.rest.length) {
      const { op } = node.rest[at] as (typeof node.rest)[number];
      const middle = this.#context.state;
      if (op === "or") this.#restore(start);
      const [right, next] = this.#run(node, at);
      at = next;
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

  /**
   * A term, or several that can be one search (`host a or host b`, `not port 22 and not port 53`), and where to go on.
   */
  #run(node: Chain, at: number): [Predicate, number] {
    const first = at < 0 ? node.first : (node.rest[at] as Chain["rest"][number]).term;
    const denied = first.kind === "not";
    const join = denied ? "and" : "or";
    const tags = this.#vlanRun(node, at, first, denied);
    if (tags !== undefined) return tags;
    const members = this.#member(first, denied);
    const fits =
      this.#context.options.search && members !== undefined && (at < 0 || node.rest[at]?.op === join);
    if (!fits) return [this.tree(first), at + 1];
    const run = [members];
    let next = at + 1;
    for (; node.rest[next]?.op === join; next++) {
      const more = this.#member(node.rest[next]?.term as FilterTree, denied);
      if (more === undefined) break;
      run.push(more);
    }
    if (run.length < 2) return [this.tree(first), at + 1];
    for (const each of run) this.#warnOfLeak(each.node);
    const any = or(...searches(run).map((nodes) => matchAny(this.#context, nodes)));
    return [denied ? not(any) : any, next];
  }

  /** `vlan 1 or vlan 2 or …`: all of them ask for the same tag, so they are one search. */
  #vlanRun(node: Chain, at: number, first: FilterTree, denied: boolean): [Predicate, number] | undefined {
    const join = denied ? "and" : "or";
    if (!this.#scoped || !this.#context.options.search) return undefined;
    if (at >= 0 && node.rest[at]?.op !== join) return undefined;
    const tagOf = (tree: FilterTree | undefined): Vlan | undefined => {
      if (tree === undefined || (tree.kind === "not") !== denied) return undefined;
      const inner = tree.kind === "not" ? tree.operand : tree;
      const isVlan = inner.kind === "encapsulation" && inner.protocol === "vlan" && inner.id !== undefined;
      return isVlan ? inner : undefined;
    };
    const run: Vlan[] = [];
    let next = at;
    for (let tag = tagOf(first); tag !== undefined; ) {
      run.push(tag);
      next++;
      tag = node.rest[next]?.op === join ? tagOf(node.rest[next]?.term) : undefined;
    }
    if (run.length < 2) return undefined;
    const before = this.#context.state;
    this.#warnOfLeak(run[0] as Vlan);
    this.#leak = true;
    this.#warnOfLeak(run[1] as Vlan);
    const any = vlanAny(this.#context, run);
    if (!denied) return [any, next];
    this.#restore(before);
    return [not(any), next];
  }

  #member(tree: FilterTree, denied: boolean): Member | undefined {
    const node = denied && tree.kind === "not" ? tree.operand : tree;
    if (node.kind !== "match" || (tree.kind === "not") !== denied) return undefined;
    const key = groupable(this.#context, node);
    return key === undefined ? undefined : { key, node };
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
