/**
 * What every instruction means, in BigInt and as plainly as RFC 9669 says it: the judge of both engines. Nothing here
 * is fast, and nothing is shared with the engines but the instruction table.
 */
import { type Instruction, type JumpOp, type Semantics, isWide, rowOf } from "../../src/isa/index.ts";

const MASK64 = (1n << 64n) - 1n;

export function unsigned(value: bigint, bits: number): bigint {
  return BigInt.asUintN(bits, value);
}

export function signed(value: bigint, bits: number): bigint {
  return BigInt.asIntN(bits, value);
}

type Alu = Extract<Semantics, { kind: "alu" }>;

/** RFC 9669, section 4.1. Operands and result are unsigned 64-bit. */
export function referenceAlu({ op, width, from }: Alu, dst: bigint, src: bigint): bigint {
  const a = unsigned(dst, width);
  const b = unsigned(src, width);
  const sa = signed(dst, width);
  const sb = signed(src, width);
  const amount = b % BigInt(width);
  const value = ((): bigint => {
    switch (op) {
      case "add":
        return a + b;
      case "sub":
        return a - b;
      case "mul":
        return a * b;
      case "div":
        return b === 0n ? 0n : a / b;
      case "sdiv":
        return sb === 0n ? 0n : sa / sb;
      case "mod":
        return b === 0n ? a : a % b;
      case "smod":
        return sb === 0n ? a : sa % sb;
      case "or":
        return a | b;
      case "and":
        return a & b;
      case "xor":
        return a ^ b;
      case "lsh":
        return a << amount;
      case "rsh":
        return a >> amount;
      case "arsh":
        return sa >> amount;
      case "neg":
        return -a;
      case "mov":
        return b;
      case "movsx":
        return signed(src, from as number);
    }
  })();
  return unsigned(value, width);
}

/** RFC 9669, section 4.2, on a little-endian machine. */
export function referenceByteOrder(op: "le" | "be" | "swap", size: number, value: bigint): bigint {
  const low = unsigned(value, size);
  if (op === "le") return low;
  let swapped = 0n;
  for (let bit = 0; bit < size; bit += 8) swapped = (swapped << 8n) | ((low >> BigInt(bit)) & 0xffn);
  return swapped;
}

/** RFC 9669, section 4.3. */
export function referenceCondition(op: JumpOp, width: number, dst: bigint, src: bigint): boolean {
  const a = unsigned(dst, width);
  const b = unsigned(src, width);
  const sa = signed(dst, width);
  const sb = signed(src, width);
  switch (op) {
    case "jeq":
      return a === b;
    case "jne":
      return a !== b;
    case "jgt":
      return a > b;
    case "jge":
      return a >= b;
    case "jlt":
      return a < b;
    case "jle":
      return a <= b;
    case "jset":
      return (a & b) !== 0n;
    case "jsgt":
      return sa > sb;
    case "jsge":
      return sa >= sb;
    case "jslt":
      return sa < sb;
    case "jsle":
      return sa <= sb;
  }
}

export interface ReferenceOptions {
  readonly instructions: readonly Instruction[];
  /** Linear memory; addresses count from 0. */
  readonly memory: Uint8Array;
  /** r1 to r5, missing ones being 0. */
  readonly args?: readonly bigint[];
  /** One past the highest address of the program stack. */
  readonly stackEnd: number;
  /** Nested calls, the main function included. Default 8. */
  readonly maxFrames?: number;
  /** How often `may_goto` goes on in one frame. Default 8,388,608. */
  readonly mayGotoLimit?: number;
  /** Default 1,000,000. */
  readonly maxSteps?: number;
  /** Called with r1 to r5; the result goes to r0. `id` is that of a helper, or "kfunc:ID". */
  helper?(id: number | string, args: readonly bigint[]): bigint;
  /** The packet access of `ld_abs` and `ld_ind`: the value, or undefined outside the packet. */
  packet?(context: bigint, offset: number, bytes: number): bigint | undefined;
  /** The slot of the function whose descriptor has this address, for `callx`. */
  functionAt?(address: bigint): number | undefined;
  /** Slot where to start. Default 0. */
  readonly entry?: number;
}

