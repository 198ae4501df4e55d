/**
 * The instruction table: RFC 9669 and what Linux 6.18 has beyond it. Every fact about an instruction stands here
 * once; decoder, assemblers, engines, documentation and tests are derived from the rows.
 *
 * A row is selected by its opcode and by those fields that its `fields` fix to a number; a field fixed to 0 is
 * reserved. The compact lists below (operations, sizes, widths) are multiplied out, since the encoding itself is
 * built that way.
 */
import { CLASSES, MODES, OPCODE_LDDW, SIZES, SOURCE_REG } from "./instruction.ts";

/** Conformance groups of RFC 9669, section 2.4; "linux" is what the RFC does not have. */
export type ConformanceGroup =
  | "base32"
  | "base64"
  | "atomic32"
  | "atomic64"
  | "divmul32"
  | "divmul64"
  | "packet"
  | "linux";

export type AluOp =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "sdiv"
  | "or"
  | "and"
  | "lsh"
  | "rsh"
  | "neg"
  | "mod"
  | "smod"
  | "xor"
  | "mov"
  | "movsx"
  | "arsh";

export type JumpOp =
  | "jeq"
  | "jgt"
  | "jge"
  | "jset"
  | "jne"
  | "jsgt"
  | "jsge"
  | "jlt"
  | "jle"
  | "jslt"
  | "jsle";

export type AtomicOp = "add" | "or" | "and" | "xor" | "xchg" | "cmpxchg" | "load_acquire" | "store_release";

/** What the 64 bits of an `lddw` mean; the number is its source register field (RFC 9669, section 5.4). */
export const LDDW_KINDS = [
  { src: 0, name: "imm", since: "3.18", text: "a 64-bit constant" },
  { src: 1, name: "map_fd", since: "3.18", text: "a map, by file descriptor" },
  {
    src: 2,
    name: "map_value",
    since: "5.2",
    text: "an address in a map's only value; imm of the second slot is the offset",
  },
  { src: 3, name: "btf_id", since: "5.10", text: "a kernel variable, by BTF id" },
  { src: 4, name: "func", since: "5.13", text: "a function of the program, by distance in slots" },
  { src: 5, name: "map_idx", since: "5.14", text: "a map, by index in fd_array" },
  {
    src: 6,
    name: "map_idx_value",
    since: "5.14",
    text: "an address in a map's only value, map by index in fd_array",
  },
] as const;

export type LddwKind = (typeof LDDW_KINDS)[number]["name"];

/** What an instruction does; engines switch on `kind`. Widths and sizes are in bits unless called bytes. */
export type Semantics =
  | {
      readonly kind: "alu";
      readonly op: AluOp;
      readonly width: 32 | 64;
      readonly source: "imm" | "reg" /** Of movsx: bits that are extended. */;
      readonly from?: 8 | 16 | 32;
    }
  | { readonly kind: "endian"; readonly op: "le" | "be" | "swap"; readonly size: 16 | 32 | 64 }
  | { readonly kind: "addr_space_cast" }
  | { readonly kind: "load"; readonly bytes: 1 | 2 | 4 | 8; readonly signed: boolean }
  | { readonly kind: "store"; readonly bytes: 1 | 2 | 4 | 8; readonly source: "imm" | "reg" }
  | { readonly kind: "atomic"; readonly op: AtomicOp; readonly fetch: boolean; readonly bytes: 1 | 2 | 4 | 8 }
  | { readonly kind: "lddw"; readonly value: LddwKind }
  | { readonly kind: "packet"; readonly mode: "abs" | "ind"; readonly bytes: 1 | 2 | 4 }
  | { readonly kind: "goto"; readonly distance: "offset" | "imm" }
  | { readonly kind: "jump"; readonly op: JumpOp; readonly width: 32 | 64; readonly source: "imm" | "reg" }
  | { readonly kind: "may_goto" }
  | { readonly kind: "call"; readonly target: "helper" | "local" | "kfunc" | "register" }
  | { readonly kind: "exit" };

