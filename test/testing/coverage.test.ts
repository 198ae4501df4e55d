import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { Machine } from "../../src/machine/index.ts";
import { Coverage, eth, formatCoverage, formatLcov, testObject } from "../../src/testing/index.ts";
import { ROOT } from "../helpers.ts";

const LIMITER = readFileSync(join(ROOT, "examples/rate-limiter/rate-limiter.bpf.o"));
const SOURCE = readFileSync(join(ROOT, "examples/rate-limiter/rate-limiter.bpf.c"), "utf8").split("\n");
const lineOf = (text: string): number => SOURCE.findIndex((line) => line.includes(text)) + 1;

describe("coverage", () => {
  it("counts instructions, and jumps by where they went", async () => {
    const machine = await Machine.create();
    const { instructions } = assemble("r2 = 5 ll\nr0 = *(u32 *)(r1 + 12)\nif r0 > 3 goto +1\nr0 = 0\nexit");
    const program = machine.loadInstructions(instructions, { type: "xdp" });
    const coverage = new Coverage();
    const packet = eth().arp().bytes();
    for (const ingress_ifindex of [1, 2, 9]) coverage.run(program, { packet, context: { ingress_ifindex } });
    const [report] = coverage.report();
    expect(report?.instructions).toEqual([3, -1, 3, 3, 2, 3]);
    expect(report?.branches).toEqual([{ instruction: 3, source: undefined, taken: 1, notTaken: 2 }]);
    expect(report?.lines).toEqual([]);
  });

  it("names the lines that were not reached, and gives the results of runs", async () => {
    const { programs } = await testObject(LIMITER, { variables: { burst: 2 } });
    const limit = programs["limit"]!;
    const coverage = new Coverage();
    const packet = eth().ipv4().udp().bytes();
    const lines = () => new Map(coverage.report()[0]?.lines.map(({ line, count }) => [line, count]));
    expect(coverage.run(limit, { packet }).returnName).toBe("TC_ACT_OK");
    expect(lines().get(lineOf("bpf_map_update_elem(&buckets"))).toBe(1);
    expect(lines().get(lineOf("bucket->dropped, 1"))).toBe(0);
    expect(formatCoverage(coverage.report())).toMatch(
      /^program +instructions +branches +lines\nlimit +\d\d\.\d %/,
    );
    expect(formatCoverage(coverage.report())).toContain(`:${lineOf("bucket->dropped, 1")}`);
    coverage.run(limit, { packet, repeat: 3 });
    expect(lines().get(lineOf("bucket->dropped, 1"))).toBe(2);
  });

  it("programs that never ran are in the report", async () => {
    const { programs } = await testObject(LIMITER);
    const coverage = new Coverage();
    coverage.add(programs["limit"]!);
    expect(formatCoverage(coverage.report())).toMatch(/limit +0\.0 % +0\.0 % +0\.0 %/);
  });

  it("lcov: lines, ways of jumps, totals", async () => {
    const { programs } = await testObject(LIMITER);
    const coverage = new Coverage();
    coverage.run(programs["limit"]!, { packet: eth().ipv4().udp().bytes() });
    const text = formatLcov(coverage.report(), (file) => join("/src", file));
    expect(text).toMatch(
      /^TN:\nSF:\/src\/rate-limiter\.bpf\.c\n(BRDA:\d+,\d+,[01],(\d+|-)\n)+BRF:\d+\nBRH:\d+\n(DA:\d+,\d+\n)+LF:\d+\nLH:\d+\nend_of_record\n$/,
    );
    expect(text).toContain(`DA:${lineOf("bucket->dropped, 1")},0\n`);
    const folder = mkdtempSync(join(tmpdir(), "skep-lcov-"));
    try {
      writeFileSync(join(folder, "info"), text);
      const lcov = spawnSync("lcov", ["--summary", join(folder, "info")], { encoding: "utf8" });
      if (lcov.error === undefined) expect(lcov.stdout + lcov.stderr).toMatch(/lines\.+: \d/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
