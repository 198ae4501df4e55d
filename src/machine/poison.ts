/**
 * Instructions that CO-RE has poisoned, because the target lacks what they need. They may be in code that is never reached; if
 * one is, the run stops and says what is missing.
 *
 * Such an instruction is a call of a helper that does not exist. Its slot is added to that helper's number, so that whoever
 * is called knows which one it was.
 */
import { BpfError } from "../errors.ts";
import type { Instruction } from "../isa/index.ts";
import { POISON_HELPER } from "../object/index.ts";

export function markPoison(
  instructions: readonly Instruction[],
  poisoned: ReadonlyMap<number, string>,
): readonly Instruction[] {
  if (poisoned.size === 0) return instructions;
  const marked = [...instructions];
  for (const slot of poisoned.keys()) {
    marked[slot] = { ...(marked[slot] as Instruction), imm: POISON_HELPER + slot };
    // The second slot of an lddw is poisoned too; nothing gets there.
    const next = marked[slot + 1];
    if (next?.imm === POISON_HELPER && !poisoned.has(slot + 1)) {
      marked[slot + 1] = { ...next, imm: POISON_HELPER + slot };
    }
  }
  return marked;
}

/** The slot that a helper number stands for; undefined for helpers that were called as such. */
export function poisonedSlot(helper: number): number | undefined {
  const slot = helper - POISON_HELPER;
  return slot >= 0 && slot < 1_000_000 ? slot : undefined;
}

/** What is thrown when a poisoned instruction is reached, before the program is known. */
export function poisonReached(slot: number): BpfError {
  return new BpfError("fault", "an instruction that CO-RE has poisoned", { where: { instruction: slot } });
}

/** The same error with the reason, if it is one of these. */
export function explainPoison(
  { name, poisoned }: { readonly name: string; readonly poisoned: ReadonlyMap<number, string> },
  cause: unknown,
  sourceOf: (slot: number) => string | undefined,
): unknown {
  const slot = cause instanceof BpfError && cause.code === "fault" ? cause.where.instruction : undefined;
  const why = slot === undefined ? undefined : poisoned.get(slot);
  if (why === undefined || slot === undefined) return cause;
  const source = sourceOf(slot);
  return new BpfError(
    "fault",
    `program '${name}': instruction ${slot}${source === undefined ? "" : ` (${source})`}: ${why}`,
    {
      where: { program: name, instruction: slot, ...(source === undefined ? {} : { source }) },
    },
  );
}
