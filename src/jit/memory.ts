/**
 * Emission of loads, stores and atomic operations. An address is the low half of a register plus the offset; that is
 * all where programs are verified or trusted. Sandboxed ones are checked first (sandbox.ts).
 */
import { FIRST_ADDRESS, FRAME_SIZE } from "../core/layout.ts";
import { ANY, EXACT } from "./facts.ts";
import type { Linkage } from "./calls.ts";
import type { Registers } from "./registers.ts";
import { type Access, needsNoCheck, pushChecked } from "./sandbox.ts";
import type { Step } from "./steps.ts";
import { type AtomicOpcode, type Opcode, TYPE_I32, TYPE_I64 } from "./wasm.ts";

/** Binary logarithms of the sizes, which is how WebAssembly writes alignments. */
const ALIGNMENTS: Readonly<Record<number, number>> = { 1: 0, 2: 1, 4: 2, 8: 3 };

const LOADS: Readonly<Record<number, { unsigned: Opcode; narrow: Opcode; wide: Opcode }>> = {
  1: { unsigned: "i32.load8_u", narrow: "i32.load8_s", wide: "i64.load8_s" },
  2: { unsigned: "i32.load16_u", narrow: "i32.load16_s", wide: "i64.load16_s" },
  4: { unsigned: "i32.load", narrow: "i32.load", wide: "i64.load32_s" },
};

const ATOMIC_LOADS: Readonly<Record<number, AtomicOpcode>> = {
  1: "i32.atomic.load8_u",
  2: "i32.atomic.load16_u",
  4: "i32.atomic.load",
  8: "i64.atomic.load",
};
const ATOMIC_STORES: Readonly<Record<number, AtomicOpcode>> = {
  1: "i32.atomic.store8",
  2: "i32.atomic.store16",
  4: "i32.atomic.store",
  8: "i64.atomic.store",
};

const STORES: Readonly<Record<number, Opcode>> = { 1: "i32.store8", 2: "i32.store16", 4: "i32.store" };

/**
 * Puts an address on the stack; the result is what the access must still add. WebAssembly adds that without wrapping
 * at 2^32, unlike the interpreter, but only accesses that fail either way can tell: below FIRST_ADDRESS, where a sum
 * that wraps would lie, there is nothing.
 */
export function pushAddress(
  registers: Registers,
  register: number,
  offset: number,
  access: Access,
  link: Linkage,
): number {
  const { facts, code } = registers;
  if (link.sandbox !== undefined && !needsNoCheck(registers, register, offset, access, link.sandbox)) {
    pushChecked(registers, register, offset, access, link);
    return 0;
  }
  if (facts.kind[register] === EXACT) {
    code.i32Const((facts.low[register] as number) + offset);
    return 0;
  }
  if (facts.kind[register] !== ANY) {
    const fromStart = (facts.low[register] as number) + offset + FRAME_SIZE;
    if (fromStart >= 0) {
      registers.pushFrameStart();
      return fromStart;
    }
  }
  registers.pushLow(register);
  if (offset >= 0) return offset;
  code.i32Const(offset);
  code.op("i32.add");
  return 0;
}

function pushValue(registers: Registers, step: Step): void {
  const { code } = registers;
  if (step.bytes === 8) {
    if (step.register) registers.pushWhole(step.src);
    else code.i64Const(step.imm, step.high);
  } else if (step.register) {
    registers.pushLow(step.src);
  } else {
    code.i32Const(step.imm);
  }
}

/**
 * Tests whether all bytes of a load lie in the memory, above what is never handed out, of a sandboxed program in what it may
 * touch, and leaves the result; the whole address stays in the local "old64".
 */
function pushReachable(registers: Registers, step: Step, link: Linkage): void {
  const { code, locals } = registers;
  const address = locals.scratch("old64");
  registers.pushWhole(step.src);
  code.i64Const(step.offset, step.offset < 0 ? -1 : 0);
  code.op("i64.add");
  code.opIndex("local.tee", address);
  if (link.sandbox !== undefined) {
    code.i32Const(step.bytes);
    registers.pushFrameEnd();
    code.opIndex("call", link.coreFunction("may_read"));
    return;
  }
  code.i64Const(FIRST_ADDRESS, 0);
  code.op("i64.sub");
  code.op("memory.size");
  code.byte(0);
  code.op("i64.extend_i32_u");
  code.i64Const(16, 0);
  code.op("i64.shl");
  code.i64Const(FIRST_ADDRESS + step.bytes - 1, 0);
  code.op("i64.sub");
  code.op("i64.lt_u");
}

