/** Which registers may be read before they are written, at each instruction (compute_live_registers). */
import { CLASSES, type Instruction, isWide } from "../isa/index.ts";
import { callSummary } from "./calls/summary.ts";
import { instructionText } from "./disassemble.ts";
import type { Environment, InstructionAux } from "./environment.ts";
import { isHelperCall, isKfuncCall } from "./kinds.ts";
import { LEVEL2 } from "./log.ts";

const CALLER_SAVED = 0x3f;
const ALL = 0xffff;

/** Registers that an instruction reads (lower half) and writes (upper half). */
function usesOf(env: Environment, instruction: Instruction): number {
  const { opcode, imm } = instruction;
  const src = 1 << instruction.src;
  const dst = 1 << instruction.dst;
  const mode = opcode & 0xe0;
  const operation = opcode & 0xf0;
  const fromRegister = (opcode & 8) !== 0;
  const result = (use: number, def: number): number => (use & ALL) | (def << 16);
  switch (opcode & 7) {
    case CLASSES.ld:
      return mode === 0 && (opcode & 0x18) === 0x18 ? result(0, dst) : result(ALL, 0);
    case CLASSES.ldx:
      return mode === 0x60 || mode === 0x80 ? result(src, dst) : result(ALL, 0);
    case CLASSES.st:
      return mode === 0x60 ? result(dst, 0) : result(ALL, 0);
    case CLASSES.stx:
      if (mode === 0x60) return result(dst | src, 0);
      if (mode !== 0xc0) return result(ALL, 0);
      if (imm === 0xf1) return result(1 | dst | src, 1);
      if (imm === 0x100) return result(src, dst);
      if (imm === 0x110) return result(dst | src, 0);
      return result(dst | src, (imm & 1) !== 0 ? src : 0);
    case CLASSES.alu:
    case CLASSES.alu64:
      if (operation === 0xd0) return result(dst, dst);
      if (operation === 0xb0) return result(fromRegister ? src : 0, dst);
      return result(fromRegister ? dst | src : dst, dst);
    default:
      break;
  }
  if (operation === 0x00 || operation === 0xe0) return result(0, 0);
  if (operation === 0x90) return result(1, 0);
  if (operation === 0x80) {
    const summary =
      isHelperCall(instruction) || isKfuncCall(instruction) ? callSummary(env, instruction) : undefined;
    const use = summary === undefined ? CALLER_SAVED & ~1 : ((1 << summary.parameters) - 1) << 1;
    return result(use, CALLER_SAVED);
  }
  return result(fromRegister ? dst | src : dst, 0);
}

export function computeLiveRegisters(env: Environment): void {
  const { instructions, postorder, successors } = env;
  const uses = Uint32Array.from(instructions, (instruction) => usesOf(env, instruction));
  const before = new Uint16Array(instructions.length);
  const after = new Uint16Array(instructions.length);
  for (let changed = true; changed; ) {
    changed = false;
    for (const index of postorder) {
      let out = 0;
      for (let at = index * 2; at < index * 2 + 2; at++) {
        const next = successors[at] as number;
        if (next >= 0) out |= before[next] as number;
      }
      const use = uses[index] as number;
      const into = (out & ~(use >>> 16)) | (use & ALL);
      if (out !== after[index] || into !== before[index]) {
        after[index] = out;
        before[index] = into;
        changed = true;
      }
    }
  }
  for (let index = 0; index < instructions.length; index++) {
    (env.aux[index] as InstructionAux).liveRegisters = before[index] as number;
  }
  if ((env.log.level & LEVEL2) !== 0) print(env);
}

function print(env: Environment): void {
  env.verbose("Live regs before insn:\n");
  for (let index = 0; index < env.instructions.length; index++) {
    const { component, liveRegisters } = env.aux[index] as InstructionAux;
    let letters = "";
    for (let regno = 0; regno < 10; regno++) letters += (liveRegisters >> regno) & 1 ? regno : ".";
    const number = component === 0 ? "    " : `${String(component).padStart(3)} `;
    env.verbose(`${number}${String(index).padStart(3)}: ${letters} ${instructionText(env, index)}\n`);
    if (isWide(env.instructions[index] as Instruction)) index++;
  }
}
