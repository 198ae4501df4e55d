/**
 * Spin locks (process_spin_lock of kernel/bpf/verifier.c). A lock lies in a map value or an allocated object and protects what else
 * lies there. Which one is held is told by the object and its id: every lookup of a value with a lock gives a new id, so two
 * lookups are two locks. Of plain spin locks a program may hold one; resilient ones nest, but not out of order and not twice.
 */
import type { Environment } from "./environment.ts";
import { isNonOwning } from "./kernel-types/access.ts";
import { type BtfRecord, mapRecord, structRecord } from "./kernel-types/record.ts";
import { type LockKind, acquireLock, holdsLock, releaseLock } from "./references.ts";
import { MEM_ALLOC, PTR_TO_BTF_ID, PTR_TO_MAP_VALUE } from "./register-types.ts";
import { markInvalid } from "./registers.ts";
import { constantNumber, isConstant } from "./scalar/index.ts";
import { type RegisterState, changeRegisters } from "./state.ts";

/** The special fields of what a register points to (reg_btf_record). */
export function recordOf(env: Environment, reg: RegisterState): BtfRecord {
  if (reg.type === PTR_TO_MAP_VALUE && reg.map !== undefined) return mapRecord(env, reg.map);
  const isObject = (reg.type & 0xff) === PTR_TO_BTF_ID && (reg.type & MEM_ALLOC) !== 0;
  if (isObject && reg.btf !== undefined) return structRecord(env, reg.btf, reg.btfId);
  return [];
}

/** The object that a lock belongs to: a map, or the BTF of an allocated object. */
function ownerOf(reg: RegisterState): unknown {
  return reg.type === PTR_TO_MAP_VALUE ? reg.map : reg.btf;
}

const RESILIENT: readonly LockKind[] = ["res_lock", "res_lock_irq"];
export const ALL_LOCKS: readonly LockKind[] = ["lock", ...RESILIENT];

/** An argument that is a lock, which is taken or given back. */
export function processLock(env: Environment, regno: number, kind: LockKind, takes: boolean): void {
  const reg = env.registers[regno] as RegisterState;
  const { state } = env;
  const name = kind === "lock" ? "bpf_spin" : "bpf_res_spin";
  if (!isConstant(reg.scalar)) {
    throw env.reject(
      "EINVAL",
      `R${regno} doesn't have constant offset. ${name}_lock has to be at the constant offset`,
    );
  }
  const map = reg.type === PTR_TO_MAP_VALUE ? reg.map : undefined;
  if (map !== undefined && map.btf === undefined) {
    throw env.reject("EINVAL", `map '${map.name}' has to have BTF in order to use ${name}_lock`);
  }
  const field = recordOf(env, reg).find(
    (row) => row.kind === (kind === "lock" ? "spin_lock" : "res_spin_lock"),
  );
  if (field === undefined) {
    const what = map === undefined ? "local 'kptr'" : `map '${map.name}'`;
    throw env.reject("EINVAL", `${what} has no valid ${name}_lock`);
  }
  const off = constantNumber(reg.scalar) + reg.off;
  if (field.offset !== off) {
    throw env.reject(
      "EINVAL",
      `off ${off} doesn't point to 'struct ${name}_lock' that is at ${field.offset}`,
    );
  }
  const owner = ownerOf(reg);
  if (takes) {
    if (kind === "lock" && state.activeLocks > 0) {
      // The kernel asks for a lock of no object: it finds none, and a second lock is refused as any other call.
      if (holdsLock(state, ["lock"], 0, undefined)) {
        throw env.reject("EINVAL", "Locking two bpf_spin_locks are not allowed");
      }
    } else if (kind !== "lock" && holdsLock(state, RESILIENT, reg.id, owner)) {
      throw env.reject("EINVAL", "Acquiring the same lock again, AA deadlock detected");
    }
    return acquireLock(env, kind, reg.id, owner);
  }
  if (state.activeLocks === 0) throw env.reject("EINVAL", `${name}_unlock without taking a lock`);
  if (!holdsLock(state, [kind], reg.id, owner)) {
    throw env.reject("EINVAL", `${name}_unlock of different lock`);
  }
  if (reg.id !== state.activeLockId || owner !== state.activeLockPointer) {
    throw env.reject("EINVAL", `${name}_unlock cannot be out of order`);
  }
  releaseLock(state, kind, reg.id, owner);
  // Without the lock, objects in lists and trees may be gone.
  changeRegisters(
    state,
    (other) => isNonOwning(other.type),
    (other) => markInvalid(env, other),
  );
}

/** Whether the lock beside an object's list or tree is held; undefined if none is at all (check_reg_allocation_locked). */
export function isLocked(env: Environment, reg: RegisterState): boolean {
  const { state } = env;
  if (state.activeLocks === 0) return false;
  if (holdsLock(state, ALL_LOCKS, reg.id, ownerOf(reg))) return true;
  env.verbose("held lock and object are not in the same allocation\n");
  return false;
}
