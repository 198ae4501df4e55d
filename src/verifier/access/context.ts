/** Accesses to a program's context: which fields exist, and what they are. */
import type { Environment } from "../environment.ts";
import type { MemoryAccess } from "../memory.ts";

/** PTR_TO_CTX of check_mem_access. `access.off` includes the register's fixed offset. Sets the register that is loaded. */
export function checkContextAccess(env: Environment, _access: MemoryAccess): void {
  throw env.unsupported(`context of ${env.type} programs`);
}
