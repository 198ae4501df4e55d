/** Structures of the kernel and memory of processes, made up for programs that look at them. */
import { type Btf, encodeValue } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import type { LinearMemory } from "../memory.ts";
import { type ObjectValue, lowerValue } from "./lower.ts";
import { KernelObject } from "./object.ts";
import { writeRecord } from "./writes.ts";

export { KernelObject } from "./object.ts";
export { type ObjectValue, type PlacedObject, isPlaced, lowerValue } from "./lower.ts";
export { UserMemory } from "./user.ts";
export { writerNumber } from "./writes.ts";

/**
 * Lays a value of a type out in memory.
 *
 * @throws BpfError code "btf" if there is no such type, or if the value does not fit it.
 */
export function allocateObject(
  memory: LinearMemory,
  sources: readonly Btf[],
  name: string,
  value: ObjectValue,
  label: string = name,
  space: "user" | "kernel" = "kernel",
): KernelObject {
  const [btf, id] = findType(sources, name);
  const parts: number[] = [];
  const bytes = encodeValue(btf, id, lowerValue(memory, btf, id, value, parts));
  const address = memory.lend(Math.max(1, bytes.length), label, "object", { align: 64, space });
  memory.write(address, bytes);
  memory.lending?.allowWrites(address, writeRecord(memory, btf, id));
  return new KernelObject(memory, btf, id, address, bytes.length, parts);
}

/** The first source that has a whole type of that name. */
function findType(sources: readonly Btf[], name: string): [Btf, number] {
  const [, keyword, bare = name] = /^(struct|union|enum) (.*)$/.exec(name) ?? [];
  for (const btf of sources) {
    const type = btf
      .find(bare)
      .find(({ kind }) =>
        keyword === undefined
          ? ["struct", "union", "typedef", "enum", "int"].includes(kind)
          : kind === keyword,
      );
    if (type !== undefined) return [btf, type.id];
  }
  const where = sources.map((btf) => btf.name).join(", ");
  throw new BpfError(
    "btf",
    sources.length === 0
      ? `type '${name}': the machine knows no types; give it BTF: Machine.create({ btf }), or load an object first`
      : `type '${name}': there is none in ${where}; compilers describe only types that something refers to: struct ${bare} *unused __attribute__((unused));`,
  );
}
