/** Ranges that contradict each other (reg_bounds_sanity_check). */
import type { Environment } from "./environment.ts";
import { hexText, partsOf, unbounded, violation } from "./scalar/index.ts";
import type { RegisterState } from "./state.ts";

const REASONS = [
  "",
  "range bounds violation",
  "const tnum out of sync with range bounds",
  "const subreg tnum out of sync with range bounds",
] as const;

/** A number whose ranges contradict each other is an error in tests of the kernel; otherwise its ranges are forgotten. */
export function checkSanity(env: Environment, reg: RegisterState, where: string): void {
  const found = violation(reg.scalar);
  if (found === 0) return;
  const { umin, umax, smin, smax, u32min, u32max, s32min, s32max, value, mask } = partsOf(reg.scalar);
  const signed = (number: bigint): string => hexText(BigInt.asUintN(64, number));
  const short = (number: number): string => hexText(BigInt(number >>> 0));
  env.verbose(
    `verifier bug: REG INVARIANTS VIOLATION (${where}): ${REASONS[found]} u64=[${hexText(umin)}, ${hexText(umax)}] ` +
      `s64=[${signed(smin)}, ${signed(smax)}] u32=[${short(u32min)}, ${short(u32max)}] ` +
      `s32=[${short(s32min)}, ${short(s32max)}] var_off=(${hexText(value)}, ${hexText(mask)})\n`,
  );
  if (env.options.testRegisterInvariants === true) throw env.reject("EFAULT");
  reg.scalar = unbounded(reg.scalar);
}
