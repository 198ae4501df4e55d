/** From a matched statement to its slots, and what must be filled in once all labels are known. */
import { type Instruction, isWide } from "../isa/index.ts";
import { asmError } from "./diagnostic.ts";
import type { Value } from "./expression.ts";
import type { Match } from "./grammar.ts";
import { PLACEHOLDERS, type PlaceholderName } from "./placeholder.ts";

/** A reference of an instruction to a symbol. */
export interface InstructionReference {
  /** Where the distance or address goes: the offset field, imm, imm of a call, both halves of an `lddw`. */
  readonly kind: "offset" | "imm" | "call" | "address";
  readonly value: Value;
}

export interface Encoded {
  readonly slots: readonly Instruction[];
  readonly reference?: InstructionReference;
}

/** The slots of an instruction. A field that no placeholder fills has the row's fixed value, or 0. */
export function encodeMatch({ row, operands }: Match): Encoded {
  const fixed = (field: string | number): number => (typeof field === "number" ? field : 0);
  const slot = {
    opcode: row.opcode,
    dst: fixed(row.fields.dst),
    src: fixed(row.fields.src),
    offset: fixed(row.fields.offset),
    imm: fixed(row.fields.imm),
  };
  let high = 0;
  let reference: InstructionReference | undefined;
  for (const { field: name, value } of operands) {
    const kind = value.plus === undefined ? undefined : referenceKind(name);
    if (kind !== undefined) {
      reference = { kind, value };
      continue;
    }
    switch (name) {
      case "dst":
      case "dst32":
        slot.dst = Number(value.constant);
        break;
      case "src":
      case "src32":
      case "pseudo":
        slot.src = inRange(name, value);
        break;
      case "imm":
      case "index":
      case "jump32":
        slot.imm = inRange(name, value) | 0;
        break;
      case "to":
        slot.imm = (slot.imm & 0xffff) | (inRange(name, value) << 16);
        break;
      case "from":
        slot.imm = (slot.imm & ~0xffff) | (inRange(name, value) & 0xffff);
        break;
      case "offset":
      case "jump":
      case "btf":
        slot.offset = (inRange(name, value) << 16) >> 16;
        break;
      case "high":
        high = inRange(name, value) | 0;
        break;
      case "wide":
      case "address":
        [slot.imm, high] = halves(name, value);
        break;
      case "function":
        break;
    }
  }
  const slots = isWide(slot) ? [slot, { opcode: 0, dst: 0, src: 0, offset: 0, imm: high }] : [slot];
  return reference === undefined ? { slots } : { slots, reference };
}

function referenceKind(name: PlaceholderName): InstructionReference["kind"] | undefined {
  switch (name) {
    case "jump":
      return "offset";
    case "jump32":
      return "imm";
    case "function":
      return "call";
    case "wide":
      return "address";
    default:
      return undefined;
  }
}

/** Displacements and distances are signed; other numbers may be written signed or unsigned. */
const SIGNED: readonly PlaceholderName[] = ["offset", "index", "jump", "jump32"];

/** The lowest and the highest value that each placeholder takes, and the highest that is no bit pattern. */
const RANGES: ReadonlyMap<PlaceholderName, { lowest: bigint; highest: bigint; highestDecimal: bigint }> =
  new Map(
    (Object.keys(PLACEHOLDERS) as PlaceholderName[]).map((name) => {
      const bits = BigInt(PLACEHOLDERS[name].bits);
      const unsigned = (1n << bits) - 1n;
      if (name === "pseudo") return [name, { lowest: 0n, highest: unsigned, highestDecimal: unsigned }];
      const signed = (1n << (bits - 1n)) - 1n;
      const highest = SIGNED.includes(name) ? signed : unsigned;
      return [name, { lowest: -signed - 1n, highest, highestDecimal: signed }];
    }),
  );

function inRange(name: PlaceholderName, { constant, decimal, at }: Value): number {
  const range = RANGES.get(name);
  if (range === undefined) return 0;
  const highest = decimal === true ? range.highestDecimal : range.highest;
  if (constant < range.lowest || constant > highest) {
    const { bits } = PLACEHOLDERS[name];
    throw asmError(at, `${constant} is out of range: ${bits} bits, ${range.lowest} to ${highest}`);
  }
  return Number(constant);
}

function halves(name: PlaceholderName, value: Value): [number, number] {
  const { constant, at } = value;
  if (constant < -(1n << 63n) || constant >= 1n << 64n) {
    throw asmError(at, `${constant} is out of range: 64 bits, ${-(1n << 63n)} to ${(1n << 64n) - 1n}`);
  }
  const low = Number(BigInt.asIntN(32, constant));
  // LLVM's ld_pseudo fills one slot only, so that -1 leaves the second at 0 as it does for every 32-bit number.
  const narrow = name === "address" && constant >= -(1n << 31n) && constant < 1n << 32n;
  return [low, narrow ? 0 : Number(BigInt.asIntN(32, constant >> 32n))];
}
