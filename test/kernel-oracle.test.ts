import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FIXTURE_CASES, FIXTURE_PACKETS } from "./fixtures/cases.ts";
import { needs, ROOT } from "./helpers.ts";
import {
  hasKernelBpf,
  kernelBpfLacks,
  kernelRuns,
  kernelSession,
  type KernelStep,
  kernelVerdict,
  PACKET_FOLDER,
  pinName,
} from "./kernel-oracle.ts";

const FIXTURES = join(ROOT, "test/fixtures");
const EXAMPLES = join(ROOT, "examples");
const FIREWALL = join(EXAMPLES, "firewall/firewall.bpf.o");
const fixture = (name: string) => join(FIXTURES, name);
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

/** The packets of a classic little-endian microsecond capture, as tcpdump writes them here. */
function packetsOf(path: string): Uint8Array[] {
  const file = readFileSync(path);
  const packets: Uint8Array[] = [];
  for (let at = 24; at < file.length; ) {
    const length = file.readUInt32LE(at + 8);
    packets.push(new Uint8Array(file.subarray(at + 16, at + 16 + length)));
    at += 16 + length;
  }
  return packets;
}

test("libbpf's names of pinned maps", () => {
  expect(pinName("x/firewall.bpf.o", "rule_hits")).toBe("rule_hits");
  expect(pinName("x/firewall.bpf.o", ".rodata")).toBe("firewall_rodata");
  expect(pinName("algorithms.v1.bpf.o", ".rodata")).toBe("algorith_rodata");
  expect(pinName("packet-counter.bpf.o", ".bss")).toBe("packet_c_bss");
  expect(pinName("globals.bpf.o", ".bss")).toBe("globals_bss");
  expect(pinName("globals.bpf.o", ".data.custom")).toBe("_data_custom");
});

