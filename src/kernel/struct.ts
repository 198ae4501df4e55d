/**
 * C structs as tables: a struct is an object of field names, in the order of the header, with the kind of each.
 * Offsets follow from natural alignment, which is what every struct of uapi/linux/bpf.h has.
 */
import { endianness } from "node:os";

/** Bytes and alignment of each kind of field. A `ptr` is a `__aligned_u64` that holds an address of this process. */
const KINDS = {
  u32: { size: 4, align: 4 },
  s32: { size: 4, align: 4 },
  u64: { size: 8, align: 8 },
  ptr: { size: 8, align: 8 },
  tag: { size: 8, align: 1 },
  name: { size: 16, align: 1 },
} as const;

export type FieldKind = keyof typeof KINDS;

/** The rows of a struct. */
export type Fields = Readonly<Record<string, FieldKind>>;

export interface PlacedField {
  readonly kind: FieldKind;
  readonly offset: number;
  readonly size: number;
}

/** A struct with its offsets. */
export interface Layout<F extends Fields = Fields> {
  readonly size: number;
  readonly fields: Readonly<Record<keyof F & string, PlacedField>>;
}

/** What can be written to a field: bytes become their address in a `ptr`, and themselves in a `name`. */
export type FieldValue = number | bigint | string | Uint8Array;

/** Byte order of this machine, and so of everything that the kernel reads and writes. */
export const LITTLE_ENDIAN: boolean = endianness() === "LE";

/** Lays out the rows; the size is not rounded up, since bpf(2) measures up to the last field. */
export function layoutOf<F extends Fields>(rows: F): Layout<F> {
  const fields: Record<string, PlacedField> = {};
  let at = 0;
  for (const [name, kind] of Object.entries(rows)) {
    const { size, align } = KINDS[kind];
    at = roundUp(at, align);
    fields[name] = { kind, offset: at, size };
    at += size;
  }
  return { size: at, fields: fields as Layout<F>["fields"] };
}

/** Writes one field; `addressOf` is asked for the address of bytes. */
export function writeField(
  view: DataView,
  { kind, offset, size }: PlacedField,
  value: FieldValue,
  addressOf: (bytes: Uint8Array) => bigint,
): void {
  if (kind === "name" || kind === "tag") {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : (value as Uint8Array);
    new Uint8Array(view.buffer, view.byteOffset + offset, size).set(bytes.subarray(0, size));
  } else if (kind === "u32" || kind === "s32") {
    view.setUint32(offset, Number(value), LITTLE_ENDIAN);
  } else {
    const wide = value instanceof Uint8Array ? addressOf(value) : BigInt(value);
    view.setBigUint64(offset, wide, LITTLE_ENDIAN);
  }
}

/** A field of up to 32 bits. */
export function readNumber(view: DataView, { kind, offset }: PlacedField): number {
  return kind === "s32" ? view.getInt32(offset, LITTLE_ENDIAN) : view.getUint32(offset, LITTLE_ENDIAN);
}

/** A field of 64 bits. */
export function readWide(view: DataView, { offset }: PlacedField): bigint {
  return view.getBigUint64(offset, LITTLE_ENDIAN);
}

/** A name, up to its NUL. */
export function readName(view: DataView, { offset, size }: PlacedField): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, size);
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? size : end));
}

export function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
