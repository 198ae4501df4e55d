/** The snippets of docs/filters.md run, and print what the comments beside them say. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as filter from "../../src/filter/index.ts";
import { ROOT } from "../helpers.ts";

const text = readFileSync(join(ROOT, "docs/filters.md"), "utf8");
const snippets = [...text.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code as string);

describe("docs/filters.md", () => {
  test("has snippets", () => expect(snippets.length).toBeGreaterThan(3));

  test.each(snippets.map((code, i) => [i + 1, code] as const))("snippet %d", (_number, code) => {
    const names: string[] = [];
    const body = code.replace(/^import \{ (.*) \} from "skep\/filter";$/gm, (_all, list: string) => {
      names.push(...list.split(", "));
      return "";
    });
    const values = names.map((name) => (filter as Record<string, unknown>)[name]);
    for (const [i, value] of values.entries()) expect(value, names[i]).toBeDefined();
    const printed: string[] = [];
    const log = { log: (value: unknown) => printed.push(String(value)) };
    new Function("console", ...names, body)(log, ...values);
    expect(printed).toEqual([...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, shown]) => shown));
  });
});
