/**
 * What instructions do, said a second time and as plainly as possible: RFC 9669 in BigInt arithmetic, driven by the
 * rows of the instruction table. Engines are tested against this model; it shares no code with them.
 */
import {
  type AluOp,
  type AtomicOp,
  type Instruction,
  type InstructionRow,
  type JumpOp,
  rowOf,
} from "../../src/isa/index.ts";

/** Operands at which arithmetic goes wrong first: ends of ranges, sign bits, shift counts. */
export const EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  31n,
  32n,
  33n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x180000000n,
  0x0123456789abcdefn,
  0xfedcba9876543210n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xffffffff80000000n,
  0xffffffffffffffffn,
];

/** The same for the 32-bit immediate. */
export const IMM_EDGES: readonly number[] = [
  0, 1, -1, 2, 7, 31, 32, 63, 64, 0x7f, -128, 0x7fff, -0x8000, 0x7fffffff, -0x80000000, 0x12345678,
];

export const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const low = (bits: number, value: bigint): bigint => BigInt.asUintN(bits, value);
const signed = (bits: number, value: bigint): bigint => BigInt.asIntN(bits, value);

/** The 64-bit register after an arithmetic instruction; `b` is the source register or the sign-extended immediate. */
export function alu(op: AluOp, width: 32 | 64, a: bigint, b: bigint, from: 8 | 16 | 32 = 32): bigint {
  const x = low(width, a);
  const y = low(width, b);
  const sx = signed(width, a);
  const sy = signed(width, b);
  const shift = y % BigInt(width);
  const results: Record<AluOp, () => bigint> = {
    add: () => x + y,
    sub: () => x - y,
    mul: () => x * y,
    div: () => (y === 0n ? 0n : x / y),
    sdiv: () => (sy === 0n ? 0n : sx / sy),
    or: () => x | y,
    and: () => x & y,
    lsh: () => x << shift,
    rsh: () => x >> shift,
    arsh: () => sx >> shift,
    neg: () => -x,
    mod: () => (y === 0n ? x : x % y),
    smod: () => (sy === 0n ? sx : sx % sy),
    xor: () => x ^ y,
    mov: () => y,
    movsx: () => signed(from, b),
  };
  return low(width, results[op]());
}

export function jumpTaken(op: JumpOp, width: 32 | 64, a: bigint, b: bigint): boolean {
  const x = low(width, a);
  const y = low(width, b);
  const sx = signed(width, a);
  const sy = signed(width, b);
  const results: Record<JumpOp, boolean> = {
    jeq: x === y,
    jne: x !== y,
    jgt: x > y,
    jge: x >= y,
    jlt: x < y,
    jle: x <= y,
    jsgt: sx > sy,
    jsge: sx >= sy,
    jslt: sx < sy,
    jsle: sx <= sy,
    jset: (x & y) !== 0n,
  };
  return results[op];
}

/** `le`, `be` and `bswap` on a little-endian machine. */
export function endian(op: "le" | "be" | "swap", size: 16 | 32 | 64, value: bigint): bigint {
  const kept = low(size, value);
  if (op === "le") return kept;
  let swapped = 0n;
  for (let bit = 0; bit < size; bit += 8) swapped = (swapped << 8n) | ((kept >> BigInt(bit)) & 0xffn);
  return swapped;
}

/** The value in memory, the source register and r0 after an atomic operation. */
export function atomic(
  op: AtomicOp,
  fetch: boolean,
  bytes: number,
  operands: { memory: bigint; source: bigint; r0: bigint },
): { memory: bigint; source: bigint; r0: bigint } {
  const bits = bytes * 8;
  const memory = low(bits, operands.memory);
  const source = low(bits, operands.source);
  if (op === "cmpxchg") {
    return {
      memory: memory === low(bits, operands.r0) ? source : memory,
      source: operands.source,
      r0: memory,
    };
  }
  const results: Record<Exclude<AtomicOp, "cmpxchg" | "load_acquire">, bigint> = {
    add: memory + source,
    or: memory | source,
    and: memory & source,
    xor: memory ^ source,
    xchg: source,
    store_release: source,
  };
  const stored = op === "load_acquire" ? memory : low(bits, results[op]);
  return { memory: stored, source: fetch ? memory : operands.source, r0: operands.r0 };
}

/** Memory that a modelled program may touch. */
export interface ReferenceMemory {
  readonly base: bigint;
  readonly bytes: Uint8Array;
}

export interface ReferenceState {
  /** r0 to r10, unsigned. */
  readonly registers: bigint[];
  readonly memory: ReferenceMemory;
  /** Index of the next instruction slot. */
  pc: number;
  /** The callers' r6 to r9 and the slots that they go on at. */
  readonly frames: { readonly saved: readonly bigint[]; readonly returnTo: number }[];
}

/** Why a modelled run ended. */
export type ReferenceEnd = "exit" | "steps" | "access" | "depth" | "unsupported";

