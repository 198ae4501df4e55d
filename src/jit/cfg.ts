/**
 * The control flow graph of one function: basic blocks of steps, unreachable code left out.
 */
import { BpfError } from "../errors.ts";
import { type Instruction, isWide } from "../isa/index.ts";
import { type Step, endsBlock, joinShiftPairs, jumps, readStep } from "./steps.ts";
import type { FunctionRange } from "./types.ts";

export interface Block {
  /** Index of the first step and one past the last. A jump or exit is the last step of its block. */
  readonly first: number;
  readonly end: number;
  /** Blocks that may run next. Of a conditional jump: the target, then the next instruction's block. */
  successors: number[];
  /** Of a block made by reduce.ts that chooses the entry of a loop: the choice that it notes. Else -1. */
  readonly choice: number;
  /** Made by reduce.ts: goes to the successor whose index was noted last. */
  readonly dispatches: boolean;
}

export interface Graph {
  readonly steps: readonly Step[];
  /** The first is the entry. */
  readonly blocks: readonly Block[];
}

export function buildGraph(
  instructions: readonly Instruction[],
  range: FunctionRange,
  functionAt: (slot: number) => number,
  optimize: boolean,
): Graph {
  const steps = readReachable(instructions, range, functionAt);
  const blocks = formBlocks(steps, range);
  if (optimize) for (const { first, end } of blocks) joinShiftPairs(steps, first, end);
  return { steps, blocks };
}

function readReachable(
  instructions: readonly Instruction[],
  { name, start, end }: FunctionRange,
  functionAt: (slot: number) => number,
): Step[] {
  const found = new Array<Step | undefined>(end - start).fill(undefined);
  const pending = [start];
  let count = 0;
  const outside = (text: string, slot: number): BpfError =>
    new BpfError("program", `function '${name}': ${text}`, { where: { instruction: slot } });
  if (start < 0 || start >= end || end > instructions.length) {
    throw outside(`slots ${start} to ${end} do not lie in the program`, start);
  }
  while (pending.length > 0) {
    let slot = pending.pop() as number;
    while (found[slot - start] === undefined) {
      const step = readStep(instructions, slot, functionAt);
      found[slot - start] = step;
      count++;
      if (jumps(step)) {
        if (step.target < start || step.target >= end) {
          throw outside(`instruction ${slot} jumps to slot ${step.target}, outside the function`, slot);
        }
        pending.push(step.target);
      }
      if (step.kind === "goto" || step.kind === "exit") break;
      slot += isWide(instructions[slot] as Instruction) ? 2 : 1;
      if (slot >= end) throw outside("runs past its last instruction", slot - 1);
    }
  }
  let kept = 0;
  for (let at = 0; kept < count; at++) {
    const step = found[at];
    if (step !== undefined) found[kept++] = step;
  }
  found.length = count;
  return found as Step[];
}

/** Of blocks that end in an exit; the others get their own. */
const NONE: number[] = [];

function formBlocks(steps: readonly Step[], { start, end: functionEnd }: FunctionRange): Block[] {
  const isLeader = new Uint8Array(functionEnd - start);
  for (const step of steps) if (jumps(step)) isLeader[step.target - start] = 1;
  const blocks: Block[] = [];
  const blockAt = new Int32Array(functionEnd - start);
  for (let first = 0; first < steps.length; ) {
    let end = first + 1;
    while (
      !endsBlock(steps[end - 1] as Step) &&
      end < steps.length &&
      isLeader[(steps[end] as Step).slot - start] === 0
    ) {
      end++;
    }
    blockAt[(steps[first] as Step).slot - start] = blocks.length;
    blocks.push({ first, end, successors: NONE, choice: -1, dispatches: false });
    first = end;
  }
  for (let index = 0; index < blocks.length; index++) {
    const block = blocks[index] as Block;
    const last = steps[block.end - 1] as Step;
    if (last.kind === "exit") continue;
    // Blocks stand in the order of their slots, so the one that follows in the text follows in the list.
    const next = index + 1;
    if (!jumps(last)) {
      block.successors = [next];
      continue;
    }
    const taken = blockAt[last.target - start] as number;
    if (taken === next) last.kind = "goto";
    block.successors = taken === next || last.kind === "goto" ? [taken] : [taken, next];
  }
  return blocks;
}
