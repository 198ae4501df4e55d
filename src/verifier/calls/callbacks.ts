/**
 * Functions that are handed over to be called (push_callback_call and the set_..._callback_state functions of
 * kernel/bpf/verifier.c). A callback that runs before the call returns is walked as often as it takes until its state is one that was
 * seen: the walk goes on behind the call, and the way into the callback waits; when the callback returns, the walk is at
 * the call again. One that runs later (timers, work) begins with an empty stack of its own, as a program does.
 */
import type { Environment, Subprogram } from "../environment.ts";
import { setNode, setNonOwning } from "../graph.ts";
import type { VerifierMap } from "../input.ts";
import { findRecordField } from "../kernel-types/record.ts";
import { recordOf } from "../locks.ts";
import { pushPath } from "../paths.ts";
import {
  CONST_PTR_TO_MAP,
  PTR_TO_BTF_ID,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  SCALAR_VALUE,
} from "../register-types.ts";
import { markKnownZero, markNotInit, scratchAll } from "../registers.ts";
import { DYNPTR_LOCAL, setConstantDynptr } from "../stack-objects/dynptr.ts";
import {
  type FunctionState,
  type RegisterState,
  type ReturnRange,
  VerifierState,
  copyRegister,
  createFunctionState,
} from "../state.ts";
import { matchArguments } from "./function-arguments.ts";
import { type SetCalleeState, enterFrame } from "./function.ts";

const YES_OR_NO: ReturnRange = { min: 0, max: 1, is32: false };

function reg(frame: FunctionState, regno: number): RegisterState {
  return frame.registers[regno] as RegisterState;
}

function clearFrom(frame: FunctionState, first: number): void {
  for (let regno = first; regno <= 5; regno++) markNotInit(reg(frame, regno));
}

function setPointer(to: RegisterState, type: number, map: VerifierMap | undefined): void {
  markKnownZero(to);
  to.type = type;
  to.map = map;
}

function synchronous(callee: FunctionState): void {
  callee.inCallback = true;
  callee.callbackReturnRange = YES_OR_NO;
}

/** Maps that bpf_for_each_map_elem walks. */
const WALKABLE: ReadonlySet<string> = new Set([
  "hash",
  "lru_hash",
  "percpu_hash",
  "lru_percpu_hash",
  "array",
  "percpu_array",
]);

/** callback(map, key, value, context) */
export const setEachElement: SetCalleeState = (env, caller, callee) => {
  const stored = env.aux[callee.callsite]?.callMap;
  const map = stored === "poison" ? reg(caller, 1).map : stored;
  if (map === undefined || !WALKABLE.has(map.type)) {
    env.verbose("callback function not allowed for map\n");
    throw env.reject("ENOTSUPP");
  }
  copyRegister(reg(callee, 1), reg(caller, 1));
  setPointer(reg(callee, 2), PTR_TO_MAP_KEY, reg(caller, 1).map);
  setPointer(reg(callee, 3), PTR_TO_MAP_VALUE, reg(caller, 1).map);
  copyRegister(reg(callee, 4), reg(caller, 3));
  clearFrom(callee, 5);
  synchronous(callee);
};

/** callback(index, context) */
export const setLoop: SetCalleeState = (_env, caller, callee) => {
  reg(callee, 1).type = SCALAR_VALUE;
  copyRegister(reg(callee, 2), reg(caller, 3));
  clearFrom(callee, 3);
  synchronous(callee);
};

/** callback(task, vma, context) */
export const setFindVma: SetCalleeState = (env, caller, callee) => {
  const { kernelBtf } = env.program;
  const vma = kernelBtf?.find("vm_area_struct", "struct")[0];
  if (vma === undefined) throw env.unsupported("bpf_find_vma without the kernel's types");
  copyRegister(reg(callee, 1), reg(caller, 1));
  const second = reg(callee, 2);
  markKnownZero(second);
  second.type = PTR_TO_BTF_ID;
  second.btf = kernelBtf;
  second.btfId = vma.id;
  copyRegister(reg(callee, 3), reg(caller, 4));
  clearFrom(callee, 4);
  synchronous(callee);
};

