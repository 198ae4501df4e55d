/**
 * Reading an instruction is the inverse of writing it: the patterns of all rows, cut into tokens, make a tree whose
 * paths are the sentences of the dialect. A statement is matched by walking the tree, taking fixed words before
 * placeholders and going back where a path ends in nothing. Paths share their beginnings, so the walk is short, and the
 * furthest place that any path reached is where the statement is wrong, with what could have stood there.
 */
import { REGISTER_COUNT, type InstructionRow } from "../isa/index.ts";
import { asmError, didYouMean } from "./diagnostic.ts";
import { type Constants, type Value, parseExpression, symbolName } from "./expression.ts";
import { Lexer, type LexerRules, type Token } from "./lexer.ts";
import type { Pattern, RowPatterns } from "./pattern.ts";
import { PLACEHOLDERS, type PlaceholderName } from "./placeholder.ts";

interface Node {
  readonly words: Map<string, Node>;
  readonly fields: { readonly field: PlaceholderName; readonly node: Node }[];
  row: InstructionRow | undefined;
}

/** A dialect as a tree. */
export interface Grammar {
  readonly root: Node;
  /** Expressions, or single numbers only: then a comma between operands may be left out. */
  readonly expressions: boolean;
}

/** What a placeholder of a matched pattern stands for. */
export interface Operand {
  readonly field: PlaceholderName;
  readonly value: Value;
}

/** A statement that is an instruction. */
export interface Match {
  readonly row: InstructionRow;
  /** In the order of the pattern; a register that is repeated comes twice. */
  readonly operands: readonly Operand[];
}

export function buildGrammar(
  patterns: Iterable<RowPatterns>,
  rules: LexerRules,
  expressions: boolean,
): Grammar {
  const root = newNode();
  for (const { row, text, also } of patterns) {
    for (const pattern of [text, ...also]) addPattern(root, pattern, row, rules);
  }
  return { root, expressions };
}

function newNode(): Node {
  return { words: new Map(), fields: [], row: undefined };
}

function addPattern(root: Node, pattern: Pattern, row: InstructionRow, rules: LexerRules): void {
  let node = root;
  for (const piece of pattern) {
    if (typeof piece === "string") {
      for (const word of wordsOf(piece, rules)) {
        let following = node.words.get(word);
        if (following === undefined) node.words.set(word, (following = newNode()));
        node = following;
      }
      continue;
    }
    let child = node.fields.find(({ field }) => field === piece.field);
    if (child === undefined) node.fields.push((child = { field: piece.field, node: newNode() }));
    node = child.node;
  }
  // Rows that differ only in what a placeholder reads (the kinds of an lddw) share their end; the first stands for all.
  node.row ??= row;
}

function wordsOf(text: string, rules: LexerRules): string[] {
  const statement = new Lexer(text, rules).next();
  if (statement?.event !== undefined || statement === undefined) return [];
  return statement.tokens.slice(0, -1).map((token) => token.text);
}

/** What the matcher knows about the text so far. */
export interface MatchContext {
  readonly grammar: Grammar;
  readonly tokens: readonly Token[];
  /** Names that stand for numbers. */
  readonly constants: Constants;
  /** How many registers there are: 16 where invalid programs are wanted. */
  readonly registers: number;
}

interface State extends MatchContext {
  readonly start: number;
  /** A stack: what the path so far has read. */
  readonly operands: Operand[];
  furthest: number;
  expected: Node[];
  /** A register that stands where an earlier one must be repeated, and that one. */
  different: { readonly index: number; readonly register: string } | undefined;
}

/**
 * The instruction that the tokens from `start` on are.
 *
 * @throws BpfError code "asm" that says what stands where something else should.
 */
export function matchInstruction(context: MatchContext, start: number): Match {
  const { grammar, tokens, constants, registers } = context;
  const state: State = {
    grammar,
    tokens,
    constants,
    registers,
    start,
    operands: [],
    furthest: -1,
    expected: [],
    different: undefined,
  };
  const row = walk(state, context.grammar.root, start);
  if (row === undefined) throw explain(state, start);
  return { row, operands: state.operands };
}

