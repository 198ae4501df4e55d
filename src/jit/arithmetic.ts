/** Emission of arithmetic and comparisons. All of it is checked against a BigInt reference, row by row. */
import type { AluOp, JumpOp } from "../isa/index.ts";
import { EXACT, type Facts, constantOperand } from "./facts.ts";
import type { Registers } from "./registers.ts";
import type { Step } from "./steps.ts";
import { type ByteWriter, OPCODES, type Opcode, TYPE_I32, TYPE_I64 } from "./wasm.ts";

type Pair = readonly [narrow: Opcode, wide: Opcode];

/** Operations that WebAssembly has as they are. */
const PLAIN: Partial<Record<AluOp, Pair>> = {
  add: ["i32.add", "i64.add"],
  sub: ["i32.sub", "i64.sub"],
  mul: ["i32.mul", "i64.mul"],
  or: ["i32.or", "i64.or"],
  and: ["i32.and", "i64.and"],
  xor: ["i32.xor", "i64.xor"],
};

const SHIFTS: Partial<Record<AluOp, Pair>> = {
  lsh: ["i32.shl", "i64.shl"],
  rsh: ["i32.shr_u", "i64.shr_u"],
  arsh: ["i32.shr_s", "i64.shr_s"],
};

const COMPARISONS: Readonly<
  Record<Exclude<JumpOp, "jset">, { signed: Pair; unsigned: Pair; inverse: JumpOp }>
> = {
  jeq: { signed: ["i32.eq", "i64.eq"], unsigned: ["i32.eq", "i64.eq"], inverse: "jne" },
  jne: { signed: ["i32.ne", "i64.ne"], unsigned: ["i32.ne", "i64.ne"], inverse: "jeq" },
  jgt: { signed: ["i32.gt_u", "i64.gt_u"], unsigned: ["i32.gt_u", "i64.gt_u"], inverse: "jle" },
  jge: { signed: ["i32.ge_u", "i64.ge_u"], unsigned: ["i32.ge_u", "i64.ge_u"], inverse: "jlt" },
  jlt: { signed: ["i32.lt_u", "i64.lt_u"], unsigned: ["i32.lt_u", "i64.lt_u"], inverse: "jge" },
  jle: { signed: ["i32.le_u", "i64.le_u"], unsigned: ["i32.le_u", "i64.le_u"], inverse: "jgt" },
  jsgt: { signed: ["i32.gt_s", "i64.gt_s"], unsigned: ["i32.gt_u", "i64.gt_u"], inverse: "jsle" },
  jsge: { signed: ["i32.ge_s", "i64.ge_s"], unsigned: ["i32.ge_u", "i64.ge_u"], inverse: "jslt" },
  jslt: { signed: ["i32.lt_s", "i64.lt_s"], unsigned: ["i32.lt_u", "i64.lt_u"], inverse: "jsge" },
  jsle: { signed: ["i32.le_s", "i64.le_s"], unsigned: ["i32.le_u", "i64.le_u"], inverse: "jsgt" },
};

function push(registers: Registers, register: number, narrow: boolean): void {
  if (narrow) registers.pushLow(register);
  else registers.pushWhole(register);
}

function pushConstant(code: ByteWriter, value: number, narrow: boolean): void {
  if (narrow) code.i32Const(value);
  else code.i64Const(value, value >> 31);
}

function pushOperand(registers: Registers, step: Step, narrow: boolean): void {
  if (step.register) push(registers, step.src, narrow);
  else pushConstant(registers.code, step.imm, narrow);
}

/** Leaves the result on the stack: i32 if the step is narrow, i64 otherwise. */
export function emitAlu(registers: Registers, step: Step): void {
  const { code } = registers;
  const { narrow } = step;
  const index = narrow ? 0 : 1;
  const plain = PLAIN[step.op as AluOp];
  if (plain !== undefined) {
    push(registers, step.dst, narrow);
    pushOperand(registers, step, narrow);
    code.op(plain[index]);
    return;
  }
  switch (step.op) {
    case "mov":
      push(registers, step.src, narrow);
      return;
    case "movsx":
      emitSignExtension(registers, step);
      return;
    case "neg":
      pushConstant(code, 0, narrow);
      push(registers, step.dst, narrow);
      code.op(narrow ? "i32.sub" : "i64.sub");
      return;
    case "lsh":
    case "rsh":
    case "arsh":
      emitShift(registers, step);
      return;
    default:
      emitDivision(registers, step);
  }
}

function emitSignExtension(registers: Registers, step: Step): void {
  const { code } = registers;
  registers.pushLow(step.src);
  if (step.from === 32) {
    if (!step.narrow) code.op("i64.extend_i32_s");
  } else if (step.narrow) {
    code.op(step.from === 8 ? "i32.extend8_s" : "i32.extend16_s");
  } else {
    code.op("i64.extend_i32_u");
    code.op(step.from === 8 ? "i64.extend8_s" : "i64.extend16_s");
  }
}

