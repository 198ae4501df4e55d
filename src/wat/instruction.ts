/** Instructions as data: decoding, one at a time, without recursion. */
import { type Reader, malformed, unsupported } from "./reader.ts";
import {
  HEAP_TYPES,
  type Operation,
  PREFIXES,
  VALUE_TYPES,
  featureOf,
  featureOfType,
  operationOf,
} from "./table.ts";

/** A decoded instruction; which fields mean something is told by `operation.shape`. */
export interface Instruction {
  readonly operation: Operation;
  /** Of its first byte, in the module. */
  readonly offset: number;
  /** Indices in binary order; of a memory access the alignment (its binary logarithm) and the offset. */
  readonly operands: readonly number[];
  /** Of a constant; of floating-point ones the bits. */
  readonly value: bigint;
  /** Value types of `select` and of a block's single result, the heap type of `ref.null`. */
  readonly types: readonly string[];
}

export function readValueType(reader: Reader, what: string): string {
  const start = reader.offset;
  const byte = reader.byte(what);
  const name = VALUE_TYPES.get(byte);
  if (name === undefined) throw unknownType(byte, what, start);
  return name;
}

/** `funcref` or `externref`. */
export function readReferenceType(reader: Reader, what: string): string {
  const start = reader.offset;
  const name = readValueType(reader, what);
  if (!name.endsWith("ref")) throw malformed(`${what} is ${name}, not a type of references,`, start);
  return name;
}

export function unknownType(byte: number, what: string, offset: number): Error {
  const feature = featureOfType(byte);
  if (feature !== undefined) return unsupported(`${what} of ${feature}`, offset);
  return malformed(`${what} is 0x${byte.toString(16)}, which is no type,`, offset);
}

function readOperation(reader: Reader): Operation {
  const start = reader.offset;
  const first = reader.byte("an instruction");
  const code = PREFIXES.has(first) ? (first << 8) | Math.min(reader.u32("an opcode"), 0xff) : first;
  const operation = operationOf(code);
  if (operation !== undefined) return operation;
  const feature = featureOf(first);
  if (feature !== undefined) throw unsupported(`an instruction of ${feature}`, start);
  throw malformed(`opcode 0x${code.toString(16)}, which does not exist,`, start);
}

/** A little-endian number. */
function readBits(reader: Reader, bytes: number): bigint {
  let value = 0n;
  for (const [index, byte] of reader.bytes(bytes, "a constant").entries()) {
    value |= BigInt(byte) << BigInt(8 * index);
  }
  return value;
}

export function readMemoryIndex(reader: Reader): number {
  const start = reader.offset;
  const index = reader.u32("a memory index");
  if (index !== 0) throw unsupported("an access to a second memory", start);
  return index;
}

function readAlignment(reader: Reader): number {
  const start = reader.offset;
  const align = reader.u32("an alignment");
  if (align < 32) return align;
  // Bit 6 says that a memory index follows (multi-memory proposal).
  if (align >= 64 && align < 128) throw unsupported("an access to a second memory", start);
  throw malformed(`the alignment 2 ** ${align}`, start);
}

/** The type of a block: nothing, one result, or the index of a type (Core Specification 2.0, section 5.4.1). */
function readBlockType(reader: Reader): Pick<Instruction, "operands" | "types"> {
  const start = reader.offset;
  const value = reader.signed(33, "a block type");
  if (value >= 0n) return { operands: [Number(value)], types: [] };
  // Negative numbers of one byte are types.
  const byte = Number(value & 0x7fn);
  if (value < -64n) throw malformed(`a block type ${value}`, start);
  if (byte === 0x40) return { operands: [], types: [] };
  const name = VALUE_TYPES.get(byte);
  if (name === undefined) throw unknownType(byte, "a block type", start);
  return { operands: [], types: [name] };
}

function readHeapType(reader: Reader): string {
  const start = reader.offset;
  const byte = reader.byte("a heap type");
  const name = HEAP_TYPES.get(byte);
  if (name === undefined) throw unknownType(byte, "a heap type", start);
  return name;
}

const NOTHING = { operands: [], value: 0n, types: [] } as const;

function readImmediates(reader: Reader, operation: Operation): Partial<Instruction> {
  switch (operation.shape) {
    case "none":
    case "else":
    case "end":
      return {};
    case "block":
      return readBlockType(reader);
    case "label":
      return { operands: [reader.u32("a label")] };
    case "labels": {
      const targets = reader.list("branch targets", () => reader.u32("a branch target"));
      targets.push(reader.u32("a default target"));
      return { operands: targets };
    }
    case "func":
      return { operands: [reader.u32("a function index")] };
    case "call_indirect":
      return { operands: [reader.u32("a type index"), reader.u32("a table index")] };
    case "types":
      return { types: reader.list("result types", () => readValueType(reader, "a result type")) };
    case "local":
      return { operands: [reader.u32("a local index")] };
    case "global":
      return { operands: [reader.u32("a global index")] };
    case "table":
      return { operands: [reader.u32("a table index")] };
    case "access":
      return { operands: [readAlignment(reader), reader.u32("an offset")] };
    case "memory":
      return { operands: [readMemoryIndex(reader)] };
    case "i32":
      return { value: reader.signed(32, "a constant") };
    case "i64":
      return { value: reader.signed(64, "a constant") };
    case "f32":
      return { value: readBits(reader, 4) };
    case "f64":
      return { value: readBits(reader, 8) };
    case "v128":
      return { value: readBits(reader, 16) };
    case "reftype":
      return { types: [readHeapType(reader)] };
    case "memory_init":
      return { operands: [reader.u32("a data segment index"), readMemoryIndex(reader)] };
    case "memory_copy":
      return { operands: [readMemoryIndex(reader), readMemoryIndex(reader)] };
    case "data":
      return { operands: [reader.u32("a data segment index")] };
    case "elem":
      return { operands: [reader.u32("an element segment index")] };
    case "table_init":
      return { operands: [reader.u32("an element segment index"), reader.u32("a table index")] };
    case "table_copy":
      return { operands: [reader.u32("a table index"), reader.u32("a table index")] };
    case "fence": {
      const start = reader.offset;
      const order = reader.byte("a memory order");
      if (order !== 0) throw malformed(`the memory order ${order}`, start);
      return {};
    }
    default:
      return operation.shape satisfies never;
  }
}

export function readInstruction(reader: Reader): Instruction {
  const { offset } = reader;
  const operation = readOperation(reader);
  return { operation, offset, ...NOTHING, ...readImmediates(reader, operation) };
}

/** A constant expression, without its `end`: flat, so blocks have no place in it. */
export function readExpression(reader: Reader): Instruction[] {
  const instructions: Instruction[] = [];
  for (;;) {
    const instruction = readInstruction(reader);
    const { name, shape } = instruction.operation;
    if (shape === "end") return instructions;
    if (shape === "block" || shape === "else" || shape === "label" || shape === "labels") {
      throw malformed(`'${name}' in a constant expression`, instruction.offset);
    }
    instructions.push(instruction);
  }
}
