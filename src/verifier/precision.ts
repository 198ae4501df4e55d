/**
 * Which numbers mattered (mark_chain_precision). Kept states are compared without looking at numbers, unless a number decided
 * something later: an offset, a jump, an argument. When one does, the way is walked back instruction by instruction, with a
 * set of registers and stack slots of each frame whose values are needed; at each kept state on the way these are marked as
 * precise. The walk ends when the set is empty: where a number was loaded from memory, or set to a constant.
 */
import { CLASSES, type Instruction } from "../isa/index.ts";
import type { Backtrack } from "./backtrack.ts";
import { instructionText } from "./disassemble.ts";
import type { Environment, InstructionAux, Subprogram } from "./environment.ts";
import {
  DST_IS_STACK,
  SRC_IS_STACK,
  STACK_ACCESS,
  accessedFrame,
  accessedSlot,
  historyEntry,
} from "./history.ts";
import { callsCallbackAtOnce } from "./kfuncs.ts";
import { HELPER, isHelperCall, isKfuncCall, isPseudoCall } from "./kinds.ts";
import { LEVEL2 } from "./log.ts";
import { stateText } from "./print.ts";
import { SCALAR_VALUE } from "./register-types.ts";
import { slotsText } from "./stack-liveness.ts";
import {
  type FunctionState,
  type JumpRecord,
  MAX_CALL_FRAMES,
  type RegisterState,
  type StackSlot,
  type VerifierState,
  isSpilled,
  ownSlot,
} from "./state.ts";
import { findSubprogram } from "./subprograms.ts";

/** r1 to r5. */
const ARGUMENTS = 0x3e;

/** "r0,r2": registers of a mask. */
function registersText(mask: number): string {
  const names: string[] = [];
  for (let regno = 0; regno < 32; regno++) if ((mask >>> regno) & 1) names.push(`r${regno}`);
  return names.join();
}

/** The number in a register of the current frame decided something: so did what it was computed from. */
export function markChainPrecision(env: Environment, regno: number): void {
  markPrecision(env, env.state, regno);
}

/** What has changed by {@link markPrecision}: whether any mark was set that was not. */
export interface Changed {
  changed: boolean;
}

/**
 * Walks back from a state, for a register (or none, -1) and what the environment's set holds already.
 * `index` of the state is the instruction before which it stands.
 */
export function markPrecision(
  env: Environment,
  starting: VerifierState,
  regno: number,
  report?: Changed,
): void {
  const bt = env.backtrack;
  // Without CAP_BPF every number is precise anyway.
  if (!env.hasBpf) return;
  let state = starting;
  let firstIndex = state.firstIndex;
  let lastIndex = starting.index;
  let following = -1;
  bt.frame = starting.frames.length - 1;
  if (regno >= 0) {
    const reg = (state.frames[bt.frame] as FunctionState).registers[regno] as RegisterState;
    if (reg.type !== SCALAR_VALUE) throw env.bug("backtracking misuse");
    bt.setRegister(bt.frame, regno);
  }
  if (bt.isEmpty()) return;
  const traced = (env.log.level & LEVEL2) !== 0;
  let skipFirst = true;
  for (;;) {
    if (traced) {
      env.verbose(
        `mark_precise: frame${bt.frame}: last_idx ${lastIndex} first_idx ${firstIndex} subseq_idx ${following} \n`,
      );
    }
    if (lastIndex < 0) return markEntry(env, state, report);
    let count = state.history.length;
    let index = lastIndex;
    for (;;) {
      if (skipFirst) skipFirst = false;
      else if (!backtrackInstruction(env, index, following, historyEntry(state, count, index), traced)) {
        markAllPrecise(env, starting);
        bt.clear();
        return;
      }
      if (bt.isEmpty()) return;
      following = index;
      // One instruction back (get_prev_insn_idx): straight, unless the history says otherwise.
      if (index === state.firstIndex) {
        if (count === 0) break;
        if (count === 1 && (state.history[0] as JumpRecord).index === index) break;
      }
      const record = historyEntry(state, count, index);
      if (record === undefined) index--;
      else {
        index = record.previous;
        count--;
      }
      if (index >= env.instructions.length || index < 0) throw env.bug(`backtracking idx ${index}`);
    }
    const { parent } = state;
    if (parent === undefined) break;
    state = parent;
    markState(env, state, traced, report);
    if (bt.isEmpty()) return;
    following = firstIndex;
    lastIndex = state.lastIndex;
    firstIndex = state.firstIndex;
  }
  if (!bt.isEmpty()) {
    markAllPrecise(env, starting);
    bt.clear();
  }
}

