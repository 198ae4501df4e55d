/**
 * What llvm-objdump 19 takes an instruction for. It differs from what Linux says in both directions, and where text
 * must equal objdump's, its errors count too. Asked of the tool, with every opcode and many fields (the tests repeat it):
 *
 * - Registers 0 to 11 exist.
 * - Reserved fields are not looked at, but for the offset of arithmetic and of `lddw`, and imm of byte order changes.
 * - Of imm of an atomic operation only bits 4 to 7 count, and whether the lower four are 1, which means fetch. So a
 *   load-acquire (0x100) reads as an addition.
 * - Without the feature alu32, of the 32-bit atomic operations only addition is known, and the lower bits do not count.
 */
import { type Instruction, type InstructionRow, ROWS_BY_OPCODE } from "../isa/index.ts";

/** The processors of LLVM's `--mcpu`. */
export type LlvmCpu = "generic" | "v1" | "v2" | "v3" | "v4";

/** Whether LLVM has the feature alu32 for a processor: `w` registers in loads and stores. */
export function hasAlu32(cpu: LlvmCpu): boolean {
  return cpu === "v3" || cpu === "v4";
}

const REGISTERS = 12;

/** The row that LLVM decodes a slot as, or undefined where it prints `<unknown>`. */
export function llvmRow(instruction: Instruction, alu32: boolean): InstructionRow | undefined {
  return (ROWS_BY_OPCODE[instruction.opcode] ?? []).find((row) => decodesAs(row, instruction, alu32));
}

function decodesAs({ fields, semantics }: InstructionRow, instruction: Instruction, alu32: boolean): boolean {
  const { dst, src, offset, imm } = instruction;
  if ((fields.dst === "reg" && dst >= REGISTERS) || (fields.src === "reg" && src >= REGISTERS)) return false;
  switch (semantics.kind) {
    case "alu":
      return semantics.op === "neg" || offset === fields.offset;
    case "addr_space_cast":
      return offset === fields.offset;
    case "exit":
      return imm === 0;
    case "endian":
      return imm === fields.imm;
    case "atomic": {
      if (typeof fields.imm !== "number" || fields.imm > 0xff) return false;
      if (semantics.bytes === 4 && !alu32) return semantics.op === "add" && ((imm ^ fields.imm) & 0xf0) === 0;
      if (((imm ^ fields.imm) & 0xf0) !== 0) return false;
      return semantics.fetch === ((imm & 0xf) === 1);
    }
    case "lddw":
      return offset === 0 && (fields.src === 0) === (src === 0);
    default:
      return true;
  }
}