export type ReferenceResult =
  | { readonly kind: "done"; readonly r0: bigint; readonly steps: number }
  /** maxSteps reached; memory and registers as they were. */
  | { readonly kind: "steps" }
  /** An access outside the memory, a call too deep, an invalid instruction or call target. */
  | {
      readonly kind: "fault";
      readonly reason: "memory" | "depth" | "instruction" | "target";
      readonly slot: number;
    };

interface Frame {
  readonly returnTo: number;
  readonly saved: readonly bigint[];
  readonly rounds: number;
}

class Fault extends Error {
  readonly reason: "memory" | "depth" | "instruction" | "target";
  constructor(reason: Fault["reason"]) {
    super(reason);
    this.reason = reason;
  }
}

/** Runs a program to its end. Memory is changed in place. */
export function referenceRun(options: ReferenceOptions): ReferenceResult {
  const machine = new ReferenceMachine(options);
  try {
    return machine.run();
  } catch (error) {
    if (error instanceof Fault) return { kind: "fault", reason: error.reason, slot: machine.slot };
    throw error;
  }
}

const FRAME_BYTES = 512n;

class ReferenceMachine {
  slot: number;
  readonly #options: ReferenceOptions;
  readonly #registers: bigint[];
  readonly #frames: Frame[] = [];
  readonly #view: DataView;
  #rounds: number;

  constructor(options: ReferenceOptions) {
    this.#options = options;
    this.slot = options.entry ?? 0;
    this.#registers = new Array<bigint>(11).fill(0n);
    (options.args ?? []).forEach((value, index) => {
      this.#registers[index + 1] = value & MASK64;
    });
    this.#registers[10] = BigInt(options.stackEnd);
    this.#rounds = options.mayGotoLimit ?? 0x800000;
    const { buffer, byteOffset, byteLength } = options.memory;
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  #get(register: number): bigint {
    return this.#registers[register] as bigint;
  }

