/**
 * Instructions as the compiler's passes want them: one uniform object each, with forms that mean the same made
 * equal (`mov` of a constant and `lddw`; address space casts and 32-bit moves; ordered and plain accesses), and with
 * room for what the analyses find out.
 */
import { RIGHT_READ, RIGHT_WRITE } from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import {
  type AluOp,
  type AtomicOp,
  FRAME_POINTER,
  type Instruction,
  type InstructionRow,
  type JumpOp,
  REGISTER_COUNT,
  rowOf,
} from "../isa/index.ts";
import type { Lowering } from "./types.ts";

export type StepKind =
  | "nop"
  | "constant"
  | "alu"
  | "endian"
  | "select"
  | "load"
  | "store"
  | "atomic"
  | "packet"
  | "goto"
  | "jump"
  | "may_goto"
  | "helper"
  | "local"
  | "register"
  | "exit";

// Where the parts of the words of a step lie, which are 31 bits at most, as small integers of V8 are.
const SRC_SHIFT = 4;
const BYTES_SHIFT = 8;
const FROM_SHIFT = 12;
const REGISTER_MASK = 15;
const FROM_MASK = 63;
const KNOWN_SHIFT = REGISTER_COUNT;
const REGISTERS_MASK = (1 << REGISTER_COUNT) - 1;
const WIDE = 1 << 0;
const REGISTER = 1 << 1;
const SIGNED = 1 << 2;
const PROBE = 1 << 3;
const FETCH = 1 << 4;
const EXACT = 1 << 5;
const EXACT_COMPARISON = 1 << 6;
const LOW_ONLY = 1 << 7;
const IDENTITY = 1 << 8;
const IMPLIED = 1 << 9;
const NARROW = 1 << 10;
const DEAD = 1 << 11;

/**
 * One object for each instruction, all of which live until the last has been emitted: with a field for each of its facts a step had
 * 264 bytes, and V8 spent more time on making room for 60,000 of them and on moving them than all passes take. So registers, sizes, flags and masks
 * share words.
 */
export class Step {
  kind: StepKind = "nop";
  /** "" where the kind needs none. */
  op: AluOp | JumpOp | AtomicOp | "le" | "be" | "swap" | "abs" | "ind" | "" = "";
  #fields: number;
  #flags: number = WIDE;
  #masks = 0;
  readonly offset: number;
  /** The low half of a constant. */
  imm: number;
  /** Its high half. */
  high: number;
  /** Index of the instruction slot in the program. */
  readonly slot: number;
  /** Of jumps: the slot. Of local calls: index of the function. */
  target = -1;
  /** Of selections, which begin as jumps: the move that is made if the condition does not hold. */
  chosen: Step | undefined = undefined;
  /** Of calls: how the call is made; known after the facts are. */
  lowering: Lowering | undefined = undefined;

  constructor({ dst, src, offset, imm }: Instruction, slot: number) {
    this.#fields = dst | (src << SRC_SHIFT);
    this.offset = offset;
    this.imm = imm;
    this.high = imm >> 31;
    this.slot = slot;
  }

  get dst(): number {
    return this.#fields & REGISTER_MASK;
  }