function walk(state: State, node: Node, index: number): InstructionRow | undefined {
  const token = state.tokens[index] as Token;
  if (node.row !== undefined && isEnd(state.tokens, index)) return node.row;
  // The first word may be in capitals, as LLVM has it.
  const word = index === state.start ? token.text.toLowerCase() : token.text;
  const following = token.kind === "string" || token.kind === "end" ? undefined : node.words.get(word);
  if (following !== undefined) {
    const row = walk(state, following, index + 1);
    if (row !== undefined) return row;
  }
  // Commas are for people: both dialects' own assemblers do without.
  const comma = node.words.get(",");
  if (comma !== undefined && token.text !== ",") {
    const row = walk(state, comma, index);
    if (row !== undefined) return row;
  }
  for (const { field, node: child } of node.fields) {
    const parsed = parseField(state, field, index);
    if (parsed === undefined) continue;
    state.operands.push({ field, value: parsed.value });
    const row = walk(state, child, parsed.next);
    if (row !== undefined) return row;
    state.operands.pop();
  }
  if (index > state.furthest) [state.furthest, state.expected] = [index, []];
  if (index === state.furthest) state.expected.push(node);
  return undefined;
}

/** The end of the statement, or the name of a jump's target in angle brackets, as objdump adds it. */
function isEnd(tokens: readonly Token[], index: number): boolean {
  const token = tokens[index] as Token;
  if (token.kind === "end") return true;
  return token.text === "<" && token.spaced && tokens[tokens.length - 2]?.text === ">";
}

function parseField(
  state: State,
  field: PlaceholderName,
  index: number,
): { value: Value; next: number } | undefined {
  const token = state.tokens[index] as Token;
  const { accepts } = PLACEHOLDERS[field];
  switch (accepts) {
    case "r":
    case "w": {
      const register = registerOf(token, accepts);
      if (register === undefined) return undefined;
      if (register >= state.registers) {
        throw asmError(token, `register '${token.text}' does not exist; r0 to r${REGISTER_COUNT - 1} do`);
      }
      const bound = state.operands.find((operand) => operand.field === field);
      if (bound !== undefined && bound.value.constant !== BigInt(register)) {
        state.different = { index, register: `${accepts}${bound.value.constant}` };
        return undefined;
      }
      return { value: { constant: BigInt(register), at: token }, next: index + 1 };
    }
    case "number":
      return number(state, index);
    case "signed":
      if (token.text !== "+" && token.text !== "-")
        return { value: { constant: 0n, at: token }, next: index };
      return distance(state, field, index);
    case "rest":
      if (token.text !== ",") return { value: { constant: 0n, at: token }, next: index };
      return number(state, index + 1);
    case "target":
      // In the mnemonic dialect a distance has a sign; a number without one is a label's name.
      if (!state.grammar.expressions && token.kind === "number") {
        return { value: { constant: 0n, plus: token.text, at: token }, next: index + 1 };
      }
      return distance(state, field, index) ?? name(state, index);
    case "function":
      return name(state, index);
    case "address":
      return state.grammar.expressions && token.text !== "("
        ? parseExpression(state.tokens, index, state.constants)
        : (number(state, index) ?? name(state, index));
  }
}

function registerOf({ kind, text }: Token, letter: "r" | "w"): number | undefined {
  if (kind !== "name") return undefined;
  // LLVM takes capital letters at the beginning of a statement; there is no harm in taking them everywhere.
  const first = text.charCodeAt(0) | 32;
  if (first !== letter.charCodeAt(0) || text.length < 2 || text.length > 3) return undefined;
  let index = 0;
  for (let at = 1; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return undefined;
    index = index * 10 + digit;
  }
  return index;
}

