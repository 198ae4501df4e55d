/** Generated programs through interpreter, JIT and, where it can be asked, the kernel. */
import { BpfError } from "../../src/errors.ts";
import type { Kernel } from "../../src/kernel/index.ts";
import { countRows, generate } from "../random/generate.ts";
import { runInKernel } from "../random/kernel-run.ts";
import type { GeneratedProgram } from "../random/model.ts";
import { type Outcome, difference, runInMachine } from "./outcome.ts";
import { listing, reduce } from "./reduce.ts";

export interface CampaignOptions {
  readonly firstSeed: number;
  /** Ends after so many programs, or when `until` (of performance.now) is reached. */
  readonly programs: number;
  readonly until?: number;
  /** Without it only the two engines are compared. */
  readonly kernel?: Kernel;
  readonly cpus: number;
  readonly onProgress?: (report: CampaignReport) => void;
}

export interface CampaignReport {
  programs: number;
  /** Of them, those that the kernel accepted. */
  accepted: number;
  /** What the kernel said first of those that it did not. */
  readonly rejections: string[];
  readonly differences: string[];
  readonly rows: Map<string, number>;
}

type Everywhere = { readonly outcomes: readonly (readonly [string, Outcome])[]; readonly rejection?: string };

async function runEverywhere(
  program: GeneratedProgram,
  { kernel, cpus }: CampaignOptions,
): Promise<Everywhere> {
  const outcomes: (readonly [string, Outcome])[] = [];
  if (kernel !== undefined) {
    try {
      outcomes.push(["kernel", runInKernel(kernel, program)]);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      return { outcomes, rejection: error.message };
    }
  }
  outcomes.push(["interpreter", await runInMachine(program, { engine: "interpreter", cpus })]);
  outcomes.push(["jit", await runInMachine(program, { engine: "jit", cpus })]);
  return { outcomes };
}

function firstDifference(program: GeneratedProgram, { outcomes }: Everywhere): string | undefined {
  const [first, ...others] = outcomes;
  if (first === undefined) return undefined;
  for (const other of others) {
    const found = difference(program, first, other);
    if (found !== undefined) return found;
  }
  return undefined;
}

export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const report: CampaignReport = {
    programs: 0,
    accepted: 0,
    rejections: [],
    differences: [],
    rows: new Map(),
  };
  for (let index = 0; index < options.programs; index++) {
    if (options.until !== undefined && performance.now() >= options.until) break;
    const program = generate(options.firstSeed + index);
    report.programs++;
    const everywhere = await runEverywhere(program, options);
    if (everywhere.rejection !== undefined) {
      report.rejections.push(`seed ${program.seed}: ${everywhere.rejection}`);
      continue;
    }
    report.accepted++;
    for (const [row, count] of countRows([program]))
      report.rows.set(row, (report.rows.get(row) ?? 0) + count);
    const found = firstDifference(program, everywhere);
    if (found !== undefined) report.differences.push(await describe(program, found, options));
    options.onProgress?.(report);
  }
  return report;
}

async function describe(program: GeneratedProgram, found: string, options: CampaignOptions): Promise<string> {
  const smallest = await reduce(program, async (candidate) => {
    try {
      if (firstDifference(candidate, await runEverywhere(candidate, options)) === undefined) return false;
      // What depends on stack bytes that nobody wrote differs by right.
      const { cpus } = options;
      const clean = await runInMachine(candidate, { engine: "interpreter", cpus });
      const dirty = await runInMachine(candidate, { engine: "interpreter", cpus, stack: 0x5a5a5a5a });
      return difference(candidate, ["clean", clean], ["dirty", dirty]) === undefined;
    } catch (error) {
      // A candidate that an engine refuses or stops is no smaller witness of this difference.
      if (error instanceof BpfError) return false;
      throw error;
    }
  });
  const now = firstDifference(smallest, await runEverywhere(smallest, options)) ?? found;
  return `seed ${program.seed} (${program.type}): ${found}\nreduced: ${now}\n${listing(smallest)}`;
}
