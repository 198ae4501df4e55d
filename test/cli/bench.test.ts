import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { CLASSIC_PROGRAMS } from "../../src/cli/bench/classic.ts";
import { calibrate, geometricMean, timing } from "../../src/cli/bench/measure.ts";
import { markdown } from "../../src/cli/bench/markdown.ts";
import { skep } from "./run-cli.ts";

const QUICK = ["--rounds", "1", "--sample", "1"];

describe("skep bench", () => {
  it("measures the classic programs, with the fields that scripts read, and writes a report", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-bench-test-"));
    try {
      const args = ["--suite", "classic", "--json", "--report", folder, ...QUICK];
      const { status, stdout, stderr } = await skep("bench", ...args);
      expect(stderr).toBe("");
      expect(status).toBe(0);
      const { version, machine, classic } = JSON.parse(stdout) as any;
      expect(version).toBe(1);
      expect(machine.node).toBe(process.version);
      expect(classic.rows.map((row: any) => row.program)).toEqual(CLASSIC_PROGRAMS.map(({ name }) => name));
      expect(classic.interpreter.nsPerInstruction).toBeGreaterThan(0);
      for (const row of classic.rows) expect(row.jit.median).toBeGreaterThan(0);
      if (classic.skipped === undefined) expect(classic.jitVersusNative.geomean).toBeGreaterThan(0.1);
      else expect(classic.skipped).toMatch(/^no native side/);
      const page = readFileSync(join(folder, "performance.md"), "utf8");
      expect(page).toContain("| switch_bytes |");
      expect(page).not.toMatch(/\{\{/);
      expect(JSON.parse(readFileSync(join(folder, "performance.json"), "utf8")).classic).toEqual(classic);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.each([
    [["bench", "--suite", "nothing"], /no suite 'nothing'; there are classic/],
    [["bench", "extra"], /what is 'extra'/],
    [["bench", "--rounds", "0"], /--rounds: expected a whole number from 1/],
  ])("%s is wrong usage", async (args, message) => {
    const { status, stderr } = await skep(...args);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });

  it("ships with the package", () => {
    const out = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
      encoding: "utf8",
    });
    const files = (JSON.parse(out) as any)[0].files.map(({ path }: { path: string }) => path);
    expect(files).toContain("bench/classic/classic.bpf.o");
    expect(files).toContain("bench/native.c");
    expect(files).toContain("bench/performance.md");
  });
});

describe("measuring", () => {
  it("takes the median and the lowest", () => {
    expect(timing([5, 1, 3])).toMatchObject({ median: 3, lowest: 1 });
    expect(timing([4, 1, 3, 2])).toMatchObject({ median: 2.5, lowest: 1 });
    expect(geometricMean([1, 4])).toBeCloseTo(2);
  });

  it("finds how many runs take the time that a sample needs", () => {
    const seen: number[] = [];
    const runs = calibrate((count) => {
      seen.push(count);
      return 250;
    }, 1e6);
    expect(runs).toBe(4000);
    expect(seen.length).toBeLessThan(8);
  });

  it("says what was not measured", () => {
    expect(markdown("a\n{{machine}}\n{{maps}}\n", "box", {})).toBe("a\nbox\n(maps: not measured)\n");
  });
});
