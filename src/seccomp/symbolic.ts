/**
 * Running a filter for a call whose arguments are not known: the number and the architecture are, so that most tests have
 * one outcome; a test of an argument goes both ways, and each way remembers it. Filters have no loops, so this ends.
 */
import {
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  CBPF_SCRATCH_CELLS,
  cbpfRow,
  cbpfStatement,
  runCbpf,
} from "../cbpf/index.ts";
import { type SeccompArch, argumentName, syscallName } from "./arch.ts";
import { SECCOMP_DATA, type SeccompWord, wordAt } from "./data.ts";
import { type Known, split } from "./decision.ts";

/** A word of the call that is not known, perhaps masked. */
interface Symbol {
  readonly offset: number;
  readonly mask: number;
}

/** A number, a symbol, or something computed from symbols. */
type Value = number | Symbol | "unknown";

/** A test that a way through the filter has passed. */
export interface Condition {
  readonly word: SeccompWord | undefined;
  readonly mask: number;
  readonly test: "jeq" | "jgt" | "jge" | "jset";
  readonly constant: number;
  /** Whether the test holds. */
  readonly holds: boolean;
}

/** One way through a filter. */
export interface Outcome {
  readonly value: number;
  readonly conditions: readonly Condition[];
}

/** Most ways that are followed; filters of real programs have a few dozens. */
const MAX_OUTCOMES = 2000;
const ALL_BITS = 0xffffffff;

interface State {
  pc: number;
  a: Value;
  x: Value;
  readonly cells: Value[];
  readonly known: ReadonlyMap<string, Known>;
  readonly conditions: readonly Condition[];
}

/** What a filter can answer to a call, in the order of its instructions. */
export function outcomesOf(
  program: CbpfProgram,
  arch: SeccompArch,
  number: number,
  audit: number = arch.audit,
): Outcome[] {
  const outcomes: Outcome[] = [];
  const stack: State[] = [
    {
      pc: 0,
      a: 0,
      x: 0,
      cells: Array.from({ length: CBPF_SCRATCH_CELLS }, (): Value => 0),
      known: new Map(),
      conditions: [],
    },
  ];
  for (let state = stack.pop(); state !== undefined && outcomes.length < MAX_OUTCOMES; state = stack.pop()) {
    let value = step(program, state, arch, number, audit, stack);
    while (value === undefined) value = step(program, state, arch, number, audit, stack);
    outcomes.push({ value, conditions: state.conditions });
  }
  return outcomes;
}

/** One instruction; the value if it was the last one. A test that goes both ways puts one of them on the stack. */
function step(
  program: CbpfProgram,
  state: State,
  arch: SeccompArch,
  number: number,
  audit: number,
  stack: State[],
): number | undefined {
  const instruction = program[state.pc] as CbpfInstruction;
  const { semantics } = cbpfRow(instruction.code) as CbpfRow;
  const { k } = instruction;
  state.pc++;
  switch (semantics.kind) {
    case "packet":
      if (k === SECCOMP_DATA.nr) state.a = number >>> 0;
      else if (k === SECCOMP_DATA.arch) state.a = audit;
      else state.a = { offset: k, mask: ALL_BITS };
      return undefined;
    case "load": {
      const value =
        semantics.from === "k" ? k : semantics.from === "length" ? SECCOMP_DATA.size : state.cells[k];
      if (semantics.to === "a") state.a = value as Value;
      else state.x = value as Value;
      return undefined;
    }
    case "store":
      state.cells[k] = semantics.from === "a" ? state.a : state.x;
      return undefined;
    case "move":
      if (semantics.to === "a") state.a = state.x;
      else state.x = state.a;
      return undefined;
    case "alu": {
      const operand = semantics.operand === "x" ? state.x : k;
      const by = semantics.op === "div" || semantics.op === "mod";
      if (by && semantics.operand === "x" && operand === 0) return 0;
      state.a = compute(state.a, instruction, semantics.op, operand);
      return undefined;
    }
    case "goto":
      state.pc += k;
      return undefined;
    case "return":
      // A computed value is one that we can't foresee: the strongest action stands for it.
      return semantics.value === "k" ? k : typeof state.a === "number" ? state.a : 0x80000000;
    case "branch":
      decide(state, instruction, semantics.test, semantics.operand === "x" ? state.x : k, arch, stack);
      return undefined;
    default:
      return 0;
  }
}