describe.skipIf(!hasKernelBpf)(needs("sessions with the kernel", hasKernelBpf, kernelBpfLacks), () => {
  test("run, map update, dump, delete and info in one session", () => {
    const key = Uint8Array.of(32, 0, 0, 0, 10, 0, 0, 1);
    const steps: KernelStep[] = [
      { run: "firewall", packet: FIXTURE_PACKETS.tcp },
      { update: "blocked4", key, value: u32(9) },
      { run: "firewall", packet: FIXTURE_PACKETS.tcp },
      { dump: "blocked4" },
      { delete: "blocked4", key },
      { run: "firewall", packet: FIXTURE_PACKETS.tcp },
      { dump: "rule_hits" },
      { info: "firewall" },
    ];
    const answers = kernelSession(FIREWALL, steps);
    expect(answers.map((answer) => answer.error)).toEqual(steps.map(() => undefined));
    expect(answers[0]?.run?.returnValue).toBe(2);
    expect(answers[0]?.run?.packet).toEqual(FIXTURE_PACKETS.tcp);
    expect(answers[2]?.run?.returnValue).toBe(1);
    expect(answers[3]?.entries).toMatchObject([{ key, values: [u32(9)] }]);
    expect(answers[5]?.run?.returnValue).toBe(2);
    const hits = answers[6]?.entries?.[9]?.values[0];
    expect(hits?.[0]).toBe(1);
    expect(hits?.[8]).toBe(74);
    expect(answers[7]?.info).toMatchObject({ type: "xdp", name: "firewall" });
  });

  test("nothing stays behind: the program is gone, and so are mounts and files", () => {
    const folders = (): string[] =>
      readdirSync(PACKET_FOLDER).filter((name) => name.startsWith("skep-kernel-"));
    // A session that was killed with its process may have left a folder here long ago.
    const before = new Set(folders());
    const [info] = kernelSession(FIREWALL, [{ info: "firewall" }]);
    const id = String(info?.info?.["id"]);
    expect(id).toMatch(/^\d+$/);
    // The last reference falls with the mount, and the kernel frees programs a moment later.
    const deadline = Date.now() + 5_000;
    const there = () => spawnSync("bpftool", ["prog", "show", "id", id], { stdio: "ignore" }).status === 0;
    while (there() && Date.now() < deadline) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    expect(there()).toBe(false);
    expect(folders().filter((name) => !before.has(name) && !alive(name))).toEqual([]);
    expect(readFileSync("/proc/self/mounts", "utf8")).not.toContain("skep-kernel");
  });

  test("a step that fails is named, and what follows it isn't reached", () => {
    const answers = kernelSession(FIREWALL, [
      { run: "firewall", packet: new Uint8Array(13) },
      { run: "firewall", packet: new Uint8Array(14) },
    ]);
    expect(answers[0]?.error).toContain("Invalid argument");
    expect(answers[1]?.error).toBe("not reached");
  });

  test("a refused object throws with the verifier's log", () => {
    expect(() => kernelSession(fixture("bad-programs.bpf.o"), [])).toThrow(/invalid func unknown#4095/);
    expect(() => kernelSession(fixture("alu.eb.bpf.o"), [])).toThrow(/endianness mismatch/);
    expect(kernelVerdict(fixture("bad-programs.bpf.o"))).toMatchObject({ accepted: false });
    expect(kernelVerdict(fixture("alu.v3.bpf.o")).accepted).toBe(true);
  });

  test("a session that hangs is killed", () => {
    const run = { run: "bounded_by_the_kernel", packet: new Uint8Array(64) };
    expect(() => kernelSession(fixture("may-goto.bpf.o"), [run, run, run, run], { timeout: 300 })).toThrow(
      /kernel session failed/,
    );
  });

  test("a context goes in and comes out", () => {
    const context = new Uint8Array(192);
    new DataView(context.buffer).setUint32(48, 0x77, true); // cb[0]
    const [answer] = kernelSession(fixture("tc.bpf.o"), [
      { run: "mark", packet: FIXTURE_PACKETS.tcp, context },
    ]);
    const out = answer?.run?.context ?? new Uint8Array();
    const view = new DataView(out.buffer, out.byteOffset);
    expect(view.getUint32(8, true)).toBe(0x100); // mark, written by the program
    expect(view.getUint32(48, true)).toBe(0x77);
    expect(view.getUint32(0, true)).toBe(0); // len doesn't come back
  });
});

/** Another test's session may be running: its folder is younger than a minute. */
function alive(folder: string): boolean {
  const age = spawnSync("find", [join(PACKET_FOLDER, folder), "-maxdepth", "0", "-mmin", "-1"], {
    encoding: "utf8",
  });
  return age.stdout !== "";
}

describe.skipIf(!hasKernelBpf)(needs("fixtures in the kernel", hasKernelBpf, kernelBpfLacks), () => {
  const asked = FIXTURE_CASES.filter((one) => one.notInKernel === undefined);
  const objects = [...new Set(asked.map((one) => one.object))];
  test.each(objects)("%s returns what cases.ts says", (object) => {
    const cases = asked.filter((one) => one.object === object);
    const answers = kernelSession(
      fixture(object),
      cases.map((one) => ({
        run: one.program,
        packet: FIXTURE_PACKETS[one.packet],
        socket: one.type === "socket" && one.networkLayer !== true,
      })),
    );
    const got = answers.map((answer, i) => `${cases[i]?.program} ${answer.error ?? answer.run?.returnValue}`);
    expect(got).toEqual(cases.map((one) => `${one.program} ${one.returns}`));
  });

  test("globals outlive a run", () => {
    const run = { run: "runs", packet: FIXTURE_PACKETS.zeros };
    const answers = kernelSession(fixture("globals.bpf.o"), [run, run, run, { dump: ".bss" }]);
    expect(answers.slice(0, 3).map((answer) => answer.run?.returnValue)).toEqual([1, 2, 3]);
    expect(answers[3]?.entries).toHaveLength(1);
  });

  test.each([
    ["cross-section.bpf.o", "not supported"],
    ["maps-legacy.bpf.o", "legacy map definitions"],
    ["maps-legacy.nobtf.bpf.o", "legacy map definitions"],
    ["bad-symbols.bpf.o", "missing_map"],
    ["alu.eb.bpf.o", "endianness mismatch"],
  ])("%s is refused: %s", (object, reason) => {
    const { accepted, log } = kernelVerdict(fixture(object));
    expect(accepted).toBe(false);
    expect(log).toContain(reason);
  });
});

describe.skipIf(!hasKernelBpf)(needs("examples in the kernel", hasKernelBpf, kernelBpfLacks), () => {
  const web = packetsOf(join(EXAMPLES, "captures/web.pcap"));
  const count = (values: readonly (number | undefined)[]) => {
    const counts: Record<string, number> = {};
    for (const value of values) counts[String(value)] = (counts[String(value)] ?? 0) + 1;
    return counts;
  };

  test("firewall drops and passes, and its maps say why", () => {
    const { runs, maps } = kernelRuns(FIREWALL, "firewall", web, { dump: ["verdicts", "rule_hits"] });
    const verdicts = count(runs.map((run) => run?.returnValue));
    expect(verdicts).toEqual({ "1": 151, "2": web.length - 151 });
    const packets = maps["verdicts"]?.map((entry) =>
      entry.values.reduce((sum, value) => sum + Number(new DataView(value.buffer).getBigUint64(8, true)), 0),
    );
    expect(packets?.reduce((a, b) => a + b)).toBe(web.length);
    expect(packets?.every((n) => n > 0)).toBe(true);
    expect(packets?.slice(2).reduce((a, b) => a + b)).toBe(verdicts["1"]);
    const hits = maps["rule_hits"]?.slice(0, 7).map((entry) => entry.values[0]?.[0] ?? 0);
    expect(hits?.every((n) => n > 0)).toBe(true);
  });

  test("firewall drops more once its maps are filled", () => {
    // The entries of firewall.maps.json, as bytes.
    const before: KernelStep[] = [
      { update: "blocked4", key: Uint8Array.of(15, 0, 0, 0, 198, 18, 0, 0), value: u32(10) },
      {
        update: "blocked6",
        key: Uint8Array.of(48, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0xf0, 0x0d, ...new Uint8Array(10)),
        value: u32(11),
      },
      { update: "blocked_ports", key: Uint8Array.of(17, 0, 5353 & 255, 5353 >> 8), value: u32(12) },
    ];
    const { runs, maps } = kernelRuns(FIREWALL, "firewall", web, { before, dump: ["rule_hits"] });
    const hits = maps["rule_hits"]?.map((entry) => entry.values[0]?.[0] ?? 0);
    expect(hits?.slice(10, 13)).toEqual([14, 12, 4]);
    expect(count(runs.map((run) => run?.returnValue))).toEqual({ "1": 151 + 30, "2": web.length - 151 - 30 });
  });

  test("packet-counter counts every packet once", () => {
    const counter = join(EXAMPLES, "packet-counter/packet-counter.bpf.o");
    const { runs, maps } = kernelRuns(counter, "count", web, { dump: ["protocols", "ports"] });
    expect(count(runs.map((run) => run?.returnValue))).toEqual({ "2": web.length });
    const rows = maps["protocols"]?.map((entry) =>
      Number(new DataView(entry.values[0]?.buffer as ArrayBuffer).getBigUint64(8, true)),
    );
    const [arp = 0, v4 = 0, v6 = 0, other = 0] = rows ?? [];
    expect(arp + v4 + v6 + other).toBeGreaterThan(web.length - 10); // the rest was cut before that
    expect(maps["ports"]?.length).toBeGreaterThan(5);
    const tcp = kernelRuns(counter, "keep_tcp", web, { kind: "socket" });
    tcp.runs.forEach((run, i) => expect(run?.packet ?? web[i]).toEqual(web[i]));
    expect(tcp.runs.filter((run) => (run?.returnValue ?? 0) >= 54).length).toBe(tcpSegments(web));
  });

  test("rewrite changes packets as it should", () => {
    const rewrite = join(EXAMPLES, "rewrite/rewrite.bpf.o");
    const wrapped = kernelRuns(rewrite, "encapsulate", web);
    const index = wrapped.runs.findIndex((run) => run?.returnValue === 3);
    const before = web[index] ?? new Uint8Array();
    const after = wrapped.runs[index]?.packet ?? new Uint8Array();
    expect(after.length).toBe(before.length + 20);
    expect(after.subarray(34)).toEqual(before.subarray(14));
    expect(headerSum(after, 14)).toBe(0xffff);
    const reflected = kernelRuns(rewrite, "reflect", web);
    reflected.runs.forEach((run, i) => {
      const original = web[i] ?? new Uint8Array();
      if (run?.returnValue !== 3 || headerSum(original, 14) !== 0xffff) return;
      expect(headerSum(run.packet, 14)).toBe(0xffff);
      expect(run.packet[22]).toBe((original[22] ?? 0) - 1);
    });
    const classified = kernelRuns(rewrite, "classify", web, { kind: "tc" });
    for (const run of classified.runs)
      if (run?.packet[15] === 46 << 2) expect(headerSum(run.packet, 14)).toBe(0xffff);
    expect(classified.runs.some((run) => run?.packet[15] === 46 << 2)).toBe(true);
  });
});

/** The ones' complement sum of an IPv4 header: 0xffff where its checksum is right. */
function headerSum(packet: Uint8Array, at: number): number {
  let sum = 0;
  for (let i = at; i < at + ((packet[at] ?? 0) & 15) * 4; i += 2)
    sum += ((packet[i] ?? 0) << 8) | (packet[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** TCP segments directly in IPv4 or IPv6, as `keep_tcp` finds them. */
function tcpSegments(packets: readonly Uint8Array[]): number {
  return packets.filter((p) => {
    const type = ((p[12] ?? 0) << 8) | (p[13] ?? 0);
    return (type === 0x0800 && p[23] === 6) || (type === 0x86dd && p[20] === 6);
  }).length;
}