/** A field that the instruction uses freely, or the one value that it must have. */
export interface Fields {
  readonly dst: "reg" | 0;
  readonly src: "reg" | number;
  readonly offset: "memory" | "jump" | "btf" | number;
  readonly imm: "value" | "jump" | "id" | number;
}

export interface InstructionRow {
  /** Unique: "add64_imm", "ldxw", "jeq32_reg", "atomic_fetch_add64". */
  readonly name: string;
  readonly opcode: number;
  readonly fields: Fields;
  readonly semantics: Semantics;
  readonly group: ConformanceGroup;
  /** The mnemonic of the RFC dialect, as bpf_conformance and uBPF write it. */
  readonly mnemonic: string;
  /** The first Linux release that has it. */
  readonly since: string;
  /** The first `-mcpu` of clang that emits it. */
  readonly cpu: 1 | 2 | 3 | 4;
}

/** Arithmetic (RFC 9669, section 4.1); `offset` tells signed division and modulo from unsigned. */
const ALU_OPS = [
  { op: "add", code: 0x00, offset: 0 },
  { op: "sub", code: 0x10, offset: 0 },
  { op: "mul", code: 0x20, offset: 0 },
  { op: "div", code: 0x30, offset: 0 },
  { op: "sdiv", code: 0x30, offset: 1 },
  { op: "or", code: 0x40, offset: 0 },
  { op: "and", code: 0x50, offset: 0 },
  { op: "lsh", code: 0x60, offset: 0 },
  { op: "rsh", code: 0x70, offset: 0 },
  { op: "mod", code: 0x90, offset: 0 },
  { op: "smod", code: 0x90, offset: 1 },
  { op: "xor", code: 0xa0, offset: 0 },
  { op: "mov", code: 0xb0, offset: 0 },
  { op: "arsh", code: 0xc0, offset: 0 },
] as const;

const CODE_NEG = 0x80;
const CODE_MOV = 0xb0;
const CODE_END = 0xd0;

/** Conditional jumps (RFC 9669, section 4.3). */
const JUMP_OPS = [
  { op: "jeq", code: 0x10, since: "3.18", cpu: 1 },
  { op: "jgt", code: 0x20, since: "3.18", cpu: 1 },
  { op: "jge", code: 0x30, since: "3.18", cpu: 1 },
  { op: "jset", code: 0x40, since: "3.18", cpu: 1 },
  { op: "jne", code: 0x50, since: "3.18", cpu: 1 },
  { op: "jsgt", code: 0x60, since: "3.18", cpu: 1 },
  { op: "jsge", code: 0x70, since: "3.18", cpu: 1 },
  { op: "jlt", code: 0xa0, since: "4.14", cpu: 2 },
  { op: "jle", code: 0xb0, since: "4.14", cpu: 2 },
  { op: "jslt", code: 0xc0, since: "4.14", cpu: 2 },
  { op: "jsle", code: 0xd0, since: "4.14", cpu: 2 },
] as const;

const CODE_CALL = 0x80;
const CODE_EXIT = 0x90;
const CODE_JCOND = 0xe0;

/** Atomic operations, by the value of imm (RFC 9669, section 5.3; the last two from Linux's uapi/linux/bpf.h). */
const ATOMIC_OPS = [
  { op: "add", imm: 0x00, fetch: false, mnemonic: "lock add", since: "3.18", cpu: 1 },
  { op: "add", imm: 0x01, fetch: true, mnemonic: "lock fetch add", since: "5.12", cpu: 3 },
  { op: "or", imm: 0x40, fetch: false, mnemonic: "lock or", since: "5.12", cpu: 3 },
  { op: "or", imm: 0x41, fetch: true, mnemonic: "lock fetch or", since: "5.12", cpu: 3 },
  { op: "and", imm: 0x50, fetch: false, mnemonic: "lock and", since: "5.12", cpu: 3 },
  { op: "and", imm: 0x51, fetch: true, mnemonic: "lock fetch and", since: "5.12", cpu: 3 },
  { op: "xor", imm: 0xa0, fetch: false, mnemonic: "lock xor", since: "5.12", cpu: 3 },
  { op: "xor", imm: 0xa1, fetch: true, mnemonic: "lock fetch xor", since: "5.12", cpu: 3 },
  { op: "xchg", imm: 0xe1, fetch: true, mnemonic: "lock xchg", since: "5.12", cpu: 3 },
  { op: "cmpxchg", imm: 0xf1, fetch: true, mnemonic: "lock cmpxchg", since: "5.12", cpu: 3 },
] as const;

