/** The snippets of docs/kernel.md run and print what they promise. */
import * as fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as asm from "../../src/asm/index.ts";
import * as kernel from "../../src/kernel/index.ts";
import * as object from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, openDescriptors, withKernel } from "./setup.ts";

const text = fs.readFileSync(join(ROOT, "docs/kernel.md"), "utf8");
const snippets = [...text.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code ?? "");
const modules = {
  "node:fs": { readFileSync: (path: string) => fs.readFileSync(join(ROOT, path)) },
  "skep/asm": asm,
  "skep/kernel": kernel,
  "skep/object": object,
};

describe.skipIf(noKernel !== undefined)(withKernel("docs/kernel.md"), () => {
  it.each(snippets.map((code, index) => [index + 1, code] as const))("snippet %d", async (_, code) => {
    const output: string[] = [];
    const log = { log: (...parts: unknown[]) => output.push(...parts.join(" ").split("\n")) };
    const body = code.replace(/^import (\{ .* \}) from "(.*)";$/gm, 'const $1 = modules["$2"];');
    const run = new Function("console", "modules", `return (async () => {\n${body}\n})();`) as (
      console: unknown,
      modules: unknown,
    ) => Promise<void>;
    await run(log, modules);
    const promised = [...code.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => line);
    expect(promised.length).toBeGreaterThan(0);
    expect(output).toEqual(expect.arrayContaining(promised));
    expect(openDescriptors()).toEqual([]);
  });
});
