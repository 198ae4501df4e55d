/**
 * Run after `npm install` has changed package-lock.json: adds the binary packages of other platforms that npm left out.
 *
 * npm leaves an optional package out of the lock file when its registry does not have it, and then `npm ci` refuses the
 * lock file. What is added here is skipped on this platform, and fetched by version on its own.
 */
import { readFileSync, writeFileSync } from "node:fs";

const FILE = "package-lock.json";
const lock = JSON.parse(readFileSync(FILE, "utf8"));
const { packages } = lock;
const PLATFORM = /(android|darwin|linux|win32|freebsd|openbsd|netbsd|openharmony)-([a-z0-9]+)(?:-(.*))?$/;

let added = 0;
for (const { optionalDependencies = {} } of Object.values(packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    const known = Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`));
    const platform = PLATFORM.exec(name);
    if (known || platform === null) continue;
    const [, os, cpu, abi = ""] = platform;
    packages[`node_modules/${name}`] = {
      version,
      dev: true,
      license: "MIT",
      optional: true,
      os: [os],
      cpu: [cpu],
      ...(os === "linux" && abi !== "" ? { libc: [abi.includes("musl") ? "musl" : "glibc"] } : {}),
    };
    added++;
  }
}
lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(FILE, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${FILE}: ${added} packages of other platforms added`);
