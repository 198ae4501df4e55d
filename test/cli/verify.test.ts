/** `skep verify`: explanations, kernels, JSON. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const rejected = (name: string): string => join(ROOT, `test/fixtures/rejected/${name}.bpf.o`);
const example = (name: string): string => join(ROOT, `examples/${name}/${name}.bpf.o`);
const fixture = (name: string): string => join(ROOT, `test/fixtures/${name}.bpf.o`);

describe("skep verify explains", () => {
  it("the line, the cause, where the value came from, what is missing", async () => {
    const { status, stdout } = await skep("verify", rejected("packet-bounds"), "-p", "check_too_short");
    expect(status).toBe(1);
    expect(stdout).toContain(
      "packet access without a valid bounds check, packet-bounds.bpf.c:23 in check_too_short()",
    );
    expect(stdout).toMatch(/> 23 \|\s+return ip->protocol.*\n +\| +\^{8}\n/);
    expect(stdout).toContain("The comparison in line 21 proves 14 bytes, and this access needs 24");
    expect(stdout).toContain("R1 is loaded from the context field 'data'");
    expect(stdout).toContain("if ((void *)(ip + 1) > data_end)");
    expect(stdout).toContain("docs/verifier/packet-bounds.md");
    // Colour only on a terminal.
    expect(stdout).not.toContain("\x1b");
  });

  it("on a page, but not over the object", async () => {
    const object = rejected("null-check");
    const before = readFileSync(object);
    const { status, stderr } = await skep("verify", object, "--html", object);
    expect([status, stderr]).toEqual([2, `skep: ${object}: the output would overwrite it\n`]);
    expect(readFileSync(object).equals(before)).toBe(true);
  });

  it("as JSON", async () => {
    const { stdout } = await skep("verify", rejected("null-check"), "-p", "lookup_unchecked", "--json");
    const [{ verdict, explanation }] = JSON.parse(stdout).programs;
    expect(verdict).toBe("rejected");
    expect(explanation).toMatchObject({
      class: "null-check",
      message: "R0 invalid mem access 'map_value_or_null'",
      at: { line: 10, function: "lookup_unchecked" },
      subject: { location: "R0" },
      page: "docs/verifier/null-check.md",
    });
    expect(explanation.origin[0]).toMatchObject({ location: "R0", place: { line: 8 } });
  });
});

describe("skep verify --kernel", () => {
  it("says what an older kernel lacks, and where the program needs it", async () => {
    const { status, stdout } = await skep("verify", fixture("callbacks"), "-p", "loop", "--kernel", "5.15");
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /5\.15 lacks helper bpf_loop: since 5\.17 \(e6f2dd0f8067\), callbacks\.bpf\.c:\d+/,
    );
  });

  it.each([["--html", "page.html"], ["--log", "classic"], ["--extends", fixture("types")], ["-v"]])(
    "takes no %s, which would say nothing",
    async (...words) => {
      const { status, stderr } = await skep("verify", fixture("callbacks"), "--kernels", "all", ...words);
      expect([status, stderr]).toEqual([2, expect.stringContaining("take no --")]);
    },
  );

  it("prints a table of programs and kernels", async () => {
    const { status, stdout } = await skep("verify", example("rewrite"), "--kernels", "all");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^program +5\.15 +6\.1 +6\.6 +6\.12 +6\.18 +has all since\n/);
    expect(stdout).toMatch(/reflect +yes +yes +yes +yes +yes/);
  });

  it("as JSON", async () => {
    const { stdout } = await skep("verify", fixture("arena"), "--kernels", "6.6,6.12", "--json");
    const { kernels, programs } = JSON.parse(stdout);
    expect(kernels).toEqual(["6.6", "6.12"]);
    expect(programs[0].judgements[0]).toMatchObject({ kernel: "6.6", verdict: "rejected", exact: false });
    expect(programs[0].judgements[0].lacks[0]).toMatchObject({
      kind: "map type",
      name: "arena",
      since: "6.9",
    });
    expect(programs[0].judgements[1].lacks).toEqual([]);
  });

  it("knows its kernels", async () => {
    expect(await skep("verify", example("rewrite"), "--kernels", "4.19")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("known are 5.15, 6.1, 6.6, 6.12, 6.18 and all"),
    });
  });
});
