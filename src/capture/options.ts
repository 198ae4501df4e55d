/**
 * The options of pcapng blocks (draft-ietf-opsawg-pcapng, sections 3.5, 4.1, 4.2 and 4.3): lists of a 16-bit code, a
 * 16-bit length and a value padded to 32 bits, ended by code 0 or by the end of the block. One table for each kind of
 * block says what the codes mean; reading, writing and their types follow from the rows.
 */

import { BpfError } from "../errors.ts";

/** How the value of an option is to be read. Numbers have the byte order of their section. */
export type OptionType = "text" | "u8" | "u32" | "i32" | "u64" | "i64" | "bytes" | "custom";

/** A row of the tables below. */
export interface OptionRow {
  readonly code: number;
  readonly name: string;
  readonly type: OptionType;
}

// Custom options begin with a 32-bit Private Enterprise Number; the first two hold text, the others bytes, and the
// latter of each pair is not to be copied by a program that changes the block.
const COMMON: readonly OptionRow[] = [
  { code: 1, name: "opt_comment", type: "text" },
  { code: 2988, name: "opt_custom_text", type: "custom" },
  { code: 2989, name: "opt_custom_bytes", type: "custom" },
  { code: 19372, name: "opt_custom_text_nocopy", type: "custom" },
  { code: 19373, name: "opt_custom_bytes_nocopy", type: "custom" },
];

/** Options of the Section Header Block. */
export const SECTION_OPTIONS: readonly OptionRow[] = [
  ...COMMON,
  { code: 2, name: "shb_hardware", type: "text" },
  { code: 3, name: "shb_os", type: "text" },
  { code: 4, name: "shb_userappl", type: "text" },
];

/** Options of the Interface Description Block. */
export const INTERFACE_OPTIONS: readonly OptionRow[] = [
  ...COMMON,
  { code: 2, name: "if_name", type: "text" },
  { code: 3, name: "if_description", type: "text" },
  { code: 4, name: "if_IPv4addr", type: "bytes" },
  { code: 5, name: "if_IPv6addr", type: "bytes" },
  { code: 6, name: "if_MACaddr", type: "bytes" },
  { code: 7, name: "if_EUIaddr", type: "bytes" },
  { code: 8, name: "if_speed", type: "u64" },
  { code: 9, name: "if_tsresol", type: "u8" },
  { code: 10, name: "if_tzone", type: "i32" },
  { code: 11, name: "if_filter", type: "bytes" },
  { code: 12, name: "if_os", type: "text" },
  { code: 13, name: "if_fcslen", type: "u8" },
  { code: 14, name: "if_tsoffset", type: "i64" },
  { code: 15, name: "if_hardware", type: "text" },
  { code: 16, name: "if_txspeed", type: "u64" },
  { code: 17, name: "if_rxspeed", type: "u64" },
  { code: 18, name: "if_iana_tzname", type: "text" },
];

/** Options of the Enhanced Packet Block; the obsolete Packet Block has the first two of its own. */
export const PACKET_OPTIONS: readonly OptionRow[] = [
  ...COMMON,
  { code: 2, name: "epb_flags", type: "u32" },
  { code: 3, name: "epb_hash", type: "bytes" },
  { code: 4, name: "epb_dropcount", type: "u64" },
  { code: 5, name: "epb_packetid", type: "u64" },
  { code: 6, name: "epb_queue", type: "u32" },
  { code: 7, name: "epb_verdict", type: "bytes" },
  { code: 8, name: "epb_processid_threadid", type: "bytes" },
];

/** A kind of block that carries options. */
export type OptionOwner = "section" | "interface" | "packet";

const TABLES: Readonly<Record<OptionOwner, readonly OptionRow[]>> = {
  section: SECTION_OPTIONS,
  interface: INTERFACE_OPTIONS,
  packet: PACKET_OPTIONS,
};

/** An option as read. */
export interface CaptureOption {
  readonly code: number;
  /** Its name in the table, or undefined when the table does not have the code. */
  readonly name: string | undefined;
  /** Text, number (u64 and i64 as bigint) or bytes. A value whose length does not fit its type stays bytes. */
  readonly value: string | number | bigint | Uint8Array;
  /** The Private Enterprise Number of a custom option; `value` is what follows it. */
  readonly pen?: number;
}

/** An option to be written, by name or by code. */
export type CaptureOptionInput =
  | CaptureOption
  | { readonly name: string; readonly value: CaptureOption["value"]; readonly pen?: number }
  | { readonly code: number; readonly value: CaptureOption["value"]; readonly pen?: number };

/** More options than this in one block are believed to be an attack: real blocks have a dozen. */
const MAX_OPTIONS = 65_536;

const WIDTH = { u8: 1, u32: 4, i32: 4, u64: 8, i64: 8 } as const;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

function rowOf(owner: OptionOwner, code: number): OptionRow | undefined {
  return TABLES[owner].find((row) => row.code === code);
}

/**
 * Decodes a list of options. The values are copies.
 *
 * @param owner the kind of block they stand in
 * @param bytes the list, from its first option to the end of the block's body
 * @param base where `bytes` stands in the file, for error messages
 * @throws BpfError `capture` when an option runs past the end of the block
 */
