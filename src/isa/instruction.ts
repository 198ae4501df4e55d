/**
 * One instruction slot of 8 bytes (RFC 9669, section 3):
 *
 *     bits    0..7     8..11  12..15   16..31      32..63
 *           +--------+-------+-------+-----------+------------------+
 *           | opcode |  dst  |  src  |  offset   |       imm        |     (little-endian program;
 *           +--------+-------+-------+-----------+------------------+      big-endian swaps dst and src)
 *
 * A program is an array of slots, indexed as the kernel indexes them: `lddw` takes two slots, of which the second
 * has opcode 0 and holds the upper 32 bits in `imm`. Jump and call distances therefore need no translation.
 */
export interface Instruction {
  /** 0 to 255. */
  readonly opcode: number;
  /** Destination register, 0 to 15 (11 and up are invalid in every program). */
  readonly dst: number;
  /** Source register, or a selector (`lddw` and `call` kinds). */
  readonly src: number;
  /** Signed 16 bits. */
  readonly offset: number;
  /** Signed 32 bits. */
  readonly imm: number;
}

/** Bytes of one slot. */
export const SLOT_SIZE = 8;

/** The opcode of the two-slot `lddw`: class LD, mode IMM, size DW. */
export const OPCODE_LDDW = 0x18;

/** Whether this slot is the first of two. */
export function isWide(instruction: Instruction): boolean {
  return instruction.opcode === OPCODE_LDDW;
}

/** Instruction classes, the low three bits of the opcode (RFC 9669, section 3.1). */
export const CLASSES = { ld: 0, ldx: 1, st: 2, stx: 3, alu: 4, jmp: 5, jmp32: 6, alu64: 7 } as const;

/** Sizes of memory accesses, bits 3 and 4 of the opcode (RFC 9669, section 5). */
export const SIZES = [
  { code: 0x00, bytes: 4, letter: "w", bits: 32 },
  { code: 0x08, bytes: 2, letter: "h", bits: 16 },
  { code: 0x10, bytes: 1, letter: "b", bits: 8 },
  { code: 0x18, bytes: 8, letter: "dw", bits: 64 },
] as const;

/** Modes of memory accesses, the upper three bits of the opcode (RFC 9669, section 5). */
export const MODES = { imm: 0x00, abs: 0x20, ind: 0x40, mem: 0x60, memsx: 0x80, atomic: 0xc0 } as const;

/** Bit 3 of arithmetic and jump opcodes: the second operand is a register. */
export const SOURCE_REG = 0x08;

/** The register that holds the frame pointer. */
export const FRAME_POINTER = 10;

/** Registers r0 to r10 exist. */
export const REGISTER_COUNT = 11;
