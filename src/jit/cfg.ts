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
): Graph {
  const steps = readReachable(instructions, range, functionAt);
  return { steps, blocks: formBlocks(steps, range.start) };
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
  const steps = new Array<Step>(count);
  let index = 0;
  for (const step of found) if (step !== undefined) steps[index++] = step;
  return steps;
}

function formBlocks(steps: readonly Step[], start: number): Block[] {
  const leaders = new Set<number>([start]);
  for (const step of steps) {
    if (jumps(step)) leaders.add(step.target);
  }
  const blocks: Block[] = [];
  const blockAt = new Map<number, number>();
  for (let first = 0; first < steps.length; ) {
    let end = first + 1;
    while (
      !endsBlock(steps[end - 1] as Step) &&
      end < steps.length &&
      !leaders.has((steps[end] as Step).slot)
    ) {
      end++;
    }
    blockAt.set((steps[first] as Step).slot, blocks.length);
    blocks.push({ first, end, successors: [], choice: -1, dispatches: false });
    joinShiftPairs(steps, first, end);
    first = end;
  }
  const at = (slot: number): number => blockAt.get(slot) as number;
  blocks.forEach((block, index) => {
    const last = steps[block.end - 1] as Step;
    if (last.kind === "exit") return;
    if (last.kind === "goto") {
      block.successors = [at(last.target)];
      return;
    }
    // Blocks stand in the order of their slots, so the one that follows in the text follows in the list.
    const next = index + 1;
    if (last.kind === "jump" || last.kind === "may_goto") {
      const taken = at(last.target);
      if (taken === next) last.kind = "goto";
      block.successors = taken === next ? [next] : [taken, next];
      return;
    }
    block.successors = [next];
  });
  return blocks;
}
