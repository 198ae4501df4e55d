/**
 * Loops. Inside a strongly connected component of the control flow graph a kept state does not know yet which of its numbers
 * matter: paths from it are still under way. A state that lies in the ranges of such a one (a back edge) is not walked again,
 * but remembered; when all paths of the visit of the loop have ended, what matters is carried along all back edges until
 * nothing changes (maybe_enter_scc, maybe_exit_scc, propagate_backedges). A visit of a loop is told by the calls that led to it.
 */
import type { Environment, InstructionAux } from "./environment.ts";
import { frameIndex, registersExact, resetIds } from "./equal.ts";
import { LEVEL2 } from "./log.ts";
import { type Changed, markAllPrecise, markPrecision } from "./precision.ts";
import { bucketOf, sameCallsites } from "./prune-list.ts";
import { SCALAR_VALUE } from "./register-types.ts";
import { markUnknown } from "./registers.ts";
import {
  type FunctionState,
  type RegisterState,
  type StackSlot,
  VerifierState,
  copyState,
  isSpilled,
  ownSlot,
} from "./state.ts";

/** One visit of a loop. */
export interface LoopVisit {
  entry: VerifierState | undefined;
  backEdges: VerifierState[];
  backEdgeCount: number;
}

const MAX_ROUNDS = 64;

/** "1,5,2": the calls that lead to the outermost loop that a state is in, and the loop's number; undefined: in none. */
function visitKey(env: Environment, state: VerifierState): string | undefined {
  let calls = "";
  for (let frameno = 0; frameno < state.frames.length; frameno++) {
    const index = frameIndex(state, frameno);
    const { component } = env.aux[index] as InstructionAux;
    if (component !== 0) return `${calls}${component}`;
    calls += `${index},`;
  }
  return undefined;
}

/** Callchains in the log leave out a call by the first instruction, whose number is 0. */
function keyText(key: string): string {
  const parts = key.split(",");
  const loop = parts.pop() as string;
  const end = parts.indexOf("0");
  const calls = end < 0 ? parts : parts.slice(0, end);
  return `(${[...calls, loop].join()})`;
}

/** A state is kept: if it is the first of a visit, the visit begins. */
export function enterLoop(env: Environment, state: VerifierState): void {
  const key = visitKey(env, state);
  if (key === undefined) return;
  let visit = env.loopVisits.get(key);
  if (visit === undefined) {
    visit = { entry: undefined, backEdges: [], backEdgeCount: 0 };
    env.loopVisits.set(key, visit);
  }
  if (visit.entry !== undefined) return;
  visit.entry = state;
  if ((env.log.level & LEVEL2) !== 0) env.verbose(`SCC enter ${keyText(key)}\n`);
}

/** All paths from a state have ended: if it began a visit, the visit ends. */
export function exitLoop(env: Environment, state: VerifierState): void {
  const key = visitKey(env, state);
  if (key === undefined) return;
  const visit = env.loopVisits.get(key);
  if (visit === undefined) throw env.bug(`scc exit: no visit info for call chain ${keyText(key)}`);
  if (visit.entry !== state) return;
  if ((env.log.level & LEVEL2) !== 0) env.verbose(`SCC exit ${keyText(key)}\n`);
  visit.entry = undefined;
  env.backEdgeCount -= visit.backEdgeCount;
  visit.backEdgeCount = 0;
  updatePeak(env);
  propagateBackEdges(env, visit);
}

export function updatePeak(env: Environment): void {
  env.peakStates = Math.max(env.peakStates, env.keptCount + env.evictedCount + env.backEdgeCount);
}

/** The current state lies in a kept one whose marks are not complete. */
export function addBackEdge(
  env: Environment,
  kept: VerifierState,
  current: VerifierState,
  index: number,
): void {
  const state = new VerifierState();
  copyState(state, current);
  state.equalState = kept;
  state.index = index;
  const key = visitKey(env, kept);
  const visit = key === undefined ? undefined : env.loopVisits.get(key);
  if (key === undefined || visit === undefined) {
    throw env.bug(`add backedge: no SCC in verification path, insn_idx ${kept.index}`);
  }
  if ((env.log.level & LEVEL2) !== 0) env.verbose(`SCC backedge ${keyText(key)}\n`);
  // The newest first.
  visit.backEdges.unshift(state);
  visit.backEdgeCount++;
  env.backEdgeCount++;
  updatePeak(env);
}

