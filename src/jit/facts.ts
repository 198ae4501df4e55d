/**
 * What is known about the registers' values: a forward data-flow analysis. For each register either its exact value,
 * or its distance from the frame pointer, or how many of its low bits may be set. From that follows which values fit
 * into 32 bits, where WebAssembly's i32 instructions do and the machine needs no conversions, which addresses are
 * constant, and which map a lookup is about.
 *
 * The analysis is optimistic and iterates to a fixed point. At loop headers numbers of bits are rounded up so that
 * few rounds suffice; after MAX_ROUNDS everything is unknown at loop headers, which is a fixed point after one more
 * round, so the time is bounded for every graph.
 */
import { FRAME_POINTER, REGISTER_COUNT } from "../isa/index.ts";
import type { Shape } from "./dominators.ts";
import { type Step, clobbersArguments, definedRegister, isPure } from "./steps.ts";
import type { ArrayMap, CompileInput, Lowering } from "./types.ts";

/** Nothing is known but the number of bits; the value is `high:low`; the value is the frame pointer plus `low`. */
export const ANY = 0;
export const EXACT = 1;
export const FRAME = 2;

const MAX_ROUNDS = 16;

// Below the frame pointer there are at least 64 KiB of memory (FIRST_ADDRESS), so a pointer that lies so far below it
// is still a positive 32-bit number. Above nothing is known.
const LOWEST_FRAME_OFFSET = -0x10000;

/** The state at one point of the program. */
export class Facts {
  readonly kind: Uint8Array = new Uint8Array(REGISTER_COUNT);
  /** Number of low bits that may be set, 0 to 64. */
  readonly bits: Uint8Array = new Uint8Array(REGISTER_COUNT);
  readonly low: Int32Array = new Int32Array(REGISTER_COUNT);
  readonly high: Int32Array = new Int32Array(REGISTER_COUNT);
  /** Mask of the registers with at most 32 bits. */
  small: number = (1 << REGISTER_COUNT) - 1;
  /** Mask of the registers that need no local, since their value can be written down. */
  known = 0;

  #set(register: number, kind: number, bits: number): void {
    const bit = 1 << register;
    this.kind[register] = kind;
    this.bits[register] = bits;
    this.small = bits <= 32 ? this.small | bit : this.small & ~bit;
    this.known = kind === ANY ? this.known & ~bit : this.known | bit;
  }

  setAny(register: number, bits: number): void {
    this.#set(register, ANY, bits);
  }

  setExact(register: number, low: number, high: number): void {
    this.low[register] = low;
    this.high[register] = high;
    this.#set(register, EXACT, bitsOf(low, high));
  }

  setFrame(register: number, offset: number): void {
    if (offset > 0 || offset < LOWEST_FRAME_OFFSET) {
      this.setAny(register, 64);
      return;
    }
    this.low[register] = offset;
    this.high[register] = 0;
    this.#set(register, FRAME, 32);
  }

  copy(target: number, source: number): void {
    this.low[target] = this.low[source] as number;
    this.high[target] = this.high[source] as number;
    this.#set(target, this.kind[source] as number, this.bits[source] as number);
  }

  /** Takes over all registers from arrays that hold them from an index on; of values that are not known there is no `low` and `high`. */
  load(from: number, kind: Uint8Array, bits: Uint8Array, low: Int32Array, high: Int32Array): void {
    let small = 0;
    let known = 0;
    for (let register = 0; register < REGISTER_COUNT; register++) {
      const at = from + register;
      const kindThere = kind[at] as number;
      this.kind[register] = kindThere;
      this.bits[register] = bits[at] as number;
      if ((bits[at] as number) <= 32) small |= 1 << register;
      if (kindThere === ANY) continue;
      known |= 1 << register;
      this.low[register] = low[at] as number;
      this.high[register] = kindThere === EXACT ? (high[at] as number) : 0;
    }
    this.small = small;
    this.known = known;
  }
}

function bitsOf(low: number, high: number): number {
  return high === 0 ? 32 - Math.clz32(low) : 64 - Math.clz32(high);
}

