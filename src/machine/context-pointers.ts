/**
 * Which loads and stores of a program go through its context pointer, for programs that no verifier has looked at. A verified program's are known
 * from the proof.
 *
 * A register, or an 8-byte slot of the stack, counts if it holds the context on every way to an instruction: r1 where the program begins, what is copied,
 * spilled and filled from there, and what all callers of a function hand to it. Pointers into the frame are followed by their distance from its end, and
 * lengths as constants, so that a store and a helper that writes (`write` in the table of prototypes) spoil just the slots they touch. Where the distance is
 * unknown they spoil all, and so does what is called with such a pointer and may write through it: functions, callbacks, kernel functions. The kernel takes
 * no instruction that meets the context on one way and something else on another, so for what it would take, nothing is said that is wrong.
 */
import {
  FRAME_POINTER,
  type Instruction,
  type InstructionRow,
  type Semantics,
  isWide,
  rowOf,
} from "../isa/index.ts";
import { type HelperContext, prototypeOf } from "../uapi/index.ts";
import type { ProgramImage } from "./image.ts";

/** r1 to r5, which calls hand over, and r0 to r5, which they leave without meaning. */
const ARGUMENTS = 0b111110;
const CLOBBERED = 0b111111;
const FRAME_BIT = 1 << FRAME_POINTER;
const SLOT = 8;
const SLOTS = 64;
const FRAME_SIZE = SLOT * SLOTS;
const REGISTERS = 11;
/** Of a dynptr. */
const DYNPTR_SIZE = 16;

/** What is known before an instruction. Sets of registers are bits, slots count from the end of the frame. */
interface Known {
  /** Registers that hold the context. */
  context: number;
  /** Registers that may point into a frame. */
  frame: number;
  /** What registers hold, if that is known: constants, and of those that point into this frame the distance from its end. */
  numbers: (number | undefined)[];
  /** Slots that hold the context. */
  slots: bigint;
}

/** Slots of the loads and stores, in order. */
export function contextAccessesOf({ instructions, functions, type, attachType }: ProgramImage): number[] {
  const [main] = functions;
  if (main === undefined || type === undefined) return [];
  const calls: HelperContext = { type, ...(attachType === undefined ? {} : { attachType }) };
  const before = new Array<Known | undefined>(instructions.length).fill(undefined);
  const pending = [main.start];
  before[main.start] = { context: 1 << 1, frame: FRAME_BIT, numbers: atEntry(), slots: 0n };
  const meet = (slot: number, known: Known): void => {
    const old = before[slot];
    if (old === undefined) {
      before[slot] = { ...known, numbers: [...known.numbers] };
      pending.push(slot);
      return;
    }
    const { context, frame, slots } = old;
    let changed = false;
    old.numbers.forEach((number, register) => {
      if (number === undefined || number === known.numbers[register]) return;
      old.numbers[register] = undefined;
      changed = true;
    });
    old.context &= known.context;
    old.frame |= known.frame;
    old.slots &= known.slots;
    if (changed || old.context !== context || old.frame !== frame || old.slots !== slots) pending.push(slot);
  };
  // What is pointed to is called by helpers, with arguments of theirs; it is entered with nothing known.
  instructions.forEach((instruction, slot) => {
    const { semantics } = rowOf(instruction) ?? {};
    if (semantics?.kind === "lddw" && semantics.value === "func")
      meet(slot + 1 + instruction.imm, {
        context: 0,
        frame: CLOBBERED | FRAME_BIT,
        numbers: atEntry(),
        slots: 0n,
      });
  });
  for (let slot = pending.pop(); slot !== undefined; slot = pending.pop()) {
    const instruction = instructions[slot] as Instruction;
    const { semantics } = rowOf(instruction) as InstructionRow;
    if (semantics.kind === "exit") continue;
    const current = before[slot] as Known;
    const known = { ...current, numbers: [...current.numbers] };
    if (semantics.kind === "call" && semantics.target === "local") {
      const frame = (known.frame & ARGUMENTS) | FRAME_BIT;
      // Distances are from the end of the caller's frame, not of the callee's.
      const numbers = atEntry();
      meet(slot + 1 + instruction.imm, { context: known.context & ARGUMENTS, frame, numbers, slots: 0n });
    }
    step(known, semantics, instruction, calls);
    if (semantics.kind === "goto") {
      meet(slot + 1 + (semantics.distance === "imm" ? instruction.imm : instruction.offset), known);
      continue;
    }
    if (semantics.kind === "jump" || semantics.kind === "may_goto")
      meet(slot + 1 + instruction.offset, known);
    meet(slot + (isWide(instruction) ? 2 : 1), known);
  }
  return before.flatMap((known, slot) =>
    known !== undefined && isAccess(known, instructions[slot]) ? slot : [],
  );
}

function isAccess({ context }: Known, instruction: Instruction | undefined): boolean {
  if (instruction === undefined) return false;
  const kind = rowOf(instruction)?.semantics.kind;
  if (kind === "load") return (context & (1 << instruction.src)) !== 0;
  return kind === "store" && (context & (1 << instruction.dst)) !== 0;
}

