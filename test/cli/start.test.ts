import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

/** What is loaded at once when a module is imported: modules of ours below src, and those of Node.js. */
function reach(path: string, reached = new Set<string>()): Set<string> {
  if (reached.has(path)) return reached;
  reached.add(path);
  const source = readFileSync(path, "utf8");
  for (const [, clause = "", target = ""] of source.matchAll(
    /^(?:import|export) ([^;]*?)from "([^"]+)";$/gm,
  )) {
    if (clause.startsWith("type ")) continue;
    if (target.startsWith(".")) reach(resolve(dirname(path), target), reached);
    else reached.add(target);
  }
  return reached;
}

describe("what `skep run` loads before it begins", () => {
  const loaded = [...reach(resolve("src/cli/commands/run.ts"))].map((path) =>
    path.startsWith("node:") ? path : relative("src", path),
  );

  it.each([
    ["verifier/", "it is loaded when a program is verified"],
    ["kernel/", "it is loaded for --kernel"],
    ["filter/", "other commands need it"],
    ["aot/", "other commands need it"],
    ["core/core-shared.wasm.ts", "only machines that threads share need it"],
    ["node:crypto", "it takes 8 ms"],
    ["node:zlib", "it is loaded for packed files"],
  ])("not %s: %s", (part) => {
    expect(loaded.length).toBeGreaterThan(100);
    expect(loaded.filter((path) => path.startsWith(part))).toEqual([]);
  });
});

describe.skipIf(!existsSync("dist/bundle/package.json"))("the bundle (npm run build)", () => {
  const run = (script: string, ...args: string[]): string =>
    execFileSync(process.execPath, ["-e", script, "--", ...args], { encoding: "utf8" });

  it.each([
    [["dump", "examples/firewall/firewall.bpf.o"]],
    [["filter", "-d", "tcp port 80"]],
    [["asm", "--help"]],
    [["bench", "--help"]],
  ])("skep %s: as from the modules", (args) => {
    const main = `.then(async ({ main }) => { process.exitCode = await main(process.argv.slice(1)); })`;
    const bundled = run(`Promise.resolve(require("./dist/bundle"))${main}`, ...args);
    const modules = run(`import("./dist/cli/main.js")${main}`, ...args);
    expect(bundled).toBe(modules);
    expect(bundled).not.toBe("");
  });
});
