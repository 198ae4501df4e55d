/** `npm run verify-diff -- --constructs N --seed S`: programs of `constructs/`, judged by both verifiers. */
import { Handle, Kernel, type KernelMap, attemptLoad } from "../../src/kernel/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { createMapOf, linkObject, resolveReferences } from "../../src/kernel/load.ts";
import { type LinkedProgram, linkProgram } from "../../src/object/index.ts";
import { reasonOf, verifierProgram, verify } from "../../src/verifier/index.ts";
import { constructs, generateConstructs } from "./constructs/generate.ts";
import type { RandomDifference, RandomOutcome } from "./random.ts";
import { surroundings } from "./subject.ts";

/** Instructions processed by us before a program is left alone; the kernel goes on to a million. */
const MOST_PROCESSED = 150_000;
/** Where a loader would have mapped the arena. */
const ARENA_ADDRESS = 1n << 44n;

/** Judges `count` programs from a seed on: verdict, errno and reason, and the number of processed instructions. */
export async function compareConstructs(count: number, seed: number, cpus: number): Promise<RandomOutcome> {
  const carrier = constructs();
  using kernel = await Kernel.open();
  const { kernelBtf } = surroundings();
  const maps: Record<string, KernelMap> = {};
  const types = linkObject(kernel, carrier, Object.keys(carrier.programs));
  const differences: RandomDifference[] = [];
  let accepted = 0;
  const unknown: { seed: number; ours: string }[] = [];
  try {
    for (const map of Object.values(carrier.maps)) {
      const placed = map.type === "arena" ? { ...map, extra: ARENA_ADDRESS } : map;
      maps[map.name] = createMapOf(kernel, carrier, placed, types.btf);
    }
    for (let at = seed; at < seed + count; at++) {
      const spec = generateConstructs(carrier, at, { callbackOfExceptions: false });
      const name = Object.keys(spec.programs)[0] as string;
      const linked = linkProgram(spec, name, { externs: "keep" });
      const own = judge(linked, kernelBtf, cpus);
      const linkedObject = linkObject(kernel, spec, [name]);
      const { result, log } = attemptLoad(
        kernel,
        {
          ...(linkedObject.definitions[0] as (typeof linkedObject.definitions)[number]),
          instructions: resolveReferences(linked, maps),
          // Objects of the maps' types must be the program's too.
          ...(types.btf === undefined ? {} : { btf: types.btf }),
        },
        1,
      );
      linkedObject.btf?.close();
      if (result >= 0) {
        new Handle(kernel, result).close();
        accepted++;
      }
      if ("why" in own) {
        unknown.push({ seed: at, ours: own.why });
        continue;
      }
      const processed = Number(/^processed (\d+)/m.exec(log)?.[1] ?? 0);
      const theirs = say(result >= 0, result < 0 ? nameOfErrno(result) : "", log, processed);
      if (own.text !== theirs) {
        differences.push({
          seed: at,
          ours: own.text,
          kernel: theirs,
          falseAccept: own.accepted && result < 0,
        });
      }
    }
  } finally {
    for (const map of Object.values(maps)) map.close();
    types.btf?.close();
  }
  return { programs: count, accepted, unknown, differences };
}

function say(accepted: boolean, errno: string, log: string, processed: number): string {
  return accepted ? `accepted after ${processed}` : `${errno} ${reasonOf(log)} after ${processed}`;
}

/** Our answer, or why there is none. */
function judge(
  linked: LinkedProgram,
  kernelBtf: ReturnType<typeof surroundings>["kernelBtf"],
  cpus: number,
): { readonly accepted: boolean; readonly text: string } | { readonly why: string } {
  const { type, license } = linked.program as NonNullable<LinkedProgram["program"]>;
  let processed = 0;
  const own = verify(
    verifierProgram(linked, { type: type as NonNullable<typeof type>, license, kernelBtf }),
    {
      logLevel: 1,
      cpus,
      progress: (now) => {
        processed = now;
      },
      cancelled: () => processed > MOST_PROCESSED,
    },
  );
  if (own.cancelled) return { why: `more than ${MOST_PROCESSED} instructions processed` };
  if (own.errno === "EOPNOTSUPP") return { why: `EOPNOTSUPP ${reasonOf(own.log)}` };
  return {
    accepted: own.accepted,
    text: say(own.accepted, own.errno ?? "", own.log, own.statistics.processedInstructions),
  };
}
