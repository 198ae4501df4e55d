/** The snippets of docs/assembly.md run and print what they promise, and both columns of its table mean the same. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import * as asm from "../../src/asm/index.ts";
import { ROOT } from "../helpers.ts";

const text = readFileSync(join(ROOT, "docs/assembly.md"), "utf8");
const snippets = [...text.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code ?? "");

describe("docs/assembly.md", () => {
  it.each(snippets.map((code, index) => [index + 1, code] as const))("snippet %d", (_, code) => {
    const output: string[] = [];
    const log = { log: (...parts: unknown[]) => output.push(...parts.join(" ").split("\n")) };
    const body = code.replace(/^import \{ (.*) \} from "skep\/asm";$/gm, "const { $1 } = asm;");
    const run = new Function("console", "asm", body) as (console: unknown, asm: unknown) => void;
    run(log, asm);
    const promised = [...code.matchAll(/^\/\/ (.*)$/gm)].map(([, line]) => line);
    expect(promised.length).toBeGreaterThan(0);
    for (const line of promised) expect(output).toContain(line);
  });

  const rows = [...text.matchAll(/^\| ([^|]+) \| (`.*) \| (`.*) \|$/gm)]
    .map(([, what = "", llvm = "", rfc = ""]) => ({ what, llvm: quoted(llvm), rfc: quoted(rfc) }))
    .filter(({ what }) => !["comment", ""].includes(what.trim()));

  it("has rows", () => expect(rows.length).toBeGreaterThan(15));

  it.each(rows)("$what", ({ llvm, rfc }) => {
    expect(llvm.length).toBe(rfc.length);
    const program = (lines: readonly string[], dialect: asm.DialectName) =>
      asm.assemble(`${lines.join("\n")}\ndone: func: exit`, { dialect }).instructions;
    expect(program(rfc, "rfc")).toEqual(program(llvm, "llvm"));
  });
});

function quoted(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, code]) => code ?? "");
}
