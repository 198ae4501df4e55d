/**
 * Runs a tool of the tests, which is TypeScript and not built: bundled into one file first, since a module graph that is loaded piece by
 * piece is a third slower: each use of an import is a call there.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "vite";

const PREFIX = ".tool-";

/** What killed tools have left: a process that is killed takes nothing away. */
function removeLeftovers() {
  for (const name of readdirSync("node_modules")) {
    if (name.startsWith(PREFIX) && !isRunning(Number.parseInt(name.slice(PREFIX.length), 10))) {
      rmSync(join("node_modules", name), { recursive: true, force: true });
    }
  }
}

function isRunning(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** Calls `main` of a module with arguments; its result is the exit status. */
export async function runTool(entry, args) {
  removeLeftovers();
  const out = mkdtempSync(join("node_modules", `${PREFIX}${process.pid}-`));
  process.once("exit", () => rmSync(out, { recursive: true, force: true }));
  await build({
    configFile: false,
    logLevel: "error",
    ssr: { noExternal: true, external: ["koffi", "vite", "vitest"] },
    build: {
      ssr: entry,
      outDir: out,
      target: "node20",
      minify: false,
      rolldownOptions: { output: { format: "esm", entryFileNames: "tool.mjs", codeSplitting: false } },
    },
  });
  const { main } = await import(pathToFileURL(join(out, "tool.mjs")).href);
  process.exitCode = await main(args);
}
