/** Random instructions and programs, drawn from the rows of the instruction table. */
import fc from "fast-check";
import {
  INSTRUCTIONS,
  type Instruction,
  type InstructionRow,
  REGISTER_COUNT,
  isWide,
} from "../../src/isa/index.ts";

/** Numbers at the edges of their range come up as often as others. */
function signed(bits: number): fc.Arbitrary<number> {
  const lowest = -(2 ** (bits - 1));
  const edges = [0, 1, -1, 2, 8, 10, -10, 16, 255, 256, lowest, lowest + 1, -lowest - 1, -lowest - 2];
  return fc.oneof(
    fc.constantFrom(...edges.filter((edge) => edge >= lowest && edge < -lowest)),
    fc.integer({ min: lowest, max: -lowest - 1 }),
  );
}

const register: fc.Arbitrary<number> = fc.nat({ max: REGISTER_COUNT - 1 });

/** The slots of one instruction of this row (two of an `lddw`), valid by themselves; jumps may lead anywhere. */
export function arbitraryOf({ opcode, fields }: InstructionRow): fc.Arbitrary<Instruction[]> {
  const fixed = (field: string | number, free: fc.Arbitrary<number>): fc.Arbitrary<number> =>
    typeof field === "number" ? fc.constant(field) : free;
  const first = fc.record({
    opcode: fc.constant(opcode),
    dst: fixed(fields.dst, register),
    src: fixed(fields.src, register),
    offset: fixed(fields.offset, signed(16)),
    imm: fixed(fields.imm, signed(32)),
  });
  return first.chain((slot) =>
    isWide(slot)
      ? signed(32).map((imm) => [slot, { opcode: 0, dst: 0, src: 0, offset: 0, imm }])
      : fc.constant([slot]),
  );
}

/** Options of {@link arbitraryProgram}. */
export interface ProgramOptions {
  /** The rows to draw from. Default: all. */
  readonly rows?: readonly InstructionRow[];
  /** Instructions, at most. Default 40. */
  readonly maxLength?: number;
  /**
   * Jumps lead to the beginning of an instruction of the program, calls by distance too, and an `exit` ends it. Default
   * false.
   */
  readonly jumpsInRange?: boolean;
}

/** A program of valid instructions, as slots. */
export function arbitraryProgram({
  rows = INSTRUCTIONS,
  maxLength = 40,
  jumpsInRange = false,
}: ProgramOptions = {}): fc.Arbitrary<Instruction[]> {
  const instruction = fc
    .constantFrom(...rows)
    .chain((row) => fc.tuple(fc.constant(row), arbitraryOf(row), fc.nat()));
  return fc.array(instruction, { maxLength }).map((drawn) => {
    const slots = drawn.flatMap(([, pair]) => pair);
    if (!jumpsInRange) return slots;
    const exit = { opcode: 0x95, dst: 0, src: 0, offset: 0, imm: 0 };
    const starts: number[] = [];
    let at = 0;
    for (const [, pair] of drawn) {
      starts.push(at);
      at += pair.length;
    }
    starts.push(at);
    drawn.forEach(([{ fields }, pair, choice], index) => {
      const here = starts[index] as number;
      const distance = (starts[choice % starts.length] as number) - here - 1;
      const [slot] = pair as [Instruction];
      if (fields.offset === "jump") slots[here] = { ...slot, offset: distance };
      if (fields.imm === "jump") slots[here] = { ...slot, imm: distance };
    });
    return [...slots, exit];
  });
}

/** Slots of any bits at all: mostly no instructions. */
export const arbitrarySlot: fc.Arbitrary<Instruction> = fc.record({
  opcode: fc.nat({ max: 255 }),
  dst: fc.nat({ max: 15 }),
  src: fc.nat({ max: 15 }),
  offset: signed(16),
  imm: signed(32),
});