/** A load that gives zero where there is nothing. */
function emitProbe(registers: Registers, step: Step, name: Opcode, low: boolean, link: Linkage): void {
  const { code, locals } = registers;
  pushReachable(registers, step, link);
  code.op("if");
  code.byte(low ? TYPE_I32 : TYPE_I64);
  code.opIndex("local.get", locals.scratch("old64"));
  code.op("i32.wrap_i64");
  code.memory(name, ALIGNMENTS[step.bytes] as number, 0);
  code.op("else");
  if (low) code.i32Const(0);
  else code.i64Const(0, 0);
  code.op("end");
}

/** Leaves an i32 for values of up to 32 bits and where the upper half is of no interest, else an i64. True for i32. */
export function emitLoad(registers: Registers, step: Step, link: Linkage): boolean {
  const { code, facts } = registers;
  const align = ALIGNMENTS[step.bytes] as number;
  if (link.shared && step.fetch) {
    const offset = pushAddress(registers, step.src, step.offset, step, link);
    code.atomic(ATOMIC_LOADS[step.bytes] as AtomicOpcode, align, offset);
    return step.bytes !== 8;
  }
  const names = LOADS[step.bytes];
  const low = names !== undefined && (!step.signed || step.narrow);
  const name: Opcode =
    names === undefined
      ? "i64.load"
      : step.signed
        ? step.narrow
          ? names.narrow
          : names.wide
        : names.unsigned;
  const kind = facts.kind[step.src];
  if (step.probe && (kind === ANY || (link.sandbox !== undefined && kind === EXACT))) {
    emitProbe(registers, step, name, low, link);
    return low;
  }
  const offset = pushAddress(registers, step.src, step.offset, step, link);
  code.memory(name, align, offset);
  return low;
}

export function emitStore(registers: Registers, step: Step, link: Linkage): void {
  const offset = pushAddress(registers, step.dst, step.offset, step, link);
  pushValue(registers, step);
  if (link.shared && step.fetch) {
    registers.code.atomic(
      ATOMIC_STORES[step.bytes] as AtomicOpcode,
      ALIGNMENTS[step.bytes] as number,
      offset,
    );
    return;
  }
  registers.code.memory(STORES[step.bytes] ?? "i64.store", ALIGNMENTS[step.bytes] as number, offset);
}

/**
 * Atomic operations: plain loads and stores, which is all that one thread needs, or WebAssembly's atomic instructions where
 * threads share the memory. These trap on unaligned addresses.
 *
 * An operation that fetches leaves the old value in the local "old32" or "old64".
 */
export function emitAtomic(registers: Registers, step: Step, link: Linkage): void {
  if (link.shared) {
    emitShared(registers, step, link);
    return;
  }
  const { code, locals } = registers;
  const { wide } = step;
  const load: Opcode = wide ? "i64.load" : "i32.load";
  const store: Opcode = wide ? "i64.store" : "i32.store";
  const align = wide ? 3 : 2;
  const address = locals.scratch("address");
  const old = locals.scratch(wide ? "old64" : "old32");
  const pushSource = (register: number): void => {
    if (wide) registers.pushWhole(register);
    else registers.pushLow(register);
  };

  const offset = pushAddress(registers, step.dst, step.offset, step, link);
  code.opIndex("local.tee", address);
  code.opIndex("local.get", address);
  code.memory(load, align, offset);
  switch (step.op) {
    case "xchg":
      code.opIndex("local.set", old);
      pushSource(step.src);
      break;
    case "cmpxchg":
      // Stores the old value again where Linux stores nothing: nobody else can see the difference yet.
      code.opIndex("local.set", old);
      pushSource(step.src);
      code.opIndex("local.get", old);
      pushSource(0);
      code.opIndex("local.get", old);
      code.op(wide ? "i64.eq" : "i32.eq");
      code.op("select");
      break;
    default:
      if (step.fetch) code.opIndex("local.tee", old);
      pushSource(step.src);
      code.op(`${wide ? "i64" : "i32"}.${step.op as "add" | "or" | "and" | "xor"}`);
  }
  code.memory(store, align, offset);
}

function emitShared(registers: Registers, step: Step, link: Linkage): void {
  const { code, locals } = registers;
  const { wide } = step;
  const pushSource = (register: number): void => {
    if (wide) registers.pushWhole(register);
    else registers.pushLow(register);
  };
  const offset = pushAddress(registers, step.dst, step.offset, step, link);
  if (step.op === "cmpxchg") pushSource(0);
  pushSource(step.src);
  code.atomic(`${wide ? "i64" : "i32"}.atomic.rmw.${step.op}` as AtomicOpcode, wide ? 3 : 2, offset);
  if (step.fetch || step.op === "cmpxchg" || step.op === "xchg") {
    code.opIndex("local.set", locals.scratch(wide ? "old64" : "old32"));
  } else code.op("drop");
}

/** Puts the old value that an atomic operation fetched on the stack. */
export function pushFetched(registers: Registers, wide: boolean): void {
  registers.code.opIndex("local.get", registers.locals.scratch(wide ? "old64" : "old32"));
}
