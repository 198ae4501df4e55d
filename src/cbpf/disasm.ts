/** Programs to the assembly language of bpf_asm; assembling the text gives the program back. */
import { BpfError } from "../errors.ts";
import { ancillaryAt } from "./ancillary.ts";
import {
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  type CbpfTest,
  cbpfRow,
} from "./instruction.ts";

const OPPOSITES: Readonly<Partial<Record<CbpfTest, string>>> = { jeq: "jneq", jgt: "jle", jge: "jlt" };
const BITWISE: readonly string[] = ["or", "and", "xor"];

/**
 * The text of a program, an instruction a line, with labels `L3:` where jumps go (the number is the instruction's).
 *
 * @throws BpfError code "instruction" for an unknown code, "program" for a jump that leaves the program
 * @example
 * disassembleCbpf([{ code: 0x28, jt: 0, jf: 0, k: 12 }, { code: 0x16, jt: 0, jf: 0, k: 0 }]); // "      ldh [12]\n..."
 */
export function disassembleCbpf(program: CbpfProgram): string {
  const targets = new Set<number>();
  const texts = program.map((instruction, index) => {
    const row = cbpfRow(instruction.code);
    if (row === undefined) {
      throw new BpfError(
        "instruction",
        `filter program: instruction ${index}: there is no instruction with code 0x${instruction.code.toString(16)}`,
        { where: { instruction: index } },
      );
    }
    const label = (skip: number): string => {
      const target = index + 1 + skip;
      if (target >= program.length || skip < 0) {
        throw new BpfError("program", `filter program: instruction ${index}: its jump leaves the program`, {
          where: { instruction: index },
        });
      }
      targets.add(target);
      return `L${target}`;
    };
    return instructionText(row, instruction, label);
  });
  return texts
    .map((text, index) => `${targets.has(index) ? `L${index}:`.padEnd(6) : "      "}${text}`)
    .join("\n");
}

function instructionText(
  row: CbpfRow,
  { jt, jf, k }: CbpfInstruction,
  label: (skip: number) => string,
): string {
  const { mnemonic, semantics } = row;
  if (semantics.kind === "goto") return `ja ${label(k)}`;
  if (semantics.kind === "branch") {
    const operand = semantics.operand === "x" ? "x" : `#0x${k.toString(16)}`;
    const opposite = OPPOSITES[semantics.test];
    if (jf === 0) return `${mnemonic} ${operand}, ${label(jt)}`;
    if (jt === 0 && opposite !== undefined) return `${opposite} ${operand}, ${label(jf)}`;
    return `${mnemonic} ${operand}, ${label(jt)}, ${label(jf)}`;
  }
  const operand = operandText(row, k);
  return operand === "" ? mnemonic : `${mnemonic} ${operand}`;
}

function operandText({ mnemonic, shape, semantics }: CbpfRow, k: number): string {
  const signed = k | 0;
  switch (shape) {
    case "imm":
      return BITWISE.includes(mnemonic) || semantics.kind === "load" ? `#0x${k.toString(16)}` : `#${signed}`;
    case "abs": {
      const ancillary = ancillaryAt(k);
      return ancillary === undefined ? `[${signed}]` : `#${ancillary.name}`;
    }
    case "ind":
      return signed < 0 ? `[x - ${-signed}]` : `[x + ${signed}]`;
    case "mem":
      return `M[${k}]`;
    case "msh":
      return `4*([${signed}]&0xf)`;
    case "x":
    case "a":
      return shape;
    case "len":
      return "#len";
    case "target":
    case "none":
      return "";
  }
}