/** Where a global function begins only its arguments can still be wanted. */
function markEntry(env: Environment, state: VerifierState, report: Changed | undefined): void {
  const bt = env.backtrack;
  const frame = state.frames[0] as FunctionState;
  if (
    state.frames.length === 1 &&
    frame.subprogno > 0 &&
    frame.callsite === -1 &&
    !bt.hasSlots(bt.frame) &&
    (bt.mask & ~ARGUMENTS) === 0
  ) {
    for (let regno = 1; regno <= 5; regno++) {
      if (!bt.hasRegister(bt.frame, regno)) continue;
      bt.clearRegister(bt.frame, regno);
      const reg = frame.registers[regno] as RegisterState;
      if (reg.type !== SCALAR_VALUE) continue;
      reg.precise = true;
      if (report !== undefined) report.changed = true;
    }
    return;
  }
  throw env.bug(
    `backtracking func entry subprog ${frame.subprogno} reg_mask ${bt.mask.toString(16)} stack_mask ${slotsText(bt.low[bt.frame] as number, bt.high[bt.frame] as number)}`,
  );
}

/** Marks what is wanted in a kept state; what is marked already, or no number, is wanted no longer. */
function markState(
  env: Environment,
  state: VerifierState,
  traced: boolean,
  report: Changed | undefined,
): void {
  const bt = env.backtrack;
  for (let frameno = bt.frame; frameno >= 0; frameno--) {
    const frame = state.frames[frameno] as FunctionState;
    const mask = bt.registers[frameno] as number;
    for (let regno = 0; mask >>> regno !== 0; regno++) {
      if (((mask >>> regno) & 1) === 0) continue;
      const reg = frame.registers[regno] as RegisterState;
      if (reg.type !== SCALAR_VALUE || reg.precise) bt.clearRegister(frameno, regno);
      else {
        reg.precise = true;
        if (report !== undefined) report.changed = true;
      }
    }
    if (bt.hasSlots(frameno)) {
      for (let number = 0; number < 64; number++) {
        if (!bt.hasSlot(frameno, number)) continue;
        const slot = frame.stack[number];
        if (slot === undefined) {
          throw env.bug(`stack slot ${number}, total slots ${frame.stack.length}`);
        }
        const reg = slot.spilled;
        if (!isSpilled(slot) || reg.type !== SCALAR_VALUE || reg.precise) bt.clearSlot(frameno, number);
        else {
          ownSlot(frame, number).spilled.precise = true;
          if (report !== undefined) report.changed = true;
        }
      }
    }
    if (traced) {
      env.verbose(
        `mark_precise: frame${frameno}: parent state regs=${registersText(bt.registers[frameno] as number)} ` +
          `stack=${slotsText(bt.low[frameno] as number, bt.high[frameno] as number)}: ${stateText(env, state, frameno, true)}`,
      );
    }
  }
}

/** If one of the registers that were compared together is wanted, all are. */
function syncLinked(bt: Backtrack, record: JumpRecord | undefined): void {
  if (record === undefined || record.linked.length === 0) return;
  const wanted = record.linked.some((entry) =>
    (entry & 512) !== 0
      ? bt.hasRegister(entry & 7, (entry >> 3) & 63)
      : bt.hasSlot(entry & 7, (entry >> 3) & 63),
  );
  if (!wanted) return;
  for (const entry of record.linked) {
    if ((entry & 512) !== 0) bt.setRegister(entry & 7, (entry >> 3) & 63);
    else bt.setSlot(entry & 7, (entry >> 3) & 63);
  }
}

