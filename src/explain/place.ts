/** Where in the source an instruction comes from, and what stands around it. */
import type { LineInfo } from "../btf/index.ts";
import type { VerifierProgram } from "../verifier/index.ts";

/** An instruction and its source line. */
export interface Place {
  /** Slot of the instruction in the linked program. */
  readonly slot: number;
  /** Name of its function; "" without BTF. */
  readonly function: string;
  /** "" if the object has no line information. */
  readonly file: string;
  /** 0 if not known. */
  readonly line: number;
  readonly column: number;
  /** The line itself; "" if not known. */
  readonly text: string;
}

/** A line of an excerpt. */
export interface ExcerptLine {
  readonly line: number;
  readonly text: string;
}

/** The last element whose slot is not after `slot`. */
function lastAt<T extends { readonly slot: number }>(rows: readonly T[], slot: number): T | undefined {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle] as T).slot <= slot) low = middle + 1;
    else high = middle;
  }
  return rows[low - 1];
}

function functionAt({ functionInfo = [], btf, name }: VerifierProgram, slot: number): string {
  const info = lastAt(functionInfo, slot);
  if (info === undefined || btf === undefined) return functionInfo.length === 0 ? name : "";
  const type = btf.type(info.type);
  return type.kind === "func" ? type.name : "";
}

/** The lines of the function that a slot lies in. */
function functionLines(
  { functionInfo = [], lines = [] }: VerifierProgram,
  slot: number,
): readonly LineInfo[] {
  const from = lastAt(functionInfo, slot)?.slot ?? 0;
  const to = functionInfo.find((info) => info.slot > slot)?.slot ?? Number.POSITIVE_INFINITY;
  return lines.filter((line) => line.slot >= from && line.slot < to);
}

/**
 * Where an instruction comes from. Code that the compiler made up has line 0, or the line of an inlined function; the nearest
 * line before it in the same function is then more useful.
 */
export function placeOf(program: VerifierProgram, slot: number): Place {
  const own = functionLines(program, slot).filter((line) => line.slot <= slot);
  const info = own.findLast(({ line }) => line > 0);
  return {
    slot,
    function: functionAt(program, slot),
    file: info?.file ?? "",
    line: info?.line ?? 0,
    column: info?.column ?? 0,
    text: info?.text ?? "",
  };
}

/** "firewall.bpf.c:120", or the instruction where there is no source. */
export function placeText({ file, line, slot }: Place): string {
  return line === 0 ? `instruction ${slot}` : `${file.slice(file.lastIndexOf("/") + 1)}:${line}`;
}

/**
 * The source around a place, as far as the object's line information has it: compilers record only lines that made
 * instructions.
 */
export function excerptOf(program: VerifierProgram, { file, line }: Place, around = 2): ExcerptLine[] {
  const found = new Map<number, string>();
  for (const info of program.lines ?? []) {
    if (info.file !== file || Math.abs(info.line - line) > around || info.text === "") continue;
    if (!found.has(info.line)) found.set(info.line, info.text);
  }
  return [...found]
    .map(([number, text]) => ({ line: number, text }))
    .sort((first, second) => first.line - second.line);
}