function atEntry(): Known["numbers"] {
  const numbers = new Array<number | undefined>(REGISTERS).fill(undefined);
  numbers[FRAME_POINTER] = 0;
  return numbers;
}

function step(known: Known, semantics: Semantics, instruction: Instruction, calls: HelperContext): void {
  const { dst, src, offset, imm } = instruction;
  switch (semantics.kind) {
    case "alu": {
      const whole = semantics.width === 64 && offset === 0;
      const constant = semantics.source === "imm";
      const copies = whole && semantics.op === "mov" && !constant;
      const moves = whole && semantics.op === "add" && constant;
      const number = known.numbers[dst];
      let after = copies ? known.numbers[src] : undefined;
      if (moves && number !== undefined) after = number + imm;
      // What moves into 32 bits is the number itself if it is not negative.
      if (constant && semantics.op === "mov" && (whole || imm >= 0)) after = imm;
      const source = !constant && has(known.frame, src);
      const frame = semantics.op === "mov" ? source : source || has(known.frame, dst);
      assign(known, dst, copies && has(known.context, src), frame, after);
      return;
    }
    case "load": {
      const at = distance(known, src, offset);
      const slot = semantics.bytes === SLOT && at !== undefined ? slotAt(at) : undefined;
      const filled = slot !== undefined && (known.slots & (1n << slot)) !== 0n;
      // A pointer into the frame may have been spilled there.
      assign(known, dst, filled, has(known.frame, src) && !filled);
      return;
    }
    case "store":
    case "atomic":
      store(known, semantics, instruction);
      return;
    case "call":
      if (semantics.target === "helper") helperCall(known, imm, calls);
      else if ((known.frame & ARGUMENTS) !== 0) known.slots = 0n;
      for (let register = 0; register <= 5; register++) assign(known, register, false, false);
      return;
    case "jump":
    case "goto":
    case "may_goto":
    case "exit":
      return;
    default:
      assign(known, dst, false, false);
  }
}

function store(
  known: Known,
  semantics: Extract<Semantics, { kind: "store" | "atomic" }>,
  { dst, src, offset }: Instruction,
): void {
  if (has(known.frame, dst)) {
    const at = distance(known, dst, offset);
    spoil(known, at, semantics.bytes);
    const spilled =
      semantics.kind === "store" &&
      semantics.source === "reg" &&
      semantics.bytes === SLOT &&
      has(known.context, src);
    const slot = spilled && at !== undefined ? slotAt(at) : undefined;
    if (slot !== undefined) known.slots |= 1n << slot;
  }
  if (semantics.kind === "atomic" && (semantics.fetch || semantics.op === "load_acquire")) {
    for (const register of [0, dst, src])
      if (register !== FRAME_POINTER) assign(known, register, false, has(known.frame, dst));
  }
}

/** A helper writes where its prototype says so, a callback that it calls wherever it gets a pointer to. */
function helperCall(known: Known, id: number, calls: HelperContext): void {
  const args = prototypeOf(id, calls)?.args ?? [];
  const callsBack = args.includes("ptr_to_func");
  for (let register = 1; register <= 5; register++) {
    if (!has(known.frame, register)) continue;
    const words = args[register - 1]?.split(" ") ?? [];
    if (callsBack) known.slots = 0n;
    else if (words.includes("write")) {
      const fixed = words.find((word) => word.startsWith("size="))?.slice(5);
      const length =
        args[register]?.startsWith("const_size") === true ? known.numbers[register + 1] : undefined;
      const size = words[0] === "ptr_to_dynptr" ? DYNPTR_SIZE : fixed === undefined ? length : Number(fixed);
      spoil(known, distance(known, register, 0), size ?? FRAME_SIZE);
    }
  }
}

/** How far from the end of the frame an access through a register is, if that is known. */
function distance({ frame, numbers }: Known, register: number, offset: number): number | undefined {
  const number = numbers[register];
  return has(frame, register) && number !== undefined ? number + offset : undefined;
}

/** Slots that a write touches hold nothing known any more; all, if nobody knows where it is. */
function spoil(known: Known, at: number | undefined, size: number): void {
  if (at === undefined) {
    known.slots = 0n;
    return;
  }
  const first = Math.max(at, -FRAME_SIZE);
  const last = Math.min(at + size, 0) - 1;
  for (let byte = first - (first & (SLOT - 1)); byte <= last; byte += SLOT) {
    const slot = slotAt(byte);
    if (slot !== undefined) known.slots &= ~(1n << slot);
  }
}

const has = (registers: number, register: number): boolean => (registers & (1 << register)) !== 0;

function assign(known: Known, register: number, context: boolean, frame: boolean, number?: number): void {
  const bit = 1 << register;
  known.numbers[register] = number;
  known.context = context ? known.context | bit : known.context & ~bit;
  known.frame = frame ? known.frame | bit : known.frame & ~bit;
}

/** The slot that begins at an offset from the frame pointer. */
function slotAt(offset: number): bigint | undefined {
  const slot = -offset / SLOT - 1;
  return Number.isInteger(slot) && slot >= 0 && slot < SLOTS ? BigInt(slot) : undefined;
}
