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
  for (const [name, value] of Object.entries(operands) as [PlaceholderName, Value][]) {
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
const SIGNED: ReadonlySet<PlaceholderName> = new Set(["offset", "index", "jump", "jump32"]);

function inRange(name: PlaceholderName, { constant, decimal, at }: Value): number {
  const { bits } = PLACEHOLDERS[name];
  const lowest = name === "pseudo" ? 0n : -(1n << BigInt(bits - 1));
  const isSigned = name !== "pseudo" && (SIGNED.has(name) || decimal === true);
  const highest = isSigned ? -lowest - 1n : (1n << BigInt(bits)) - 1n;
  if (constant < lowest || constant > highest) {
    throw asmError(at, `${constant} is out of range: ${bits} bits, ${lowest} to ${highest}`);
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
