import { type CoreRelocation, type CoreResolution, CoreResolver, type CoreTarget } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import { CLASSES, type Instruction, OPCODE_LDDW, SIZES, SOURCE_REG } from "../isa/index.ts";
import { sourceOf } from "./context.ts";
import type { LinkedProgram } from "./link.ts";
import { POISON } from "./poison.ts";

const SIZE_BITS = 0x18;
const MAX_OFFSET = 0x7fff;

/**
 * Fits a program to the types of the machine that it will run on (CO-RE): each recorded instruction gets the offset, size,
 * existence, ... that the target says. The program given stays as it is.
 *
 * What the target has not becomes an instruction that must not be reached; {@link LinkedProgram.poisoned} says why.
 *
 * @throws BpfError code "relocation" if the target is ambiguous or an instruction cannot take the value, "btf" for damaged
 *   types; the message names the access: "struct task_struct::real_parent.tgid".
 * @example
 * const program = relocate(linkProgram(spec, "trace_exit"), { target: parseBtf(vmlinux, { name: "vmlinux" }) });
 */
export function relocate(linked: LinkedProgram, target: CoreTarget): LinkedProgram {
  const { btf, coreRelocations, littleEndian } = { ...linked, littleEndian: linked.object.littleEndian };
  if (btf === undefined || coreRelocations.length === 0) return linked;
  if (target.target.littleEndian !== littleEndian) {
    throw new BpfError(
      "btf",
      `${target.target.name}: its byte order is not that of ${linked.object.name}, so it can't be a target for it`,
    );
  }
  const resolver = new CoreResolver(btf, target);
  const instructions = [...linked.instructions];
  const poisoned = new Map(linked.poisoned);
  for (const relocation of coreRelocations) {
    try {
      const resolution = resolver.resolve(relocation);
      const why = patch(instructions, relocation, resolution);
      if (why !== undefined) poisoned.set(relocation.slot, why);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      throw atInstruction(linked, relocation, error);
    }
  }
  return { ...linked, instructions, poisoned, relocated: true };
}

function atInstruction(linked: LinkedProgram, { slot }: CoreRelocation, error: BpfError): BpfError {
  const source = sourceOf(linked.lines, slot);
  const place = source === undefined ? "" : ` (${source})`;
  return new BpfError(error.code, `program '${linked.name}': instruction ${slot}${place}: ${error.message}`, {
    cause: error.cause,
    where: {
      ...error.where,
      file: linked.object.name,
      program: linked.name,
      instruction: slot,
      ...(source === undefined ? {} : { source }),
    },
  });
}

/** Puts the value into the instruction; why it must not run, if it must not. */
function patch(
  instructions: Instruction[],
  { slot, kind }: CoreRelocation,
  resolution: CoreResolution,
): string | undefined {
  const { text, original, value, missing } = resolution;
  const instruction = instructions[slot];
  if (instruction === undefined) throw new BpfError("relocation", `${text}: the program ends before`);
  const second = instruction.opcode === OPCODE_LDDW ? instructions[slot + 1] : undefined;
  const poison = (why: string): string => {
    instructions[slot] = POISON;
    if (second !== undefined) instructions[slot + 1] = POISON;
    return why;
  };
  if (value === undefined) return poison(missing ?? `${text}: missing in the target`);

  const expect = (found: bigint): void => {
    if (original === undefined || !original.certain) return;
    if (BigInt.asUintN(64, found) === BigInt.asUintN(64, original.value)) return;
    throw new BpfError(
      "relocation",
      `${text}: the instruction holds ${found}, and by the program's own types ${kind} is ${original.value}`,
    );
  };
  const number = Number(BigInt.asIntN(32, value.value));
  switch (instruction.opcode & 7) {
    case CLASSES.alu:
    case CLASSES.alu64:
      if ((instruction.opcode & SOURCE_REG) !== 0) break;
      expect(BigInt(instruction.imm));
      instructions[slot] = { ...instruction, imm: number };
      return undefined;
    case CLASSES.ld:
      if (second === undefined || instruction.src !== 0 || instruction.offset !== 0 || second.opcode !== 0)
        break;
      expect((BigInt(second.imm) << 32n) | BigInt(instruction.imm >>> 0));
      instructions[slot] = { ...instruction, imm: number };
      instructions[slot + 1] = { ...second, imm: Number(BigInt.asIntN(32, value.value >> 32n)) };
      return undefined;
    case CLASSES.ldx:
    case CLASSES.st:
    case CLASSES.stx: {
      expect(BigInt(instruction.offset));
      if (value.value > MAX_OFFSET) {
        throw new BpfError("relocation", `${text}: offset ${value.value} does not fit into a load or store`);
      }
      const size = accessSize(instruction, resolution);
      if (typeof size === "string") return poison(size);
      const opcode = size === undefined ? instruction.opcode : (instruction.opcode & ~SIZE_BITS) | size;
      instructions[slot] = { ...instruction, opcode, offset: number };
      return undefined;
    }
  }
  const opcode = `0x${instruction.opcode.toString(16).padStart(2, "0")}`;
  throw new BpfError("relocation", `${text}: an instruction with opcode ${opcode} takes no ${kind}`);
}

/**
 * The size bits that a load or store needs, undefined if they stay; a sentence if the instruction would read something else.
 *
 * A member may have grown or shrunk. A pointer may be read as 8 bytes or as 4, and an unsigned integer with any of its sizes,
 * because the rest of the register becomes zero; anything else would change its value.
 */
function accessSize(
  { opcode }: Instruction,
  { text, original, value }: CoreResolution,
): number | string | undefined {
  const mine = original?.access;
  const theirs = value?.access;
  const [before, after] = [mine?.size ?? 0, theirs?.size ?? 0];
  if (before === after) return undefined;
  const pointers = mine?.type.kind === "ptr" && theirs?.type.kind === "ptr";
  const unsigned =
    mine?.type.kind === "int" &&
    theirs?.type.kind === "int" &&
    !isSigned(mine.type) &&
    !isSigned(theirs.type);
  if (!pointers && !unsigned) {
    return `${text}: has ${before} bytes in the program's types and ${after} in the target, and only pointers and unsigned integers may change their size`;
  }
  const own = SIZES.find(({ code }) => code === (opcode & SIZE_BITS));
  if (own?.bytes !== before) {
    throw new BpfError(
      "relocation",
      `${text}: the instruction moves ${own?.bytes} bytes, the member has ${before}`,
    );
  }
  const size = SIZES.find(({ bytes }) => bytes === after);
  if (size === undefined) throw new BpfError("relocation", `${text}: no instruction moves ${after} bytes`);
  return size.code;
}

function isSigned({ signed, char, bool }: { signed: boolean; char: boolean; bool: boolean }): boolean {
  return signed && !char && !bool;
}
