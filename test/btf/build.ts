/** BTF made by hand: types as they look when decoded, in either byte order. */
import { BTF_KINDS, type BtfType, LINKAGES } from "../../src/btf/index.ts";

type Distribute<T> = T extends { readonly id: number } ? Omit<T, "id"> : never;

/** A type without its id, which is its place in the list, counted from 1. */
export type BtfSource = Distribute<Exclude<BtfType, { kind: "void" }>>;

export interface BuildOptions {
  /** Default true. */
  readonly littleEndian?: boolean;
  /** Where this one's strings begin, for split BTF. */
  readonly stringBase?: number;
}

export function buildBtf(
  types: readonly BtfSource[],
  { littleEndian = true, stringBase = 0 }: BuildOptions = {},
): Uint8Array {
  const strings = new Map<string, number>(stringBase === 0 ? [["", 0]] : []);
  let stringLength = stringBase === 0 ? 1 : 0;
  const texts: Uint8Array[] = stringBase === 0 ? [new Uint8Array(1)] : [];
  const name = (text: string): number => {
    if (text === "") return 0;
    const known = strings.get(text);
    if (known !== undefined) return stringBase + known;
    const bytes = new TextEncoder().encode(`${text}\0`);
    const offset = stringLength;
    strings.set(text, offset);
    texts.push(bytes);
    stringLength += bytes.length;
    return stringBase + offset;
  };
  const words: number[] = [];
  for (const type of types) words.push(...record(type, name));

  const bytes = new Uint8Array(24 + words.length * 4 + stringLength);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f, littleEndian);
  view.setUint8(2, 1);
  const header = [24, 0, words.length * 4, words.length * 4, stringLength];
  for (const [index, word] of [...header, ...words].entries())
    view.setUint32(4 + index * 4, word, littleEndian);
  let at = 24 + words.length * 4;
  for (const text of texts) {
    bytes.set(text, at);
    at += text.length;
  }
  return bytes;
}

function record(type: BtfSource, name: (text: string) => number): number[] {
  const kind = BTF_KINDS.find((row) => row.name === type.kind)?.id ?? 0;
  const head = (length: number, sizeOrType: number, flag = false): number[] => [
    name(type.name),
    ((flag ? 0x8000_0000 : 0) | (kind << 24) | length) >>> 0,
    sizeOrType,
  ];
  switch (type.kind) {
    case "int": {
      const encoding = (type.signed ? 1 : 0) | (type.char ? 2 : 0) | (type.bool ? 4 : 0);
      return [...head(0, type.size), (encoding << 24) | (type.bitOffset << 16) | type.bits];
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
      return [...head(0, 0), type.type, type.indexType, type.length];
    case "struct":
    case "union": {
      const flag = type.members.some(({ bitSize }) => bitSize !== 0);
      return [
        ...head(type.members.length, type.size, flag),
        ...type.members.flatMap((row) => [
          name(row.name),
          row.type,
          flag ? ((row.bitSize << 24) | row.bitOffset) >>> 0 : row.bitOffset,
        ]),
      ];
    }
    case "enum":
      return [
        ...head(type.values.length, type.size, type.signed),
        ...type.values.flatMap((row) => [name(row.name), Number(BigInt.asUintN(32, row.value))]),
      ];
    case "enum64":
      return [
        ...head(type.values.length, type.size, type.signed),
        ...type.values.flatMap((row) => [
          name(row.name),
          Number(BigInt.asUintN(32, row.value)),
          Number(BigInt.asUintN(32, row.value >> 32n)),
        ]),
      ];
    case "fwd":
      return head(0, 0, type.union);
    case "func":
      return head(LINKAGES.indexOf(type.linkage), type.type);
    case "func_proto":
      return [
        ...head(type.parameters.length, type.type),
        ...type.parameters.flatMap((row) => [name(row.name), row.type]),
      ];
    case "var":
      return [...head(0, type.type), LINKAGES.indexOf(type.linkage)];
    case "datasec":
      return [
        ...head(type.variables.length, type.size),
        ...type.variables.flatMap((row) => [row.type, row.offset, row.size]),
      ];
    case "float":
      return head(0, type.size);
    case "decl_tag":
      return [...head(0, type.type, type.attribute), type.component >>> 0];
  }
}

/** An integer type. */
export function int(
  name: string,
  size: number,
  rest: Partial<Extract<BtfSource, { kind: "int" }>> = {},
): BtfSource {
  return {
    kind: "int",
    name,
    size,
    bits: size * 8,
    bitOffset: 0,
    signed: false,
    char: false,
    bool: false,
    ...rest,
  };
}

/** A member that is no bit field. */
export function member(
  name: string,
  type: number,
  bitOffset: number,
  bitSize = 0,
): {
  name: string;
  type: number;
  bitOffset: number;
  bitSize: number;
} {
  return { name, type, bitOffset, bitSize };
}
