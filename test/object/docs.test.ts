/** The snippets of docs/objects.md run and print what they promise. */
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as btf from "../../src/btf/index.ts";
import * as elf from "../../src/elf/index.ts";
import * as object from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

const text = fs.readFileSync(join(ROOT, "docs/objects.md"), "utf8");
const snippets = [...text.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code ?? "");
const modules = {
  "node:fs": { readFileSync: (path: string) => fs.readFileSync(join(ROOT, path)) },
  "skep/btf": btf,
  "skep/elf": elf,
  "skep/object": object,
};

describe("docs/objects.md", () => {
  it.each(snippets.map((code, index) => [index + 1, code] as const))("snippet %d", (_, code) => {
    const output: string[] = [];
    const log = { log: (...parts: unknown[]) => output.push(...parts.join(" ").split("\n")) };
    const body = code.replace(/^import (\{ .* \}) from "(.*)";$/gm, 'const $1 = modules["$2"];');
    const run = new Function("console", "modules", body) as (console: unknown, modules: unknown) => void;
    run(log, modules);
    const promised = [...code.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => line);
    expect(promised.length).toBeGreaterThan(0);
    for (const line of promised) expect(output).toContain(line);
  });
});
