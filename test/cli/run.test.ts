import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PcapngWriter, readCaptureSync, readPacketsSync } from "../../src/capture/index.ts";
import { CORPUS, ROOT, hasCorpus, needs } from "../helpers.ts";
import { skep } from "./run-cli.ts";

const FIREWALL = join(ROOT, "examples/firewall/firewall.bpf.o");
const REWRITE = join(ROOT, "examples/rewrite/rewrite.bpf.o");
const WEB = join(ROOT, "examples/captures/web.pcap");
const fixture = (name: string): string => join(ROOT, "test/fixtures", name);

const scratch = mkdtempSync(join(tmpdir(), "skep-cli-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const temporary = (name: string, bytes: Uint8Array | string): string => {
  const path = join(scratch, name);
  writeFileSync(path, bytes);
  return path;
};

const json = async (...args: string[]): Promise<any> => JSON.parse((await skep(...args, "--json")).stdout);

describe("skep run", () => {
  it.each(["jit", "interp"])("gives the firewall's verdicts and maps (%s)", async (engine) => {
    const report = await json("run", FIREWALL, "-r", WEB, "--engine", engine);
    expect(report).toMatchObject({
      version: 1,
      program: { name: "firewall", type: "xdp" },
      verified: true,
      safety: "verified",
      notes: [],
      packets: 3712,
      faults: 0,
      verdicts: [
        { name: "XDP_DROP", value: 1, fate: "drop", packets: 151 },
        { name: "XDP_PASS", value: 2, fate: "pass", packets: 3561 },
      ],
    });
    const hits = report.maps.find(({ name }: { name: string }) => name === "rule_hits");
    expect(hits.entries[0]).toMatchObject({ key: 0, value: { packets: 29, bytes: 3215 } });
  });

  it("says the same to people, with the word that it is verified", async () => {
    const { status, stdout, stderr } = await skep("run", FIREWALL, "-r", WEB);
    expect(status).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/XDP_DROP +1 +151 +4\.1 %/);
    expect(stdout).toContain("verified: proved safe");
    expect(stdout).toMatch(/3712 packets, \d+ bytes in .*packets\/s/);
    expect(stdout).toMatch(/map rule_hits +array, 7 elements/);
  });

  it("fills maps from a file before the run", async () => {
    const report = await json(
      "run",
      FIREWALL,
      "-r",
      WEB,
      "--maps",
      join(ROOT, "examples/firewall/firewall.maps.json"),
    );
    expect(report.verdicts[0]).toMatchObject({ name: "XDP_DROP", packets: 181 });
  });

  it.each([
    ["queues", "queue"],
    ["stacks", "stack"],
    ["blooms", "bloom"],
    ["rings", "ring"],
  ])("has no elements to list of the map of '%s'", async (program, name) => {
    const report = await json("run", fixture("map-types.bpf.o"), "-p", program, "-r", WEB, "-c", "1");
    expect(report.packets).toBe(1);
    expect(report.maps).toContainEqual(expect.objectContaining({ name, entries: [] }));
  });

  it("lists the verdict of each packet", async () => {
    const report = await json("run", FIREWALL, "-r", WEB, "--packets");
    expect(report.results).toHaveLength(3712);
    expect(report.results.filter((value: number) => value === 1)).toHaveLength(151);
  });

  it("stops after N packets", async () => {
    expect(await json("run", FIREWALL, "-r", WEB, "-c", "100")).toMatchObject({ packets: 100 });
  });

  it.each(["pcap", "pcapng"])("writes what passes, as the program left it (%s)", async (format) => {
    const out = join(scratch, `wrapped.${format}`);
    const report = await json("run", REWRITE, "-p", "encapsulate", "-r", WEB, "-w", out);
    expect(report.output).toEqual({ path: out, packets: 3712 });
    const before = [...readPacketsSync(readFileSync(WEB))];
    const after = [...readPacketsSync(readFileSync(out))];
    expect(after).toHaveLength(3712);
    let wrapped = 0;
    after.forEach(({ data, timestampNs, originalLength }, index) => {
      const original = before[index]!;
      expect(timestampNs).toBe(original.timestampNs);
      if (data.length === original.data.length) expect(Buffer.compare(data, original.data)).toBe(0);
      else {
        wrapped++;
        expect(data.length).toBe(original.data.length + 20);
        expect(originalLength).toBe(original.originalLength + 20);
        // IP in IP, and the inner packet whole behind the outer header.
        expect(data[14 + 9]).toBe(4);
        expect(Buffer.compare(data.subarray(34), original.data.subarray(14))).toBe(0);
      }
    });
    expect(wrapped).toBe(900);
  });

  it("leaves out of the file what is dropped", async () => {
    const out = join(scratch, "passed.pcap");
    await skep("run", FIREWALL, "-r", WEB, "-w", out);
    expect([...readPacketsSync(readFileSync(out))]).toHaveLength(3561);
  });

  it("sets sizes of maps, as a loader does", async () => {
    const report = await json(
      "run",
      FIREWALL,
      "-r",
      WEB,
      "--map-size",
      "verdicts=2",
      "--map-size",
      "blocked4=5",
    );
    const { entries } = report.maps.find(({ name }: { name: string }) => name === "verdicts");
    expect(entries.map(({ key }: { key: number }) => key)).toEqual([0, 1]);
  });

  it("reads gzip", async () => {
    const report = await json("run", FIREWALL, "-r", join(ROOT, "examples/captures/icmp.pcap.gz"));
    const plain = [...readPacketsSync(readFileSync(join(ROOT, "examples/captures/icmp.pcap")))];
    expect(report.packets).toBe(plain.length);
  });

  it("writes whole frames that a socket filter keeps", async () => {
    const out = join(scratch, "kept.pcap");
    const socket = join(ROOT, "examples/packet-counter/packet-counter.bpf.o");
    await skep("run", socket, "-p", "keep_tcp", "-r", WEB, "--layer", "link", "-w", out);
    const all = new Set(
      [...readPacketsSync(readFileSync(WEB))].map(({ data }) => Buffer.from(data).toString("hex")),
    );
    const kept = [...readPacketsSync(readFileSync(out))];
    expect(kept.length).toBeGreaterThan(2000);
    for (const { data } of kept) expect(all.has(Buffer.from(data).toString("hex"))).toBe(true);
  });

  it("shows what a socket filter keeps, at either layer", async () => {
    const socket = join(ROOT, "examples/packet-counter/packet-counter.bpf.o");
    const report = await json("run", socket, "-p", "keep_tcp", "-r", WEB, "--layer", "link");
    expect(report.verdicts.map(({ name }: { name: string }) => name)).toEqual(["DROP", "KEEP"]);
  });
});

