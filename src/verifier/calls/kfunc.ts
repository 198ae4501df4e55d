/** Calls of kernel functions (check_kfunc_call of kernel/bpf/verifier.c). */
import type { Instruction } from "../../isa/index.ts";
import type { Environment } from "../environment.ts";
import { addsToGraph, convertToNonOwning, inTreeCallback, isGraphFunction } from "../graph.ts";
import { inRcuSection, inSleepable } from "../kernel-types/access.ts";
import { type Kfunc, kfuncOf } from "../kfuncs.ts";
import { pushPath } from "../paths.ts";
import { releaseReference } from "../references.ts";
import { MEM_RCU, PTR_MAYBE_NULL, PTR_UNTRUSTED } from "../register-types.ts";
import { markNotInit, markUnknown } from "../registers.ts";
import { checkReturnCode } from "../return-code.ts";
import { UNKNOWN, withSignedRange } from "../scalar/index.ts";
import { forkAtNext } from "../stack-objects/iterator.ts";
import {
  DEF_NOT_SUBREG,
  type FunctionState,
  type RegisterState,
  STACK_ITER,
  changeRegisters,
  ownSlot,
  slotType,
} from "../state.ts";
import { pushAsyncCallback, pushCallback, setTaskWork, setTimer, setTreeAdd } from "./callbacks.ts";
import { clearPacketPointers } from "./function.ts";
import { checkKfuncArguments } from "./kfunc-arguments.ts";
import { type KfuncMeta, createKfuncMeta } from "./kfunc-meta.ts";
import { setKfuncResult } from "./kfunc-result.ts";

/** Functions that may be called while a lock is held (kfunc_spin_allowed). */
const UNDER_LOCK: ReadonlySet<string> = new Set([
  "bpf_iter_num_new",
  "bpf_iter_num_next",
  "bpf_iter_num_destroy",
  "bpf_res_spin_lock",
  "bpf_res_spin_unlock",
  "bpf_res_spin_lock_irqsave",
  "bpf_res_spin_unlock_irqrestore",
]);

export function mayCallUnderLock(name: string): boolean {
  return UNDER_LOCK.has(name) || isGraphFunction(name);
}

export function checkKfuncCall(env: Environment, instruction: Instruction): void {
  const kfunc = kfuncOf(env, instruction);
  // A function that the kernel does not have: the loader's own check finds it, if it is reached.
  if (kfunc === undefined) return;
  const { name, flags } = kfunc;
  if (!kfunc.allowed) throw env.reject("EACCES", `calling kernel function ${name} is not allowed`);
  env.currentAux.isIterNext = flags.has("iter_next");
  if (name === "bpf_res_spin_lock" || name === "bpf_res_spin_lock_irqsave") forkAtLock(env);
  else if (name === "__bpf_trap") {
    throw env.reject("EFAULT", "unexpected __bpf_trap() due to uninitialized variable?");
  }
  const sleeps = flags.has("sleepable");
  if (sleeps && !inSleepable(env)) {
    throw env.reject("EACCES", `program must be sleepable to call sleepable kfunc ${name}`);
  }
  const meta = createKfuncMeta(kfunc);
  checkKfuncArguments(env, meta);
  pushCallbacks(env, meta);
  if (name === "bpf_session_cookie") {
    meta.resultSize = 8;
    meta.resultReadOnly = false;
  }
  enterRegions(env, kfunc, sleeps);
  releaseArgument(env, meta);
  if (name === "bpf_throw") {
    env.seenException = true;
    // Without a callback of its own the cookie becomes the program's return value.
    if (env.exceptionCallback === 0) checkReturnCode(env, 1, "R1");
  }
  for (let regno = 0; regno <= 5; regno++) {
    const reg = env.registers[regno] as RegisterState;
    markNotInit(reg);
    reg.subregDef = DEF_NOT_SUBREG;
  }
  setKfuncResult(env, meta);
  if (kfunc.changesPacketData) clearPacketPointers(env);
  if (flags.has("iter_next")) forkAtNext(env, meta);
}

