/**
 * Spills around calls that the kernel replaces by instructions (mark_fastcall_patterns). Compilers save r1 to r5 around such
 * a call at the lowest stack offsets of a function, for kernels that do not know it; where these offsets are used for
 * nothing else, the kernel drops the saving, and the function needs less stack.
 */
import type { Instruction } from "../isa/index.ts";
import { type CallSummary, callSummary } from "./calls/summary.ts";
import type { Environment, InstructionAux, Subprogram } from "./environment.ts";
import { CALL, isPseudoCall } from "./kinds.ts";
import { type FunctionState, REG_SIZE } from "./state.ts";

/** STX | MEM | DW and LDX | MEM | DW. */
const SPILL = 0x7b;
const FILL = 0x79;
const CALLER_SAVED = 0x3f;
const S16_MIN = -0x8000;

export function markFastcallPatterns(env: Environment): void {
  for (let number = 0; number < env.subprogramCount; number++) {
    const subprogram = env.subprograms[number] as Subprogram;
    const { start: end } = env.subprograms[number + 1] as Subprogram;
    let lowest = 0;
    for (let index = subprogram.start; index < end; index++) {
      const { opcode, dst, offset } = env.instructions[index] as Instruction;
      if (opcode === SPILL && dst === 10) lowest = Math.min(lowest, offset);
    }
    for (let index = subprogram.start; index < end; index++) {
      const instruction = env.instructions[index] as Instruction;
      if (instruction.opcode !== CALL || isPseudoCall(instruction)) continue;
      const summary = callSummary(env, instruction);
      if (summary !== undefined) markCall(env, subprogram, index, lowest, summary);
    }
  }
}

function markCall(
  env: Environment,
  subprogram: Subprogram,
  index: number,
  lowest: number,
  { parameters, isVoid, fastcall }: CallSummary,
): void {
  const clobbered = ((1 << (parameters + 1)) - 1) & ~(isVoid ? 1 : 0);
  let expected = ~clobbered & CALLER_SAVED;
  let off = lowest;
  let pairs = 0;
  for (let distance = 1; distance <= 6; distance++, off += REG_SIZE) {
    const spill = env.instructions[index - distance];
    const fill = env.instructions[index + distance];
    if (spill === undefined || fill === undefined) break;
    if (spill.opcode !== SPILL || fill.opcode !== FILL || spill.dst !== 10 || fill.src !== 10) break;
    if (spill.src !== fill.dst || ((1 << spill.src) & expected) === 0) break;
    if (spill.offset !== off || fill.offset !== off) break;
    expected &= ~(1 << spill.src);
    (env.aux[index - distance] as InstructionAux).fastcallPattern = true;
    (env.aux[index + distance] as InstructionAux).fastcallPattern = true;
    pairs++;
  }
  if (pairs === 0) return;
  if (fastcall) (env.aux[index] as InstructionAux).fastcallSpills = pairs;
  else subprogram.keepFastcallStack = true;
  subprogram.fastcallStackOffset = Math.min(subprogram.fastcallStackOffset, off);
}

/** An access to these offsets by another instruction ends the pattern for the whole function. */
export function checkFastcallStack(env: Environment, frame: FunctionState, index: number, off: number): void {
  const subprogram = env.subprograms[frame.subprogno] as Subprogram;
  if (subprogram.fastcallStackOffset <= off || (env.aux[index] as InstructionAux).fastcallPattern) return;
  subprogram.fastcallStackOffset = S16_MIN;
  const { start: end } = env.subprograms[frame.subprogno + 1] as Subprogram;
  for (let slot = subprogram.start; slot < end; slot++) {
    const aux = env.aux[slot] as InstructionAux;
    aux.fastcallSpills = 0;
    aux.fastcallPattern = false;
  }
}

/** What is saved by it (remove_fastcall_spills_fills). */
export function removeFastcallSpills(env: Environment): void {
  for (let number = 0; number < env.subprogramCount; number++) {
    const subprogram = env.subprograms[number] as Subprogram;
    const { start: end } = env.subprograms[number + 1] as Subprogram;
    let modified = false;
    for (let index = subprogram.start; index < end; index++) {
      if ((env.aux[index] as InstructionAux).fastcallSpills > 0) modified = true;
    }
    if (modified && !subprogram.keepFastcallStack) subprogram.stackDepth = -subprogram.fastcallStackOffset;
  }
}
