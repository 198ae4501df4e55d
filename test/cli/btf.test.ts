import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { hasTool, needs, ROOT } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const FILE = join(ROOT, "test/fixtures/btf/values.bpf.o");
const VMLINUX = "/sys/kernel/btf/vmlinux";
const bpftool = (...args: string[]): string =>
  spawnSync("bpftool", ["btf", "dump", "file", ...args], { encoding: "utf8", maxBuffer: 1 << 28 }).stdout;

describe("skep btf dump", () => {
  it("prints one type of an object, or with C all that it needs", async () => {
    const raw = await skep("btf", "dump", FILE, "id", "1");
    expect(raw).toMatchObject({ status: 0, stderr: "" });
    expect(raw.stdout).toMatch(/^\[1\] \w+ '.*'.*\n$/);
    const c = await skep("btf", "dump", "file", FILE, "format", "c", "id", "1");
    expect(c.stdout).toMatch(/^#ifndef __VMLINUX_H__\n/);
  });

  it("prints JSON", async () => {
    const { stdout } = await skep("btf", "dump", FILE, "--json", "id", "1");
    expect(JSON.parse(stdout)).toMatchObject({ version: 1, littleEndian: true, types: [{ id: 1 }] });
  });

  it.each([
    [["btf"], /say what to do/],
    [["btf", "load", FILE], /no action 'load'/],
    [["btf", "dump"], /a file is missing/],
    [["btf", "dump", FILE, "format", "rust"], /format 'rust' is none of raw, c/],
    [["btf", "dump", FILE, "id", "x"], /expected a number, not 'x'/],
    [["btf", "dump", FILE, "id", "99999"], /type 99999 does not exist/],
    [["btf", "dump", FILE, "please"], /'please' has no meaning here/],
    [["btf", "dump", join(ROOT, "test/fixtures/alu.nobtf.bpf.o")], /no \.BTF section; compile with -g/],
    [["btf", "dump", join(ROOT, "package.json")], /no \.BTF data/],
    [["btf", "dump", "/no/such/file"], /no such file/i],
  ])("%j is an error", async (args, message) => {
    const { status, stderr } = await skep(...args);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });
});

const asked = hasTool("bpftool", "version");
describe.skipIf(!asked)(needs("skep btf dump and bpftool", asked, "bpftool"), () => {
  it.each(["raw", "c"])("say the same of an object: %s", async (format) => {
    const { stdout } = await skep("btf", "dump", FILE, "format", format);
    expect(stdout).toBe(bpftool(FILE, "format", format));
  });

  const modules = existsSync("/sys/kernel/btf")
    ? readdirSync("/sys/kernel/btf").filter((name) => name !== "vmlinux")
    : [];
  const hasModules = modules.length > 0;
  it.skipIf(!hasModules)(
    needs("say the same of a kernel module", hasModules, "kernel module with BTF"),
    async () => {
      const path = join("/sys/kernel/btf", modules[0] ?? "");
      const { stdout } = await skep("btf", "dump", path, "-B", VMLINUX);
      expect(stdout).toBe(bpftool(path, "-B", VMLINUX));
    },
  );
});
