import { BpfError } from "../errors.ts";
import { BTF_KINDS, type BtfType, LINKAGES, TYPE_HEADER, kindOf, lengthOf } from "./types.ts";

/** Where a record stands: the part of a BTF that decoding needs. */
export interface TypeSource {
  readonly name: string;
  readonly littleEndian: boolean;
  readonly count: number;
  string(offset: number): string;
}

/** What the kernel takes (kernel/bpf/btf.c checks the same). */
const ENUM_SIZES: readonly number[] = [1, 2, 4, 8];
const FLOAT_SIZES: readonly number[] = [2, 4, 8, 12, 16];

/**
 * Decodes the record of one type. The caller has checked that it lies inside the types; what is checked here is that
 * the strings and types that it refers to exist.
 */
export function decodeType(btf: TypeSource, view: DataView, at: number, id: number): BtfType {
  const u32 = (offset: number): number => view.getUint32(offset, btf.littleEndian);
  const i32 = (offset: number): number => view.getInt32(offset, btf.littleEndian);
  const fail = (why: string): BpfError =>
    new BpfError("btf", `${btf.name}: type ${id} ${why}`, { where: { offset: at } });
  const reference = (target: number): number => {
    if (target >= btf.count) throw fail(`refers to type ${target}, which does not exist`);
    return target;
  };
  const linkage = (value: number): "static" | "global" | "extern" => {
    const text = LINKAGES[value];
    if (text === undefined) throw fail(`has linkage ${value}, known are 0 to 2`);
    return text;
  };

  const info = u32(at + 4);
  const count = lengthOf(info);
  const flag = info >>> 31 === 1;
  /** Bytes for the kinds that have a size, a type id for those that refer to one. */
  const value = u32(at + 8);
  const body = at + TYPE_HEADER;
  const name = btf.string(u32(at));
  const enumSize = (): number => {
    if (!ENUM_SIZES.includes(value)) throw fail(`(enum '${name}') has ${value} bytes`);
    return value;
  };
  const kind = KIND_NAMES[kindOf(info)];
  switch (kind) {
    case "int": {
      const data = u32(body);
      const encoding = (data >>> 24) & 15;
      const bits = data & 255;
      const bitOffset = (data >>> 16) & 255;
      if (value < 1 || value > 16 || bits < 1 || bitOffset + bits > value * 8) {
        throw fail(`(int '${name}') has ${bits} bits from bit ${bitOffset} in ${value} bytes`);
      }
      return {
        id,
        kind,
        name,
        size: value,
        bits,
        bitOffset,
        signed: (encoding & 1) !== 0,
        char: (encoding & 2) !== 0,
        bool: (encoding & 4) !== 0,
      };
    }
    case "ptr":
    case "typedef":
    case "volatile":
    case "const":
    case "restrict":
      return { id, kind, name, type: reference(value) };
    case "type_tag":
      return { id, kind, name, type: reference(value), attribute: flag };
    case "array":
      return {
        id,
        kind,
        name,
        type: reference(u32(body)),
        indexType: reference(u32(body + 4)),
        length: u32(body + 8),
      };
    case "struct":
    case "union":
      return {
        id,
        kind,
        name,
        size: value,
        members: list(count, (index) => {
          const member = body + index * 12;
          const offset = u32(member + 8);
          return {
            name: btf.string(u32(member)),
            type: reference(u32(member + 4)),
            bitOffset: flag ? offset & 0xffffff : offset,
            bitSize: flag ? offset >>> 24 : 0,
          };
        }),
      };
    case "enum":
      return {
        id,
        kind,
        name,
        size: enumSize(),
        signed: flag,
        values: list(count, (index) => ({
          name: btf.string(u32(body + index * 8)),
          value: BigInt(flag ? i32(body + index * 8 + 4) : u32(body + index * 8 + 4)),
        })),
      };
    case "enum64":
      return {
        id,
        kind,
        name,
        size: enumSize(),
        signed: flag,
        values: list(count, (index) => {
          const low = BigInt(u32(body + index * 12 + 4));
          const high = flag ? i32(body + index * 12 + 8) : u32(body + index * 12 + 8);
          return { name: btf.string(u32(body + index * 12)), value: (BigInt(high) << 32n) | low };
        }),
      };
    case "fwd":
      return { id, kind, name, union: flag };
    case "func":
      return { id, kind, name, type: reference(value), linkage: linkage(count) };
    case "func_proto":
      return {
        id,
        kind,
        name,
        type: reference(value),
        parameters: list(count, (index) => ({
          name: btf.string(u32(body + index * 8)),
          type: reference(u32(body + index * 8 + 4)),
        })),
      };
    case "var":
      return { id, kind, name, type: reference(value), linkage: linkage(u32(body)) };
    case "datasec":
      return {
        id,
        kind,
        name,
        size: value,
        variables: list(count, (index) => ({
          type: reference(u32(body + index * 12)),
          offset: u32(body + index * 12 + 4),
          size: u32(body + index * 12 + 8),
        })),
      };
    case "float":
      if (!FLOAT_SIZES.includes(value)) throw fail(`(float '${name}') has ${value} bytes`);
      return { id, kind, name, size: value };
    case "decl_tag":
      return { id, kind, name, type: reference(value), component: i32(body), attribute: flag };
    default:
      throw fail(`is of kind ${kindOf(info)}, which is not known`);
  }
}

const KIND_NAMES: readonly ((typeof BTF_KINDS)[number]["name"] | undefined)[] = kindNames();

function kindNames(): ((typeof BTF_KINDS)[number]["name"] | undefined)[] {
  const names: ((typeof BTF_KINDS)[number]["name"] | undefined)[] = [];
  for (const { id, name } of BTF_KINDS) names[id] = name;
  return names;
}

function list<T>(count: number, make: (index: number) => T): T[] {
  const items: T[] = [];
  for (let index = 0; index < count; index++) items.push(make(index));
  return items;
}
