/** One instruction as text. */
import {
  type Instruction,
  type InstructionRow,
  OPCODE_LDDW,
  checkInstructions,
  encodeInstructions,
  isWide,
  rowOf,
} from "../isa/index.ts";
import { type DialectName, dialectOf } from "./dialect.ts";
import { type LlvmCpu, hasAlu32, llvmRow } from "./objdump.ts";
import type { Pattern } from "./pattern.ts";
import { formatPlaceholder } from "./placeholder.ts";

export interface FormatOptions {
  /** Default "llvm". */
  readonly dialect?: DialectName;
  /**
   * Print to the letter what `llvm-objdump-19 --mcpu=CPU` prints ("generic" is its default), `<unknown>` and the
   * ambiguities of its text included. Without it, every instruction that Linux 6.18 has gets a text of its own that
   * assembles back to it, and what is no instruction is written as a number (`.quad 0x…`). For "llvm" only.
   */
  readonly cpu?: LlvmCpu;
  /** Byte order of the program, in which what is no instruction is written. Default true. */
  readonly littleEndian?: boolean;
}

/** What objdump prints for bytes that it cannot decode. */
export const UNKNOWN = "<unknown>";

/**
 * The text of one instruction. For an `lddw`, pass its second slot too: without it, it is no instruction.
 *
 * @example
 * formatInstruction({ opcode: 0x0f, dst: 1, src: 2, offset: 0, imm: 0 }); // "r1 += r2"
 * formatInstruction({ opcode: 0x15, dst: 1, src: 0, offset: 5, imm: 0 }, undefined, { dialect: "rfc" }); // "jeq %r1, 0, +5"
 */
export function formatInstruction(
  instruction: Instruction,
  second?: Instruction,
  { dialect = "llvm", cpu, littleEndian = true }: FormatOptions = {},
): string {
  if (cpu !== undefined && dialect === "llvm") return formatLikeObjdump(instruction, second, cpu);
  const row = rowOf(instruction);
  const isWhole = !isWide(instruction) || isPair(instruction, second);
  const pattern = row !== undefined && isWhole ? dialectOf(dialect).patterns().get(row)?.text : undefined;
  return pattern === undefined
    ? rawSlot(instruction, littleEndian)
    : write(pattern, instruction, second, dialect);
}

/** Whether two slots are a whole `lddw`. */
export function isPair(first: Instruction, second: Instruction | undefined): boolean {
  return second !== undefined && checkInstructions([first, second]) === undefined;
}

function formatLikeObjdump(instruction: Instruction, second: Instruction | undefined, cpu: LlvmCpu): string {
  const alu32 = hasAlu32(cpu);
  const row =
    instruction.opcode === OPCODE_LDDW && second === undefined ? undefined : llvmRow(instruction, alu32);
  if (row === undefined) return UNKNOWN;
  const patterns = dialectOf("llvm").patterns().get(row);
  const pattern = alu32 ? patterns?.objdump : patterns?.generic;
  if (pattern === undefined || pattern === null) return UNKNOWN;
  // Of a map, a function and so on, LLVM prints the first slot only.
  const shown = second !== undefined && instruction.src !== 0 ? { ...second, imm: 0 } : second;
  return write(pattern, instruction, shown, "llvm");
}

function write(
  pattern: Pattern,
  instruction: Instruction,
  second: Instruction | undefined,
  dialect: DialectName,
): string {
  const { style } = dialectOf(dialect);
  let text = "";
  for (const piece of pattern) {
    text +=
      typeof piece === "string"
        ? piece
        : formatPlaceholder(piece.field, instruction, second?.imm ?? 0, style);
  }
  return text;
}

/** A slot that is no instruction, as a number of 8 bytes in the program's byte order. */
function rawSlot(instruction: Instruction, littleEndian: boolean): string {
  const bytes = encodeInstructions([instruction], { littleEndian });
  const value = new DataView(bytes.buffer).getBigUint64(0, littleEndian);
  return `.quad 0x${value.toString(16).padStart(16, "0")}`;
}

/** The distance in slots that an instruction jumps, from the one behind it; undefined if it does not jump. */
export function jumpDistance({ offset, imm }: Instruction, row: InstructionRow): number | undefined {
  switch (row.semantics.kind) {
    case "jump":
    case "may_goto":
      return offset;
    case "goto":
      return row.semantics.distance === "offset" ? offset : imm;
    default:
      return undefined;
  }
}
