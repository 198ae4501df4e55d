import { plainBytes } from "../bytes.ts";
import { BpfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import { typeName } from "./name.ts";
import { POINTER_SIZE, findMember, resolve, sizeOf, tooDeep } from "./resolve.ts";
import { type BtfArray, type BtfComposite, type BtfMember, type BtfType, MAX_DEPTH } from "./types.ts";
import { type BtfValue, bitFieldPlace, flexibleTail, isChar } from "./value.ts";

interface Writer {
  readonly btf: Btf;
  readonly bytes: Uint8Array;
  /** The bits that have been written: members of a union may overlap, but must not contradict each other. */
  readonly written: Uint8Array;
}

/**
 * Encodes a JavaScript value as a value of a type: the inverse of {@link decodeValue}. Besides what that returns it takes
 * a bigint for every integer, a boolean for integers, a number for enums, any array-like object of numbers for arrays,
 * and a Uint8Array of the right size for any type. Members that are left out are zero; of a union one member suffices.
 *
 * @throws BpfError code "btf", naming the member, if a value does not fit its type, if there is no such member or
 *   enumerator, or if members of a union contradict each other.
 * @example
 * encodeValue(btf, map.key, { saddr: 0x0100007f, port: 80 });
 */
export function encodeValue(btf: Btf, id: number, value: BtfValue): Uint8Array {
  let size = sizeOf(btf, id);
  if (value instanceof Uint8Array) {
    if (value.length !== size && !(value.length > size && flexibleTail(btf, id))) {
      throw new BpfError("btf", `${typeName(btf, id)}: takes ${size} bytes, not ${value.length}`);
    }
    return plainBytes(value).slice();
  }
  size = Math.max(size, flexibleSize(btf, id, value));
  // The kernel has no larger map value either (INT_MAX).
  if (size > 0x7fff_ffff)
    throw new BpfError("btf", `${typeName(btf, id)}: takes ${size} bytes, too many for one value`);
  let bytes: Uint8Array;
  let written: Uint8Array;
  try {
    bytes = new Uint8Array(size);
    written = new Uint8Array(size);
  } catch (cause) {
    throw new BpfError("memory", `${typeName(btf, id)}: no memory for ${size} bytes`, { cause });
  }
  write({ btf, bytes, written }, id, 0, size, value, typeName(btf, id), 0);
  return bytes;
}

/** Bytes of a structure with the elements that are given for its flexible array. */
function flexibleSize(btf: Btf, id: number, value: BtfValue): number {
  const type = resolve(btf, id);
  if (type.kind !== "struct" || !flexibleTail(btf, id) || typeof value !== "object") return 0;
  const last = type.members.at(-1) as BtfMember;
  const elements = Object.hasOwn(value, last.name)
    ? (value as Record<string, BtfValue>)[last.name]
    : undefined;
  const array = resolve(btf, last.type) as BtfArray;
  if (typeof elements === "string") return last.bitOffset / 8 + new TextEncoder().encode(elements).length + 1;
  if (!isArrayLike(elements)) return 0;
  return last.bitOffset / 8 + elements.length * sizeOf(btf, array.type);
}

function isArrayLike(value: unknown): value is ArrayLike<BtfValue> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

function mismatch(path: string, wanted: string, value: unknown): BpfError {
  const given = typeof value === "bigint" ? `${value}` : (JSON.stringify(value, jsonSafe) ?? String(value));
  return new BpfError(
    "btf",
    `${path}: needs ${wanted}, not ${given.length > 60 ? `${given.slice(0, 57)}...` : given}`,
  );
}

function jsonSafe(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? `${value}` : value;
}

function write(
  writer: Writer,
  id: number,
  at: number,
  end: number,
  value: BtfValue,
  path: string,
  depth: number,
): void {
  const { btf } = writer;
  if (depth > MAX_DEPTH) throw tooDeep(btf, id);
  const type = resolve(btf, id);
  if (value instanceof Uint8Array && type.kind !== "array") {
    const size = sizeOf(btf, id);
    if (value.length !== size) throw mismatch(path, `${size} bytes`, `${value.length} bytes`);
    for (const [index, byte] of value.entries()) put(writer, at + index, byte, 255, path);
    return;
  }
  switch (type.kind) {
    case "int":
      if (type.bits === type.size * 8 || type.bool) {
        putBits(writer, at, type.size, 0, type.size * 8, toInteger(type, type.size * 8, value, path), path);
      } else {
        const shift = btf.littleEndian ? type.bitOffset : type.size * 8 - type.bitOffset - type.bits;
        putBits(writer, at, type.size, shift, type.bits, toInteger(type, type.bits, value, path), path);
      }
      return;
    case "ptr":
      putBits(writer, at, POINTER_SIZE, 0, 64, toInteger(type, 64, value, path), path);
      return;
    case "enum":
    case "enum64":
      putBits(writer, at, type.size, 0, type.size * 8, toInteger(type, type.size * 8, value, path), path);
      return;
    case "float": {
      if (typeof value !== "number") throw mismatch(path, "a number", value);
      if (type.size !== 4 && type.size !== 8) throw mismatch(path, `${type.size} bytes`, value);
      const scratch = new DataView(new ArrayBuffer(type.size));
      if (type.size === 4) scratch.setFloat32(0, value, btf.littleEndian);
      else scratch.setFloat64(0, value, btf.littleEndian);
      for (let index = 0; index < type.size; index++)
        put(writer, at + index, scratch.getUint8(index), 255, path);
      return;
    }
    case "array":
      writeArray(writer, type, at, end, value, path, depth);
      return;
    case "struct":
    case "union":
      writeMembers(writer, type, at, end, asObject(value, path), path, depth);
      return;
    case "var":
    case "decl_tag":
      write(writer, type.type, at, end, value, path, depth + 1);
      return;
    case "datasec": {
      const object = asObject(value, path);
      const variables = new Map(type.variables.map((row) => [btf.type(row.type).name, row]));
      for (const [name, inner] of Object.entries(object)) {
        const row = variables.get(name);
        if (row === undefined) throw new BpfError("btf", `${path}: has no variable '${name}'`);
        const start = at + row.offset;
        write(writer, row.type, start, start + row.size, inner, `${path}.${name}`, depth + 1);
      }
      return;
    }
    default:
      throw new BpfError("btf", `${path}: ${type.kind} has no values`);
  }
}

function asObject(value: BtfValue, path: string): Readonly<Record<string, BtfValue>> {
  if (typeof value !== "object" || value === null || isArrayLike(value))
    throw mismatch(path, "an object", value);
  return value as Readonly<Record<string, BtfValue>>;
}

/** The bits of an integer, pointer or enum, as an unsigned number. */
function toInteger(type: BtfType, bits: number, value: BtfValue, path: string): bigint {
  if (typeof value === "string" && (type.kind === "enum" || type.kind === "enum64")) {
    const row = type.values.find(({ name }) => name === value);
    if (row === undefined) {
      const some = type.values.slice(0, 5).map(({ name }) => name);
      const more = type.values.length > some.length ? ", ..." : "";
      throw new BpfError(
        "btf",
        `${path}: enum ${type.name} has no '${value}' (it has ${some.join(", ")}${more})`,
      );
    }
    return BigInt.asUintN(bits, row.value);
  }
  let number: bigint;
  if (typeof value === "bigint") number = value;
  else if (typeof value === "number" && Number.isInteger(value)) number = BigInt(value);
  else if (typeof value === "boolean") number = value ? 1n : 0n;
  else
    throw mismatch(path, type.kind.startsWith("enum") ? "an enumerator or an integer" : "an integer", value);
  const signed = "signed" in type && type.signed;
  const least = signed ? -(1n << BigInt(bits - 1)) : 0n;
  const most = (1n << BigInt(signed ? bits - 1 : bits)) - 1n;
  if (number < least || number > most) throw mismatch(path, `${least} to ${most}`, value);
  return BigInt.asUintN(bits, number);
}

function writeArray(
  writer: Writer,
  type: BtfArray,
  at: number,
  end: number,
  value: BtfValue,
  path: string,
  depth: number,
): void {
  const { btf } = writer;
  const size = sizeOf(btf, type.type);
  const element = resolve(btf, type.type);
  const open = type.length === 0;
  const length = open ? Math.floor((end - at) / Math.max(1, size)) : type.length;
  if (typeof value === "string") {
    if (!isChar(element)) throw mismatch(path, `${length} elements`, value);
    const text = new TextEncoder().encode(value);
    if (text.length > length) throw mismatch(path, `at most ${length} bytes`, value);
    for (let index = 0; index < length; index++) put(writer, at + index, text[index] ?? 0, 255, path);
    return;
  }
  if (!isArrayLike(value)) throw mismatch(path, `${length} elements`, value);
  // A Uint8Array gives the bytes of an array of anything; for arrays of bytes both readings are the same.
  if (value instanceof Uint8Array && (size !== 1 || isChar(element))) {
    if (value.length !== length * size)
      throw mismatch(path, `${length * size} bytes`, `${value.length} bytes`);
    for (const [index, byte] of value.entries()) put(writer, at + index, byte, 255, path);
    return;
  }
  if (value.length !== length) throw mismatch(path, `${length} elements`, `${value.length} elements`);
  for (let index = 0; index < length; index++) {
    const start = at + index * size;
    write(writer, type.type, start, start + size, value[index] as BtfValue, `${path}[${index}]`, depth + 1);
  }
}

function writeMembers(
  writer: Writer,
  type: BtfComposite,
  at: number,
  end: number,
  value: Readonly<Record<string, BtfValue>>,
  path: string,
  depth: number,
): void {
  const { btf } = writer;
  for (const [name, inner] of Object.entries(value)) {
    if (inner === undefined) continue;
    const inside = `${path}.${name}`;
    const member = name === "" ? undefined : findMember(btf, type.id, name);
    if (member === undefined) {
      const known = type.members.map((row) => row.name).filter((text) => text !== "");
      const some = known.slice(0, 8).join(", ");
      throw new BpfError(
        "btf",
        `${path}: has no member '${name}' (it has ${some}${known.length > 8 ? ", ..." : ""})`,
      );
    }
    const target = resolve(btf, member.type);
    const partial = member.bitOffset % 8 !== 0 && target.kind === "int" ? target.bits : 0;
    const bits = member.bitSize === 0 ? partial : member.bitSize;
    if (bits !== 0) {
      const place = bitFieldPlace(btf, member.bitOffset, bits);
      const number = toInteger(target, bits, inner, inside);
      putBits(writer, at + place.byte, place.size, place.shift, bits, number, inside);
      continue;
    }
    const start = at + member.bitOffset / 8;
    const last = type.kind === "struct" && member.name === type.members.at(-1)?.name;
    const limit = last ? end : start + sizeOf(btf, member.type);
    write(writer, member.type, start, limit, inner, inside, depth + 1);
  }
}

/** Writes the low `bits` of a number into `size` bytes, `shift` bits above their least significant end. */
function putBits(
  writer: Writer,
  at: number,
  size: number,
  shift: number,
  bits: number,
  value: bigint,
  path: string,
): void {
  let field = value << BigInt(shift);
  let mask = ((1n << BigInt(bits)) - 1n) << BigInt(shift);
  for (let index = 0; index < size; index++) {
    const byte = writer.btf.littleEndian ? at + index : at + size - 1 - index;
    put(writer, byte, Number(field & 255n), Number(mask & 255n), path);
    field >>= 8n;
    mask >>= 8n;
  }
}

function put({ bytes, written, btf }: Writer, at: number, value: number, mask: number, path: string): void {
  if (at >= bytes.length) throw new BpfError("btf", `${btf.name}: ${path} lies outside of its type`);
  const before = bytes[at] as number;
  if (((before ^ value) & (written[at] as number) & mask) !== 0) {
    throw new BpfError("btf", `${path}: contradicts another member of the same union; give one of them`);
  }
  bytes[at] = (before & ~mask) | (value & mask);
  written[at] = (written[at] as number) | mask;
}
