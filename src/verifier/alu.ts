/** Arithmetic instructions (check_alu_op, adjust_reg_min_max_vals). */
import { CLASSES, type Instruction } from "../isa/index.ts";
import { checkSanity } from "./bounds.ts";
import { ALU_OPERATORS } from "./disassemble.ts";
import type { Environment } from "./environment.ts";
import { isMasked, maskNumbers } from "./masking.ts";
import { adjustPointer } from "./pointers.ts";
import { pushPath } from "./paths.ts";
import { markChainPrecision } from "./precision.ts";
import { PTR_TO_ARENA, SCALAR_VALUE } from "./register-types.ts";
import { checkRegister, clearLink, isSecret, markKnown, markUnknown } from "./registers.ts";
import {
  alu,
  branchTaken,
  byteSwap,
  constant,
  constantNumber,
  constantParts,
  fits,
  isConstant,
  isConstant32,
  lowBits,
  move32,
  refine,
  signExtend,
  signExtendTo32,
  width,
} from "./scalar/index.ts";
import { assignScalarId } from "./stack.ts";
import {
  BPF_ADD_CONST,
  BPF_ADD_CONST32,
  BPF_ADD_CONST64,
  DEF_NOT_SUBREG,
  type RegisterState,
  copyRegister,
} from "./state.ts";

const ADD = 0x00;
const SUB = 0x10;
const DIV = 0x30;
const OR = 0x40;
const AND = 0x50;
const LSH = 0x60;
const RSH = 0x70;
const NEG = 0x80;
const MOD = 0x90;
const MOV = 0xb0;
const ARSH = 0xc0;
const END = 0xd0;

const JEQ = 0x10;
const JSGE = 0x70;
const JSLE = 0xd0;

/** `offset` of a move between address spaces. */
const ADDR_SPACE_CAST = 1;

export function checkAlu(env: Environment, instruction: Instruction): void {
  const operation = instruction.opcode & 0xf0;
  if (operation === END || operation === NEG) checkUnary(env, instruction, operation);
  else if (operation === MOV) checkMove(env, instruction);
  else if (operation > END) {
    throw env.reject("EINVAL", `invalid BPF_ALU opcode ${operation.toString(16)}`);
  } else checkBinary(env, instruction, operation);
  checkSanity(env, env.registers[instruction.dst] as RegisterState, "alu");
}

function checkUnary(
  env: Environment,
  { opcode, dst, src, offset, imm }: Instruction,
  operation: number,
): void {
  const is64 = (opcode & 7) === CLASSES.alu64;
  if (operation === NEG) {
    if ((opcode & 8) !== 0 || src !== 0 || offset !== 0 || imm !== 0) {
      throw env.reject("EINVAL", "BPF_NEG uses reserved fields");
    }
  } else if (
    src !== 0 ||
    offset !== 0 ||
    (imm !== 16 && imm !== 32 && imm !== 64) ||
    (is64 && (opcode & 8) !== 0)
  ) {
    throw env.reject("EINVAL", "BPF_END uses reserved fields");
  }
  checkRegister(env, dst, "source");
  const reg = env.registers[dst] as RegisterState;
  if (isSecret(env, reg)) throw env.reject("EACCES", `R${dst} pointer arithmetic prohibited`);
  if (reg.type !== SCALAR_VALUE) return checkRegister(env, dst, "destination");
  checkRegister(env, dst, "destination_no_mark");
  if (operation === END) {
    // Programs are little-endian: bswap and "to big" swap, "to little" only cuts.
    const swap = is64 || (opcode & 8) !== 0;
    reg.scalar = byteSwap(reg.scalar, imm >> 3, swap);
    // Only "to little" of 64 bits leaves the number as it was.
    if (swap || imm !== 64) clearLink(reg);
    return;
  }
  const value = reg.scalar;
  // As in the kernel, by way of the constant 0: links to other numbers end.
  markKnown(reg, alu(NEG, is64, value, value));
}

