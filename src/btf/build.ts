import { BpfError } from "../errors.ts";
import { BTF_KINDS, type BtfType, LINKAGES } from "./types.ts";
import { BTF_MAGIC } from "./btf.ts";

type WithoutId<T> = T extends { readonly id: number } ? Omit<T, "id"> : never;

/** A type without its id, which is its place in the list. Those that were decoded will do. */
export type BtfSource = WithoutId<Exclude<BtfType, { kind: "void" }>>;

/** How {@link encodeBtf} writes. */
export interface EncodeBtfOptions {
  /** Default true. */
  readonly littleEndian?: boolean;
  /** Further strings that must be there: `.BTF.ext` refers to them. */
  readonly strings?: readonly string[];
}

/** The bytes of a BTF, and where its strings are. */
export interface EncodedBtf {
  readonly bytes: Uint8Array;
  readonly offsetOf: ReadonlyMap<string, number>;
}

/**
 * Writes types as BTF; the first has id 1. Every string is there once.
 *
 * @throws BpfError code "btf" if a member count or a bit offset is more than the format can hold.
 * @example
 * const copy = encodeBtf([...btf.types()]).bytes;
 */
export function encodeBtf(
  types: Iterable<BtfSource>,
  { littleEndian = true, strings = [] }: EncodeBtfOptions = {},
): EncodedBtf {
  const texts = new StringPool();
  const words = new Words();
  for (const type of types) writeType(type, words, texts);
  for (const text of strings) texts.add(text);
  const body = words.take();
  const bytes = new Uint8Array(HEADER + body.length * 4 + texts.size);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, BTF_MAGIC, littleEndian);
  view.setUint8(2, 1);
  const header = [HEADER, 0, body.length * 4, body.length * 4, texts.size];
  header.forEach((word, index) => view.setUint32(4 + index * 4, word, littleEndian));
  for (let index = 0; index < body.length; index++) {
    view.setUint32(HEADER + index * 4, body[index] as number, littleEndian);
  }
  texts.write(bytes.subarray(HEADER + body.length * 4));
  return { bytes, offsetOf: texts.offsets };
}

const HEADER = 24;

/** 32-bit words, growing. */
class Words {
  #words = new Uint32Array(1024);
  #length = 0;

  push(...values: readonly number[]): void {
    if (this.#length + values.length > this.#words.length) {
      const larger = new Uint32Array(2 * (this.#length + values.length));
      larger.set(this.#words);
      this.#words = larger;
    }
    for (const value of values) this.#words[this.#length++] = value;
  }

  take(): Uint32Array {
    return this.#words.subarray(0, this.#length);
  }
}

/** NUL-terminated strings, each once, the empty one first. */
class StringPool {
  readonly offsets = new Map<string, number>([["", 0]]);
  readonly #parts: Uint8Array[] = [new Uint8Array(1)];
  size = 1;

  add(text: string): number {
    const known = this.offsets.get(text);
    if (known !== undefined) return known;
    const bytes = encodeText(text);
    const offset = this.size;
    this.offsets.set(text, offset);
    this.#parts.push(bytes);
    this.size += bytes.length;
    return offset;
  }

  write(bytes: Uint8Array): void {
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
  }
}

const utf8 = new TextEncoder();

/** The terminator included. */
function encodeText(text: string): Uint8Array {
  return utf8.encode(`${text}\0`);
}

/** Kinds have 5 bits and counts 16 in every BTF that the kernel takes. */
const MAX_COUNT = 0xffff;
const MAX_BIT_OFFSET = 0xff_ffff;

function writeType(type: BtfSource, words: Words, texts: StringPool): void {
  const kind = BTF_KINDS.find((row) => row.name === type.kind)?.id ?? 0;
  const head = (count: number, sizeOrType: number, flag = false): void => {
    if (count > MAX_COUNT) {
      throw new BpfError(
        "btf",
        `type '${type.name}' (${type.kind}): ${count} elements, the format holds ${MAX_COUNT}`,
      );
    }
    words.push(texts.add(type.name), (flag ? 0x8000_0000 : 0) | (kind << 24) | count, sizeOrType);
  };
  switch (type.kind) {
    case "int": {
      const encoding = (type.signed ? 1 : 0) | (type.char ? 2 : 0) | (type.bool ? 4 : 0);
      head(0, type.size);
      return words.push((encoding << 24) | (type.bitOffset << 16) | type.bits);
    }
    case "ptr":
    case "typedef":
    case "volatile":
    case "const":
    case "restrict":
      return head(0, type.type);
    case "type_tag":
      return head(0, type.type, type.attribute === true);
    case "array":
      head(0, 0);
      return words.push(type.type, type.indexType, type.length);
    case "struct":
    case "union": {
      const flag = type.members.some(({ bitSize }) => bitSize !== 0);
      head(type.members.length, type.size, flag);
      for (const { name, type: id, bitOffset, bitSize } of type.members) {
        if (flag && bitOffset > MAX_BIT_OFFSET) {
          throw new BpfError(
            "btf",
            `type '${type.name}': member '${name}' lies at bit ${bitOffset}, too far for bit fields`,
          );
        }
        words.push(texts.add(name), id, flag ? (bitSize << 24) | bitOffset : bitOffset);
      }
      return;
    }
    case "enum":
      head(type.values.length, type.size, type.signed);
      for (const { name, value } of type.values)
        words.push(texts.add(name), Number(BigInt.asUintN(32, value)));
      return;
    case "enum64":
      head(type.values.length, type.size, type.signed);
      for (const { name, value } of type.values) {
        const [low, high] = [BigInt.asUintN(32, value), BigInt.asUintN(32, value >> 32n)];
        words.push(texts.add(name), Number(low), Number(high));
      }
      return;
    case "fwd":
      return head(0, 0, type.union);
    case "func":
      return head(LINKAGES.indexOf(type.linkage), type.type);
    case "func_proto":
      head(type.parameters.length, type.type);
      for (const { name, type: id } of type.parameters) words.push(texts.add(name), id);
      return;
    case "var":
      head(0, type.type);
      return words.push(LINKAGES.indexOf(type.linkage));
    case "datasec":
      head(type.variables.length, type.size);
      for (const { type: id, offset, size } of type.variables) words.push(id, offset, size);
      return;
    case "float":
      return head(0, type.size);
    case "decl_tag":
      head(0, type.type, type.attribute);
      return words.push(type.component >>> 0);
  }
}

/** The same type with every reference renumbered. */
export function mapReferences<T extends BtfSource>(type: T, to: (id: number) => number): T {
  switch (type.kind) {
    case "struct":
    case "union":
      return { ...type, members: type.members.map((row) => ({ ...row, type: to(row.type) })) };
    case "func_proto":
      return {
        ...type,
        type: to(type.type),
        parameters: type.parameters.map((row) => ({ ...row, type: to(row.type) })),
      };
    case "datasec":
      return { ...type, variables: type.variables.map((row) => ({ ...row, type: to(row.type) })) };
    case "array":
      return { ...type, type: to(type.type), indexType: to(type.indexType) };
    case "int":
    case "float":
    case "enum":
    case "enum64":
    case "fwd":
      return type;
    default:
      return { ...type, type: to(type.type) };
  }
}
