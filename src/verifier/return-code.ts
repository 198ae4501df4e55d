/** What a program may return, by its type and attach type. */
import type { Environment } from "./environment.ts";
import { SCALAR_VALUE, typeName } from "./register-types.ts";
import { checkRegister } from "./registers.ts";
import type { FunctionState, RegisterState } from "./state.ts";

/** Types whose programs may return anything. */
const ANY: ReadonlySet<string> = new Set(["socket_filter", "sched_cls", "sched_act", "xdp", "kprobe", "tracepoint"]);

/** Checks the register that the program or callback returns; `name` is its name in messages ("R0") (check_return_code). */
export function checkReturnCode(env: Environment, regno: number, _name: string): void {
  checkRegister(env, regno, "source");
  const frame = env.state.frames[0] as FunctionState;
  const { type } = env.registers[regno] as RegisterState;
  if (frame.subprogno > 0 && !frame.inAsyncCallback) {
    if (type === SCALAR_VALUE) return;
    throw env.reject(
      "EINVAL",
      `At subprogram exit the register R${regno} is not a scalar value (${typeName(type)})`,
    );
  }
  if (!ANY.has(env.type)) throw env.unsupported(`return value of ${env.type} programs`);
}
