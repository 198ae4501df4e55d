/** Instructions and kernel functions of a program by name. */
import { type VerifierProgram, instructionText } from "../verifier/index.ts";

/** Name of the kernel function that a call names by its id in the kernel's BTF. */
export function kfuncName({ kernelBtf }: VerifierProgram, id: number): string {
  if (kernelBtf === undefined || id <= 0 || id >= kernelBtf.count) return "a kernel function";
  return kernelBtf.type(id).name;
}

/** An instruction as the log writes it: "(bf) r6 = r1". */
export function textOf(program: VerifierProgram, slot: number): string {
  const input = { instructions: program.instructions, kfuncName: (id: number) => kfuncName(program, id) };
  return instructionText(input, slot);
}
