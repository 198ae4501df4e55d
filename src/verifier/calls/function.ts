/**
 * Calls of the program's own functions, and returns from them (check_func_call, prepare_func_exit). Static functions are
 * walked at each call, with the caller's knowledge. Global ones are verified once on their own, for any arguments that their
 * BTF allows, and believed at each call.
 */
import type { Instruction } from "../../isa/index.ts";
import type { Environment, InstructionAux, Subprogram } from "../environment.ts";
import { findPreviousEntry, widenImpreciseScalars } from "../loops.ts";
import { markChainPrecision } from "../precision.ts";
import { stateText } from "../print.ts";
import {
  DYNPTR_TYPE_SKB,
  DYNPTR_TYPE_SKB_META,
  DYNPTR_TYPE_XDP,
  PTR_TO_MEM,
  PTR_TO_STACK,
  SCALAR_VALUE,
  baseType,
  isAnyPacketPointer,
} from "../register-types.ts";
import { checkRegisterOf, markInvalid, markNotInit, markUnknown, scratchAll } from "../registers.ts";
import { checkResourceLeak } from "../references.ts";
import type { RejectionErrno } from "../reject.ts";
import { smax, smin, partsOf } from "../scalar/index.ts";
import {
  DEF_NOT_SUBREG,
  type FunctionState,
  MAX_CALL_FRAMES,
  type RegisterState,
  type ReturnRange,
  type VerifierState,
  copyRegister,
  createFunctionState,
  changeRegisters,
} from "../state.ts";
import { findSubprogram } from "../subprograms.ts";
import { matchArguments } from "./function-arguments.ts";

/** r0 to r5 hold nothing after a call (clear_caller_saved_regs). */
export function clearCallerSaved(env: Environment, frame: FunctionState): void {
  for (let regno = 0; regno <= 5; regno++) {
    markNotInit(frame.registers[regno] as RegisterState);
    checkRegisterOf(env, frame, regno, "destination_no_mark");
  }
}

/** The packet may have moved: pointers into it become numbers (clear_all_pkt_pointers). */
export function clearPacketPointers(env: Environment): void {
  const isInPacket = ({ type }: RegisterState): boolean =>
    isAnyPacketPointer(type) ||
    (baseType(type) === PTR_TO_MEM &&
      (type & (DYNPTR_TYPE_SKB | DYNPTR_TYPE_XDP | DYNPTR_TYPE_SKB_META)) !== 0);
  changeRegisters(env.state, isInPacket, (reg) => markInvalid(env, reg));
}

/** Sets the registers of a frame that begins. */
export type SetCalleeState = (env: Environment, caller: FunctionState, callee: FunctionState) => void;

/** A frame for a function that is called in a state. */
export function enterFrame(
  env: Environment,
  state: VerifierState,
  number: number,
  callsite: number,
  set: SetCalleeState,
): void {
  const depth = state.frames.length;
  if (depth >= MAX_CALL_FRAMES) {
    throw env.reject("E2BIG", `the call stack of ${depth + 1} frames is too deep`);
  }
  const callee = createFunctionState(callsite, depth, number);
  scratchAll(env);
  set(env, state.frames[depth - 1] as FunctionState, callee);
  state.frames.push(callee);
}

function passArguments(_env: Environment, caller: FunctionState, callee: FunctionState): void {
  for (let regno = 1; regno <= 5; regno++) {
    copyRegister(callee.registers[regno] as RegisterState, caller.registers[regno] as RegisterState);
  }
}

export function checkFunctionCall(env: Environment, { imm }: Instruction): void {
  const target = env.index + imm + 1;
  const number = findSubprogram(env, target);
  if (number < 0) throw env.bug(`target of func call at insn ${target} is not a program`);
  const subprogram = env.subprograms[number] as Subprogram;
  const caller = env.frame;
  const failure = matchArguments(env, number);
  if (failure?.errno === "EFAULT") throw env.reject("EFAULT");
  if (subprogram.linkage === "global") return callGlobal(env, number, failure);
  enterFrame(env, env.state, number, env.index, passArguments);
  clearCallerSaved(env, caller);
  env.index = subprogram.start - 1;
  env.liveness.forgetCurrent();
  if (!env.log.traces) return;
  const { state } = env;
  env.verbose(
    `caller:\n${stateText(env, state, caller.frameno, true)}callee:\n${stateText(env, state, state.frames.length - 1, true)}`,
  );
}

