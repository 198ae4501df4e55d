/**
 * What a filter computes from a packet, as hash-consed expressions: two that look alike are one object, so comparing
 * by identity is value numbering. A packet doesn't change while a filter looks at it, so a value means the same wherever it
 * stands, unless a slot that it reads is written a second time on the way: what was known of it then ends there.
 *
 * Evaluating a value may end the program: a load outside of the captured bytes rejects the packet, and so does a
 * division by a zero that was computed. No rewriting here drops a load, for that would change a verdict.
 */
import type { CbpfAluOp } from "../cbpf/index.ts";

export type LoadSize = 1 | 2 | 4;
export type ValueOp = Exclude<CbpfAluOp, "neg">;

/** A scratch cell to be: written by a `set`, read as a value. */
export interface Slot {
  readonly id: number;
  /** For explanations: "length of the radiotap header". */
  readonly name: string;
  /** Most that it can be. */
  readonly max: number;
  /** Another slot whose cell this one takes over: from when this is written on, nobody reads the other. */
  readonly after: Slot | undefined;
}

interface Base {
  readonly id: number;
  /** Upper bound of the value, unsigned. */
  readonly max: number;
  /** Instructions to compute it from nothing, roughly. */
  readonly cost: number;
  /** Whether evaluating it always ends the program: it divides by the constant 0. */
  readonly fails: boolean;
}

export type Value =
  | (Base & { readonly kind: "const"; readonly value: number })
  | (Base & { readonly kind: "length" })
  /** `size` bytes at `base + offset`, big-endian; `base` undefined means the packet's start. */
  | (Base & {
      readonly kind: "load";
      readonly size: LoadSize;
      readonly base: Value | undefined;
      readonly offset: number;
    })
  /** Four times the low nibble of the byte at `offset`: an IPv4 header's length. */
  | (Base & { readonly kind: "header-length"; readonly offset: number })
  | (Base & { readonly kind: "alu"; readonly op: ValueOp; readonly left: Value; readonly right: Value })
  | (Base & { readonly kind: "negate"; readonly operand: Value })
  | (Base & { readonly kind: "slot"; readonly slot: Slot });

const MAX = 0xffffffff;
/** No capture is that long, and as an offset it lies below Linux's ancillary ones: such a load always fails. */
const NOWHERE = 0x7fffffff;

/** `a op b` in 32 bits, for constants; undefined for a division by 0. Shifts past the end leave 0, as in libpcap. */
export function fold(op: ValueOp, a: number, b: number): number | undefined {
  switch (op) {
    case "add":
      return (a + b) >>> 0;
    case "sub":
      return (a - b) >>> 0;
    case "mul":
      return Math.imul(a, b) >>> 0;
    case "div":
      return b === 0 ? undefined : Math.floor(a / b);
    case "mod":
      return b === 0 ? undefined : a % b;
    case "and":
      return (a & b) >>> 0;
    case "or":
      return (a | b) >>> 0;
    case "xor":
      return (a ^ b) >>> 0;
    case "lsh":
      return b > 31 ? 0 : (a << b) >>> 0;
    case "rsh":
      return b > 31 ? 0 : a >>> b;
  }
}

/** Operations for which `x op 0` is `x`. */
const NEUTRAL_ZERO: ReadonlySet<ValueOp> = new Set(["add", "sub", "or", "xor", "lsh", "rsh"]);
const COMMUTES: ReadonlySet<ValueOp> = new Set(["add", "mul", "and", "or", "xor"]);

/** All bits that a value up to `max` can have. */
export const bitsOf = (max: number): number => (max === 0 ? 0 : 2 ** (32 - Math.clz32(max)) - 1);

function boundOf(op: ValueOp, left: Value, right: Value): number {
  switch (op) {
    case "and":
      return Math.min(left.max, right.max);
    case "or":
    case "xor":
      return Math.max(bitsOf(left.max), bitsOf(right.max));
    case "add":
      return Math.min(MAX, left.max + right.max) === left.max + right.max ? left.max + right.max : MAX;
    case "mul":
      return left.max * right.max <= MAX ? left.max * right.max : MAX;
    case "div":
      return left.max;
    case "mod":
      return left.max;
    case "rsh":
      return right.kind === "const" ? left.max >>> right.value : left.max;
    case "lsh":
      return right.kind === "const" && left.max * 2 ** right.value <= MAX ? left.max * 2 ** right.value : MAX;
    case "sub":
      return MAX;
  }
}

function alwaysFails(shape: Shape): boolean {
  switch (shape.kind) {
    case "load":
      return shape.base?.fails === true;
    case "negate":
      return shape.operand.fails;
    case "alu": {
      const { op, left, right } = shape;
      const divides = op === "div" || op === "mod";
      return left.fails || right.fails || (divides && right.kind === "const" && right.value === 0);
    }
    default:
      return false;
  }
}

type Shape = Value extends infer V ? (V extends Value ? Omit<V, keyof Base> : never) : never;

