/**
 * What Linux asks of a classic program before it takes it (net/core/filter.c, bpf_check_classic; for seccomp also
 * kernel/seccomp.c, seccomp_check_filter). The kernel answers EINVAL to all; here each rule has its own words.
 */
import { BpfError } from "../errors.ts";
import { SKF_AD_OFF, ancillaryAt } from "./ancillary.ts";
import {
  CBPF_MAX_INSTRUCTIONS,
  CBPF_SCRATCH_CELLS,
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  cbpfRow,
} from "./instruction.ts";
import { kernelLengths } from "./kernel-size.ts";

/** Whose rules: a socket filter's, or a seccomp filter's (stricter). */
export type CbpfVariant = "linux" | "seccomp";

/** Bytes of struct seccomp_data. */
const SECCOMP_DATA_SIZE = 64;
const ALL_CELLS = 0xffff;
const MAX_EBPF_JUMP = 0x7fff;

/**
 * Checks a program by the kernel's rules: 1 to 4,096 known instructions; forward jumps that stay inside; a `ret` at the
 * end; scratch cells written on every path before they are read; no division by the constant 0 and no shift by the
 * constant 32 or more; ancillary loads that exist; and no jump so long that the kernel's translation to eBPF can't
 * reach its target. Operands' ranges (16, 8, 8 and 32 bits) are checked too.
 *
 * @throws BpfError code "program" with `where.instruction` and errno EINVAL; the first offence in program order, as far
 * as rules of one instruction go, before those that need the whole program.
 * @example
 * checkCbpf([{ code: 0x06, jt: 0, jf: 0, k: 0xffff }]); // `ret #65535`: fine
 */
export function checkCbpf(program: CbpfProgram, options: { variant?: CbpfVariant | undefined } = {}): void {
  const { variant = "linux" } = options;
  const count = program.length;
  if (count === 0) throw refuse(undefined, "it is empty");
  if (count > CBPF_MAX_INSTRUCTIONS) {
    throw refuse(undefined, `it has ${count} instructions, more than Linux takes (${CBPF_MAX_INSTRUCTIONS})`);
  }
  program.forEach((instruction, index) => {
    const row = checkFields(instruction, index);
    const problem = operandProblem(row, instruction, count - index - 1);
    if (problem !== undefined) throw refuse(index, problem);
    if (variant === "seccomp") checkSeccomp(row, instruction, index);
  });
  const last = count - 1;
  if (cbpfRow((program[last] as CbpfInstruction).code)?.semantics.kind !== "return") {
    throw refuse(last, "the last instruction must be a ret");
  }
  checkCells(program);
  checkReach(program, variant);
}

function refuse(instruction: number | undefined, problem: string): BpfError {
  const subject = instruction === undefined ? "filter program" : `filter program: instruction ${instruction}`;
  return new BpfError("program", `${subject}: ${problem}`, {
    errno: "EINVAL",
    where: instruction === undefined ? {} : { instruction },
  });
}

function checkFields({ code, jt, jf, k }: CbpfInstruction, index: number): CbpfRow {
  const field = (name: string, value: number, maximum: number): void => {
    if (!Number.isInteger(value) || value < 0 || value > maximum) {
      throw refuse(index, `${name} is ${value}, not a whole number from 0 to ${maximum}`);
    }
  };
  field("code", code, 0xffff);
  field("jt", jt, 0xff);
  field("jf", jf, 0xff);
  field("k", k, 0xffffffff);
  const row = cbpfRow(code);
  if (row === undefined) throw refuse(index, `there is no instruction with code 0x${code.toString(16)}`);
  return row;
}

