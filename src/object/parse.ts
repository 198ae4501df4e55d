import { type ElfFile, parseElf } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { decodeText } from "../bytes.ts";
import { readBtfMaps, readInitializers } from "./btf-maps.ts";
import { openContext, sectionError } from "./context.ts";
import { readDataSections } from "./data.ts";
import { collectFunctions, finishFunction } from "./functions.ts";
import { readLegacyMaps } from "./legacy-maps.ts";
import { type MapTable, makeMap } from "./maps.ts";
import { collectPrograms } from "./programs.ts";
import { collectReferences, nameDataReferences } from "./relocations.ts";
import type { ObjectSpec } from "./spec.ts";
import { strictFindings } from "./strict.ts";
import { readStructOps } from "./struct-ops.ts";

/** How {@link parseObject} reads. */
export interface ObjectOptions {
  /** Begins the messages and names the file in errors; default "object". */
  readonly name?: string;
  /** Refuse what libbpf 1.x would refuse; {@link strictFindings} has all the reasons. Default false. */
  readonly strict?: boolean;
}

/**
 * Reads a BPF object file: what clang, bpf-linker or `skep asm --format elf` wrote, in either byte order.
 *
 * It is a pure function: the same bytes give the same spec on every machine. The bytes are kept, not copied, so they
 * must not change afterwards.
 *
 * @throws BpfError, whatever the bytes: "elf" (no ELF object, cut off, another machine), "object" (no BPF object that can be
 *   loaded), "relocation", "btf", "map" (a definition that contradicts itself), "unsupported".
 * @example
 * const spec = parseObject(bytes, { name: "firewall.bpf.o" });
 * for (const program of Object.values(spec.programs)) console.log(program.name, program.type);
 * spec.variables["sampling_rate"]?.set(100);
 */
export function parseObject(
  bytes: Uint8Array,
  { name = "object", strict = false }: ObjectOptions = {},
): ObjectSpec {
  try {
    const spec = readObject(parseElf(bytes, { name }), name);
    const [finding, ...more] = strict ? strictFindings(spec) : [];
    if (finding === undefined) return spec;
    throw new BpfError(
      "object",
      more.length === 0 ? finding : `${finding} (and ${more.length} more that libbpf 1.x refuses)`,
    );
  } catch (error) {
    if (error instanceof BpfError) throw error.at({ file: name });
    throw error;
  }
}

function readObject(elf: ElfFile, name: string): ObjectSpec {
  const context = openContext(elf);
  const license = readLicense(elf);
  const kernelVersion = readVersion(elf);
  const functions = collectFunctions(context);
  const table: MapTable = { specs: new Map(), places: new Map() };
  readLegacyMaps(context, table);
  readBtfMaps(context, table);
  readArena(elf, table);
  const { externs, data, pending } = collectReferences(context, functions, table);
  const { names, variables } = readDataSections(context, data, table);
  nameDataReferences(pending, names);
  readInitializers(context, table, functions);
  readStructOps(context, table, functions);
  const finished = functions.list.map(finishFunction);
  const programs = collectPrograms(finished, { license, kernelVersion });
  return Object.freeze({
    name,
    littleEndian: elf.littleEndian,
    license,
    kernelVersion,
    programs: record(programs),
    maps: record(table.specs),
    variables: record(variables),
    functions: Object.freeze(finished),
    externs: record(externs),
    btf: context.btf,
    warnings: Object.freeze(context.warnings),
  });
}

function readLicense(elf: ElfFile): string {
  const section = elf.sections.find((row) => row.name === "license");
  if (section === undefined) return "";
  const bytes = elf.data(section);
  const end = bytes.indexOf(0);
  return decodeText(end < 0 ? bytes : bytes.subarray(0, end));
}

function readVersion(elf: ElfFile): number {
  const section = elf.sections.find((row) => row.name === "version");
  if (section === undefined) return 0;
  const bytes = elf.data(section);
  if (bytes.length < 4) throw sectionError("object", "version", `needs 4 bytes and has ${bytes.length}`);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, elf.littleEndian);
}

/** Variables in the arena's address space are what its pages hold at first. */
function readArena(elf: ElfFile, table: MapTable): void {
  const section = elf.sections.find((row) => row.name === ".addr_space.1");
  const arena = [...table.specs.values()].find(({ type }) => type === "arena");
  if (section === undefined || arena === undefined) return;
  table.specs.set(arena.name, makeMap({ ...arena, contents: elf.data(section) }));
}

/** By name, without a prototype: a program may be called "constructor" or "__proto__". */
function record<T>(entries: ReadonlyMap<string, T>): Readonly<Record<string, T>> {
  const result: Record<string, T> = Object.create(null) as Record<string, T>;
  for (const [name, entry] of entries) result[name] = entry;
  return Object.freeze(result);
}
