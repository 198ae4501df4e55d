import { BpfError } from "../errors.ts";
import { CLASSES, type Instruction, REGISTER_COUNT, SLOT_SIZE, isWide } from "./instruction.ts";
import { type InstructionRow, ROWS_BY_OPCODE } from "./table.ts";

/** Byte order of a program; both are in use, and the dst and src nibbles change places with it. */
export interface ByteOrder {
  /** Default true. */
  readonly littleEndian?: boolean;
}

/**
 * Splits bytes into instruction slots. Nothing is judged but the length: see {@link checkInstructions}.
 *
 * @throws BpfError code "instruction" if the length is no multiple of 8.
 * @example
 * decodeInstructions(Uint8Array.of(0xb7, 0, 0, 0, 2, 0, 0, 0)); // [{ opcode: 0xb7, dst: 0, src: 0, offset: 0, imm: 2 }]
 */
export function decodeInstructions(
  bytes: Uint8Array,
  { littleEndian = true }: ByteOrder = {},
): Instruction[] {
  if (bytes.length % SLOT_SIZE !== 0) {
    throw new BpfError(
      "instruction",
      `program: ${bytes.length} bytes are no whole number of 8-byte instructions`,
      {
        where: { offset: bytes.length - (bytes.length % SLOT_SIZE) },
      },
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const slots = new Array<Instruction>(bytes.length / SLOT_SIZE);
  for (let index = 0, at = 0; at < bytes.length; index++, at += SLOT_SIZE) {
    const registers = view.getUint8(at + 1);
    const low = registers & 15;
    const high = registers >> 4;
    slots[index] = {
      opcode: view.getUint8(at),
      dst: littleEndian ? low : high,
      src: littleEndian ? high : low,
      offset: view.getInt16(at + 2, littleEndian),
      imm: view.getInt32(at + 4, littleEndian),
    };
  }
  return slots;
}

/** The inverse of {@link decodeInstructions}. Fields outside their ranges are reduced to their width. */
export function encodeInstructions(
  instructions: readonly Instruction[],
  { littleEndian = true }: ByteOrder = {},
): Uint8Array {
  const bytes = new Uint8Array(instructions.length * SLOT_SIZE);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const { opcode, dst, src, offset, imm } of instructions) {
    view.setUint8(at, opcode);
    view.setUint8(at + 1, littleEndian ? (src << 4) | dst : (dst << 4) | src);
    view.setInt16(at + 2, offset, littleEndian);
    view.setInt32(at + 4, imm, littleEndian);
    at += SLOT_SIZE;
  }
  return bytes;
}

/** The row of the table that this slot encodes, or undefined if it is invalid. The second slot of `lddw` has none. */
export function rowOf(instruction: Instruction): InstructionRow | undefined {
  // A plain loop: this runs for each instruction of each load, and rarely sees more than three rows.
  for (const row of ROWS_BY_OPCODE[instruction.opcode] ?? []) {
    if (selects(row, instruction)) return row;
  }
  return undefined;
}

function selects({ fields }: InstructionRow, { dst, src, offset, imm }: Instruction): boolean {
  return (
    (fields.dst === "reg" ? dst < REGISTER_COUNT : dst === fields.dst) &&
    (fields.src === "reg" ? src < REGISTER_COUNT : src === fields.src) &&
    (typeof fields.offset !== "number" || offset === fields.offset) &&
    (typeof fields.imm !== "number" || imm === fields.imm)
  );
}

/** An instruction that does not exist, and why. */
export interface InvalidInstruction {
  /** Index of the slot. */
  readonly index: number;
  readonly reason: string;
}

/**
 * The first slot that encodes no instruction, with the reason: unknown opcode, register above r10, a reserved field
 * that is set, an unknown selector, a cut or damaged `lddw` pair. Undefined if all are valid.
 *
 * @example
 * checkInstructions(decodeInstructions(new Uint8Array(8))); // { index: 0, reason: "opcode 0x00 does not exist" }
 */
export function checkInstructions(instructions: readonly Instruction[]): InvalidInstruction | undefined {
  for (let index = 0; index < instructions.length; index++) {
    const instruction = instructions[index] as Instruction;
    if (rowOf(instruction) === undefined) return { index, reason: explainInvalid(instruction) };
    if (!isWide(instruction)) continue;
    const second = instructions[++index];
    if (second === undefined) return { index: index - 1, reason: "lddw: its second slot is missing" };
    const { opcode, dst, src, offset } = second;
    if (opcode !== 0 || dst !== 0 || src !== 0 || offset !== 0) {
      return { index, reason: "lddw: only imm may be set in its second slot" };
    }
  }
  return undefined;
}

/** Why a slot encodes no instruction: the complaint of the row that comes nearest. */
function explainInvalid(instruction: Instruction): string {
  const rows = ROWS_BY_OPCODE[instruction.opcode] ?? [];
  const hex = `0x${instruction.opcode.toString(16).padStart(2, "0")}`;
  if (rows.length === 0) {
    return `opcode ${hex} does not exist (class ${className(instruction.opcode)})`;
  }
  let best: string[] | undefined;
  for (const row of rows) {
    const complaints = complaintsOf(row, instruction);
    if (best === undefined || complaints.length < best.length) best = complaints;
  }
  return `opcode ${hex} (${rows[0]?.mnemonic}): ${(best ?? []).join(", ")}`;
}

function complaintsOf({ fields, opcode }: InstructionRow, { dst, src, offset, imm }: Instruction): string[] {
  const rows = ROWS_BY_OPCODE[opcode] ?? [];
  const complaints: string[] = [];
  const fixed = (name: keyof InstructionRow["fields"], value: number, expected: number): void => {
    if (value === expected) return;
    const allowed = [...new Set(rows.map((row) => row.fields[name]))].filter(
      (field) => typeof field === "number",
    );
    const options = allowed.map((field) => (name === "imm" ? `0x${field.toString(16)}` : String(field)));
    complaints.push(
      allowed.length === 1 && expected === 0
        ? `${name} is reserved and must be 0, not ${value}`
        : `${name} is ${name === "imm" ? `0x${(value >>> 0).toString(16)}` : value}, known are ${options.join(", ")}`,
    );
  };
  const register = (name: string, value: number): void => {
    if (value >= REGISTER_COUNT) complaints.push(`${name} register r${value} does not exist`);
  };
  if (fields.dst === "reg") register("dst", dst);
  else fixed("dst", dst, fields.dst);
  if (fields.src === "reg") register("src", src);
  else fixed("src", src, fields.src);
  if (typeof fields.offset === "number") fixed("offset", offset, fields.offset);
  if (typeof fields.imm === "number") fixed("imm", imm, fields.imm);
  return complaints;
}

function className(opcode: number): string {
  return (
    Object.entries(CLASSES)
      .find(([, code]) => code === (opcode & 7))?.[0]
      .toUpperCase() ?? "?"
  );
}

/** The 64-bit constant of an `lddw` pair, as two's complement. */
export function lddwValue(first: Instruction, second: Instruction): bigint {
  return BigInt.asUintN(64, (BigInt(second.imm) << 32n) | BigInt(first.imm >>> 0));
}
