import { BpfError } from "../errors.ts";
import { decodeText, plainBytes } from "../bytes.ts";
import type { Btf } from "./btf.ts";
import { typeName } from "./name.ts";
import { POINTER_SIZE, resolve, sizeOf, tooDeep } from "./resolve.ts";
import { type BtfArray, type BtfComposite, type BtfInt, type BtfType, MAX_DEPTH } from "./types.ts";

/**
 * A value of a BTF type in JavaScript:
 *
 * | BTF | JavaScript |
 * | --- | --- |
 * | integer of up to 32 bits, bit field of up to 32 bits | number |
 * | larger integer, pointer | bigint |
 * | `_Bool` | boolean; a number if the byte is neither 0 nor 1 |
 * | enum | the enumerator's name; a number (bigint for enum64) if none has the value |
 * | float of 4 or 8 bytes | number |
 * | array of `char` that is text | string: printable, ended by a NUL, zero after it |
 * | other array | array |
 * | struct, union | object; members of anonymous structs and unions are members of the outer one |
 * | section (`.data`) | object of its variables |
 * | what BTF does not describe further | Uint8Array |
 *
 * The rules lose nothing but padding: what was decoded encodes to the same bytes.
 */
export type BtfValue =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | readonly BtfValue[]
  | { readonly [member: string]: BtfValue };

/** How many values one call may make for each byte that it reads: zero-sized elements would have no end. */
const VALUES_PER_BYTE = 64;

interface Reader {
  readonly btf: Btf;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The value ends in a flexible array that has elements. */
  readonly flexible: boolean;
  budget: number;
}

/**
 * Decodes bytes as a value of a type. A structure that ends in a flexible array takes what remains as its elements.
 *
 * @throws BpfError code "btf" if the length is not the type's size, or if the type has no values (void, functions).
 * @example
 * decodeValue(btf, map.key, bytes); // { saddr: 167772161, daddr: 167772162, proto: "IPPROTO_TCP" }
 */
