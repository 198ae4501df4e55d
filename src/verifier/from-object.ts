/** A linked program of an object as the verifier takes it. */
import { type Btf, resolve } from "../btf/index.ts";
import { type Instruction, OPCODE_LDDW } from "../isa/index.ts";
import { MAP_FLAGS } from "../uapi/index.ts";
import type { AttachType, ProgramType } from "../uapi/index.ts";
import {
  type ExternSpec,
  type LinkedProgram,
  type MapSpec,
  createdSizes,
  kernelStructOps,
} from "../object/index.ts";
import type { VerifierMap, VerifierProgram } from "./input.ts";

/** What the object's section name says, or the caller wants otherwise. */
export interface ProgramTraits {
  readonly type: ProgramType;
  readonly attachType?: AttachType | undefined;
  readonly license: string;
  readonly sleepable?: boolean;
  readonly frags?: boolean;
  readonly kernelBtf?: Btf | undefined;
  readonly symbols?: ReadonlyMap<string, bigint> | undefined;
  readonly attachTo?: string | undefined;
  readonly extends?: VerifierProgram | undefined;
}

/** Where an arena that does not say lies for user space, as if a loader had mapped it there. */
const ARENA_ADDRESS = 1n << 44n;

/** BPF_OBJ_NAME_LEN without its NUL. */
const NAME_LENGTH = 15;

/**
 * A program with the maps that it refers to. The same map specification becomes the same map, so that registers which
 * point into it compare equal.
 *
 * @example
 * verify(verifierProgram(linkProgram(spec, "firewall"), { type: "xdp", license: spec.license }));
 */
export function verifierProgram(linked: LinkedProgram, traits: ProgramTraits): VerifierProgram {
  const known = new Map<MapSpec, VerifierMap>();
  const mapOf = (spec: MapSpec, isInner = false): VerifierMap => {
    const seen = known.get(spec);
    if (seen !== undefined) return seen;
    const made: VerifierMap = {
      // A map of maps keeps the properties of those that it holds, not their name.
      name: isInner ? "" : spec.name.slice(0, NAME_LENGTH),
      // The kernel refuses to create a map of an unknown type, so no program can refer to one.
      type: spec.type === "unknown" ? "hash" : spec.type,
      ...createdSizes(spec, 1),
      flags: spec.flags,
      extra: spec.type === "arena" && spec.extra === 0n ? ARENA_ADDRESS : spec.extra,
      btf: linked.btf,
      key: spec.contents === undefined ? spec.key : undefined,
      value: spec.value,
      frozen: spec.frozen && (spec.flags & MAP_FLAGS.rdonly_prog) !== 0,
      contents: spec.contents,
      inner: spec.innerMap === undefined ? undefined : mapOf(spec.innerMap, true),
    };
    known.set(spec, made);
    return made;
  };
  const maps = new Map<number, VerifierMap>();
  const instructions = [...linked.instructions];
  const unknown = new Map<number, string>();
  for (const [slot, reference] of linked.references) {
    if (reference.kind !== "extern") maps.set(slot, mapOf(reference.map));
    else if (!nameExtern(linked, instructions, slot, reference.extern, traits)) {
      unknown.set(slot, `address of ${reference.extern.name}`);
    }
  }
  return {
    name: linked.name,
    instructions,
    maps,
    unknown,
    btf: linked.btf,
    structOps: traits.type === "struct_ops" ? methodOf(linked, traits.kernelBtf) : undefined,
    functionInfo: linked.functionInfo,
    hidden: hiddenFunctions(linked),
    lines: linked.lines,
    ...traits,
  };
}

/** An entry point stays what it is, whoever sees its name (libbpf: prog_is_subprog). */
function hiddenFunctions({ functions }: LinkedProgram): ReadonlySet<number> {
  const [, ...others] = functions;
  return new Set(
    others.flatMap(({ spec: { linkage, type } }) => (linkage === "hidden" && type !== undefined ? type : [])),
  );
}

/** Which method of the kernel a struct_ops program implements: the object's maps say. */
function methodOf({ object, name }: LinkedProgram, kernelBtf: Btf | undefined): VerifierProgram["structOps"] {
  if (kernelBtf === undefined) return undefined;
  for (const map of Object.values(object.maps)) {
    if (map.type !== "struct_ops") continue;
    const member = kernelStructOps(object, map, kernelBtf).members.find(({ program }) => program === name);
    if (member !== undefined) return { struct: member.attachType, member: member.index };
  }
  return undefined;
}

const PSEUDO_BTF_ID = 3;

/** Functions and variables of the kernel by their ids in its BTF, other symbols by their address; false if it is not known. */
function nameExtern(
  { btf }: LinkedProgram,
  instructions: Instruction[],
  slot: number,
  { name, kind, type, weak }: ExternSpec,
  { kernelBtf, symbols }: ProgramTraits,
): boolean {
  const instruction = instructions[slot];
  if (instruction === undefined) return false;
  const isCall = instruction.opcode !== OPCODE_LDDW;
  if (kind === "kfunc") {
    if (kernelBtf === undefined) return isCall;
    const id = kernelBtf.find(name, "func")[0]?.id ?? 0;
    // The address of a weak function is taken only to compare it with NULL.
    instructions[slot] = { ...instruction, imm: id };
    return true;
  }
  const variable = btf === undefined || type === undefined ? undefined : btf.type(type);
  if (btf !== undefined && variable?.kind === "var" && resolve(btf, variable.type).kind !== "void") {
    const id = kernelBtf?.find(name, "var")[0]?.id;
    if (id === undefined) return kernelBtf !== undefined && weak;
    instructions[slot] = { ...instruction, src: PSEUDO_BTF_ID, imm: id };
    return true;
  }
  const address = symbols?.get(name) ?? (symbols !== undefined && weak ? 0n : undefined);
  const second = instructions[slot + 1];
  if (address === undefined || second === undefined) return false;
  instructions[slot] = { ...instruction, src: 0, imm: Number(BigInt.asIntN(32, address)) };
  instructions[slot + 1] = { ...second, imm: Number(BigInt.asIntN(32, address >> 32n)) };
  return true;
}
