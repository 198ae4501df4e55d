/** Walking the main program, and each global function that is called (do_check_common, do_check_subprogs). */
import { prepareArguments } from "./calls/function-arguments.ts";
import type { Environment, Subprogram } from "./environment.ts";
import { LEVEL2 } from "./log.ts";
import { PTR_MAYBE_NULL, PTR_TO_CTX, PTR_TO_MEM, SCALAR_VALUE } from "./register-types.ts";
import { markKnownZero, markUnknown, scratchAll } from "./registers.ts";
import { walkPaths } from "./run.ts";
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
  if (number > 0) {
    env.verbose(`Validating ${subprogram.name}() func#${number}...\n`);
    const failure = prepareArguments(env, number);
    if (failure !== undefined) throw env.reject(failure.errno, failure.message);
    for (const [index, { kind, nullable, memSize }] of subprogram.arguments.entries()) {
      const reg = registers[index + 1] as RegisterState;
      if (kind === "scalar") {
        markUnknown(reg);
        continue;
      }
      reg.type = kind === "context" ? PTR_TO_CTX : PTR_TO_MEM | (nullable ? PTR_MAYBE_NULL : 0);
      markKnownZero(reg);
      reg.memSize = memSize;
      if (nullable) reg.id = env.nextId();
      if (reg.type === SCALAR_VALUE) throw env.bug("unhandled argument");
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

export function checkAllFunctions(env: Environment): void {
  checkFunction(env, 0);
  if ((env.program.functionInfo ?? []).length === 0) return;
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
