import type { Instruction } from "../isa/index.ts";

/**
 * The parts of an instruction's text that vary. One description serves both directions: how the field is written, and
 * what may stand in its place when text is read.
 *
 * `accepts` names the grammar: a register of one width (`r`, `w`), a number, a number with its sign as the operator
 * (`signed`: "+ 8", "- 8"; nothing at all means 0), a distance in slots or the name of a label (`target`), a name
 * (`function`), a 64-bit number or the name of something that has an address (`address`), or a comma and a number,
 * or nothing for 0 (`rest`).
 */
export const PLACEHOLDERS = {
  dst: { accepts: "r", bits: 4, text: "a register" },
  src: { accepts: "r", bits: 4, text: "a register" },
  dst32: { accepts: "w", bits: 4, text: "a 32-bit register" },
  src32: { accepts: "w", bits: 4, text: "a 32-bit register" },
  imm: { accepts: "number", bits: 32, text: "a number" },
  /** The upper and the lower half of imm: address spaces. */
  to: { accepts: "number", bits: 16, text: "an address space" },
  from: { accepts: "number", bits: 16, text: "an address space" },
  /** The src field, as the kind of an `lddw`. */
  pseudo: { accepts: "number", bits: 4, text: "a kind, 0 to 15" },
  /** Displacement in the offset field. */
  offset: { accepts: "signed", bits: 16, text: "+ or - and a displacement" },
  /** Displacement in imm: the constant part of an indirect packet load. */
  index: { accepts: "signed", bits: 32, text: "+ or - and a displacement" },
  /** Distances in slots, in the offset field and in imm. */
  jump: { accepts: "target", bits: 16, text: "a distance or a label" },
  jump32: { accepts: "target", bits: 32, text: "a distance or a label" },
  function: { accepts: "function", bits: 32, text: "the name of a function" },
  /** The offset field of a kfunc call. */
  btf: { accepts: "rest", bits: 16, text: "a comma and an index" },
  /** imm of the second slot. */
  high: { accepts: "rest", bits: 32, text: "a comma and a number" },
  /** All 64 bits of an `lddw`. */
  wide: { accepts: "address", bits: 64, text: "a 64-bit number or a symbol" },
  /** The same without a sign; what fits into 32 bits leaves the second slot 0. */
  address: { accepts: "number", bits: 64, text: "a number" },
} as const;

export type PlaceholderName = keyof typeof PLACEHOLDERS;

/** How a dialect writes the fields. */
export interface FieldStyle {
  readonly register: (index: number, wide: boolean) => string;
  /** A signed 32-bit number. */
  readonly number: (value: number) => string;
  /** A displacement in a memory operand, with its sign; may be empty for 0. */
  readonly displacement: (value: number) => string;
  /** A distance in slots, with its sign. */
  readonly distance: (value: number) => string;
  readonly unsigned: (value: number | bigint) => string;
  readonly wide: (value: bigint) => string;
}

/** The text of one field. `high` is imm of the second slot. */
export function formatPlaceholder(
  name: PlaceholderName,
  { dst, src, offset, imm }: Instruction,
  high: number,
  style: FieldStyle,
): string {
  switch (name) {
    case "dst":
      return style.register(dst, true);
    case "src":
      return style.register(src, true);
    case "dst32":
      return style.register(dst, false);
    case "src32":
      return style.register(src, false);
    case "imm":
      return style.number(imm);
    case "to":
      return style.unsigned(imm >>> 16);
    case "from":
      return style.unsigned(imm & 0xffff);
    case "pseudo":
      return style.unsigned(src);
    case "offset":
      return style.displacement(offset);
    case "index":
      return imm === 0 ? "" : ` ${style.displacement(imm)}`;
    case "jump":
      return style.distance(offset);
    case "jump32":
    case "function":
      return style.distance(imm);
    case "btf":
      return offset === 0 ? "" : `, ${style.number(offset)}`;
    case "high":
      return high === 0 ? "" : `, ${style.number(high)}`;
    case "wide":
      return style.wide((BigInt(high) << 32n) | BigInt(imm >>> 0));
    case "address":
      return style.unsigned(high === 0 ? imm >>> 0 : (BigInt(high >>> 0) << 32n) | BigInt(imm >>> 0));
  }
}