/** Makes values; one for each compilation. */
export class Values {
  readonly #known = new Map<string, Value>();
  readonly #byId: Value[] = [];
  #slots = 0;

  /** The value of an id. */
  withId(id: number): Value | undefined {
    return this.#byId[id];
  }

  #intern(key: string, shape: Shape, max: number, cost: number): Value {
    let value = this.#known.get(key);
    if (value === undefined) {
      value = { ...shape, id: this.#known.size, max, cost, fails: alwaysFails(shape) } as Value;
      this.#known.set(key, value);
      this.#byId.push(value);
    }
    return value;
  }

  constant(value: number): Value {
    const k = value >>> 0;
    return this.#intern(`#${k}`, { kind: "const", value: k }, k, 1);
  }

  length(): Value {
    return this.#intern("len", { kind: "length" }, MAX, 1);
  }

  newSlot(name: string, max: number, after?: Slot): Slot {
    return { id: this.#slots++, name, max, after };
  }

  slot(slot: Slot): Value {
    return this.#intern(`slot ${slot.id}`, { kind: "slot", slot }, slot.max, 1);
  }

  headerLength(offset: number): Value {
    return this.#intern(`msh ${offset}`, { kind: "header-length", offset: offset >>> 0 }, 60, 1);
  }

  /**
   * A load. A constant base moves into the offset, as far as it fits: the instruction set adds the two without wrapping
   * around, so a sum beyond 32 bits is outside of every packet.
   */
  load(size: LoadSize, base: Value | undefined, offset: number): Value {
    let from = base;
    let at = offset >>> 0;
    if (from?.kind === "const") {
      at = from.value + at > MAX ? NOWHERE : from.value + at;
      from = undefined;
    } else if (from?.kind === "alu" && from.op === "add" && from.right.kind === "const") {
      const sum = from.right.value + at;
      if (sum < NOWHERE) {
        at = sum;
        from = from.left;
      }
    }
    const max = size === 4 ? MAX : 2 ** (8 * size) - 1;
    const shape = { kind: "load", size, base: from, offset: at } as const;
    return this.#intern(`ld${size} ${from?.id ?? ""}+${at}`, shape, max, 1 + (from?.cost ?? 0));
  }

  negate(operand: Value): Value {
    if (operand.kind === "const") return this.constant(-operand.value);
    return this.#intern(`neg ${operand.id}`, { kind: "negate", operand }, MAX, operand.cost + 1);
  }

  /** `left op right`; constants are folded, and where the order is free they stand on the right. */
  alu(op: ValueOp, left: Value, right: Value): Value {
    if (left.kind === "const" && right.kind === "const") {
      const folded = fold(op, left.value, right.value);
      if (folded !== undefined) return this.constant(folded);
    }
    if (left.kind === "const" && right.kind !== "const" && COMMUTES.has(op)) return this.alu(op, right, left);
    if (right.kind === "const") {
      if (right.value === 0 && NEUTRAL_ZERO.has(op)) return left;
      if (right.value === 1 && (op === "mul" || op === "div")) return left;
      if (op === "and" && bitsOf(left.max) === (bitsOf(left.max) & right.value) >>> 0) return left;
      // Nothing is left of it, but what it reads must be there.
      if ((op === "lsh" || op === "rsh") && right.value > 31) return this.alu("and", left, this.constant(0));
      if (op === "sub") return this.alu("add", left, this.constant(-right.value));
      if (left.kind === "alu" && left.op === op && left.right.kind === "const" && COMMUTES.has(op)) {
        const both = fold(op, left.right.value, right.value) as number;
        return this.alu(op, left.left, this.constant(both));
      }
    }
    const cost = left.cost + right.cost + (right.kind === "const" ? 0 : 2);
    return this.#intern(
      `${op} ${left.id} ${right.id}`,
      { kind: "alu", op, left, right },
      boundOf(op, left, right),
      cost,
    );
  }
}

/** Whether a value is computed from what a slot holds. */
export function readsSlot(value: Value, slot: Slot): boolean {
  switch (value.kind) {
    case "slot":
      return value.slot === slot;
    case "load":
      return value.base !== undefined && readsSlot(value.base, slot);
    case "negate":
      return readsSlot(value.operand, slot);
    case "alu":
      return readsSlot(value.left, slot) || readsSlot(value.right, slot);
    default:
      return false;
  }
}

/** Whether evaluating a value can end the program: loads, and division by something computed. */
export function mayFail(value: Value): boolean {
  switch (value.kind) {
    case "const":
    case "length":
    case "slot":
      return false;
    case "load":
    case "header-length":
      return true;
    case "negate":
      return mayFail(value.operand);
    case "alu":
      if (
        (value.op === "div" || value.op === "mod") &&
        !(value.right.kind === "const" && value.right.value !== 0)
      ) {
        return true;
      }
      return mayFail(value.left) || mayFail(value.right);
  }
}