export function decodeValue(btf: Btf, id: number, source: Uint8Array): BtfValue {
  const bytes = plainBytes(source);
  const size = sizeOf(btf, id);
  const flexible = bytes.length > size && flexibleTail(btf, id);
  if (bytes.length !== size && !flexible) {
    throw new BpfError("btf", `${typeName(btf, id)}: takes ${size} bytes, not ${bytes.length}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return read(
    { btf, bytes, view, flexible, budget: 4096 + bytes.length * VALUES_PER_BYTE },
    id,
    0,
    bytes.length,
    0,
  );
}

/** Whether a structure's last member is an array of no length, as in `struct event { int n; char data[]; }`. */
export function flexibleTail(btf: Btf, id: number): boolean {
  const type = resolve(btf, id);
  if (type.kind !== "struct") return false;
  const last = type.members.at(-1);
  if (last === undefined) return false;
  const array = resolve(btf, last.type);
  return array.kind === "array" && array.length === 0;
}

/** `end` is where the surrounding value ends, which is the limit of a flexible array. */
function read(reader: Reader, id: number, at: number, end: number, depth: number): BtfValue {
  const { btf } = reader;
  if (depth > MAX_DEPTH) throw tooDeep(btf, id);
  if (--reader.budget < 0)
    throw new BpfError("btf", `${btf.name}: type ${id} has more values than bytes could hold`);
  const type = resolve(btf, id);
  const need = (size: number): void => {
    if (at + size > reader.bytes.length) {
      throw new BpfError(
        "btf",
        `${typeName(btf, id)}: at byte ${at} it goes beyond the end (${reader.bytes.length} bytes)`,
      );
    }
  };
  switch (type.kind) {
    case "int":
      need(type.size);
      return readInt(reader, type, at);
    case "ptr":
      need(POINTER_SIZE);
      return reader.view.getBigUint64(at, btf.littleEndian);
    case "enum":
    case "enum64": {
      need(type.size);
      const value = readBits(reader, at, type.size, 0, type.size * 8, type.signed);
      return nameOf(type, value);
    }
    case "float":
      need(type.size);
      if (type.size === 4) return reader.view.getFloat32(at, btf.littleEndian);
      if (type.size === 8) return reader.view.getFloat64(at, btf.littleEndian);
      return reader.bytes.slice(at, at + type.size);
    case "array":
      return readArray(reader, type, at, end, depth);
    case "struct":
    case "union":
      need(type.size);
      return readMembers(reader, type, at, Math.max(end, at + type.size), depth);
    case "var":
    case "decl_tag":
      return read(reader, type.type, at, end, depth + 1);
    case "datasec": {
      const section = {};
      for (const { type: variable, offset, size } of type.variables) {
        const { name } = btf.type(variable);
        define(section, name, read(reader, variable, at + offset, at + offset + size, depth + 1));
      }
      return section;
    }
    default:
      throw new BpfError("btf", `${typeName(btf, id)}: ${type.kind} has no values`);
  }
}

function readInt(reader: Reader, type: BtfInt, at: number): number | bigint | boolean {
  const { view, btf } = reader;
  const whole = type.bits === type.size * 8;
  if (whole && !type.bool) {
    switch (type.size) {
      case 1:
        return type.signed ? view.getInt8(at) : view.getUint8(at);
      case 2:
        return type.signed ? view.getInt16(at, btf.littleEndian) : view.getUint16(at, btf.littleEndian);
      case 4:
        return type.signed ? view.getInt32(at, btf.littleEndian) : view.getUint32(at, btf.littleEndian);
      case 8:
        return type.signed ? view.getBigInt64(at, btf.littleEndian) : view.getBigUint64(at, btf.littleEndian);
    }
  }
  const bits = type.bool && type.bits < 8 ? type.size * 8 : type.bits;
  const value = readBits(reader, at, type.size, type.bitOffset, bits, type.signed);
  return toInt(value, type, bits);
}

/** An integer of up to 32 bits as a number, a larger one as a bigint, a `_Bool` as a boolean. */
function toInt(value: bigint, type: BtfType, bits: number): number | bigint | boolean {
  if (type.kind === "int" && type.bool && (value === 0n || value === 1n)) return value === 1n;
  return bits <= 32 ? Number(value) : value;
}

/** The bits of a value of up to 16 bytes, counted from its least significant (big-endian: most significant) end. */
function readBits(
  { bytes, btf }: Reader,
  at: number,
  size: number,
  bitOffset: number,
  bits: number,
  signed: boolean,
): bigint {
  const shift = btf.littleEndian ? bitOffset : size * 8 - bitOffset - bits;
  const field = loadBits(bytes, at, size, btf.littleEndian) >> BigInt(shift);
  return signed ? BigInt.asIntN(bits, field) : BigInt.asUintN(bits, field);
}

/** Bytes as one unsigned number. */
export function loadBits(bytes: Uint8Array, at: number, size: number, littleEndian: boolean): bigint {
  let value = 0n;
  for (let index = 0; index < size; index++) {
    value = (value << 8n) | BigInt(bytes[littleEndian ? at + size - 1 - index : at + index] as number);
  }
  return value;
}

function nameOf(
  type: Extract<BtfType, { kind: "enum" | "enum64" }>,
  value: bigint,
): string | number | bigint {
  // Compared in the width of the type: a signed enumerator may stand in an unsigned field.
  const width = type.size * 8;
  const wanted = BigInt.asUintN(width, value);
  const match = type.values.find((row) => BigInt.asUintN(width, row.value) === wanted);
  return match === undefined ? (type.size <= 4 ? Number(value) : value) : match.name;
}

/** Whether a type is C's `char`. Clang does not set the encoding's char bit, so the name must tell. */
export function isChar(type: BtfType): boolean {
  return type.kind === "int" && type.size === 1 && !type.bool && (type.char || type.name === "char");
}

function readArray(reader: Reader, type: BtfArray, at: number, end: number, depth: number): BtfValue {
  const { btf, bytes } = reader;
  const element = resolve(btf, type.type);
  const size = sizeOf(btf, type.type);
  const open = type.length === 0 && size > 0 && reader.flexible;
  const length = open ? Math.max(0, Math.floor((end - at) / size)) : type.length;
  if (at + length * size > bytes.length) {
    throw new BpfError(
      "btf",
      `${typeName(btf, type.id)}: at byte ${at} it goes beyond the end (${bytes.length} bytes)`,
    );
  }
  if (isChar(element)) {
    const text = textOf(bytes.subarray(at, at + length));
    if (text !== undefined) return text;
  }
  const values: BtfValue[] = [];
  for (let index = 0; index < length; index++) {
    const start = at + index * size;
    values.push(read(reader, type.type, start, start + size, depth + 1));
  }
  return values;
}

/** The text in a character array, if it is text and nothing else: then it encodes to the same bytes. */
function textOf(bytes: Uint8Array): string | undefined {
  const end = bytes.indexOf(0);
  if (end < 0) return undefined;
  for (let index = end; index < bytes.length; index++) if (bytes[index] !== 0) return undefined;
  for (let index = 0; index < end; index++) {
    const byte = bytes[index] as number;
    if (byte === 0x7f || (byte < 0x20 && byte !== 9 && byte !== 10 && byte !== 13)) return undefined;
  }
  const text = decodeText(bytes.subarray(0, end));
  const back = new TextEncoder().encode(text);
  if (back.length !== end || back.some((byte, index) => byte !== bytes[index])) return undefined;
  return text;
}

function readMembers(reader: Reader, type: BtfComposite, at: number, end: number, depth: number): BtfValue {
  const object = {};
  collectMembers(reader, type, at, end, depth, object);
  return object;
}

function collectMembers(
  reader: Reader,
  type: BtfComposite,
  at: number,
  end: number,
  depth: number,
  into: object,
): void {
  const { btf } = reader;
  if (depth > MAX_DEPTH) throw tooDeep(btf, type.id);
  for (const [index, member] of type.members.entries()) {
    if (--reader.budget < 0) {
      throw new BpfError("btf", `${btf.name}: type ${type.id} has more values than bytes could hold`);
    }
    const target = resolve(btf, member.type);
    if (member.bitSize !== 0) {
      if (member.name !== "")
        define(into, member.name, readBitField(reader, type, member.bitOffset, member.bitSize, target, at));
      continue;
    }
    const start = at + member.bitOffset / 8;
    if (!Number.isInteger(start)) {
      // Without the kind flag a bit field is an int of fewer bits than its size, at an offset that counts bits.
      if (target.kind !== "int") {
        throw new BpfError("btf", `${typeName(btf, type.id)}: member '${member.name}' begins inside a byte`);
      }
      define(into, member.name, readBitField(reader, type, member.bitOffset, target.bits, target, at));
      continue;
    }
    const composite = target.kind === "struct" || target.kind === "union";
    if (member.name === "" && composite) {
      collectMembers(reader, target, start, start + target.size, depth + 1, into);
      continue;
    }
    const tail = index === type.members.length - 1 && type.kind === "struct";
    const size = tail ? end - start : sizeOf(btf, member.type);
    define(into, member.name, read(reader, member.type, start, start + size, depth + 1));
  }
}

/** Where a bit field lies: the smallest run of whole bytes that holds it. */
export function bitFieldPlace(
  btf: Btf,
  bitOffset: number,
  bits: number,
): { readonly byte: number; readonly size: number; readonly shift: number } {
  const byte = Math.floor(bitOffset / 8);
  const first = bitOffset - byte * 8;
  const size = Math.ceil((first + bits) / 8);
  return { byte, size, shift: btf.littleEndian ? first : size * 8 - first - bits };
}

function readBitField(
  { btf, bytes }: Reader,
  owner: BtfComposite,
  bitOffset: number,
  bits: number,
  target: BtfType,
  at: number,
): BtfValue {
  const { byte, size, shift } = bitFieldPlace(btf, bitOffset, bits);
  if (bits < 1 || bits > 128 || at + byte + size > bytes.length) {
    throw new BpfError(
      "btf",
      `${typeName(btf, owner.id)}: a bit field (bit ${bitOffset}, ${bits} wide) lies outside of it`,
    );
  }
  const field = loadBits(bytes, at + byte, size, btf.littleEndian) >> BigInt(shift);
  const signed =
    (target.kind === "int" || target.kind === "enum" || target.kind === "enum64") && target.signed;
  const value = signed ? BigInt.asIntN(bits, field) : BigInt.asUintN(bits, field);
  if (target.kind === "enum" || target.kind === "enum64") return nameOf(target, value);
  return toInt(value, target, bits);
}

/** Sets a member as an own property, whatever its name is: "__proto__" would otherwise change the object's prototype. */
function define(object: object, name: string, value: BtfValue): void {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
}
