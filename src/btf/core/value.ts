import { BpfError } from "../../errors.ts";
import type { CoreKind } from "../ext.ts";
import { resolve, sizeOf } from "../resolve.ts";
import type { BtfType } from "../types.ts";
import { type Access, isComposite, isEnum } from "./access.ts";

/** What a relocation answers for one access. */
export interface CoreValue {
  readonly value: bigint;
  /** False where the compiler may have seen it otherwise, so that what stands in the instruction proves nothing. */
  readonly certain: boolean;
  /** Of a member's offset: the bytes that a load or store of the member moves, and their type. */
  readonly access?: { readonly size: number; readonly type: BtfType };
}

/**
 * The value of a relocation for an access; undefined if there is no access and nothing else to say than that.
 *
 * What is asked whether it exists is 0 if it does not; so are the size and id of a type that is missing. An offset, a
 * size of a member, a value of an enumerator cannot be made up: an instruction that needs them must not run.
 *
 * @throws BpfError code "btf" or "relocation" if the question has no meaning for this access.
 */
export function coreValue(kind: CoreKind, access: Access | undefined): CoreValue | undefined {
  switch (kind) {
    case "field_exists":
    case "enumval_exists":
    case "type_exists":
    case "type_matches":
      return { value: access === undefined ? 0n : 1n, certain: true };
    case "type_size":
      return { value: access === undefined ? 0n : BigInt(sizeOf(access.btf, access.root)), certain: true };
    case "type_id_local":
    case "type_id_target":
      // Linkers and de-duplication renumber types.
      return { value: BigInt(access?.root ?? 0), certain: false };
    case "enumval_value":
      return access === undefined ? undefined : { value: enumerator(access), certain: true };
    default:
      return access === undefined ? undefined : fieldValue(kind, access);
  }
}

/** Values of 32-bit enumerations are taken as signed, whatever they say: so do libbpf and the kernel. */
function enumerator({ btf, steps }: Access): bigint {
  const [step] = steps;
  const type = btf.type(step?.type ?? 0);
  const value = isEnum(type) ? (type.values[step?.index ?? 0]?.value ?? 0n) : 0n;
  return type.kind === "enum" ? BigInt.asIntN(32, value) : value;
}

type FieldKind = Extract<CoreKind, `field_${string}`>;

/**
 * Offset, size, sign and shifts of a member.
 *
 * A bit field is read as the smallest aligned integer that holds all of it: at first as its declared type, and if it
 * crosses the end of that, as one of twice the size, up to 8 bytes. It is then shifted left by the bits above it and right by
 * 64 less its own. Compilers choose otherwise at times, so of these only sign and right shift are certain.
 */
function fieldValue(kind: FieldKind, { btf, steps, bitOffset }: Access): CoreValue | undefined {
  const last = steps.at(-1);
  if (last === undefined) return undefined;
  if (last.name === undefined) {
    const size = sizeOf(btf, last.type);
    if (kind === "field_byte_offset") {
      return {
        value: BigInt(Math.floor(bitOffset / 8)),
        certain: true,
        access: { size, type: resolve(btf, last.type) },
      };
    }
    if (kind === "field_byte_size") return { value: BigInt(size), certain: true };
    throw new BpfError("relocation", `${kind} has no meaning for an element of an array`);
  }
  const owner = btf.type(last.type);
  const member = isComposite(owner) ? owner.members[last.index] : undefined;
  if (member === undefined) return undefined;
  const type = resolve(btf, member.type);
  const bitfield = member.bitSize > 0;
  let bytes = sizeOf(btf, type.id);
  let bits = bytes * 8;
  let offset = Math.floor(bitOffset / 8);
  if (bitfield) {
    bits = member.bitSize;
    const first = offset;
    const place = (): number => Math.floor(first / bytes) * bytes;
    offset = place();
    while (bitOffset + bits - offset * 8 > bytes * 8) {
      if (bytes >= 8)
        throw new BpfError("relocation", `bit field '${member.name}' cannot be read as 64 bits`);
      bytes *= 2;
      offset = place();
    }
  }
  switch (kind) {
    case "field_byte_offset": {
      if (bitfield) return { value: BigInt(offset), certain: false };
      // Of an array, one element is moved.
      let element = type;
      for (let depth = 0; element.kind === "array" && depth < 32; depth++)
        element = resolve(btf, element.type);
      const access = { size: hasSize(element) ? sizeOf(btf, element.id) : 0, type: element };
      return { value: BigInt(offset), certain: true, access };
    }
    case "field_byte_size":
      return { value: BigInt(bytes), certain: !bitfield };
    case "field_signed": {
      const signed = (type.kind === "int" || isEnum(type)) && type.signed;
      return { value: signed ? 1n : 0n, certain: true };
    }
    case "field_lshift_u64": {
      const above = btf.littleEndian
        ? 64 - (bitOffset + bits - offset * 8)
        : (8 - bytes) * 8 + (bitOffset - offset * 8);
      return { value: BigInt(above), certain: !bitfield };
    }
    case "field_rshift_u64":
      return { value: BigInt.asUintN(64, BigInt(64 - bits)), certain: true };
    case "field_exists":
      return { value: 1n, certain: true };
  }
}

function hasSize({ kind }: BtfType): boolean {
  return kind !== "void" && kind !== "fwd" && kind !== "func_proto" && kind !== "func";
}
