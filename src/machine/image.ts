import { type Instruction, rowOf } from "../isa/index.ts";
import type { LineInfo } from "../btf/index.ts";
import { markPoison } from "./poison.ts";
import { type LinkedProgram, type LinkedReference, lineAt } from "../object/index.ts";
import type { ProgramType } from "../uapi/index.ts";
import type { FunctionRange } from "./check.ts";

/** What an instruction waits for, by the name of a map or of a symbol that somebody else defines. */
export type ImageReference =
  | { readonly kind: "map"; readonly map: string }
  /** The address of byte `offset` of the map's first value. */
  | { readonly kind: "map_value"; readonly map: string; readonly offset: number }
  | { readonly kind: "extern"; readonly extern: string };

/** A program as a machine takes it: what engines need of a linked one, or bare instructions. */
export interface ProgramImage {
  readonly name: string;
  readonly type: ProgramType | undefined;
  readonly instructions: readonly Instruction[];
  /** The first is the main function. */
  readonly functions: readonly FunctionRange[];
  /** By slot of the `lddw` that waits for an address. */
  readonly references: ReadonlyMap<number, ImageReference>;
  readonly lines: readonly LineInfo[];
  /** By slot: what an instruction would need of the kernel's types and they have not; it stops the program. */
  readonly poisoned: ReadonlyMap<number, string>;
}

export function linkedImage(linked: LinkedProgram): ProgramImage {
  const { name, program, lines, poisoned } = linked;
  const instructions = markPoison(linked.instructions, poisoned);
  const functions = functionRanges(instructions, linked.functions);
  const references = new Map([...linked.references].map(([slot, reference]) => [slot, byName(reference)]));
  return { name, type: program?.type, instructions, functions, references, lines, poisoned };
}

function byName(reference: LinkedReference): ImageReference {
  if (reference.kind === "map") return { kind: "map", map: reference.map.name };
  if (reference.kind === "map_value")
    return { kind: "map_value", map: reference.map.name, offset: reference.offset };
  return { kind: "extern", extern: reference.extern.name };
}

/** Instructions without an object file around them. */
export function bareImage(
  name: string,
  type: ProgramType | undefined,
  instructions: readonly Instruction[],
  references: ReadonlyMap<number, ImageReference>,
): ProgramImage {
  const functions = functionRanges(instructions, [{ name, start: 0 }]);
  return { name, type, instructions, functions, references, lines: [], poisoned: new Map() };
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