/** Whether marks of a state may still come (incomplete_read_marks). */
export function marksIncomplete(env: Environment, state: VerifierState): boolean {
  const key = visitKey(env, state);
  if (key === undefined) return false;
  return (env.loopVisits.get(key)?.backEdges.length ?? 0) > 0;
}

function propagateBackEdges(env: Environment, visit: LoopVisit): void {
  const report: Changed = { changed: true };
  for (let round = 0; report.changed; ) {
    if (round++ > MAX_ROUNDS) {
      if ((env.log.level & LEVEL2) !== 0) env.verbose("propagate_backedges: too many iterations\n");
      for (const state of visit.backEdges) markAllPrecise(env, state);
      break;
    }
    report.changed = false;
    for (const state of visit.backEdges)
      propagatePrecision(env, state.equalState as VerifierState, state, report);
  }
  visit.backEdges = [];
}

/** What mattered in a kept state matters in one that it covers (propagate_precision). */
export function propagatePrecision(
  env: Environment,
  old: VerifierState,
  current: VerifierState,
  report?: Changed,
): void {
  const traced = (env.log.level & LEVEL2) !== 0;
  for (let frameno = old.frames.length - 1; frameno >= 0; frameno--) {
    const frame = old.frames[frameno] as FunctionState;
    let first = true;
    const name = (text: string): void => {
      if (traced) env.verbose(first ? `frame ${frameno}: propagating ${text}` : `,${text}`);
      first = false;
    };
    for (let regno = 0; regno < 10; regno++) {
      const reg = frame.registers[regno] as RegisterState;
      if (reg.type !== SCALAR_VALUE || !reg.precise) continue;
      name(`r${regno}`);
      env.backtrack.setRegister(frameno, regno);
    }
    for (let number = 0; number < frame.stack.length; number++) {
      const slot = frame.stack[number] as StackSlot;
      if (!isSpilled(slot) || slot.spilled.type !== SCALAR_VALUE || !slot.spilled.precise) continue;
      name(`fp${(-number - 1) * 8}`);
      env.backtrack.setSlot(frameno, number);
    }
    if (!first) env.verbose("\n");
  }
  markPrecision(env, current, -1, report);
}

/** The newest kept state at an instruction that the current path came through (find_prev_entry). */
export function findPreviousEntry(
  env: Environment,
  state: VerifierState | undefined,
  index: number,
): VerifierState | undefined {
  if (state === undefined) return undefined;
  const list = env.kept[bucketOf(env, index)] ?? [];
  for (let at = list.length - 1; at >= 0; at--) {
    const kept = list[at]?.state;
    if (
      kept !== undefined &&
      kept.index === index &&
      kept.branches !== 0 &&
      sameCallsites(kept, state) &&
      kept.dfsDepth < state.dfsDepth
    ) {
      return kept;
    }
  }
  return undefined;
}

/** Numbers that changed since the last time and did not matter may be anything (widen_imprecise_scalars). */
export function widenImpreciseScalars(env: Environment, old: VerifierState, current: VerifierState): void {
  resetIds(env);
  for (let frameno = old.frames.length - 1; frameno >= 0; frameno--) {
    const a = old.frames[frameno] as FunctionState;
    const b = current.frames[frameno] as FunctionState;
    for (let regno = 0; regno < 11; regno++) {
      const reg = b.registers[regno] as RegisterState;
      if (mayWiden(env, a.registers[regno] as RegisterState, reg)) markUnknown(reg);
    }
    for (let number = 0; number < Math.min(a.stack.length, b.stack.length); number++) {
      const oldSlot = a.stack[number] as StackSlot;
      const slot = b.stack[number] as StackSlot;
      if (isSpilled(oldSlot) && isSpilled(slot) && mayWiden(env, oldSlot.spilled, slot.spilled))
        markUnknown(ownSlot(b, number).spilled);
    }
  }
}

function mayWiden(env: Environment, old: RegisterState, current: RegisterState): boolean {
  if (old.type !== SCALAR_VALUE || current.type !== SCALAR_VALUE) return false;
  return !old.precise && !current.precise && !registersExact(env, old, current);
}
