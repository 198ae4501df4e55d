/** Calls of kernel functions. */
import type { Instruction } from "../../isa/index.ts";
import type { Environment } from "../environment.ts";

export function checkKfuncCall(env: Environment, { imm }: Instruction): void {
  throw env.unsupported(`kernel function ${imm}`);
}
