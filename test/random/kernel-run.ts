/** Generated programs in the real kernel. */
import {
  type Kernel,
  type KernelMap,
  createMap,
  isPerCpu,
  joinPerCpu,
  loadProgram,
  possibleCpus,
} from "../../src/kernel/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import type { GeneratedProgram } from "./model.ts";

/** What a run leaves behind. */
export interface Outcome {
  /** Unsigned 32 bits. */
  readonly returnValue: number;
  readonly packet: Uint8Array;
  /** By name, sorted by key; per-CPU values as the kernel hands them out. */
  readonly maps: Readonly<Record<string, readonly (readonly [key: Uint8Array, value: Uint8Array])[]>>;
}

/**
 * Loads and runs a program once.
 *
 * @throws VerifierError if the kernel rejects it.
 */
export function runInKernel(kernel: Kernel, program: GeneratedProgram): Outcome {
  const maps = new Map<string, KernelMap>();
  try {
    for (const definition of program.maps) {
      const map = createMap(kernel, definition);
      maps.set(definition.name, map);
      for (const [key, value] of definition.entries) {
        const parts = Array.from({ length: possibleCpus() }, () => value);
        map.update(key, isPerCpu(definition.type) ? joinPerCpu(parts, definition.valueSize) : value);
      }
      if (definition.frozen) map.freeze();
    }
    using loaded = loadProgram(kernel, {
      name: program.name,
      type: program.type,
      instructions: withDescriptors(program, maps),
    });
    const { returnValue, data } = loaded.testRun({ data: program.packet });
    return {
      returnValue,
      packet: data,
      maps: Object.fromEntries(
        [...maps].map(([name, map]) => [name, [...map.entries()].sort(([a], [b]) => Buffer.compare(a, b))]),
      ),
    };
  } finally {
    for (const map of maps.values()) map.close();
  }
}

function withDescriptors(
  { instructions, references }: GeneratedProgram,
  maps: ReadonlyMap<string, KernelMap>,
): Instruction[] {
  return instructions.map((instruction, slot) => {
    const reference = references.get(slot);
    return reference === undefined ? instruction : { ...instruction, imm: maps.get(reference.map)?.fd ?? -1 };
  });
}
