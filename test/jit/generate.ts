/**
 * Random programs that end: any control flow graph forwards, irreducible ones included, and backwards only by jumps
 * that count down. Built from a list of numbers, so that fast-check can shrink them.
 *
 * r8 points to data, r9 counts; in subprograms as well. Registers are written before they are read, as the verifier
 * would have it: what uninitialised ones hold is nobody's promise.
 */
import { INSTRUCTIONS, type Instruction, type InstructionRow } from "../../src/isa/index.ts";
import { DATA, EXIT, ins, lddw } from "./harness.ts";

const DATA_REGISTER = 8;
const COUNTER = 9;
const HELPERS = [5, 6, 7];

const IMMEDIATES = [
  0, 1, 2, 3, 7, 8, 15, 16, 24, 31, 32, 48, 56, 63, 255, 256, 65535, 0x7fffffff, -1, -2, -128, -0x80000000,
];

function rows(...kinds: InstructionRow["semantics"]["kind"][]): readonly InstructionRow[] {
  return INSTRUCTIONS.filter((row) => kinds.includes(row.semantics.kind));
}

const ALU = rows("alu", "endian", "addr_space_cast");
const LOADS = rows("load");
const STORES = rows("store");
const ATOMICS = rows("atomic");
const JUMPS = rows("jump");

export interface RandomProgram {
  readonly instructions: readonly Instruction[];
  /** Starts of the subprograms. */
  readonly functions: readonly number[];
}

