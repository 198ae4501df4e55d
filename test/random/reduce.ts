/** Makes a program that shows something smaller: first by blanking instructions, then by leaving the blanks out. */
import { type Instruction, isWide, rowOf } from "../../src/isa/index.ts";
import type { GeneratedFunction, GeneratedProgram, GeneratedReference } from "./model.ts";

/** A jump to the next instruction: it does nothing, and keeps all distances. */
const BLANK: Instruction = { opcode: 0x05, dst: 0, src: 0, offset: 0, imm: 0 };

const isBlank = ({ opcode, offset }: Instruction): boolean => opcode === BLANK.opcode && offset === 0;

/**
 * The smallest program found for which `shows` still holds; it is asked again and again, a few hundred times for a long
 * program, and must say false for programs that are not accepted.
 *
 * @example
 * const small = await reduce(program, async (one) => (await compare(one)).differences.length > 0);
 */
export async function reduce(
  program: GeneratedProgram,
  shows: (program: GeneratedProgram) => Promise<boolean>,
): Promise<GeneratedProgram> {
  let best = program;
  for (let size = Math.ceil(program.instructions.length / 2); size >= 1; size = Math.floor(size / 2)) {
    // At the finest grain, until a whole pass finds nothing more.
    for (let found = true; found; ) {
      found = false;
      for (let start = 0; start < best.instructions.length; start += size) {
        const smaller = blank(best, start, start + size);
        if (smaller === undefined || !(await shows(smaller))) continue;
        best = smaller;
        found = true;
      }
      if (size > 1) break;
    }
  }
  const compact = removeBlanks(best);
  return (await shows(compact)) ? compact : best;
}

/** The program with a range of slots blanked; undefined if there is nothing to blank. */
function blank(program: GeneratedProgram, from: number, to: number): GeneratedProgram | undefined {
  const instructions = [...program.instructions];
  const references = new Map(program.references);
  let changed = false;
  for (let slot = 0; slot < instructions.length; slot++) {
    const instruction = instructions[slot] as Instruction;
    const wide = isWide(instruction);
    const inside = slot >= from && slot < to;
    const kind = rowOf(instruction)?.semantics.kind;
    if (inside && kind !== "exit" && !isBlank(instruction)) {
      changed = true;
      instructions[slot] = BLANK;
      if (wide) instructions[slot + 1] = BLANK;
      references.delete(slot);
    }
    if (wide) slot++;
  }
  return changed ? { ...program, instructions, references } : undefined;
}

/** The program without its blanks and without functions that nothing calls, with all distances set anew. */
export function removeBlanks(program: GeneratedProgram): GeneratedProgram {
  const { instructions } = program;
  const seconds = new Set(instructions.flatMap((one, slot) => (isWide(one) ? [slot + 1] : [])));
  const called = reachable(program);
  const functions = program.functions.filter((_, index) => called.has(index));
  /** Where each slot goes; of a blank, where the next instruction goes. */
  const places: number[] = [];
  let next = 0;
  const kept = (slot: number): boolean =>
    functions.some(({ start, end }) => slot >= start && slot < end) &&
    (seconds.has(slot) || !isBlank(instructions[slot] as Instruction));
  for (let slot = 0; slot < instructions.length; slot++) {
    places[slot] = next;
    if (kept(slot)) next++;
  }
  places[instructions.length] = next;
  const place = (slot: number): number => places[slot] as number;
  const moved: Instruction[] = [];
  const references = new Map<number, GeneratedReference>();
  instructions.forEach((instruction, slot) => {
    if (!kept(slot)) return;
    const reference = program.references.get(slot);
    if (reference !== undefined) references.set(moved.length, reference);
    const field = seconds.has(slot) ? undefined : distanceField(instruction);
    if (field === undefined) moved.push(instruction);
    else moved.push({ ...instruction, [field]: place(slot + 1 + instruction[field]) - place(slot) - 1 });
  });
  return {
    ...program,
    instructions: moved,
    references,
    functions: functions.map(
      ({ name, start, end }): GeneratedFunction => ({ name, start: place(start), end: place(end) }),
    ),
  };
}

function distanceField(instruction: Instruction): "offset" | "imm" | undefined {
  const row = rowOf(instruction);
  if (row?.fields.offset === "jump") return "offset";
  return row?.fields.imm === "jump" ? "imm" : undefined;
}

/** Indices of the functions that calls reach from the first. */
function reachable({ functions, instructions }: GeneratedProgram): Set<number> {
  const found = new Set<number>([0]);
  for (const index of found) {
    const { start, end } = functions[index] as GeneratedFunction;
    for (let slot = start; slot < end; slot++) {
      const instruction = instructions[slot] as Instruction;
      const semantics = rowOf(instruction)?.semantics;
      if (semantics?.kind !== "call" || semantics.target !== "local") continue;
      found.add(functions.findIndex((one) => one.start === slot + 1 + instruction.imm));
    }
  }
  return found;
}
