/**
 * The instructions as rows: name in the text format, opcode, shape of the immediates, and for memory accesses their
 * natural alignment. Reading and printing derive from the rows (WebAssembly Core Specification 2.0, section 5.4, and
 * the threads and tail-call proposals).
 *
 * An instruction behind a prefix byte has the prefix in the upper byte of its code: 0xfc0a is 0xfc 0x0a.
 */
const ROWS = [
  // Control
  ["unreachable", 0x00, "none"],
  ["nop", 0x01, "none"],
  ["block", 0x02, "block"],
  ["loop", 0x03, "block"],
  ["if", 0x04, "block"],
  ["else", 0x05, "else"],
  ["end", 0x0b, "end"],
  ["br", 0x0c, "label"],
  ["br_if", 0x0d, "label"],
  ["br_table", 0x0e, "labels"],
  ["return", 0x0f, "none"],
  ["call", 0x10, "func"],
  ["call_indirect", 0x11, "call_indirect"],
  ["return_call", 0x12, "func"],
  ["return_call_indirect", 0x13, "call_indirect"],
  // Parametric, variables, tables, references
  ["drop", 0x1a, "none"],
  ["select", 0x1b, "none"],
  ["select", 0x1c, "types"],
  ["local.get", 0x20, "local"],
  ["local.set", 0x21, "local"],
  ["local.tee", 0x22, "local"],
  ["global.get", 0x23, "global"],
  ["global.set", 0x24, "global"],
  ["table.get", 0x25, "table"],
  ["table.set", 0x26, "table"],
  // Memory; the last column is the binary logarithm of the access's size, its natural alignment
  ["i32.load", 0x28, "access", 2],
  ["i64.load", 0x29, "access", 3],
  ["f32.load", 0x2a, "access", 2],
  ["f64.load", 0x2b, "access", 3],
  ["i32.load8_s", 0x2c, "access", 0],
  ["i32.load8_u", 0x2d, "access", 0],
  ["i32.load16_s", 0x2e, "access", 1],
  ["i32.load16_u", 0x2f, "access", 1],
  ["i64.load8_s", 0x30, "access", 0],
  ["i64.load8_u", 0x31, "access", 0],
  ["i64.load16_s", 0x32, "access", 1],
  ["i64.load16_u", 0x33, "access", 1],
  ["i64.load32_s", 0x34, "access", 2],
  ["i64.load32_u", 0x35, "access", 2],
  ["i32.store", 0x36, "access", 2],
  ["i64.store", 0x37, "access", 3],
  ["f32.store", 0x38, "access", 2],
  ["f64.store", 0x39, "access", 3],
  ["i32.store8", 0x3a, "access", 0],
  ["i32.store16", 0x3b, "access", 1],
  ["i64.store8", 0x3c, "access", 0],
  ["i64.store16", 0x3d, "access", 1],
  ["i64.store32", 0x3e, "access", 2],
  ["memory.size", 0x3f, "memory"],
  ["memory.grow", 0x40, "memory"],
  // Constants
  ["i32.const", 0x41, "i32"],
  ["i64.const", 0x42, "i64"],
  ["f32.const", 0x43, "f32"],
  ["f64.const", 0x44, "f64"],
  // Comparisons
  ["i32.eqz", 0x45, "none"],
  ["i32.eq", 0x46, "none"],
  ["i32.ne", 0x47, "none"],
  ["i32.lt_s", 0x48, "none"],
  ["i32.lt_u", 0x49, "none"],
  ["i32.gt_s", 0x4a, "none"],
  ["i32.gt_u", 0x4b, "none"],
  ["i32.le_s", 0x4c, "none"],
  ["i32.le_u", 0x4d, "none"],
  ["i32.ge_s", 0x4e, "none"],
  ["i32.ge_u", 0x4f, "none"],
  ["i64.eqz", 0x50, "none"],
  ["i64.eq", 0x51, "none"],
  ["i64.ne", 0x52, "none"],
  ["i64.lt_s", 0x53, "none"],
  ["i64.lt_u", 0x54, "none"],
  ["i64.gt_s", 0x55, "none"],
  ["i64.gt_u", 0x56, "none"],
  ["i64.le_s", 0x57, "none"],
  ["i64.le_u", 0x58, "none"],
  ["i64.ge_s", 0x59, "none"],
  ["i64.ge_u", 0x5a, "none"],
  ["f32.eq", 0x5b, "none"],
  ["f32.ne", 0x5c, "none"],
  ["f32.lt", 0x5d, "none"],
  ["f32.gt", 0x5e, "none"],
  ["f32.le", 0x5f, "none"],
  ["f32.ge", 0x60, "none"],
  ["f64.eq", 0x61, "none"],
  ["f64.ne", 0x62, "none"],
  ["f64.lt", 0x63, "none"],
  ["f64.gt", 0x64, "none"],
  ["f64.le", 0x65, "none"],
  ["f64.ge", 0x66, "none"],
  // Arithmetic
  ["i32.clz", 0x67, "none"],
  ["i32.ctz", 0x68, "none"],
  ["i32.popcnt", 0x69, "none"],
  ["i32.add", 0x6a, "none"],
  ["i32.sub", 0x6b, "none"],
  ["i32.mul", 0x6c, "none"],
  ["i32.div_s", 0x6d, "none"],
  ["i32.div_u", 0x6e, "none"],
  ["i32.rem_s", 0x6f, "none"],
  ["i32.rem_u", 0x70, "none"],
  ["i32.and", 0x71, "none"],
  ["i32.or", 0x72, "none"],
  ["i32.xor", 0x73, "none"],
  ["i32.shl", 0x74, "none"],
  ["i32.shr_s", 0x75, "none"],
  ["i32.shr_u", 0x76, "none"],
  ["i32.rotl", 0x77, "none"],
  ["i32.rotr", 0x78, "none"],
  ["i64.clz", 0x79, "none"],
  ["i64.ctz", 0x7a, "none"],
  ["i64.popcnt", 0x7b, "none"],
  ["i64.add", 0x7c, "none"],
  ["i64.sub", 0x7d, "none"],
  ["i64.mul", 0x7e, "none"],
  ["i64.div_s", 0x7f, "none"],
  ["i64.div_u", 0x80, "none"],
  ["i64.rem_s", 0x81, "none"],
  ["i64.rem_u", 0x82, "none"],
  ["i64.and", 0x83, "none"],
  ["i64.or", 0x84, "none"],
  ["i64.xor", 0x85, "none"],
  ["i64.shl", 0x86, "none"],
  ["i64.shr_s", 0x87, "none"],
  ["i64.shr_u", 0x88, "none"],
  ["i64.rotl", 0x89, "none"],
  ["i64.rotr", 0x8a, "none"],
  ["f32.abs", 0x8b, "none"],
  ["f32.neg", 0x8c, "none"],
  ["f32.ceil", 0x8d, "none"],
  ["f32.floor", 0x8e, "none"],
  ["f32.trunc", 0x8f, "none"],
  ["f32.nearest", 0x90, "none"],
  ["f32.sqrt", 0x91, "none"],
  ["f32.add", 0x92, "none"],
  ["f32.sub", 0x93, "none"],
  ["f32.mul", 0x94, "none"],
  ["f32.div", 0x95, "none"],
  ["f32.min", 0x96, "none"],
  ["f32.max", 0x97, "none"],
  ["f32.copysign", 0x98, "none"],
  ["f64.abs", 0x99, "none"],
  ["f64.neg", 0x9a, "none"],
  ["f64.ceil", 0x9b, "none"],
  ["f64.floor", 0x9c, "none"],
  ["f64.trunc", 0x9d, "none"],
  ["f64.nearest", 0x9e, "none"],
  ["f64.sqrt", 0x9f, "none"],
  ["f64.add", 0xa0, "none"],
  ["f64.sub", 0xa1, "none"],
  ["f64.mul", 0xa2, "none"],
  ["f64.div", 0xa3, "none"],
  ["f64.min", 0xa4, "none"],
  ["f64.max", 0xa5, "none"],
  ["f64.copysign", 0xa6, "none"],
  // Conversions
  ["i32.wrap_i64", 0xa7, "none"],
  ["i32.trunc_f32_s", 0xa8, "none"],
  ["i32.trunc_f32_u", 0xa9, "none"],
  ["i32.trunc_f64_s", 0xaa, "none"],
  ["i32.trunc_f64_u", 0xab, "none"],
  ["i64.extend_i32_s", 0xac, "none"],
  ["i64.extend_i32_u", 0xad, "none"],
  ["i64.trunc_f32_s", 0xae, "none"],
  ["i64.trunc_f32_u", 0xaf, "none"],
  ["i64.trunc_f64_s", 0xb0, "none"],
  ["i64.trunc_f64_u", 0xb1, "none"],
  ["f32.convert_i32_s", 0xb2, "none"],
  ["f32.convert_i32_u", 0xb3, "none"],
  ["f32.convert_i64_s", 0xb4, "none"],
  ["f32.convert_i64_u", 0xb5, "none"],
  ["f32.demote_f64", 0xb6, "none"],
  ["f64.convert_i32_s", 0xb7, "none"],
  ["f64.convert_i32_u", 0xb8, "none"],
  ["f64.convert_i64_s", 0xb9, "none"],
  ["f64.convert_i64_u", 0xba, "none"],
  ["f64.promote_f32", 0xbb, "none"],
  ["i32.reinterpret_f32", 0xbc, "none"],
  ["i64.reinterpret_f64", 0xbd, "none"],
  ["f32.reinterpret_i32", 0xbe, "none"],
  ["f64.reinterpret_i64", 0xbf, "none"],
  ["i32.extend8_s", 0xc0, "none"],
  ["i32.extend16_s", 0xc1, "none"],
  ["i64.extend8_s", 0xc2, "none"],
  ["i64.extend16_s", 0xc3, "none"],
  ["i64.extend32_s", 0xc4, "none"],
  // References
  ["ref.null", 0xd0, "reftype"],
  ["ref.is_null", 0xd1, "none"],
  ["ref.func", 0xd2, "func"],
  // Saturating truncation, bulk memory, tables
  ["i32.trunc_sat_f32_s", 0xfc00, "none"],
  ["i32.trunc_sat_f32_u", 0xfc01, "none"],
  ["i32.trunc_sat_f64_s", 0xfc02, "none"],
  ["i32.trunc_sat_f64_u", 0xfc03, "none"],
  ["i64.trunc_sat_f32_s", 0xfc04, "none"],
  ["i64.trunc_sat_f32_u", 0xfc05, "none"],
  ["i64.trunc_sat_f64_s", 0xfc06, "none"],
  ["i64.trunc_sat_f64_u", 0xfc07, "none"],
  ["memory.init", 0xfc08, "memory_init"],
  ["data.drop", 0xfc09, "data"],
  ["memory.copy", 0xfc0a, "memory_copy"],
  ["memory.fill", 0xfc0b, "memory"],
  ["table.init", 0xfc0c, "table_init"],
  ["elem.drop", 0xfc0d, "elem"],
  ["table.copy", 0xfc0e, "table_copy"],
  ["table.grow", 0xfc0f, "table"],
  ["table.size", 0xfc10, "table"],
  ["table.fill", 0xfc11, "table"],
  // Atomics
  ["memory.atomic.notify", 0xfe00, "access", 2],
  ["memory.atomic.wait32", 0xfe01, "access", 2],
  ["memory.atomic.wait64", 0xfe02, "access", 3],
  ["atomic.fence", 0xfe03, "fence"],
  ["i32.atomic.load", 0xfe10, "access", 2],
  ["i64.atomic.load", 0xfe11, "access", 3],
  ["i32.atomic.load8_u", 0xfe12, "access", 0],
  ["i32.atomic.load16_u", 0xfe13, "access", 1],
  ["i64.atomic.load8_u", 0xfe14, "access", 0],
  ["i64.atomic.load16_u", 0xfe15, "access", 1],
  ["i64.atomic.load32_u", 0xfe16, "access", 2],
  ["i32.atomic.store", 0xfe17, "access", 2],
  ["i64.atomic.store", 0xfe18, "access", 3],
  ["i32.atomic.store8", 0xfe19, "access", 0],
  ["i32.atomic.store16", 0xfe1a, "access", 1],
  ["i64.atomic.store8", 0xfe1b, "access", 0],
  ["i64.atomic.store16", 0xfe1c, "access", 1],
  ["i64.atomic.store32", 0xfe1d, "access", 2],
  ["i32.atomic.rmw.add", 0xfe1e, "access", 2],
  ["i64.atomic.rmw.add", 0xfe1f, "access", 3],
  ["i32.atomic.rmw8.add_u", 0xfe20, "access", 0],
  ["i32.atomic.rmw16.add_u", 0xfe21, "access", 1],
  ["i64.atomic.rmw8.add_u", 0xfe22, "access", 0],
  ["i64.atomic.rmw16.add_u", 0xfe23, "access", 1],
  ["i64.atomic.rmw32.add_u", 0xfe24, "access", 2],
  ["i32.atomic.rmw.sub", 0xfe25, "access", 2],
  ["i64.atomic.rmw.sub", 0xfe26, "access", 3],
  ["i32.atomic.rmw8.sub_u", 0xfe27, "access", 0],
  ["i32.atomic.rmw16.sub_u", 0xfe28, "access", 1],
  ["i64.atomic.rmw8.sub_u", 0xfe29, "access", 0],
  ["i64.atomic.rmw16.sub_u", 0xfe2a, "access", 1],
  ["i64.atomic.rmw32.sub_u", 0xfe2b, "access", 2],
  ["i32.atomic.rmw.and", 0xfe2c, "access", 2],
  ["i64.atomic.rmw.and", 0xfe2d, "access", 3],
  ["i32.atomic.rmw8.and_u", 0xfe2e, "access", 0],
  ["i32.atomic.rmw16.and_u", 0xfe2f, "access", 1],
  ["i64.atomic.rmw8.and_u", 0xfe30, "access", 0],
  ["i64.atomic.rmw16.and_u", 0xfe31, "access", 1],
  ["i64.atomic.rmw32.and_u", 0xfe32, "access", 2],
  ["i32.atomic.rmw.or", 0xfe33, "access", 2],
  ["i64.atomic.rmw.or", 0xfe34, "access", 3],
  ["i32.atomic.rmw8.or_u", 0xfe35, "access", 0],
  ["i32.atomic.rmw16.or_u", 0xfe36, "access", 1],
  ["i64.atomic.rmw8.or_u", 0xfe37, "access", 0],
  ["i64.atomic.rmw16.or_u", 0xfe38, "access", 1],
  ["i64.atomic.rmw32.or_u", 0xfe39, "access", 2],
  ["i32.atomic.rmw.xor", 0xfe3a, "access", 2],
  ["i64.atomic.rmw.xor", 0xfe3b, "access", 3],
  ["i32.atomic.rmw8.xor_u", 0xfe3c, "access", 0],
  ["i32.atomic.rmw16.xor_u", 0xfe3d, "access", 1],
  ["i64.atomic.rmw8.xor_u", 0xfe3e, "access", 0],
  ["i64.atomic.rmw16.xor_u", 0xfe3f, "access", 1],
  ["i64.atomic.rmw32.xor_u", 0xfe40, "access", 2],
  ["i32.atomic.rmw.xchg", 0xfe41, "access", 2],
  ["i64.atomic.rmw.xchg", 0xfe42, "access", 3],
  ["i32.atomic.rmw8.xchg_u", 0xfe43, "access", 0],
  ["i32.atomic.rmw16.xchg_u", 0xfe44, "access", 1],
  ["i64.atomic.rmw8.xchg_u", 0xfe45, "access", 0],
  ["i64.atomic.rmw16.xchg_u", 0xfe46, "access", 1],
  ["i64.atomic.rmw32.xchg_u", 0xfe47, "access", 2],
  ["i32.atomic.rmw.cmpxchg", 0xfe48, "access", 2],
  ["i64.atomic.rmw.cmpxchg", 0xfe49, "access", 3],
  ["i32.atomic.rmw8.cmpxchg_u", 0xfe4a, "access", 0],
  ["i32.atomic.rmw16.cmpxchg_u", 0xfe4b, "access", 1],
  ["i64.atomic.rmw8.cmpxchg_u", 0xfe4c, "access", 0],
  ["i64.atomic.rmw16.cmpxchg_u", 0xfe4d, "access", 1],
  ["i64.atomic.rmw32.cmpxchg_u", 0xfe4e, "access", 2],
  // Of the vector instructions what moves 16 bytes
  ["v128.load", 0xfd00, "access", 4],
  ["v128.store", 0xfd0b, "access", 4],
  ["v128.const", 0xfd0c, "v128"],
] as const;

