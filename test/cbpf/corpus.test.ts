import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type CbpfInstruction, checkCbpf } from "../../src/cbpf/index.ts";
import { CORPUS, hasCorpus, needs } from "../helpers.ts";

describe.skipIf(!hasCorpus)(needs("libpcap's programs", hasCorpus, "corpus"), () => {
  it("all pass the checker, but for protochain's loops", () => {
    const rows = readFileSync(join(CORPUS, "filters/filters.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { expr: string; expected: [number, number, number, number][] | null });
    let programs = 0;
    for (const { expr, expected } of rows) {
      if (expected === null) continue;
      programs++;
      const program: CbpfInstruction[] = expected.map(([code, jt, jf, k]) => ({ code, jt, jf, k: k >>> 0 }));
      try {
        checkCbpf(program);
      } catch (error) {
        if (!(error instanceof BpfError)) throw error;
        expect(`${expr}: ${error.message}`).toMatch(
          /protochain.*loops are not allowed|a shift must be below 32|division by zero/,
        );
      }
    }
    expect(programs).toBeGreaterThan(3000);
  });
});
