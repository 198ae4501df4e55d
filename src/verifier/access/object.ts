/** Accesses to kernel objects: sockets, flow keys, structures by BTF, buffers, the fields of maps themselves. */
import type { Environment } from "../environment.ts";
import type { MemoryAccess } from "../memory.ts";
import { typeName } from "../register-types.ts";

/** All pointer types that `memory.ts` sends nowhere else, but for those that may not be accessed at all. */
export function checkObjectAccess(env: Environment, { reg }: MemoryAccess): void {
  throw env.unsupported(`access to ${typeName(reg.type)}`);
}
