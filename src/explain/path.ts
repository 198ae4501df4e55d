/** The path on which a program was rejected, with what was known before each instruction. */
import type { Instruction } from "../isa/index.ts";
import {
  type StateSnapshot,
  type VerifierOptions,
  type VerifierProgram,
  type VerifierResult,
  type WalkTrace,
  verify,
} from "../verifier/index.ts";

export interface PathStep {
  readonly visit: number;
  readonly slot: number;
  readonly instruction: Instruction;
  /** Before the instruction. */
  readonly state: StateSnapshot;
}

/** A rejected program with its last path; without steps if it was rejected before or after the walk. */
export interface FailingPath {
  readonly program: VerifierProgram;
  /** How it was verified. */
  readonly options: VerifierOptions;
  readonly result: VerifierResult;
  readonly trace: WalkTrace | undefined;
  /** The newest steps of the path, oldest first; the last is the instruction at fault, or the one before it. */
  readonly steps: readonly PathStep[];
  /** Whether `steps` begins where the function does. */
  readonly complete: boolean;
  /** Slots of the whole path. */
  readonly slots: readonly number[];
}

/** Steps whose states are kept: enough for what a person reads, and bounded for paths of a million instructions. */
const MOST_STEPS = 3000;

/** The visits from the beginning of a function's walk to one visit. */
export function visitsTo({ parents }: WalkTrace, last: number): number[] {
  const visits: number[] = [];
  for (let visit = last; visit >= 0; visit = parents[visit] as number) visits.push(visit);
  return visits.reverse();
}

function withoutStates(
  program: VerifierProgram,
  options: VerifierOptions,
  result: VerifierResult,
): FailingPath {
  const { trace, complaint } = result;
  const visits = trace === undefined ? [] : visitsTo(trace, trace.last);
  return {
    program,
    options,
    result: { ...result, log: `${complaint}\n` },
    trace,
    steps: [],
    complete: false,
    slots: visits.map((visit) => trace?.slots[visit] ?? -1),
  };
}

/**
 * Verifies a program twice: to learn which path fails, and to see the states along it. A program that is accepted has no
 * steps.
 */
export function failingPath(program: VerifierProgram, options: VerifierOptions = {}): FailingPath {
  const { progress: _progress, ...rest } = options;
  const first = verify(program, { ...rest, logLevel: 0, trace: {} });
  const last = first.trace?.last ?? -1;
  // Where the patience ended, no state tells more than the path does; and the walk was long.
  if (first.errno === "E2BIG" && last >= 0) return withoutStates(program, options, first);
  const visits = first.trace === undefined ? [] : visitsTo(first.trace, last);
  const newest = visits.slice(-MOST_STEPS);
  const wanted = new Set(newest);
  const result = verify(program, { ...rest, logLevel: 1, trace: { wanted: (visit) => wanted.has(visit) } });
  const { trace } = result;
  const steps: PathStep[] = [];
  for (const visit of newest) {
    const slot = trace?.slots[visit];
    const state = trace?.states.get(visit);
    const instruction = slot === undefined ? undefined : program.instructions[slot];
    if (slot !== undefined && state !== undefined && instruction !== undefined) {
      steps.push({ visit, slot, instruction, state });
    }
  }
  return {
    program,
    options,
    result,
    trace,
    steps,
    complete: newest.length === visits.length,
    slots: visits.map((visit) => first.trace?.slots[visit] ?? -1),
  };
}
