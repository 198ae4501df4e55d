import { execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  constants,
  cpSync,
  createReadStream,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
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
    ["node:fs/promises", "it takes 8 ms"],
    ["node:stream", "it takes 7 ms"],
    ["node:zlib", "it is loaded for packed files"],
  ])("not %s: %s", (part) => {
    expect(loaded.length).toBeGreaterThan(100);
    expect(loaded.filter((path) => path.startsWith(part))).toEqual([]);
  });
});

it("imports no module of Node.js later on: the bundle's script cannot", () => {
  const files = readdirSync("src/cli", { recursive: true })
    .map(String)
    .filter((name) => name.endsWith(".ts"));
  expect(
    files.filter((name) => readFileSync(join("src/cli", name), "utf8").includes('import("node:')),
  ).toEqual([]);
});

/** As bin/skep.js does it: the file is a function of what Node.js gives modules. */
const LOAD_BUNDLE = `
  const file = require("node:path").resolve("dist/bundle", require("./dist/bundle/package.json").main);
  const bundle = new (require("node:module"))(file);
  require.cache[file] = bundle;
  require("node:vm")
    .runInThisContext(require("node:fs").readFileSync(file, "latin1"), { filename: file })
    .call(bundle.exports, bundle.exports, require("node:module").createRequire(file), bundle, file, require("node:path").dirname(file));
  Promise.resolve(bundle.exports)`;

describe("standard output", () => {
  const dump = "bin/skep.js dump examples/firewall/firewall.bpf.o";

  it.each([
    ["a reader that leaves is no error", `${dump} | head -n 1 > /dev/null; echo \${PIPESTATUS[0]}`, "0\n"],
    [
      "a full device is one",
      `${dump} 2>&1 > /dev/full; echo $?`,
      "skep: standard output: cannot write: no space left on the device\n2\n",
    ],
  ])("%s", (_, line, expected) => {
    const script = line.replaceAll("bin/skep.js", `'${process.execPath}' bin/skep.js`);
    expect(execFileSync("bash", ["-c", script], { encoding: "utf8" })).toBe(expected);
  });

  it("all of it goes to a pipe that does not wait", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-start-"));
    const path = join(folder, "pipe");
    execFileSync("mkfifo", [path]);
    const pipe = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const reader = createReadStream(path);
    try {
      // 100 kB: more than a pipe holds.
      const child = spawn(process.execPath, ["bin/skep.js", "helpers", "--json"], {
        stdio: ["ignore", pipe, "inherit"],
      });
      closeSync(pipe);
      let text = "";
      for await (const chunk of reader) text += String(chunk);
      expect(child.exitCode ?? 0).toBe(0);
      expect(JSON.parse(text)).toHaveProperty("version");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** Why there is no bundle to compare with; bin/skep.js uses none that is older than dist either. */
function bundleMissing(): string | undefined {
  if (!existsSync("dist/bundle/package.json")) return "there is none";
  const { main } = JSON.parse(readFileSync("dist/bundle/package.json", "utf8")) as { main: string };
  const built = statSync("dist/.tsbuildinfo", { throwIfNoEntry: false });
  const isStale = built !== undefined && built.mtimeMs > statSync(join("dist/bundle", main)).mtimeMs;
  return isStale ? "it is older than dist" : undefined;
}

const missing = bundleMissing();
const skipped = missing === undefined ? "" : ` [skipped: ${missing}; npm run build:bundle]`;

describe.skipIf(missing !== undefined)(`the bundle${skipped}`, () => {
  const run = (script: string, ...args: string[]): string =>
    execFileSync(process.execPath, ["-e", script, "--", ...args], { encoding: "utf8" });

  it.each([
    [["dump", "examples/firewall/firewall.bpf.o"]],
    [["filter", "-d", "tcp port 80"]],
    [["asm", "--help"]],
    [["bench", "--help"]],
  ])("skep %s: as from the modules", (args) => {
    const main = `.then(async ({ main }) => { process.exitCode = await main(process.argv.slice(1)); })`;
    const bundled = run(`${LOAD_BUNDLE}${main}`, ...args);
    const modules = run(`import("./dist/cli/main.js")${main}`, ...args);
    expect(bundled).toBe(modules);
    expect(bundled).not.toBe("");
  });

  it("works where dist is a link", () => {
    const folder = mkdtempSync(join(tmpdir(), "skep-start-"));
    try {
      cpSync("bin", join(folder, "bin"), { recursive: true });
      symlinkSync(resolve("dist"), join(folder, "dist"));
      const text = execFileSync(process.execPath, [join(folder, "bin/skep.js"), "helpers", "bpf_loop"], {
        encoding: "utf8",
      });
      expect(text).toContain("since Linux 5.17");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
