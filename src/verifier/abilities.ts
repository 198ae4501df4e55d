/**
 * What verifiers before 6.18's could not do, of that which decides in practice whether a program loads: each can be switched off, so that
 * the same walk tells what an older kernel would say. Facts are those of kernel/bpf/verifier.c of 5.15, 6.1, 6.6, 6.12 and 6.18.
 */
import { PTR_TO_CTX, SCALAR_VALUE } from "./register-types.ts";
import { isConstant, isConstant32 } from "./scalar/index.ts";
import type { Environment } from "./environment.ts";
import type { RegisterState } from "./state.ts";

export type VerifierAbility =
  /** Bytes of the stack that were never written may be read, by instructions and by helpers. */
  | "uninit_stack"
  /** A lookup in an array with a constant key below its size can't fail. */
  | "constant_keys"
  /** Comparing two numbers of which neither is constant narrows both. */
  | "number_pairs"
  /** Storing a constant into the context (BPF_ST), as compilers do for -mcpu=v4. */
  | "constant_to_context";

/** Notes that the walk came to where the ability decides; false if it is switched off. */
export function can(env: Environment, ability: VerifierAbility): boolean {
  if (env.options.without?.has(ability) === true) return false;
  env.abilities.add(ability);
  return true;
}

/** Whether two numbers are compared, and neither is constant. */
export function isNumberPair(dst: RegisterState, src: RegisterState, is32: boolean): boolean {
  if (dst.type !== SCALAR_VALUE || src.type !== SCALAR_VALUE) return false;
  return is32
    ? !isConstant32(dst.scalar) && !isConstant32(src.scalar)
    : !isConstant(dst.scalar) && !isConstant(src.scalar);
}

/** Refuses a constant that is stored into the context, as verifiers did. */
export function checkConstantToContext(env: Environment, regno: number, type: number): void {
  if (type !== PTR_TO_CTX || can(env, "constant_to_context")) return;
  throw env.reject("EACCES", `BPF_ST stores into R${regno} ctx is not allowed`);
}
