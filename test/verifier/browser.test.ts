/** The verifier in a worker of a real browser: the same verdicts as here, progress while it works, and a page that stops it. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build } from "vite";
import { assemble } from "../../src/asm/index.ts";
import { type Order, ROUNDS, type Told, judge } from "./browser-worker.ts";

const BROWSER = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);

const OBJECTS = ["examples/rewrite/rewrite.bpf.o", "test/fixtures/rejected/packet-bounds.bpf.o"];

/** A million rounds, each another state. */
const ENDLESS = "r6 = 0\nagain:\nr6 += 1\nif r6 < 1000000 goto again\nr0 = 0\nexit";

/** Shared memory is for pages that are isolated from others. */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

const PAGE = `<!doctype html><script type="module">
const stop = new Int32Array(new SharedArrayBuffer(4));
const told = [];
const send = (data) => fetch("/told", { method: "POST", body: JSON.stringify(data) });
const worker = new Worker("/worker.js", { type: "module" });
worker.onerror = ({ message }) => send({ error: message });
worker.onmessage = ({ data }) => {
  told.push(data);
  if (told.filter(({ kind }) => kind === "progress").length === ${ROUNDS}) {
    Atomics.store(stop, 0, 1);
    Atomics.notify(stop, 0);
  }
  if (data.kind === "end") send({ told });
};
worker.postMessage({ order: await (await fetch("/order")).json(), stop });
</script>`;

let folder = "";
let script = "";
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "skep-verifier-"));
  if (BROWSER === undefined) return;
  await build({
    configFile: false,
    logLevel: "error",
    build: {
      outDir: join(folder, "worker"),
      minify: false,
      lib: { entry: "test/verifier/browser-worker.ts", formats: ["es"], fileName: () => "worker.js" },
    },
  });
  script = readFileSync(join(folder, "worker/worker.js"), "utf8");
}, 60_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What the worker told the page. */
async function inBrowser(
  order: Order,
): Promise<{ readonly told?: readonly Told[]; readonly error?: string }> {
  const answers: Readonly<Record<string, readonly [string, string]>> = {
    "/": ["text/html", PAGE],
    "/worker.js": ["text/javascript", script],
    "/order": ["application/json", JSON.stringify(order)],
  };
  let resolve: (body: string) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const answer = new Promise<string>((settle, fail) => {
    resolve = settle;
    reject = fail;
  });
  const server = createServer(async (request, response) => {
    const [type, text] = answers[request.url ?? ""] ?? ["text/plain", ""];
    response.writeHead(200, { ...HEADERS, "Content-Type": type }).end(text);
    if (request.url !== "/told") return;
    let body = "";
    for await (const part of request.setEncoding("utf8")) body += part;
    resolve(body);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  const browser = spawn(
    BROWSER as string,
    [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      `--user-data-dir=${join(folder, "profile")}`,
      `http://127.0.0.1:${port}/`,
    ],
    { stdio: "ignore" },
  );
  const ended = new Promise<void>((exit) => browser.once("exit", () => exit()));
  const late = setTimeout(() => reject(new Error("the page told nothing")), 100_000);
  try {
    return JSON.parse(await answer);
  } finally {
    clearTimeout(late);
    browser.kill();
    await ended;
    server.closeAllConnections();
    server.close();
  }
}

describe.skipIf(BROWSER === undefined)(
  `in a worker of a browser${BROWSER === undefined ? " (skipped: no chromium)" : ""}`,
  () => {
    test("programs have the verdicts and logs that they have here; it tells how far it is, and stops when it is told to", async () => {
      const objects = OBJECTS.map((path) => [...readFileSync(path)]);
      const { told = [], error } = await inBrowser({ objects, endless: assemble(ENDLESS).instructions });
      expect(error).toBeUndefined();
      expect(told).toEqual([
        // As JSON has it: what is undefined is missing.
        JSON.parse(JSON.stringify({ kind: "verdicts", verdicts: objects.flatMap(judge) })),
        ...Array.from({ length: ROUNDS }, (_, round) => ({
          kind: "progress",
          processed: 8192 * (round + 1),
        })),
        { kind: "end", cancelled: true, accepted: false, processed: 8192 * ROUNDS },
      ]);
    }, 120_000);
  },
);
