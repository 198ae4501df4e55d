/**
 * struct_ops maps in a kernel's terms.
 *
 * The kernel wants the value of such a map as its own `struct bpf_struct_ops_NAME`: some members of its own, and one whose type
 * is `struct NAME`. The object has `struct NAME` as its compiler saw it (perhaps as a flavour, `NAME___old`), so members are
 * moved by name. A member that the kernel lacks may be left out if it is zero. Members that are functions are not copied: they
 * say which program implements which member, and a program gets the structure as its attach type and the member's index as
 * its expected_attach_type. Those are the rules of libbpf (bpf_map__init_kern_struct_ops).
 */
import { type Btf, type BtfMember, essentialName, resolve, sizeOf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import type { MapSpec, ObjectSpec } from "./spec.ts";

/** A struct_ops map as a kernel with the given types takes it. */
export interface KernelStructOps {
  /** Id of `struct bpf_struct_ops_NAME`: btf_vmlinux_value_type_id. */
  readonly valueType: number;
  /** The value, without its functions. */
  readonly value: Uint8Array;
  readonly members: readonly StructOpsMember[];
}

/** A member that a program implements. */
export interface StructOpsMember {
  readonly name: string;
  readonly program: string;
  /** Where the kernel's value wants the descriptor of the program, in bytes. */
  readonly offset: number;
  /** Id of `struct NAME`: attach_btf_id of the program. */
  readonly attachType: number;
  /** Index of the member in the kernel's structure: expected_attach_type of the program. */
  readonly index: number;
}

const PREFIX = "bpf_struct_ops_";

/**
 * Fits a struct_ops map to the types of a kernel.
 *
 * @throws BpfError code "map" if the kernel has no such structure, or lacks a member that is set, or has another kind of it.
 * @example
 * const { value, members } = kernelStructOps(spec, spec.maps.my_ops, parseBtf(vmlinux));
 */
export function kernelStructOps(spec: ObjectSpec, map: MapSpec, target: Btf): KernelStructOps {
  const fail = (what: string): BpfError =>
    new BpfError("map", `map '${map.name}': ${what}`, { where: { file: spec.name, map: map.name } });
  const { btf } = spec;
  const own = btf === undefined || map.value === undefined ? undefined : resolve(btf, map.value);
  if (btf === undefined || map.contents === undefined || own?.kind !== "struct")
    throw fail("it is no structure");
  const name = essentialName(own.name);
  const [valueStruct] = target.find(PREFIX + name, "struct");
  const [kernelStruct] = target.find(name, "struct");
  if (valueStruct?.kind !== "struct" || kernelStruct?.kind !== "struct")
    throw fail(`struct ${PREFIX}${name} is not in the kernel's types: it has no struct_ops of that name`);
  const data = valueStruct.members.find(({ type }) => type === kernelStruct.id);
  if (data === undefined) throw fail(`struct ${PREFIX}${name} of the kernel holds no struct ${name}`);

  const base = data.bitOffset / 8;
  const value = new Uint8Array(valueStruct.size);
  const members: StructOpsMember[] = [];
  for (const member of own.members) {
    const size = sizeOf(btf, member.type);
    const from = member.bitOffset / 8;
    const bytes = map.contents.subarray(from, from + size);
    const program = map.values.find(({ kind, index }) => kind === "program" && index === from);
    const index = kernelStruct.members.findIndex((row) => row.name === member.name);
    const theirs = kernelStruct.members[index];
    if (theirs === undefined) {
      if (program === undefined && bytes.every((byte) => byte === 0)) continue;
      throw fail(
        `its member '${member.name}' is set, and struct ${name} of the kernel has none of that name`,
      );
    }
    if (isBitField(member) || isBitField(theirs))
      throw fail(`its member '${member.name}' is a bit field, which struct_ops cannot have`);
    const kind = resolve(btf, member.type).kind;
    const theirType = resolve(target, theirs.type);
    if (kind !== theirType.kind)
      throw fail(`its member '${member.name}' is of kind ${kind}, in the kernel of kind ${theirType.kind}`);
    const offset = base + theirs.bitOffset / 8;
    if (theirType.kind === "ptr") {
      if (program === undefined) continue;
      if (resolve(target, theirType.type).kind !== "func_proto")
        throw fail(`its member '${member.name}' is a program, in the kernel no function`);
      members.push({
        name: member.name,
        program: program.name,
        offset,
        attachType: kernelStruct.id,
        index,
      });
      continue;
    }
    const theirSize = sizeOf(target, theirs.type);
    if (size !== theirSize)
      throw fail(`its member '${member.name}' has ${size} bytes, in the kernel ${theirSize}`);
    value.set(bytes, offset);
  }
  return { valueType: valueStruct.id, value, members };
}

function isBitField({ bitSize }: BtfMember): boolean {
  return bitSize !== 0;
}
