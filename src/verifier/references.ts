/**
 * References that a program must give back: a socket that was looked up, a record of a ring buffer. Each has an id, which
 * all registers that came from it carry as `refObjId`; releasing it makes all of them numbers.
 */
import type { Environment } from "./environment.ts";
import { markUnknown } from "./registers.ts";
import { type Reference, type VerifierState, eachRegister } from "./state.ts";

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
  eachRegister(env.state, (reg) => {
    // Those who may know addresses keep a number.
    if (reg.refObjId === id) markUnknown(reg);
  });
  return true;
}

/** Drops a pointer reference from a state, registers untouched; false if it is not held (release_reference_nomark). */
export function releaseReferenceNoMark(state: VerifierState, id: number): boolean {
  const rest = state.references.filter((row) => row.kind !== "pointer" || row.id !== id);
  if (rest.length === state.references.length) return false;
  state.references = rest;
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
  if (exceptionExit || env.frame.frameno === 0) {
    const held = state.references.filter(({ kind }) => kind === "pointer");
    for (const { id, index } of held) env.verbose(`Unreleased reference id=${id} alloc_insn=${index}\n`);
    if (held.length > 0) throw env.reject("EINVAL", `${prefix} would lead to reference leak`);
  }
  if (!checkLock) return;
  const region = state.activeLocks
    ? "bpf_spin_lock-ed"
    : state.activeIrqId
      ? "bpf_local_irq_save-ed"
      : state.activeRcuLocks
        ? "bpf_rcu_read_lock-ed"
        : state.activePreemptLocks
          ? "bpf_preempt_disable-ed"
          : undefined;
  if (region !== undefined) throw env.reject("EINVAL", `${prefix} cannot be used inside ${region} region`);
}