  get src(): number {
    return (this.#fields >> SRC_SHIFT) & REGISTER_MASK;
  }

  set src(value: number) {
    this.#fields = (this.#fields & ~(REGISTER_MASK << SRC_SHIFT)) | (value << SRC_SHIFT);
  }

  /** Of memory accesses: 1, 2, 4 or 8. Of byte swaps: 2, 4 or 8. */
  get bytes(): number {
    return (this.#fields >> BYTES_SHIFT) & REGISTER_MASK;
  }

  set bytes(value: number) {
    this.#fields = (this.#fields & ~(REGISTER_MASK << BYTES_SHIFT)) | (value << BYTES_SHIFT);
  }

  /** Of `movsx`: 8, 16 or 32. */
  get from(): number {
    return (this.#fields >> FROM_SHIFT) & FROM_MASK;
  }

  set from(value: number) {
    this.#fields = (this.#fields & ~(FROM_MASK << FROM_SHIFT)) | (value << FROM_SHIFT);
  }

  /** Of memory accesses: what the program must be allowed to do there. */
  get right(): number {
    if (this.kind === "load") return RIGHT_READ;
    return this.kind === "store" ? RIGHT_WRITE : RIGHT_READ | RIGHT_WRITE;
  }

  #flag(mask: number, value: boolean): void {
    this.#flags = value ? this.#flags | mask : this.#flags & ~mask;
  }

  /** Works on 64 bits rather than 32. */
  get wide(): boolean {
    return (this.#flags & WIDE) !== 0;
  }

  set wide(value: boolean) {
    this.#flag(WIDE, value);
  }

  /** The second operand is `src` rather than `imm`. */
  get register(): boolean {
    return (this.#flags & REGISTER) !== 0;
  }

  set register(value: boolean) {
    this.#flag(REGISTER, value);
  }

  /** Of loads: sign-extends. */
  get signed(): boolean {
    return (this.#flags & SIGNED) !== 0;
  }

  set signed(value: boolean) {
    this.#flag(SIGNED, value);
  }

  /** Of loads: the pointer may point anywhere; what is not there reads as zero. */
  get probe(): boolean {
    return (this.#flags & PROBE) !== 0;
  }

  set probe(value: boolean) {
    this.#flag(PROBE, value);
  }

  /** Of atomics: leaves the old value in a register. Of plain accesses: acquire or release. */
  get fetch(): boolean {
    return (this.#flags & FETCH) !== 0;
  }

  set fetch(value: boolean) {
    this.#flag(FETCH, value);
  }

  // What the analyses find out (facts.ts, demand.ts). Masks have bit n for register n.

  /** Registers whose value fits into 32 bits, before the step. */
  get small(): number {
    return this.#masks & REGISTERS_MASK;
  }

  /** Registers whose value is a known constant or a known distance from the frame pointer, before the step. */
  get known(): number {
    return this.#masks >> KNOWN_SHIFT;
  }

  /** Sets `small` and `known`. */
  know(small: number, known: number): void {
    this.#masks = small | (known << KNOWN_SHIFT);
  }

  /** 32-bit arithmetic gives the whole result, because of what is known about the operands. */
  get exact(): boolean {
    return (this.#flags & EXACT) !== 0;
  }

  set exact(value: boolean) {
    this.#flag(EXACT, value);
  }

  /** Of jumps and selections: so does a 32-bit comparison. */
  get exactComparison(): boolean {
    return (this.#flags & EXACT_COMPARISON) !== 0;
  }

  set exactComparison(value: boolean) {
    this.#flag(EXACT_COMPARISON, value);
  }

  /** The low half of the result depends on the low halves of the operands alone. */
  get lowOnly(): boolean {
    return (this.#flags & LOW_ONLY) !== 0;
  }

  set lowOnly(value: boolean) {
    this.#flag(LOW_ONLY, value);
  }

  /** The register keeps its value. */
  get identity(): boolean {
    return (this.#flags & IDENTITY) !== 0;
  }

  set identity(value: boolean) {
    this.#flag(IDENTITY, value);
  }

  /** The result is known, and written down where it is needed. */
  get implied(): boolean {
    return (this.#flags & IMPLIED) !== 0;
  }

  set implied(value: boolean) {
    this.#flag(IMPLIED, value);
  }

  /** To be computed in 32 bits: because it is exact, or because nobody asks for the upper half. */
  get narrow(): boolean {
    return (this.#flags & NARROW) !== 0;
  }

  set narrow(value: boolean) {
    this.#flag(NARROW, value);
  }

  /** Not to be computed: nobody asks for the result, or it is implied; and there is no other effect. */
  get dead(): boolean {
    return (this.#flags & DEAD) !== 0;
  }

  set dead(value: boolean) {
    this.#flag(DEAD, value);
  }
}

/** A call of a kernel function: `imm` is its number. */
export function isKfunc({ lowering }: Step): boolean {
  return lowering?.kind === "host" && lowering.kfunc === true;
}

/** The register that a step writes, or -1. */
export function definedRegister(step: Step): number {
  switch (step.kind) {
    case "constant":
    case "alu":
    case "endian":
    case "load":
      return step.dst;
    case "select":
      return (step.chosen as Step).dst;
    case "atomic":
      if (step.op === "cmpxchg") return 0;
      return step.fetch ? step.src : -1;
    case "packet":
    case "helper":
    case "local":
    case "register":
      return 0;
    default:
      return -1;
  }
}

/** Whether a step can be left out when nobody reads its result. */
export function isPure(step: Step): boolean {
  return step.kind === "constant" || step.kind === "alu" || step.kind === "endian" || step.kind === "select";
}

/** Whether r1 to r5 are lost (RFC 9669, section 2.2: scratch registers). */
export function clobbersArguments(step: Step): boolean {
  return (
    step.kind === "helper" || step.kind === "local" || step.kind === "register" || step.kind === "packet"
  );
}

/** Whether `target` is a slot of the function where control may go on. */
export function jumps(step: Step): boolean {
  return step.kind === "goto" || step.kind === "jump" || step.kind === "may_goto";
}

/** Whether control may leave the straight line after this step. */
export function endsBlock(step: Step): boolean {
  return step.kind === "exit" || jumps(step);
}

const ARGUMENTS_OF_KFUNC = 5;

/**
 * Reads one instruction. `functionAt` gives the index of the function that starts at a slot, or -1.
 *
 * @throws BpfError code "instruction" or "program", with the slot.
 */
export function readStep(
  instructions: readonly Instruction[],
  slot: number,
  functionAt: (slot: number) => number,
): Step {
  const instruction = instructions[slot] as Instruction;
  const row = rowOf(instruction);
  if (row === undefined) {
    const opcode = instruction.opcode.toString(16).padStart(2, "0");
    throw new BpfError(
      "instruction",
      `instruction ${slot}: opcode 0x${opcode} with these fields is invalid`,
      {
        where: { instruction: slot },
      },
    );
  }
  const step = new Step(instruction, slot);
  fill(step, row, instructions, functionAt);
  if (definedRegister(step) === FRAME_POINTER) {
    throw new BpfError("program", `instruction ${slot}: r10, the frame pointer, cannot be written`, {
      where: { instruction: slot },
    });
  }
  return step;
}

function fill(
  step: Step,
  { semantics }: InstructionRow,
  instructions: readonly Instruction[],
  functionAt: (slot: number) => number,
): void {
  switch (semantics.kind) {
    case "alu":
      step.wide = semantics.width === 64;
      step.register = semantics.source === "reg";
      if (semantics.op === "mov" && !step.register) {
        step.kind = "constant";
        if (!step.wide) step.high = 0;
        return;
      }
      step.kind = "alu";
      step.op = semantics.op;
      step.from = semantics.from ?? 0;
      return;
    case "addr_space_cast":
      // The memory is 32-bit: in every address space a pointer is its low half.
      step.kind = "alu";
      step.op = "mov";
      step.wide = false;
      step.register = true;
      return;
    case "endian":
      step.kind = "endian";
      step.op = semantics.op;
      step.bytes = semantics.size >> 3;
      return;
    case "lddw": {
      const second = instructions[step.slot + 1];
      if (second === undefined) {
        throw new BpfError("instruction", `instruction ${step.slot}: the second slot of lddw is missing`, {
          where: { instruction: step.slot },
        });
      }
      step.kind = "constant";
      step.high = second.imm;
      return;
    }
    case "load":
      step.kind = "load";
      step.bytes = semantics.bytes;
      step.signed = semantics.signed;
      return;
    case "store":
      step.kind = "store";
      step.bytes = semantics.bytes;
      step.register = semantics.source === "reg";
      return;
    case "atomic":
      step.bytes = semantics.bytes;
      step.fetch = semantics.fetch;
      if (semantics.op === "load_acquire" || semantics.op === "store_release") {
        step.kind = semantics.op === "load_acquire" ? "load" : "store";
        step.register = true;
        step.fetch = true;
        return;
      }
      step.kind = "atomic";
      step.op = semantics.op;
      step.wide = semantics.bytes === 8;
      return;
    case "packet":
      step.kind = "packet";
      step.op = semantics.mode;
      step.bytes = semantics.bytes;
      return;
    case "goto":
      step.kind = "goto";
      step.target = step.slot + 1 + (semantics.distance === "imm" ? step.imm : step.offset);
      return;
    case "jump":
      step.kind = "jump";
      step.op = semantics.op;
      step.wide = semantics.width === 64;
      step.register = semantics.source === "reg";
      step.target = step.slot + 1 + step.offset;
      return;
    case "may_goto":
      // Linux removes a `may_goto` that goes nowhere (verifier.c, opt_remove_nops).
      if (step.offset === 0) return;
      step.kind = "may_goto";
      step.target = step.slot + 1 + step.offset;
      return;
    case "call":
      fillCall(step, semantics.target, functionAt);
      return;
    case "exit":
      step.kind = "exit";
      return;
  }
}

function fillCall(
  step: Step,
  target: "helper" | "local" | "kfunc" | "register",
  functionAt: (slot: number) => number,
): void {
  if (target === "local") {
    step.kind = "local";
    step.target = functionAt(step.slot + 1 + step.imm);
    if (step.target < 0) {
      throw new BpfError(
        "program",
        `instruction ${step.slot}: calls slot ${step.slot + 1 + step.imm}, where no function starts`,
        {
          where: { instruction: step.slot },
        },
      );
    }
  } else if (target === "register") {
    step.kind = "register";
  } else {
    step.kind = "helper";
    if (target === "kfunc") {
      step.lowering = { kind: "host", name: `kfunc_${step.imm}`, args: ARGUMENTS_OF_KFUNC, kfunc: true };
    }
  }
}

/** How far apart the two shifts of a pair may stand: compilers put them side by side or nearly so. */
const PAIR_WINDOW = 8;

/**
 * Compilers without 32-bit instructions (`-mcpu=v1` and `v2`) truncate with `lsh 32; rsh 32` and sign-extend with
 * `lsh 32; arsh 32`; later ones still do so for 8 and 16 bits. Such a pair becomes one step, in place of the second.
 */
export function joinShiftPairs(steps: readonly Step[], first: number, end: number): void {
  for (let index = first; index < end; index++) {
    const left = steps[index] as Step;
    if (left.kind !== "alu" || left.op !== "lsh" || left.register) continue;
    const width = left.wide ? 64 : 32;
    const kept = width - left.imm;
    if (kept <= 0 || kept > 32 || kept === width) continue;
    const limit = Math.min(end, index + PAIR_WINDOW);
    for (let next = index + 1; next < limit; next++) {
      const right = steps[next] as Step;
      if (right.kind === "alu" && right.dst === left.dst && !right.register && right.wide === left.wide) {
        if (right.imm === left.imm && (right.op === "rsh" || right.op === "arsh")) {
          if (becomesExtension(right, kept)) left.kind = "nop";
        }
        break;
      }
      if (!isPure(right) && right.kind !== "load" && right.kind !== "nop") break;
      if (right.dst === left.dst || right.src === left.dst) break;
    }
  }
}

function becomesExtension(step: Step, kept: number): boolean {
  if (step.op === "arsh") {
    if (kept !== 8 && kept !== 16 && kept !== 32) return false;
    step.op = "movsx";
    step.from = kept;
    step.register = true;
    step.src = step.dst;
  } else if (kept === 32) {
    step.op = "mov";
    step.wide = false;
    step.register = true;
    step.src = step.dst;
  } else {
    step.op = "and";
    step.imm = 2 ** kept - 1;
    step.high = 0;
  }
  return true;
}
