/** The snippets of docs/captures.md run, and show what they say. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import * as capture from "../../src/capture/index.ts";
import { ROOT } from "../helpers.ts";
import { payload } from "./build.ts";

const text = readFileSync(join(ROOT, "docs/captures.md"), "utf8");
const snippets = [...text.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code!);

describe("docs/captures.md", () => {
  const folder = mkdtempSync(join(tmpdir(), "skep-docs-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const writer = new capture.PcapWriter();
  for (let i = 0; i < 40; i++) {
    writer.packet({ data: payload(56, i), timestampNs: BigInt(i) * 1_000_000n });
  }
  writeFileSync(join(folder, "web.pcap"), writer.take());

  test("has snippets", () => expect(snippets.length).toBeGreaterThan(5));

  test.each(snippets.map((code, i) => [i + 1, code] as const))("snippet %d", async (_number, code) => {
    const names: string[] = [];
    const values: unknown[] = [];
    const body = code.replace(/^import \{ (.*) \} from "(.*)";$/gm, (_all, list: string, from: string) => {
      for (const name of list.split(", ")) {
        names.push(name);
        values.push(from === "skep/capture" ? (capture as Record<string, unknown>)[name] : name);
        expect(values.at(-1), `${name} of ${from}`).toBeDefined();
      }
      return "";
    });
    const fs = await import("node:fs");
    for (const [i, value] of values.entries())
      if (typeof value === "string") values[i] = fs[value as keyof typeof fs];
    const output: string[] = [];
    const log = { log: (...parts: unknown[]) => output.push(parts.join(" ")) };
    const AsyncFunction = (async () => undefined).constructor as FunctionConstructor;
    const inFolder = body.replace(/"(\w+\.pcap(?:ng)?)"/g, (_all, name: string) =>
      JSON.stringify(join(folder, name)),
    );
    await (new AsyncFunction("console", ...names, inFolder)(log, ...values) as unknown as Promise<void>);
    const promised = [...code.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => line);
    for (const line of promised) expect(output).toContain(line);
  });
});