/** One instruction back; false: it cannot be followed, everything must be precise (backtrack_insn). */
function backtrackInstruction(
  env: Environment,
  index: number,
  following: number,
  record: JumpRecord | undefined,
  traced: boolean,
): boolean {
  const bt = env.backtrack;
  const instruction = env.instructions[index] as Instruction;
  const { opcode, dst, src, imm } = instruction;
  if (opcode === 0) return true;
  const { frame } = bt;
  if (traced) {
    env.verbose(
      `mark_precise: frame${frame}: regs=${registersText(bt.mask)} ` +
        `stack=${slotsText(bt.low[frame] as number, bt.high[frame] as number)} before ${index}: ${instructionText(env, index)}\n`,
    );
  }
  syncLinked(bt, record);
  const cls = opcode & 7;
  const operation = opcode & 0xf0;
  const mode = opcode & 0xe0;
  const fromRegister = (opcode & 8) !== 0;
  if (cls === CLASSES.alu || cls === CLASSES.alu64) {
    if (!bt.hasRegister(frame, dst)) return true;
    if (operation === 0xd0 || operation === 0x80) return true;
    if (operation === 0xb0) {
      bt.clearRegister(frame, dst);
      if (fromRegister && src !== 10) bt.setRegister(frame, src);
    } else if (fromRegister && src !== 10) bt.setRegister(frame, src);
  } else if (cls === CLASSES.ldx || (cls === CLASSES.stx && mode === 0xc0 && imm === 0x100)) {
    if (!bt.hasRegister(frame, dst)) return true;
    bt.clearRegister(frame, dst);
    if (record === undefined || (record.flags & STACK_ACCESS) === 0) return true;
    bt.setSlot(accessedFrame(record.flags), accessedSlot(record.flags));
  } else if (env.options.sound === true && cls === CLASSES.stx && mode === 0xc0 && (imm & 1) !== 0) {
    // What an atomic instruction found comes from memory. Linux 6.18 takes the register for one that is only read (CVE-2026-43009).
    const loaded = imm === 0xf1 ? 0 : src;
    if (!bt.hasRegister(frame, loaded)) return true;
    bt.clearRegister(frame, loaded);
    if (record === undefined || (record.flags & STACK_ACCESS) === 0) return true;
    bt.setSlot(accessedFrame(record.flags), accessedSlot(record.flags));
  } else if (cls === CLASSES.stx || cls === CLASSES.st) {
    if (bt.hasRegister(frame, dst)) return false;
    if (record === undefined || (record.flags & STACK_ACCESS) === 0) return true;
    const slotFrame = accessedFrame(record.flags);
    const slot = accessedSlot(record.flags);
    if (!bt.hasSlot(slotFrame, slot)) return true;
    bt.clearSlot(slotFrame, slot);
    if (cls === CLASSES.stx) bt.setRegister(frame, src);
  } else if (cls === CLASSES.jmp || cls === CLASSES.jmp32) {
    const done = backtrackJump(env, instruction, index, following, record);
    if (done !== undefined) return done;
  } else if (cls === CLASSES.ld) {
    if (!bt.hasRegister(frame, dst)) return true;
    bt.clearRegister(frame, dst);
    if (mode === 0x20 || mode === 0x40) return false;
  }
  syncLinked(bt, record);
  return true;
}

