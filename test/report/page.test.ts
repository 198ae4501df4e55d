/** The report in a real browser: what a reader sees, for which nothing is loaded from anywhere. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { explain } from "../../src/explain/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { controlFlow, layout, reportOf, reportPage } from "../../src/report/index.ts";
import { objectProgram, verifyObject } from "../../src/verifier/index.ts";

const BROWSER = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);

function pageOf(path: string, names?: readonly string[]): string {
  const spec = parseObject(readFileSync(path), { name: path });
  const reports = (names ?? Object.keys(spec.programs)).flatMap((name) => {
    const input = objectProgram(spec, name);
    if (input === undefined) return [];
    return [reportOf(input, verifyObject(spec, name), spec.programs[name]?.section ?? "", explain(input))];
  });
  return reportPage("<report> & co.bpf.o", reports);
}

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "skep-report-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The page as it is after its script has run. */
function open(html: string, hash = ""): string {
  const file = join(folder, "report.html");
  writeFileSync(file, html);
  return execFileSync(
    BROWSER as string,
    [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      `--user-data-dir=${join(folder, "profile")}`,
      "--dump-dom",
      `${pathToFileURL(file)}${hash}`,
    ],
    { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], timeout: 50_000, maxBuffer: 1 << 26 },
  );
}

const REJECTED = "test/fixtures/rejected/packet-bounds.bpf.o";

test("a page holds all it needs, and texts of the object stay text", () => {
  const html = pageOf(REJECTED, ["no_check"]);
  expect(html).toContain("<title>skep verify &lt;report&gt; &amp; co.bpf.o</title>");
  expect(html).not.toMatch(/(src|href)=/);
  expect(html).not.toMatch(/https?:\/\/(?!www\.w3\.org\/2000\/svg)/);
  expect(html).toContain("default-src 'none'");
});

describe.skipIf(BROWSER === undefined)(
  `in a browser${BROWSER === undefined ? " (skipped: no chromium)" : ""}`,
  () => {
    test("shows the verdict, the failing path and the state before the error", () => {
      const dom = open(pageOf(REJECTED), "#p=check_too_short");
      expect(dom).toMatch(/<span class="badge">rejected<\/span> check_too_short/);
      expect(dom).toContain("The comparison in line 21 proves 14 bytes, and this access needs 24");
      expect(dom).toMatch(/class="row path error selected" data-slot="6"/);
      expect(dom).toMatch(/<th>R1<\/th><td>pkt\(r=14\)<\/td>/);
      expect(dom).toMatch(/failing path: step \d+ of \d+/);
      expect(dom).toMatch(/<g class="block path error selected"/);
    });

    test("shows what pruned what in a program that loads", () => {
      const html = pageOf("examples/rewrite/rewrite.bpf.o", ["classify"]);
      const data = JSON.parse(
        /<script class="data" type="application\/json"[^>]*>(.*?)<\/script>/s.exec(html)?.[1] ?? "",
      );
      const pruned = data.ends.find(
        (end: { kind: string; by: number }) => end.kind === "pruned" && end.by >= 0,
      );
      expect(pruned).toBeDefined();
      const dom = open(html, `#p=classify&v=${pruned.from}`);
      expect(dom).toMatch(/<span class="badge">accepted<\/span> classify/);
      expect(dom).toContain("everything is covered by the state kept at");
      expect(dom).toContain(`Before instruction ${data.visits[pruned.from][1]}, visit ${pruned.from}`);
      expect(dom).toMatch(/<tr class="changed"><th>R\d+<\/th>/);
    });
  },
);

test("the graph has the blocks between jumps", () => {
  const spec = parseObject(readFileSync(REJECTED), { name: REJECTED });
  const input = objectProgram(spec, "check_too_short");
  const { blocks, edges } = controlFlow(input?.instructions ?? [], [0]);
  expect(blocks[0]?.first).toBe(0);
  for (const { from, to } of edges) {
    expect(blocks[from]).toBeDefined();
    expect(blocks[to]).toBeDefined();
  }
  // Each slot belongs to one block.
  for (const [index, block] of blocks.entries()) {
    const next = blocks[index + 1];
    if (next !== undefined) expect(block.last).toBeLessThan(next.first);
  }
});

test("the layout puts no two nodes over each other, and follows below what leads to it", () => {
  const nodes = Array.from({ length: 9 }, (_, id) => ({ id, width: 60 + id * 10, height: 30 }));
  const edges = [
    [0, 1],
    [0, 2],
    [1, 3],
    [2, 3],
    [3, 4],
    [4, 0],
    [4, 5],
    [0, 5],
    [5, 6],
    [5, 7],
    [6, 8],
    [7, 8],
    [8, 8],
  ].map(([from, to]) => ({ from: from as number, to: to as number }));
  const { nodes: placed, routes, width } = layout(nodes, edges);
  for (const [index, one] of placed.entries()) {
    const half = (nodes[one.id]?.width ?? 0) / 2;
    expect(one.x - half).toBeGreaterThanOrEqual(0);
    expect(one.x + half).toBeLessThanOrEqual(width);
    for (const other of placed.slice(index + 1)) {
      if (other.y !== one.y) continue;
      expect(Math.abs(one.x - other.x)).toBeGreaterThanOrEqual(half + (nodes[other.id]?.width ?? 0) / 2);
    }
  }
  const y = new Map(placed.map((node) => [node.id, node.y]));
  for (const { from, to, back } of routes) {
    const below = (y.get(to) ?? 0) > (y.get(from) ?? 0);
    expect(below).toBe(!back);
  }
  expect(routes.filter(({ back }) => back).map(({ from, to }) => [from, to])).toEqual([[4, 0]]);
});