describe("skep run: bad input is one sentence and exit 2", () => {
  const web = readFileSync(WEB);
  const firewall = readFileSync(FIREWALL);
  const patched = (offset: number, ...bytes: number[]): Buffer => {
    const copy = Buffer.from(firewall);
    copy.set(bytes, offset);
    return copy;
  };
  const cases: [what: string, args: () => string[], message: RegExp][] = [
    ["no such object", () => ["run", "nowhere.o", "-r", WEB], /nowhere\.o: cannot read: no such file/],
    ["a folder", () => ["run", ROOT, "-r", WEB], /cannot read: is a directory/],
    ["no capture given", () => ["run", FIREWALL], /use -r FILE for a capture, or --args JSON/],
    [
      "no size of a map",
      () => ["run", FIREWALL, "-r", WEB, "--map-size", "verdicts"],
      /expected NAME=ENTRIES/,
    ],
    [
      "the size of a map that is not there",
      () => ["run", FIREWALL, "-r", WEB, "--map-size", "verdict=1"],
      /no map 'verdict'; it has blocked4/,
    ],
    [
      "a map without entries",
      () => ["run", FIREWALL, "-r", WEB, "--map-size", "verdicts=0"],
      /map 'verdicts': cannot be created: EINVAL .*skep run --map-size verdicts=1024/,
    ],
    [
      "no such capture",
      () => ["run", FIREWALL, "-r", "nowhere.pcap"],
      /nowhere\.pcap: cannot read: no such file/,
    ],
    ["not an ELF", () => ["run", temporary("text.o", "hello, world\n"), "-r", WEB], /text\.o: .*not an ELF/],
    ["an empty object", () => ["run", temporary("empty.o", ""), "-r", WEB], /empty\.o: /],
    [
      "another machine's object",
      () => ["run", temporary("x86.o", patched(18, 62, 0)), "-r", WEB],
      /x86\.o: .*(x86|machine)/i,
    ],
    [
      "a big-endian object",
      () => ["run", fixture("alu.eb.bpf.o"), "-p", "alu64", "-r", WEB],
      /big-endian object cannot run/,
    ],
    [
      "symbols that nobody defines",
      () => ["run", fixture("bad-symbols.bpf.o"), "-r", WEB],
      /bad-symbols\.bpf\.o/,
    ],
    [
      "an unknown helper",
      () => ["run", fixture("bad-programs.bpf.o"), "-p", "unknown_helper", "-r", WEB],
      /program 'unknown_helper': instruction \d+ \(.*\): helper 4095 does not exist/,
    ],
    [
      "an unknown program",
      () => ["run", FIREWALL, "-p", "nope", "-r", WEB],
      /no program 'nope'; it has firewall \(xdp\)/,
    ],
    [
      "several programs",
      () => ["run", REWRITE, "-r", WEB],
      /choose one with -p: encapsulate \(xdp\), reflect \(xdp\), classify \(tc\)/,
    ],
    ["a program of another type", () => ["run", fixture("types.bpf.o"), "-r", WEB], /types\.bpf\.o: /],
    ["an unknown option", () => ["run", FIREWALL, "--reed", WEB], /no option --reed; did you mean --read\?/],
    [
      "an unknown engine",
      () => ["run", FIREWALL, "-r", WEB, "--engine", "v8"],
      /--engine: 'v8' is none of jit, interp/,
    ],
    ["not a capture", () => ["run", FIREWALL, "-r", FIREWALL], /firewall\.bpf\.o: not a pcap or pcapng file/],
    [
      "maps of a wrong name",
      () => ["run", FIREWALL, "-r", WEB, "--maps", temporary("m.json", '{"blocked": []}')],
      /no map 'blocked'; did you mean 'blocked4'\?/,
    ],
    [
      "maps that are no JSON",
      () => ["run", FIREWALL, "-r", WEB, "--maps", temporary("n.json", "{")],
      /n\.json: not JSON/,
    ],
    [
      "an output folder that does not exist",
      () => ["run", FIREWALL, "-r", WEB, "-w", join(scratch, "no/where.pcap")],
      /where\.pcap: cannot write: no such file/,
    ],
    [
      "an output that is a folder",
      () => ["run", FIREWALL, "-r", WEB, "-w", scratch],
      /cannot write: is a directory/,
    ],
  ];
  it.each(cases)("%s", async (_what, args, message) => {
    const { status, stdout, stderr } = await skep(...args());
    expect(stderr).toMatch(message);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(stderr.startsWith("skep: ")).toBe(true);
    expect(stdout).toBe("");
    expect(status).toBe(2);
  });

  it("says it in JSON too", async () => {
    const { status, stdout } = await skep("run", "nowhere.o", "-r", WEB, "--json");
    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      version: 1,
      error: { code: "io", where: { file: "nowhere.o" } },
    });
  });

  it("processes what comes before the cut in a capture, reports, and leaves a whole output", async () => {
    const cut = temporary("cut.pcap", web.subarray(0, 100_003));
    const whole = [...readCaptureSync(web.subarray(0, 100_003), { onDamage: "stop" }).packets()].length;
    const out = join(scratch, "cut-out.pcap");
    const { status, stdout, stderr } = await skep("run", FIREWALL, "-r", cut, "-w", out);
    expect(status).toBe(2);
    expect(stdout).toContain(`${whole} packets`);
    expect(stderr).toMatch(/cut\.pcap: .*what came before was processed/);
    expect([...readPacketsSync(readFileSync(out))].length).toBeGreaterThan(0);
    expect(await json("run", FIREWALL, "-r", cut)).toMatchObject({
      packets: whole,
      error: { code: "capture" },
    });
  });

  it("objects cut at every 97th byte", async () => {
    for (let length = 0; length < firewall.length; length += 97) {
      const { status, stderr } = await skep(
        "run",
        temporary("short.o", firewall.subarray(0, length)),
        "-r",
        WEB,
        "-c",
        "1",
      );
      expect([0, 2], `${length}: ${stderr}`).toContain(status);
      if (status === 2) expect(stderr).toMatch(/^skep: .*short\.o: /);
      expect(stderr).not.toContain("internal error");
    }
  });

  it("leaves no part of a file behind", () => {
    expect(readdirSync(scratch).filter((name) => name.endsWith(".part"))).toEqual([]);
  });
});

