/** What a program may return, by its type and attach type (check_return_code of kernel/bpf/verifier.c). */
import { hookOf, returnRule } from "../hooks/index.ts";
import { invalidScalarText } from "./calls/function.ts";
import type { Environment } from "./environment.ts";
import { markChainPrecision } from "./precision.ts";
import { SCALAR_VALUE, typeName } from "./register-types.ts";
import { checkRegister } from "./registers.ts";
import { smax, smin } from "./scalar/index.ts";
import type { RegisterState, ReturnRange } from "./state.ts";

/** Checks the register that the program or callback returns; `name` is its name in messages ("R0"). */
export function checkReturnCode(env: Environment, regno: number, name: string): void {
  checkRegister(env, regno, "source");
  const reg = env.registers[regno] as RegisterState;
  const first = env.state.frames[0];
  if (first?.inAsyncCallback === true) {
    enforce(env, reg, regno, name, { min: 0, max: 0, is32: false }, "At async callback return");
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
  if (env.type === "lsm" || env.type === "struct_ops" || env.type === "ext") {
    throw env.unsupported(`return value of ${env.type} programs`);
  }
  const { range } = returnRule(hookOf(env.type), env.program.attachType);
  if (range === undefined) return;
  enforce(env, reg, regno, name, { min: range[0], max: range[1], is32: false }, "At program exit");
}

/** Whether a number lies in a range for certain; precise, since the verdict depends on it. */
function enforce(
  env: Environment,
  reg: RegisterState,
  regno: number,
  name: string,
  range: ReturnRange,
  when: string,
): void {
  if (reg.type !== SCALAR_VALUE) {
    throw env.reject("EINVAL", `${when} the register R${regno} is not a known value (${typeName(reg.type)})`);
  }
  markChainPrecision(env, regno);
  if (range.min <= smin(reg.scalar) && smax(reg.scalar) <= range.max) return;
  throw env.reject("EINVAL", invalidScalarText(reg, range, when, name));
}
