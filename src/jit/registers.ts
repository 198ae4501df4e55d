/**
 * The registers during emission. Register n lives in up to two WebAssembly locals, an i64 with the whole value (rn)
 * and an i32 with its low half (wn); which of the two are up to date is known at every point of the program. Values
 * that the facts imply are in neither: they are written down where they are needed.
 *
 * Where control flow meets, all sides must agree: a register that is needed at the start of a block is in wn if the
 * lower half is all that is asked for or all that there is, and in rn otherwise.
 */
import { BpfError } from "../errors.ts";
import { FRAME_POINTER, REGISTER_COUNT } from "../isa/index.ts";
import { FRAME_SIZE } from "../core/layout.ts";
import type { DemandResult } from "./demand.ts";
import { ANY, type BlockFacts, EXACT, Facts } from "./facts.ts";
import type { Windows } from "./sandbox.ts";
import { type ByteWriter, TYPE_I32, TYPE_I64 } from "./wasm.ts";

/** Locals that hold no register. */
export type Scratch =
  | "base"
  | "choice"
  | "mayGoto"
  | "fuel"
  | "exec"
  | "stack"
  | "address"
  | "checked"
  | "old32"
  | "old64"
  | "rounds"
  | "to"
  | "from";

const SCRATCH_TYPES: Readonly<Record<Scratch, number>> = {
  base: TYPE_I32,
  choice: TYPE_I32,
  mayGoto: TYPE_I32,
  fuel: TYPE_I64,
  exec: TYPE_I32,
  stack: TYPE_I32,
  address: TYPE_I32,
  checked: TYPE_I32,
  old32: TYPE_I32,
  old64: TYPE_I64,
  rounds: TYPE_I64,
  to: TYPE_I32,
  from: TYPE_I32,
};

/** Parameters of every function: r1 to r5, then the end of the stack frame. */
export const PARAMETERS: readonly number[] = [TYPE_I64, TYPE_I64, TYPE_I64, TYPE_I64, TYPE_I64, TYPE_I32];
const LOCAL_FRAME = 5;

/** The locals of a function, numbered as they come into use. */
export class Locals {
  readonly types: number[] = [];
  readonly #whole = new Int16Array(REGISTER_COUNT).fill(-1);
  readonly #low = new Int16Array(REGISTER_COUNT).fill(-1);
  readonly #scratch = new Map<Scratch, number>();

  constructor() {
    for (let register = 1; register <= 5; register++) this.#whole[register] = register - 1;
  }

