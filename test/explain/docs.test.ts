/**
 * The pages of the classes: their examples are programs of `test/fixtures/rejected`, and the output that they show is what the command
 * prints. `SKEP_UPDATE=1` writes both into the pages.
 */
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CLASSES, pageOf } from "../../src/explain/index.ts";
import { skep } from "../cli/run-cli.ts";
import { ROOT } from "../helpers.ts";

const FOLDER = join(ROOT, "test/fixtures/rejected");
const UPDATE = process.env["SKEP_UPDATE"] === "1";

const VMLINUX = "/sys/kernel/btf/vmlinux";

function needsTypes(object: string): boolean {
  return readFileSync(join(FOLDER, `${object}.bpf.c`), "utf8").includes("needs: kernel types");
}

/** The text of one function, without the marks of expected rejections. */
function functionText(object: string, program: string): string {
  const source = readFileSync(join(FOLDER, `${object}.bpf.c`), "utf8").replaceAll(/ *\/\/ REJECT .*$/gm, "");
  const at = source.search(new RegExp(`^.*\\b${program}\\(`, "m"));
  const begin = source.lastIndexOf("\n\n", at) + 2;
  return source.slice(begin, source.indexOf("\n}\n", at) + 2).replace(/^\/\*.*\*\/\n/, "");
}

/** The flag for the capabilities that a source names at its top. */
function flagsOf(object: string): string[] {
  const source = readFileSync(join(FOLDER, `${object}.bpf.c`), "utf8");
  const words = /^\/\/ CAPABILITIES (.*)$/m.exec(source)?.[1];
  if (words === undefined) return [];
  return words === "none" ? ["--unprivileged"] : ["--capabilities", words];
}

/** What the command prints for a program, without what depends on the moment. */
async function output(object: string, program: string): Promise<string> {
  const path = `test/fixtures/rejected/${object}.bpf.o`;
  const types = needsTypes(object) ? ["--btf", VMLINUX] : [];
  const { stdout } = await skep("verify", join(ROOT, path), "-p", program, ...flagsOf(object), ...types);
  return stdout.replaceAll(/ *\/\/ REJECT .*$/gm, "").trimEnd();
}

async function example(object: string, program: string): Promise<string> {
  const path = `test/fixtures/rejected/${object}.bpf.o`;
  const types = needsTypes(object) ? ["--btf", VMLINUX] : [];
  return `\n\`\`\`c\n${functionText(object, program)}\n\`\`\`\n\n    $ ${["skep verify", path, "-p", program, ...flagsOf(object), ...types].join(" ")}\n${(
    await output(object, program)
  )
    .split("\n")
    .map((line) => (line === "" ? "" : `    ${line}`))
    .join("\n")}\n\n`;
}

/** A page with its generated parts as they should be. */
async function filled(text: string): Promise<string> {
  const parts: string[] = [];
  let at = 0;
  for (const match of text.matchAll(/<!-- (example (\S+) (\S+)|classes|count) -->/g)) {
    const [whole, kind = "", object = "", program = ""] = match;
    const begin = match.index + whole.length;
    parts.push(text.slice(at, begin));
    if (kind === "count") {
      parts.push(String(programCount()));
      at = begin + (/^\d*/.exec(text.slice(begin))?.[0].length ?? 0);
      continue;
    }
    parts.push(kind === "classes" ? classList() : await example(object, program));
    at = text.indexOf("<!-- end -->", begin);
  }
  parts.push(text.slice(at));
  return parts.join("");
}

function programCount(): number {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith(".bpf.c"))
    .reduce(
      (sum, name) =>
        sum + [...readFileSync(join(FOLDER, name), "utf8").matchAll(/\/\/ REJECT \w+: /g)].length,
      0,
    );
}

function classList(): string {
  const rows = CLASSES.map(({ id, title }) => `| [\`${id}\`](verifier/${id}.md) | ${title} |`);
  return `\n| class | |\n| --- | --- |\n${rows.join("\n")}\n`;
}

const PAGES = ["docs/explanations.md", ...CLASSES.map(({ id }) => pageOf(id))];

describe("pages", () => {
  test.each(PAGES)("%s", async (page) => {
    const path = join(ROOT, page);
    expect(existsSync(path), page).toBe(true);
    const text = readFileSync(path, "utf8");
    // Its example is judged with the types of the running kernel.
    if (text.includes(`--btf ${VMLINUX}`) && !existsSync(VMLINUX)) return;
    const wanted = await filled(text);
    if (UPDATE && wanted !== text) writeFileSync(path, wanted);
    else expect(text).toBe(wanted);
  });

  test("there is no page without a class", () => {
    const names = readdirSync(join(ROOT, "docs/verifier")).map((name) => `docs/verifier/${name}`);
    expect(names.toSorted()).toEqual(CLASSES.map(({ id }) => pageOf(id)).toSorted());
  });
});
