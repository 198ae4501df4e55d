/**
 * The binary format of WebAssembly (WebAssembly Core Specification 2.0, chapter 5), as far as the compiler needs it:
 * the opcodes, and a growable buffer that writes LEB128 numbers, names and sections.
 */

/** Opcodes by the names of the text format. */
export const OPCODES = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  br_table: 0x0e,
  return: 0x0f,
  call: 0x10,
  call_indirect: 0x11,
  return_call_indirect: 0x13,
  drop: 0x1a,
  select: 0x1b,
  "local.get": 0x20,
  "local.set": 0x21,
  "local.tee": 0x22,
  "global.get": 0x23,
  "global.set": 0x24,
  "i32.load": 0x28,
  "i64.load": 0x29,
  "i32.load8_s": 0x2c,
  "i32.load8_u": 0x2d,
  "i32.load16_s": 0x2e,
  "i32.load16_u": 0x2f,
  "i64.load8_s": 0x30,
  "i64.load16_s": 0x32,
  "i64.load32_s": 0x34,
  "i32.store": 0x36,
  "i64.store": 0x37,
  "i32.store8": 0x3a,
  "i32.store16": 0x3b,
  "memory.size": 0x3f,
  "i32.const": 0x41,
  "i64.const": 0x42,
  "i32.eqz": 0x45,
  "i32.eq": 0x46,
  "i32.ne": 0x47,
  "i32.lt_s": 0x48,
  "i32.lt_u": 0x49,
  "i32.gt_s": 0x4a,
  "i32.gt_u": 0x4b,
  "i32.le_s": 0x4c,
  "i32.le_u": 0x4d,
  "i32.ge_s": 0x4e,
  "i32.ge_u": 0x4f,
  "i64.eqz": 0x50,
  "i64.eq": 0x51,
  "i64.ne": 0x52,
  "i64.lt_s": 0x53,
  "i64.lt_u": 0x54,
  "i64.gt_s": 0x55,
  "i64.gt_u": 0x56,
  "i64.le_s": 0x57,
  "i64.le_u": 0x58,
  "i64.ge_s": 0x59,
  "i64.ge_u": 0x5a,
  "i32.add": 0x6a,
  "i32.sub": 0x6b,
  "i32.mul": 0x6c,
  "i32.div_s": 0x6d,
  "i32.div_u": 0x6e,
  "i32.rem_s": 0x6f,
  "i32.rem_u": 0x70,
  "i32.and": 0x71,
  "i32.or": 0x72,
  "i32.xor": 0x73,
  "i32.shl": 0x74,
  "i32.shr_s": 0x75,
  "i32.shr_u": 0x76,
  "i32.rotl": 0x77,
  "i64.add": 0x7c,
  "i64.sub": 0x7d,
  "i64.mul": 0x7e,
  "i64.div_s": 0x7f,
  "i64.div_u": 0x80,
  "i64.rem_s": 0x81,
  "i64.rem_u": 0x82,
  "i64.and": 0x83,
  "i64.or": 0x84,
  "i64.xor": 0x85,
  "i64.shl": 0x86,
  "i64.shr_s": 0x87,
  "i64.shr_u": 0x88,
  "i64.rotl": 0x89,
  "i32.wrap_i64": 0xa7,
  "i64.extend_i32_s": 0xac,
  "i64.extend_i32_u": 0xad,
  "i32.extend8_s": 0xc0,
  "i32.extend16_s": 0xc1,
  "i64.extend8_s": 0xc2,
  "i64.extend16_s": 0xc3,
} as const;

/** Behind the prefix 0xfc: their number, and the indices of memories that follow. */
const BULK = { "memory.copy": [0x0a, 0, 0], "memory.fill": [0x0b, 0] } as const;
const PREFIX = 0xfc;

export type Opcode = keyof typeof OPCODES;

export const TYPE_I32 = 0x7f;
export const TYPE_I64 = 0x7e;
/** The type of a block that leaves nothing on the stack. */
export const TYPE_EMPTY = 0x40;

const TYPE_FUNC = 0x60;
export const TYPE_FUNCREF = 0x70;

export const SECTIONS = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  element: 9,
  code: 10,
  data: 11,
} as const;

const MAX_PAGES = 65536;

/** Atomic instructions stand behind a prefix byte (WebAssembly threads). */
const ATOMIC_PREFIX = 0xfe;
const ATOMIC_OPCODES = {
  "i32.atomic.load": 0x10,
  "i64.atomic.load": 0x11,
  "i32.atomic.load8_u": 0x12,
  "i32.atomic.load16_u": 0x13,
  "i32.atomic.store": 0x17,
  "i64.atomic.store": 0x18,
  "i32.atomic.store8": 0x19,
  "i32.atomic.store16": 0x1a,
  "i32.atomic.rmw.add": 0x1e,
  "i64.atomic.rmw.add": 0x1f,
  "i32.atomic.rmw.and": 0x2c,
  "i64.atomic.rmw.and": 0x2d,
  "i32.atomic.rmw.or": 0x33,
  "i64.atomic.rmw.or": 0x34,
  "i32.atomic.rmw.xor": 0x3a,
  "i64.atomic.rmw.xor": 0x3b,
  "i32.atomic.rmw.xchg": 0x41,
  "i64.atomic.rmw.xchg": 0x42,
  "i32.atomic.rmw.cmpxchg": 0x48,
  "i64.atomic.rmw.cmpxchg": 0x49,
} as const;

