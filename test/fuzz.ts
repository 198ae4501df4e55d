/**
 * `npm run fuzz -- --seconds 60 --seed N`: random programs through interpreter, JIT and kernel until the time is up.
 * `npm run fuzz -- --soundness --count 200000`: what the verifier accepts, run in the sandbox and compared with its states; with
 * `--constructs` programs of callbacks, iterators, dynptrs, locks and objects, run in a model.
 */
import { parseArgs } from "node:util";
import { INSTRUCTIONS } from "../src/isa/index.ts";
import { noKernel } from "./kernel/setup.ts";
import { compare, reduceDifference, show } from "./random/differential.ts";
import { countRows, generate } from "./random/generate.ts";
import { OUT_OF_REACH } from "./random/rows.ts";
import { ConstructsBench, kernelTypes } from "./verifier/soundness-constructs.ts";
import {
  SoundnessBench,
  type SoundnessChecker,
  type SoundnessSums,
  checkSoundness,
} from "./verifier/soundness.ts";

/** Returns the exit status: 1 if anything differed. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: "0" },
      count: { type: "string", default: "Infinity" },
      soundness: { type: "boolean", default: false },
      constructs: { type: "boolean", default: false },
    },
  });
  if (values.soundness) {
    const limit = values.count === "Infinity" ? Number(values.seconds) * 1000 : Infinity;
    const checker = values.constructs ? constructsBench() : new SoundnessBench();
    if (checker === undefined) {
      console.error("no /sys/kernel/btf/vmlinux, which the kernel's functions need");
      return 2;
    }
    return soundness(checker, Number(values.count), Number(values.seed), limit);
  }
  const kernel = noKernel === undefined;
  if (!kernel) console.log(`without the kernel: ${noKernel}`);
  const deadline = performance.now() + Number(values.seconds) * 1000;
  const first = Number(values.seed);
  const rows = new Map<string, number>();
  let accepted = 0;
  let differing = 0;
  let seed = first;
  for (; performance.now() < deadline && seed - first < Number(values.count); seed++) {
    const program = generate(seed);
    const comparison = await compare(program, { kernel });
    if (!comparison.accepted) continue;
    accepted++;
    for (const [name, count] of countRows([program])) rows.set(name, (rows.get(name) ?? 0) + count);
    if (comparison.differences.length === 0) continue;
    differing++;
    const small = kernel ? await reduceDifference(program) : program;
    console.log(
      `seed ${seed}: ${(await compare(small, { kernel })).differences.join("\n  ")}\n${show(small)}`,
    );
  }
  const all = seed - first;
  const reachable = INSTRUCTIONS.filter(({ name }) => OUT_OF_REACH[name] === undefined).map(
    ({ name }) => name,
  );
  const missing = reachable.filter((name) => !rows.has(name));
  console.log(
    `${all} programs from seed ${first}: ${accepted} accepted (${((100 * accepted) / Math.max(1, all)).toFixed(1)} %), ` +
      `${differing} with differences; ${reachable.length - missing.length} of ${reachable.length} rows of the instruction table` +
      (missing.length === 0 ? "" : `, not ${missing.join(", ")}`),
  );
  return differing > 0 ? 1 : 0;
}

function constructsBench(): SoundnessChecker | undefined {
  const btf = kernelTypes();
  return btf === undefined ? undefined : new ConstructsBench(btf);
}

/** Milliseconds between two lines of progress. */
const TELL_EVERY = 10_000;

/** Until the time is up, or the count is reached. */
async function soundness(
  checker: SoundnessChecker,
  count: number,
  seed: number,
  limit: number,
): Promise<number> {
  const begin = performance.now();
  const used = process.cpuUsage();
  let told = begin;
  const line = ({ programs, accepted, compared, unknown, unsound, steps }: SoundnessSums): string => {
    const seconds = (performance.now() - begin) / 1000;
    const { user, system } = process.cpuUsage(used);
    const rate = (programs * 1e6) / (user + system);
    return (
      `${programs} programs from seed ${seed} in ${seconds.toFixed(0)} s (${rate.toFixed(0)} a second of CPU): ${accepted} accepted, ` +
      `registers of ${compared} compared, ${unknown} unknown, ${steps} steps; ${unsound} unsound`
    );
  };
  const sums = await checkSoundness(
    checker,
    count,
    seed,
    (at, what) => console.log(`seed ${at}: UNSOUND: ${what}`),
    (so) => {
      const now = performance.now();
      if (now - told > TELL_EVERY) {
        told = now;
        console.log(line(so));
      }
      return now - begin < limit;
    },
  );
  console.log(`done: ${line(sums)}`);
  return sums.unsound > 0 ? 1 : 0;
}
