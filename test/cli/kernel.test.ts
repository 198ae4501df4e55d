import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { REFUSED_PROGRAMS } from "../fixtures/cases.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { skep } from "./run-cli.ts";

const WEB = join(ROOT, "examples/captures/web.pcap");
const example = (name: string): string => join(ROOT, `examples/${name}/${name}.bpf.o`);

describe.skipIf(noKernel !== undefined)(withKernel("skep and the kernel"), () => {
  it.each([
    ["firewall", "firewall", 3712],
    ["packet-counter", "count", 3712],
    ["packet-counter", "keep_tcp", 3710],
    ["rewrite", "encapsulate", 3712],
    ["rewrite", "reflect", 3712],
    ["rewrite", "classify", 3710],
  ])("%s: %s has the same verdict for every packet", async (object, program, asked) => {
    const { status, stdout } = await skep(
      "run",
      example(object),
      "-p",
      program,
      "-r",
      WEB,
      "--kernel",
      "--json",
    );
    expect(status).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.kernel).toMatchObject({ differences: 0, firstDifferences: [] });
    expect(report.packets - report.kernel.refused).toBe(asked);
    for (const map of report.kernel.maps) {
      const ours = report.maps.find(({ name }: { name: string }) => name === map.name);
      expect(ours.entries).toHaveLength(map.entries.length);
    }
  });

  it("fills the kernel's maps too", async () => {
    const maps = join(ROOT, "examples/firewall/firewall.maps.json");
    const { stdout } = await skep("run", example("firewall"), "-r", WEB, "--maps", maps, "--kernel");
    expect(stdout).toMatch(/XDP_DROP +1 +181 +4\.9 % +\d+ +181\n/);
    expect(stdout).toContain("the same verdict for all 3712 packets");
  });

  it("verify shows both verdicts", async () => {
    const accepted = await skep("verify", example("rewrite"), "--kernel");
    expect(accepted.status).toBe(0);
    expect(accepted.stdout.match(/kernel: +accepted/g)).toHaveLength(3);
    const rejected = await skep(
      "verify",
      join(ROOT, "test/fixtures/bad-programs.bpf.o"),
      "-p",
      "endless",
      "--kernel",
    );
    expect(rejected.status).toBe(1);
    expect(rejected.stdout).toMatch(/kernel: +rejected: program 'endless'.*infinite loop detected/);
  });

  it.each(REFUSED_PROGRAMS)("verify tells why the kernel refuses %s", async (program, reason) => {
    const { status, stdout } = await skep(
      "verify",
      join(ROOT, "test/fixtures/bad-programs.bpf.o"),
      "-p",
      program,
      "--kernel",
    );
    expect(status).toBe(1);
    expect(stdout).toContain(reason);
  });

  it("probes", async () => {
    const { status, stdout } = await skep("kernel", "probe", "--json");
    expect(status).toBe(0);
    const types = JSON.parse(stdout).groups.find(
      ({ name }: { name: string }) => name === "program_types",
    ).features;
    expect(types.find(({ name }: { name: string }) => name === "xdp")).toMatchObject({
      supported: true,
      testRun: true,
    });
  });
});

describe("skep verify", () => {
  it("tells programs that load from those that do not", async () => {
    const sound = await skep("verify", example("firewall"));
    expect(sound).toMatchObject({ status: 0, stderr: "" });
    expect(sound.stdout).toMatch(/accepted +\d.* instructions processed/);
    const broken = await skep(
      "verify",
      join(ROOT, "test/fixtures/bad-programs.bpf.o"),
      "-p",
      "unknown_helper",
    );
    expect(broken.status).toBe(1);
    expect(broken.stdout).toContain("rejected: EINVAL: invalid func unknown#4095");
  });

  it("lists the programs when there is none of that name", async () => {
    expect(await skep("verify", example("rewrite"), "-p", "nope")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("it has encapsulate, reflect, classify"),
    });
  });
});
