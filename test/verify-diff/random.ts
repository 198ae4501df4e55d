/** `npm run verify-diff -- --random N --seed S`: generated programs, judged by both verifiers. */
import { Handle, Kernel, attemptLoad, createMap } from "../../src/kernel/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { type Capability, type VerifierMap, reasonOf, verify } from "../../src/verifier/index.ts";
import { loadCapabilities } from "./capabilities.ts";
import { GENERATED_MAPS, type GeneratedProgram, generateForVerifier } from "./generate.ts";

export interface RandomOutcome {
  readonly programs: number;
  /** By the kernel. */
  readonly accepted: number;
  /** Programs that we do not judge: not implemented, or not in the time given. */
  readonly unknown: readonly { readonly seed: number; readonly ours: string }[];
  readonly differences: readonly RandomDifference[];
}

export interface RandomDifference {
  readonly seed: number;
  readonly ours: string;
  readonly kernel: string;
  readonly falseAccept: boolean;
}

/** Milliseconds for one program: endless loops take a million instructions. */
export const RANDOM_LIMIT = 3000;

const MAPS: readonly VerifierMap[] = GENERATED_MAPS.map((map) => ({ ...map, flags: 0 }));

/** Judges `count` programs from a seed on, each in `limit` milliseconds; `kept`: with these capabilities only. */
export async function compareRandom(
  count: number,
  seed: number,
  cpus: number,
  limit = RANDOM_LIMIT,
  kept?: readonly Capability[],
): Promise<RandomOutcome> {
  using kernel = await Kernel.open();
  const fewer = kept === undefined ? undefined : await loadCapabilities();
  const as = <T>(work: () => T): T =>
    kept === undefined || fewer === undefined ? work() : fewer(kept, work);
  const handles = as(() => GENERATED_MAPS.map((map) => createMap(kernel, map)));
  const differences: RandomDifference[] = [];
  let accepted = 0;
  const unknown: { seed: number; ours: string }[] = [];
  for (let at = seed; at < seed + count; at++) {
    const program = generateForVerifier(at);
    const theirs = as(() => askKernel(kernel, program, handles));
    if (theirs === "accepted") accepted++;
    const ours = askUs(program, cpus, limit, kept);
    if (ours.startsWith("EOPNOTSUPP")) unknown.push({ seed: at, ours });
    else if (ours !== theirs) {
      const falseAccept = ours === "accepted";
      differences.push({ seed: at, ours, kernel: theirs, falseAccept });
    }
  }
  return { programs: count, accepted, unknown, differences };
}

function askKernel(kernel: Kernel, program: GeneratedProgram, maps: readonly Handle[]): string {
  const instructions = program.instructions.map((row, slot) => {
    const map = program.maps.get(slot);
    return map === undefined ? row : { ...row, imm: maps[map]?.fd ?? 0 };
  });
  const { result, log } = attemptLoad(kernel, { type: program.type, instructions }, 1);
  if (result < 0) return `${nameOfErrno(result)} ${reasonOf(log)}`;
  new Handle(kernel, result).close();
  return "accepted";
}

function askUs(
  { type, instructions, maps }: GeneratedProgram,
  cpus: number,
  limit: number,
  kept: readonly Capability[] | undefined,
): string {
  const begin = performance.now();
  const { accepted, errno, log, cancelled } = verify(
    {
      name: "random",
      type,
      instructions,
      maps: new Map([...maps].map(([slot, map]) => [slot, MAPS[map] as VerifierMap])),
      license: "GPL",
    },
    {
      logLevel: 1,
      cpus,
      ...(kept === undefined ? {} : { capabilities: kept }),
      cancelled: () => performance.now() - begin > limit,
    },
  );
  if (cancelled) return "EOPNOTSUPP too slow";
  return accepted ? "accepted" : `${errno} ${reasonOf(log)}`;
}