const IMM_LOAD_ACQUIRE = 0x100;
const IMM_STORE_RELEASE = 0x110;

/** `addr_space_cast`: imm is the destination address space in the upper half, the source in the lower. */
const ADDR_SPACE_CASTS = [
  { name: "cast_kern", imm: 1 },
  { name: "cast_user", imm: 0x10000 },
] as const;

const WIDTHS = [
  { width: 32, alu: CLASSES.alu, jmp: CLASSES.jmp32, suffix: "32" },
  { width: 64, alu: CLASSES.alu64, jmp: CLASSES.jmp, suffix: "" },
] as const;

const SOURCES = [
  { source: "imm", code: 0 },
  { source: "reg", code: SOURCE_REG },
] as const;

const isDivMul = (op: AluOp): boolean => /^(mul|s?div|s?mod)$/.test(op);

function* aluRows(): Generator<InstructionRow> {
  for (const { width, alu, suffix } of WIDTHS) {
    for (const { op, code, offset } of ALU_OPS) {
      for (const { source, code: sourceCode } of SOURCES) {
        yield {
          name: `${op}${width}_${source}`,
          opcode: alu | code | sourceCode,
          fields: {
            dst: "reg",
            src: source === "reg" ? "reg" : 0,
            offset,
            imm: source === "imm" ? "value" : 0,
          },
          semantics: { kind: "alu", op, width, source },
          group: `${isDivMul(op) ? "divmul" : "base"}${width}`,
          mnemonic: `${op}${suffix}`,
          since: offset === 0 ? "3.18" : "6.6",
          cpu: offset === 0 ? 1 : 4,
        };
      }
    }
    for (const from of [8, 16, 32] as const) {
      if (from === width) continue;
      yield {
        name: `movsx${from}to${width}`,
        opcode: alu | CODE_MOV | SOURCE_REG,
        fields: { dst: "reg", src: "reg", offset: from, imm: 0 },
        semantics: { kind: "alu", op: "movsx", width, source: "reg", from },
        group: `base${width}`,
        mnemonic: `movsx${from}${width}`,
        since: "6.6",
        cpu: 4,
      };
    }
    yield {
      name: `neg${width}`,
      opcode: alu | CODE_NEG,
      fields: { dst: "reg", src: 0, offset: 0, imm: 0 },
      semantics: { kind: "alu", op: "neg", width, source: "imm" },
      group: `base${width}`,
      mnemonic: `neg${suffix}`,
      since: "3.18",
      cpu: 1,
    };
  }
  for (const { op, opcode, since, cpu } of [
    { op: "le", opcode: CLASSES.alu | CODE_END, since: "3.18", cpu: 1 },
    { op: "be", opcode: CLASSES.alu | CODE_END | SOURCE_REG, since: "3.18", cpu: 1 },
    { op: "swap", opcode: CLASSES.alu64 | CODE_END, since: "6.6", cpu: 4 },
  ] as const) {
    for (const size of [16, 32, 64] as const) {
      yield {
        name: `${op}${size}`,
        opcode,
        fields: { dst: "reg", src: 0, offset: 0, imm: size },
        semantics: { kind: "endian", op, size },
        group: size === 64 ? "base64" : "base32",
        mnemonic: `${op}${size}`,
        since,
        cpu,
      };
    }
  }
  for (const { name, imm } of ADDR_SPACE_CASTS) {
    yield {
      name,
      opcode: CLASSES.alu64 | CODE_MOV | SOURCE_REG,
      fields: { dst: "reg", src: "reg", offset: 1, imm },
      semantics: { kind: "addr_space_cast" },
      group: "linux",
      mnemonic: name,
      since: "6.9",
      cpu: 4,
    };
  }
}