/** callback(dynptr, context) */
export const setUserRingbuf: SetCalleeState = (env, caller, callee) => {
  markNotInit(reg(callee, 0));
  setConstantDynptr(env, reg(callee, 1), DYNPTR_LOCAL);
  copyRegister(reg(callee, 2), reg(caller, 3));
  clearFrom(callee, 3);
  synchronous(callee);
};

/** callback(node, other node): both in the tree. */
export const setTreeAdd: SetCalleeState = (env, caller, callee) => {
  const root = reg(caller, 1);
  const field = findRecordField(recordOf(env, root), root.off, "rb_root");
  if (field?.graph === undefined) throw env.reject("EFAULT");
  for (const regno of [1, 2]) {
    setNode(reg(callee, regno), field);
    setNonOwning(env, reg(callee, regno));
  }
  clearFrom(callee, 3);
  synchronous(callee);
};

function setElement(callee: FunctionState, map: VerifierMap | undefined, range: ReturnRange): void {
  setPointer(reg(callee, 1), CONST_PTR_TO_MAP, map);
  setPointer(reg(callee, 2), PTR_TO_MAP_KEY, map);
  setPointer(reg(callee, 3), PTR_TO_MAP_VALUE, map);
  clearFrom(callee, 4);
  callee.inAsyncCallback = true;
  callee.callbackReturnRange = range;
}

/** callback(map, key, value) of timers and work queues: the map is that of the value that r1 points to. */
export const setTimer: SetCalleeState = (_env, caller, callee) => {
  setElement(callee, reg(caller, 1).map, { min: 0, max: 0, is32: false });
};

/** The same of task work, which is given the map as its third argument. */
export const setTaskWork: SetCalleeState = (_env, caller, callee) => {
  setElement(callee, reg(caller, 3).map, { min: -0x80000000, max: 0x7fffffff, is32: false });
};

/** BTF of a callback that does not fit its arguments is no error, unless it is broken. */
function matchCallback(env: Environment, number: number): void {
  const failure = matchArguments(env, number);
  if (failure?.errno === "EFAULT") throw env.reject("EFAULT");
}

/** A callback that runs before the call returns. */
export function pushCallback(env: Environment, number: number, set: SetCalleeState): void {
  matchCallback(env, number);
  const subprogram = env.subprograms[number] as Subprogram;
  subprogram.isCallback = true;
  const caller = env.frame;
  const queued = pushPath(env, subprogram.start, env.index, "ENOMEM");
  enterFrame(env, queued, number, env.index, set);
  queued.callbackUnrollDepth++;
  (queued.frames[queued.frames.length - 2] as FunctionState).callbackDepth++;
  caller.callbackDepth = 0;
}

/** A callback that runs later. */
export function pushAsyncCallback(
  env: Environment,
  number: number,
  set: SetCalleeState,
  sleepable: boolean,
): void {
  matchCallback(env, number);
  const subprogram = env.subprograms[number] as Subprogram;
  subprogram.isCallback = true;
  subprogram.isAsyncCallback = true;
  const caller = env.frame;
  const state = new VerifierState();
  state.inSleepable = sleepable;
  const callee = createFunctionState(-1, 0, number);
  scratchAll(env);
  state.frames = [callee];
  env.pending.push({
    state,
    index: subprogram.start,
    previous: env.index,
    logPosition: env.log.position,
    from: env.pathLog.current,
  });
  if (env.pending.length > MAX_PENDING) {
    throw env.reject("EFAULT", `The sequence of ${env.pending.length} jumps is too complex for async cb.`);
  }
  callee.asyncEntryCount = caller.asyncEntryCount + 1;
  set(env, caller, callee);
}

/** BPF_COMPLEXITY_LIMIT_JMP_SEQ. */
const MAX_PENDING = 8192;