function checkMove(env: Environment, { opcode, dst: dstno, src: srcno, offset, imm }: Instruction): void {
  const is64 = (opcode & 7) === CLASSES.alu64;
  const fromRegister = (opcode & 8) !== 0;
  if (fromRegister) {
    if (!is64) {
      if ((offset !== 0 && offset !== 8 && offset !== 16) || imm !== 0) {
        throw env.reject("EINVAL", "BPF_MOV uses reserved fields");
      }
    } else if (offset === ADDR_SPACE_CAST) {
      if (imm !== 1 && imm !== 1 << 16) {
        throw env.reject("EINVAL", "addr_space_cast insn can only convert between address space 1 and 0");
      }
      if (env.arena === undefined) {
        throw env.reject(
          "EINVAL",
          "addr_space_cast insn can only be used in a program that has an associated arena",
        );
      }
    } else if ((offset !== 0 && offset !== 8 && offset !== 16 && offset !== 32) || imm !== 0) {
      throw env.reject("EINVAL", "BPF_MOV uses reserved fields");
    }
    checkRegister(env, srcno, "source");
  } else if (srcno !== 0 || offset !== 0) throw env.reject("EINVAL", "BPF_MOV uses reserved fields");
  checkRegister(env, dstno, "destination_no_mark");
  const dst = env.registers[dstno] as RegisterState;
  if (!fromRegister) {
    markUnknown(dst);
    markKnown(dst, is64 ? constant(imm) : constantParts(imm, 0));
    return;
  }
  const src = env.registers[srcno] as RegisterState;
  if (is64 && offset === ADDR_SPACE_CAST) {
    markUnknown(dst);
    if (imm !== 1) return;
    // To the kernel's view: the lower half, which is an offset into the arena.
    dst.type = PTR_TO_ARENA;
    dst.subregDef = env.index + 1;
    return;
  }
  if (is64 && offset === 0) {
    assignScalarId(env, src);
    copyRegister(dst, src);
    dst.subregDef = DEF_NOT_SUBREG;
    return;
  }
  if (src.type !== SCALAR_VALUE) {
    if (isSecret(env, src)) {
      const what = is64 ? "sign-extension part of pointer" : "partial copy of pointer";
      throw env.reject("EACCES", `R${srcno} ${what}`);
    }
    markUnknown(dst);
    if (!is64) dst.scalar = move32(dst.scalar);
    return;
  }
  const keepsValue = offset === 0 ? width(src.scalar) <= 32 : fits(src.scalar, offset - 1);
  if (keepsValue) assignScalarId(env, src);
  copyRegister(dst, src);
  if (!keepsValue) clearLink(dst);
  if (is64) {
    dst.scalar = signExtend(dst.scalar, offset >> 3);
    dst.subregDef = DEF_NOT_SUBREG;
    return;
  }
  dst.subregDef = env.index + 1;
  dst.scalar = offset === 0 ? move32(dst.scalar) : signExtendTo32(dst.scalar, offset >> 3);
}

function checkBinary(env: Environment, instruction: Instruction, operation: number): void {
  const { opcode, dst, src, offset, imm } = instruction;
  const is64 = (opcode & 7) === CLASSES.alu64;
  const fromRegister = (opcode & 8) !== 0;
  const division = operation === MOD || operation === DIV;
  if (
    (fromRegister ? imm !== 0 : src !== 0) ||
    (offset !== 0 && offset !== 1) ||
    (offset === 1 && !division)
  ) {
    throw env.reject("EINVAL", "BPF_ALU uses reserved fields");
  }
  if (fromRegister) checkRegister(env, src, "source");
  checkRegister(env, dst, "source");
  if (division && !fromRegister && imm === 0) throw env.reject("EINVAL", "div by zero");
  if (!fromRegister && (operation === LSH || operation === RSH || operation === ARSH)) {
    if (imm < 0 || imm >= (is64 ? 64 : 32)) throw env.reject("EINVAL", `invalid shift ${imm}`);
  }
  checkRegister(env, dst, "destination_no_mark");
  adjust(env, instruction, operation, is64, fromRegister);
}

