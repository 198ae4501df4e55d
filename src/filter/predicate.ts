/**
 * Conditions on a packet, between syntax tree and decision graph. They are evaluated from left to right and stop early
 * as `&&` and `||` do, and that order matters: a load that fails rejects the packet at once, whatever would come next.
 */
import { type Ranges, rangeOf } from "./ranges.ts";
import type { Span } from "./syntax.ts";
import type { Slot, Value, Values } from "./value.ts";

export type Predicate =
  | { readonly kind: "constant"; readonly value: boolean }
  /** The value lies in one of the ranges. */
  | { readonly kind: "in"; readonly value: Value; readonly ranges: Ranges }
  /** Some bit of the mask is set. */
  | { readonly kind: "bits"; readonly value: Value; readonly mask: number }
  | { readonly kind: "compare"; readonly op: "eq" | "gt" | "ge"; readonly left: Value; readonly right: Value }
  | { readonly kind: "not"; readonly operand: Predicate }
  | { readonly kind: "and" | "or"; readonly items: readonly Predicate[]; readonly span?: Span }
  /** One of two conditions, as a test says. */
  | { readonly kind: "choice"; readonly test: Predicate; readonly yes: Predicate; readonly no: Predicate }
  /** Holds if the value can be read. */
  | { readonly kind: "touch"; readonly value: Value }
  /** Writes a slot; always holds. */
  | { readonly kind: "set"; readonly slot: Slot; readonly value: Value }
  /** A condition that writes the slot if it holds; it holds at once where the slot is written already. */
  | { readonly kind: "once"; readonly slot: Slot; readonly body: Predicate }
  /** Follows IPv6 or IPv4 extension headers until `protocol`; the one test that loops. */
  | {
      readonly kind: "header-chain";
      readonly version: 4 | 6;
      readonly protocol: number;
      /** Where the network header begins. */
      readonly offset: number;
    };

export const ALWAYS: Predicate = { kind: "constant", value: true };
export const NEVER: Predicate = { kind: "constant", value: false };

export function and(...items: readonly Predicate[]): Predicate {
  return items.length === 1 ? (items[0] as Predicate) : { kind: "and", items };
}

export function or(...items: readonly Predicate[]): Predicate {
  return items.length === 1 ? (items[0] as Predicate) : { kind: "or", items };
}

export function not(operand: Predicate): Predicate {
  return operand.kind === "not" ? operand.operand : { kind: "not", operand };
}

/** `value = k`. */
export function equals(value: Value, k: number): Predicate {
  return { kind: "in", value, ranges: rangeOf(k >>> 0, k >>> 0) };
}

/** `low <= value <= high`. */
export function within(value: Value, low: number, high: number): Predicate {
  return { kind: "in", value, ranges: rangeOf(low >>> 0, high >>> 0) };
}

/** `value & mask = k`. A mask that keeps the upper bits of the value is a range. */
export function masked(values: Values, value: Value, k: number, mask: number): Predicate {
  const relevant = (mask & value.max) >>> 0;
  const wanted = k >>> 0;
  if ((wanted & ~mask) >>> 0 !== 0) return equals(values.alu("and", value, values.constant(mask)), wanted);
  const full = 2 ** (32 - Math.clz32(value.max)) - 1;
  if (value.max === full) {
    const free = full - relevant;
    // A prefix mask: what it leaves free is one less than a power of two.
    if ((free & (free + 1)) === 0 && free < full) return within(value, wanted, wanted + free);
  }
  if (wanted === 0) return not({ kind: "bits", value, mask });
  if ((mask & (mask - 1)) === 0) return { kind: "bits", value, mask };
  return equals(values.alu("and", value, values.constant(mask)), wanted);
}