type Row = (typeof ROWS)[number];

/** What follows an opcode. */
export type Shape = Row[2];

/** A row of the table, by names. */
export interface Operation {
  /** As the text format calls it. */
  readonly name: Row[0];
  readonly code: number;
  readonly shape: Shape;
  /** Of a memory access: the binary logarithm of its size. */
  readonly align: number;
}

const rows: readonly (readonly [Row[0], number, Shape, number?])[] = ROWS;

/** All instructions that can be printed, in the order of their opcodes. */
export const OPERATIONS: readonly Operation[] = rows.map(([name, code, shape, align = 0]) => ({
  name,
  code,
  shape,
  align,
}));

const byCode: ReadonlyMap<number, Operation> = new Map(OPERATIONS.map((row) => [row.code, row]));

/** The instruction of an opcode, if the table has it. */
export function operationOf(code: number): Operation | undefined {
  return byCode.get(code);
}

/** Bytes that stand before a second opcode. */
export const PREFIXES: ReadonlySet<number> = new Set(
  rows.map((row) => row[1] >> 8).filter((byte) => byte > 0),
);

/** What exists and is not printed: ranges of first bytes, both ends included. */
const BEYOND = [
  { from: 0x06, to: 0x0a, feature: "exception handling" },
  { from: 0x18, to: 0x19, feature: "exception handling" },
  { from: 0x1f, to: 0x1f, feature: "exception handling" },
  { from: 0x14, to: 0x15, feature: "typed function references" },
  { from: 0xd3, to: 0xd6, feature: "typed function references" },
  { from: 0xfb, to: 0xfb, feature: "garbage collection" },
  { from: 0xfd, to: 0xfd, feature: "vector instructions (SIMD)" },
] as const;

