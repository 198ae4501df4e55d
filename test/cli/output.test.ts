/** What commands write: never over what they read, by whatever name; nothing half-written. */
import { copyFileSync, linkSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ROOT } from "../helpers.ts";
import { skep } from "./run-cli.ts";

let folder = "";
let object = "";
let capture = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "skep-output-"));
  object = join(folder, "alu.bpf.o");
  capture = join(folder, "dns.pcap");
  copyFileSync(join(ROOT, "test/fixtures/callbacks.bpf.o"), object);
  copyFileSync(join(ROOT, "examples/captures/dns.pcap"), capture);
  symlinkSync("alu.bpf.o", join(folder, "symbolic"));
  linkSync(object, join(folder, "hard"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([
  ["compile", "OBJECT", "-o", "OBJECT"],
  ["compile", "OBJECT", "-o", "symbolic"],
  ["compile", "OBJECT", "-o", "hard"],
  ["gen", "object", "OBJECT", "OBJECT"],
  ["gen", "object", "hard", "OBJECT"],
  ["gen", "min_core_btf", "OBJECT", "OBJECT", "OBJECT"],
  ["asm", "OBJECT", "-o", "OBJECT"],
  ["verify", "OBJECT", "--html", "symbolic"],
  ["verify", join(ROOT, "test/fixtures/alu.v3.bpf.o"), "--extends", "OBJECT", "--html", "hard"],
  ["compile", join(ROOT, "test/fixtures/alu.v3.bpf.o"), "--btf", "OBJECT", "-o", "symbolic"],
  ["run", "OBJECT", "-r", "CAPTURE", "-w", "OBJECT"],
  ["filter", "udp", "-r", "CAPTURE", "-w", "CAPTURE"],
])("%s %s %s %s", async (...words) => {
  const before = [readFileSync(object), readFileSync(capture)];
  const args = words.map((word) =>
    word === "OBJECT"
      ? object
      : word === "CAPTURE"
        ? capture
        : ["symbolic", "hard"].includes(word)
          ? join(folder, word)
          : word,
  );
  const { status, stderr } = await skep(...args);
  expect(status).toBe(2);
  expect(stderr).toMatch(/: the output would overwrite it( \(as .*\))?\n$/);
  expect([readFileSync(object), readFileSync(capture)]).toEqual(before);
  expect(readdirSync(folder).toSorted()).toEqual(["alu.bpf.o", "dns.pcap", "hard", "symbolic"]);
});
