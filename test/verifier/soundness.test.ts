/** Random programs that the verifier accepts do nothing that it says they do not. `npm run fuzz -- --soundness` runs more of them. */
import { describe, expect, it } from "vitest";
import { ConstructsBench, kernelTypes } from "./soundness-constructs.ts";
import { SoundnessBench, type SoundnessChecker, checkSoundness } from "./soundness.ts";

const PROGRAMS = Number(process.env["SKEP_SOUNDNESS_PROGRAMS"] ?? 400);

async function check(checker: SoundnessChecker): Promise<void> {
  const found: string[] = [];
  const { accepted, compared } = await checkSoundness(checker, PROGRAMS, 1, (seed, what) =>
    found.push(`seed ${seed}: ${what}`),
  );
  expect(found).toEqual([]);
  expect(accepted).toBeGreaterThan(PROGRAMS / 5);
  expect(compared).toBeGreaterThan((accepted * 9) / 10);
}

describe("accepted programs", () => {
  it(
    "run in the sandbox, and their registers lie in the verifier's states",
    () => check(new SoundnessBench()),
    120_000,
  );

  const btf = kernelTypes();
  it.skipIf(btf === undefined)(
    "keep nothing, use nothing that they have given back, leave every region (needs /sys/kernel/btf/vmlinux)",
    () => check(new ConstructsBench(btf as NonNullable<typeof btf>)),
    120_000,
  );
});
