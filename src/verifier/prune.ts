/**
 * Pruning (is_state_visited). At certain instructions the current state is compared with those kept there before; if one
 * covers it, the path ends. Otherwise it may be kept itself: not after every few instructions, since most states never help.
 * States that often failed to help are dropped.
 *
 * A kept state counts in `branches` the paths from it that have not ended. While there are any, meeting an equal state means
 * a loop: an endless one, unless an iterator, may_goto or callback bounds it.
 */
import type { Environment, InstructionAux } from "./environment.ts";
import { EXACT, NOT_EXACT, RANGE_WITHIN, frameIndex, registersIdentical, statesEqual } from "./equal.ts";
import { pushHistory } from "./history.ts";
import { isMayGoto } from "./kinds.ts";
import { lineBefore } from "./lines.ts";
import {
  addBackEdge,
  enterLoop,
  exitLoop,
  marksIncomplete,
  propagatePrecision,
  updatePeak,
} from "./loops.ts";
import { markAllImprecise } from "./precision.ts";
import { stateText } from "./print.ts";
import { bucketOf, sameCallsites } from "./prune-list.ts";
import { activeAtNext } from "./stack-objects/iterator.ts";
import { markNotInit } from "./registers.ts";
import type { Instruction } from "../isa/index.ts";
import {
  EMPTY_SLOT,
  type FunctionState,
  type KeptState,
  REGISTERS,
  type RegisterState,
  STACK_ITER,
  VerifierState,
  copyState,
  slotType,
} from "./state.ts";

const ITER_ACTIVE = 1;
/** BPF_COMPLEXITY_LIMIT_STATES: of those without CAP_BPF no more states are kept at an instruction. */
const MAX_STATES = 64;

/** One path has ended: states from which all have are complete, and end the loops that they began. */
export function updateBranchCounts(env: Environment, from: VerifierState): void {
  let state: VerifierState | undefined = from;
  let kept: KeptState | undefined;
  while (state !== undefined) {
    if (--state.branches > 0) return;
    exitLoop(env, state);
    const { parent }: VerifierState = state;
    if (kept !== undefined) maybeFree(env, kept);
    state = parent;
    kept = parent?.kept;
  }
}

function maybeFree(env: Environment, kept: KeptState): void {
  if (!kept.evicted || kept.state.branches !== 0 || marksIncomplete(env, kept.state)) return;
  kept.evicted = false;
  env.evictedCount--;
}

/** What is never read again is forgotten in states whose marks are complete (clean_live_states). */
function cleanStates(env: Environment, list: readonly KeptState[], index: number): void {
  for (let at = list.length - 1; at >= 0; at--) {
    const { state } = list[at] as KeptState;
    if (state.branches !== 0 || state.index !== index || state.cleaned) continue;
    if (!sameCallsites(state, env.state) || marksIncomplete(env, state)) continue;
    clean(env, state);
  }
}

function clean(env: Environment, state: VerifierState): void {
  env.liveness.beginQuery(state);
  state.cleaned = true;
  for (const [frameno, frame] of state.frames.entries()) {
    const { liveRegisters } = env.aux[frameIndex(state, frameno)] as InstructionAux;
    for (let regno = 0; regno < 10; regno++) {
      if (((liveRegisters >> regno) & 1) === 0) markNotInit(frame.registers[regno] as RegisterState);
    }
    for (let number = 0; number < frame.stack.length; number++) {
      if (env.liveness.isAlive(frame.frameno, number)) continue;
      frame.stack[number] = EMPTY_SLOT;
    }
  }
}

function maybeLooping(old: VerifierState, current: VerifierState): boolean {
  if (old.frames.length !== current.frames.length) return false;
  const a = old.frames[old.frames.length - 1] as FunctionState;
  const b = current.frames[current.frames.length - 1] as FunctionState;
  for (let regno = 0; regno < REGISTERS; regno++) {
    if (!registersIdentical(a.registers[regno] as RegisterState, b.registers[regno] as RegisterState))
      return false;
  }
  return true;
}

function activeIteratorsDiffer(old: VerifierState, current: VerifierState): boolean {
  for (let frameno = old.frames.length - 1; frameno >= 0; frameno--) {
    for (const [number, slot] of (old.frames[frameno] as FunctionState).stack.entries()) {
      if (slotType(slot, 0) !== STACK_ITER || slot.spilled.iterState !== ITER_ACTIVE) continue;
      const other = (current.frames[frameno] as FunctionState).stack[number];
      if (other?.spilled.iterDepth !== slot.spilled.iterDepth) return true;
    }
  }
  return false;
}

/** What a comparison with one kept state says: the path ends, ends in a loop, or goes on. */
type Answer = "hit" | "hit_callback" | "loop" | "miss" | "miss_incomplete" | "miss_in_loop";

