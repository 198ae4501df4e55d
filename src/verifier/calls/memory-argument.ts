/** Pointers to memory as arguments of global functions (check_mem_reg of kernel/bpf/verifier.c). */
import type { Environment } from "../environment.ts";
import { mayBeNull } from "../register-types.ts";
import { isNull, markPointerNotNull } from "../registers.ts";
import { type RegisterState, cloneRegister, copyRegister } from "../state.ts";
import { Rejection } from "../reject.ts";
import { checkOffset } from "./arguments.ts";
import { checkHelperMemory, checkSizeArgument } from "./memory.ts";
import { createMeta } from "./meta.ts";

/** Why a register cannot be passed as a pointer to `size` bytes; undefined if it can; "" if the log has said it. */
export function checkGlobalMemoryArgument(
  env: Environment,
  regno: number,
  size: number,
  nullable: boolean,
): string | undefined {
  const reg = env.registers[regno] as RegisterState;
  try {
    checkOffset(env, regno, { base: "anything", flags: 0, size: 0, struct: undefined });
    if (!isNull(reg)) checkReadableAndWritable(env, regno, size);
  } catch (error) {
    // What is not implemented is no verdict.
    if (error instanceof Rejection && error.errno !== "EOPNOTSUPP") return "";
    throw error;
  }
  // NULL as a constant gets through in Linux, whatever the function was promised.
  const isMissing = mayBeNull(reg.type) || (env.options.sound === true && isNull(reg));
  if (!nullable && isMissing) return `arg#${regno - 1} is expected to be non-NULL`;
  return undefined;
}

/** Memory of a kernel function: read and written (check_mem_reg). */
export function checkKernelMemory(env: Environment, regno: number, size: number): void {
  if (!isNull(env.registers[regno] as RegisterState)) checkReadableAndWritable(env, regno, size);
}

/** Memory before its length in `regno` (check_kfunc_mem_size_reg). */
export function checkKernelMemoryAndSize(env: Environment, regno: number): void {
  const reg = env.registers[regno - 1] as RegisterState;
  const saved = mayBeNull(reg.type) ? cloneRegister(reg) : undefined;
  if (saved !== undefined) markPointerNotNull(reg);
  try {
    checkSizeArgument(env, regno, false, true, createMeta(0, undefined, false));
    checkSizeArgument(env, regno, true, true, createMeta(0, undefined, false));
  } finally {
    if (saved !== undefined) copyRegister(reg, saved);
  }
}

/** As if the pointer were not NULL: whether it may be is asked afterwards. */
function checkReadableAndWritable(env: Environment, regno: number, size: number): void {
  const reg = env.registers[regno] as RegisterState;
  const saved = mayBeNull(reg.type) ? cloneRegister(reg) : undefined;
  if (saved !== undefined) markPointerNotNull(reg);
  try {
    checkHelperMemory(env, regno, size, false, true, undefined);
    checkHelperMemory(env, regno, size, true, true, undefined);
  } finally {
    if (saved !== undefined) copyRegister(reg, saved);
  }
}