/**
 * A number: an expression without symbols, or one literal with at most one sign. No instruction has an expression that
 * begins with a parenthesis, since there LLVM looks for `(s8)` and the like.
 */
function number(state: State, index: number): { value: Value; next: number } | undefined {
  if (state.tokens[index]?.text === "(") return undefined;
  if (state.grammar.expressions) {
    const parsed = parseExpression(state.tokens, index, state.constants);
    const isNumber = parsed?.value.plus === undefined && parsed?.value.minus === undefined;
    return isNumber ? parsed : undefined;
  }
  const token = state.tokens[index] as Token;
  const signed = token.text === "-" || token.text === "+";
  const literal = signed ? (state.tokens[index + 1] as Token) : token;
  const value = literal.kind === "number" ? literal.value : state.constants.get(literal.text);
  if (value === undefined || literal.kind === "string") return undefined;
  return {
    value: {
      constant: token.text === "-" ? -value : value,
      at: token,
      decimal: literal.kind === "number" && !/^0[xXbB]/.test(literal.text),
    },
    next: index + (signed ? 2 : 1),
  };
}

/** A signed number. bpf_conformance writes negative 16-bit ones in hexadecimal too, as 0xfff8. */
function distance(
  state: State,
  field: PlaceholderName,
  index: number,
): { value: Value; next: number } | undefined {
  const parsed = number(state, index);
  if (parsed === undefined || state.grammar.expressions || PLACEHOLDERS[field].bits !== 16) return parsed;
  const { constant, at } = parsed.value;
  const isHexadecimal = state.tokens[parsed.next - 1]?.text.startsWith("0x");
  if (!isHexadecimal || constant <= 0x7fffn || constant > 0xffffn) return parsed;
  return { value: { constant: constant - 0x10000n, at }, next: parsed.next };
}

function name(state: State, index: number): { value: Value; next: number } | undefined {
  const token = state.tokens[index] as Token;
  if (token.kind !== "name" && token.kind !== "string") return undefined;
  if (registerOf(token, "r") !== undefined || registerOf(token, "w") !== undefined) return undefined;
  return { value: { constant: 0n, plus: symbolName(token), at: token }, next: index + 1 };
}

/** With more words than this that could follow, the kinds of operands tell more. */
const MAX_WORDS = 6;

/** Says where no path went on: what stands there, and what could. */
function explain({ grammar, tokens, furthest, expected, different }: State, start: number): Error {
  const token = tokens[furthest] as Token;
  const words = new Set(expected.flatMap((node) => [...node.words.keys()]));
  const fields = new Set(
    expected.flatMap((node) => node.fields.map(({ field }) => PLACEHOLDERS[field].text as string)),
  );
  const hint = token.kind === "name" ? didYouMean(token.text, words) : "";
  if (furthest === start && expected.includes(grammar.root)) {
    return asmError(token, `unknown instruction '${token.text}'${hint}`);
  }
  if (different?.index === furthest) {
    return asmError(token, `unexpected ${quote(token)}; it must be '${different.register}', as before`);
  }
  const found = token.kind === "end" ? "the statement ends too early" : `unexpected ${quote(token)}`;
  if (hint !== "") return asmError(token, `${found}${hint}`);
  if (expected.some((node) => node.row !== undefined)) words.add("the end of the statement");
  const operators = [...words].filter((word) => /^[^\w\s,]$/.test(word));
  // After an operand all operators can stand: to list their first characters would help nobody.
  if (operators.length > 5) {
    for (const operator of [...operators, "s"]) words.delete(operator);
    fields.add("an operator");
  }
  if (fields.size > 0 && words.size > MAX_WORDS) words.clear();
  const options = [...fields, ...[...words].map((word) => (word.includes(" ") ? word : `'${word}'`))];
  return asmError(token, `${found}; expected ${options.join(" or ")}`);
}

function quote({ text }: Token): string {
  return `'${text}'`;
}