/** The way on which the lock was not taken: an error comes back. */
function forkAtLock(env: Environment): void {
  const queued = pushPath(env, env.index + 1, env.index, "ENOMEM");
  const { registers } = queued.frames[queued.frames.length - 1] as FunctionState;
  for (let regno = 0; regno <= 5; regno++) markNotInit(registers[regno] as RegisterState);
  const result = registers[0] as RegisterState;
  markUnknown(result);
  result.scalar = withSignedRange(UNKNOWN, -LARGEST_ERRNO, -1);
  result.subregDef = env.index + 1;
}

/** MAX_ERRNO. */
const LARGEST_ERRNO = 4095;

function pushCallbacks(env: Environment, { kfunc: { name }, subprogno }: KfuncMeta): void {
  if (name === "bpf_rbtree_add_impl") pushCallback(env, subprogno, setTreeAdd);
  else if (name === "bpf_wq_set_callback_impl") pushAsyncCallback(env, subprogno, setTimer, true);
  else if (name.startsWith("bpf_task_work_schedule_")) {
    pushAsyncCallback(env, subprogno, setTaskWork, true);
  }
}

/** Critical sections: RCU, preemption, interrupts. */
function enterRegions(env: Environment, { name, flags }: Kfunc, sleeps: boolean): void {
  const { state } = env;
  const lock = name === "bpf_rcu_read_lock";
  const unlock = name === "bpf_rcu_read_unlock";
  if (state.activeRcuLocks > 0) {
    if (inTreeCallback(env) && (lock || unlock)) {
      throw env.reject("EACCES", "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback");
    }
    if (lock) throw env.reject("EINVAL", `nested rcu read lock (kernel function ${name})`);
    if (unlock) leaveRcu(env);
    else if (sleeps) {
      throw env.reject("EACCES", `kernel func ${name} is sleepable within rcu_read_lock region`);
    }
  } else if (lock) state.activeRcuLocks = 1;
  else if (unlock) throw env.reject("EINVAL", `unmatched rcu read unlock (kernel function ${name})`);
  if (name === "bpf_preempt_disable") state.activePreemptLocks++;
  else if (name === "bpf_preempt_enable") {
    if (state.activePreemptLocks === 0) {
      throw env.reject("EINVAL", `unmatched attempt to enable preemption (kernel function ${name})`);
    }
    state.activePreemptLocks--;
  } else if (sleeps && state.activePreemptLocks > 0) {
    throw env.reject("EACCES", `kernel func ${name} is sleepable within non-preemptible region`);
  }
  if (state.activeIrqId !== 0 && sleeps) {
    throw env.reject("EACCES", `kernel func ${name} is sleepable within IRQ-disabled region`);
  }
  if (flags.has("rcu_protected") && !inRcuSection(env)) {
    throw env.reject("EACCES", `kernel func ${name} requires RCU critical section protection`);
  }
}

/** What RCU kept alive may be gone now. */
function leaveRcu(env: Environment): void {
  const { state } = env;
  const isProtected = (reg: RegisterState): boolean => (reg.type & MEM_RCU) !== 0;
  const distrust = (reg: RegisterState): void => {
    reg.type = (reg.type & ~(MEM_RCU | PTR_MAYBE_NULL)) | PTR_UNTRUSTED;
  };
  changeRegisters(state, isProtected, distrust);
  for (const frame of state.frames) {
    for (const [number, slot] of frame.stack.entries()) {
      if (slotType(slot, 7) === STACK_ITER && isProtected(slot.spilled))
        distrust(ownSlot(frame, number).spilled);
    }
  }
  state.activeRcuLocks = 0;
}

function releaseArgument(env: Environment, meta: KfuncMeta): void {
  const { name, id } = meta.kfunc;
  const unknown = (): unknown =>
    env.reject("EINVAL", `kfunc ${name}#${id} reference has not been acquired before`);
  if (meta.releaseRegno !== 0) {
    const { refObjId } = env.registers[meta.releaseRegno] as RegisterState;
    if (!releaseReference(env, refObjId)) throw unknown();
  }
  if (!addsToGraph(name)) return;
  const { refObjId } = env.registers[2] as RegisterState;
  convertToNonOwning(env, refObjId);
  if (!releaseReference(env, refObjId)) throw unknown();
}
