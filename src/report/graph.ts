/** The control flow graph of a program: basic blocks of each function, and what follows what. */
import { type Instruction, isWide } from "../isa/index.ts";

export interface GraphBlock {
  readonly id: number;
  /** First and last slot. */
  readonly first: number;
  readonly last: number;
  /** Index of the function. */
  readonly function: number;
}

export interface GraphEdge {
  readonly from: number;
  readonly to: number;
  readonly kind: "jump" | "fall";
}

export interface ControlFlow {
  readonly blocks: readonly GraphBlock[];
  readonly edges: readonly GraphEdge[];
}

const EXIT = 0x95;

/** Where an instruction may go besides the next; `falls`: it may go on to the next too. */
function targetsOf(
  { opcode, offset, imm }: Instruction,
  slot: number,
): { jump: number | undefined; falls: boolean } {
  const cls = opcode & 7;
  const operation = opcode & 0xf0;
  if ((cls !== 5 && cls !== 6) || operation === 0x80) return { jump: undefined, falls: true };
  if (opcode === EXIT) return { jump: undefined, falls: false };
  const jump = slot + 1 + (opcode === 0x06 ? imm : offset);
  return { jump, falls: operation !== 0 };
}

/**
 * Blocks by ascending slot. Jumps out of the program are left out, so that programs which do not verify have a graph too.
 * `starts`: the first slots of the functions.
 */
export function controlFlow(instructions: readonly Instruction[], starts: readonly number[]): ControlFlow {
  const count = instructions.length;
  const leaders = new Set<number>([0, ...starts]);
  for (let slot = 0; slot < count; slot++) {
    const instruction = instructions[slot] as Instruction;
    const { jump, falls } = targetsOf(instruction, slot);
    if (jump !== undefined && jump >= 0 && jump < count) leaders.add(jump);
    if (jump !== undefined || !falls) leaders.add(slot + 1);
    if (isWide(instruction)) slot++;
  }
  const firsts = [...leaders].filter((slot) => slot < count).sort((first, second) => first - second);
  const byFirst = new Map(firsts.map((first, id) => [first, id]));
  const blocks: GraphBlock[] = [];
  const edges: GraphEdge[] = [];
  for (const [id, first] of firsts.entries()) {
    const end = firsts[id + 1] ?? count;
    let last = first;
    for (let slot = first; slot < end; slot++) {
      last = slot;
      if (isWide(instructions[slot] as Instruction)) slot++;
    }
    const owner = starts.findLastIndex((start) => start <= first);
    blocks.push({ id, first, last, function: Math.max(0, owner) });
    const { jump, falls } = targetsOf(instructions[last] as Instruction, last);
    const next = byFirst.get(end);
    if (falls && next !== undefined && !starts.includes(end))
      edges.push({ from: id, to: next, kind: "fall" });
    const target = jump === undefined ? undefined : byFirst.get(jump);
    if (target !== undefined) edges.push({ from: id, to: target, kind: "jump" });
  }
  return { blocks, edges };
}
