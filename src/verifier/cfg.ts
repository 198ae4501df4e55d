/**
 * The control flow graph: a depth-first walk that finds unreachable code and marks the instructions where states are worth
 * keeping (check_cfg), each instruction's successors, and the order in which analyses visit them (compute_postorder).
 */
import { CLASSES, type Instruction, OPCODE_LDDW, isWide } from "../isa/index.ts";
import { helperChangesPacketData, helperMightSleep } from "./calls/summary.ts";
import type { Environment, InstructionAux, Subprogram } from "./environment.ts";
import { callsCallbackAtOnce, callsCallbackLater, kfuncOf } from "./kfuncs.ts";
import {
  isHelperCall,
  isKfuncCall,
  isJump,
  isMayGoto,
  isPseudoFunction,
  jumpDistance,
  PSEUDO_CALL,
} from "./kinds.ts";
import { lineBefore } from "./lines.ts";
import { containingSubprogram } from "./subprograms.ts";

const DISCOVERED = 0x10;
const EXPLORED = 0x20;
const FALLTHROUGH = 1;
const BRANCH = 2;

interface Walk {
  readonly env: Environment;
  readonly states: Uint8Array;
  readonly stack: number[];
}

function auxAt(env: Environment, slot: number): InstructionAux {
  return env.aux[slot] as InstructionAux;
}

function markJumpTarget(env: Environment, slot: number): void {
  const aux = auxAt(env, slot);
  aux.prunePoint = true;
  aux.jumpPoint = true;
}

/** Follows one edge; true if the walk must go on with its target before it comes back. */
function push({ env, states, stack }: Walk, from: number, to: number, edge: number): boolean {
  const state = states[from] as number;
  if (edge === FALLTHROUGH && state >= (DISCOVERED | FALLTHROUGH)) return false;
  if (edge === BRANCH && state >= (DISCOVERED | BRANCH)) return false;
  if (to < 0 || to >= env.instructions.length) {
    lineBefore(env, from, `${from}: `);
    throw env.reject("EINVAL", `jump out of range from insn ${from} to ${to}`);
  }
  if (edge === BRANCH) markJumpTarget(env, to);
  const target = states[to] as number;
  if (target === 0) {
    states[from] = DISCOVERED | edge;
    states[to] = DISCOVERED;
    if (stack.length >= env.instructions.length) throw env.reject("E2BIG");
    stack.push(to);
    return true;
  }
  if ((target & 0xf0) === DISCOVERED) {
    if (env.hasBpf) return false;
    lineBefore(env, from, `${from}: `);
    lineBefore(env, to, `${to}: `);
    throw env.reject("EINVAL", `back-edge from insn ${from} to ${to}`);
  }
  states[from] = DISCOVERED | edge;
  return false;
}

function visitCall(walk: Walk, index: number, instruction: Instruction, callee: boolean): boolean {
  const { env } = walk;
  const next = index + (instruction.opcode === OPCODE_LDDW ? 2 : 1);
  if (push(walk, index, next, FALLTHROUGH)) return true;
  markJumpTarget(env, next);
  if (!callee) return false;
  const target = index + instruction.imm + 1;
  auxAt(env, index).prunePoint = true;
  const from = env.subprograms[containingSubprogram(env, index)] as Subprogram;
  const to = env.subprograms[containingSubprogram(env, target)] as Subprogram;
  from.changesPacketData ||= to.changesPacketData;
  from.mightSleep ||= to.mightSleep;
  from.mightThrow ||= to.mightThrow;
  return push(walk, index, target, BRANCH);
}

