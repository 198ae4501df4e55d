import { INSTRUCTIONS, type InstructionRow } from "../isa/index.ts";
import { PLACEHOLDERS, type PlaceholderName } from "./placeholder.ts";

/**
 * What a dialect says about one row of the instruction table, as patterns: fixed text with placeholders in braces,
 * such as "{dst} += {imm}".
 */
export interface RowText {
  /** How the instruction is written. */
  readonly text: string;
  /** Other spellings that are understood when text is read. */
  readonly also?: readonly string[];
  /** How llvm-objdump writes it without the feature alu32, if that differs; null if it cannot decode it then. */
  readonly generic?: string | null;
  /** How llvm-objdump writes it in any case, if that differs; null if LLVM 19 does not know it. */
  readonly objdump?: string | null;
}

/** One piece of a pattern. */
export type Piece = string | { readonly field: PlaceholderName };

/** A pattern, cut into its pieces. */
export type Pattern = readonly Piece[];

/** Cuts "{dst} += {imm}" into pieces. */
export function cutPattern(text: string): Pattern {
  return text
    .split(/\{(\w+)\}/)
    .map((piece, index) => (index % 2 === 0 ? piece : { field: fieldName(piece) }))
    .filter((piece) => piece !== "");
}

function fieldName(name: string): PlaceholderName {
  if (!(name in PLACEHOLDERS)) throw new TypeError(`pattern: {${name}} is no placeholder`);
  return name as PlaceholderName;
}

/** The patterns of one row, cut. */
export interface RowPatterns {
  readonly row: InstructionRow;
  readonly text: Pattern;
  readonly also: readonly Pattern[];
  readonly generic: Pattern | null;
  readonly objdump: Pattern | null;
}

/** The patterns of every row, in the order of the table. */
export function cutAll(describe: (row: InstructionRow) => RowText): ReadonlyMap<InstructionRow, RowPatterns> {
  const all = new Map<InstructionRow, RowPatterns>();
  for (const row of INSTRUCTIONS) {
    const { text, also = [], generic, objdump } = describe(row);
    const primary = cutPattern(text);
    const dumped = objdump === undefined ? primary : objdump === null ? null : cutPattern(objdump);
    all.set(row, {
      row,
      text: primary,
      also: also.map(cutPattern),
      objdump: dumped,
      generic: generic === undefined ? dumped : generic === null ? null : cutPattern(generic),
    });
  }
  return all;
}
