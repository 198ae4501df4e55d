/** The conformance cases of the corpus, sandboxed, in both engines: correct programs meet no fault. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Machine } from "../../src/machine/index.ts";
import { readCases } from "../conformance.ts";
import { CORPUS, hasCorpus, needs } from "../helpers.ts";

const cases = hasCorpus ? readCases(join(CORPUS, "conformance")) : [];

describe.skipIf(!hasCorpus)(needs("sandboxed conformance cases", hasCorpus, "corpus"), () => {
  it.each(cases)("$name", async ({ instructions, memory, result }) => {
    for (const engine of ["interpreter", "jit"] as const) {
      const machine = await Machine.create({ unverified: "sandbox", engine });
      let address = 0;
      if (memory !== undefined && memory.length > 0) {
        address = machine.memory.alloc(memory.length, "memory");
        machine.memory.write(address, memory);
        machine.regions.add({ kind: "memory", label: "memory", address, size: memory.length });
      }
      expect(machine.loadInstructions(instructions).call(address, memory?.length ?? 0)).toBe(result);
    }
  });
});