/** What is wrong with one instruction, `following` others coming after it. */
function operandProblem(
  { mnemonic, semantics }: CbpfRow,
  { jt, jf, k }: CbpfInstruction,
  following: number,
): string | undefined {
  const usesCell = semantics.kind === "store" || (semantics.kind === "load" && semantics.from === "scratch");
  if (usesCell && k >= CBPF_SCRATCH_CELLS) {
    return `${mnemonic} M[${k}]: the scratch cells are M[0] to M[${CBPF_SCRATCH_CELLS - 1}]`;
  }
  if (semantics.kind === "alu" && semantics.operand === "k") {
    const { op } = semantics;
    if ((op === "div" || op === "mod") && k === 0) return `${op} #0: division by zero`;
    if ((op === "lsh" || op === "rsh") && k >= 32) return `${op} #${k}: a shift must be below 32`;
  }
  if (semantics.kind === "packet" && !semantics.indexed && k >= SKF_AD_OFF && ancillaryAt(k) === undefined) {
    return `${mnemonic} [${k - 2 ** 32}]: there is no such ancillary load`;
  }
  if (semantics.kind === "goto" && k >= following) {
    return k >= 2 ** 31
      ? `ja goes back ${2 ** 32 - k - 1} instructions: loops are not allowed`
      : `ja skips ${k} instructions, but only ${following} follow`;
  }
  if (semantics.kind === "branch") {
    const far = Math.max(jt, jf);
    if (far >= following) return `${mnemonic} skips ${far} instructions, but only ${following} follow`;
  }
  return undefined;
}

function checkSeccomp(
  { mnemonic, semantics, seccomp }: CbpfRow,
  { k }: CbpfInstruction,
  index: number,
): void {
  if (!seccomp) throw refuse(index, `seccomp filters can't use this form of ${mnemonic}`);
  if (semantics.kind !== "packet") return;
  if (k >= SECCOMP_DATA_SIZE) {
    throw refuse(index, `ld [${k}]: struct seccomp_data has ${SECCOMP_DATA_SIZE} bytes`);
  }
  if (k % 4 !== 0) throw refuse(index, `ld [${k}]: loads from struct seccomp_data must be aligned to 4`);
}

/**
 * Cells must be stored before they are read, on every path. The kernel walks the program once, in order, which is
 * right since jumps go forward; but it lets the state of a `ret` run on into the next instruction, so that code which
 * only jumps reach is held to what stood before the `ret`, too. We refuse what it refuses.
 */
function checkCells(program: CbpfProgram): void {
  const incoming = new Uint16Array(program.length).fill(ALL_CELLS);
  const join = (target: number, cells: number): void => {
    incoming[target] = (incoming[target] as number) & cells;
  };
  let cells = 0;
  program.forEach(({ code, jt, jf, k }, index) => {
    const { semantics } = cbpfRow(code) as CbpfRow;
    cells &= incoming[index] as number;
    if (semantics.kind === "store") cells |= 1 << k;
    if (semantics.kind === "load" && semantics.from === "scratch" && (cells & (1 << k)) === 0) {
      throw refuse(index, `M[${k}] is read, but not every path to here has stored it`);
    }
    if (semantics.kind === "goto") join(index + 1 + k, cells);
    if (semantics.kind === "branch") {
      join(index + 1 + jt, cells);
      join(index + 1 + jf, cells);
    }
    if (semantics.kind === "goto" || semantics.kind === "branch") cells = ALL_CELLS;
  });
}

/**
 * Jumps of the kernel's translation have 16 bits, so that a jump over some 2,340 loads can't reach its target. While the
 * kernel translates, targets that it has not come to count as 0, and that distance must fit, too: no jump may stand
 * beyond slot 32767. (Both measured with Linux 6.18.)
 */
function checkReach(program: CbpfProgram, variant: CbpfVariant): void {
  const { starts, jumps } = kernelLengths(program, variant);
  for (const { index, target, slot } of jumps) {
    const distance = (starts[target] as number) - slot - 1;
    if (distance > MAX_EBPF_JUMP) {
      throw refuse(
        index,
        `its jump to instruction ${target} spans ${distance} eBPF instructions in the kernel's translation, more than ${MAX_EBPF_JUMP}`,
      );
    }
    if (slot > MAX_EBPF_JUMP) {
      throw refuse(
        index,
        `its jump is eBPF instruction ${slot} of the kernel's translation, which takes none beyond ${MAX_EBPF_JUMP}`,
      );
    }
  }
}
