/** What a program may return, by its type and attach type. */
import type { Environment } from "./environment.ts";

/** Checks the register that the program or callback returns; `name` is its name in messages ("R0") (check_return_code). */
export function checkReturnCode(env: Environment, _regno: number, _name: string): void {
  throw env.unsupported(`return value of ${env.type} programs`);
}
