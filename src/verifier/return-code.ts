/** What a program may return, by its type and attach type (check_return_code of kernel/bpf/verifier.c). */
import { resolve } from "../btf/index.ts";
import { hookOf, returnRule } from "../hooks/index.ts";
import { checkFixedOffset } from "./access/context.ts";
import { invalidScalarText } from "./calls/function.ts";
import type { Environment } from "./environment.ts";
import { isVoidHook } from "./kernel-types/lsm.ts";
import { targetOf } from "./kernel-types/target.ts";
import { markChainPrecision } from "./precision.ts";
import { SCALAR_VALUE, typeName } from "./register-types.ts";
import { checkRegister, isSecret } from "./registers.ts";
import { partsOf, smax, smin } from "./scalar/index.ts";
import type { RegisterState, ReturnRange } from "./state.ts";

/** Checks the register that the program or callback returns; `name` is its name in messages ("R0"). */
export function checkReturnCode(env: Environment, regno: number, name: string): void {
  const reg = env.registers[regno] as RegisterState;
  const first = env.state.frames[0];
  const own = (first?.subprogno ?? 0) === 0 || first?.inExceptionCallback === true;
  let returnsPointer = false;
  if (own && (env.type === "struct_ops" || (env.type === "lsm" && env.program.attachType !== "lsm_cgroup"))) {
    const { btf, prototype } = targetOf(env);
    const type = resolve(btf, prototype.type);
    if (type.kind === "void") return;
    if (env.type === "struct_ops" && type.kind === "ptr" && first?.inExceptionCallback !== true) {
      returnsPointer = true;
      // An object that the program holds may be handed to the kernel as it is.
      const same = reg.btf === btf && reg.btfId === resolve(btf, type.type).id;
      if (same && reg.refObjId !== 0) return checkFixedOffset(env, reg, regno, false);
    }
  }
  checkRegister(env, regno, "source");
  if (isSecret(env, reg)) throw env.reject("EACCES", `R${regno} leaks addr as return value`);
  if (first?.inAsyncCallback === true) {
    enforce(env, reg, regno, name, first.callbackReturnRange, "At async callback return");
    return;
  }
  const isSubprogram = (first?.subprogno ?? 0) !== 0;
  if (isSubprogram && first?.inExceptionCallback !== true) {
    if (reg.type !== SCALAR_VALUE) {
      throw env.reject(
        "EINVAL",
        `At subprogram exit the register R${regno} is not a scalar value (${typeName(reg.type)})`,
      );
    }
    return;
  }
  const { attachType, attachTo } = env.program;
  if (env.type === "struct_ops") {
    if (returnsPointer) enforce(env, reg, regno, name, { min: 0, max: 0, is32: false }, "At program exit");
    return;
  }
  // An extension may return what the function that it replaces may.
  if (env.type === "ext") return;
  const { range } = returnRule(hookOf(env.type), attachType, attachTo);
  if (range === undefined) return;
  if (env.type === "lsm" && attachType === "lsm_cgroup" && isVoidHook(env)) {
    // Whoever asked cannot be told no.
    enforce(env, reg, regno, name, { min: 1, max: 1, is32: false }, "At program exit", VOID_HOOK);
    return;
  }
  const is32 = env.type === "lsm" && attachType !== "lsm_cgroup";
  enforce(env, reg, regno, name, { min: range[0], max: range[1], is32 }, "At program exit");
}

const VOID_HOOK = "Note, BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!";

/** Whether a number lies in a range for certain; precise, since the verdict depends on it. */
function enforce(
  env: Environment,
  reg: RegisterState,
  regno: number,
  name: string,
  range: ReturnRange,
  when: string,
  note?: string,
): void {
  if (reg.type !== SCALAR_VALUE) {
    throw env.reject("EINVAL", `${when} the register R${regno} is not a known value (${typeName(reg.type)})`);
  }
  markChainPrecision(env, regno);
  const { s32min, s32max } = partsOf(reg.scalar);
  const least = range.is32 ? s32min : smin(reg.scalar);
  const most = range.is32 ? s32max : smax(reg.scalar);
  if (range.min <= least && most <= range.max) return;
  const text = invalidScalarText(reg, range, when, name);
  if (note === undefined) throw env.reject("EINVAL", text);
  env.verbose(`${text}\n`);
  throw env.reject("EINVAL", note);
}
