import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ROOT, hasTool, needs } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const scratch = mkdtempSync(join(tmpdir(), "skep-text-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const file = (name: string, text: string | Uint8Array): string => {
  const path = join(scratch, name);
  writeFileSync(path, text);
  return path;
};

const WEB = join(ROOT, "examples/captures/icmp.pcap");
const FIREWALL = join(ROOT, "examples/firewall/firewall.bpf.o");
const fixture = (name: string): string => join(ROOT, "test/fixtures", name);

const DROP_SHORT = `
# drops frames of less than 100 bytes
  r2 = *(u32 *)(r1 + 0)
  r3 = *(u32 *)(r1 + 4)
  r3 -= r2
  r0 = 2
  if r3 >= 100 goto out
  r0 = 1
out:
  exit
`;

describe("skep asm", () => {
  it("makes an object that runs", async () => {
    const out = join(scratch, "drop.o");
    expect(await skep("asm", file("drop.s", DROP_SHORT), "-o", out, "--section", "xdp")).toEqual({
      status: 0,
      stdout: "",
      stderr: "",
    });
    const run = JSON.parse((await skep("run", out, "-r", WEB, "--json")).stdout);
    expect(run.program).toEqual({ name: "main", type: "xdp", section: "xdp" });
    expect(run.packets).toBeGreaterThan(10);
    // The same program as hex, through exec's plugin contract.
    const hex = JSON.parse((await skep("asm", file("two.s", "r0 = 2\nexit"), "--json")).stdout).hex;
    expect((await skep("exec", "--program", hex)).stdout).toBe("2\n");
  });

  it("runs an object through exec --elf, as bpf_conformance hands it over", async () => {
    const out = join(scratch, "main.o");
    await skep(
      "asm",
      file("main.s", "r1 = *(u8 *)(r1 + 1)\ncall twice\nexit\ntwice:\nr0 = r1\nr0 += r1\nexit"),
      "-o",
      out,
    );
    const hex = readFileSync(out).toString("hex");
    expect(await skep("exec", "aa15bb", "--elf", "--program", hex)).toMatchObject({
      status: 0,
      stdout: "2a\n",
    });
  });

  it.each([
    ["llvm", "r0 = 2\nr1 += \nexit", /line 2, column/],
    ["rfc", "mov %r0, 2\nmovv %r1, 3\nexit", /line 2, column 1: .*mov/],
    ["llvm", "goto nowhere\nexit", /line 1, column \d+: .*nowhere/],
  ])("names line and column (%s)", async (dialect, text, message) => {
    const path = file("wrong.s", text);
    const { status, stdout, stderr } = await skep("asm", path, "--dialect", dialect);
    expect(status).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(message);
    expect(stderr).toContain(path);
  });

  it("leaves no half of an object", async () => {
    await skep("asm", file("wrong2.s", "r0 = "), "-o", join(scratch, "wrong2.o"));
    expect(readdirSync(scratch).filter((name) => name.includes("wrong2.o"))).toEqual([]);
  });
});

describe("skep disasm", () => {
  it("reads hex, raw bytes and objects", async () => {
    const hex = file("p.hex", "b7 00 00 00 02 00 00 00\n95 00 00 00 00 00 00 00\n");
    expect((await skep("disasm", hex)).stdout).toBe("       0:\tr0 = 0x2\n       1:\texit\n");
    expect((await skep("disasm", hex, "--dialect", "rfc")).stdout).toBe("mov %r0, 2\nexit\n");
    const raw = file("p.bin", Uint8Array.of(0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0));
    expect((await skep("disasm", raw)).stdout).toBe("       0:\tr0 = 0x2\n       1:\texit\n");
  });

  it("says what is no instruction, and exits with 1", async () => {
    const { status, stderr } = await skep("disasm", file("bad.hex", "ff00000000000000"));
    expect(status).toBe(1);
    expect(stderr).toMatch(/instruction 0: opcode 0xff/);
  });

  const objdump = hasTool("llvm-objdump-19");
  const objects = readdirSync(join(ROOT, "test/fixtures")).filter((name) => name.endsWith(".o"));
  it.skipIf(!objdump).each(objects)(
    needs("equals llvm-objdump -d: %s", objdump, "llvm-objdump-19"),
    async (name) => {
      const path = fixture(name);
      const theirs = spawnSync("llvm-objdump-19", ["-d", "--no-show-raw-insn", path], {
        encoding: "utf8",
      });
      expect((await skep("disasm", path)).stdout).toBe(theirs.stdout);
    },
  );
});

describe("skep dump", () => {
  it("shows programs, maps and variables with their types", async () => {
    const { stdout } = await skep("dump", FIREWALL, "--no-code");
    expect(stdout).toMatch(/firewall +xdp +xdp +782/);
    expect(stdout).toMatch(/blocked4 +lpm_trie +struct key4 \(8 bytes\) +__u32 \(4 bytes\) +10000 +0x1/);
    expect(stdout).toMatch(/drop_later_fragments +\.rodata +const volatile _Bool \(1 byte\) +true/);
  });

  it("shows big-endian objects like little-endian ones", async () => {
    const [big, little] = await Promise.all(
      ["alu.eb.bpf.o", "alu.v3.bpf.o"].map((name) => skep("dump", fixture(name), "--no-code")),
    );
    expect(big!.stdout).toContain("big-endian BPF object");
    const programs = (text: string): string[] =>
      [...text.matchAll(/^ {2}(\w+) +xdp/gm)].map(([, name]) => name as string);
    expect(programs(big!.stdout)).toEqual(programs(little!.stdout));
    expect(programs(big!.stdout)).toContain("alu64");
  });

  it("interleaves source lines", async () => {
    const { stdout } = await skep("dump", FIREWALL, "-p", "firewall", "-S");
    expect(stdout).toMatch(/; \.\/firewall\.bpf\.c:\d+\n; .*\n +\d+:\t/);
  });

  it("prints the WebAssembly of a program", async () => {
    const { stdout } = await skep("dump", FIREWALL, "-p", "firewall", "--wat");
    expect(stdout).toMatch(/^\(module/);
    expect(stdout).toContain("(func $firewall");
  });

  it("answers in JSON", async () => {
    const { stdout } = await skep("dump", FIREWALL, "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      version: 1,
      littleEndian: true,
      programs: [{ name: "firewall", type: "xdp", instructions: 782 }],
    });
  });
});

describe("skep", () => {
  it("helps", async () => {
    const { status, stdout } = await skep("--help");
    expect(status).toBe(0);
    for (const name of ["run", "dump", "asm", "disasm", "exec"]) {
      expect(stdout).toContain(`  ${name} `);
      const help = await skep(name, "--help");
      expect(help.status).toBe(0);
      expect(help.stdout).toContain(`Usage: skep ${name}`);
      expect(help.stdout).toContain("Examples:");
    }
  });

  it("knows a command that was meant", async () => {
    expect(await skep("dmup")).toMatchObject({
      status: 2,
      stderr: "skep: no command 'dmup'; did you mean 'skep dump'?\n",
    });
  });

  it("has the version of the package", async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    expect((await skep("--version")).stdout).toBe(`${version}\n`);
  });
});
