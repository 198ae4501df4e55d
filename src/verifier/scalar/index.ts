/**
 * Abstract scalar values: known bits and four ranges, interned and named by small integers. The arithmetic is
 * AssemblyScript (`assembly/`), where 64-bit numbers are native: in BigInt it would be some thirty times slower. All
 * functions here take and give names. Equal names are equal values, so comparing costs nothing.
 *
 * There is one table for the module, which `resetScalars` empties: one verification at a time.
 */
import { scalarWasm } from "./scalar.wasm.ts";

/** The value of which nothing is known. */
export const UNKNOWN = 1;
/** The constant 0. */
export const ZERO = 2;

interface ScalarExports {
  readonly memory: WebAssembly.Memory;
  reset(): void;
  size(): number;
  addressOf(id: number): number;
  violationOf(id: number): number;
  constantParts(low: number, high: number): number;
  constant(value: number): number;
  alu(op: number, is64: number, a: number, b: number): number;
  move32(a: number): number;
  signExtend(a: number, size: number): number;
  signExtendTo32(a: number, size: number): number;
  truncate(a: number, size: number): number;
  byteSwap(a: number, size: number, swap: number): number;
  addDelta(a: number, delta: number, narrow: number): number;
  branchTaken(op: number, is32: number, a: number, b: number): number;
  refine(op: number, is32: number, negate: number, a: number, b: number): number;
  refineSame(op: number, is32: number, negate: number, a: number): number;
  refinedOther(): number;
  unbounded(a: number): number;
  pointerKeep(a: number): number;
  pointerAdd(a: number, b: number): number;
  pointerSubtract(a: number, b: number): number;
  pointerSync(a: number): number;
  withSignedRange(a: number, least: number, most: number): number;
  withRange(a: number, least: number, most: number): number;
  isConstant(a: number): number;
  isConstant32(a: number): number;
  isZero(a: number): number;
  isUnknownBits(a: number): number;
  low(a: number): number;
  high(a: number): number;
  constantNumber(a: number): number;
  umin(a: number): number;
  umax(a: number): number;
  smin(a: number): number;
  smax(a: number): number;
  u32min(a: number): number;
  u32max(a: number): number;
  s32min(a: number): number;
  s32max(a: number): number;
  width(a: number): number;
  fits(a: number, bits: number): number;
  within(old: number, current: number): number;
  aligned(a: number, offset: number, size: number): number;
  contradictory(a: number): number;
}

let wasm: ScalarExports;
let instantiated = false;
let view: BigInt64Array = new BigInt64Array(0);

/** Forgets all values but {@link UNKNOWN} and {@link ZERO}. */
export function resetScalars(): void {
  if (!instantiated) {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(scalarWasm()), {
      env: {
        abort: () => {
          throw new RangeError("scalar.wasm: out of memory");
        },
      },
    });
    wasm = instance.exports as unknown as ScalarExports;
    instantiated = true;
  }
  wasm.reset();
}

/** A constant; `value` is a signed 32-bit number and is sign-extended. */
export function constant(value: number): number {
  return value === 0 ? ZERO : wasm.constant(value);
}

/** A constant of 64 bits, from its halves. */
export function constantParts(low: number, high: number): number {
  return wasm.constantParts(low, high);
}

