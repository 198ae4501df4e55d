import { resolve } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import type { Instruction } from "../isa/index.ts";
import {
  type ExternSpec,
  type LinkedProgram,
  type MapSpec,
  type ObjectSpec,
  createdSizes,
  kernelStructOps,
  linkProgram,
  resolveExterns,
} from "../object/index.ts";
import { ATTACH_TYPES, type AttachType, type MapType } from "../uapi/index.ts";
import { type KernelBtf, loadBtf } from "./btf.ts";
import { PreparedBtf, infoRecords } from "./btf-prepare.ts";
import { possibleCpus } from "./cpus.ts";
import type { Handle, Kernel } from "./kernel.ts";
import { type KernelMap, type MapDefinition, createMap } from "./map.ts";
import type { ProgramDefinition } from "./program.ts";
import { LITTLE_ENDIAN } from "./struct.ts";
import { PROGRAM_FLAGS } from "./tables.ts";
import { kernelConfig } from "./kconfig.ts";
import { attachTypeId, kernelAddress, kernelTypeId, vmlinuxBtf } from "./vmlinux.ts";

/** Linked programs of an object with the BTF that goes with all of them. */
export interface LinkedObject {
  readonly spec: ObjectSpec;
  readonly programs: readonly LinkedProgram[];
  readonly definitions: readonly ProgramDefinition[];
  readonly btf: KernelBtf | undefined;
  readonly warnings: readonly string[];
}

/**
 * Links programs and loads the object's BTF. BTF that the kernel rejects is left out, with a warning: programs and maps
 * mostly do without, and what does not says so when it is loaded.
 */
export function linkObject(kernel: Kernel, object: ObjectSpec, names: readonly string[]): LinkedObject {
  const spec = withKernelConfig(object);
  if (spec.littleEndian !== LITTLE_ENDIAN) {
    throw new BpfError(
      "unsupported",
      `${spec.name}: a ${spec.littleEndian ? "little" : "big"}-endian object cannot be loaded here: the kernel has the other byte order`,
      { where: { file: spec.name } },
    );
  }
  const warnings = [...spec.warnings];
  const programs = names.map((name) => linkProgram(spec, name, { externs: "keep" }));
  let btf: KernelBtf | undefined;
  let records: ReturnType<typeof infoRecords>[] = programs.map(() => ({}));
  if (spec.btf !== undefined) {
    try {
      const prepared = new PreparedBtf(spec, spec.btf);
      records = programs.map((program) => infoRecords(program, prepared));
      btf = loadBtf(kernel, prepared.bytes());
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      warnings.push(`${spec.name}: loaded without its BTF: ${error.message}`);
      records = programs.map(() => ({}));
    }
  }
  const members = structOpsMembers(spec, programs);
  const definitions = programs.map((program, index) => ({
    ...definitionOf(program, btf, records[index] ?? {}),
    ...members.get(program.name),
  }));
  return { spec, programs, definitions, btf, warnings };
}

/** Configuration values as this kernel has them; symbols and functions are the kernel's to find. */
function withKernelConfig(spec: ObjectSpec): ObjectSpec {
  if (!Object.values(spec.externs).some(({ kind }) => kind === "kconfig")) return spec;
  return resolveExterns(spec, { kconfig: kernelConfig(), ksyms: "keep" });
}

/** What struct_ops programs implement, by program. */
function structOpsMembers(
  spec: ObjectSpec,
  programs: readonly LinkedProgram[],
): ReadonlyMap<string, Pick<ProgramDefinition, "attachBtfId" | "expectedAttachType">> {
  const found = new Map<string, Pick<ProgramDefinition, "attachBtfId" | "expectedAttachType">>();
  if (!programs.some(({ program }) => program?.type === "struct_ops")) return found;
  for (const map of Object.values(spec.maps)) {
    if (map.type !== "struct_ops") continue;
    for (const { program, attachType, index } of kernelStructOps(spec, map, vmlinuxBtf()).members)
      found.set(program, { attachBtfId: attachType, expectedAttachType: index });
  }
  return found;
}

/** All that PROG_LOAD wants but the descriptors of maps. */
function definitionOf(
  linked: LinkedProgram,
  btf: KernelBtf | undefined,
  records: ReturnType<typeof infoRecords>,
): ProgramDefinition {
  const { name, program } = linked;
  const where = { program: name };
  if (program?.type === undefined) {
    throw new BpfError(
      "program",
      `program '${name}': section '${program?.section ?? ""}' names no program type`,
      { where },
    );
  }
  const { type, attachType, attachTo, flags } = program;
  if (attachType !== undefined && !ATTACH_TYPES.some((row) => row.name === attachType)) {
    throw new BpfError(
      "unsupported",
      `program '${name}': attach type ${attachType} is newer than Linux 6.18`,
      { where },
    );
  }
  if (type === "ext") {
    throw new BpfError("unsupported", `program '${name}': extensions need the program that they extend`, {
      where,
    });
  }
  const bits =
    (flags.sleepable ? PROGRAM_FLAGS.sleepable : 0) | (flags.frags ? PROGRAM_FLAGS.xdp_has_frags : 0);
  return {
    name,
    type,
    instructions: linked.instructions,
    license: program.license,
    flags: bits,
    ...(attachType === undefined ? {} : { expectedAttachType: attachType as AttachType }),
    ...(flags.attachBtf && attachTo !== undefined
      ? { attachBtfId: attachTypeId(name, attachTo, attachType) }
      : {}),
    ...(btf === undefined ? {} : { btf, ...records }),
  };
}

