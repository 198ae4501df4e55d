/** States as the log writes them (print_verifier_state and its kin in kernel/bpf/log.c, Linux 6.18). */
import { instructionText } from "./disassemble.ts";
import type { Environment } from "./environment.ts";
import { lineBefore } from "./lines.ts";
import {
  CONST_PTR_TO_DYNPTR,
  CONST_PTR_TO_MAP,
  NON_OWN_REF,
  NOT_INIT,
  PTR_TO_ARENA,
  PTR_TO_BTF_ID,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_STACK,
  SCALAR_VALUE,
  baseType,
  isPacketPointer,
  typeName,
} from "./register-types.ts";
import { hexText, isConstant, isUnknownBits, partsOf, tnumText } from "./scalar/index.ts";
import {
  BPF_ADD_CONST,
  type FunctionState,
  REG_SIZE,
  type RegisterState,
  STACK_DYNPTR,
  STACK_INVALID,
  STACK_ITER,
  STACK_SPILL,
  type StackSlot,
  type VerifierState,
  slotType,
} from "./state.ts";

const SLOT_LETTERS = "?rm0dif";
const DYNPTR_TYPES = ["<invalid>", "local", "ringbuf", "skb", "xdp", "skb_meta", "file"] as const;
const ITER_STATES = ["<invalid>", "active", "drained"] as const;

/** Small numbers are decimal, others hexadecimal (verbose_snum). */
function signedText(value: bigint): string {
  return value >= -32768n && value <= 32767n ? String(value) : hexText(BigInt.asUintN(64, value));
}

function unsignedText(value: bigint): string {
  return value <= 65535n ? String(value) : hexText(value);
}

const S64_MIN = -(1n << 63n);
const S64_MAX = (1n << 63n) - 1n;
const U64_MAX = (1n << 64n) - 1n;

/** The ranges that say something; equal ends share a value: "smin=umin=1,smax=7" (print_scalar_ranges). */
function rangeTexts(scalar: number): string[] {
  const { smin, smax, umin, umax, s32min, s32max, u32min, u32max } = partsOf(scalar);
  const short = (value: number): bigint =>
    value >= -32768 && value <= 32767 ? BigInt(value) : BigInt(value >>> 0);
  const ends = [
    { name: "smin", value: smin, omit: smin === S64_MIN },
    { name: "smax", value: smax, omit: smax === S64_MAX },
    { name: "umin", value: umin, omit: umin === 0n },
    { name: "umax", value: umax, omit: umax === U64_MAX },
    { name: "smin32", value: short(s32min), omit: s32min === -0x80000000 },
    { name: "smax32", value: short(s32max), omit: s32max === 0x7fffffff },
    { name: "umin32", value: BigInt(u32min), omit: u32min === 0 },
    { name: "umax32", value: BigInt(u32max), omit: u32max === 0xffffffff },
  ];
  const bits = (value: bigint): bigint => BigInt.asUintN(64, value);
  const negative = ({ name, value }: { name: string; value: bigint }): boolean =>
    name.startsWith("s") && BigInt.asIntN(64, value) < 0n;
  const texts: string[] = [];
  for (let first = 0; first < ends.length; first++) {
    const end = ends[first];
    if (end === undefined || end.omit) continue;
    let text = `${end.name}=`;
    for (let other = first + 2; other < ends.length; other += 2) {
      const same = ends[other];
      if (same === undefined || same.omit || bits(same.value) !== bits(end.value)) continue;
      if (negative(same) !== negative(end)) continue;
      same.omit = true;
      text += `${same.name}=`;
    }
    texts.push(
      text + (end.name.startsWith("s") ? signedText(BigInt.asIntN(64, end.value)) : unsignedText(end.value)),
    );
  }
  return texts;
}

/** What a register holds, as after "R1=" (print_reg_state). */
export function registerText(frame: FunctionState, reg: RegisterState): string {
  const { type, scalar } = reg;
  const constant = isConstant(scalar);
  const precise = type === SCALAR_VALUE && reg.precise ? "P" : "";
  if (type === SCALAR_VALUE && constant)
    return precise + signedText(BigInt.asIntN(64, partsOf(scalar).value));
  let text = precise + typeName(type);
  if (type === PTR_TO_ARENA) return text;
  if (type === PTR_TO_STACK) {
    if (frame.frameno !== reg.frameno) text += `[${reg.frameno}]`;
    if (constant) return text + signedText(BigInt.asIntN(64, partsOf(scalar).value + BigInt(reg.off)));
  }
  const base = baseType(type);
  if (base === PTR_TO_BTF_ID && reg.btf !== undefined) text += typeNameOf(reg);
  const parts: string[] = [];
  if (reg.id !== 0) {
    const delta = (reg.id & BPF_ADD_CONST) === 0 ? "" : reg.off < 0 ? String(reg.off) : `+${reg.off}`;
    parts.push(`id=${reg.id & ~BPF_ADD_CONST}${delta}`);
  }
  if (reg.refObjId !== 0) parts.push(`ref_obj_id=${reg.refObjId}`);
  if ((type & NON_OWN_REF) !== 0) parts.push("non_own_ref");
  if (
    (base === CONST_PTR_TO_MAP || base === PTR_TO_MAP_KEY || base === PTR_TO_MAP_VALUE) &&
    reg.map !== undefined
  ) {
    if (reg.map.name !== "") parts.push(`map=${reg.map.name}`);
    parts.push(`ks=${reg.map.keySize},vs=${reg.map.valueSize}`);
  }
  if (type !== SCALAR_VALUE && reg.off !== 0) parts.push(`off=${signedText(BigInt(reg.off))}`);
  if (isPacketPointer(type)) parts.push(`r=${unsignedText(BigInt.asUintN(64, BigInt(reg.range)))}`);
  if (base === PTR_TO_MEM) parts.push(`sz=${unsignedText(BigInt(reg.memSize))}`);
  if (type === CONST_PTR_TO_DYNPTR) parts.push(`type=${DYNPTR_TYPES[reg.dynptrType] ?? "<unknown>"}`);
  if (constant) {
    const { value } = partsOf(scalar);
    if (value !== 0n) parts.push(`imm=${signedText(BigInt.asIntN(64, value))}`);
  } else {
    parts.push(...rangeTexts(scalar));
    if (!isUnknownBits(scalar)) parts.push(`var_off=${tnumText(scalar)}`);
  }
  return `${text}(${parts.join(",")})`;
}

