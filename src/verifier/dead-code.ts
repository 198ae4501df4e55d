/**
 * What becomes of addresses of functions when code that is never reached is taken out (opt_hard_wire_dead_code_branches,
 * opt_remove_dead_code, opt_remove_nops and jit_subprogs of kernel/bpf/verifier.c).
 *
 * A function that nothing calls may still be named: `bpf_loop(0, f, ...)` never calls f. It is taken out, and the instruction that names it
 * keeps the number of the slot where it began, while all behind it moves down. If no function begins at that number in
 * the end, the kernel refuses the program with a "verifier bug"; if one does, that one is taken for f.
 */
import { CLASSES, type Instruction, OPCODE_LDDW } from "../isa/index.ts";
import type { Environment, InstructionAux, Subprogram } from "./environment.ts";
import { kfuncNameOf } from "./kfuncs.ts";
import { CALL, EXIT, GOTO, GOTO_LONG, HELPER, MAY_GOTO, isHelperCall, isPseudoFunction } from "./kinds.ts";

/** Instructions of an inlined bpf_loop. */
const INLINED_LOOP = 19;

/** Refuses the program if a function that it names is gone. */
export function checkRemovedFunctions(env: Environment): void {
  if (env.subprogramCount === 1) return;
  const named: { readonly index: number; readonly start: number }[] = [];
  for (const [index, instruction] of env.instructions.entries()) {
    if (!isSeen(env, index)) continue;
    if (isPseudoFunction(instruction)) named.push({ index, start: index + instruction.imm + 1 });
    const inlined = inlinedLoop(env, index);
    if (inlined !== undefined) named.push({ index, start: (env.subprograms[inlined] as Subprogram).start });
  }
  if (named.every(({ start }) => isSeen(env, start))) return;
  const starts = env.subprograms
    .slice(0, env.subprogramCount)
    .map(({ start }) => start)
    .filter((start) => isSeen(env, start));
  // A program that is one function is not linked again. The kernel adds one for exceptions that no callback takes.
  if (starts.length + (hasHiddenFunction(env) ? 1 : 0) <= 1) return;
  const places = placesAfterRemoval(
    env,
    named.map(({ start }) => start),
  );
  const begins = new Set(starts.map((start) => places.get(start)));
  for (const { start } of named) {
    const place = places.get(start);
    if (!begins.has(place)) {
      env.verbose(`verifier bug: No program to jit at insn ${place} (subprog < 0)\n`);
      throw env.reject("EFAULT");
    }
  }
}

function isSeen(env: Environment, index: number): boolean {
  return (env.aux[index] as InstructionAux).seen;
}

/** The function that an inlined bpf_loop calls. */
function inlinedLoop(env: Environment, index: number): number | undefined {
  const instruction = env.instructions[index] as Instruction;
  if (!isHelperCall(instruction) || instruction.imm !== HELPER.loop) return undefined;
  const { loopInline } = env.aux[index] as InstructionAux;
  return loopInline?.fits === true ? loopInline.subprogram : undefined;
}

function hasHiddenFunction(env: Environment): boolean {
  if (env.exceptionCallback > 0) return false;
  return env.instructions.some(
    (instruction, index) => isSeen(env, index) && kfuncNameOf(env, instruction) === "bpf_throw",
  );
}

