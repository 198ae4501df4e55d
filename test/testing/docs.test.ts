/** docs/testing.md, followed to the letter: from an empty folder, with the packed package. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as testing from "../../src/testing/index.ts";
import { hasTool, needs, ROOT } from "../helpers.ts";

const text = readFileSync(join(ROOT, "docs/testing.md"), "utf8");
/** Code blocks before the second heading, in order. */
const blocks = [...(text.split("\n## What a test")[0] ?? "").matchAll(/```(\w+)\n(.*?)```/gs)].map(
  ([, language = "", code = ""]) => ({ language, code }),
);

const ready = hasTool("clang-19");

describe.skipIf(!ready)(needs("five minutes", ready, "clang-19"), () => {
  let folder = "";
  let tarball = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "skep-testing-"));
    // The package as npm would publish it; its build is that of this checkout.
    const packed = spawnSync("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], {
      cwd: ROOT,
      encoding: "utf8",
    });
    tarball = readdirSync(folder).find((name) => name.endsWith(".tgz")) ?? "";
    expect(tarball, packed.stderr).not.toBe("");
  }, 120_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("from an empty folder to tests that pass", { timeout: 180_000 }, () => {
    for (const { language, code } of blocks) {
      if (language === "c") writeFileSync(join(folder, "guard.bpf.c"), code);
      else if (language === "js") writeFileSync(join(folder, "guard.test.mjs"), code);
      else {
        // What is not published yet comes from the packed file, what Debian calls clang-19 is clang.
        const command = code
          .replace("npm install --save-dev skep", `npm install --save-dev --offline --no-audit ./${tarball}`)
          .replace(/^clang /m, "clang-19 ");
        const done = spawnSync("bash", ["-euo", "pipefail", "-c", command], {
          cwd: folder,
          encoding: "utf8",
        });
        expect(done.status, `${command}${done.stdout}${done.stderr}`).toBe(0);
        if (command.startsWith("node --test")) expect(done.stdout).toMatch(/^# pass 3$/m);
      }
    }
    expect(blocks.map(({ language }) => language)).toEqual(["bash", "c", "bash", "js", "bash"]);
  });
});

describe("snippets", () => {
  const snippets = [
    ...(text.split("\n## Packets")[1]?.split("\n## Coverage")[0] ?? "").matchAll(/```js\n(.*?)```/gs),
  ].map(([, code = ""]) => code);
  it.each(snippets)("%#", (code) => {
    const output: string[] = [];
    const body = code.replace(/^import (\{ .* \}) from "skep\/testing";$/gm, "const $1 = testing;");
    const run = new Function("console", "testing", body) as (console: unknown, modules: unknown) => void;
    run({ log: (...parts: unknown[]) => output.push(parts.join(" ")) }, testing);
    const promised = [...code.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => line);
    expect(promised.length).toBeGreaterThan(0);
    expect(output).toEqual(promised);
  });
});

describe("docs/debugging.md", () => {
  it("prints what it promises", async () => {
    const page = readFileSync(join(ROOT, "docs/debugging.md"), "utf8");
    const code = /```js\n(.*?)```/s.exec(page)?.[1] ?? "";
    const output: string[] = [];
    const body = code.replace(/^import .*$/gm, "").replace("examples/", `${ROOT}/examples/`);
    const run = new Function(
      "console",
      "testing",
      "readFileSync",
      `return (async () => { const { eth, testObject } = testing; ${body} })();`,
    ) as (...args: unknown[]) => Promise<void>;
    await run({ log: (...parts: unknown[]) => output.push(parts.join(" ")) }, testing, readFileSync);
    expect(output).toEqual([...code.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => line));
  });
});