function typeNameOf({ btf, btfId }: RegisterState): string {
  if (btf === undefined) return "";
  const type = btf.type(btfId);
  return "name" in type ? type.name : "";
}

/** What eight bytes of stack hold, as after "fp-8="; undefined if nothing. */
export function slotText(frame: FunctionState, slot: StackSlot): string | undefined {
  let letters = "";
  let valid = false;
  let firstSpill = REG_SIZE;
  for (let byte = 0; byte < REG_SIZE; byte++) {
    const type = slotType(slot, byte);
    if (type !== STACK_INVALID) valid = true;
    if (type === STACK_SPILL && byte < firstSpill) firstSpill = byte;
    letters += SLOT_LETTERS[type];
  }
  if (!valid) return undefined;
  if (slotType(slot, REG_SIZE - 1) === STACK_SPILL) {
    return letters.slice(0, firstSpill) + registerText(frame, slot.spilled);
  }
  return letters;
}

/** One frame of a state, with the line's end; everything, or what changed since it was printed last. */
export function stateText(env: Environment, state: VerifierState, frameno: number, all: boolean): string {
  const frame = state.frames[frameno] as FunctionState;
  let text = frame.frameno === 0 ? "" : ` frame${frame.frameno}:`;
  for (let regno = 0; regno < frame.registers.length; regno++) {
    const reg = frame.registers[regno] as RegisterState;
    if (reg.type === NOT_INIT) continue;
    if (!all && ((env.scratchedRegisters >>> regno) & 1) === 0) continue;
    text += ` R${regno}=${registerText(frame, reg)}`;
  }
  for (let number = 0; number < frame.stack.length; number++) {
    const scratched = number < 32 ? env.scratchedLow >>> number : env.scratchedHigh >>> (number - 32);
    if (!all && (scratched & 1) === 0) continue;
    let slot = frame.stack[number] as StackSlot;
    const last = slotType(slot, REG_SIZE - 1);
    if (last === STACK_DYNPTR) {
      number++;
      slot = frame.stack[number] as StackSlot;
      const { spilled } = slot;
      const parts: string[] = [];
      if (spilled.id !== 0) parts.push(`id=${spilled.id}`);
      if (spilled.refObjId !== 0) parts.push(`ref_id=${spilled.refObjId}`);
      // In the kernel's union this is the mark of the first slot.
      if (spilled.dynptrFirstSlot) parts.push("dynptr_id=1");
      text += ` fp${-(number + 1) * REG_SIZE}=dynptr_${DYNPTR_TYPES[spilled.dynptrType] ?? "<unknown>"}(${parts.join(",")})`;
      continue;
    }
    if (last === STACK_ITER) {
      const { spilled } = slot;
      if (spilled.refObjId === 0) continue;
      const name = typeNameOf(spilled).replace(/^bpf_iter_/, "");
      text += ` fp${-(number + 1) * REG_SIZE}=iter_${name}(ref_id=${spilled.refObjId},state=${ITER_STATES[spilled.iterState]},depth=${spilled.iterDepth})`;
      continue;
    }
    const content = slotText(frame, slot);
    if (content !== undefined) text += ` fp${-(number + 1) * REG_SIZE}=${content}`;
  }
  const [reference] = state.references;
  if (reference !== undefined && reference.id !== 0) {
    text += ` refs=${state.references
      .filter(({ id }) => id !== 0)
      .map(({ id }) => id)
      .join(",")}`;
  }
  if (frame.inCallback) text += " cb";
  if (frame.inAsyncCallback) text += " async_cb";
  if (!all) {
    env.scratchedRegisters = 0;
    env.scratchedLow = 0;
    env.scratchedHigh = 0;
  }
  return `${text}\n`;
}

/** Column at which a state that follows an instruction begins. */
const ALIGNMENT = 40;
const STEP = 8;

/** What an instruction changed, on its own line if nothing came between (print_insn_state). */
export function printInstructionState(env: Environment): void {
  const { log } = env;
  if (env.instructionEnd !== 0 && env.instructionEnd === log.position) {
    log.reset(env.instructionEnd - 1);
    const at = env.instructionLength;
    const column = Math.ceil(Math.max(at + STEP / 2, ALIGNMENT) / STEP) * STEP;
    log.write(`${" ".repeat(Math.max(column - at - 1, 1))};`);
  } else log.write(`${env.index}:`);
  log.write(stateText(env, env.state, env.state.frames.length - 1, false));
}

export function stateScratched(env: Environment): boolean {
  return (env.scratchedRegisters | env.scratchedLow | env.scratchedHigh) !== 0;
}

/** The instruction that is next, with its source line before it. */
export function printInstruction(env: Environment): void {
  const { log } = env;
  lineBefore(env, env.index, "; ");
  const begin = log.position;
  log.write(`${env.index}: ${instructionText(env, env.index)}\n`);
  env.instructionLength = log.position - begin;
  env.instructionEnd = log.position;
}