/** Numbers drawn one after the other; 0 when the list is used up. */
class Genes {
  readonly #numbers: readonly number[];
  #next = 0;

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers;
  }

  get empty(): boolean {
    return this.#next >= this.#numbers.length;
  }

  below(limit: number): number {
    return (this.#numbers[this.#next++] ?? 0) % limit;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** A jump whose target is a block that may not exist yet. */
interface Pending {
  readonly slot: number;
  readonly block: number;
}

/** What the program calls, to be resolved when all functions stand. */
interface PendingCall {
  readonly slot: number;
  readonly callee: number;
}

export function buildProgram(numbers: readonly number[], functionCount: number): RandomProgram {
  const genes = new Genes(numbers);
  const slots: Instruction[] = [];
  const starts: number[] = [];
  const calls: PendingCall[] = [];
  for (let index = 0; index < functionCount; index++) {
    starts.push(slots.length);
    buildFunction(genes, slots, calls, { index, functionCount });
  }
  for (const { slot, callee } of calls) {
    slots[slot] = ins(0x85, 0, 1, 0, (starts[callee] as number) - slot - 1);
  }
  return { instructions: slots, functions: starts.slice(1) };
}

function buildFunction(
  genes: Genes,
  slots: Instruction[],
  calls: PendingCall[],
  { index, functionCount }: { index: number; functionCount: number },
): void {
  const initialise = (register: number): void => {
    slots.push(...lddw(register, BigInt(genes.below(0x10000)) * 0x1_0001_0003_0007n));
  };
  for (const register of [0, 6, 7]) initialise(register);
  slots.push(...lddw(DATA_REGISTER, BigInt(DATA)));
  slots.push(ins(0xb7, COUNTER, 0, 0, index === 0 ? 40 : 5));

  const blockCount = 2 + genes.below(14);
  const blockAt: number[] = [];
  const jumps: Pending[] = [];
  for (let block = 0; block < blockCount; block++) {
    blockAt.push(slots.length);
    const length = genes.below(6);
    for (let count = 0; count < length && !genes.empty; count++) {
      const callee = index + 1 + genes.below(4);
      if (genes.below(12) === 0 && callee < functionCount) {
        calls.push({ slot: slots.length, callee });
        slots.push(EXIT);
        for (let register = 1; register <= 5; register++) initialise(register);
      } else if (genes.below(20) === 0) {
        slots.push(ins(0x85, 0, 0, 0, genes.pick(HELPERS)));
        for (let register = 1; register <= 5; register++) initialise(register);
      } else {
        pushOperation(genes, slots);
      }
    }
    pushTerminator(genes, slots, jumps, { block, blockCount });
  }
  blockAt.push(slots.length);
  slots.push(ins(0x0f, 0, 7), EXIT);
  for (const { slot, block } of jumps) {
    slots[slot] = { ...(slots[slot] as Instruction), offset: (blockAt[block] as number) - slot - 1 };
  }
}

function pushTerminator(
  genes: Genes,
  slots: Instruction[],
  jumps: Pending[],
  { block, blockCount }: { block: number; blockCount: number },
): void {
  const forward = (): number => block + 1 + genes.below(blockCount - block);
  const conditional = (target: number): void => {
    const row = genes.pick(JUMPS);
    jumps.push({ slot: slots.length, block: target });
    slots.push(
      ins(
        row.opcode,
        genes.below(8),
        row.fields.src === "reg" ? genes.below(8) : 0,
        0,
        row.fields.imm === 0 ? 0 : genes.pick(IMMEDIATES),
      ),
    );
  };
  switch (genes.below(16)) {
    case 15:
      slots.push(EXIT);
      return;
    case 1:
      jumps.push({ slot: slots.length, block: forward() });
      slots.push(ins(0x05));
      return;
    case 2:
    case 3:
    case 4:
    case 5: {
      // Backwards, or to this very block: while the counter lasts.
      const target = genes.below(block + 1);
      slots.push(ins(0x07, COUNTER, 0, 0, -1));
      jumps.push({ slot: slots.length, block: target });
      slots.push(ins(0x65, COUNTER, 0, 0, 0));
      return;
    }
    case 6:
    case 7: {
      // Backwards on a condition, out if the counter is used up.
      const target = genes.below(block + 1);
      slots.push(ins(0x07, COUNTER, 0, 0, -1));
      jumps.push({ slot: slots.length, block: blockCount });
      slots.push(ins(0xd5, COUNTER, 0, 0, 0));
      conditional(target);
      return;
    }
    case 8:
    case 9:
    case 10:
    case 11:
    case 12:
      conditional(forward());
      return;
    default:
  }
}

function pushOperation(genes: Genes, slots: Instruction[]): void {
  const register = (): number => genes.below(8);
  switch (genes.below(10)) {
    case 0: {
      const row = genes.pick(LOADS);
      const [base, offset] = pushBase(genes, slots);
      slots.push(ins(row.opcode, register(), base, offset));
      return;
    }
    case 1: {
      const row = genes.pick(STORES);
      const [base, offset] = pushBase(genes, slots);
      slots.push(
        ins(
          row.opcode,
          base,
          row.fields.src === "reg" ? register() : 0,
          offset,
          row.fields.imm === 0 ? 0 : genes.pick(IMMEDIATES),
        ),
      );
      return;
    }
    case 2: {
      const row = genes.pick(ATOMICS);
      const [base, offset] = pushBase(genes, slots);
      const isLoad = row.semantics.kind === "atomic" && row.semantics.op === "load_acquire";
      slots.push(
        ins(
          row.opcode,
          isLoad ? register() : base,
          isLoad ? base : register(),
          offset,
          row.fields.imm as number,
        ),
      );
      return;
    }
    case 3: {
      // The shift pairs that stand for truncation and sign extension.
      const dst = register();
      const wide = genes.below(2) === 0;
      const amount = wide ? genes.pick([32, 48, 56, 33, 40]) : genes.pick([16, 24, 8]);
      slots.push(ins(wide ? 0x67 : 0x64, dst, 0, 0, amount));
      if (genes.below(3) === 0) slots.push(ins(0x07, register(), 0, 0, 1));
      slots.push(ins((genes.below(2) === 0 ? 0x70 : 0xc0) | (wide ? 7 : 4), dst, 0, 0, amount));
      return;
    }
    case 4: {
      // A branch around a move.
      const row = genes.pick(JUMPS);
      const imm = row.fields.imm === 0 ? 0 : genes.pick(IMMEDIATES);
      if (genes.below(2) === 0) slots.push(ins(genes.pick([0xb4, 0xb7]), register(), 0, 0, genes.below(2)));
      slots.push(ins(row.opcode, register(), row.fields.src === "reg" ? register() : 0, 1, imm));
      const opcode = genes.pick([0xb4, 0xb7, 0xbc, 0xbf]);
      const moves = opcode === 0xb4 || opcode === 0xb7;
      slots.push(
        ins(opcode, register(), moves ? 0 : register(), 0, moves ? genes.pick([0, 1, 0, 1, -1, 7]) : 0),
      );
      return;
    }
    default: {
      const row = genes.pick(ALU);
      slots.push(
        ins(
          row.opcode,
          register(),
          row.fields.src === "reg" ? register() : 0,
          row.fields.offset as number,
          row.fields.imm === "value" ? genes.pick(IMMEDIATES) : (row.fields.imm as number),
        ),
      );
    }
  }
}

/** A register and offset that lead into the data or the stack; both are left as they are known to the compiler. */
function pushBase(genes: Genes, slots: Instruction[]): [base: number, offset: number] {
  const dataOffset = genes.below(48);
  const stackOffset = -8 - genes.below(500);
  const scratch = 1 + genes.below(5);
  switch (genes.below(5)) {
    case 0:
      return [10, stackOffset];
    case 1:
      slots.push(ins(0xbf, scratch, 10), ins(0x07, scratch, 0, 0, stackOffset));
      return [scratch, 0];
    case 2:
      slots.push(ins(0xbc, scratch, DATA_REGISTER), ins(0x04, scratch, 0, 0, dataOffset + 8));
      return [scratch, -8];
    case 3:
      // An index that the compiler does not know.
      slots.push(ins(0x57, scratch, 0, 0, 15), ins(0x0f, scratch, DATA_REGISTER));
      return [scratch, genes.below(32)];
    default:
      return [DATA_REGISTER, dataOffset];
  }
}
