import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readPacketsSync } from "../../src/capture/index.ts";
import { ROOT, hasTool, needs } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const scratch = mkdtempSync(join(tmpdir(), "skep-filter-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const WEB = join(ROOT, "examples/captures/web.pcap");
const EXPRESSIONS = [
  "tcp port 80",
  "udp and not port 53",
  "ip6 and icmp6",
  "host 203.0.113.7 or arp",
  "greater 500",
  "ip[8] < 32",
];

const tcpdump = hasTool("tcpdump");
describe.skipIf(!tcpdump)(needs("skep filter and tcpdump", tcpdump, "tcpdump"), () => {
  const theirs = (...args: string[]): string => spawnSync("tcpdump", args, { encoding: "utf8" }).stdout;

  it.each(["-d", "-dd", "-ddd"])("show the same program (%s)", async (flag) => {
    const { status, stdout } = await skep("filter", flag, "tcp port 80");
    expect(status).toBe(0);
    expect(stdout).toBe(theirs("-y", "EN10MB", flag, "tcp port 80"));
  });

  it.each(EXPRESSIONS)("let the same packets through: %s", async (expression) => {
    const out = join(scratch, "ours.pcap");
    const { status, stdout } = await skep("filter", expression, "-r", WEB, "-w", out);
    expect(status).toBe(0);
    const expected = join(scratch, "theirs.pcap");
    theirs("-r", WEB, "-w", expected, expression);
    expect(readFileSync(out).equals(readFileSync(expected))).toBe(true);
    const [...packets] = readPacketsSync(readFileSync(expected));
    expect(stdout).toContain(`${packets.length} of 3712 packets match`);
  });
});

describe("skep filter", () => {
  it("stops after N matches, lists them, answers in JSON", async () => {
    const { stdout } = await skep("filter", "tcp", "-r", WEB, "-c", "5", "-l");
    expect(stdout.split("\n").filter((line) => /^\d+ {2}.* bytes$/.test(line))).toHaveLength(5);
    const json = JSON.parse((await skep("filter", "tcp", "-r", WEB, "--json")).stdout);
    expect(json).toMatchObject({ version: 1, packets: 3712 });
  });

  it("explains itself and its answers", async () => {
    const { stdout } = await skep("filter", "--explain", "udp port 53");
    expect(stdout).toMatch(/bytes 12 to 13/);
    const why = await skep("filter", "tcp", "-r", join(ROOT, "examples/captures/icmp.pcap"), "--why");
    expect(why.stdout).toMatch(/^1 {2}(matches|does not match): ./);
    expect(await skep("filter", "tcp", "--why")).toMatchObject({ status: 2, stdout: "" });
  });

  it("reads names from files only", async () => {
    const hosts = join(scratch, "hosts");
    writeFileSync(hosts, "192.0.2.1 tunnel\n");
    expect((await skep("filter", "-d", "host tunnel", "--hosts", hosts)).stdout).toContain("#0xc0000201");
    expect(await skep("filter", "-d", "host tunnel")).toMatchObject({ status: 2, stdout: "" });
  });

  it("shows where an expression is wrong, and knows display filters", async () => {
    const { status, stderr } = await skep("filter", "-d", "tcp and ip.addr == 10.0.0.1");
    expect(status).toBe(2);
    expect(stderr).toContain("did you mean `host 10.0.0.1`?");
    expect(stderr).toMatch(/\n +\^/);
  });
});

describe("skep seccomp", () => {
  const profile = join(scratch, "profile.json");
  writeFileSync(
    profile,
    JSON.stringify({
      defaultAction: "SCMP_ACT_ERRNO",
      defaultErrnoRet: 1,
      architectures: ["SCMP_ARCH_X86_64"],
      syscalls: [
        { names: ["read", "exit_group"], action: "SCMP_ACT_ALLOW" },
        { names: ["socket"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value: 40, op: "SCMP_CMP_NE" }] },
      ],
    }),
  );

  it("compiles a profile, and emulates and disassembles the filter", async () => {
    const filter = join(scratch, "filter.bpf");
    expect(await skep("seccomp", "compile", profile, "-o", filter)).toMatchObject({ status: 0, stderr: "" });
    for (const [call, answer] of [
      [["socket", "2", "1", "0"], "ALLOW"],
      [["socket", "40", "1", "0"], "ERRNO(EPERM)"],
      [["read"], "ALLOW"],
      [["mount"], "ERRNO(EPERM)"],
    ] as const) {
      expect((await skep("seccomp", "emulate", filter, ...call)).stdout).toContain(`: ${answer}, after`);
    }
    expect((await skep("seccomp", "disasm", filter)).stdout).toMatch(/socket/);
    expect((await skep("seccomp", "explain", filter)).stdout).toMatch(/ALLOW/);
  });

  it("says in one sentence what is wrong", async () => {
    for (const [args, message] of [
      [["complie", profile], /'compile' may be what is meant/],
      [["compile", WEB], /web\.pcap: /],
      [["emulate", profile], /name or number of a call is missing/],
      [["emulate", profile, "no_such_call"], /no_such_call/],
    ] as const) {
      const { status, stdout, stderr } = await skep("seccomp", ...args);
      expect(status).toBe(2);
      expect(stdout).toBe("");
      expect(stderr).toMatch(message);
    }
  });
});