function* memoryRows(): Generator<InstructionRow> {
  for (const { code, bytes, letter, bits } of SIZES) {
    const group = bytes === 8 ? "base64" : "base32";
    const common = { group, since: "3.18", cpu: 1 } as const;
    yield {
      name: `ldx${letter}`,
      opcode: CLASSES.ldx | MODES.mem | code,
      fields: { dst: "reg", src: "reg", offset: "memory", imm: 0 },
      semantics: { kind: "load", bytes, signed: false },
      mnemonic: `ldx${letter}`,
      ...common,
    };
    yield {
      name: `st${letter}`,
      opcode: CLASSES.st | MODES.mem | code,
      fields: { dst: "reg", src: 0, offset: "memory", imm: "value" },
      semantics: { kind: "store", bytes, source: "imm" },
      mnemonic: `st${letter}`,
      ...common,
    };
    yield {
      name: `stx${letter}`,
      opcode: CLASSES.stx | MODES.mem | code,
      fields: { dst: "reg", src: "reg", offset: "memory", imm: 0 },
      semantics: { kind: "store", bytes, source: "reg" },
      mnemonic: `stx${letter}`,
      ...common,
    };
    if (bytes !== 8) {
      yield {
        name: `ldxs${letter}`,
        opcode: CLASSES.ldx | MODES.memsx | code,
        fields: { dst: "reg", src: "reg", offset: "memory", imm: 0 },
        semantics: { kind: "load", bytes, signed: true },
        group: "base64",
        mnemonic: `ldxs${letter}`,
        since: "6.6",
        cpu: 4,
      };
      for (const [mode, code2] of [
        ["abs", MODES.abs],
        ["ind", MODES.ind],
      ] as const) {
        yield {
          name: `ld${mode}${letter}`,
          opcode: CLASSES.ld | code2 | code,
          fields: { dst: 0, src: mode === "ind" ? "reg" : 0, offset: 0, imm: "value" },
          semantics: { kind: "packet", mode, bytes },
          group: "packet",
          mnemonic: `ld${mode}${letter}`,
          since: "3.18",
          cpu: 1,
        };
      }
    }
    const atomic = CLASSES.stx | MODES.atomic | code;
    if (bytes >= 4) {
      const suffix = bytes === 4 ? "32" : "";
      for (const { op, imm, fetch, mnemonic, since, cpu } of ATOMIC_OPS) {
        yield {
          name: `atomic_${fetch && op !== "xchg" && op !== "cmpxchg" ? "fetch_" : ""}${op}${bits}`,
          opcode: atomic,
          fields: { dst: "reg", src: "reg", offset: "memory", imm },
          semantics: { kind: "atomic", op, fetch, bytes },
          group: bytes === 4 ? "atomic32" : "atomic64",
          mnemonic: `${mnemonic}${suffix}`,
          since,
          cpu,
        };
      }
    }
    for (const [op, imm] of [
      ["load_acquire", IMM_LOAD_ACQUIRE],
      ["store_release", IMM_STORE_RELEASE],
    ] as const) {
      yield {
        name: `${op}${bits}`,
        opcode: atomic,
        fields: { dst: "reg", src: "reg", offset: "memory", imm },
        semantics: { kind: "atomic", op, fetch: false, bytes },
        group: "linux",
        mnemonic: `${op}${bits}`,
        since: "6.15",
        cpu: 4,
      };
    }
  }
  for (const { src, name, since } of LDDW_KINDS) {
    yield {
      name: `lddw_${name}`,
      opcode: OPCODE_LDDW,
      fields: { dst: "reg", src, offset: 0, imm: "value" },
      semantics: { kind: "lddw", value: name },
      group: "base64",
      mnemonic: "lddw",
      since,
      cpu: 1,
    };
  }
}

