/**
 * What an instruction on a path gives to a register or stack slot, and out of what. This is the definition half of a def-use
 * walk: `origin.ts` follows it from instruction to instruction. Addresses of loads and stores are known from the state before
 * the instruction, so spills and fills are followed exactly.
 */
import { CLASSES, MODES, OPCODE_LDDW } from "../isa/index.ts";
import { helperName } from "../uapi/index.ts";
import { type Location, frameOf, register, sameLocation, slotOf } from "./location.ts";
import type { PathStep } from "./path.ts";

export type EffectKind =
  /** A constant, an address of a map or function. */
  | "constant"
  /** A copy of all 64 bits. */
  | "move"
  /** A copy of the lower 32 bits, or with an extended sign: no pointer survives it. */
  | "truncate"
  /** Computed from `from`, the pointer or first operand first. */
  | "arithmetic"
  /** 32-bit arithmetic. */
  | "arithmetic32"
  | "load"
  /** Stored to the stack. */
  | "spill"
  /** A part of eight bytes was stored. */
  | "partial"
  /** Loaded from the stack. */
  | "fill"
  /** Fewer than eight bytes of a slot were loaded. */
  | "partial_fill"
  | "call_result"
  /** A call leaves r1 to r5 unreadable. */
  | "clobbered"
  /** An argument of a function of the program, or what it returned. */
  | "argument"
  | "returned"
  | "atomic";

/** What {@link Effect.callee} is for a kernel function, whose name the program tells. */
export const KERNEL_FUNCTION = "a kernel function";

export interface Effect {
  readonly kind: EffectKind;
  readonly from: readonly Location[];
  /** Name of what was called. */
  readonly callee?: string;
}

const BYTES = [4, 2, 1, 8] as const;

export function accessSize(opcode: number): number {
  return BYTES[(opcode >> 3) & 3] as number;
}

const CALL = 0x85;
const EXIT = 0x95;
const FETCH = 1;
const CMPXCHG = 0xf1;
const LOAD_ACQUIRE = 0x100;

export function isCall({ instruction }: PathStep): boolean {
  return instruction.opcode === CALL;
}

/** The helper that a step calls, without "bpf_"; undefined if it calls none. */
export function helperOf({ instruction }: PathStep): string | undefined {
  if (instruction.opcode !== CALL || instruction.src !== 0) return undefined;
  return helperName(instruction.imm);
}

/** A conditional jump. */
export function isBranch({ instruction: { opcode } }: PathStep): boolean {
  const cls = opcode & 7;
  const operation = opcode & 0xf0;
  return (
    (cls === CLASSES.jmp || cls === CLASSES.jmp32) &&
    operation !== 0 &&
    operation !== 0x80 &&
    operation !== 0x90
  );
}

/** The stack slot at a constant distance from a pointer; undefined if it is no such pointer. */
function stackSlot(
  { state }: PathStep,
  regno: number,
  offset: number,
): { location: Location; aligned: boolean } | undefined {
  const reg = state.frames.at(-1)?.registers[regno];
  if (reg === undefined || reg.type !== "fp" || !reg.constant) return undefined;
  const at = reg.offset + Number(BigInt.asIntN(64, reg.value.value)) + offset;
  return { location: slotOf(reg.frame, at), aligned: at % 8 === 0 };
}

/**
 * What `step` made of `target`, as it is before `next`; undefined if it left it alone.
 */
export function effectOf(step: PathStep, next: PathStep | undefined, target: Location): Effect | undefined {
  const { opcode } = step.instruction;
  const frame = frameOf(step.state);
  switch (opcode & 7) {
    case CLASSES.alu:
    case CLASSES.alu64:
      return arithmetic(step, frame, target);
    case CLASSES.ldx:
      return load(step, frame, target);
    case CLASSES.ld:
      if (opcode === OPCODE_LDDW) {
        return sameLocation(target, register(frame, step.instruction.dst))
          ? { kind: "constant", from: [] }
          : undefined;
      }
      return clobber(frame, target, "a packet load");
    case CLASSES.st:
    case CLASSES.stx:
      return store(step, frame, target);
    default:
      return transfer(step, next, frame, target);
  }
}

