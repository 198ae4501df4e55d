/**
 * The jump history of a state: from the last instruction back to the state's first, the way is straight unless an entry
 * says otherwise. Entries also tell which stack slot an instruction used, and which registers a comparison made known
 * together (push_jmp_history and its kin).
 */
import type { Environment } from "./environment.ts";
import type { JumpRecord, VerifierState } from "./state.ts";

/** Flags: frame in bits 0 to 2, slot in bits 3 to 8. */
export const STACK_ACCESS = 1 << 9;
export const DST_IS_STACK = 1 << 10;
export const SRC_IS_STACK = 1 << 11;

export function stackAccessFlags(frameno: number, slot: number): number {
  return STACK_ACCESS | (slot << 3) | frameno;
}

export function accessedSlot(flags: number): number {
  return (flags >> 3) & 63;
}

export function accessedFrame(flags: number): number {
  return flags & 7;
}

/** How many registers and slots an entry can link. */
export const LINKED_MAX = 6;

/** A register or slot in one number: frame in bits 0 to 2, number in bits 3 to 8, bit 9 for registers. */
export function linkedEntry(frameno: number, number: number, isRegister: boolean): number {
  return frameno | (number << 3) | (isRegister ? 512 : 0);
}

/** Adds to the entry of the current instruction, or makes one. */
export function pushHistory(env: Environment, flags: number, linked: readonly number[] = []): void {
  const record = env.historyRecord;
  if (record !== undefined) {
    record.flags |= flags;
    record.linked = linked;
    return;
  }
  const made: JumpRecord = { index: env.index, previous: env.previous, flags, linked };
  env.state.history.push(made);
  env.historyRecord = made;
}

/** The entry of an instruction, if it is the newest of the first `count`. */
export function historyEntry(state: VerifierState, count: number, index: number): JumpRecord | undefined {
  if (count === 0) return undefined;
  const record = state.history[count - 1] as JumpRecord;
  return record.index === index ? record : undefined;
}