describe.skipIf(!hasCorpus)(needs("captures of other link types", hasCorpus, "corpus"), () => {
  it("are refused by name", async () => {
    const { status, stderr } = await skep("run", FIREWALL, "-r", join(CORPUS, "captures/HDLC.pcap"));
    expect(status).toBe(2);
    expect(stderr).toMatch(
      /HDLC\.pcap: link type \w+ \(\d+\): program 'firewall' of type xdp takes ETHERNET/,
    );
  });
});

describe("skep run: captures of several interfaces", () => {
  const frame = new Uint8Array(60);
  const mixed = (...kinds: ("ethernet" | "raw")[]): string => {
    const writer = new PcapngWriter();
    const ids = {
      raw: writer.addInterface({ linktype: 101 }),
      ethernet: writer.addInterface({ linktype: 1 }),
    };
    kinds.forEach((kind, index) => writer.packet(ids[kind], { data: frame, timestampNs: BigInt(index) }));
    return temporary("mixed.pcapng", writer.take());
  };

  it("an interface without packets does no harm", async () => {
    expect(await json("run", FIREWALL, "-r", mixed("ethernet", "ethernet"))).toMatchObject({ packets: 2 });
  });

  it("what comes before a packet of a foreign link type is processed and reported", async () => {
    const { status, stdout, stderr } = await skep(
      "run",
      FIREWALL,
      "-r",
      mixed("ethernet", "ethernet", "raw", "ethernet"),
    );
    expect(status).toBe(2);
    expect(stdout).toContain("2 packets");
    expect(stderr).toMatch(/link type RAW \(101\).*takes ETHERNET/);
  });

  it("nothing is processed if the first packet is foreign", async () => {
    expect(await skep("run", FIREWALL, "-r", mixed("raw", "ethernet"))).toMatchObject({
      status: 2,
      stdout: "",
    });
  });
});

describe.skipIf(!existsSync("/dev/full"))(needs("a full disk", existsSync("/dev/full"), "/dev/full"), () => {
  it.each([[["--help"]], [["run", FIREWALL, "-r", WEB]], [["disasm", FIREWALL, "--json"]]])(
    "%j: one sentence, exit 2",
    (args) => {
      const out = openSync("/dev/full", "w");
      const done = spawnSync(process.execPath, [join(ROOT, "bin/skep.js"), ...args], {
        stdio: ["ignore", out, "pipe"],
        encoding: "utf8",
      });
      closeSync(out);
      expect(done.stderr).toBe("skep: standard output: cannot write: no space left on the device\n");
      expect(done.status).toBe(2);
    },
  );
});
