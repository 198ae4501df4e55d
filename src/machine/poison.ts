/**
 * Instructions that lack what they need: those that CO-RE has poisoned because the target has no such type or function, and
 * calls of helpers that the machine has not. They may be in code that is never reached; if one is, the run stops and says what is
 * missing.
 *
 * Such an instruction is a call of a helper that does not exist. Its slot is added to that helper's number, so that whoever
 * is called knows which one it was.
 */
import { BpfError } from "../errors.ts";
import { type Instruction, OPCODE_LDDW, isWide, rowOf } from "../isa/index.ts";
import { POISON_HELPER } from "../object/index.ts";

interface Poisonable {
  readonly instructions: readonly Instruction[];
  /** Why, by slot. */
  readonly poisoned: ReadonlyMap<number, string>;
}

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

/**
 * A program with each call of a helper that is missing poisoned. The verifier has seen the numbers as they were: as in Linux,
 * one that does not exist is an error where it is reached.
 */
export function poisonCalls<T extends Poisonable>(
  program: T,
  whyMissing: (helper: number) => string | undefined,
): T {
  const poisoned = new Map(program.poisoned);
  program.instructions.forEach((instruction, slot) => {
    const semantics = rowOf(instruction)?.semantics;
    if (semantics?.kind !== "call" || semantics.target !== "helper" || poisoned.has(slot)) return;
    const why = whyMissing(instruction.imm);
    if (why !== undefined) poisoned.set(slot, why);
  });
  if (poisoned.size === program.poisoned.size) return program;
  return { ...program, instructions: markPoison(program.instructions, poisoned), poisoned };
}

/** The slot that a helper number stands for; undefined for helpers that were called as such. */
export function poisonedSlot(helper: number): number | undefined {
  const slot = helper - POISON_HELPER;
  return slot >= 0 && slot < 1_000_000 ? slot : undefined;
}

/** What is thrown when a poisoned instruction is reached, before the program is known. */
export function poisonReached(slot: number): BpfError {
  return new BpfError("fault", "an instruction that lacks what it needs", { where: { instruction: slot } });
}

/** The same error with the reason, if it is one of these. */
export function explainPoison(
  { name, poisoned }: { readonly name: string; readonly poisoned: ReadonlyMap<number, string> },
  cause: unknown,
  sourceOf: (slot: number) => string | undefined,
): unknown {
  const slot = cause instanceof BpfError && cause.code === "fault" ? cause.where.instruction : undefined;
  if (slot === undefined || !poisoned.has(slot)) return cause;
  return poisonError("fault", { name, poisoned }, slot, sourceOf(slot));
}

/** The error of a program that reaches, or must reach, a poisoned instruction. */
export function poisonError(
  code: "fault" | "program",
  { name, poisoned }: { readonly name: string; readonly poisoned: ReadonlyMap<number, string> },
  slot: number,
  source: string | undefined,
): BpfError {
  const why = poisoned.get(slot) ?? "";
  const at = source === undefined ? "" : ` (${source})`;
  return new BpfError(code, `program '${name}': instruction ${slot}${at}: ${why}`, {
    where: { program: name, instruction: slot, ...(source === undefined ? {} : { source }) },
  });
}

/**
 * A poisoned instruction that every run reaches: such a program is broken here, as a verifier would say, and need not wait to
 * be run. The path is followed from the start as long as nothing but constants decides it, which is how questions whether a type
 * exists look after relocation.
 */
export function alwaysReached(
  instructions: readonly Instruction[],
  poisoned: ReadonlyMap<number, string>,
): number | undefined {
  if (poisoned.size === 0) return undefined;
  const constants = new Map<number, bigint>();
  for (let slot = 0, steps = 0; steps <= instructions.length; steps++) {
    if (poisoned.has(slot)) return slot;
    const instruction = instructions[slot];
    const semantics = instruction === undefined ? undefined : rowOf(instruction)?.semantics;
    if (instruction === undefined || semantics === undefined) return undefined;
    const { opcode, dst, imm, offset } = instruction;
    slot += isWide(instruction) ? 2 : 1;
    if (semantics.kind === "goto") slot += semantics.distance === "imm" ? imm : offset;
    else if (opcode === JEQ_IMM || opcode === JNE_IMM) {
      const known = constants.get(dst);
      if (known === undefined) return undefined;
      if ((known === BigInt.asUintN(64, BigInt(imm))) === (opcode === JEQ_IMM)) slot += offset;
    } else if (semantics.kind === "exit" || semantics.kind === "jump" || semantics.kind === "may_goto") {
      return undefined;
    } else if (semantics.kind === "call")
      for (let register = 0; register <= 5; register++) constants.delete(register);
    else if (opcode === MOV_IMM) constants.set(dst, BigInt.asUintN(64, BigInt(imm)));
    else if (opcode === OPCODE_LDDW && instruction.src === 0) {
      const high = instructions[slot - 1]?.imm ?? 0;
      constants.set(dst, (BigInt(high >>> 0) << 32n) | BigInt(imm >>> 0));
    } else {
      constants.delete(dst);
      constants.delete(instruction.src);
      constants.delete(0);
    }
  }
  return undefined;
}

const MOV_IMM = 0xb7;
const JEQ_IMM = 0x15;
const JNE_IMM = 0x55;