/** Where the starts of functions are in the end, those that are gone included. */
function placesAfterRemoval(env: Environment, gone: readonly number[]): Map<number, number> {
  const { instructions } = env;
  const places = new Map<number, number>();
  const pending = new Set([
    ...gone,
    ...env.subprograms.slice(0, env.subprogramCount).map(({ start }) => start),
  ]);
  // First with loops inlined, and nothing taken out.
  const live: number[] = [];
  const positions: number[] = [];
  const holes: { from: number; size: number }[] = [];
  let position = 0;
  for (let index = 0; index < instructions.length; index++) {
    if (pending.has(index)) places.set(index, position);
    const isSecond = index > 0 && instructions[index - 1]?.opcode === OPCODE_LDDW && isSeen(env, index - 1);
    if (isSeen(env, index) || isSecond) {
      live.push(index);
      positions.push(position);
      position += inlinedLoop(env, index) === undefined ? 1 : INLINED_LOOP;
      continue;
    }
    const hole = holes[holes.length - 1];
    if (hole !== undefined && hole.from + hole.size === position) hole.size++;
    else holes.push({ from: position, size: 1 });
    position++;
  }
  // Then hole by hole, from the first: what lies behind moves down, a name of what lies inside keeps its number.
  let removed = 0;
  for (const { from, size } of holes) {
    for (const [start, place] of places) if (place >= from - removed + size) places.set(start, place - size);
    removed += size;
  }
  let hole = 0;
  let shift = 0;
  for (let at = 0; at < positions.length; at++) {
    for (; hole < holes.length && (holes[hole]?.from as number) < (positions[at] as number); hole++) {
      shift += holes[hole]?.size as number;
    }
    positions[at] = (positions[at] as number) - shift;
  }
  // At last jumps that go nowhere; of several names of one place none is told from another.
  const nops = removedJumps(env, live).map((at) => positions[at] as number);
  for (const [start, place] of places) places.set(start, place - nops.filter((nop) => nop < place).length);
  return places;
}

/** Which of the live instructions are jumps to the next one, in the end. */
function removedJumps(env: Environment, live: readonly number[]): number[] {
  const ordinals = new Map(live.map((index, at) => [index, at]));
  const dropped = droppedSpills(env);
  const removed: number[] = [];
  const kept: number[] = [];
  const jump = (at: number): { readonly to: number; readonly mayGoto: boolean } | undefined => {
    const index = live[at] as number;
    if (dropped.has(index)) return { to: at + 1, mayGoto: false };
    const target = jumpTarget(env, index);
    return target && { to: ordinals.get(target.index) ?? -1, mayGoto: target.mayGoto };
  };
  for (let next = 1; next <= live.length; next++) {
    let at: number | undefined = next - 1;
    while (at !== undefined) {
      const found = jump(at);
      if (found === undefined || found.to <= at || found.to > next) break;
      removed.push(at);
      // The instruction before a may_goto is looked at once more.
      at = found.mayGoto ? kept.pop() : undefined;
    }
    if (at !== undefined) kept.push(at);
  }
  return removed;
}

/** Where an instruction jumps always, if it is a short jump; or a may_goto. */
function jumpTarget(
  env: Environment,
  index: number,
): { readonly index: number; readonly mayGoto: boolean } | undefined {
  const { opcode, dst, src, offset, imm } = env.instructions[index] as Instruction;
  const taken = index + 1 + offset;
  const isPlain = dst === 0 && src === 0 && imm === 0;
  if (opcode === GOTO) return isPlain ? { index: taken, mayGoto: false } : undefined;
  if (!isConditional(opcode)) return undefined;
  if (!isSeen(env, index + 1)) return { index: taken, mayGoto: false };
  if (!isSeen(env, taken)) return { index: index + 1, mayGoto: false };
  return opcode === MAY_GOTO && isPlain ? { index: taken, mayGoto: true } : undefined;
}

function isConditional(opcode: number): boolean {
  const cls = opcode & 7;
  if (cls === CLASSES.jmp32) return opcode !== GOTO_LONG;
  return cls === CLASSES.jmp && opcode !== GOTO && opcode !== CALL && opcode !== EXIT;
}

/** Spills and fills around calls that the kernel inlines. */
function droppedSpills(env: Environment): Set<number> {
  const dropped = new Set<number>();
  for (const [index, { fastcallSpills }] of env.aux.entries()) {
    for (let distance = 1; distance <= fastcallSpills; distance++) {
      dropped.add(index - distance).add(index + distance);
    }
  }
  return dropped;
}
