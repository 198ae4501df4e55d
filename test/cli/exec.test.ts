import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { encodeInstructions } from "../../src/isa/index.ts";
import { readCases } from "../conformance.ts";
import { CORPUS, ROOT, hasCorpus, needs } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe.skipIf(!hasCorpus)(needs("bpf_conformance through skep exec", hasCorpus, "corpus"), () => {
  const cases = hasCorpus ? readCases(join(CORPUS, "conformance")) : [];
  it("has cases", () => expect(cases.length).toBeGreaterThan(200));
  for (const engine of ["interp", "jit"]) {
    it.each(cases.map((row) => [row.name, row] as const))(
      `${engine}: %s`,
      async (_name, { instructions, memory, result }) => {
        const program = hex(encodeInstructions(instructions));
        const args = [
          "exec",
          ...(memory === undefined ? [] : [hex(memory)]),
          "--engine",
          engine,
          "--program",
          program,
        ];
        const { status, stdout, stderr } = await skep(...args);
        expect(stderr).toBe("");
        expect(status).toBe(0);
        expect(BigInt(`0x${stdout.trim()}`)).toBe(result);
      },
    );
  }
});

describe("skep exec", () => {
  const RETURN_42 = "b7 00 00 00 2a 00 00 00 95 00 00 00 00 00 00 00";

  it("reads the program from standard input", () => {
    const { stdout, status } = spawnSync(process.execPath, [join(ROOT, "bin/skep.js"), "exec"], {
      input: RETURN_42,
      encoding: "utf8",
    });
    expect(status).toBe(0);
    expect(stdout).toBe("2a\n");
  });

  it.each([
    ["an odd number of digits", ["exec", "--program", "b70"], "program: 3 hex digits are no whole bytes"],
    ["no hex digit", ["exec", "--program", "b7zz"], "program: 'z' is no hex digit"],
    ["no instructions", ["exec", "--program", ""], "program 'main': it has no instructions"],
    [
      "half an instruction",
      ["exec", "--program", "b7000000"],
      "program: 4 bytes are no whole number of 8-byte instructions",
    ],
    [
      "an opcode that does not exist",
      ["exec", "--program", "ff".padEnd(16, "0")],
      "program 'main': instruction 0: opcode 0xff",
    ],
    [
      "falling off the end",
      ["exec", "--program", "b7000000 2a000000"],
      "program 'main': instruction 0: control falls off the end",
    ],
    [
      "an unknown helper",
      ["exec", "--program", "85000000 39300000 95000000 00000000"],
      "program 'main': instruction 0: helper 12345 does not exist",
    ],
    ["an unknown option", ["exec", "--engin", "jit"], "exec: no option --engin; did you mean --engine?"],
  ])("%s: one sentence, exit 2", async (_what, args, message) => {
    const { status, stdout, stderr } = await skep(...args);
    expect(status).toBe(2);
    expect(stdout).toBe("");
    expect(stderr.startsWith(`skep: ${message}`), stderr).toBe(true);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });

  it.each(["jit", "interp"])("stops an endless loop (%s)", async (engine) => {
    const { status, stderr } = await skep(
      "exec",
      "--engine",
      engine,
      "--fuel",
      "100000",
      "--program",
      "05 00 ff ff 00 00 00 00",
    );
    expect(status).toBe(1);
    expect(stderr).toContain("it used up its fuel");
  });
});
