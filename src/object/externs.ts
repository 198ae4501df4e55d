import { resolve } from "../btf/index.ts";
import type { Instruction } from "../isa/index.ts";
import { type KconfigPlace, type KconfigValues, LINUX_6_18, parseKconfig, placeKconfig } from "./kconfig.ts";
import { BPF_F_RDONLY_PROG, makeMap, mapTypeId } from "./maps.ts";
import type { ExternSpec, FunctionSpec, MapSpec, ObjectSpec, ProgramSpec, Reference } from "./spec.ts";

/** What a program finds on the machine that it runs on, besides types. */
export interface Surroundings {
  /**
   * The kernel's configuration: its text, or values by name. What programs ask of the kernel itself (LINUX_KERNEL_VERSION and the
   * like) is answered as Linux 6.18 on x86-64 does, unless it is given.
   */
  readonly kconfig?: string | KconfigValues;
  /**
   * Addresses of kernel symbols. A weak symbol that is not among them has the address 0. "keep": symbols stay externs, for a
   * kernel that knows them.
   */
  readonly ksyms?: Readonly<Record<string, bigint>> | "keep";
}

/** The map behind configuration values. */
export const KCONFIG_MAP = ".kconfig";

/**
 * Gives an object what it declares in `.kconfig` and `.ksyms`. The object given stays as it is.
 *
 * Configuration values become a read-only map `.kconfig`, addresses of symbols are written into the instructions. What is weak
 * and not given is 0; what is not weak stays an extern, and linking a program that uses it is an error.
 *
 * @throws BpfError code "relocation" for a configuration value that does not fit its variable.
 * @example
 * const spec = resolveExterns(parseObject(bytes), { kconfig: { CONFIG_HZ: 250 } });
 */
export function resolveExterns(spec: ObjectSpec, { kconfig, ksyms = {} }: Surroundings): ObjectSpec {
  const all = Object.values(spec.externs);
  if (all.length === 0) return spec;
  const values = { ...LINUX_6_18, ...(typeof kconfig === "string" ? parseKconfig(kconfig) : kconfig) };
  const { places, map } = kconfigMap(spec, all, values);
  const addresses = new Map<string, bigint>();
  for (const { name, kind, weak } of all) {
    if (kind !== "ksym" || ksyms === "keep") continue;
    const given = Object.hasOwn(ksyms, name) ? ksyms[name] : undefined;
    if (given !== undefined || weak) addresses.set(name, given ?? 0n);
  }
  if (map === undefined && addresses.size === 0) return spec;

  const functions = spec.functions.map((own) => resolveIn(own, places, addresses));
  const programs: Record<string, ProgramSpec> = Object.create(null) as Record<string, ProgramSpec>;
  for (const program of Object.values(spec.programs)) {
    const own = functions[program.function.index] ?? program.function;
    programs[program.name] = Object.freeze({ ...program, function: own, instructions: own.instructions });
  }
  const externs: Record<string, ExternSpec> = Object.create(null) as Record<string, ExternSpec>;
  for (const row of all) if (!places.has(row.name) && !addresses.has(row.name)) externs[row.name] = row;
  const maps: Record<string, MapSpec> = Object.assign(
    Object.create(null) as Record<string, MapSpec>,
    spec.maps,
    map === undefined ? {} : { [KCONFIG_MAP]: map },
  );
  return Object.freeze({
    ...spec,
    functions: Object.freeze(functions),
    programs: Object.freeze(programs),
    externs: Object.freeze(externs),
    maps: Object.freeze(maps),
  });
}

function kconfigMap(
  { btf }: ObjectSpec,
  all: readonly ExternSpec[],
  values: KconfigValues,
): { readonly places: ReadonlyMap<string, KconfigPlace>; readonly map: MapSpec | undefined } {
  const wanted = [];
  for (const { name, kind, weak, type } of all) {
    const variable = btf === undefined || type === undefined ? undefined : btf.type(type);
    if (kind !== "kconfig" || variable?.kind !== "var") continue;
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value !== undefined || weak) wanted.push({ name, type: variable.type, value });
  }
  if (btf === undefined || wanted.length === 0) return { places: new Map(), map: undefined };
  const { places, size } = placeKconfig(btf, wanted);
  const contents = new Uint8Array(size);
  for (const { offset, bytes } of places) contents.set(bytes, offset);
  const map = makeMap({
    name: KCONFIG_MAP,
    section: KCONFIG_MAP,
    typeId: mapTypeId("array"),
    keySize: 4,
    valueSize: size,
    maxEntries: 1,
    flags: BPF_F_RDONLY_PROG,
    contents,
    frozen: true,
  });
  return { places: new Map(places.map((row) => [row.name, row])), map };
}

function resolveIn(
  own: FunctionSpec,
  places: ReadonlyMap<string, KconfigPlace>,
  addresses: ReadonlyMap<string, bigint>,
): FunctionSpec {
  let instructions: Instruction[] | undefined;
  const references: Reference[] = [];
  for (const reference of own.references) {
    const place = reference.kind === "extern" ? places.get(reference.extern) : undefined;
    const address = reference.kind === "extern" ? addresses.get(reference.extern) : undefined;
    if (place !== undefined) {
      references.push({ slot: reference.slot, kind: "map_value", map: KCONFIG_MAP, offset: place.offset });
    } else if (address !== undefined) {
      instructions ??= [...own.instructions];
      writeAddress(instructions, reference.slot, address);
    } else references.push(reference);
  }
  return Object.freeze({ ...own, instructions: instructions ?? own.instructions, references });
}

/** Puts a constant of 64 bits into an `lddw`. */
export function writeAddress(instructions: Instruction[], slot: number, address: bigint): void {
  const first = instructions[slot] as Instruction;
  instructions[slot] = { ...first, src: 0, imm: Number(BigInt.asIntN(32, address)) };
  const second = instructions[slot + 1] as Instruction;
  instructions[slot + 1] = { ...second, imm: Number(BigInt.asIntN(32, address >> 32n)) };
}

/** What somebody has to do who wants to run a program that uses this. */
export function howToResolve({ btf }: ObjectSpec, { name, kind, type }: ExternSpec, why?: string): string {
  switch (kind) {
    case "kconfig":
      return `the kernel configuration value '${name}', which was not given: load it with { kconfig: { ${name}: ... } }`;
    case "ksym": {
      const variable = btf === undefined || type === undefined ? undefined : btf.type(type);
      const typed =
        btf !== undefined && variable?.kind === "var" && resolve(btf, variable.type).kind !== "void";
      return `the kernel ${typed ? "variable" : "symbol"} '${name}', which was not given: load it with { ksyms: { ${name}: ADDRESS } }`;
    }
    case "kfunc":
      return `the kernel function '${name}', which is not there${why === undefined ? "" : ` (${why})`}: load it in a Linux kernel, link it with an object that defines the function, or give one with machine.registerKfunc("${name}", ...)`;
    default:
      return `'${name}', which is declared and nowhere defined`;
  }
}
