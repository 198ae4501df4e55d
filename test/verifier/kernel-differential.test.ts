/** Random programs of arithmetic, jumps, stack, loops and calls: verdict and log of level 2 are the running kernel's. */
import { closeSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Instruction } from "../../src/isa/index.ts";
import { Kernel } from "../../src/kernel/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { attemptLoad } from "../../src/kernel/program.ts";
import { type VerifierOptions, verify } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { loadCapabilities } from "../verify-diff/capabilities.ts";
import { randomProgram } from "./random-program.ts";

const PROGRAMS = Number(process.env["SKEP_VERIFIER_PROGRAMS"] ?? 120);

function ours(
  instructions: readonly Instruction[],
  options: VerifierOptions = {},
): { verdict: string; log: string } {
  const { accepted, errno, log } = verify(
    { name: "random", type: "socket_filter", instructions, maps: new Map(), license: "GPL" },
    { ...options, logLevel: 2 },
  );
  return { verdict: accepted ? "accepted" : String(errno), log };
}

describe.skipIf(noKernel !== undefined)(withKernel("random programs"), () => {
  it("are judged alike, with the same log", async () => {
    const kernel = await Kernel.open();
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const instructions = randomProgram(seed);
      const { result, log } = attemptLoad(kernel, { type: "socket_filter", instructions }, 2);
      if (result >= 0) closeSync(result);
      const theirs = { verdict: result >= 0 ? "accepted" : nameOfErrno(result), log };
      expect(ours(instructions), `seed ${seed}`).toEqual(theirs);
    }
  }, 240_000);

  it("are judged alike without CAP_PERFMON", async () => {
    const kernel = await Kernel.open();
    const as = await loadCapabilities();
    const capabilities = ["bpf"] as const;
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const instructions = randomProgram(seed);
      const { result, log } = as(capabilities, () =>
        attemptLoad(kernel, { type: "socket_filter", instructions }, 2),
      );
      if (result >= 0) closeSync(result);
      const theirs = { verdict: result >= 0 ? "accepted" : nameOfErrno(result), log };
      expect(ours(instructions, { capabilities }), `seed ${seed}`).toEqual(theirs);
    }
  }, 240_000);
});
