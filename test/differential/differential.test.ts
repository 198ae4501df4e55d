import { describe, expect, it } from "vitest";
import { Kernel, possibleCpus } from "../../src/kernel/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { runCampaign } from "./campaign.ts";

/** Bounded here; `npm run fuzz -- --seconds 600 --seed 7` goes on as long as one likes. */
const PROGRAMS = 400;

describe("random programs: interpreter and JIT", () => {
  it("agree", async () => {
    const report = await runCampaign({ firstSeed: 1, programs: PROGRAMS, cpus: 1 });
    expect(report.differences).toEqual([]);
    expect(report.accepted).toBe(PROGRAMS);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("random programs: interpreter, JIT and kernel"), () => {
  it("agree", async () => {
    using kernel = await Kernel.open();
    const report = await runCampaign({
      firstSeed: 100_000,
      programs: PROGRAMS,
      cpus: possibleCpus(),
      kernel,
    });
    expect(report.differences).toEqual([]);
    // The generator's aim: most of what it writes, the verifier takes.
    expect(report.accepted / report.programs).toBeGreaterThan(0.6);
  });
});