/** The amount counts modulo the operand's width, in BPF as in WebAssembly; that width may differ from ours. */
function emitShift(registers: Registers, step: Step): void {
  const { code, facts } = registers;
  const { narrow } = step;
  const constant = constantOperand(step, facts);
  // A 64-bit shift that is made in 32 bits: its value has at most 32 bits, so it is not negative.
  const op = step.op === "arsh" && step.wide && narrow ? "rsh" : step.op;
  const opcode = (SHIFTS[op as AluOp] as Pair)[narrow ? 0 : 1];
  if (constant === undefined) {
    push(registers, step.dst, narrow);
    push(registers, step.src, narrow);
    code.op(opcode);
    return;
  }
  const amount = constant & (step.wide ? 63 : 31);
  if (narrow && amount > 31) {
    code.i32Const(0);
    return;
  }
  push(registers, step.dst, narrow);
  if (amount === 0) return;
  pushConstant(code, amount, narrow);
  code.op(opcode);
}

/**
 * RFC 9669, section 4.1: division by zero gives 0, modulo by zero the dividend, and the smallest number divided by -1
 * is itself with remainder 0. WebAssembly traps where the divisor is zero, and in `div_s` of the smallest number by
 * -1; so divisors that are not constant are looked at first. Both troublemakers of `sdiv` share one test: where the
 * divisor is 0 or -1, the quotient equals the product.
 */
function emitDivision(registers: Registers, step: Step): void {
  const { code, facts } = registers;
  const { narrow, dst } = step;
  const isDivision = step.op === "div" || step.op === "sdiv";
  const signed = (step.op === "sdiv" || step.op === "smod") && !isNonNegative(registers, step);
  const names: { divide: Opcode; remainder: Opcode } = narrow
    ? { divide: signed ? "i32.div_s" : "i32.div_u", remainder: signed ? "i32.rem_s" : "i32.rem_u" }
    : { divide: signed ? "i64.div_s" : "i64.div_u", remainder: signed ? "i64.rem_s" : "i64.rem_u" };
  const opcode = isDivision ? names.divide : names.remainder;
  const constant = constantOperand(step, facts);
  if (constant !== undefined) {
    emitDivisionByConstant(registers, step, { constant, signed, isDivision, opcode });
    return;
  }
  push(registers, step.src, narrow);
  if (isDivision && signed) {
    pushConstant(code, 1, narrow);
    code.op(narrow ? "i32.add" : "i64.add");
    pushConstant(code, 2, narrow);
    code.op(narrow ? "i32.lt_u" : "i64.lt_u");
  } else {
    code.op(narrow ? "i32.eqz" : "i64.eqz");
  }
  code.op("if");
  code.byte(narrow ? TYPE_I32 : TYPE_I64);
  if (!isDivision) {
    push(registers, dst, narrow);
  } else if (signed) {
    push(registers, dst, narrow);
    push(registers, step.src, narrow);
    code.op(narrow ? "i32.mul" : "i64.mul");
  } else {
    pushConstant(code, 0, narrow);
  }
  code.op("else");
  push(registers, dst, narrow);
  push(registers, step.src, narrow);
  code.op(opcode);
  code.op("end");
}

function isNonNegative({ facts }: Registers, step: Step): boolean {
  const width = step.wide ? 64 : 32;
  const operandFits = step.register ? (facts.bits[step.src] as number) < width : step.imm >= 0;
  return (facts.bits[step.dst] as number) < width && operandFits;
}

interface ConstantDivision {
  readonly constant: number;
  readonly signed: boolean;
  readonly isDivision: boolean;
  readonly opcode: Opcode;
}

/** V8 makes a multiplication or a shift of it. */
function emitDivisionByConstant(
  registers: Registers,
  step: Step,
  { constant, signed, isDivision, opcode }: ConstantDivision,
): void {
  const { code } = registers;
  const { narrow, dst } = step;
  if (constant === 0) {
    if (isDivision) pushConstant(code, 0, narrow);
    else push(registers, dst, narrow);
    return;
  }
  if (signed && constant === -1) {
    pushConstant(code, 0, narrow);
    if (!isDivision) return;
    push(registers, dst, narrow);
    code.op(narrow ? "i32.sub" : "i64.sub");
    return;
  }
  push(registers, dst, narrow);
  pushConstant(code, constant, narrow);
  code.op(opcode);
}