/** The feature of WebAssembly that an opcode outside the table belongs to, if any. */
export function featureOf(code: number): string | undefined {
  return BEYOND.find(({ from, to }) => code >= from && code <= to)?.feature;
}

/** Value types by their byte (section 5.3). */
export const VALUE_TYPES: ReadonlyMap<number, string> = new Map([
  [0x7f, "i32"],
  [0x7e, "i64"],
  [0x7d, "f32"],
  [0x7c, "f64"],
  [0x70, "funcref"],
  [0x6f, "externref"],
]);

/** Types of references, and what `ref.null` calls them. */
export const HEAP_TYPES: ReadonlyMap<number, string> = new Map([
  [0x70, "func"],
  [0x6f, "extern"],
]);

/** Types that are not printed: ranges of bytes, both ends included. */
const TYPES_BEYOND = [
  { from: 0x7b, to: 0x7b, feature: "vector instructions (SIMD)" },
  { from: 0x77, to: 0x78, feature: "garbage collection" },
  { from: 0x74, to: 0x74, feature: "exception handling" },
  { from: 0x69, to: 0x73, feature: "garbage collection" },
  { from: 0x63, to: 0x64, feature: "typed function references" },
  { from: 0x4e, to: 0x5f, feature: "garbage collection" },
] as const;

/** The feature of WebAssembly that a type's byte outside the tables belongs to, if any. */
export function featureOfType(byte: number): string | undefined {
  return TYPES_BEYOND.find(({ from, to }) => byte >= from && byte <= to)?.feature;
}