/** Calls, exits and comparisons; undefined: go on as usual. */
function backtrackJump(
  env: Environment,
  instruction: Instruction,
  index: number,
  following: number,
  record: JumpRecord | undefined,
): boolean | undefined {
  const bt = env.backtrack;
  const { frame } = bt;
  const { opcode, dst, src, imm } = instruction;
  const operation = opcode & 0xf0;
  if (isPseudoCall(instruction)) {
    const number = findSubprogram(env, index + imm + 1);
    if (number < 0) throw env.reject("EFAULT");
    if ((env.subprograms[number] as Subprogram).linkage === "global") {
      if ((bt.mask & ARGUMENTS) !== 0) {
        throw env.bug(`global subprog unexpected regs ${bt.mask.toString(16)}`);
      }
      bt.clearRegister(frame, 0);
      return true;
    }
    if ((bt.mask & ~ARGUMENTS) !== 0) throw env.bug(`static subprog unexpected regs ${bt.mask.toString(16)}`);
    if (bt.hasSlots(frame)) throw env.bug("static subprog leftover stack slots");
    for (let regno = 1; regno <= 5; regno++) {
      if (!bt.hasRegister(frame, regno)) continue;
      bt.clearRegister(frame, regno);
      bt.setRegister(frame - 1, regno);
    }
    leaveFrame(env);
    return true;
  }
  if (callsCallbackAtOnce(env, instruction) && index !== following - 1) {
    if ((bt.mask & ~ARGUMENTS) !== 0) throw env.bug(`callback unexpected regs ${bt.mask.toString(16)}`);
    if (bt.hasSlots(frame)) throw env.bug("callback leftover stack slots");
    bt.registers[frame] = (bt.registers[frame] as number) & ~ARGUMENTS;
    leaveFrame(env);
    return true;
  }
  if (operation === 0x80) {
    if (isKfuncCall(instruction) && imm === 0) return false;
    bt.clearRegister(frame, 0);
    if ((bt.mask & ARGUMENTS) !== 0) {
      throw env.bug(`backtracking call unexpected regs ${bt.mask.toString(16)}`);
    }
    // A tail call that is followed by the caller's next instruction was the end of its function.
    if (isHelperCall(instruction) && imm === HELPER.tail_call && following - index !== 1) enterFrame(env);
    return undefined;
  }
  if (operation === 0x90) {
    if (following >= 0 && (env.aux[following] as InstructionAux).callsCallback) {
      bt.registers[frame] = (bt.registers[frame] as number) & ~ARGUMENTS;
    }
    if ((bt.mask & ARGUMENTS) !== 0) {
      throw env.bug(`backtracking exit unexpected regs ${bt.mask.toString(16)}`);
    }
    const call = env.instructions[following - 1];
    const wanted = call !== undefined && isPseudoCall(call) && bt.hasRegister(frame, 0);
    bt.clearRegister(frame, 0);
    enterFrame(env);
    if (wanted) bt.setRegister(bt.frame, 0);
    return true;
  }
  if ((opcode & 8) !== 0) {
    if (!bt.hasRegister(frame, dst) && !bt.hasRegister(frame, src)) return true;
    const flags = record?.flags ?? 0;
    if ((flags & SRC_IS_STACK) === 0) bt.setRegister(frame, src);
    if ((flags & DST_IS_STACK) === 0) bt.setRegister(frame, dst);
  }
  return undefined;
}

function enterFrame(env: Environment): void {
  const { backtrack } = env;
  if (backtrack.frame === MAX_CALL_FRAMES - 1) throw env.bug(`subprog enter from frame ${backtrack.frame}`);
  backtrack.frame++;
}

function leaveFrame(env: Environment): void {
  const bt = env.backtrack;
  if (bt.frame === 0) throw env.bug("subprog exit from frame 0");
  bt.frame--;
}

/** The last resort: every number of every state on the way is precise (mark_all_scalars_precise). */
export function markAllPrecise(env: Environment, starting: VerifierState): void {
  const traced = (env.log.level & LEVEL2) !== 0;
  if (traced) {
    env.verbose(
      `mark_precise: frame${starting.frames.length - 1}: falling back to forcing all scalars precise\n`,
    );
  }
  for (let state = starting.parent; state !== undefined; state = state.parent) {
    for (const [frameno, frame] of state.frames.entries()) {
      for (let regno = 0; regno < 10; regno++) {
        const reg = frame.registers[regno] as RegisterState;
        if (reg.type !== SCALAR_VALUE || reg.precise) continue;
        reg.precise = true;
        if (traced) env.verbose(`force_precise: frame${frameno}: forcing r${regno} to be precise\n`);
      }
      for (let number = 0; number < frame.stack.length; number++) {
        const slot = frame.stack[number] as StackSlot;
        if (!isSpilled(slot) || slot.spilled.type !== SCALAR_VALUE || slot.spilled.precise) continue;
        ownSlot(frame, number).spilled.precise = true;
        if (traced) {
          env.verbose(`force_precise: frame${frameno}: forcing fp${-(number + 1) * 8} to be precise\n`);
        }
      }
    }
  }
}

/** A state that is about to be kept forgets what was needed on the way to it (mark_all_scalars_imprecise). */
export function markAllImprecise(state: VerifierState): void {
  for (const frame of state.frames) {
    for (let regno = 0; regno < 10; regno++) {
      const reg = frame.registers[regno] as RegisterState;
      if (reg.type === SCALAR_VALUE) reg.precise = false;
    }
    const { stack } = frame;
    for (let number = 0; number < stack.length; number++) {
      const slot = stack[number] as StackSlot;
      if (slot.spilled.precise && isSpilled(slot) && slot.spilled.type === SCALAR_VALUE)
        ownSlot(frame, number).spilled.precise = false;
    }
  }
}