function visit(walk: Walk, index: number): boolean {
  const { env } = walk;
  const instruction = env.instructions[index] as Instruction;
  if (isPseudoFunction(instruction)) return visitCall(walk, index, instruction, true);
  if (!isJump(instruction)) return push(walk, index, index + (isWide(instruction) ? 2 : 1), FALLTHROUGH);
  const { opcode, src } = instruction;
  switch (opcode & 0xf0) {
    case 0x90:
      return false;
    case 0x80: {
      const aux = auxAt(env, index);
      if (callsCallbackLater(env, instruction)) aux.prunePoint = true;
      if (callsCallbackAtOnce(env, instruction)) {
        aux.callsCallback = true;
        aux.forceCheckpoint = true;
        markJumpTarget(env, index);
      }
      if (isHelperCall(instruction)) {
        const subprogram = env.subprograms[containingSubprogram(env, index)] as Subprogram;
        if (!env.isExtension && helperMightSleep(env, instruction.imm)) subprogram.mightSleep = true;
        if (helperChangesPacketData(instruction.imm)) subprogram.changesPacketData = true;
      } else if (isKfuncCall(instruction)) {
        const kfunc = kfuncOf(env, instruction);
        if (kfunc?.allowed === true) {
          const subprogram = env.subprograms[containingSubprogram(env, index)] as Subprogram;
          if (kfunc.flags.has("iter_next")) {
            aux.prunePoint = true;
            aux.forceCheckpoint = true;
          }
          if (kfunc.flags.has("sleepable")) subprogram.mightSleep = true;
          if (kfunc.name === "bpf_throw") subprogram.mightThrow = true;
          if (kfunc.changesPacketData) subprogram.changesPacketData = true;
        }
      }
      return visitCall(walk, index, instruction, src === PSEUDO_CALL);
    }
    case 0x00: {
      if ((opcode & 8) !== 0) throw env.reject("EINVAL");
      const target = index + jumpDistance(instruction) + 1;
      if (push(walk, index, target, FALLTHROUGH)) return true;
      markJumpTarget(env, target);
      return false;
    }
    default: {
      const aux = auxAt(env, index);
      aux.prunePoint = true;
      if (isMayGoto(instruction)) aux.forceCheckpoint = true;
      if (push(walk, index, index + 1, FALLTHROUGH)) return true;
      return push(walk, index, index + instruction.offset + 1, BRANCH);
    }
  }
}

function walkFrom(walk: Walk, start: number): void {
  const { states, stack } = walk;
  states[start] = DISCOVERED;
  while (stack.length > 0) {
    const index = stack[stack.length - 1] as number;
    if (visit(walk, index)) continue;
    states[index] = EXPLORED;
    stack.pop();
  }
}

/** Walks the whole graph from the first instruction; refuses code that nothing reaches. */
export function checkCfg(env: Environment): void {
  const { instructions } = env;
  const walk: Walk = { env, states: new Uint8Array(instructions.length), stack: [0] };
  const { states, stack } = walk;
  walkFrom(walk, 0);
  // What is called when an exception ends the program, nothing jumps to.
  if (env.exceptionCallback > 0) {
    const { start } = env.subprograms[env.exceptionCallback] as Subprogram;
    stack.push(start);
    walkFrom(walk, start);
  }
  for (let index = 0; index < instructions.length; index++) {
    if (states[index] !== EXPLORED) throw env.reject("EINVAL", `unreachable insn ${index}`);
    if (isWide(instructions[index] as Instruction)) {
      if (states[index + 1] !== 0) {
        throw env.reject("EINVAL", `jump into the middle of ldimm64 insn ${index}`);
      }
      index++;
    }
  }
  env.changesPacketData = (env.subprograms[0] as Subprogram).changesPacketData;
}

/** Two entries a slot: what may come next in the same function; -1: nothing (bpf_insn_successors). */
export function computeSuccessors(env: Environment): void {
  const { instructions } = env;
  const successors = new Int32Array(instructions.length * 2).fill(-1);
  for (let index = 0; index < instructions.length; index++) {
    const instruction = instructions[index] as Instruction;
    const { opcode } = instruction;
    const cls = opcode & 7;
    const jump = cls === CLASSES.jmp || cls === CLASSES.jmp32;
    const operation = opcode & 0xf0;
    const falls = !jump || (operation !== 0x90 && operation !== 0x00);
    const jumps = jump && operation !== 0x90 && operation !== 0x80 && operation < 0xf0;
    let at = index * 2;
    if (falls) successors[at++] = index + (isWide(instruction) ? 2 : 1);
    if (jumps) successors[at] = index + jumpDistance(instruction) + 1;
  }
  env.successors = successors;
}

/** Slots of each function in postorder, functions one after the other (compute_postorder). */
export function computePostorder(env: Environment): void {
  const { successors, instructions } = env;
  const order = new Int32Array(instructions.length);
  const states = new Uint8Array(instructions.length);
  let count = 0;
  const stack: number[] = [];
  for (let number = 0; number < env.subprogramCount; number++) {
    const subprogram = env.subprograms[number] as Subprogram;
    subprogram.postorderStart = count;
    stack.push(subprogram.start);
    do {
      const top = stack[stack.length - 1] as number;
      states[top] = (states[top] as number) | DISCOVERED;
      if (((states[top] as number) & EXPLORED) !== 0) {
        order[count++] = top;
        stack.pop();
        continue;
      }
      for (let at = top * 2; at < top * 2 + 2; at++) {
        const next = successors[at] as number;
        if (next < 0 || states[next] !== 0) continue;
        stack.push(next);
        states[next] = DISCOVERED;
      }
      states[top] = (states[top] as number) | EXPLORED;
    } while (stack.length > 0);
  }
  (env.subprograms[env.subprogramCount] as Subprogram).postorderStart = count;
  env.postorder = order.subarray(0, count);
}
