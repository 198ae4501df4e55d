/**
 * References that a program must give back: a socket that was looked up, a record of a ring buffer. Each has an id, which
 * all registers that came from it carry as `refObjId`; releasing it makes all of them numbers.
 */
import type { Environment } from "./environment.ts";
import { markInvalid } from "./registers.ts";
import { type Reference, type RegisterState, type VerifierState, changeRegisters } from "./state.ts";

/** A new reference; its id. */
export function acquireReference(env: Environment, index: number): number {
  const id = env.nextId();
  const reference: Reference = { kind: "pointer", id, index, pointer: undefined };
  env.state.references = [...env.state.references, reference];
  return id;
}

/** Gives a reference back: what came from it may not be used any more. False if it is not held (release_reference). */
export function releaseReference(env: Environment, id: number): boolean {
  if (!releaseReferenceNoMark(env.state, id)) return false;
  changeRegisters(
    env.state,
    (reg) => reg.refObjId === id,
    (reg) => markInvalid(env, reg),
  );
  return true;
}

/** Drops a pointer reference from a state, registers untouched; false if it is not held (release_reference_nomark). */
export function releaseReferenceNoMark(state: VerifierState, id: number): boolean {
  const rest = state.references.filter((row) => row.kind !== "pointer" || row.id !== id);
  if (rest.length === state.references.length) return false;
  state.references = rest;
  return true;
}

/** Interrupts are disabled: the id under which they were (acquire_irq_state). */
export function acquireIrq(env: Environment, index: number): number {
  const id = env.nextId();
  const { state } = env;
  state.references = [...state.references, { kind: "irq", id, index, pointer: undefined }];
  state.activeIrqId = id;
  return id;
}

/** Restores interrupts; false unless they were disabled last under this id (release_irq_state). */
export function releaseIrq(state: VerifierState, id: number): boolean {
  if (id !== state.activeIrqId) return false;
  const at = state.references.findIndex((row) => row.kind === "irq" && row.id === id);
  if (at < 0) return false;
  const before = state.references.slice(0, at).findLast(({ kind }) => kind === "irq");
  state.references = state.references.toSpliced(at, 1);
  state.activeIrqId = before?.id ?? 0;
  return true;
}

/** Kinds of locks. */
export type LockKind = "lock" | "res_lock" | "res_lock_irq";

/** A lock is held: that of the object `pointer` under `id` (acquire_lock_state). */
export function acquireLock(env: Environment, kind: LockKind, id: number, pointer: unknown): void {
  const { state } = env;
  state.references = [...state.references, { kind, id, index: env.index, pointer }];
  state.activeLocks++;
  state.activeLockId = id;
  state.activeLockPointer = pointer;
}

/** Whether a lock is held (find_lock_state). */
export function holdsLock(
  { references }: VerifierState,
  kinds: readonly LockKind[],
  id: number,
  pointer: unknown,
): boolean {
  return references.some(
    (row) => (kinds as readonly string[]).includes(row.kind) && row.id === id && row.pointer === pointer,
  );
}

/** Gives a lock back; the one taken before it is the last one now (release_lock_state). */
export function releaseLock(state: VerifierState, kind: LockKind, id: number, pointer: unknown): boolean {
  const at = state.references.findIndex(
    (row) => row.kind === kind && row.id === id && row.pointer === pointer,
  );
  if (at < 0) return false;
  const before = state.references
    .slice(0, at)
    .findLast((row) => row.kind !== "pointer" && row.kind !== "irq");
  state.references = state.references.toSpliced(at, 1);
  state.activeLocks--;
  state.activeLockId = before?.id ?? 0;
  state.activeLockPointer = before?.pointer;
  return true;
}

/** Refuses to go on while references, locks or critical sections are held (check_resource_leak); `prefix` begins the message. */
export function checkResourceLeak(
  env: Environment,
  exceptionExit: boolean,
  checkLock: boolean,
  prefix: string,
): void {
  const { state } = env;
  if (checkLock && state.activeLocks > 0) {
    throw env.reject("EINVAL", `${prefix} cannot be used inside bpf_spin_lock-ed region`);
  }
  if (exceptionExit || env.frame.frameno === 0) {
    // A struct_ops program may hand a reference back to the kernel; the return value is checked later.
    const returned =
      env.type === "struct_ops" && !exceptionExit ? (env.registers[0] as RegisterState).refObjId : 0;
    const held = state.references.filter(
      ({ kind, id }) => kind === "pointer" && (returned === 0 || id !== returned),
    );
    for (const { id, index } of held) env.verbose(`Unreleased reference id=${id} alloc_insn=${index}\n`);
    if (held.length > 0) throw env.reject("EINVAL", `${prefix} would lead to reference leak`);
  }
  if (!checkLock) return;
  const region = state.activeIrqId
    ? "bpf_local_irq_save-ed"
    : state.activeRcuLocks
      ? "bpf_rcu_read_lock-ed"
      : state.activePreemptLocks
        ? "bpf_preempt_disable-ed"
        : undefined;
  if (region !== undefined) throw env.reject("EINVAL", `${prefix} cannot be used inside ${region} region`);
}
