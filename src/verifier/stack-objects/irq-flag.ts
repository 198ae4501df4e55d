/**
 * Saved interrupt flags (process_irq_flag of kernel/bpf/verifier.c): one slot that bpf_local_irq_save and
 * bpf_res_spin_lock_irqsave fill. They must be restored by the function of the same kind, the last one first.
 */
import type { KfuncMeta } from "../calls/kfunc-meta.ts";
import type { Environment } from "../environment.ts";
import { checkMemoryAccess } from "../memory.ts";
import { acquireIrq, releaseIrq } from "../references.ts";
import { PTR_TO_STACK } from "../register-types.ts";
import { markKnownZero, markNotInit, scratchSlot } from "../registers.ts";
import {
  type RegisterState,
  STACK_INVALID,
  STACK_IRQ_FLAG,
  type StackSlot,
  allOf,
  slotType,
} from "../state.ts";
import { isWhole, markObjectRead, markObjectWritten, ownSlotsOf, placeOf, slotsOf } from "./slots.ts";

const NATIVE = 0;
const LOCK = 1;
const KIND_NAMES = ["native", "lock"] as const;

const FUNCTIONS: Readonly<Record<string, { readonly saves: boolean; readonly kind: number }>> = {
  bpf_local_irq_save: { saves: true, kind: NATIVE },
  bpf_local_irq_restore: { saves: false, kind: NATIVE },
  bpf_res_spin_lock_irqsave: { saves: true, kind: LOCK },
  bpf_res_spin_unlock_irqrestore: { saves: false, kind: LOCK },
};

export function checkIrqFlag(env: Environment, regno: number, { kfunc }: KfuncMeta): void {
  const row = FUNCTIONS[kfunc.name];
  if (row === undefined) throw env.bug("unknown irq flags kfunc");
  const reg = env.registers[regno] as RegisterState;
  const first = placeOf(env, reg, "irq_flag", 1);
  const [slot] = typeof first === "number" ? slotsOf(env, reg, first, 1) : [];
  if (row.saves) {
    if (first === "invalid" || (slot !== undefined && hasFlag(slot))) {
      throw env.reject("EINVAL", `expected uninitialized irq flag as arg#${regno - 1}`);
    }
    checkMemoryAccess(env, env.index, regno, 0, 8, true, -1, false, false);
    return save(env, reg, row.kind);
  }
  if (slot === undefined || slot.spilled.refObjId === 0 || !isWhole(slot, STACK_IRQ_FLAG)) {
    throw env.reject("EINVAL", `expected an initialized irq flag as arg#${regno - 1}`);
  }
  markObjectRead(env, reg, first as number, 1);
  restore(env, reg, slot, first as number, row.kind);
}

function hasFlag(slot: StackSlot): boolean {
  for (let byte = 0; byte < 8; byte++) if (slotType(slot, byte) === STACK_IRQ_FLAG) return true;
  return false;
}

function save(env: Environment, reg: RegisterState, kind: number): void {
  const first = placeOf(env, reg, "irq_flag", 1);
  if (typeof first !== "number") throw env.reject(first === "beyond" ? "ERANGE" : "EINVAL");
  const [slot] = ownSlotsOf(env, reg, first, 1) as [StackSlot];
  const id = acquireIrq(env, env.index);
  markObjectWritten(env, reg.frameno, first, 1);
  markKnownZero(slot.spilled);
  slot.spilled.type = PTR_TO_STACK;
  slot.spilled.refObjId = id;
  slot.spilled.irqKfuncClass = kind;
  slot.types = allOf(STACK_IRQ_FLAG);
  scratchSlot(env, first);
}

function restore(env: Environment, reg: RegisterState, slot: StackSlot, first: number, kind: number): void {
  const { irqKfuncClass, refObjId } = slot.spilled;
  if (irqKfuncClass !== kind) {
    throw env.reject(
      "EINVAL",
      `irq flag acquired by ${KIND_NAMES[irqKfuncClass === NATIVE ? 0 : 1]} kfuncs cannot be restored with ` +
        `${KIND_NAMES[kind === NATIVE ? 0 : 1]} kfuncs`,
    );
  }
  const { state } = env;
  if (!releaseIrq(state, refObjId)) {
    const { index = 0 } = state.references.find(({ id }) => id === state.activeIrqId) ?? {};
    throw env.reject(
      "EACCES",
      `cannot restore irq state out of order, expected id=${state.activeIrqId} acquired at insn_idx=${index}`,
    );
  }
  const [own] = ownSlotsOf(env, reg, first, 1) as [StackSlot];
  markNotInit(own.spilled);
  markObjectWritten(env, reg.frameno, first, 1);
  own.types = allOf(STACK_INVALID);
  scratchSlot(env, first);
}
