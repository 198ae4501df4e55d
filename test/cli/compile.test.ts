import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ROOT } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const COUNTER = join(ROOT, "examples/packet-counter/packet-counter.bpf.o");
const PACKET_BOUNDS = join(ROOT, "test/fixtures/rejected/speculation.bpf.o");
const scratch = mkdtempSync(join(tmpdir(), "skep-compile-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe("skep compile", () => {
  it("writes a module and says what is in it", async () => {
    const out = join(scratch, "count.wasm");
    const { status, stdout } = await skep("compile", COUNTER, "-p", "count", "-o", out, "--json");
    expect(status).toBe(0);
    const bytes = readFileSync(out);
    expect(WebAssembly.validate(bytes)).toBe(true);
    expect(JSON.parse(stdout)).toMatchObject({
      version: 1,
      output: out,
      size: bytes.length,
      abi: 1,
      programs: [{ name: "count", type: "xdp", packets: true, context: { struct: "xdp_md", size: 24 } }],
      imports: [],
    });
  });

  it("writes text", async () => {
    const out = join(scratch, "count.wat");
    const { status, stderr } = await skep("compile", COUNTER, "-p", "count", "--wat", "-o", out);
    expect([status, stderr.split("\n")[0]]).toEqual([0, expect.stringMatching(/count\.wat: \d+ bytes/)]);
    expect(readFileSync(out, "utf8")).toContain('(export "run_batch"');
  });

  it("writes nothing if a program cannot be compiled, and says which can", async () => {
    const out = join(scratch, "mixed.wasm");
    const { status, stderr } = await skep("compile", PACKET_BOUNDS, "-o", out);
    expect(status).toBe(1);
    expect(existsSync(out)).toBe(false);
    const [, fine, all, names = ""] = /; (\d+) of (\d+) programs would compile: -p (\S+)/.exec(stderr) ?? [];
    expect(Number(fine)).toBeLessThan(Number(all));
    expect(names.split(",")).toHaveLength(Number(fine));
    expect((await skep("compile", PACKET_BOUNDS, "-o", out, "-p", names)).status).toBe(0);
  });

  it.each([
    [[COUNTER], "compile: say where to: -o FILE"],
    [[COUNTER, "-o", "x.wasm", "-p", "nothing"], "no program 'nothing'; it has count, keep_tcp"],
    [[COUNTER, "-o", "-", "--json"], "compile: --json needs a file for the module"],
  ])("refuses %j", async (args, message) => {
    const { status, stdout, stderr } = await skep("compile", ...args);
    expect([status, stdout + stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});
