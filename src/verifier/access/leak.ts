/** Addresses that a store would make known. */
import type { Environment } from "../environment.ts";
import type { MemoryAccess } from "../memory.ts";
import { isSecret } from "../registers.ts";
import type { RegisterState } from "../state.ts";

/** No store of an address where somebody could read it who must not know it. */
export function checkLeak(env: Environment, { write, valueRegno }: MemoryAccess, where: string): void {
  if (!write || valueRegno < 0 || !isSecret(env, env.registers[valueRegno] as RegisterState)) return;
  throw env.reject("EACCES", `R${valueRegno} leaks addr into ${where}`);
}
