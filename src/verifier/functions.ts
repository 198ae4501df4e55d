/** Walking the main program, and each global function that is called (do_check_common, do_check_subprogs). */
import { prepareArguments } from "./calls/function-arguments.ts";
import type { ArgumentInfo, Environment, Subprogram } from "./environment.ts";
import { LEVEL2 } from "./log.ts";
import {
  MEM_RDONLY,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_CTX,
  PTR_TO_MEM,
  PTR_TRUSTED,
  PTR_UNTRUSTED,
} from "./register-types.ts";
import { markKnownZero, markUnknown, scratchAll } from "./registers.ts";
import { walkPaths } from "./run.ts";
import { DYNPTR_LOCAL, setConstantDynptr } from "./stack-objects/dynptr.ts";
import { type RegisterState, VerifierState, createFunctionState } from "./state.ts";

/** Walks one function from its start, with r1 to r5 as its kind of function has them. */
function checkFunction(env: Environment, number: number): void {
  env.lastLine = -1;
  const subprogram = env.subprograms[number] as Subprogram;
  const state = new VerifierState();
  state.inSleepable = env.program.sleepable ?? false;
  state.frames = [createFunctionState(-1, 0, number)];
  state.firstIndex = subprogram.start;
  state.lastIndex = -1;
  env.state = state;
  env.index = subprogram.start;
  scratchAll(env);
  const { registers } = env;
  const first = registers[1] as RegisterState;
  if (number > 0 || env.isExtension) {
    env.verbose(`Validating ${subprogram.name}() func#${number}...\n`);
    const failure = prepareArguments(env, number);
    if (failure !== undefined) throw env.reject(failure.errno, failure.message);
    if (subprogram.isExceptionCallback) {
      env.frame.inExceptionCallback = true;
      const [argument, ...more] = subprogram.arguments;
      if (argument?.kind !== "scalar" || more.length > 0) {
        throw env.reject("EINVAL", "exception cb only supports single integer argument");
      }
    }
    for (const [index, argument] of subprogram.arguments.entries()) {
      setArgument(env, registers[index + 1] as RegisterState, argument);
    }
  } else {
    if ((env.program.functionInfo ?? []).length > 0) {
      const failure = prepareArguments(env, 0);
      if (failure !== undefined && failure.message !== "") env.verbose(`${failure.message}\n`);
      const [argument, ...more] = subprogram.arguments;
      if (failure !== undefined || more.length > 0 || argument?.kind !== "context")
        subprogram.unreliable = true;
    }
    first.type = PTR_TO_CTX;
    markKnownZero(first);
  }
  env.tracer?.begin();
  walkPaths(env);
  if ((env.log.level & LEVEL2) === 0) env.log.reset(0);
  // What was kept for this function helps no other.
  env.kept = new Array(env.instructions.length);
  env.pending = [];
  env.loopVisits.clear();
}

/** A register as its function's BTF has the argument. */
function setArgument(env: Environment, reg: RegisterState, argument: ArgumentInfo): void {
  const { kind, nullable, memSize, untrusted, structId } = argument;
  switch (kind) {
    case "scalar":
    case "arena":
      markUnknown(reg);
      return;
    case "dynptr":
      setConstantDynptr(env, reg, DYNPTR_LOCAL);
      return;
    case "context":
      markKnownZero(reg);
      reg.type = PTR_TO_CTX;
      return;
    case "memory":
      markKnownZero(reg);
      reg.type = PTR_TO_MEM | (nullable ? PTR_MAYBE_NULL : 0) | (untrusted ? PTR_UNTRUSTED | MEM_RDONLY : 0);
      reg.memSize = memSize;
      if (nullable) reg.id = env.nextId();
      return;
    default:
      markKnownZero(reg);
      reg.type = PTR_TO_BTF_ID | (nullable ? PTR_MAYBE_NULL : 0) | (untrusted ? PTR_UNTRUSTED : PTR_TRUSTED);
      reg.btf = env.program.kernelBtf;
      reg.btfId = structId;
      reg.id = env.nextId();
  }
}

export function checkAllFunctions(env: Environment): void {
  checkFunction(env, 0);
  if ((env.program.functionInfo ?? []).length === 0) return;
  if (env.exceptionCallback > 0) (env.subprograms[env.exceptionCallback] as Subprogram).called = true;
  for (let again = true; again; ) {
    again = false;
    for (let number = 1; number < env.subprogramCount; number++) {
      const subprogram = env.subprograms[number] as Subprogram;
      if (subprogram.linkage !== "global" || !subprogram.called || subprogram.verified) continue;
      checkFunction(env, number);
      if (env.log.traces) {
        env.verbose(`Func#${number} ('${subprogram.name}') is safe for any args that match its prototype\n`);
      }
      subprogram.verified = true;
      again = true;
    }
  }
}
