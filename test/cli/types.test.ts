import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { programTypesPage } from "../../src/cli/program-types.ts";
import { PROGRAM_TYPES } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const PAGE = join(ROOT, "docs/program-types.md");
const OBJECTS = join(ROOT, "test/fixtures/objects.bpf.o");

describe("skep types", () => {
  it("lists all", async () => {
    const { status: code, stdout } = await skep("types");
    expect(code).toBe(0);
    expect(stdout.trim().split("\n")).toHaveLength(PROGRAM_TYPES.length);
  });

  it("shows one", async () => {
    const { status: code, stdout } = await skep("types", "cgroup_sockopt");
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /36 {2}retval +4 +scalar +load 4 \(cgroup_getsockopt\); store 4 \(cgroup_getsockopt\)/,
    );
    expect(stdout).toMatch(/input: +sockopt, socket, context/);
  });

  it("knows no others", async () => {
    const { status: code, stderr } = await skep("types", "kprob");
    expect(code).toBe(2);
    expect(stderr).toMatch(/no type 'kprob'; did you mean 'kprobe'\?/);
  });

  it("docs/program-types.md is current (SKEP_UPDATE=1 writes it)", () => {
    if (process.env["SKEP_UPDATE"] !== undefined) writeFileSync(PAGE, programTypesPage());
    expect(readFileSync(PAGE, "utf8")).toBe(programTypesPage());
  });
});

describe("skep run of a program that takes no packets", () => {
  it("with a record of a tracepoint", async () => {
    const input = JSON.stringify({ fields: { filename: "/bin/sh", pid: 7 } });
    const { status: code, stdout } = await skep(
      "run",
      OBJECTS,
      "-p",
      "executed",
      "--unverified",
      "trusted",
      "--input",
      input,
      "--json",
    );
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as {
      returnValue: number;
      maps: { name: string; entries: { value: unknown }[] }[];
    };
    expect(report.returnValue).toBe(0);
    expect(report.maps.find(({ name }) => name === ".bss")?.entries[0]?.value).toEqual({
      seen: 7,
      text: "/bin/sh",
    });
  });

  it.each([
    [["-p", "executed", "--unverified", "trusted", "--input", "[]"], /--input: needs an object/],
    [["-p", "executed", "--unverified", "trusted", "--args", "{"], /--args: no JSON/],
    [
      ["-p", "executed", "--unverified", "trusted", "--args", "[1]"],
      /tracepoint programs take no 'args'; they take fields, format/,
    ],
    [
      ["-p", "executed", "-r", join(ROOT, "examples/captures/web.pcap")],
      /takes no packets: give it --args or --input \('skep types tracepoint'\)/,
    ],
  ])("%j is refused", async (args, message) => {
    const { status: code, stderr } = await skep("run", OBJECTS, ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