/** The states at the entries of all blocks. */
export class BlockFacts {
  readonly #kind: Uint8Array;
  readonly #bits: Uint8Array;
  readonly #low: Int32Array;
  readonly #high: Int32Array;
  readonly #reached: Uint8Array;

  constructor(blocks: number) {
    this.#kind = new Uint8Array(blocks * REGISTER_COUNT);
    this.#bits = new Uint8Array(blocks * REGISTER_COUNT);
    this.#low = new Int32Array(blocks * REGISTER_COUNT);
    this.#high = new Int32Array(blocks * REGISTER_COUNT);
    this.#reached = new Uint8Array(blocks);
  }

  load(block: number, into: Facts): void {
    into.load(block * REGISTER_COUNT, this.#kind, this.#bits, this.#low, this.#high);
  }

  kindOf(block: number, register: number): number {
    return this.#kind[block * REGISTER_COUNT + register] as number;
  }

  bitsOf(block: number, register: number): number {
    return this.#bits[block * REGISTER_COUNT + register] as number;
  }

  /** Adds what holds at the end of a predecessor. True if that changed something. */
  join(block: number, facts: Facts, widen: boolean): boolean {
    const base = block * REGISTER_COUNT;
    if (this.#reached[block] === 0) {
      this.#reached[block] = 1;
      for (let register = 0; register < REGISTER_COUNT; register++) {
        const kind = facts.kind[register] as number;
        this.#kind[base + register] = kind;
        this.#bits[base + register] = facts.bits[register] as number;
        // Pages of memory that nobody touches cost nothing.
        if (kind !== ANY) this.#low[base + register] = facts.low[register] as number;
        if (kind === EXACT) this.#high[base + register] = facts.high[register] as number;
      }
      return true;
    }
    let changed = false;
    for (let register = 0; register < REGISTER_COUNT; register++) {
      const at = base + register;
      const kind = this.#kind[at] as number;
      if (
        kind !== ANY &&
        kind === facts.kind[register] &&
        this.#low[at] === facts.low[register] &&
        (kind === FRAME || this.#high[at] === facts.high[register])
      ) {
        continue;
      }
      const before = this.#bits[at] as number;
      const bits = Math.max(before, facts.bits[register] as number);
      if (kind === ANY && bits === before) continue;
      this.#kind[at] = ANY;
      this.#bits[at] = widen && bits !== before ? roundUp(bits) : bits;
      changed = true;
    }
    return changed;
  }

  forget(block: number): void {
    const base = block * REGISTER_COUNT;
    this.#reached[block] = 1;
    this.#kind.fill(ANY, base, base + FRAME_POINTER);
    this.#bits.fill(64, base, base + FRAME_POINTER);
  }
}

function roundUp(bits: number): number {
  if (bits <= 8) return 8;
  if (bits <= 16) return 16;
  return bits <= 32 ? 32 : 64;
}

/** What the analysis must know about the program around the function. */
export interface FactsContext {
  readonly helper: CompileInput["helper"];
  readonly arrayMap: CompileInput["arrayMap"];
  readonly mapRoutine: (helper: string, address: number) => string | undefined;
  /** If not, nothing is known of any value but the frame pointer's. */
  readonly optimize: boolean;
  /** How many bits of a function's result may be set. */
  resultBits(functionIndex: number): number;
}

export interface FactsResult {
  readonly entries: BlockFacts;
  /** How many bits of r0 may be set at any exit. */
  readonly resultBits: number;
}

/** Runs the analysis and notes in each step what the later passes need. */
export function analyseFacts(shape: Shape, steps: readonly Step[], context: FactsContext): FactsResult {
  const { blocks, isHeader } = shape;
  const entries = new BlockFacts(blocks.length);
  const facts = entryFacts(context.optimize);
  entries.join(0, facts, false);
  const pending = new Uint8Array(blocks.length);
  pending[0] = 1;
  let again = true;
  for (let round = 0; again; round++) {
    again = false;
    if (round === MAX_ROUNDS) {
      isHeader.forEach((header, block) => {
        if (header === 1) entries.forget(block);
      });
      pending.fill(1);
    }
    for (let index = 0; index < blocks.length; index++) {
      if (pending[index] === 0) continue;
      pending[index] = 0;
      const { first, end, successors } = blocks[index] as (typeof blocks)[number];
      entries.load(index, facts);
      for (let at = first; at < end; at++) transfer(facts, steps[at] as Step, context);
      for (const next of successors) {
        if (!entries.join(next, facts, isHeader[next] === 1)) continue;
        pending[next] = 1;
        if (next <= index) again = true;
      }
    }
  }
  return { entries, resultBits: annotate(shape, steps, entries, context) };
}

/** r1 to r5 are arguments; the others are 0, as a WebAssembly local is. */
export function entryFacts(optimize: boolean): Facts {
  const facts = new Facts();
  for (let register = 0; register < FRAME_POINTER; register++) {
    if (!optimize || (register >= 1 && register <= 5)) facts.setAny(register, 64);
  }
  facts.setFrame(FRAME_POINTER, 0);
  return facts;
}

function annotate(shape: Shape, steps: readonly Step[], entries: BlockFacts, context: FactsContext): number {
  const facts = new Facts();
  let resultBits = 0;
  shape.blocks.forEach(({ first, end }, index) => {
    entries.load(index, facts);
    for (let at = first; at < end; at++) {
      const step = steps[at] as Step;
      step.know(facts.small, facts.known);
      step.identity = isIdentity(step, facts);
      if (step.kind === "alu" || step.kind === "endian") {
        step.lowOnly = dependsOnLowHalves(step, facts);
        step.exact = isExact(step, facts);
      } else if (step.kind === "jump" || step.kind === "select") {
        step.exactComparison = isExactComparison(step, facts);
      } else if (step.kind === "helper") {
        step.lowering = lowerHelper(step, facts, context);
      } else if (step.kind === "exit") {
        resultBits = Math.max(resultBits, facts.bits[0] as number);
      }
      transfer(facts, step, context);
      if (step.kind === "select") {
        step.lowOnly = true;
        step.exact = (facts.bits[definedRegister(step)] as number) <= 32;
      }
      step.implied = !step.identity && isPure(step) && facts.kind[definedRegister(step)] !== ANY;
    }
  });
  return resultBits;
}

/** Whether a step leaves its register as it is: masks and extensions of values that are small enough already. */
function isIdentity(step: Step, facts: Facts): boolean {
  if (step.kind !== "alu" && step.kind !== "endian") return false;
  const bits = facts.bits[step.dst] as number;
  if (step.kind === "endian") return step.op === "le" && bits <= 8 * step.bytes;
  if (!step.wide && bits > 32) return false;
  if (step.register) {
    if (step.src !== step.dst) return false;
    return step.op === "mov" || (step.op === "movsx" && bits < step.from);
  }
  switch (step.op) {
    case "and": {
      const mask = bits < 32 ? 2 ** bits - 1 : -1;
      return bits <= 32 && (step.imm & mask) === mask;
    }
    case "add":
    case "sub":
    case "or":
    case "xor":
    case "lsh":
    case "rsh":
    case "arsh":
      return step.imm === 0;
    default:
      return false;
  }
}

/** What holds after a step. */
export function transfer(facts: Facts, step: Step, context: FactsContext): void {
  if (!context.optimize) {
    if (clobbersArguments(step))
      for (let register = 1; register <= 5; register++) facts.setExact(register, 0, 0);
    const defined = definedRegister(step);
    if (defined >= 0) facts.setAny(defined, 64);
    return;
  }
  if (isIdentity(step, facts)) return;
  switch (step.kind) {
    case "constant":
      facts.setExact(step.dst, step.imm, step.high);
      return;
    case "alu":
      transferAlu(facts, step);
      return;
    case "endian":
      facts.setAny(step.dst, step.bytes * 8);
      return;
    case "select":
      transferSelect(facts, step.chosen as Step);
      return;
    case "load":
      facts.setAny(step.dst, step.signed ? 64 : step.bytes * 8);
      return;
    default: {
      if (clobbersArguments(step)) {
        // Nobody may read them; whoever does reads 0.
        for (let register = 1; register <= 5; register++) facts.setExact(register, 0, 0);
      }
      const defined = definedRegister(step);
      if (defined >= 0) facts.setAny(defined, resultBitsOf(step, context));
    }
  }
}

function resultBitsOf(step: Step, context: FactsContext): number {
  switch (step.kind) {
    case "atomic":
    case "packet":
      return step.bytes * 8;
    case "local":
      return context.resultBits(step.target);
    case "helper": {
      const lowering = step.lowering ?? context.helper(step.imm);
      if (lowering.kind === "host") return 64;
      if (lowering.kind !== "core") return 32;
      return lowering.result === "ptr" || lowering.result === "u32" ? 32 : 64;
    }
    default:
      return 64;
  }
}

/** Lookups in arrays become arithmetic, the number of the CPU a load; other helpers are called. */
function lowerHelper(step: Step, facts: Facts, { helper, arrayMap, mapRoutine }: FactsContext): Lowering {
  const lowering = step.lowering ?? helper(step.imm);
  if (lowering.kind !== "core") return lowering;
  if (lowering.name === "get_smp_processor_id") return { kind: "cpu" };
  if (facts.kind[1] !== EXACT || facts.high[1] !== 0 || lowering.args[0] !== "ptr") return lowering;
  const address = (facts.low[1] as number) >>> 0;
  const map: ArrayMap | undefined = lowering.name === "map_lookup_elem" ? arrayMap?.(address) : undefined;
  if (map !== undefined) return { kind: "array", map };
  const routine = mapRoutine(lowering.name, address);
  return routine === undefined ? lowering : { ...lowering, name: routine };
}

/** The second operand as a number if it is a constant that 32 signed bits hold. */
export function constantOperand(step: Step, facts: Facts): number | undefined {
  if (!step.register) return step.imm;
  if (facts.kind[step.src] !== EXACT) return undefined;
  const low = facts.low[step.src] as number;
  return !step.wide || facts.high[step.src] === low >> 31 ? low : undefined;
}

function operandBits(step: Step, facts: Facts): number {
  if (step.register) return facts.bits[step.src] as number;
  return step.wide ? bitsOf(step.imm, step.high) : 32 - Math.clz32(step.imm);
}

/** The register keeps its value or takes that of the move. */
function transferSelect(facts: Facts, move: Step): void {
  const { dst } = move;
  const kind = facts.kind[dst];
  const bits = facts.bits[dst] as number;
  const low = facts.low[dst];
  const high = facts.high[dst];
  if (move.kind === "constant") facts.setExact(dst, move.imm, move.high);
  else transferAlu(facts, move);
  const same = kind === facts.kind[dst] && low === facts.low[dst] && high === facts.high[dst];
  if (kind === ANY || !same) facts.setAny(dst, Math.max(bits, facts.bits[dst] as number));
}

function transferAlu(facts: Facts, step: Step): void {
  const { dst, src, op } = step;
  if (op === "mov" && step.wide) {
    facts.copy(dst, src);
    return;
  }
  if (op === "mov" && (facts.bits[src] as number) <= 32) {
    facts.copy(dst, src);
    return;
  }
  if ((op === "add" || op === "sub") && facts.kind[dst] !== ANY) {
    const operand = constantOperand(step, facts);
    if (operand !== undefined && operand !== -0x80000000) {
      addConstant(facts, step, op === "add" ? operand : -operand);
      return;
    }
  }
  if (op === "add" && step.register && step.wide && facts.kind[src] === FRAME && facts.kind[dst] === EXACT) {
    const offset = facts.low[dst] as number;
    if (facts.high[dst] === offset >> 31) {
      facts.setFrame(dst, offset + (facts.low[src] as number));
      return;
    }
  }
  facts.setAny(dst, aluBits(step, facts));
}

function addConstant(facts: Facts, step: Step, addend: number): void {
  const { dst } = step;
  const low = facts.low[dst] as number;
  const sum = (low + addend) | 0;
  if (facts.kind[dst] === FRAME) {
    if (step.wide) facts.setFrame(dst, low + addend);
    else facts.setAny(dst, 32);
  } else if (step.wide) {
    const carry = (low >>> 0) + (addend >>> 0) > 0xffffffff ? 1 : 0;
    facts.setExact(dst, sum, ((facts.high[dst] as number) + (addend >> 31) + carry) | 0);
  } else {
    facts.setExact(dst, sum, 0);
  }
}

/** Upper bound of the bits that the result of `dst op operand` has. */
function aluBits(step: Step, facts: Facts): number {
  const width = step.wide ? 64 : 32;
  const a = Math.min(
    width,
    facts.bits[step.op === "mov" || step.op === "movsx" ? step.src : step.dst] as number,
  );
  const b = Math.min(width, operandBits(step, facts));
  const constant = constantOperand(step, facts);
  switch (step.op) {
    case "add":
      if (a === 0 || b === 0) return Math.max(a, b);
      return Math.min(width, Math.max(a, b) + 1);
    case "mul":
      return a === 0 || b === 0 ? 0 : Math.min(width, a + b);
    case "sdiv":
    case "smod":
      // Of two numbers that are not negative the result is not greater than the dividend.
      return a < width && b < width ? a : width;
    case "div":
      if (constant === undefined) return a;
      if (constant === 0) return 0;
      return constant > 0 ? Math.max(0, a - (31 - Math.clz32(constant))) : a;
    case "mod":
      return constant !== undefined && constant > 0 ? Math.min(a, 32 - Math.clz32(constant - 1)) : a;
    case "or":
    case "xor":
      return Math.max(a, b);
    case "and":
      return Math.min(a, b);
    case "lsh":
      if (a === 0) return 0;
      return constant === undefined ? width : Math.min(width, a + (constant & (width - 1)));
    case "arsh":
      if (a === width) return width;
      return constant === undefined ? a : Math.max(0, a - (constant & (width - 1)));
    case "rsh":
      return constant === undefined ? a : Math.max(0, a - (constant & (width - 1)));
    case "mov":
      return a;
    case "movsx":
      return a < step.from ? a : width;
    default:
      return width;
  }
}

/** Whether the low 32 bits of the result can be computed from the low 32 bits of the operands. */
function dependsOnLowHalves(step: Step, facts: Facts): boolean {
  if (step.kind === "endian") return step.bytes !== 8;
  if (!step.wide) return true;
  switch (step.op) {
    case "add":
    case "sub":
    case "mul":
    case "or":
    case "and":
    case "xor":
    case "mov":
    case "movsx":
    case "neg":
      return true;
    case "lsh":
      return constantOperand(step, facts) !== undefined || operandBits(step, facts) <= 5;
    default:
      return false;
  }
}

/** Whether arithmetic in 32 bits gives the whole result of the step. */
function isExact(step: Step, facts: Facts): boolean {
  if (step.kind === "endian") return step.bytes !== 8;
  if (!step.wide) return true;
  const a = facts.bits[step.dst] as number;
  const b = operandBits(step, facts);
  switch (step.op) {
    case "rsh":
    case "arsh":
      return a <= 32 && (constantOperand(step, facts) !== undefined || b <= 5);
    case "div":
    case "mod":
      return a <= 32 && b <= 32;
    case "sdiv":
    case "smod":
      return a <= 31 && b <= 31;
    default:
      return dependsOnLowHalves(step, facts) && aluBits(step, facts) <= 32;
  }
}

/** Whether a 64-bit comparison can be made in 32 bits (unsigned, since then both operands are positive). */
function isExactComparison(step: Step, facts: Facts): boolean {
  if (!step.wide) return true;
  const a = facts.bits[step.dst] as number;
  const b = operandBits(step, facts);
  return step.op === "jset" ? Math.min(a, b) <= 32 : a <= 32 && b <= 32;
}
