import type { Instruction } from "../../src/isa/index.ts";
import { rowOf } from "../../src/isa/index.ts";
import type { FunctionSpec, MapSpec, ObjectSpec, ProgramSpec, Reference } from "../../src/object/index.ts";
import { MAP_TYPES } from "../../src/uapi/index.ts";
import type { GeneratedMap, GeneratedProgram } from "./model.ts";

/** A generated program as an object file would hold it, for everything that loads objects. */
export function toObject(generated: GeneratedProgram): ObjectSpec {
  const functions = generated.functions.map((_, index) => functionOf(generated, index));
  const main = functions[0] as FunctionSpec;
  const program: ProgramSpec = {
    name: generated.name,
    section: generated.type,
    type: generated.type,
    attachType: undefined,
    attachTo: undefined,
    flags: { autoload: true, sleepable: false, frags: false, attachBtf: false },
    license: "GPL",
    kernelVersion: 0,
    function: main,
    instructions: main.instructions,
  };
  return {
    name: generated.name,
    littleEndian: true,
    license: "GPL",
    kernelVersion: 0,
    programs: { [generated.name]: program },
    maps: Object.fromEntries(generated.maps.map((map) => [map.name, mapOf(map)])),
    variables: {},
    functions,
    externs: {},
    btf: undefined,
    warnings: [],
  };
}

function functionOf({ functions, instructions, references }: GeneratedProgram, index: number): FunctionSpec {
  const { name, start, end } = functions[index] as GeneratedProgram["functions"][number];
  const own = instructions.slice(start, end);
  const found: Reference[] = [];
  own.forEach((instruction, slot) => {
    const reference = references.get(start + slot);
    if (reference?.kind === "map") found.push({ slot, kind: "map", map: reference.map });
    else if (reference !== undefined) {
      found.push({ slot, kind: "map_value", map: reference.map, offset: reference.offset });
    } else if (isCall(instruction)) {
      const target = functions.findIndex((one) => one.start === start + slot + 1 + instruction.imm);
      // An arbitrary program may call anywhere: its distance stays as it is, for whoever checks it.
      if (target >= 0) found.push({ slot, kind: "call", function: target });
    }
  });
  return {
    index,
    name: index === 0 ? "main" : name,
    section: ".text",
    start,
    linkage: "static",
    instructions: own,
    references: found,
    type: undefined,
    lines: [],
    coreRelocations: [],
  };
}

function isCall(instruction: Instruction): boolean {
  const semantics = rowOf(instruction)?.semantics;
  return semantics?.kind === "call" && semantics.target === "local";
}

function mapOf({
  name,
  type,
  keySize,
  valueSize,
  maxEntries,
  flags,
  frozen,
  entries,
}: GeneratedMap): MapSpec {
  return {
    name,
    section: ".maps",
    type,
    typeId: MAP_TYPES.find((row) => row.name === type)?.id ?? 0,
    keySize,
    valueSize,
    maxEntries,
    flags,
    extra: 0n,
    numaNode: undefined,
    pinning: 0,
    key: undefined,
    value: undefined,
    innerMap: undefined,
    values: [],
    contents: frozen ? entries[0]?.[1] : undefined,
    frozen,
    iproute2: undefined,
  };
}