function locate({ memory }: ReferenceState, address: bigint, bytes: number): number | undefined {
  const at = address - memory.base;
  return at >= 0n && at + BigInt(bytes) <= BigInt(memory.bytes.length) ? Number(at) : undefined;
}

function readBytes(memory: ReferenceMemory, at: number, bytes: number): bigint {
  let value = 0n;
  for (let index = bytes - 1; index >= 0; index--) {
    value = (value << 8n) | BigInt(memory.bytes[at + index] as number);
  }
  return value;
}

function writeBytes(memory: ReferenceMemory, at: number, bytes: number, value: bigint): void {
  for (let index = 0; index < bytes; index++) {
    memory.bytes[at + index] = Number((value >> BigInt(8 * index)) & 0xffn);
  }
}

/** Runs one instruction. Undefined to go on, or why the run ends. */
export function step(program: readonly Instruction[], state: ReferenceState): ReferenceEnd | undefined {
  const instruction = program[state.pc];
  const row = instruction === undefined ? undefined : rowOf(instruction);
  if (instruction === undefined || row === undefined) return "unsupported";
  return perform(row, instruction, program, state);
}

function perform(
  { semantics }: InstructionRow,
  instruction: Instruction,
  program: readonly Instruction[],
  state: ReferenceState,
): ReferenceEnd | undefined {
  const { registers } = state;
  const { dst, src, offset, imm } = instruction;
  const dstValue = registers[dst] as bigint;
  const srcValue = registers[src] as bigint;
  const immValue = u64(BigInt(imm));
  let next = state.pc + 1;
  switch (semantics.kind) {
    case "alu": {
      const operand = semantics.source === "reg" ? srcValue : immValue;
      registers[dst] = alu(semantics.op, semantics.width, dstValue, operand, semantics.from);
      break;
    }
    case "endian":
      registers[dst] = endian(semantics.op, semantics.size, dstValue);
      break;
    case "addr_space_cast":
      registers[dst] = low(32, srcValue);
      break;
    case "lddw":
      registers[dst] = u64((BigInt(program[state.pc + 1]?.imm ?? 0) << 32n) | low(32, immValue));
      next++;
      break;
    case "load": {
      const at = locate(state, u64(srcValue + BigInt(offset)), semantics.bytes);
      if (at === undefined) return "access";
      const value = readBytes(state.memory, at, semantics.bytes);
      registers[dst] = semantics.signed ? u64(signed(semantics.bytes * 8, value)) : value;
      break;
    }
    case "store": {
      const at = locate(state, u64(dstValue + BigInt(offset)), semantics.bytes);
      if (at === undefined) return "access";
      writeBytes(state.memory, at, semantics.bytes, semantics.source === "reg" ? srcValue : immValue);
      break;
    }
    case "atomic": {
      const loads = semantics.op === "load_acquire";
      const at = locate(state, u64((loads ? srcValue : dstValue) + BigInt(offset)), semantics.bytes);
      if (at === undefined) return "access";
      const memory = readBytes(state.memory, at, semantics.bytes);
      const before = { memory, source: srcValue, r0: registers[0] as bigint };
      const after = atomic(semantics.op, semantics.fetch, semantics.bytes, before);
      writeBytes(state.memory, at, semantics.bytes, after.memory);
      if (loads) registers[dst] = memory;
      if (semantics.fetch && semantics.op !== "cmpxchg") registers[src] = after.source;
      if (semantics.op === "cmpxchg") registers[0] = after.r0;
      break;
    }
    case "goto":
      next += semantics.distance === "imm" ? imm : offset;
      break;
    case "jump": {
      const operand = semantics.source === "reg" ? srcValue : immValue;
      if (jumpTaken(semantics.op, semantics.width, dstValue, operand)) next += offset;
      break;
    }
    case "call":
      if (semantics.target !== "local") return "unsupported";
      if (state.frames.length === 7) return "depth";
      state.frames.push({ saved: registers.slice(6, 10), returnTo: next });
      registers[10] = u64((registers[10] as bigint) - 512n);
      next += imm;
      break;
    case "exit": {
      const frame = state.frames.pop();
      if (frame === undefined) return "exit";
      registers.splice(6, 4, ...frame.saved);
      registers[10] = u64((registers[10] as bigint) + 512n);
      next = frame.returnTo;
      break;
    }
    default:
      return "unsupported";
  }
  state.pc = next;
  return undefined;
}

/** Runs a program from slot 0 with these registers over this memory (which it changes). */
export function runReference(
  program: readonly Instruction[],
  registers: readonly bigint[],
  memory: ReferenceMemory,
  maxSteps = 100_000,
): { readonly end: ReferenceEnd; readonly state: ReferenceState; readonly steps: number } {
  const state: ReferenceState = { registers: [...registers], memory, pc: 0, frames: [] };
  for (let steps = 1; steps <= maxSteps; steps++) {
    const end = step(program, state);
    if (end !== undefined) return { end, state, steps };
  }
  return { end: "steps", state, steps: maxSteps };
}
