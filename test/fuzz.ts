/**
 * `npm run fuzz -- --seconds 60 --seed N`: random programs through both engines and the kernel, as many as the time
 * allows. Prints each difference as the smallest program that shows it, and exits with 1 if there was one.
 */
import { parseArgs } from "node:util";
import { INSTRUCTIONS } from "../src/isa/index.ts";
import { Kernel, possibleCpus } from "../src/kernel/index.ts";
import { type CampaignReport, runCampaign } from "./differential/campaign.ts";
import { OUT_OF_REACH } from "./random/rows.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    programs: { type: "string" },
    seed: { type: "string", default: "1" },
    "no-kernel": { type: "boolean", default: false },
  },
});

async function openKernel(): Promise<Kernel | undefined> {
  if (values["no-kernel"]) return undefined;
  try {
    return await Kernel.open();
  } catch (error) {
    console.log(`without the kernel: ${(error as Error).message}`);
    return undefined;
  }
}

let shown = performance.now();
function progress({ programs, accepted, differences }: CampaignReport): void {
  if (!process.stderr.isTTY || performance.now() - shown < 500) return;
  shown = performance.now();
  process.stderr.write(`\r${programs} programs, ${accepted} accepted, ${differences.length} differences`);
}

using kernel = await openKernel();
const report = await runCampaign({
  firstSeed: Number(values.seed),
  programs: values.programs === undefined ? Number.POSITIVE_INFINITY : Number(values.programs),
  ...(values.programs === undefined ? { until: performance.now() + Number(values.seconds) * 1000 } : {}),
  cpus: possibleCpus(),
  onProgress: progress,
  ...(kernel === undefined ? {} : { kernel }),
});
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");

const reachable = INSTRUCTIONS.filter(({ name }) => !Object.hasOwn(OUT_OF_REACH, name));
const missing = reachable.filter(({ name }) => !report.rows.has(name)).map(({ name }) => name);
const share = ((100 * report.accepted) / Math.max(report.programs, 1)).toFixed(1);
console.log(`${report.programs} programs from seed ${values.seed}; ${report.accepted} accepted (${share} %)`);
console.log(
  `${reachable.length - missing.length} of ${reachable.length} rows of the instruction table were run`,
);
if (missing.length > 0) console.log(`not reached: ${missing.join(" ")}`);
for (const difference of report.differences) console.log(`\n${difference}`);
console.log(`${report.differences.length} differences`);
process.exitCode = report.differences.length > 0 ? 1 : 0;
