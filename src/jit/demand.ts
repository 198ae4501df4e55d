/**
 * Whose values are still needed, and how much of them: a backward data-flow analysis that treats the lower and the
 * upper half of each register apart. An address, a 32-bit operation or a narrow store asks for the lower half only,
 * so the 64-bit additions that lead to it can be made in 32 bits; a result that nobody asks for is not computed.
 *
 * Arguments of calls are what the called function asks for, if that is known already.
 */
import { FRAME_POINTER } from "../isa/index.ts";
import type { Shape } from "./dominators.ts";
import { type Step, clobbersArguments, definedRegister, isPure } from "./steps.ts";

/** Masks of registers, bit n for register n; `upper` is part of `live`. */
export interface Demand {
  readonly live: number;
  readonly upper: number;
}

export interface DemandResult {
  /** At the entry of each block. */
  readonly live: Uint16Array;
  readonly upper: Uint16Array;
}

const MAX_ROUNDS = 16;
const FRAME_POINTER_BIT = 1 << FRAME_POINTER;
const ARGUMENTS = 0b111110;
const ALL = FRAME_POINTER_BIT - 1;

/** A call of which nothing is known asks for all arguments. */
export const UNKNOWN_CALL: Demand = { live: ARGUMENTS, upper: ARGUMENTS };

/** Runs the analysis, and decides for each step whether it is dead and whether it is made in 32 bits. */
export function analyseDemand(
  shape: Shape,
  steps: readonly Step[],
  argumentsOf: (functionIndex: number) => Demand,
  optimize: boolean,
  sandboxed: boolean,
): DemandResult {
  const { blocks, predecessors } = shape;
  const result = { live: new Uint16Array(blocks.length), upper: new Uint16Array(blocks.length) };
  const walker = new Walker(argumentsOf, sandboxed);
  const pending = new Uint8Array(blocks.length).fill(1);
  if (!optimize) {
    // One round in which everything is asked for at the end of every block.
    for (let index = blocks.length - 1; index >= 0; index--) {
      const { first, end, successors } = blocks[index] as (typeof blocks)[number];
      walker.start(result, successors, true);
      for (let at = end - 1; at >= first; at--) walker.step(steps[at] as Step);
      result.live[index] = ALL;
      result.upper[index] = ALL;
    }
    return result;
  }
  let again = true;
  for (let round = 0; again; round++) {
    again = false;
    for (let index = blocks.length - 1; index >= 0; index--) {
      if (pending[index] === 0) continue;
      pending[index] = 0;
      const { first, end, successors } = blocks[index] as (typeof blocks)[number];
      walker.start(result, successors, round >= MAX_ROUNDS);
      for (let at = end - 1; at >= first; at--) walker.step(steps[at] as Step);
      if (walker.live === result.live[index] && walker.upper === result.upper[index]) continue;
      result.live[index] = walker.live;
      result.upper[index] = walker.upper;
      for (
        let edge = predecessors.starts[index] as number;
        edge < (predecessors.starts[index + 1] as number);
        edge++
      ) {
        const before = predecessors.list[edge] as number;
        pending[before] = 1;
        if (before >= index) again = true;
      }
    }
    // Too deeply nested to go on: one last round with everything asked for at the end of every block.
    if (again && round === MAX_ROUNDS - 1) pending.fill(1);
    else if (round === MAX_ROUNDS) again = false;
  }
  return result;
}

/** Walks backwards through one block. */
class Walker {
  live = 0;
  upper = 0;
  readonly #argumentsOf: (functionIndex: number) => Demand;

  /** The core looks at all of r1 to r5 before helpers are called. */
  readonly #sandboxed: boolean;

  constructor(argumentsOf: (functionIndex: number) => Demand, sandboxed: boolean) {
    this.#argumentsOf = argumentsOf;
    this.#sandboxed = sandboxed;
  }

