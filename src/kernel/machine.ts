import { BpfError, VerifierError } from "../errors.ts";
import { codecOf } from "../machine/codec.ts";
import type { MapSpec, ObjectSpec } from "../object/index.ts";
import { Kernel } from "./kernel.ts";
import { type LinkedObject, createMapOf, linkObject, resolveReferences } from "./load.ts";
import { LoadedProgram } from "./loaded-program.ts";
import { loadProgram } from "./program.ts";
import { TypedMap } from "./typed-map.ts";

export interface KernelLoadOptions {
  /** Names of the programs to load; all but those of sections with a question mark if absent. */
  readonly programs?: readonly string[];
  /** Live maps that stand in for those of the object, by name: to share state between programs and reloads. */
  readonly maps?: Readonly<Record<string, TypedMap>>;
  /** What the verifier writes into each program's `log`: 0 nothing (default), 1, 2 every path; +4 statistics. */
  readonly logLevel?: number;
}

/** What {@link KernelMachine.load} returns, by name. */
export interface KernelLoaded {
  readonly programs: Readonly<Record<string, LoadedProgram>>;
  readonly maps: Readonly<Record<string, TypedMap>>;
  /** What was done without, in sentences. */
  readonly warnings: readonly string[];
}

/** What the kernel's verifier says of a program. */
export interface KernelVerdict {
  readonly accepted: boolean;
  readonly log: string;
  /** Why not. */
  readonly error?: BpfError;
}

/**
 * The real kernel as a machine: loads the same objects, with programs that run and maps that are read the same way.
 * Everything lives as long as this object (or a pin) and is gone when it is disposed of. Nothing is attached.
 *
 * @example
 * using machine = await KernelMachine.create();
 * const { programs, maps } = machine.load(parseObject(bytes));
 * programs.firewall.run({ packet }).returnName; // "XDP_DROP"
 */
export class KernelMachine {
  readonly kernel: Kernel;

  private constructor(kernel: Kernel) {
    this.kernel = kernel;
  }

  /**
   * @throws BpfError code "unsupported" off Linux or without koffi. Privilege is asked for when something is loaded.
   */
  static async create(): Promise<KernelMachine> {
    return new KernelMachine(await Kernel.open());
  }

  /**
   * Loads BTF, maps and programs of an object.
   *
   * @throws VerifierError with the kernel's log if a program is rejected; BpfError that names what cannot be made. What
   * was made before is closed.
   */
  load(spec: ObjectSpec, options: KernelLoadOptions = {}): KernelLoaded {
    const linked = linkObject(this.kernel, spec, programNames(spec, options));
    const maps: Record<string, TypedMap> = {};
    const programs: Record<string, LoadedProgram> = {};
    try {
      for (const map of mapsToCreate(linked, options)) {
        maps[map.name] = options.maps?.[map.name] ?? this.#createMap(map, linked);
      }
      linkMaps(spec, maps);
      const handles = Object.fromEntries(Object.entries(maps).map(([name, { raw }]) => [name, raw]));
      linked.programs.forEach((program, index) => {
        const definition = linked.definitions[index];
        if (definition === undefined) return;
        const raw = loadProgram(this.kernel, {
          ...definition,
          instructions: resolveReferences(program, handles),
          logLevel: options.logLevel ?? 0,
        });
        programs[program.name] = new LoadedProgram(raw, program);
      });
      fillProgramArrays(spec, maps, programs);
    } catch (error) {
      for (const { raw } of Object.values(programs)) raw.close();
      for (const { name, raw } of Object.values(maps)) if (options.maps?.[name] === undefined) raw.close();
      throw error;
    } finally {
      linked.btf?.close();
    }
    return { programs, maps, warnings: linked.warnings };
  }

  /** Asks the kernel's verifier about one program, and keeps nothing. */
  verify(
    spec: ObjectSpec,
    program: string,
    { logLevel = 1 }: { readonly logLevel?: number } = {},
  ): KernelVerdict {
    try {
      const { programs, maps } = this.load(spec, { programs: [program], logLevel });
      for (const { raw } of [...Object.values(programs), ...Object.values(maps)]) raw.close();
      return { accepted: true, log: programs[program]?.log ?? "" };
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      return { accepted: false, log: error instanceof VerifierError ? error.log : "", error };
    }
  }

  /** Closes all that was made and is still open. */
  close(): void {
    this.kernel.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #createMap(spec: MapSpec, { spec: object, btf }: LinkedObject): TypedMap {
    const codec = (id: number | undefined, size: number): ReturnType<typeof codecOf> =>
      object.btf === undefined || id === undefined || id === 0 ? undefined : codecOf(object.btf, id, size);
    return new TypedMap(
      createMapOf(this.kernel, object, spec, btf),
      spec.name,
      codec(spec.key, spec.keySize),
      codec(spec.value, spec.valueSize),
    );
  }
}

function programNames(spec: ObjectSpec, { programs }: KernelLoadOptions): readonly string[] {
  return (
    programs ??
    Object.values(spec.programs)
      .filter(({ flags }) => flags.autoload)
      .map(({ name }) => name)
  );
}

/** All maps, or those that the programs which were asked for use. */
function mapsToCreate({ spec, programs }: LinkedObject, options: KernelLoadOptions): MapSpec[] {
  if (options.programs === undefined) return Object.values(spec.maps);
  const used = new Set(
    programs.flatMap(({ references }) =>
      [...references.values()].flatMap((row) => (row.kind === "extern" ? [] : [row.map.name])),
    ),
  );
  // A map that holds maps brings them along.
  const bring = (map: MapSpec): void => {
    for (const { kind, name } of map.values) {
      const held = spec.maps[name];
      if (kind !== "map" || held === undefined || used.has(name)) continue;
      used.add(name);
      bring(held);
    }
  };
  for (const map of Object.values(spec.maps)) if (used.has(map.name)) bring(map);
  return Object.values(spec.maps).filter(({ name }) => used.has(name));
}

/** Sets the initial entries of maps that hold maps. */
function linkMaps(spec: ObjectSpec, maps: Readonly<Record<string, TypedMap>>): void {
  setEntries(spec, maps, "map", (name) => maps[name]?.raw);
}

/** Sets the initial entries of maps that hold programs. */
function fillProgramArrays(
  spec: ObjectSpec,
  maps: Readonly<Record<string, TypedMap>>,
  programs: Readonly<Record<string, LoadedProgram>>,
): void {
  setEntries(spec, maps, "program", (name) => programs[name]?.raw);
}

function setEntries(
  spec: ObjectSpec,
  maps: Readonly<Record<string, TypedMap>>,
  kind: "map" | "program",
  handleOf: (name: string) => { readonly fd: number } | undefined,
): void {
  for (const [name, map] of Object.entries(maps)) {
    for (const value of spec.maps[name]?.values ?? []) {
      if (value.kind !== kind) continue;
      const handle = handleOf(value.name);
      // Programs that were not asked for are not there to be called.
      if (handle !== undefined) map.raw.update(word(value.index), word(handle.fd));
    }
  }
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