/** A constant of 64 bits. */
export function constant64(value: bigint): number {
  return wasm.constantParts(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
}

/** `a op b`; `op` is the upper half of the opcode. Of a negation (0x80) b is the operand. */
export function alu(op: number, is64: boolean, a: number, b: number): number {
  return wasm.alu(op, is64 ? 1 : 0, a, b);
}

/** The lower half, zero-extended. */
export function move32(a: number): number {
  return wasm.move32(a);
}

/** The lowest `size` bytes (1, 2, 4), sign-extended to 64 bits. */
export function signExtend(a: number, size: number): number {
  return wasm.signExtend(a, size);
}

/** The lowest `size` bytes (1, 2), sign-extended to 32 bits, and zero-extended from there. */
export function signExtendTo32(a: number, size: number): number {
  return wasm.signExtendTo32(a, size);
}

/** The lowest `size` bytes (1, 2, 4), zero-extended: what a load gives. */
export function truncate(a: number, size: number): number {
  return wasm.truncate(a, size);
}

/** The lowest `size` bytes (2, 4, 8), in the other order if `swap`, zero-extended. */
export function byteSwap(a: number, size: number, swap: boolean): number {
  return wasm.byteSwap(a, size, swap ? 1 : 0);
}

/** a + delta, of linked registers; `narrow`: a 32-bit sum. */
export function addDelta(a: number, delta: number, narrow: boolean): number {
  return wasm.addDelta(a, delta, narrow ? 1 : 0);
}

/** Whether `a op b` holds: 1 always, 0 never, -1 not known. */
export function branchTaken(op: number, is32: boolean, a: number, b: number): number {
  return wasm.branchTaken(op, is32 ? 1 : 0, a, b);
}

/** What a is after `a op b` (or its negation) was found true; b's new value is then {@link refinedOther}. */
export function refine(op: number, is32: boolean, negate: boolean, a: number, b: number): number {
  return wasm.refine(op, is32 ? 1 : 0, negate ? 1 : 0, a, b);
}

/** What a is after it was compared with itself: nothing new, but ranges can shift as the kernel's do. */
export function refineSame(op: number, is32: boolean, negate: boolean, a: number): number {
  return wasm.refineSame(op, is32 ? 1 : 0, negate ? 1 : 0, a);
}

export function refinedOther(): number {
  return wasm.refinedOther();
}

/** The same known bits, every range forgotten. */
export function unbounded(a: number): number {
  return wasm.unbounded(a);
}

/** A pointer's variable offset after arithmetic that went into its fixed offset. */
export function pointerKeep(a: number): number {
  return a === ZERO ? ZERO : wasm.pointerKeep(a);
}

/** Variable offset of pointer + scalar, before {@link pointerSync}. */
export function pointerAdd(a: number, b: number): number {
  return wasm.pointerAdd(a, b);
}

/** Variable offset of pointer - scalar, before {@link pointerSync}. */
export function pointerSubtract(a: number, b: number): number {
  return wasm.pointerSubtract(a, b);
}

export function pointerSync(a: number): number {
  return wasm.pointerSync(a);
}

/** Also within least and most (signed 32 bits), as 64 and as 32 bits. */
export function withSignedRange(a: number, least: number, most: number): number {
  return wasm.withSignedRange(a, least, most);
}

/** Between least and most (0 to 2^31 - 1), whatever the ranges were; known bits stay. */
export function withRange(a: number, least: number, most: number): number {
  return wasm.withRange(a, least, most);
}

export function isConstant(a: number): boolean {
  return wasm.isConstant(a) !== 0;
}

/** Whether the lower half is one. */
export function isConstant32(a: number): boolean {
  return wasm.isConstant32(a) !== 0;
}

/** Whether it is the constant 0, whatever its ranges say. */
export function isZero(a: number): boolean {
  return wasm.isZero(a) !== 0;
}

/** Whether no bit is known. */
export function isUnknownBits(a: number): boolean {
  return wasm.isUnknownBits(a) !== 0;
}

/** Lower and upper half of the known bits, signed. */
export function lowBits(a: number): number {
  return wasm.low(a);
}

/** The known bits as a signed number: the value of a constant, exact up to 53 bits. */
export function constantNumber(a: number): number {
  return wasm.constantNumber(a);
}

/** Ends of the ranges as numbers, rounded to 53 bits: good for comparing with anything below 2^53. */
export function umin(a: number): number {
  return wasm.umin(a);
}

export function umax(a: number): number {
  return wasm.umax(a);
}

export function smin(a: number): number {
  return wasm.smin(a);
}

export function smax(a: number): number {
  return wasm.smax(a);
}

/** Bits that the largest unsigned value needs (get_reg_width). */
export function width(a: number): number {
  return wasm.width(a);
}

/** Whether all values are below 2^bits, unsigned. */
export function fits(a: number, bits: number): boolean {
  return wasm.fits(a, bits) !== 0;
}

/** Whether `old` allows all that `current` allows. */
export function within(old: number, current: number): boolean {
  return old === current || wasm.within(old, current) !== 0;
}

/** Whether a + offset is a multiple of size (a power of two) for certain. */
export function aligned(a: number, offset: number, size: number): boolean {
  return wasm.aligned(a, offset, size) !== 0;
}

/** Whether the ranges contradict each other so that no offset can be made of it. */
export function contradictory(a: number): boolean {
  return wasm.contradictory(a) !== 0;
}

/** 0, or why the parts contradict each other: see `assembly/bounds.ts`. */
export function violation(a: number): number {
  return wasm.violationOf(a);
}

/** All parts of a value, for texts and for those who read results. */
export interface ScalarParts {
  readonly value: bigint;
  readonly mask: bigint;
  readonly smin: bigint;
  readonly smax: bigint;
  readonly umin: bigint;
  readonly umax: bigint;
  readonly s32min: number;
  readonly s32max: number;
  readonly u32min: number;
  readonly u32max: number;
}

export function partsOf(id: number): ScalarParts {
  if (view.buffer !== wasm.memory.buffer) view = new BigInt64Array(wasm.memory.buffer);
  const at = wasm.addressOf(id) >>> 3;
  const signed = view[at + 6] as bigint;
  const unsigned = view[at + 7] as bigint;
  return {
    value: BigInt.asUintN(64, view[at] as bigint),
    mask: BigInt.asUintN(64, view[at + 1] as bigint),
    smin: view[at + 2] as bigint,
    smax: view[at + 3] as bigint,
    umin: BigInt.asUintN(64, view[at + 4] as bigint),
    umax: BigInt.asUintN(64, view[at + 5] as bigint),
    s32min: Number(BigInt.asIntN(32, signed)),
    s32max: Number(signed >> 32n),
    u32min: Number(BigInt.asUintN(32, unsigned)),
    u32max: Number(BigInt.asUintN(32, unsigned >> 32n)),
  };
}

/** "(0x0; 0xff)": value and mask; of a constant the number alone (tnum_strn). */
export function tnumText(id: number): string {
  const { value, mask } = partsOf(id);
  if (mask === 0n) return value <= 65535n ? String(value) : hexText(value);
  return `(${hexText(value)}; ${hexText(mask)})`;
}

/** As %#llx: zero has no prefix. */
export function hexText(value: bigint): string {
  return value === 0n ? "0x0" : `0x${value.toString(16)}`;
}