  start(result: DemandResult, successors: readonly number[], everything: boolean): void {
    this.live = everything && successors.length > 0 ? ALL : 0;
    this.upper = this.live;
    for (const next of successors) {
      this.live |= result.live[next] as number;
      this.upper |= result.upper[next] as number;
    }
  }

  step(step: Step): void {
    if (step.identity) return;
    const defined = definedRegister(step);
    const bit = defined >= 0 ? 1 << defined : 0;
    step.dead = step.implied || (isPure(step) && (this.live & bit) === 0);
    step.narrow = step.exact || ((step.lowOnly || !isArithmetic(step)) && (this.upper & bit) === 0);
    this.live &= ~bit;
    this.upper &= ~bit;
    if (step.dead) return;
    if (clobbersArguments(step)) {
      this.live &= ~ARGUMENTS;
      this.upper &= ~ARGUMENTS;
    }
    this.#uses(step);
  }

  /** Notes a use of the lower half, or of both. */
  #use(step: Step, register: number, whole: boolean): void {
    const bit = 1 << register;
    if ((step.known & bit) !== 0 || register === FRAME_POINTER) return;
    this.live |= bit;
    // The upper half of a small value is zero, so nobody has to have it.
    if (whole && (step.small & bit) === 0) this.upper |= bit;
  }

  #uses(step: Step): void {
    switch (step.kind) {
      case "alu":
        if (step.op !== "mov" && step.op !== "movsx") this.#use(step, step.dst, !step.narrow);
        // Sign extension reads 8 to 32 bits, a 32-bit move 32.
        if (step.register) this.#use(step, step.src, !step.narrow && step.op !== "movsx");
        return;
      case "endian":
        this.#use(step, step.dst, !step.narrow);
        return;
      case "jump":
        this.#useComparison(step);
        return;
      case "select": {
        const move = step.chosen as Step;
        this.#use(step, move.dst, !step.narrow);
        if (move.kind === "alu") this.#use(step, move.src, !step.narrow && move.wide);
        this.#useComparison(step);
        return;
      }
      case "load":
        this.#use(step, step.src, step.probe);
        return;
      case "store":
        this.#use(step, step.dst, false);
        if (step.register) this.#use(step, step.src, step.bytes === 8);
        return;
      case "atomic":
        this.#use(step, step.dst, false);
        this.#use(step, step.src, step.bytes === 8);
        if (step.op === "cmpxchg") this.#use(step, 0, step.bytes === 8);
        return;
      case "packet":
        this.#use(step, 6, this.#sandboxed);
        if (step.op === "ind") this.#use(step, step.src, false);
        return;
      case "exit":
        this.#use(step, 0, true);
        return;
      case "local":
        this.#useArguments(step, this.#argumentsOf(step.target));
        return;
      case "register":
        this.#use(step, step.dst, true);
        this.#useArguments(step, UNKNOWN_CALL);
        return;
      case "helper":
        this.#useHelperArguments(step);
        return;
      default:
    }
  }

  #useComparison(step: Step): void {
    this.#use(step, step.dst, !step.exactComparison);
    if (step.register) this.#use(step, step.src, !step.exactComparison);
  }

  #useArguments(step: Step, { live, upper }: Demand): void {
    for (let register = 1; register <= 5; register++) {
      const bit = 1 << register;
      if ((live & bit) !== 0) this.#use(step, register, (upper & bit) !== 0);
    }
  }

  #useHelperArguments(step: Step): void {
    const { lowering } = step;
    if (lowering?.kind === "core") {
      lowering.args.forEach((type, index) => this.#use(step, index + 1, type === "u64" || this.#sandboxed));
    } else if (lowering?.kind === "host") {
      for (let register = 1; register <= lowering.args; register++) this.#use(step, register, true);
    } else if (lowering?.kind === "array") {
      this.#use(step, 2, false);
    }
  }
}

function isArithmetic(step: Step): boolean {
  return step.kind === "alu" || step.kind === "endian" || step.kind === "select";
}