function arithmetic({ instruction }: PathStep, frame: number, target: Location): Effect | undefined {
  const { opcode, dst, src, offset } = instruction;
  const own = register(frame, dst);
  if (!sameLocation(target, own)) return undefined;
  const wide = (opcode & 7) === CLASSES.alu64;
  const operation = opcode & 0xf0;
  const other = (opcode & 8) !== 0 && operation !== 0xd0 && operation !== 0x80;
  if (operation === 0xb0) {
    if (!other) return { kind: "constant", from: [] };
    // addr_space_cast has the form of a move with an offset.
    const exact = wide && (offset === 0 || offset === 1);
    return { kind: exact ? "move" : "truncate", from: [register(frame, src)] };
  }
  return {
    kind: wide ? "arithmetic" : "arithmetic32",
    from: other ? [own, register(frame, src)] : [own],
  };
}

function load(step: PathStep, frame: number, target: Location): Effect | undefined {
  const { dst, src, offset, opcode } = step.instruction;
  if (!sameLocation(target, register(frame, dst))) return undefined;
  const slot = stackSlot(step, src, offset);
  if (slot === undefined) return { kind: "load", from: [] };
  const whole = accessSize(opcode) === 8 && slot.aligned && (opcode & 0xe0) === MODES.mem;
  return { kind: whole ? "fill" : "partial_fill", from: [slot.location] };
}

function store(step: PathStep, frame: number, target: Location): Effect | undefined {
  const { dst, src, offset, opcode, imm } = step.instruction;
  const atomic = (opcode & 0xe0) === MODES.atomic;
  if (atomic && target.kind === "register") {
    if (imm === LOAD_ACQUIRE) {
      return sameLocation(target, register(frame, dst)) ? { kind: "atomic", from: [] } : undefined;
    }
    const loaded = imm === CMPXCHG ? 0 : (imm & FETCH) !== 0 ? src : -1;
    return sameLocation(target, register(frame, loaded)) ? { kind: "atomic", from: [] } : undefined;
  }
  if (target.kind !== "slot" || imm === LOAD_ACQUIRE) return undefined;
  const slot = stackSlot(step, dst, offset);
  if (slot === undefined || !sameLocation(slot.location, target)) return undefined;
  if (atomic) return { kind: "atomic", from: [] };
  const whole = accessSize(opcode) === 8 && slot.aligned;
  if ((opcode & 7) === CLASSES.st) return { kind: whole ? "constant" : "partial", from: [] };
  return { kind: whole ? "spill" : "partial", from: [register(frame, src)] };
}

function clobber(frame: number, target: Location, callee: string): Effect | undefined {
  if (target.kind !== "register" || target.frame !== frame || target.regno > 5) return undefined;
  return { kind: target.regno === 0 ? "call_result" : "clobbered", from: [], callee };
}

/** Calls and returns; jumps give nothing to anybody. */
function transfer(
  step: PathStep,
  next: PathStep | undefined,
  frame: number,
  target: Location,
): Effect | undefined {
  const { opcode, src, imm } = step.instruction;
  if (target.kind !== "register") return undefined;
  if (opcode === CALL) {
    const after = next === undefined ? frame : frameOf(next.state);
    // A function of the program, or a callback, begins.
    if (after > frame) {
      if (target.frame !== after) return undefined;
      if (src !== 1 || target.regno === 0 || target.regno > 5) return { kind: "argument", from: [] };
      return { kind: "argument", from: [register(frame, target.regno)] };
    }
    return clobber(
      frame,
      target,
      src === 0 ? `bpf_${helperName(imm)}` : src === 1 ? "the function" : KERNEL_FUNCTION,
    );
  }
  if (opcode === EXIT && next !== undefined && frameOf(next.state) < frame) {
    const caller = frameOf(next.state);
    if (target.frame !== caller || target.regno > 5) return undefined;
    if (target.regno === 0) return { kind: "returned", from: [register(frame, 0)] };
    return { kind: "clobbered", from: [], callee: "the function" };
  }
  return undefined;
}