/** The instructions with descriptors, kernel type ids and addresses in place of what they refer to. */
export function resolveReferences(
  linked: LinkedProgram,
  maps: Readonly<Record<string, Handle>>,
): Instruction[] {
  const resolved = [...linked.instructions];
  const change = (slot: number, fields: Partial<Instruction>): void => {
    resolved[slot] = { ...(resolved[slot] as Instruction), ...fields };
  };
  for (const [slot, reference] of linked.references) {
    if (reference.kind === "extern") resolveExtern(linked, slot, reference.extern, change);
    else {
      const { name } = reference.map;
      const map = maps[name];
      if (map !== undefined) change(slot, { imm: map.fd });
      else {
        throw new BpfError("relocation", `program '${linked.name}': map '${name}' was not created`, {
          where: { program: linked.name, instruction: slot, map: name },
        });
      }
    }
  }
  return resolved;
}

const PSEUDO_BTF_ID = 3;

/** Kernel functions and variables by their BTF id; symbols without a type by their address. */
function resolveExtern(
  { name: program, btf }: LinkedProgram,
  slot: number,
  { name, kind, weak, type }: ExternSpec,
  change: (slot: number, fields: Partial<Instruction>) => void,
): void {
  const where = { program, instruction: slot };
  if (kind === "kconfig") {
    throw new BpfError(
      "unsupported",
      `program '${program}': this kernel's configuration has no value '${name}'`,
      { where },
    );
  }
  if (kind === "kfunc") {
    const id = kernelTypeId(name, "func");
    // A weak function that is missing is never called: its address is compared with NULL before.
    if (id !== undefined || weak) return change(slot, { imm: id ?? 0 });
    throw new BpfError("relocation", `program '${program}': the kernel has no function '${name}'`, { where });
  }
  const variable = btf !== undefined && type !== undefined ? btf.type(type) : undefined;
  const typed = btf !== undefined && variable?.kind === "var" && resolve(btf, variable.type).kind !== "void";
  const id = typed ? kernelTypeId(name, "var") : undefined;
  if (id !== undefined) return change(slot, { src: PSEUDO_BTF_ID, imm: id });
  const address = typed ? undefined : kernelAddress(name);
  if (address === undefined && !weak) {
    const what = typed ? "variable" : "visible symbol";
    throw new BpfError("relocation", `program '${program}': the kernel has no ${what} '${name}'`, { where });
  }
  // The address of a weak symbol that is missing is NULL.
  const value = address ?? 0n;
  change(slot, { src: 0, imm: Number(BigInt.asIntN(32, value)) });
  change(slot + 1, { imm: Number(BigInt.asIntN(32, value >> 32n)) });
}

/** Maps whose keys and values are the kernel's own: it takes no BTF for them. */
const WITHOUT_BTF: ReadonlySet<MapType> = new Set<MapType>([
  "perf_event_array",
  "cgroup_array",
  "stack_trace",
  "array_of_maps",
  "hash_of_maps",
  "devmap",
  "devmap_hash",
  "cpumap",
  "xskmap",
  "sockmap",
  "sockhash",
]);

/** Creates a map of an object, fills it, and freezes it if it is constant. */
export function createMapOf(
  kernel: Kernel,
  object: ObjectSpec,
  spec: MapSpec,
  btf: KernelBtf | undefined,
): KernelMap {
  const { name, type, contents } = spec;
  const where = { map: name };
  if (type === "unknown")
    throw new BpfError("map", `map '${name}': there is no map type ${spec.typeId}`, { where });
  if (type === "struct_ops") {
    // It stays without a value: giving it one is what registers it with the kernel, and nothing is attached here.
    const { valueType, value } = kernelStructOps(object, spec, vmlinuxBtf());
    return createMap(kernel, {
      type,
      name,
      keySize: spec.keySize,
      valueSize: value.length,
      maxEntries: 1,
      flags: spec.flags,
      kernelValueTypeId: valueType,
      ...(btf === undefined ? {} : { btf }),
    });
  }
  using inner = spec.innerMap === undefined ? undefined : createMapOf(kernel, object, spec.innerMap, btf);
  const definition: MapDefinition = {
    type,
    name,
    ...createdSizes(spec, possibleCpus()),
    flags: spec.flags,
    mapExtra: spec.extra,
    ...(spec.numaNode === undefined ? {} : { numaNode: spec.numaNode }),
    ...(inner === undefined ? {} : { inner }),
  };
  const map = createTyped(kernel, definition, spec, btf);
  try {
    if (contents !== undefined && type === "array") {
      map.update(new Uint8Array(map.keySize), contents);
      if (spec.frozen) map.freeze();
    }
  } catch (error) {
    map.close();
    throw error;
  }
  return map;
}

/** With the types of key and value if the kernel takes them, else without. */
function createTyped(
  kernel: Kernel,
  definition: MapDefinition,
  spec: MapSpec,
  btf: KernelBtf | undefined,
): KernelMap {
  if (btf === undefined || spec.value === undefined || WITHOUT_BTF.has(definition.type)) {
    return createMap(kernel, definition);
  }
  try {
    // The key of a map of variables is void; its value is the section.
    return createMap(kernel, {
      ...definition,
      btf,
      keyTypeId: spec.contents === undefined ? (spec.key ?? 0) : 0,
      valueTypeId: spec.value,
    });
  } catch (error) {
    if (!(error instanceof BpfError) || error.code !== "kernel") throw error;
    return createMap(kernel, definition);
  }
}
