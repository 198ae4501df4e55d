/** More instructions between those of a program. */
import { type Instruction, rowOf } from "../isa/index.ts";
import type { ProgramImage } from "./image.ts";

/**
 * The program with one instruction before each of some slots. What jumps to such a slot meets the new instruction first, and everything that names
 * slots (jumps, calls, addresses of functions, lines, references) follows. The new instructions may themselves jump: their offsets are taken as given.
 */
export function insertBefore(image: ProgramImage, inserts: ReadonlyMap<number, Instruction>): ProgramImage {
  if (inserts.size === 0) return image;
  const { instructions, functions, references, lines, poisoned, exceptionCallback } = image;
  /** Where what came before an old slot ends now. */
  const moved = new Array<number>(instructions.length + 1);
  const result: Instruction[] = [];
  for (let slot = 0; slot <= instructions.length; slot++) {
    moved[slot] = result.length;
    const insert = inserts.get(slot);
    if (insert !== undefined) result.push(insert);
    const instruction = instructions[slot];
    if (instruction !== undefined) result.push(instruction);
  }
  const to = (slot: number): number => moved[slot] ?? slot;
  /** Of the old instruction itself. */
  const at = (slot: number): number => to(slot) + (inserts.has(slot) ? 1 : 0);
  instructions.forEach((instruction, slot) => {
    const distance = distanceOf(instruction);
    if (distance === undefined) return;
    const target = to(slot + 1 + instruction[distance]);
    result[at(slot)] = { ...instruction, [distance]: target - at(slot) - 1 };
  });
  return {
    ...image,
    instructions: result,
    functions: functions.map((range) => ({ ...range, start: to(range.start), end: to(range.end) })),
    references: new Map([...references].map(([slot, reference]) => [at(slot), reference])),
    lines: lines.map((line) => ({ ...line, slot: to(line.slot) })),
    poisoned: new Map([...poisoned].map(([slot, why]) => [at(slot), why])),
    ...(exceptionCallback === undefined ? {} : { exceptionCallback: to(exceptionCallback) }),
  };
}

/** The field that says how far away a slot is, counted from the next instruction. */
function distanceOf(instruction: Instruction): "offset" | "imm" | undefined {
  const semantics = rowOf(instruction)?.semantics;
  switch (semantics?.kind) {
    case "jump":
    case "may_goto":
      return "offset";
    case "goto":
      return semantics.distance;
    case "call":
      return semantics.target === "local" ? "imm" : undefined;
    case "lddw":
      return semantics.value === "func" ? "imm" : undefined;
    default:
      return undefined;
  }
}
