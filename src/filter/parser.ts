/**
 * Tokens to syntax tree, by recursive descent.
 *
 * Two things make this grammar unlike others. First, an identifier without qualifiers takes those of the term before
 * it: `tcp port 80 or 443`, `host a and not (b or c)`. So every term carries the qualifiers that it hands on, none if
 * it was no such term. Whether what follows an `and`, `or`, `not` or parenthesis is such an identifier or a term of
 * its own can be seen from the first token that is neither `not` nor `(`; for a number, from what follows it.
 *
 * Second, `%` and `^` never got a rank in the grammar that all users know: they bind their left operand tighter than
 * anything and take as much as they can on their right, so `a % b + c` is `a % (b + c)`.
 *
 * The words that libpcap hasn't (`vxlan`, `gre`, `ipip`) are names to its scanner, so they are here, too: only where a
 * primitive can begin they mean tunnels. After `ip proto 6 or` a `gre` stays the protocol's name.
 */
import { type Token, tokenize } from "./lexer.ts";
import { displayFilterHint, filterError } from "./problem.ts";
import {
  type Arithmetic,
  type ArithmeticOp,
  type Direction,
  type FieldValue,
  type FilterTree,
  type Identifier,
  PROTOCOLS,
  type Primitive,
  type Protocol,
  type Qualifiers,
  type RelationOp,
  type Span,
} from "./syntax.ts";
import { parseSpecial, readEncapsulation } from "./parse-special.ts";
import type { FilterCompat } from "./context.ts";

/** Deepest nesting of parentheses, `not` and brackets: no stack of any engine is at risk. */
export const MAX_DEPTH = 600;

/** Most terms joined by `and` and `or`: ten times what any program that Linux takes could test. */
export const MAX_TERMS = 40_000;

const protocols: ReadonlySet<string> = new Set(PROTOCOLS);
const directions: ReadonlySet<string> = new Set([
  "src",
  "dst",
  "addr1",
  "addr2",
  "addr3",
  "addr4",
  "ra",
  "ta",
]);
const addressTypes: ReadonlySet<string> = new Set(["host", "net", "port", "portrange"]);
const tunnels: ReadonlySet<string> = new Set(["vxlan", "gre", "ipip"]);
const identifiers: ReadonlySet<string> = new Set(["id", "ip4 address", "ip6 address", "mac", "arcnet"]);
const relations: ReadonlySet<string> = new Set(["=", "!=", ">", ">=", "<", "<="]);

/** Rank of the arithmetic operators; those without one are the two of the second peculiarity above. */
const RANK: Readonly<Record<string, number>> = {
  "|": 1,
  "&": 2,
  "<<": 3,
  ">>": 3,
  "+": 4,
  "-": 4,
  "*": 5,
  "/": 5,
  "%": Number.POSITIVE_INFINITY,
  "^": Number.POSITIVE_INFINITY,
};
const UNARY_RANK = 6;

/** A parsed term and the qualifiers that it hands on. */
interface Term {
  readonly tree: FilterTree;
  readonly qualifiers: Qualifiers | undefined;
}

/** A reader of tokens; the other half of the grammar is in parse-special.ts. */
export class Parser {
  readonly text: string;
  /** Whether what libpcap's language hasn't is understood. */
  readonly extended: boolean;
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;
  #terms = 0;

  constructor(text: string, compat: FilterCompat) {
    this.text = text;
    this.extended = compat !== "libpcap";
    this.#tokens = tokenize(text);
  }

  peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#at + ahead, this.#tokens.length - 1)] as Token;
  }

  next(): Token {
    const token = this.peek();
    if (token.kind !== "end") this.#at++;
    return token;
  }

  accept(kind: string): boolean {
    if (this.peek().kind !== kind) return false;
    this.next();
    return true;
  }

  expect(kind: string, what: string): Token {
    if (this.peek().kind !== kind) throw this.syntaxError(`expected ${what}`);
    return this.next();
  }

  /** From a token to the last one read. */
  spanFrom(start: Span): Span {
    return { start: start.start, end: (this.#tokens[Math.max(0, this.#at - 1)] as Token).span.end };
  }

  syntaxError(detail: string, token: Token = this.peek()): Error {
    const found = token.kind === "end" ? "the expression ends here" : `found '${token.text}'`;
    return filterError(token.span, `syntax error: ${detail}, ${found}`, displayFilterHint(this.text));
  }

  program(): FilterTree {
    if (this.peek().kind === "end") return { kind: "everything", span: { start: 0, end: this.text.length } };
    const { tree } = this.#chain(undefined);
    if (this.peek().kind !== "end") throw this.syntaxError("expected 'and', 'or' or the end");
    return tree;
  }

  #deeper<T>(body: () => T): T {
    if (++this.#depth > MAX_DEPTH) {
      throw filterError(this.peek().span, `it is nested deeper than ${MAX_DEPTH} levels`);
    }
    const result = body();
    this.#depth--;
    return result;
  }

  #chain(inherited: Qualifiers | undefined): Term {
    const start = this.peek().span;
    let last = this.#term(inherited);
    const first = last.tree;
    const rest: { op: "and" | "or"; term: FilterTree }[] = [];
    for (let op = this.peek().kind; op === "and" || op === "or"; op = this.peek().kind) {
      this.#another();
      last = this.#startsIdentifier(last.qualifiers)
        ? this.#identifierTerm(last.qualifiers)
        : this.#term(last.qualifiers);
      rest.push({ op, term: last.tree });
    }
    if (rest.length === 0) return last;
    return { tree: { kind: "chain", first, rest, span: this.spanFrom(start) }, qualifiers: last.qualifiers };
  }

  /** Reads an `and` or `or`. */
  #another(): void {
    const { span } = this.next();
    if (++this.#terms > MAX_TERMS) throw filterError(span, `it has more than ${MAX_TERMS} terms`);
  }

  /** Whether a tunnel's word stands so far ahead; not if it is the name of a protocol. */
  #isTunnel(ahead: number, qualifiers: Qualifiers | undefined): boolean {
    if (!this.extended || qualifiers?.type === "proto" || qualifiers?.type === "protochain") return false;
    const { kind, text, span } = this.peek(ahead);
    // `\\gre` is a name.
    return kind === "id" && tunnels.has(text) && span.end - span.start === text.length;
  }

  /** Whether an identifier comes next, under any number of `not` and `(`. */
  #startsIdentifier(qualifiers: Qualifiers | undefined): boolean {
    let ahead = 0;
    let open = 0;
    for (let kind = this.peek().kind; kind === "!" || kind === "("; kind = this.peek(ahead).kind) {
      open = kind === "(" ? open + 1 : 0;
      ahead++;
    }
    const { kind } = this.peek(ahead);
    if (this.#isTunnel(ahead, qualifiers)) return false;
    if (identifiers.has(kind)) return true;
    if (kind !== "num") return false;
    ahead++;
    while (open > 0 && this.peek(ahead).kind === ")") {
      open--;
      ahead++;
    }
    const after = this.peek(ahead).kind;
    return RANK[after] === undefined && !relations.has(after);
  }

  #identifierTerm(qualifiers: Qualifiers | undefined): Term {
    return { tree: this.#identifier(qualifiers), qualifiers };
  }

  /** What may follow qualifiers: an identifier, `not` one, or a list in parentheses. */
  #identifier(qualifiers: Qualifiers | undefined): FilterTree {
    const start = this.peek().span;
    if (this.accept("!")) {
      const operand = this.#deeper(() => this.#identifier(qualifiers));
      return { kind: "not", operand, span: this.spanFrom(start) };
    }
    if (this.peek().kind === "(") {
      const number = this.#numberInParentheses();
      if (number !== undefined) return this.#match(qualifiers, number);
      this.next();
      const list = this.#deeper(() => this.#identifierList(qualifiers));
      this.expect(")", "')'");
      return list;
    }
    return this.#match(qualifiers, this.#plainIdentifier());
  }

  #identifierList(qualifiers: Qualifiers | undefined): FilterTree {
    const start = this.peek().span;
    if (this.peek().kind === "(") {
      const number = this.#numberInParentheses();
      if (number === undefined) throw this.syntaxError("expected a name, number or address");
      return this.#restOfList(qualifiers, this.#match(qualifiers, number), start);
    }
    return this.#restOfList(qualifiers, this.#identifier(qualifiers), start);
  }

  #restOfList(qualifiers: Qualifiers | undefined, first: FilterTree, start: Span): FilterTree {
    const rest: { op: "and" | "or"; term: FilterTree }[] = [];
    for (let op = this.peek().kind; op === "and" || op === "or"; op = this.peek().kind) {
      this.#another();
      rest.push({ op, term: this.#identifier(qualifiers) });
    }
    return rest.length === 0 ? first : { kind: "chain", first, rest, span: this.spanFrom(start) };
  }

  /** `((80))`, or undefined and nothing read. */
  #numberInParentheses(): Identifier | undefined {
    let open = 0;
    while (this.peek(open).kind === "(") open++;
    if (this.peek(open).kind !== "num") return undefined;
    for (let close = 1; close <= open; close++) {
      if (this.peek(open + close).kind !== ")") return undefined;
    }
    const { value, span } = this.peek(open);
    this.#at += 2 * open + 1;
    return { kind: "number", value, span };
  }

  #plainIdentifier(): Identifier {
    const token = this.peek();
    const { kind, text, span } = token;
    if (kind === "num") {
      this.next();
      return { kind: "number", value: token.value, span };
    }
    if (!identifiers.has(kind)) throw this.syntaxError("expected a name, number or address");
    this.next();
    if (kind === "ip4 address" || kind === "ip6 address") {
      const version = kind === "ip4 address" ? "ip4" : "ip6";
      if (this.accept("/")) {
        const prefix = this.expect("num", "a prefix length").value;
        return { kind: version, text, prefix, span: this.spanFrom(span) };
      }
      if (version === "ip4" && this.accept("mask")) {
        const mask = this.expect("ip4 address", "a netmask").text;
        return { kind: version, text, mask, span: this.spanFrom(span) };
      }
      return { kind: version, text, span };
    }
    return { kind: kind === "id" ? "name" : (kind as "mac" | "arcnet"), text, span };
  }

  #match(qualifiers: Qualifiers | undefined, id: Identifier): Primitive {
    if (qualifiers === undefined) {
      throw filterError(
        id.span,
        "syntax error: nothing says what this is",
        displayFilterHint(this.text) ?? "write for instance `host NAME` or `port NUMBER`",
      );
    }
    return { kind: "match", qualifiers, id, span: id.span };
  }

  #term(inherited: Qualifiers | undefined): Term {
    const start = this.peek().span;
    if (this.accept("!")) {
      const { tree, qualifiers } = this.#deeper(() =>
        inherited !== undefined && this.#startsIdentifier(inherited)
          ? this.#identifierTerm(inherited)
          : this.#term(inherited),
      );
      return { tree: { kind: "not", operand: tree, span: this.spanFrom(start) }, qualifiers };
    }
    if (this.#startsArithmetic()) {
      return { tree: this.#relation(), qualifiers: undefined };
    }
    if (this.accept("(")) {
      const { tree } = this.#deeper(() => this.#chain(inherited));
      this.expect(")", "')'");
      return { tree, qualifiers: inherited };
    }
    return this.#qualified();
  }

  /** Whether arithmetic comes next; a parenthesis is tried, which reads tokens but keeps none. */
  #startsArithmetic(): boolean {
    const { kind } = this.peek();
    if (kind === "num" || kind === "-" || kind === "len") return true;
    if (protocols.has(kind)) return this.peek(1).kind === "[";
    if (kind !== "(") return false;
    let ahead = 0;
    while (this.peek(ahead).kind === "(") ahead++;
    const inner = this.peek(ahead).kind;
    if (inner !== "num" && inner !== "-" && inner !== "len" && !protocols.has(inner)) return false;
    if (protocols.has(inner) && this.peek(ahead + 1).kind !== "[") return false;
    return this.#parenthesisIsArithmetic();
  }

  /** Whether the parenthesis here closes before any relation or `and`: then it is an operand. */
  #parenthesisIsArithmetic(): boolean {
    let open = 0;
    for (let ahead = 0; ; ahead++) {
      const { kind } = this.peek(ahead);
      if (kind === "(" || kind === "[") open++;
      else if (kind === ")" || kind === "]") open--;
      else if (relations.has(kind) || kind === "and" || kind === "or" || kind === "end") return false;
      if (open === 0) {
        const after = this.peek(ahead + 1).kind;
        return relations.has(after) || RANK[after] !== undefined;
      }
    }
  }

  #relation(): Primitive {
    const start = this.peek().span;
    const left = this.#arithmetic(0);
    const op = this.peek().kind;
    if (!relations.has(op)) throw this.syntaxError("expected a comparison");
    this.next();
    const right = this.#arithmetic(0);
    return { kind: "relation", op: op as RelationOp, left, right, span: this.spanFrom(start) };
  }

  #arithmetic(least: number): Arithmetic {
    const start = this.peek().span;
    let left = this.#operand();
    for (;;) {
      const op = this.peek().kind;
      const rank = RANK[op];
      if (rank === undefined || rank <= least) return left;
      this.next();
      const right = this.#deeper(() => this.#arithmetic(rank === Number.POSITIVE_INFINITY ? 0 : rank));
      left = { kind: "binary", op: op as ArithmeticOp, left, right, span: this.spanFrom(start) };
    }
  }

  #operand(): Arithmetic {
    const token = this.next();
    const { kind, span } = token;
    if (kind === "num") return { kind: "number", value: token.value, span };
    if (kind === "len") return { kind: "length", span };
    if (kind === "-") {
      const operand = this.#deeper(() => this.#arithmetic(UNARY_RANK));
      return { kind: "negate", operand, span: this.spanFrom(span) };
    }
    if (kind === "(") {
      const inner = this.#deeper(() => this.#arithmetic(0));
      this.expect(")", "')'");
      return inner;
    }
    if (protocols.has(kind)) {
      this.expect("[", "'['");
      const index = this.#deeper(() => this.#arithmetic(0));
      const size = this.accept(":") ? this.expect("num", "1, 2 or 4").value : 1;
      this.expect("]", "']'");
      return { kind: "load", protocol: kind as Protocol, index, size, span: this.spanFrom(span) };
    }
    throw this.syntaxError("expected a number or a field", token);
  }

  /** Qualifiers and an identifier, or a primitive of its own. */
  #qualified(): Term {
    const start = this.peek().span;
    if (this.#isTunnel(0, undefined)) {
      const body = readEncapsulation(this, this.next().text);
      return { tree: { ...body, span: this.spanFrom(start) }, qualifiers: undefined };
    }
    const special = parseSpecial(this, undefined, start);
    if (special !== undefined) return { tree: special, qualifiers: undefined };
    const protocol = protocols.has(this.peek().kind) ? (this.next().kind as Protocol) : undefined;
    const { kind } = this.peek();
    const isHead =
      directions.has(kind) ||
      addressTypes.has(kind) ||
      kind === "proto" ||
      kind === "protochain" ||
      kind === "gateway";
    if (isHead) {
      const qualifiers = this.#head(protocol);
      const tree = this.#identifier(qualifiers);
      // The identifier's own place is that of the whole primitive, when there is but one.
      const spanned = tree.kind === "match" ? { ...tree, span: this.spanFrom(start) } : tree;
      return { tree: spanned, qualifiers };
    }
    if (protocol !== undefined) {
      const qualified = parseSpecial(this, protocol, start);
      if (qualified !== undefined) return { tree: qualified, qualifiers: undefined };
      return { tree: { kind: "protocol", protocol, span: this.spanFrom(start) }, qualifiers: undefined };
    }
    throw this.syntaxError("expected a primitive");
  }

  #head(protocol: Protocol | undefined): Qualifiers {
    const base = protocol === undefined ? {} : { protocol };
    const direct = this.peek().kind;
    if (direct === "proto" || direct === "protochain" || direct === "gateway") {
      this.next();
      return { ...base, type: direct };
    }
    let direction: Direction | undefined;
    if (directions.has(direct)) {
      this.next();
      direction = direct as Direction;
      if (direct === "src" || direct === "dst") direction = this.#bothDirections(direct);
    }
    const type = this.peek().kind;
    const typed = addressTypes.has(type);
    if (typed) this.next();
    return {
      ...base,
      ...(direction === undefined ? {} : { direction }),
      ...(typed ? { type: type as "host" } : {}),
    };
  }

  #bothDirections(first: "src" | "dst"): Direction {
    const join = this.peek().kind;
    if (join !== "or" && join !== "and") return first;
    const second = this.peek(1).kind;
    if (second !== (first === "src" ? "dst" : "src"))
      throw this.syntaxError("expected an address", this.peek());
    this.next();
    this.next();
    return join === "or" ? "src or dst" : "src and dst";
  }

  /** `OP NUMBER`, a number, or a list of numbers in parentheses. */
  fieldValues(): readonly FieldValue[] {
    if (relations.has(this.peek().kind)) {
      const op = this.next().kind as RelationOp;
      return [{ op, value: this.expect("num", "a number").value }];
    }
    const number = (): FieldValue => ({ op: "=", value: this.expect("num", "a number").value });
    if (!this.accept("(")) return [number()];
    const values = [number()];
    while (this.accept("or")) values.push(number());
    this.expect(")", "')'");
    return values;
  }

  /** A number, in parentheses or not, or undefined and nothing read. */
  optionalNumber(): number | undefined {
    if (this.peek().kind === "num") return this.next().value;
    const inner = this.peek().kind === "(" ? this.#numberInParentheses() : undefined;
    return inner?.kind === "number" ? inner.value : undefined;
  }
}

/**
 * Reads an expression; nothing is looked up yet. With `compat` "libpcap" only what libpcap's language has is read.
 *
 * @throws BpfError code "filter" with `where.column`
 * @example
 * parseFilter("tcp port 80").kind; // "match"
 */
export function parseFilter(expression: string, compat?: FilterCompat): FilterTree {
  return new Parser(expression, compat).program();
}
