import { BpfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import type { CoreKind, CoreRelocation } from "../ext.ts";
import { typeName } from "../name.ts";
import { resolve, sizeOf } from "../resolve.ts";
import type { BtfArray, BtfComposite, BtfEnum, BtfType } from "../types.ts";

/** What a relocation asks about: a member, a type as a whole, or an enumerator. */
export type CoreSubject = "field" | "type" | "enumerator";

export const CORE_SUBJECTS: Readonly<Record<CoreKind, CoreSubject>> = {
  field_byte_offset: "field",
  field_byte_size: "field",
  field_exists: "field",
  field_signed: "field",
  field_lshift_u64: "field",
  field_rshift_u64: "field",
  type_id_local: "type",
  type_id_target: "type",
  type_exists: "type",
  type_size: "type",
  type_matches: "type",
  enumval_exists: "enumerator",
  enumval_value: "enumerator",
};

/** One step of an access: a named member (or enumerator), or an index into an array. */
export interface Accessor {
  /** Id of the structure or enumeration; of an index, of the element's type. */
  readonly type: number;
  /** Of the member or enumerator in its type, or into the array. */
  readonly index: number;
  /** undefined: an index. */
  readonly name: string | undefined;
}

/** A path through the types of one BTF, with anonymous members left out of the steps but counted in the offset. */
export interface Access {
  readonly btf: Btf;
  readonly root: number;
  readonly steps: readonly Accessor[];
  readonly bitOffset: number;
}

/** libbpf and the kernel go as far (BPF_CORE_SPEC_MAX_LEN). */
export const MAX_ACCESS_LENGTH = 64;

/**
 * Reads the access string of a relocation, such as "0:1:2".
 *
 * The first number is an index as in C, `p[0]`: the pointer that the compiler saw may be one into an array. Each further one is
 * the index of a member, if what has been reached is a structure or union, or of an element, if it is an array. For a
 * type as a whole the string is "0", for an enumerator its index.
 *
 * @throws BpfError code "btf" if it does not fit the type.
 */
export function parseAccess(btf: Btf, { type: root, access, kind }: CoreRelocation): Access {
  const fail = (why: string): BpfError =>
    new BpfError(
      "btf",
      `${btf.name}: CO-RE access "${access}" of type ${root} (${typeName(btf, root)}): ${why}`,
    );
  if (!/^\d{1,10}(:\d{1,10})*$/.test(access)) throw fail("it is not a list of numbers");
  const path = access.split(":").map(Number);
  if (path.length > MAX_ACCESS_LENGTH) throw fail(`more than ${MAX_ACCESS_LENGTH} steps`);
  const first = path[0] as number;
  const subject = CORE_SUBJECTS[kind];
  if (subject === "type") {
    if (access !== "0") throw fail('a type as a whole has the access "0"');
    return { btf, root, steps: [], bitOffset: 0 };
  }
  const outer = resolve(btf, root);
  if (subject === "enumerator") {
    const value = isEnum(outer) ? outer.values[first] : undefined;
    if (value === undefined || path.length > 1) throw fail("it names no enumerator");
    return { btf, root, steps: [{ type: outer.id, index: first, name: value.name }], bitOffset: 0 };
  }

  const steps: Accessor[] = [{ type: outer.id, index: first, name: undefined }];
  let bitOffset = first === 0 ? 0 : first * sizeOf(btf, root) * 8;
  let type = outer;
  for (const index of path.slice(1)) {
    if (isComposite(type)) {
      const member = type.members[index];
      if (member === undefined) throw fail(`${typeName(btf, type.id)} has no member ${index}`);
      if (member.name !== "") steps.push({ type: type.id, index, name: member.name });
      bitOffset += member.bitOffset;
      type = resolve(btf, member.type);
    } else if (type.kind === "array") {
      const element = resolve(btf, type.type);
      if (index >= type.length && !isFlexible(btf, steps.at(-1), type)) {
        throw fail(`element ${index} of an array of ${type.length}`);
      }
      steps.push({ type: element.id, index, name: undefined });
      bitOffset += index * sizeOf(btf, element.id) * 8;
      type = element;
    } else throw fail(`${typeName(btf, type.id)} has no members`);
  }
  return { btf, root, steps, bitOffset };
}

/** An array without a length at the end of a structure has as many elements as anybody asks for. */
export function isFlexible(btf: Btf, step: Accessor | undefined, array: BtfArray): boolean {
  if (step?.name === undefined || array.length > 0) return false;
  const parent = btf.type(step.type);
  return isComposite(parent) && step.index === parent.members.length - 1;
}

export function isComposite(type: BtfType): type is BtfComposite {
  return type.kind === "struct" || type.kind === "union";
}

export function isEnum(type: BtfType): type is BtfEnum {
  return type.kind === "enum" || type.kind === "enum64";
}

/**
 * How an access is written in C: "struct task_struct::real_parent.tgid", "enum state::RUNNING", "struct page".
 *
 * @example
 * describeAccess(parseAccess(btf, relocation)); // "struct task_struct::comm[3]"
 */
export function describeAccess({ btf, root, steps }: Access): string {
  let owner = typeName(btf, root);
  let path = "";
  for (const [at, { name, index }] of steps.entries()) {
    if (name !== undefined) path += path === "" ? name : `.${name}`;
    else if (at > 0) path += `[${index}]`;
    else if (index > 0) owner += `[${index}]`;
  }
  if (path === "") return owner;
  return path.startsWith("[") ? owner + path : `${owner}::${path}`;
}
