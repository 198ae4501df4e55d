/**
 * `npm run verify-diff -- FILES --speed`: how long both verifiers take over the programs of which more than 1,000 instructions are processed.
 * The kernel's time is what it says itself ("verification time N usec"), or the processor time of the whole call if that is less; ours
 * the processor time of `verify` with all threads of the process, compilers and collector included. Both without a log, and the least of several
 * runs, since other work on the machine only adds. Cold is the first verification of a process that has verified nothing yet.
 */
import { execFileSync } from "node:child_process";
import { verify } from "../../src/verifier/index.ts";
import { KernelSide } from "./kernel-side.ts";
import { ourProgram } from "./our-side.ts";
import { type Subject, subjectsOf } from "./subject.ts";

const LEAST_PROCESSED = 1000;
const KERNEL_RUNS = 3;
/** Verifications of one program: three at least, then no more than this many milliseconds of them. */
const OUR_RUNS = 20;
const OUR_TIME = 1500;
/** Of the log: only statistics. */
const STATISTICS = 4;

interface Times {
  readonly file: string;
  readonly name: string;
  readonly processed: number;
  /** Microseconds. */
  readonly kernel: number;
  readonly first: number;
  readonly warm: number;
  readonly cold?: number;
}

/** Microseconds of processor time. */
function spent(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** One verification, in microseconds. */
function once({ program, options }: ReturnType<typeof ourProgram>): number {
  return spent(() => verify(program, options));
}

/** The first verification of this process: what a child process is asked for. */
export function coldTime(path: string, name: string): number {
  const subject = subjectsOf(path).find((row) => row.name === name && !("reason" in row)) as Subject;
  return once(ourProgram(subject, STATISTICS, false));
}

/** Measures, tells each program's times, and returns the geometric means of the ratios. */
export async function compareSpeed(
  paths: readonly string[],
  cold: boolean,
  tell: (line: string) => void,
): Promise<string> {
  const kernel = new KernelSide();
  const rows: Times[] = [];
  try {
    for (const path of paths) {
      for (const subject of subjectsOf(path)) {
        if ("reason" in subject) continue;
        const answer = await kernel.answer(subject);
        if ("unasked" in answer || answer.processed <= LEAST_PROCESSED) continue;
        const theirs = await kernel.times(subject, KERNEL_RUNS);
        const ours = ourProgram(subject, STATISTICS, answer.withoutTypes);
        const first = once(ours);
        let warm = first;
        for (let run = 1, sum = first; run < 3 || (run < OUR_RUNS && sum < OUR_TIME * 1000); run++) {
          const time = once(ours);
          sum += time;
          warm = Math.min(warm, time);
        }
        const row: Times = {
          file: subject.file,
          name: subject.name,
          processed: answer.processed,
          kernel: Math.min(...theirs),
          first,
          warm,
          ...(cold ? { cold: inNewProcess(path, subject.name) } : {}),
        };
        rows.push(row);
        tell(line(row));
      }
    }
  } finally {
    kernel.close();
  }
  const mean = (ratio: (row: Times) => number): string =>
    Math.exp(rows.reduce((sum, row) => sum + Math.log(ratio(row)), 0) / rows.length).toFixed(2);
  return (
    `${rows.length} programs of more than ${LEAST_PROCESSED} processed instructions; times the kernel's, geometric mean: ` +
    `warm ${mean((row) => row.warm / row.kernel)}, the first time ${mean((row) => row.first / row.kernel)}` +
    (cold ? `, cold ${mean((row) => (row.cold ?? row.first) / row.kernel)}` : "")
  );
}

function line({ file, name, processed, kernel, first, warm, cold }: Times): string {
  const times = (value: number): string => `${(value / kernel).toFixed(2)}x`;
  return (
    `${file} ${name.slice(0, 60)}: ${processed} processed, kernel ${kernel} us, warm ${times(warm)}, first ${times(first)}` +
    (cold === undefined ? "" : `, cold ${times(cold)}`)
  );
}

/** The tool is one file when it runs (scripts/run-tool.mjs). */
function inNewProcess(path: string, name: string): number {
  const args = JSON.stringify([path, "--cold-time", name]);
  const code = `import(${JSON.stringify(import.meta.url)}).then(({ main }) => main(${args}))`;
  const text = execFileSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
  return Number(/^cold (\d+(?:\.\d+)?)$/m.exec(text)?.[1] ?? Number.NaN);
}
