/**
 * The structural check: what must hold before either engine may touch a program. It proves that every instruction
 * exists, that control never leaves a function except by `exit` and calls, and that the functions that it calls are there. It
 * proves nothing about memory: that is the verifier's work. Helpers that are missing are poison: see poison.ts.
 */
import { BpfError } from "../errors.ts";
import {
  FRAME_POINTER,
  type Instruction,
  type InstructionRow,
  checkInstructions,
  isWide,
  rowOf,
} from "../isa/index.ts";

/** A function of a program: slots `start` up to, not including, `end`. The first is the main function. */
export interface FunctionRange {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

export interface CheckInput {
  readonly name: string;
  readonly instructions: readonly Instruction[];
  readonly functions: readonly FunctionRange[];
  /** `file:line` of a slot, as far as known. */
  readonly sourceOf?: (slot: number) => string | undefined;
  /** Whether the call in a slot is one of a kernel function that is there. */
  readonly hasKfunc?: (slot: number) => boolean;
}

/** linux/bpf.h BPF_COMPLEXITY_LIMIT_INSNS: the most instructions that a privileged program may have. */
const MAX_SLOTS = 1_000_000;

/**
 * @throws BpfError code "instruction", "program" or "unsupported", naming program, instruction and source line.
 */
export function checkStructure(input: CheckInput): void {
  const { instructions, functions } = input;
  const fail = (code: "instruction" | "program" | "unsupported", slot: number, message: string): never => {
    const source = input.sourceOf?.(slot);
    throw new BpfError(
      code,
      `program '${input.name}': instruction ${slot}${source === undefined ? "" : ` (${source})`}: ${message}`,
      { where: { program: input.name, instruction: slot, ...(source === undefined ? {} : { source }) } },
    );
  };
  if (instructions.length === 0) {
    throw new BpfError("program", `program '${input.name}': it has no instructions`, {
      where: { program: input.name },
    });
  }
  if (instructions.length > MAX_SLOTS) {
    throw new BpfError(
      "program",
      `program '${input.name}': ${instructions.length} instructions, at most ${MAX_SLOTS}`,
    );
  }
  const invalid = checkInstructions(instructions);
  if (invalid !== undefined) fail("instruction", invalid.index, invalid.reason);

  const starts = new Set(functions.map(({ start }) => start));
  for (const range of functions) {
    const second = secondSlots(instructions, range);
    const target = (slot: number, distance: number): number => {
      const to = slot + 1 + distance;
      if (to < range.start || to >= range.end) fail("program", slot, `jump to ${to}, outside its function`);
      if (second.has(to)) fail("program", slot, `jump to ${to}, the middle of an lddw`);
      return to;
    };
    const work = [range.start];
    const seen = new Set<number>();
    for (let slot = work.pop(); slot !== undefined; slot = work.pop()) {
      if (seen.has(slot)) continue;
      seen.add(slot);
      const instruction = instructions[slot] as Instruction;
      const row = rowOf(instruction) as InstructionRow;
      if (writesFramePointer(row, instruction)) fail("program", slot, "the frame pointer r10 is read-only");
      const { semantics } = row;
      if (semantics.kind === "call") {
        const { imm } = instruction;
        if (semantics.target === "local" && !starts.has(slot + 1 + imm)) {
          fail("program", slot, `call of ${slot + 1 + imm}, where no function begins`);
        } else if (semantics.target === "kfunc" && input.hasKfunc?.(slot) !== true) {
          fail("unsupported", slot, `kernel function with BTF id ${imm}: here they are called by name`);
        }
      }
      const successors: number[] = [];
      if (semantics.kind === "goto") {
        successors.push(target(slot, semantics.distance === "imm" ? instruction.imm : instruction.offset));
      } else if (semantics.kind !== "exit") {
        if (semantics.kind === "jump" || semantics.kind === "may_goto") {
          successors.push(target(slot, instruction.offset));
        }
        successors.push(slot + (isWide(instruction) ? 2 : 1));
      }
      for (const next of successors) {
        if (next >= range.end) fail("program", slot, "control falls off the end of the function");
        work.push(next);
      }
    }
  }
}

function secondSlots(instructions: readonly Instruction[], { start, end }: FunctionRange): Set<number> {
  const slots = new Set<number>();
  for (let slot = start; slot < end; slot++) {
    if (isWide(instructions[slot] as Instruction)) slots.add(++slot);
  }
  return slots;
}

function writesFramePointer({ semantics, fields }: InstructionRow, { dst, src }: Instruction): boolean {
  switch (semantics.kind) {
    case "alu":
    case "endian":
    case "load":
    case "lddw":
    case "addr_space_cast":
      return fields.dst === "reg" && dst === FRAME_POINTER;
    case "atomic":
      if (semantics.op === "load_acquire") return dst === FRAME_POINTER;
      return semantics.fetch && semantics.op !== "cmpxchg" && src === FRAME_POINTER;
    default:
      return false;
  }
}
