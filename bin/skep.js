#!/usr/bin/env node
/**
 * Starts the command: from the bundle that `npm run build` makes of dist/cli, or from dist/cli itself where there is none or an
 * older one. CommonJS (see package.json beside this file), because an ES module costs 10 ms before its first line runs.
 */
"use strict";
const { existsSync, readFileSync, realpathSync, renameSync, statSync, writeFileSync } = require("node:fs");
const Module = require("node:module");
const { basename, dirname, join } = require("node:path");
const { Script, constants } = require("node:vm");

const DIST = join(__dirname, "../dist");

/** The bundle's main file, if it is not older than what `tsc -b` has written last. */
function bundle() {
  try {
    const main = join(
      DIST,
      "bundle",
      JSON.parse(readFileSync(join(DIST, "bundle/package.json"), "utf8")).main,
    );
    const { mtimeMs } = statSync(main);
    // Packages that are installed have no such file.
    const built = statSync(join(DIST, ".tsbuildinfo"), { throwIfNoEntry: false });
    // Other files of the bundle ask for this one by its real path, which must find what `require.cache` holds.
    return built === undefined || built.mtimeMs <= mtimeMs ? realpathSync.native(main) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * As `require`, but with what V8 compiled in earlier runs: 40 of 180 ms. It lies beside the bundle, so whoever could change it could
 * change the bundle; the bundle's name holds a hash of its contents, because V8 compares no more than their length.
 * `enableCompileCache` of Node.js 22 keeps what is compiled before functions are called, which is a tenth of it; the commands' own
 * files have that.
 */
function requireCached(main) {
  Module.enableCompileCache?.();
  const folder = dirname(main);
  const cache = join(folder, `${basename(main)}.${process.version}-${process.arch}.cache`);
  let cachedData;
  try {
    cachedData = readFileSync(cache);
  } catch {
    // The first run.
  }
  // The build has wrapped it as a module, and leaves nothing but ASCII in it, which is read without being decoded.
  const script = new Script(readFileSync(main, "latin1"), {
    filename: main,
    cachedData,
    importModuleDynamically: constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const module = new Module(main);
  module.filename = main;
  require.cache[main] = module;
  script
    .runInThisContext()
    .call(module.exports, module.exports, Module.createRequire(main), module, main, folder);
  module.loaded = true;
  const plain = process.execArgv.length === 0 && !process.env.NODE_OPTIONS && !process.env.NODE_V8_COVERAGE;
  if (plain && (cachedData === undefined || script.cachedDataRejected)) {
    process.once("exit", () => keep(cache, script));
  }
  return module.exports;
}

/** At the end, when the functions that were used are compiled. Where it cannot be written there is none. */
function keep(cache, script) {
  try {
    const part = `${cache}.${process.pid}`;
    writeFileSync(part, script.createCachedData());
    renameSync(part, cache);
  } catch {
    // Read-only installations.
  }
}

async function start() {
  const main = bundle();
  if (main === undefined && !existsSync(join(DIST, "cli/main.js"))) {
    console.error(`skep: ${DIST}: not built; 'npm run build' does it`);
    process.exitCode = 2;
    return;
  }
  const command = main === undefined ? await import("../dist/cli/main.js") : requireCached(main);
  process.exitCode = await command.main(process.argv.slice(2));
}

start();