function adjust(
  env: Environment,
  instruction: Instruction,
  operation: number,
  is64: boolean,
  fromRegister: boolean,
): void {
  const { dst: dstno, src: srcno, imm } = instruction;
  const dst = env.registers[dstno] as RegisterState;
  const src = fromRegister ? (env.registers[srcno] as RegisterState) : undefined;
  // Any arithmetic with an address of an arena gives one: its lower half is all that counts.
  if (dst.type === PTR_TO_ARENA) return;
  if (src?.type === PTR_TO_ARENA) {
    copyRegister(dst, src);
    return;
  }
  let value: number;
  if (src !== undefined) {
    if (src.type !== SCALAR_VALUE) {
      if (dst.type !== SCALAR_VALUE) {
        // Those who may know addresses may subtract them; the difference is some number.
        if (operation === SUB && env.hasPerfmon) return markUnknown(dst);
        throw env.reject("EACCES", `R${dstno} pointer ${ALU_OPERATORS[operation >> 4]} pointer prohibited`);
      }
      markChainPrecision(env, dstno);
      return adjustPointer(env, instruction, src, dst);
    }
    if (dst.type !== SCALAR_VALUE) {
      markChainPrecision(env, srcno);
      return adjustPointer(env, instruction, dst, src);
    }
    if (dst.precise) markChainPrecision(env, srcno);
    value = src.scalar;
  } else {
    value = constant(imm);
    if (dst.type !== SCALAR_VALUE) {
      const immediate = env.fakeRegister;
      markUnknown(immediate);
      immediate.scalar = value;
      return adjustPointer(env, instruction, dst, immediate);
    }
  }
  if ((operation === AND || operation === OR) && isConstant(value)) forkAtMask(env, dst, dstno);
  if (isMasked(operation)) maskNumbers(env, instruction);
  const is32Wide = fits(dst.scalar, 32);
  if (!isComputable(operation, is64, value)) markUnknown(dst);
  else dst.scalar = alu(operation, is64, dst.scalar, value);
  // Twice itself is at no fixed distance from what it was.
  if ((fromRegister && srcno === dstno) || !env.hasBpf) clearLink(dst);
  else linkAfterAddition(dst, operation, is64, value, is32Wide);
}

/**
 * What `s>>= 31` left, 0 or -1, is masked by a constant: two paths, one for each, since the range of both says nothing
 * (maybe_fork_scalars). Compilers make `x < 0 ? -141 : 0` of it.
 */
function forkAtMask(env: Environment, dst: RegisterState, dstno: number): void {
  const narrow = !isSignMask(dst.scalar, false);
  if (narrow && !isSignMask(dst.scalar, true)) return;
  const { frames } = pushPath(env, env.index, env.index, "ENOMEM");
  const other = frames[frames.length - 1]?.registers[dstno] as RegisterState;
  if (narrow) {
    other.scalar = refine(JEQ, true, false, dst.scalar, constant(0));
    dst.scalar = refine(JEQ, true, false, dst.scalar, constant(-1));
  } else {
    markKnown(other, constant(0));
    markKnown(dst, constant(-1));
  }
}

/** Whether it is 0 or -1, and not known which. */
function isSignMask(scalar: number, narrow: boolean): boolean {
  if (narrow ? isConstant32(scalar) : isConstant(scalar)) return false;
  return (
    branchTaken(JSGE, narrow, scalar, constant(-1)) === 1 &&
    branchTaken(JSLE, narrow, scalar, constant(0)) === 1
  );
}

/** Divisions, and shifts by what is no constant in range, give an unknown number: all marks of the register go too. */
function isComputable(operation: number, is64: boolean, value: number): boolean {
  if (operation === DIV || operation === MOD) return false;
  if (operation !== LSH && operation !== RSH && operation !== ARSH) return true;
  return isShiftConstant(is64, value);
}

function isShiftConstant(is64: boolean, value: number): boolean {
  const bits = is64 ? 64 : 32;
  return fits(value, is64 ? 6 : 5) && isConstant(value) && constantNumber(value) < bits;
}

/**
 * A copy of a number plus or minus a constant stays linked to the number: what a comparison tells of one holds for the other,
 * shifted. Only the first addition can be remembered, and a 32-bit one only of a number that had no upper half.
 */
function linkAfterAddition(
  dst: RegisterState,
  operation: number,
  is64: boolean,
  value: number,
  wasNarrow: boolean,
): void {
  const constantOperand = is64 ? isConstant(value) : isConstant32(value);
  if ((operation === ADD || operation === SUB) && dst.id !== 0 && constantOperand) {
    const number = is64 ? constantNumber(value) : lowBits(value);
    const delta = operation === SUB ? -number : number;
    if (
      (is64 ? number < -0x80000000 || number > 0x7fffffff : !wasNarrow) ||
      (operation === SUB && number === -0x80000000) ||
      (dst.id & BPF_ADD_CONST) !== 0
    ) {
      clearLink(dst);
    } else {
      dst.id |= is64 ? BPF_ADD_CONST64 : BPF_ADD_CONST32;
      dst.off = delta;
    }
    return;
  }
  clearLink(dst);
}
