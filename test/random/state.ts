/**
 * What the generator knows about registers and stack at one place in a function: enough to write only instructions
 * that a verifier accepts and whose outcome is the same on every machine. So a scalar here is a number that does not
 * depend on addresses, time or chance, and a stack byte counts as written only if it holds part of such a number.
 */

/** What a register or a spilled slot holds. Offsets in bytes; a pointer lies 0 to `spread` beyond its offset. */
export type Value =
  | { readonly kind: "none" }
  | { readonly kind: "scalar" }
  | { readonly kind: "ctx" }
  | { readonly kind: "end" }
  /** Of the function's own frame: offset -512 to 0. */
  | { readonly kind: "stack"; readonly offset: number; readonly spread: number; readonly align: number }
  /** Of the caller's frame, all `size` bytes of it written. */
  | { readonly kind: "buffer"; readonly offset: number; readonly size: number }
  /** `base` tells apart pointers whose distance is unknown. */
  | { readonly kind: "packet"; readonly base: number; readonly offset: number }
  | {
      readonly kind: "value";
      readonly map: number;
      readonly offset: number;
      readonly spread: number;
      readonly align: number;
    };

export const NONE: Value = { kind: "none" };
export const SCALAR: Value = { kind: "scalar" };

/** Bytes of the frame that are tracked; deeper ones are not used. */
export const FRAME = 512;

export class State {
  /** r0 to r10. */
  readonly regs: Value[];
  /** 1 for a written byte; index 0 is fp-512. */
  readonly written: Uint8Array;
  /** Pointers, by their offset from fp. */
  readonly spills: Map<number, Value>;
  /** Bytes behind a packet base that are known to lie in the packet. */
  readonly ranges: Map<number, number>;

  constructor(
    regs: Value[] = Array.from({ length: 10 }, () => NONE),
    written: Uint8Array = new Uint8Array(FRAME),
    spills: Map<number, Value> = new Map(),
    ranges: Map<number, number> = new Map(),
  ) {
    this.regs = regs;
    this.written = written;
    this.spills = spills;
    this.ranges = ranges;
  }

  clone(): State {
    return new State([...this.regs], this.written.slice(), new Map(this.spills), new Map(this.ranges));
  }

  /** Whether all bytes at fp+offset hold scalars. */
  isWritten(offset: number, size: number): boolean {
    for (let at = offset + FRAME; at < offset + FRAME + size; at++) if (this.written[at] !== 1) return false;
    return true;
  }

  /** A scalar has been stored: spilled pointers that it touches are gone, and their other bytes with them. */
  write(offset: number, size: number): void {
    for (const slot of this.spills.keys()) {
      if (slot < offset + size && offset < slot + 8) this.spills.delete(slot);
    }
    this.written.fill(1, offset + FRAME, offset + FRAME + size);
  }

  /** A pointer has been stored to fp+offset. */
  spill(offset: number, value: Value): void {
    this.written.fill(0, offset + FRAME, offset + FRAME + 8);
    this.spills.set(offset, value);
  }

  /** Forgets all values that match. */
  forget(matches: (value: Value) => boolean): void {
    this.regs.forEach((value, reg) => {
      if (matches(value)) this.regs[reg] = NONE;
    });
    for (const [slot, value] of this.spills) if (matches(value)) this.spills.delete(slot);
  }

  /** What a call leaves: r1 to r5 are gone. */
  clobber(): void {
    for (let reg = 1; reg <= 5; reg++) this.regs[reg] = NONE;
  }
}

/** What holds on both ways into a place. */
export function merge(a: State, b: State): State {
  const regs = a.regs.map((value, reg) => common(value, b.regs[reg] as Value));
  const written = a.written.map((byte, at) => byte & (b.written[at] as number));
  const spills = new Map<number, Value>();
  for (const [slot, value] of a.spills) {
    const both = common(value, b.spills.get(slot) ?? NONE);
    if (both.kind !== "none") spills.set(slot, both);
  }
  const ranges = new Map<number, number>();
  for (const [base, range] of a.ranges) ranges.set(base, Math.min(range, b.ranges.get(base) ?? 0));
  return new State(regs, written, spills, ranges);
}

function common(a: Value, b: Value): Value {
  if (a === b) return a;
  if (a.kind !== b.kind) return NONE;
  const left = Object.entries(a);
  return left.every(([key, value]) => (b as unknown as Record<string, unknown>)[key] === value) ? a : NONE;
}