/** Byte order: leaves an i32 if the step is narrow, an i64 otherwise. `le` of 64 bits never gets here. */
export function emitByteOrder(registers: Registers, step: Step): void {
  const { code, locals, facts } = registers;
  const { dst, bytes } = step;
  if (step.op === "le") {
    registers.pushLow(dst);
    if (bytes === 2 && (facts.bits[dst] as number) > 16) {
      code.i32Const(0xffff);
      code.op("i32.and");
    }
    return;
  }
  if (bytes === 8) {
    registers.pushWhole(dst);
    emitSwap64(code, locals.scratch("old64"));
    return;
  }
  const scratch = locals.scratch("old32");
  registers.pushLow(dst);
  code.opIndex("local.tee", scratch);
  if (bytes === 4) {
    // Two rotations bring two bytes each to their places.
    emitMaskedPair(code, scratch, [
      { rotate: 8, mask: 0x00ff00ff },
      { rotate: 24, mask: 0xff00ff00 | 0 },
    ]);
    return;
  }
  code.i32Const(8);
  code.op("i32.shr_u");
  if ((facts.bits[dst] as number) > 16) {
    code.i32Const(0xff);
    code.op("i32.and");
  }
  code.opIndex("local.get", scratch);
  code.i32Const(8);
  code.op("i32.shl");
  code.i32Const(0xff00);
  code.op("i32.and");
  code.op("i32.or");
}

/** The value is on the stack and in `scratch`. */
function emitMaskedPair(
  code: ByteWriter,
  scratch: number,
  parts: readonly { rotate: number; mask: number }[],
): void {
  parts.forEach(({ rotate, mask }, index) => {
    if (index > 0) code.opIndex("local.get", scratch);
    code.i32Const(rotate);
    code.op("i32.rotl");
    code.i32Const(mask);
    code.op("i32.and");
  });
  code.op("i32.or");
}

/** Exchanges neighbours of 8, then of 16, then of 32 bits. */
function emitSwap64(code: ByteWriter, scratch: number): void {
  for (const { amount, low, high } of [
    { amount: 8, low: 0x00ff00ff, high: 0x00ff00ff },
    { amount: 16, low: 0x0000ffff, high: 0x0000ffff },
  ]) {
    code.opIndex("local.tee", scratch);
    code.i64Const(amount, 0);
    code.op("i64.shr_u");
    code.i64Const(low, high);
    code.op("i64.and");
    code.opIndex("local.get", scratch);
    code.i64Const(low, high);
    code.op("i64.and");
    code.i64Const(amount, 0);
    code.op("i64.shl");
    code.op("i64.or");
  }
  code.i64Const(32, 0);
  code.op("i64.rotl");
}

/** Leaves an i32 that is not zero if the jump is taken, or if it is not when `negate` is set. */
export function emitCondition(registers: Registers, step: Step, negate: boolean): void {
  const { code } = registers;
  const narrow = !step.wide || step.exactComparison;
  if (step.op === "jset") {
    push(registers, step.dst, narrow);
    pushOperand(registers, step, narrow);
    code.op(narrow ? "i32.and" : "i64.and");
    emitTruth(code, narrow, negate);
    return;
  }
  const op = step.op as Exclude<JumpOp, "jset">;
  const name = (negate ? COMPARISONS[op].inverse : op) as Exclude<JumpOp, "jset">;
  push(registers, step.dst, narrow);
  if ((name === "jeq" || name === "jne") && constantOperand(step, registers.facts) === 0) {
    emitTruth(code, narrow, name === "jeq");
    return;
  }
  pushOperand(registers, step, narrow);
  const { signed, unsigned } = COMPARISONS[name];
  code.byte(OPCODES[(step.wide && step.exactComparison ? unsigned : signed)[narrow ? 0 : 1]]);
}

/** Whether emitCondition leaves 1 or 0, rather than any number or 0. */
function isComparison(step: Step, facts: Facts): boolean {
  return step.op !== "jset" && constantOperand(step, facts) !== 0;
}

/** Turns the number on the stack into a condition: not zero, or zero if `negate` is set. */
function emitTruth(code: ByteWriter, narrow: boolean, negate: boolean): void {
  if (negate) {
    code.op(narrow ? "i32.eqz" : "i64.eqz");
  } else if (!narrow) {
    code.i64Const(0, 0);
    code.op("i64.ne");
  }
}

/** A value of its own if the condition does not hold. Leaves an i32 if the step is narrow, an i64 otherwise. */
export function emitSelect(registers: Registers, step: Step): void {
  const { code, facts } = registers;
  const { narrow } = step;
  const move = step.chosen as Step;
  const { dst } = move;
  if (move.kind === "constant" && facts.kind[dst] === EXACT && facts.high[dst] === 0 && move.high === 0) {
    const kept = facts.low[dst] as number;
    // 1 or 0: the comparison itself.
    if (kept + move.imm === 1 && kept * move.imm === 0) {
      emitCondition(registers, step, kept === 0);
      if (!isComparison(step, facts)) {
        code.i32Const(0);
        code.op("i32.ne");
      }
      if (!narrow) code.op("i64.extend_i32_u");
      return;
    }
  }
  push(registers, dst, narrow);
  if (move.kind === "constant") {
    if (narrow) code.i32Const(move.imm);
    else code.i64Const(move.imm, move.high);
  } else if (narrow || move.wide) {
    push(registers, move.src, narrow);
  } else {
    registers.pushLow(move.src);
    code.op("i64.extend_i32_u");
  }
  emitCondition(registers, step, false);
  code.op("select");
}
