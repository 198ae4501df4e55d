/** Loading an object, as far as it goes without a machine's memory: linking, fitting to types, checks, proofs. */
import type { Btf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import {
  type MapInitializer,
  type MapSpec,
  type ObjectSpec,
  linkProgram,
  relocate,
  resolveExterns,
  withMapSizes,
} from "../object/index.ts";
import { type ProgramImage, essentialName, linkedImage } from "./image.ts";
import { convertContextAccesses } from "./convert.ts";
import type { LoadOptions } from "./options.ts";
import { ABSENT_KFUNCS } from "./kfuncs/absent.ts";
import { type Proof, prove } from "./prove.ts";
import { type Safety, type SafetyChoice, chooseSafety, safetyOf } from "./safety.ts";

/** What a plan needs to know of the machine. */
interface PlanWorld extends SafetyChoice {
  readonly btf: Btf | undefined;
  readonly cpus: number;
  hasKfunc(name: string): boolean;
  /**
   * The program as it can be installed.
   *
   * @throws BpfError if its structure is wrong.
   */
  checked(image: ProgramImage): ProgramImage;
}

/** An object whose programs can be installed once its maps are there. */
interface LoadPlan {
  /** With its externs resolved. */
  readonly spec: ObjectSpec;
  readonly images: readonly ProgramImage[];
  /** Types that the object brings. */
  readonly types: readonly Btf[];
  /** Names of the maps that the programs use. */
  readonly used: ReadonlySet<string>;
  readonly notes: readonly string[];
  safetyOf(program: string): Safety;
}

/**
 * All that can fail without a map fails here, before the first map takes memory.
 *
 * @throws BpfError that names the program which cannot be loaded.
 */
export async function planLoad(
  object: ObjectSpec,
  options: LoadOptions,
  world: PlanWorld,
): Promise<LoadPlan> {
  const { kconfig, ksyms, mapSizes = {}, attachTo = {} } = options;
  const { verify, unverified: choice } = chooseSafety(options, world);
  const spec = resolveExterns(withTargets(withMapSizes(object, mapSizes), attachTo), {
    ...(kconfig === undefined ? {} : { kconfig }),
    ...(ksyms === undefined ? {} : { ksyms }),
  });
  if (!spec.littleEndian) {
    throw new BpfError(
      "unsupported",
      `${spec.name}: a big-endian object cannot run here (it can be dumped): the machine is little-endian`,
      { where: { file: spec.name } },
    );
  }
  const known = Object.keys(spec.programs);
  const names = options.programs ?? known;
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new BpfError("usage", `${spec.name}: no program '${name}'; it has ${known.join(", ") || "none"}`, {
      where: { file: spec.name },
    });
  }
  const kernelBtf = options.btf ?? world.btf;
  const target = kernelBtf ?? spec.btf;
  const images: ProgramImage[] = [];
  const safety = new Map<string, Safety>();
  const notes: string[] = [];
  const used = new Set<string>();
  const wanted = new Set(names);
  // The set grows while it is walked: by the programs that a program array of the object holds.
  for (const name of wanted) {
    const linked = linkProgram(spec, name, {
      provides: (extern) => extern.kind === "kfunc" && world.hasKfunc(essentialName(extern.name)),
      why: ({ name: extern }) => ABSENT_KFUNCS[essentialName(extern)],
    });
    const fitted = target === undefined ? linked : relocate(linked, { target });
    const image = world.checked(linkedImage(fitted, spec, target));
    const proof: Proof = verify
      ? await prove(fitted, choice, world.cpus, options.maps, notes, kernelBtf)
      : { safety: safetyOf(false, choice) };
    safety.set(name, proof.safety);
    images.push(convertContextAccesses(image, proof.contextAccesses));
    for (const reference of image.references.values()) {
      if (reference.kind === "extern") continue;
      used.add(reference.map);
      for (const entry of programsOf(spec.maps[reference.map])) wanted.add(entry.name);
      for (const { kind, name } of spec.maps[reference.map]?.values ?? []) if (kind === "map") used.add(name);
    }
  }
  const types = [target, spec.btf].filter((btf) => btf !== undefined);
  return { spec, images, types, used, notes, safetyOf: (name) => safety.get(name) ?? choice };
}

/** The same object with other targets for some of its programs. */
function withTargets(object: ObjectSpec, targets: Readonly<Record<string, string>>): ObjectSpec {
  const names = Object.keys(targets);
  if (names.length === 0) return object;
  const unknown = names.find((name) => object.programs[name] === undefined);
  if (unknown !== undefined) {
    throw new BpfError(
      "usage",
      `${object.name}: attachTo: no program '${unknown}'; it has ${Object.keys(object.programs).join(", ")}`,
      { where: { file: object.name } },
    );
  }
  const programs = Object.fromEntries(
    Object.entries(object.programs).map(([name, program]) => {
      const attachTo = targets[name];
      return [name, attachTo === undefined ? program : { ...program, attachTo }];
    }),
  );
  return { ...object, programs };
}

/** The programs that a program array begins with. */
export function programsOf(map: MapSpec | undefined): readonly MapInitializer[] {
  return map?.type === "prog_array" ? map.values.filter(({ kind }) => kind === "program") : [];
}