export function decodeOptions(
  owner: OptionOwner,
  bytes: Uint8Array,
  littleEndian: boolean,
  base = 0,
): CaptureOption[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const options: CaptureOption[] = [];
  let position = 0;
  while (position < bytes.length) {
    const at = position;
    if (bytes.length - at < 4)
      throw cut(owner, base + at, `needs a header of 4 bytes, ${bytes.length - at} are left`);
    const code = view.getUint16(at, littleEndian);
    const length = view.getUint16(at + 2, littleEndian);
    if (code === 0) break;
    position = at + 4 + length + (-length & 3);
    if (position > bytes.length) {
      throw cut(owner, base + at, `is ${length} bytes long, ${bytes.length - at - 4} are left in its block`);
    }
    if (options.length === MAX_OPTIONS) throw cut(owner, base + at, `is one of more than ${MAX_OPTIONS}`);
    options.push(decodeOne(rowOf(owner, code), code, bytes, view, at + 4, length, littleEndian));
  }
  return options;
}

function cut(owner: OptionOwner, offset: number, what: string): BpfError {
  return new BpfError("capture", `${owner} option at byte ${offset} ${what}`, { where: { offset } });
}

function decodeOne(
  row: OptionRow | undefined,
  code: number,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  littleEndian: boolean,
): CaptureOption {
  const name = row?.name;
  const type = row?.type ?? "bytes";
  if (type === "text") {
    // Some programs count a terminating zero in; it is no part of the text.
    let end = at + length;
    while (end > at && bytes[end - 1] === 0) end--;
    return { code, name, value: decoder.decode(bytes.subarray(at, end)) };
  }
  if (type === "custom") {
    if (length < 4) return { code, name, value: bytes.slice(at, at + length) };
    return { code, name, pen: view.getUint32(at, littleEndian), value: bytes.slice(at + 4, at + length) };
  }
  if (type === "bytes" || WIDTH[type] !== length) return { code, name, value: bytes.slice(at, at + length) };
  switch (type) {
    case "u8":
      return { code, name, value: view.getUint8(at) };
    case "u32":
      return { code, name, value: view.getUint32(at, littleEndian) };
    case "i32":
      return { code, name, value: view.getInt32(at, littleEndian) };
    case "u64":
      return { code, name, value: view.getBigUint64(at, littleEndian) };
    case "i64":
      return { code, name, value: view.getBigInt64(at, littleEndian) };
  }
}

/**
 * Encodes a list of options, with the end mark when there is any option, padded to a multiple of four bytes.
 *
 * @throws BpfError `usage` for a name that the table lacks, a value of another type, or one above 65,535 bytes
 */
export function encodeOptions(
  owner: OptionOwner,
  options: readonly CaptureOptionInput[],
  littleEndian: boolean,
): Uint8Array {
  if (options.length === 0) return new Uint8Array(0);
  const parts = options.map((option) => encodeOne(owner, option, littleEndian));
  const size = parts.reduce((sum, part) => sum + 4 + part.value.length + (-part.value.length & 3), 4);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let position = 0;
  for (const { code, value } of parts) {
    view.setUint16(position, code, littleEndian);
    view.setUint16(position + 2, value.length, littleEndian);
    bytes.set(value, position + 4);
    position += 4 + value.length + (-value.length & 3);
  }
  return bytes;
}

function encodeOne(
  owner: OptionOwner,
  option: CaptureOptionInput,
  littleEndian: boolean,
): { code: number; value: Uint8Array } {
  const rows = TABLES[owner];
  const code = "code" in option ? option.code : rows.find((row) => row.name === option.name)?.code;
  if (code === undefined) {
    const known = rows.map((row) => row.name).join(", ");
    const name = "name" in option ? option.name : undefined;
    throw new BpfError("usage", `${owner} option '${name}' does not exist; there are ${known}`);
  }
  if (!Number.isInteger(code) || code < 1 || code > 0xffff) {
    throw new BpfError("usage", `${owner} option code ${code} is not between 1 and 65535`);
  }
  const value = encodeValue(owner, rowOf(owner, code), code, option, littleEndian);
  if (value.length > 0xffff) {
    throw new BpfError("usage", `${owner} option ${code} is ${value.length} bytes long, 65535 is the most`);
  }
  return { code, value };
}

function encodeValue(
  owner: OptionOwner,
  row: OptionRow | undefined,
  code: number,
  option: CaptureOptionInput,
  littleEndian: boolean,
): Uint8Array {
  const { value } = option;
  const raw =
    typeof value === "string" ? encoder.encode(value) : value instanceof Uint8Array ? value : undefined;
  if (option.pen !== undefined && raw !== undefined) {
    const bytes = new Uint8Array(4 + raw.length);
    new DataView(bytes.buffer).setUint32(0, option.pen, littleEndian);
    bytes.set(raw, 4);
    return bytes;
  }
  const type = row?.type ?? "bytes";
  const width = type in WIDTH ? WIDTH[type as keyof typeof WIDTH] : 0;
  // Bytes are always taken as they are, so that what was read with an odd length can be written again.
  if (value instanceof Uint8Array) return value;
  if (width === 0 && raw !== undefined) return raw;
  if (width === 0 || typeof value === "string" || !fits(type, value)) {
    throw new BpfError(
      "usage",
      `${owner} option ${row?.name ?? code} takes ${type}, not ${typeof value} ${value}`,
    );
  }
  const bytes = new Uint8Array(width);
  const view = new DataView(bytes.buffer);
  if (width === 1) view.setUint8(0, Number(value));
  else if (width === 4) view.setUint32(0, Number(value), littleEndian);
  else view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), littleEndian);
  return bytes;
}

function fits(type: OptionType, value: number | bigint): boolean {
  if (typeof value === "number" && !Number.isSafeInteger(value)) return false;
  const bits = type.endsWith("64") ? 64n : type.endsWith("32") ? 32n : 8n;
  const wide = BigInt(value);
  return type.startsWith("u") ? wide >= 0n && wide < 1n << bits : BigInt.asIntN(Number(bits), wide) === wide;
}