  #add(type: number): number {
    this.types.push(type);
    return PARAMETERS.length + this.types.length - 1;
  }

  whole(register: number): number {
    if (this.#whole[register] === -1) this.#whole[register] = this.#add(TYPE_I64);
    return this.#whole[register] as number;
  }

  low(register: number): number {
    if (this.#low[register] === -1) this.#low[register] = this.#add(TYPE_I32);
    return this.#low[register] as number;
  }

  /** Two i32 locals, one after the other; the index of the first. */
  pair(): number {
    const first = this.#add(TYPE_I32);
    this.#add(TYPE_I32);
    return first;
  }

  scratch(name: Scratch): number {
    let index = this.#scratch.get(name);
    if (index === undefined) {
      index = this.#add(SCRATCH_TYPES[name]);
      this.#scratch.set(name, index);
    }
    return index;
  }

  uses(name: Scratch): boolean {
    return this.#scratch.has(name);
  }
}

export class Registers {
  readonly facts: Facts = new Facts();
  readonly locals: Locals = new Locals();
  readonly code: ByteWriter;
  /** Of sandboxed programs. */
  windows: Windows | undefined;
  readonly #entries: BlockFacts;
  readonly #demand: DemandResult;
  /** Masks of the registers whose i64 and i32 locals are up to date. */
  #whole = 0;
  #low = 0;

  constructor(code: ByteWriter, entries: BlockFacts, demand: DemandResult) {
    this.code = code;
    this.#entries = entries;
    this.#demand = demand;
  }

  /** The state at the start of the function: r1 to r5 came as i64, all other locals are 0. */
  beginFunction(facts: Facts): void {
    this.facts.load(0, facts.kind, facts.bits, facts.low, facts.high);
    this.#whole = (1 << FRAME_POINTER) - 1;
    this.#low = this.#whole & ~0b111110;
  }

  /** The state at the start of a block. */
  beginBlock(block: number): void {
    this.#entries.load(block, this.facts);
    this.#whole = 0;
    this.#low = 0;
    const live = this.#demand.live[block] as number;
    for (let register = 0; register < FRAME_POINTER; register++) {
      const bit = 1 << register;
      if ((live & bit) === 0 || this.facts.kind[register] !== ANY) continue;
      if (this.#wantsWhole(block, register)) this.#whole |= bit;
      else this.#low |= bit;
    }
  }

  #wantsWhole(block: number, register: number): boolean {
    return (
      ((this.#demand.upper[block] as number) & (1 << register)) !== 0 &&
      this.#entries.bitsOf(block, register) > 32
    );
  }

  /** Before control goes to a block: brings its registers to where it expects them. */
  settle(block: number): void {
    const live = this.#demand.live[block] as number;
    for (let register = 0; register < FRAME_POINTER; register++) {
      const bit = 1 << register;
      if ((live & bit) === 0 || this.#entries.kindOf(block, register) !== ANY) continue;
      if (this.#wantsWhole(block, register)) {
        if ((this.#whole & bit) !== 0) continue;
        this.pushWhole(register);
        this.code.opIndex("local.set", this.locals.whole(register));
        this.#whole |= bit;
      } else {
        if ((this.#low & bit) !== 0) continue;
        this.pushLow(register);
        this.code.opIndex("local.set", this.locals.low(register));
        this.#low |= bit;
      }
    }
  }

  /** Puts the low half of a register on the stack, as i32. */
  pushLow(register: number): void {
    const { facts, code, locals } = this;
    const bit = 1 << register;
    if (facts.kind[register] === EXACT) {
      code.i32Const(facts.low[register] as number);
    } else if (facts.kind[register] !== ANY) {
      this.#pushFrame(facts.low[register] as number);
    } else if ((this.#low & bit) !== 0) {
      code.opIndex("local.get", locals.low(register));
    } else {
      if ((this.#whole & bit) === 0) throw lost(register);
      code.opIndex("local.get", locals.whole(register));
      code.op("i32.wrap_i64");
    }
  }

  /** Puts a register on the stack, as i64. */
  pushWhole(register: number): void {
    const { facts, code, locals } = this;
    const bit = 1 << register;
    if (facts.kind[register] === EXACT) {
      code.i64Const(facts.low[register] as number, facts.high[register] as number);
    } else if (facts.kind[register] !== ANY) {
      this.#pushFrame(facts.low[register] as number);
      code.op("i64.extend_i32_u");
    } else if ((this.#whole & bit) !== 0) {
      code.opIndex("local.get", locals.whole(register));
    } else {
      // The low half is the value if the facts say so; otherwise nobody may have asked for the upper half.
      if ((this.#low & bit) === 0 || (facts.bits[register] as number) > 32) throw lost(register);
      code.opIndex("local.get", locals.low(register));
      code.op("i64.extend_i32_u");
    }
  }

  /** Puts a register on the stack as i64, with any upper half. */
  pushLoose(register: number): void {
    if (this.facts.kind[register] === ANY && (this.#whole & (1 << register)) === 0) {
      this.pushLow(register);
      this.code.op("i64.extend_i32_u");
    } else {
      this.pushWhole(register);
    }
  }

  /** An i32 zero or frame address. */
  #pushFrame(offset: number): void {
    this.code.opIndex("local.get", LOCAL_FRAME);
    if (offset === 0) return;
    this.code.i32Const(offset);
    this.code.op("i32.add");
  }

  /** The end of the stack frame, as i32. */
  pushFrameEnd(): void {
    this.#pushFrame(0);
  }

  /** The lowest address of the stack frame, as i32: accesses through it have offsets that are not negative. */
  pushFrameStart(): void {
    this.code.opIndex("local.get", this.locals.scratch("base"));
  }

  /** At the start of the function, if `pushFrameStart` is ever used. */
  writeFrameStart(code: ByteWriter): void {
    code.opIndex("local.get", LOCAL_FRAME);
    code.i32Const(FRAME_SIZE);
    code.op("i32.sub");
    code.opIndex("local.set", this.locals.scratch("base"));
  }

  /** Takes an i32 from the stack as the low half of a register, the upper half being zero or of no interest. */
  popLow(register: number): void {
    this.code.opIndex("local.set", this.locals.low(register));
    this.#low |= 1 << register;
    this.#whole &= ~(1 << register);
  }

  /** Takes an i64 from the stack as the value of a register. */
  popWhole(register: number): void {
    this.code.opIndex("local.set", this.locals.whole(register));
    this.#whole |= 1 << register;
    this.#low &= ~(1 << register);
  }

  /** Whether the i64 local of a register is up to date, so that reading it costs nothing. */
  hasWhole(register: number): boolean {
    return this.facts.kind[register] === ANY && (this.#whole & (1 << register)) !== 0;
  }

  /** The same of the i32 local. */
  hasLow(register: number): boolean {
    return this.facts.kind[register] === ANY && (this.#low & (1 << register)) !== 0;
  }

  /** The same value in another register. Nothing is written if the facts imply it. */
  forget(register: number): void {
    this.#whole &= ~(1 << register);
    this.#low &= ~(1 << register);
  }
}

/** The analyses contradict each other. Refusing is better than wrong code. */
function lost(register: number): BpfError {
  return new BpfError(
    "unsupported",
    `compiler: the value of r${register} is lost; please report this program`,
  );
}
