/**
 * Which loads and stores of a program go through its context pointer, for programs that no verifier has looked at. A verified program's are known
 * from the proof.
 *
 * A register, or an 8-byte slot of the stack, counts if it holds the context on every way to an instruction: r1 where the program begins, what is copied,
 * spilled and filled from there, and what all callers of a function hand to it. What cannot be followed is left out: a store through a pointer that may lead
 * into the frame makes all its slots unknown, and a callback's arguments are what its helper gives. The kernel takes no instruction that meets the
 * context on one way and something else on another, so for what it would take, nothing is said that is wrong.
 */
import {
  FRAME_POINTER,
  type Instruction,
  type InstructionRow,
  type Semantics,
  isWide,
  rowOf,
} from "../isa/index.ts";
import type { ProgramImage } from "./image.ts";

/** r1 to r5, which calls hand over, and r0 to r5, which they leave without meaning. */
const ARGUMENTS = 0b111110;
const CLOBBERED = 0b111111;
const FRAME_BIT = 1 << FRAME_POINTER;
const SLOT = 8;
const SLOTS = 64;

/** What is known before an instruction. Sets of registers are bits, slots count from the end of the frame. */
interface Known {
  /** Registers that hold the context. */
  context: number;
  /** Registers that may point into the frame. */
  frame: number;
  /** Slots that hold the context. */
  slots: bigint;
}

/** Slots of the loads and stores, in order. */
export function contextAccessesOf({ instructions, functions }: ProgramImage): number[] {
  const [main] = functions;
  if (main === undefined) return [];
  const before = new Array<Known | undefined>(instructions.length).fill(undefined);
  const pending = [main.start];
  before[main.start] = { context: 1 << 1, frame: FRAME_BIT, slots: 0n };
  const meet = (slot: number, known: Known): void => {
    const old = before[slot];
    if (old === undefined) {
      before[slot] = { ...known };
      pending.push(slot);
      return;
    }
    const { context, frame, slots } = old;
    old.context &= known.context;
    old.frame |= known.frame;
    old.slots &= known.slots;
    if (old.context !== context || old.frame !== frame || old.slots !== slots) pending.push(slot);
  };
  // What is pointed to is called by helpers, with arguments of theirs; it is entered with nothing known.
  instructions.forEach((instruction, slot) => {
    const { semantics } = rowOf(instruction) ?? {};
    if (semantics?.kind === "lddw" && semantics.value === "func")
      meet(slot + 1 + instruction.imm, { context: 0, frame: CLOBBERED | FRAME_BIT, slots: 0n });
  });
  for (let slot = pending.pop(); slot !== undefined; slot = pending.pop()) {
    const instruction = instructions[slot] as Instruction;
    const { semantics } = rowOf(instruction) as InstructionRow;
    if (semantics.kind === "exit") continue;
    const known = { ...(before[slot] as Known) };
    if (semantics.kind === "call" && semantics.target === "local") {
      const frame = (known.frame & ARGUMENTS) | FRAME_BIT;
      meet(slot + 1 + instruction.imm, { context: known.context & ARGUMENTS, frame, slots: 0n });
    }
    step(known, semantics, instruction);
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

function step(known: Known, semantics: Semantics, { dst, src, offset }: Instruction): void {
  switch (semantics.kind) {
    case "alu": {
      const copies =
        semantics.op === "mov" && semantics.source === "reg" && semantics.width === 64 && offset === 0;
      const frame = copies ? has(known.frame, src) : has(known.frame, dst) || has(known.frame, src);
      assign(known, dst, copies && has(known.context, src), frame);
      return;
    }
    case "load": {
      const at = has(FRAME_BIT, src) && semantics.bytes === SLOT ? slotAt(offset) : undefined;
      // A pointer into the frame that was spilled there is not followed.
      const filled = at !== undefined && (known.slots & (1n << at)) !== 0n;
      assign(known, dst, filled, src === FRAME_POINTER && !filled);
      return;
    }
    case "store":
    case "atomic":
      store(known, semantics, dst, src, offset);
      return;
    case "call":
      if (semantics.target !== "helper" && (known.frame & ARGUMENTS) !== 0) known.slots = 0n;
      known.context &= ~CLOBBERED;
      known.frame &= ~CLOBBERED;
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
  dst: number,
  src: number,
  offset: number,
): void {
  if (dst === FRAME_POINTER) {
    const spilled =
      semantics.kind === "store" &&
      semantics.source === "reg" &&
      semantics.bytes === SLOT &&
      has(known.context, src);
    // A store that is narrower or lies across two slots spoils what it touches.
    for (const byte of [offset, offset + semantics.bytes - 1]) {
      const slot = slotAt(byte - (byte & (SLOT - 1)));
      if (slot !== undefined) known.slots &= ~(1n << slot);
    }
    const slot = slotAt(offset);
    if (spilled && slot !== undefined) known.slots |= 1n << slot;
  } else if (has(known.frame, dst)) known.slots = 0n;
  if (semantics.kind === "atomic" && (semantics.fetch || semantics.op === "load_acquire")) {
    for (const register of [0, dst, src])
      if (register !== FRAME_POINTER) assign(known, register, false, false);
  }
}

const has = (registers: number, register: number): boolean => (registers & (1 << register)) !== 0;

function assign(known: Known, register: number, context: boolean, frame: boolean): void {
  const bit = 1 << register;
  known.context = context ? known.context | bit : known.context & ~bit;
  known.frame = frame ? known.frame | bit : known.frame & ~bit;
}

/** The slot that begins at an offset from the frame pointer. */
function slotAt(offset: number): bigint | undefined {
  const slot = -offset / SLOT - 1;
  return Number.isInteger(slot) && slot >= 0 && slot < SLOTS ? BigInt(slot) : undefined;
}