function* jumpRows(): Generator<InstructionRow> {
  for (const { width, jmp, suffix } of WIDTHS) {
    for (const { op, code, since, cpu } of JUMP_OPS) {
      for (const { source, code: sourceCode } of SOURCES) {
        yield {
          name: `${op}${width}_${source}`,
          opcode: jmp | code | sourceCode,
          fields: {
            dst: "reg",
            src: source === "reg" ? "reg" : 0,
            offset: "jump",
            imm: source === "imm" ? "value" : 0,
          },
          semantics: { kind: "jump", op, width, source },
          group: `base${width}`,
          mnemonic: `${op}${suffix}`,
          since: width === 32 ? "5.1" : since,
          cpu: width === 32 ? 3 : cpu,
        };
      }
    }
  }
  const none = { dst: 0, src: 0, offset: 0, imm: 0 } as const;
  yield {
    name: "ja",
    opcode: CLASSES.jmp,
    fields: { ...none, offset: "jump" },
    semantics: { kind: "goto", distance: "offset" },
    group: "base64",
    mnemonic: "ja",
    since: "3.18",
    cpu: 1,
  };
  yield {
    name: "ja32",
    opcode: CLASSES.jmp32,
    fields: { ...none, imm: "jump" },
    semantics: { kind: "goto", distance: "imm" },
    group: "base32",
    mnemonic: "ja32",
    since: "6.6",
    cpu: 4,
  };
  yield {
    name: "may_goto",
    opcode: CLASSES.jmp | CODE_JCOND,
    fields: { ...none, offset: "jump" },
    semantics: { kind: "may_goto" },
    group: "linux",
    mnemonic: "may_goto",
    since: "6.9",
    cpu: 4,
  };
  for (const { name, mnemonic, target, src, since } of [
    { name: "call_helper", mnemonic: "call", target: "helper", src: 0, since: "3.18" },
    { name: "call_local", mnemonic: "call local", target: "local", src: 1, since: "4.16" },
    { name: "call_kfunc", mnemonic: "call runtime", target: "kfunc", src: 2, since: "5.13" },
  ] as const) {
    yield {
      name,
      opcode: CLASSES.jmp | CODE_CALL,
      fields: {
        dst: 0,
        src,
        offset: target === "kfunc" ? "btf" : 0,
        imm: target === "local" ? "jump" : "id",
      },
      semantics: { kind: "call", target },
      group: "base64",
      mnemonic,
      since,
      cpu: 1,
    };
  }
  yield {
    name: "callx",
    opcode: CLASSES.jmp | CODE_CALL | SOURCE_REG,
    fields: { ...none, dst: "reg" },
    semantics: { kind: "call", target: "register" },
    group: "linux",
    mnemonic: "call",
    // LLVM emits it and other runtimes run it; no Linux release accepts it.
    since: "none",
    cpu: 1,
  };
  yield {
    name: "exit",
    opcode: CLASSES.jmp | CODE_EXIT,
    fields: none,
    semantics: { kind: "exit" },
    group: "base64",
    mnemonic: "exit",
    since: "3.18",
    cpu: 1,
  };
}

/** All rows. */
export const INSTRUCTIONS: readonly InstructionRow[] = [...aluRows(), ...memoryRows(), ...jumpRows()];

/** The rows that share each opcode; empty where the opcode does not exist. */
export const ROWS_BY_OPCODE: readonly (readonly InstructionRow[])[] = byOpcode();

function byOpcode(): InstructionRow[][] {
  const rows: InstructionRow[][] = Array.from({ length: 256 }, () => []);
  for (const row of INSTRUCTIONS) rows[row.opcode]?.push(row);
  return rows;
}