  #set(register: number, value: bigint): void {
    this.#registers[register] = value & MASK64;
  }

  #address(register: number, offset: number, bytes: number): number {
    const address = Number(unsigned(this.#get(register) + BigInt(offset), 32));
    if (address + bytes > this.#view.byteLength) throw new Fault("memory");
    return address;
  }

  #load(address: number, bytes: number): bigint {
    let value = 0n;
    for (let index = bytes - 1; index >= 0; index--) {
      value = (value << 8n) | BigInt(this.#view.getUint8(address + index));
    }
    return value;
  }

  #store(address: number, bytes: number, value: bigint): void {
    for (let index = 0; index < bytes; index++) {
      this.#view.setUint8(address + index, Number((value >> BigInt(8 * index)) & 0xffn));
    }
  }

  run(): ReferenceResult {
    const limit = this.#options.maxSteps ?? 1_000_000;
    for (let steps = 1; steps <= limit; steps++) {
      if (this.#step()) return { kind: "done", r0: this.#get(0), steps };
    }
    return { kind: "steps" };
  }

  /** True when the program has ended. */
  #step(): boolean {
    const instruction = this.#options.instructions[this.slot];
    const row = instruction === undefined ? undefined : rowOf(instruction);
    if (instruction === undefined || row === undefined) throw new Fault("instruction");
    const { dst, src, offset, imm } = instruction;
    const { semantics } = row;
    const operand = (source: "imm" | "reg"): bigint => (source === "imm" ? BigInt(imm) : this.#get(src));
    let next = this.slot + (isWide(instruction) ? 2 : 1);
    switch (semantics.kind) {
      case "alu":
        this.#set(dst, referenceAlu(semantics, this.#get(dst), operand(semantics.source)));
        break;
      case "endian":
        this.#set(dst, referenceByteOrder(semantics.op, semantics.size, this.#get(dst)));
        break;
      case "addr_space_cast":
        this.#set(dst, unsigned(this.#get(src), 32));
        break;
      case "lddw": {
        const high = this.#options.instructions[this.slot + 1];
        if (high === undefined) throw new Fault("instruction");
        this.#set(dst, (BigInt(high.imm) << 32n) | unsigned(BigInt(imm), 32));
        break;
      }
      case "load": {
        const value = this.#load(this.#address(src, offset, semantics.bytes), semantics.bytes);
        this.#set(dst, semantics.signed ? signed(value, 8 * semantics.bytes) : value);
        break;
      }
      case "store":
        this.#store(this.#address(dst, offset, semantics.bytes), semantics.bytes, operand(semantics.source));
        break;
      case "atomic":
        this.#atomic(semantics, instruction);
        break;
      case "packet": {
        const at = semantics.mode === "abs" ? imm : Number(signed(this.#get(src) + BigInt(imm), 32));
        const value = this.#options.packet?.(this.#get(6), at, semantics.bytes);
        if (value === undefined) {
          this.#set(0, 0n);
          return this.#leave();
        }
        this.#set(0, value);
        break;
      }
      case "goto":
        next += semantics.distance === "offset" ? offset : imm;
        break;
      case "jump":
        if (referenceCondition(semantics.op, semantics.width, this.#get(dst), operand(semantics.source))) {
          next += offset;
        }
        break;
      case "may_goto":
        if (this.#rounds === 0) next += offset;
        else this.#rounds--;
        break;
      case "call":
        next = this.#call(semantics.target, instruction, next);
        break;
      case "exit":
        return this.#leave();
    }
    this.slot = next;
    return false;
  }

  #call(target: "helper" | "local" | "kfunc" | "register", instruction: Instruction, next: number): number {
    const { imm, dst } = instruction;
    const callHelper = (id: number | string): number => {
      if (this.#options.helper === undefined) throw new Fault("target");
      this.#set(0, this.#options.helper(id, this.#registers.slice(1, 6)));
      return next;
    };
    if (target === "helper") return callHelper(imm);
    if (target === "kfunc") return callHelper(`kfunc:${imm}`);
    if (target === "local") return this.#enter(next + imm, next);
    const value = this.#get(dst);
    if (value < 0x10000n) return callHelper(Number(value));
    const entry = this.#options.functionAt?.(value);
    if (entry === undefined) throw new Fault("target");
    return this.#enter(entry, next);
  }

  #enter(entry: number, returnTo: number): number {
    if (this.#frames.length + 1 >= (this.#options.maxFrames ?? 8)) throw new Fault("depth");
    this.#frames.push({ returnTo, saved: this.#registers.slice(6, 11), rounds: this.#rounds });
    this.#rounds = this.#options.mayGotoLimit ?? 0x800000;
    this.#set(10, this.#get(10) - FRAME_BYTES);
    return entry;
  }

  #leave(): boolean {
    const frame = this.#frames.pop();
    if (frame === undefined) return true;
    frame.saved.forEach((value, index) => this.#set(6 + index, value));
    this.#rounds = frame.rounds;
    this.slot = frame.returnTo;
    return false;
  }

  #atomic(
    { op, fetch, bytes }: Extract<Semantics, { kind: "atomic" }>,
    { dst, src, offset }: Instruction,
  ): void {
    if (op === "load_acquire") {
      this.#set(dst, this.#load(this.#address(src, offset, bytes), bytes));
      return;
    }
    const address = this.#address(dst, offset, bytes);
    const operand = unsigned(this.#get(src), 8 * bytes);
    if (op === "store_release") {
      this.#store(address, bytes, operand);
      return;
    }
    const old = this.#load(address, bytes);
    switch (op) {
      case "add":
        this.#store(address, bytes, old + operand);
        break;
      case "or":
        this.#store(address, bytes, old | operand);
        break;
      case "and":
        this.#store(address, bytes, old & operand);
        break;
      case "xor":
        this.#store(address, bytes, old ^ operand);
        break;
      case "xchg":
        this.#store(address, bytes, operand);
        break;
      case "cmpxchg":
        if (old === unsigned(this.#get(0), 8 * bytes)) this.#store(address, bytes, operand);
        this.#set(0, old);
        return;
    }
    if (fetch) this.#set(src, old);
  }
}