function compare(env: Environment, { state: old }: KeptState, index: number): Answer {
  const { state } = env;
  if (old.branches === 0) {
    const loop = marksIncomplete(env, old);
    if (statesEqual(env, old, state, loop ? RANGE_WITHIN : NOT_EXACT)) return loop ? "loop" : "hit";
    return loop ? "miss_incomplete" : "miss";
  }
  const frame = old.frames[old.frames.length - 1] as FunctionState;
  if (frame.inAsyncCallback && frame.asyncEntryCount !== env.frame.asyncEntryCount) return "miss_in_loop";
  const aux = env.aux[index] as InstructionAux;
  if (aux.isIterNext) {
    const loops = statesEqual(env, old, state, RANGE_WITHIN) && activeAtNext(env);
    return loops ? "loop" : "miss_in_loop";
  }
  if (isMayGoto(env.instructions[index] as Instruction)) {
    if (old.mayGotoDepth !== state.mayGotoDepth && statesEqual(env, old, state, RANGE_WITHIN)) return "loop";
  }
  if (aux.callsCallback) {
    return statesEqual(env, old, state, RANGE_WITHIN) ? "hit_callback" : "miss_in_loop";
  }
  if (
    maybeLooping(old, state) &&
    statesEqual(env, old, state, EXACT) &&
    !activeIteratorsDiffer(old, state) &&
    old.mayGotoDepth === state.mayGotoDepth &&
    old.callbackUnrollDepth === state.callbackUnrollDepth
  ) {
    lineBefore(env, index, "; ");
    env.verbose(`infinite loop detected at insn ${index}\n`);
    const last = state.frames.length - 1;
    env.verbose(`cur state:${stateText(env, state, last, true)}old state:${stateText(env, old, last, true)}`);
    throw env.reject("EINVAL");
  }
  return "miss_in_loop";
}

/** Whether the current state need not be walked further; if not, it may have been kept. */
export function isStateVisited(env: Environment, index: number): boolean {
  const { state } = env;
  const aux = env.aux[index] as InstructionAux;
  const force =
    (env.hasBpf && env.options.testStateFrequency === true) ||
    aux.forceCheckpoint ||
    state.history.length > 40;
  let add =
    force || (env.jumpsProcessed - env.previousJumps >= 2 && env.processed - env.previousProcessed >= 8);
  const bucket = bucketOf(env, index);
  let list = env.kept[bucket];
  if (list !== undefined) {
    cleanStates(env, list, index);
    let count = 0;
    // Whether the last finished state was one whose marks are incomplete: the kernel asks this variable again for callbacks.
    let incomplete = false;
    for (let at = list.length - 1; at >= 0; at--) {
      const kept = list[at] as KeptState;
      count++;
      if (kept.state.index !== index) continue;
      const answer = compare(env, kept, index);
      if (answer === "hit" || answer === "loop" || answer === "hit_callback") {
        kept.hits++;
        env.tracer?.prune(env, kept.state);
        if ((env.aux[env.index] as InstructionAux).jumpPoint) pushHistory(env, 0);
        propagatePrecision(env, kept.state, state);
        if (answer === "loop" || (answer === "hit_callback" && incomplete))
          addBackEdge(env, kept.state, state, index);
        return true;
      }
      if (answer === "miss_incomplete") incomplete = true;
      else if (answer === "miss") incomplete = false;
      if (
        answer === "miss_in_loop" &&
        !force &&
        env.jumpsProcessed - env.previousJumps < 20 &&
        env.processed - env.previousProcessed < 100
      ) {
        add = false;
      }
      if (add) kept.misses++;
      const patience = aux.forceCheckpoint && kept.state.branches > 0 ? 64 : 3;
      if (kept.misses > kept.hits * patience + patience) {
        list.splice(at, 1);
        kept.evicted = true;
        env.evictedCount++;
        env.keptCount--;
        maybeFree(env, kept);
      }
    }
    env.maxStatesPerInstruction = Math.max(env.maxStatesPerInstruction, count);
    if (!env.hasBpf && count > MAX_STATES) return false;
  }
  if (!add) return false;
  env.totalStates++;
  env.keptCount++;
  updatePeak(env);
  env.previousJumps = env.jumpsProcessed;
  env.previousProcessed = env.processed;
  if (env.hasBpf) markAllImprecise(state);
  const kept = new VerifierState();
  copyState(kept, state);
  kept.index = index;
  enterLoop(env, kept);
  env.tracer?.keep(kept);
  const entry: KeptState = { state: kept, misses: 0, hits: 0, evicted: false };
  kept.kept = entry;
  state.parent = kept;
  state.firstIndex = index;
  state.dfsDepth = kept.dfsDepth + 1;
  state.history = [];
  if (list === undefined) {
    list = [];
    env.kept[bucket] = list;
  }
  list.push(entry);
  return false;
}
