import { INSTRUCTIONS, type Instruction, type InstructionRow } from "../isa/index.ts";
import { BpfError } from "../errors.ts";

const ROWS: ReadonlyMap<string, InstructionRow> = new Map(INSTRUCTIONS.map((row) => [row.name, row]));

/** The fields that a row leaves open; those that are left out are 0. */
export interface Operands {
  readonly dst?: number;
  readonly src?: number;
  readonly offset?: number;
  readonly imm?: number;
}

/**
 * One slot by the name of its row in the instruction table.
 *
 * @example
 * op("add64_imm", { dst: 1, imm: 8 }); // r1 += 8
 */
export function op(name: string, { dst = 0, src = 0, offset = 0, imm = 0 }: Operands = {}): Instruction {
  const row = ROWS.get(name);
  if (row === undefined)
    throw new BpfError("instruction", `instruction '${name}': the table has none of that name`);
  const { fields } = row;
  return {
    opcode: row.opcode,
    dst: typeof fields.dst === "number" ? fields.dst : dst,
    src: typeof fields.src === "number" ? fields.src : src,
    offset: typeof fields.offset === "number" ? fields.offset : offset,
    imm: typeof fields.imm === "number" ? fields.imm : imm,
  };
}

/** The second slot of a `lddw`. */
export function second(imm = 0): Instruction {
  return { opcode: 0, dst: 0, src: 0, offset: 0, imm };
}