/** Text names of atomic instructions. */
export type AtomicOpcode = keyof typeof ATOMIC_OPCODES;

export const EXTERNALS = { func: 0, table: 1, memory: 2, global: 3 } as const;

const encoder = new TextEncoder();

/** A buffer that grows. Numbers are reduced to the width that they are written in. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Empties the buffer and keeps its space. */
  clear(): void {
    this.#length = 0;
  }

  /** What was written; valid until the next write. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.view());
    this.#bytes = grown;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  bytes(source: Uint8Array): void {
    this.#reserve(source.length);
    this.#bytes.set(source, this.#length);
    this.#length += source.length;
  }

  op(name: Opcode): void {
    this.byte(OPCODES[name]);
  }

  /** An instruction with one index: of a local, a global, a function, a label. */
  opIndex(name: Opcode, index: number): void {
    this.byte(OPCODES[name]);
    this.unsigned(index);
  }

  bulk(name: keyof typeof BULK): void {
    this.byte(PREFIX);
    for (const byte of BULK[name]) this.byte(byte);
  }

  /** Opens a block without result. */
  open(name: "block" | "loop" | "if"): void {
    this.byte(OPCODES[name]);
    this.byte(TYPE_EMPTY);
  }

  /** Unsigned LEB128 of 32 bits. */
  unsigned(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Signed LEB128 of 64 bits, given as two halves: with BigInt it takes four times as long. */
  signed(low: number, high: number): void {
    this.#reserve(10);
    let lower = low | 0;
    let upper = high | 0;
    for (;;) {
      const septet = lower & 0x7f;
      lower = (lower >>> 7) | (upper << 25);
      upper >>= 7;
      const sign = (septet & 0x40) === 0 ? 0 : -1;
      if (lower === sign && upper === sign) {
        this.#bytes[this.#length++] = septet;
        return;
      }
      this.#bytes[this.#length++] = septet | 0x80;
    }
  }

  i32Const(value: number): void {
    this.byte(OPCODES["i32.const"]);
    this.signed(value, value >> 31);
  }

  i64Const(low: number, high: number): void {
    this.byte(OPCODES["i64.const"]);
    this.signed(low, high);
  }

  /** A load or store; `align` is the binary logarithm of the access's size. */
  memory(name: Opcode, align: number, offset: number): void {
    this.byte(OPCODES[name]);
    this.unsigned(align);
    this.unsigned(offset);
  }

  /** An atomic access of a memory that threads share; aligned, or it traps. */
  atomic(name: AtomicOpcode, align: number, offset: number): void {
    this.byte(ATOMIC_PREFIX);
    this.byte(ATOMIC_OPCODES[name]);
    this.unsigned(align);
    this.unsigned(offset);
  }

  name(text: string): void {
    const bytes = encoder.encode(text);
    this.unsigned(bytes.length);
    this.bytes(bytes);
  }

  /** Another buffer, preceded by its length. */
  sized(body: ByteWriter): void {
    this.unsigned(body.length);
    this.bytes(body.view());
  }

  section(id: number, body: ByteWriter): void {
    this.byte(id);
    this.sized(body);
  }
}

/** What several buffers hold, one after the other. */
export function joined(writers: readonly ByteWriter[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(writers.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const writer of writers) {
    bytes.set(writer.view(), at);
    at += writer.length;
  }
  return bytes;
}

/** A function type by its value types. */
export interface WasmType {
  readonly params: readonly number[];
  readonly results: readonly number[];
}

export function writeType(writer: ByteWriter, { params, results }: WasmType): void {
  writer.byte(TYPE_FUNC);
  for (const types of [params, results]) {
    writer.unsigned(types.length);
    for (const type of types) writer.byte(type);
  }
}

/** What a module takes from its host. */
export type WasmImport =
  | { readonly kind: "func"; readonly module: string; readonly name: string; readonly type: number }
  | { readonly kind: "memory"; readonly module: string; readonly name: string; readonly shared: boolean }
  | { readonly kind: "table"; readonly module: string; readonly name: string }
  | { readonly kind: "global"; readonly module: string; readonly name: string; readonly valueType: number };

export function writeImport(writer: ByteWriter, item: WasmImport): void {
  writer.name(item.module);
  writer.name(item.name);
  writer.byte(EXTERNALS[item.kind]);
  switch (item.kind) {
    case "func":
      writer.unsigned(item.type);
      break;
    case "table":
      writer.byte(TYPE_FUNCREF);
      // Limits: no maximum, at least nothing. Any table and any memory match.
      writer.byte(0);
      writer.byte(0);
      break;
    case "memory":
      // A shared memory must have a maximum, and the one that is imported must not exceed it.
      writer.byte(item.shared ? 3 : 0);
      writer.byte(0);
      if (item.shared) writer.unsigned(MAX_PAGES);
      break;
    case "global":
      writer.byte(item.valueType);
      // Mutable.
      writer.byte(1);
      break;
  }
}
