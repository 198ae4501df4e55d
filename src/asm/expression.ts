import { type Position, asmError } from "./diagnostic.ts";
import type { Token } from "./lexer.ts";

/**
 * The value of an expression: a number, or a number relative to a symbol, or the distance of two symbols. More
 * than that no relocation can express.
 */
export interface Value {
  readonly constant: bigint;
  readonly plus?: string;
  readonly minus?: string;
  /** A literal in base 10 of the mnemonic dialect, which makes no bit pattern out of a number: 0xffffffff is -1 there,
   * 4294967295 is too large. */
  readonly decimal?: boolean;
  /** Where it stands. */
  readonly at: Position;
}

/** An expression and the index of the token behind it. */
export interface Parsed {
  readonly value: Value;
  readonly next: number;
}

/** Binding strength of binary operators, as LLVM's assembler has it for GNU targets other than Darwin. */
const PRECEDENCE: Readonly<Record<string, number>> = {
  "+": 4,
  "-": 4,
  "|": 5,
  "^": 5,
  "&": 5,
  "*": 6,
  "/": 6,
  "%": 6,
  "<<": 6,
  ">>": 6,
};

const MAX_DEPTH = 100;

/** Registers are no symbols. */
const REGISTER = /^[rw]\d+$/;

/**
 * Reads an expression from the tokens: numbers, names, unary and binary operators, parentheses, `.` for the present
 * position. Undefined if none begins here. Arithmetic wraps at 64 bits, as LLVM's does.
 *
 * An operator that is followed by nothing that can be an operand is left alone: in `if r1 > 5 & r2`, that is an error
 * of the instruction and not of the number.
 */
export function parseExpression(
  tokens: readonly Token[],
  start: number,
  constants: Constants,
): Parsed | undefined {
  return binary({ tokens, constants }, start, 0, 0);
}

/** Names that stand for numbers. */
export type Constants = ReadonlyMap<string, bigint>;

interface Source {
  readonly tokens: readonly Token[];
  readonly constants: Constants;
}

function binary(source: Source, start: number, weakest: number, depth: number): Parsed | undefined {
  let left = unary(source, start, depth);
  while (left !== undefined) {
    const operator = operatorAt(source.tokens, left.next);
    const strength = PRECEDENCE[operator] ?? 0;
    if (strength <= weakest) break;
    const right = binary(source, left.next + operator.length, strength, depth);
    if (right === undefined) break;
    left = { value: combine(operator, left.value, right.value), next: right.next };
  }
  return left;
}

function operatorAt(tokens: readonly Token[], index: number): string {
  const token = tokens[index];
  if (token?.kind !== "punctuation") return "";
  const following = tokens[index + 1];
  const isShift = (token.text === "<" || token.text === ">") && following?.text === token.text;
  return isShift && !following.spaced ? token.text + token.text : token.text;
}

function unary(source: Source, index: number, depth: number): Parsed | undefined {
  const { tokens, constants } = source;
  const token = tokens[index];
  if (token === undefined) return undefined;
  if (depth > MAX_DEPTH) throw asmError(token, `the expression is nested more than ${MAX_DEPTH} deep`);
  switch (token.kind) {
    case "number":
      return { value: { constant: token.value, at: token }, next: index + 1 };
    case "name":
    case "string":
      if (token.kind === "name" && REGISTER.test(token.text)) return undefined;
      return { value: nameValue(token, constants), next: index + 1 };
    case "end":
      return undefined;
    case "punctuation":
      break;
  }
  if (token.text === "(") {
    const inner = binary(source, index + 1, 0, depth + 1);
    if (inner === undefined || tokens[inner.next]?.text !== ")") return undefined;
    return { value: { ...inner.value, at: token }, next: inner.next + 1 };
  }
  if (!"+-~!".includes(token.text)) return undefined;
  const operand = unary(source, index + 1, depth + 1);
  if (operand === undefined) return undefined;
  return { value: { ...applyUnary(token, operand.value), at: token }, next: operand.next };
}

function nameValue(token: Token, constants: Constants): Value {
  const name = symbolName(token);
  const meaning = constants.get(name);
  return meaning === undefined ? { constant: 0n, plus: name, at: token } : { constant: meaning, at: token };
}

/** The name that a token stands for; quoted names are UTF-8. */
export function symbolName(token: Token): string {
  if (token.kind !== "string") return token.text;
  return new TextDecoder().decode(Uint8Array.from(token.text, (character) => character.charCodeAt(0)));
}

function applyUnary(token: Token, value: Value): Value {
  if (token.text === "+") return value;
  if (token.text === "-") return negate(value);
  const { constant } = onlyNumber(value, token.text);
  if (token.text === "~") return { constant: ~constant, at: value.at };
  return { constant: constant === 0n ? 1n : 0n, at: value.at };
}

function negate({ constant, plus, minus, at }: Value): Value {
  return {
    constant: -constant,
    ...(minus === undefined ? {} : { plus: minus }),
    ...(plus === undefined ? {} : { minus: plus }),
    at,
  };
}

function onlyNumber(value: Value, operator: string): Value {
  const symbol = value.plus ?? value.minus;
  if (symbol === undefined) return value;
  throw asmError(value.at, `'${symbol}' is a symbol; '${operator}' takes numbers only`);
}

function combine(operator: string, left: Value, right: Value): Value {
  if (operator === "+" || operator === "-") {
    const { constant, plus, minus } = operator === "+" ? right : negate(right);
    if (
      (left.plus !== undefined && plus !== undefined) ||
      (left.minus !== undefined && minus !== undefined)
    ) {
      throw asmError(right.at, "an expression can add one symbol and subtract one");
    }
    const [sum, difference] = [left.plus ?? plus, left.minus ?? minus];
    return {
      constant: wrap(left.constant + constant),
      ...(sum === undefined ? {} : { plus: sum }),
      ...(difference === undefined ? {} : { minus: difference }),
      at: left.at,
    };
  }
  const { constant: a } = onlyNumber(left, operator);
  const { constant: b } = onlyNumber(right, operator);
  return { constant: wrap(calculate(operator, a, b, right.at)), at: left.at };
}

function calculate(operator: string, a: bigint, b: bigint, at: Position): bigint {
  switch (operator) {
    case "*":
      return a * b;
    case "|":
      return a | b;
    case "^":
      return a ^ b;
    case "&":
      return a & b;
    case "<<":
    case ">>":
      if (b < 0n || b > 63n) throw asmError(at, `a shift by ${b} is out of range, 0 to 63`);
      return operator === "<<" ? a << b : BigInt.asUintN(64, a) >> b;
    default:
      if (b === 0n) throw asmError(at, "division by 0");
      return operator === "/" ? a / b : a % b;
  }
}

/** Results of arithmetic keep 64 bits; a number that stands alone is left as it is, for the range checks to see. */
function wrap(value: bigint): bigint {
  return value < -(1n << 63n) || value >= 1n << 64n ? BigInt.asIntN(64, value) : value;
}
