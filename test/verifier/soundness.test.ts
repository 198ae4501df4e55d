/** Random programs that the verifier accepts do nothing that it says they do not. `npm run fuzz -- --soundness` runs more of them. */
import { expect, it } from "vitest";
import { checkSoundness } from "./soundness.ts";

const PROGRAMS = Number(process.env["SKEP_SOUNDNESS_PROGRAMS"] ?? 400);

it("accepted programs run in the sandbox, and their registers lie in the verifier's states", async () => {
  const found: string[] = [];
  const { accepted, compared } = await checkSoundness(PROGRAMS, 1, (seed, what) =>
    found.push(`seed ${seed}: ${what}`),
  );
  expect(found).toEqual([]);
  expect(accepted).toBeGreaterThan(PROGRAMS / 5);
  expect(compared).toBeGreaterThan((accepted * 9) / 10);
}, 120_000);