function callGlobal(
  env: Environment,
  number: number,
  failure: { readonly errno: RejectionErrno } | undefined,
): void {
  const subprogram = env.subprograms[number] as Subprogram;
  const { state } = env;
  if (state.activeLocks > 0) {
    throw env.reject(
      "EINVAL",
      "global function calls are not allowed while holding a lock,\nuse static function instead",
    );
  }
  if (
    subprogram.mightSleep &&
    (state.activeRcuLocks > 0 ||
      state.activePreemptLocks > 0 ||
      state.activeIrqId !== 0 ||
      !state.inSleepable)
  ) {
    throw env.reject(
      "EINVAL",
      "global functions that may sleep are not allowed in non-sleepable context,\n" +
        "i.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context",
    );
  }
  if (failure !== undefined) {
    throw env.reject(failure.errno, `Caller passes invalid args into func#${number} ('${subprogram.name}')`);
  }
  // Linux looks at the exception where it is thrown, with the function on its own: what the caller holds is lost.
  if (env.options.sound === true && subprogram.mightThrow) {
    checkResourceLeak(env, true, true, `bpf_throw in ${subprogram.name}()`);
  }
  env.verbose(`Func#${number} ('${subprogram.name}') is global and assumed valid.\n`);
  if (subprogram.changesPacketData) clearPacketPointers(env);
  subprogram.called = true;
  const { frame } = env;
  clearCallerSaved(env, frame);
  const r0 = frame.registers[0] as RegisterState;
  markUnknown(r0);
  r0.subregDef = DEF_NOT_SUBREG;
}

/** "At callback return the register R0 has smin=0 smax=5 should have been in [0, 1]" (verbose_invalid_scalar). */
export function invalidScalarText(
  reg: RegisterState,
  { min, max }: ReturnRange,
  where: string,
  name: string,
): string {
  const parts = partsOf(reg.scalar);
  let text = `${where} the register ${name} has`;
  let unknown = true;
  if (parts.smin > -(1n << 63n)) {
    text += ` smin=${parts.smin}`;
    unknown = false;
  }
  if (parts.smax < (1n << 63n) - 1n) {
    text += ` smax=${parts.smax}`;
    unknown = false;
  }
  if (unknown) text += " unknown scalar value";
  return `${text} should have been in [${min}, ${max}]`;
}

/** The end of a function that was called: its result goes to the caller; a callback goes back to its call. */
export function returnFromFunction(env: Environment): void {
  const { state } = env;
  const callee = env.frame;
  const r0 = callee.registers[0] as RegisterState;
  if (r0.type === PTR_TO_STACK) throw env.reject("EINVAL", "cannot return stack pointer to the caller");
  const caller = state.frames[state.frames.length - 2] as FunctionState;
  const { inCallback, callsite } = callee;
  if (inCallback) {
    if (r0.type !== SCALAR_VALUE) throw env.reject("EACCES", "R0 not a scalar value");
    markChainPrecision(env, 0);
    const { min, max } = callee.callbackReturnRange;
    if (smin(r0.scalar) < min || smax(r0.scalar) > max) {
      throw env.reject(
        "EINVAL",
        invalidScalarText(r0, callee.callbackReturnRange, "At callback return", "R0"),
      );
    }
    if (!(env.aux[callsite] as InstructionAux).callsCallback) {
      throw env.bug(`in callback at ${env.index}, callsite ${callsite} !calls_callback`);
    }
  } else copyRegister(caller.registers[0] as RegisterState, r0);
  env.index = inCallback ? callsite : callsite + 1;
  if (env.log.traces) {
    env.verbose(
      `returning from callee:\n${stateText(env, state, callee.frameno, true)}` +
        `to caller at ${env.index}:\n${stateText(env, state, caller.frameno, true)}`,
    );
  }
  state.frames.pop();
  if (!inCallback) return;
  const previous = findPreviousEntry(env, state, env.index);
  if (previous !== undefined) widenImpreciseScalars(env, previous, state);
}