/** Arithmetic on known numbers is the interpreter's; masking keeps a symbol one. */
function compute(a: Value, { code, k }: CbpfInstruction, op: string, operand: Value): Value {
  if (typeof a === "number" && typeof operand === "number") {
    const one = [
      cbpfStatement(0x01, operand),
      cbpfStatement(0x00, a),
      cbpfStatement(code, k),
      cbpfStatement(0x16),
    ];
    return runCbpf(one, new Uint8Array(0));
  }
  if (op === "and" && typeof a === "object" && typeof operand === "number") {
    return { offset: a.offset, mask: (a.mask & operand) >>> 0 };
  }
  return "unknown";
}

function decide(
  state: State,
  { jt, jf }: CbpfInstruction,
  test: "jeq" | "jgt" | "jge" | "jset",
  operand: Value,
  arch: SeccompArch,
  stack: State[],
): void {
  const { a } = state;
  if (typeof a === "number" && typeof operand === "number") {
    const holds =
      test === "jeq"
        ? a === operand
        : test === "jgt"
          ? a > operand
          : test === "jge"
            ? a >= operand
            : (a & operand) !== 0;
    state.pc += holds ? jt : jf;
    return;
  }
  if (typeof a !== "object" || typeof operand !== "number") {
    fork(
      state,
      { word: undefined, mask: ALL_BITS, test, constant: 0 },
      jt,
      jf,
      [state.known, state.known],
      stack,
    );
    return;
  }
  // A test of bits is a comparison of what a mask leaves with 0.
  const mask = test === "jset" ? (a.mask & operand) >>> 0 : a.mask;
  const key = `${a.offset} ${mask}`;
  const range = state.known.get(key) ?? { low: 0, high: mask };
  const [first, second] = test === "jset" ? split(range, "jeq", 0).toReversed() : split(range, test, operand);
  const after = (side: Known | undefined): ReadonlyMap<string, Known> | undefined =>
    side === undefined ? undefined : new Map(state.known).set(key, side);
  const word = wordAt(a.offset, arch.bigEndian);
  fork(state, { word, mask, test, constant: operand }, jt, jf, [after(first), after(second)], stack);
}

/** Goes the ways that are possible: this state one of them, a copy on the stack the other. */
function fork(
  state: State,
  condition: Omit<Condition, "holds">,
  jt: number,
  jf: number,
  [yes, no]: readonly (ReadonlyMap<string, Known> | undefined)[],
  stack: State[],
): void {
  const way = (holds: boolean, known: ReadonlyMap<string, Known>): State => ({
    pc: state.pc + (holds ? jt : jf),
    a: state.a,
    x: state.x,
    cells: [...state.cells],
    known,
    conditions:
      yes !== undefined && no !== undefined
        ? [...state.conditions, { ...condition, holds }]
        : state.conditions,
  });
  if (yes !== undefined && no !== undefined) stack.push(way(false, no));
  Object.assign(state, yes === undefined ? way(false, no as ReadonlyMap<string, Known>) : way(true, yes));
}

const SIGNS = { jeq: ["==", "!="], jgt: [">", "<="], jge: [">=", "<"] } as const;
const hexadecimal = (value: number | bigint): string =>
  value < 10 ? String(value) : `0x${value.toString(16)}`;

/** Conditions in words; the two halves of an argument that is compared with one number are put together. */
export function describeConditions(
  conditions: readonly Condition[],
  arch: SeccompArch,
  number: number,
): string[] {
  const syscall = syscallName(arch.name, number);
  const used = new Set<Condition>();
  return conditions.flatMap((condition) => {
    if (used.has(condition)) return [];
    const { word, mask, test, constant, holds } = condition;
    if (word === undefined) return ["a computed value passes a test"];
    const half = word.kind === "arg" ? (word.high ? " (upper half)" : " (lower half)") : "";
    const name = word.kind === "arg" ? argumentName(arch.name, syscall, word.index) : "instruction pointer";
    if (word.kind === "arg" && isEquality(condition)) {
      const other = conditions.find(
        (one) =>
          one !== condition &&
          isEquality(one) &&
          one.word?.kind === "arg" &&
          one.word.index === word.index &&
          one.word.high !== word.high,
      );
      if (other !== undefined) {
        used.add(other);
        const [upper, lower] = word.high ? [constant, other.constant] : [other.constant, constant];
        return [`${name} == ${hexadecimal((BigInt(upper) << 32n) | BigInt(lower))}`];
      }
    }
    const subject = mask === ALL_BITS ? `${name}${half}` : `(${name} & ${hexadecimal(mask)})${half}`;
    if (test === "jset") return [`${subject} ${holds ? "!=" : "=="} 0`];
    return [`${subject} ${SIGNS[test][holds ? 0 : 1]} ${hexadecimal(constant)}`];
  });
}

function isEquality({ test, mask, holds }: Condition): boolean {
  return test === "jeq" && holds && mask === ALL_BITS;
}
