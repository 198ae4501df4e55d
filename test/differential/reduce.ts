/** Makes a program that shows a difference small: instructions are replaced by no-operations as long as it still shows. */
import { disassemble } from "../../src/asm/index.ts";
import { type Instruction, isWide } from "../../src/isa/index.ts";
import type { GeneratedProgram } from "../random/model.ts";

/** `goto +0`: does nothing, and leaves every distance as it is. */
const NOTHING: Instruction = { opcode: 0x05, dst: 0, src: 0, offset: 0, imm: 0 };
const EXIT = 0x95;

/**
 * `shows` runs a program everywhere and says whether the outcomes still differ; a program that the kernel rejects, or
 * that cannot be loaded, shows nothing.
 */
export async function reduce(
  program: GeneratedProgram,
  shows: (candidate: GeneratedProgram) => Promise<boolean>,
): Promise<GeneratedProgram> {
  let best = program;
  // From large pieces to single instructions, as long as something goes.
  for (
    let size = Math.ceil(best.instructions.length / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let start = 0; start < best.instructions.length; start += size) {
      const candidate = without(best, start, Math.min(start + size, best.instructions.length));
      if (candidate !== undefined && (await shows(candidate))) best = candidate;
    }
  }
  return best;
}

function without(program: GeneratedProgram, start: number, end: number): GeneratedProgram | undefined {
  const instructions = [...program.instructions];
  const references = new Map(program.references);
  let changed = false;
  for (let slot = 0; slot < end; slot++) {
    const instruction = instructions[slot] as Instruction;
    const width = isWide(instruction) ? 2 : 1;
    if (slot >= start && slot + width <= end && instruction.opcode !== EXIT && instruction !== NOTHING) {
      for (let at = slot; at < slot + width; at++) instructions[at] = NOTHING;
      references.delete(slot);
      changed = true;
    }
    slot += width - 1;
  }
  return changed ? { ...program, instructions, references } : undefined;
}

/** The program as assembly, without the no-operations. */
export function listing(program: GeneratedProgram): string {
  return disassemble(program.instructions, {
    symbols: program.functions.map(({ name, start }) => ({ name, offset: start * 8 })),
  })
    .split("\n")
    .filter((line) => !/\tgoto \+0x0( <.*>)?$/.test(line))
    .join("\n");
}
