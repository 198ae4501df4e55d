/** Instructions of class LD: wide constants, and loads from a packet in the old way (check_ld_imm, check_ld_abs). */
import type { Instruction } from "../isa/index.ts";
import { checkFixedOffset } from "./access/context.ts";
import { isLegacyLoadAllowed } from "./access/legacy.ts";
import { leaveFunction } from "./calls/leave.ts";
import type { Environment, InstructionAux, KernelVariable, Subprogram } from "./environment.ts";
import { PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_FD, PSEUDO_MAP_IDX } from "./kinds.ts";
import { checkResourceLeak } from "./references.ts";
import {
  CONST_PTR_TO_MAP,
  PTR_TO_CTX,
  PTR_TO_FUNC,
  PTR_TO_MAP_VALUE,
  SCALAR_VALUE,
} from "./register-types.ts";
import { checkRegister, markKnown, markKnownZero, markNotInit, markUnknown } from "./registers.ts";
import { constantParts } from "./scalar/index.ts";
import type { RegisterState } from "./state.ts";
import { findSubprogram } from "./subprograms.ts";

export function checkWideConstant(env: Environment, { opcode, dst, src, offset, imm }: Instruction): void {
  if ((opcode & 0x18) !== 0x18) throw env.reject("EINVAL", "invalid BPF_LD_IMM insn");
  if (offset !== 0) throw env.reject("EINVAL", "BPF_LD_IMM64 uses reserved fields");
  const unknown = env.program.unknown?.get(env.index);
  if (unknown !== undefined) throw env.unsupported(unknown);
  checkRegister(env, dst, "destination");
  const reg = env.registers[dst] as RegisterState;
  if (src === 0) {
    const { imm: high } = env.instructions[env.index + 1] as Instruction;
    reg.type = SCALAR_VALUE;
    markKnown(reg, constantParts(imm, high));
    return;
  }
  markKnownZero(reg);
  if (src === PSEUDO_BTF_ID) {
    const variable = (env.aux[env.index] as InstructionAux).variable as KernelVariable;
    reg.type = variable.type;
    reg.memSize = variable.memSize;
    reg.btf = variable.btf;
    reg.btfId = variable.btfId;
    return;
  }
  if (src === PSEUDO_FUNC) {
    const number = findSubprogram(env, env.index + imm + 1);
    if ((env.program.functionInfo ?? []).length === 0) throw env.reject("EINVAL", "missing btf func_info");
    if ((env.subprograms[number] as Subprogram).linkage !== "static") {
      throw env.reject("EINVAL", "callback function not static");
    }
    reg.type = PTR_TO_FUNC;
    reg.subprogno = number;
    return;
  }
  const aux = env.aux[env.index] as InstructionAux;
  reg.map = aux.map;
  if (src === PSEUDO_MAP_FD || src === PSEUDO_MAP_IDX) reg.type = CONST_PTR_TO_MAP;
  else if (aux.map?.type === "arena") {
    // An address of user space: some number.
    markUnknown(reg);
    reg.map = aux.map;
  } else {
    reg.type = PTR_TO_MAP_VALUE;
    reg.off = aux.mapOffset;
  }
}

/** r0 becomes 1, 2 or 4 bytes of the packet; r1 to r5 are lost, as in a call; r6 must be the context. */
export function checkLegacyLoad(env: Environment, { opcode, dst, src, offset }: Instruction): void {
  const indirect = (opcode & 0xe0) === 0x40;
  if (!isLegacyLoadAllowed(env.type)) {
    throw env.reject("EINVAL", "BPF_LD_[ABS|IND] instructions not allowed for this program type");
  }
  if (dst !== 0 || offset !== 0 || (opcode & 0x18) === 0x18 || (!indirect && src !== 0)) {
    throw env.reject("EINVAL", "BPF_LD_[ABS|IND] uses reserved fields");
  }
  checkRegister(env, 6, "source");
  // The load may end the program.
  checkResourceLeak(env, false, true, "BPF_LD_[ABS|IND]");
  const context = env.registers[6] as RegisterState;
  if (context.type !== PTR_TO_CTX) {
    throw env.reject("EINVAL", "at the time of BPF_LD_ABS|IND R6 != pointer to skb");
  }
  if (indirect) checkRegister(env, src, "source");
  checkFixedOffset(env, context, 6, false);
  for (let regno = 0; regno <= 5; regno++) {
    markNotInit(env.registers[regno] as RegisterState);
    checkRegister(env, regno, "destination_no_mark");
  }
  const r0 = env.registers[0] as RegisterState;
  markUnknown(r0);
  r0.subregDef = env.index + 1;
  // Outside of the packet the load ends the function with 0.
  leaveFunction(env, markKnownZero);
}
