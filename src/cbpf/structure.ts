/** What a program must be, so that it can be run or translated at all; Linux asks for more (check.ts). */
import { BpfError } from "../errors.ts";
import { CBPF_SCRATCH_CELLS, type CbpfProgram, cbpfRow } from "./instruction.ts";

/**
 * Checks that all instructions exist, jumps stay inside, cells exist and the end is a `ret`.
 *
 * @returns whether all jumps go forward
 * @throws BpfError code "program"
 */
export function checkStructure(program: CbpfProgram): boolean {
  const count = program.length;
  const fail = (instruction: number, problem: string): BpfError =>
    new BpfError("program", `filter program: instruction ${instruction}: ${problem}`, {
      where: { instruction },
    });
  let forward = true;
  program.forEach(({ code, jt, jf, k }, index) => {
    const semantics = cbpfRow(code)?.semantics;
    if (semantics === undefined)
      throw fail(index, `there is no instruction with code 0x${code.toString(16)}`);
    const inside = (target: number): void => {
      if (!(target >= 0 && target < count))
        throw fail(index, `its jump leaves the program, to instruction ${target}`);
      if (target <= index) forward = false;
    };
    if (semantics.kind === "goto") inside(index + 1 + (k | 0));
    else if (semantics.kind === "branch") {
      inside(index + 1 + jt);
      inside(index + 1 + jf);
    } else if (semantics.kind !== "return" && index === count - 1) {
      throw fail(index, "the program ends without a ret");
    }
    const usesCell =
      semantics.kind === "store" || (semantics.kind === "load" && semantics.from === "scratch");
    if (usesCell && k >= CBPF_SCRATCH_CELLS) throw fail(index, `there is no scratch cell M[${k}]`);
  });
  if (count === 0) throw new BpfError("program", "filter program: it is empty");
  return forward;
}
