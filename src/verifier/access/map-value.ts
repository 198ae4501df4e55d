/** Accesses to map values, map keys and memory regions of known size. */
import type { Environment } from "../environment.ts";
import type { MemoryAccess } from "../memory.ts";

export function checkMapKeyAccess(env: Environment, _access: MemoryAccess): void {
  throw env.unsupported("map key access");
}

export function checkMapValueAccess(env: Environment, _access: MemoryAccess): void {
  throw env.unsupported("map value access");
}

export function checkRegionAccess(env: Environment, _access: MemoryAccess): void {
  throw env.unsupported("access to mem");
}
