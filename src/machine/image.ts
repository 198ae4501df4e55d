import { type Instruction, rowOf } from "../isa/index.ts";
import type { LineInfo } from "../btf/index.ts";
import { type LinkedProgram, type LinkedReference, lineAt } from "../object/index.ts";
import type { ProgramType } from "../uapi/index.ts";
import type { FunctionRange } from "./check.ts";

/** A program as a machine takes it: what engines need of a linked one, or bare instructions. */
export interface ProgramImage {
  readonly name: string;
  readonly type: ProgramType | undefined;
  readonly instructions: readonly Instruction[];
  /** The first is the main function. */
  readonly functions: readonly FunctionRange[];
  readonly references: ReadonlyMap<number, LinkedReference>;
  readonly lines: readonly LineInfo[];
}

export function linkedImage(linked: LinkedProgram): ProgramImage {
  const { name, program, instructions, references, lines } = linked;
  const functions = functionRanges(instructions, linked.functions);
  return { name, type: program?.type, instructions, functions, references, lines };
}

/** Instructions without an object file around them. */
export function bareImage(name: string, instructions: readonly Instruction[]): ProgramImage {
  const functions = functionRanges(instructions, [{ name, start: 0 }]);
  return { name, type: undefined, instructions, functions, references: new Map(), lines: [] };
}

/**
 * Functions begin where symbols say, and, as in the kernel, wherever something calls or points: hand-written code need
 * not name what it calls.
 */
function functionRanges(
  instructions: readonly Instruction[],
  known: readonly Pick<FunctionRange, "name" | "start">[],
): FunctionRange[] {
  const names = new Map(known.map(({ start, name }) => [start, name]));
  instructions.forEach((instruction, slot) => {
    const semantics = rowOf(instruction)?.semantics;
    const refers =
      (semantics?.kind === "call" && semantics.target === "local") ||
      (semantics?.kind === "lddw" && semantics.value === "func");
    const target = slot + 1 + instruction.imm;
    // A target outside the program is the structural check's to name.
    if (refers && target >= 0 && target < instructions.length && !names.has(target)) {
      names.set(target, `${known[0]?.name ?? "main"}_${target}`);
    }
  });
  const starts = [...names.keys()].sort((a, b) => a - b);
  return starts.map((start, index) => ({
    name: names.get(start) ?? "",
    start,
    end: starts[index + 1] ?? instructions.length,
  }));
}

/** `file:line` of a slot, if the object has line information. */
export function sourceOf({ lines }: Pick<ProgramImage, "lines">, slot: number): string | undefined {
  const line = lineAt(lines, slot);
  return line === undefined ? undefined : `${line.file}:${line.line}`;
}
