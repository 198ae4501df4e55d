/**
 * Each helper and kernel function that a machine has is called somewhere by a test of what it does: a fixture in C that says so with
 * `bpf_name(...)`, or a test that names it in full. Tests of verdicts, of text and of the tables themselves do not count.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { listHelpers, listKfuncs } from "../../src/machine/index.ts";
import { ROOT } from "../helpers.ts";

/** Where programs run and something is said of what they do. */
const FOLDERS = [
  "test/core",
  "test/fixtures",
  "test/hooks",
  "test/kernel",
  "test/machine",
  "test/sandbox",
  "test/testing",
];
/** Fixtures that are judged, not run, and lists of names. */
const OTHERS = /rejected|old-verifiers|bad-|absent-|constructs|helper-list|prototypes|probe|^behaviour\.test/;

function texts(suffix: string): string {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(suffix) && !OTHERS.test(name))
      .map((name) => readFileSync(join(ROOT, folder, name), "utf8")),
  ).join("\n");
}

const C = texts(".c").replaceAll(/\/\*[^]*?\*\/|\/\/.*|extern [^;]*;/g, "");
const TS = texts(".ts");
/** Calls in C, and words of tests: assembly, names in tables. */
const names = new Set(
  [...C.matchAll(/\b(\w+)\s*\(/g)].map(([, name]) => name).concat(TS.match(/\w+/g) ?? []),
);
/** Names that are put together: `bpf_##kind##_storage_get`, `tcp_raw_gen_syncookie_ipv${...}`. */
const patterns = [...C.matchAll(/\w+##\w+##\w+/g), ...TS.matchAll(/\w+\$\{[^}]*\}\w*/g)]
  .map(([text]) => text)
  .filter((text) => text.replace(/##\w+##|\$\{.*\}/, "").length > 12)
  .map((text) => new RegExp(`^(bpf_)?${text.replace(/##\w+##|\$\{.*\}/, "\\w+")}$`));

const isTested = (name: string): boolean =>
  names.has(name) || names.has(`bpf_${name}`) || patterns.some((pattern) => pattern.test(`bpf_${name}`));

describe("a test says what it does", () => {
  test("helpers", () => {
    const missing = listHelpers().filter(({ name }) => !isTested(name));
    expect(missing.map(({ name }) => name)).toEqual([]);
    expect(isTested("unheard_of_helper")).toBe(false);
  });

  test("kernel functions", () => {
    const missing = listKfuncs().filter(({ name, status }) => status !== "missing" && !isTested(name));
    expect(missing.map(({ name }) => name)).toEqual([]);
  });
});
