import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readPacketsSync } from "../../src/capture/index.ts";
import {
  type CbpfInstruction,
  type CbpfRunOptions,
  SKF_AD_OFF,
  assembleCbpf,
  compileMatcher,
  runCbpf,
  toEbpf,
} from "../../src/cbpf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { Machine } from "../../src/machine/index.ts";
import { CORPUS, ROOT, hasCorpus, hasTool, needs } from "../helpers.ts";
import { randomNumbers, randomPacket, randomProgram } from "./programs.ts";

const packet = Uint8Array.from([
  ...new Uint8Array(12),
  8,
  0,
  0x45,
  0,
  0,
  40,
  0,
  1,
  0,
  0,
  64,
  6,
  0xff,
  0xfe,
  1,
  2,
  3,
  4,
]);

describe("runs", () => {
  it.each<[string, number, CbpfRunOptions?]>([
    ["ldh [12]\nret a", 0x800],
    ["ld [26]\nret a", 0x01020304],
    ["ld [27]\nret #5", 0],
    ["ldb [29]\nret a", 4],
    ["ldb [30]\nret #5", 0],
    ["ldxb 4*([14]&0xf)\ntxa\nret a", 20],
    ["ldxb 4*([30]&0xf)\nret #5", 0],
    ["ldxb 4*([14]&0xf)\nldb [x + 9]\nret a", 4],
    ["ldxb 4*([14]&0xf)\nldh [x + 9]\nret a", 0],
    ["ld #pktlen\nret a", 30],
    ["ld #pktlen\nret a", 1514, { wireLength: 1514 }],
    ["ld #7\nst M[3]\nld #0\nldx M[3]\ntxa\nret a", 7],
    ["ld #0\nsub #1\nret a", 0xffffffff],
    ["ld #0xffffffff\nmul #0xffffffff\nret a", 1],
    ["ld #0xffffffff\ndiv #2\nret a", 0x7fffffff],
    ["ld #17\nldx #5\nmod x\nret a", 2],
    ["ld #17\ndiv x\nret #5", 0],
    ["ld #17\nmod x\nret #5", 0],
    ["ld #1\nneg\nret a", 0xffffffff],
    ["ld #1\nldx #33\nlsh x\nret a", 2],
    ["ld #1\nldx #33\nlsh x\nret a", 0, { flavor: "libpcap" }],
    ["ld #0xf0\nldx #32\nrsh x\nret a", 0xf0],
    ["ld #0xf0\nldx #32\nrsh x\nret a", 0, { flavor: "libpcap" }],
    ["ld #0x80000000\njgt #0x7fffffff, yes\nret #0\nyes: ret #1", 1],
    ["ldx #0xfffffffe\nldb [x + 3]\nret #1", 1],
    ["ldx #0xfffffffe\nldb [x + 3]\nret #1", 0, { flavor: "libpcap" }],
    // Ancillary loads; from the network and link headers.
    ["ld mark\nret a", 0xdeadbeef, { ancillary: { mark: 0xdeadbeef } }],
    ["ld mark\nret a", 0],
    ["ld mark\nret #1", 0, { ancillary: { mark: 1 }, flavor: "libpcap" }],
    ["ldb vlan_avail\nret a", 1, { ancillary: { vlan_avail: 1 } }],
    ["ld #6\nldx #3\nld #xor_x\nret a", 5],
    ["ldb [-1048567]\nret a", 6],
    ["ldb [-1048567]\nret a", 64, { networkOffset: 13 }],
    ["ldh [-2097140]\nret a", 0x800],
    ["ldh [-1]\nret #1", 0],
    ["ldh [-2097153]\nret #1", 0],
  ])("%j: %i", (source, value, options) => {
    const program = assembleCbpf(source);
    expect(runCbpf(program, packet, options)).toBe(value);
    expect(compileMatcher(program, { flavor: options?.flavor }).matches(packet, options)).toBe(value);
  });

  it("looks for netlink attributes", () => {
    // Two attributes, type 5 and type 9; the second holds one of type 2.
    const message = Uint8Array.of(6, 0, 5, 0, 1, 2, 0, 0, 12, 0, 9, 0x80, 8, 0, 2, 0, 3, 4, 5, 6);
    const find = (source: string): number => runCbpf(assembleCbpf(source), message);
    expect(find("ld #0\nldx #9\nld nla\nret a")).toBe(8);
    expect(find("ld #0\nldx #7\nld nla\nret a")).toBe(0);
    expect(find("ld #8\nldx #2\nld nlan\nret a")).toBe(12);
    expect(find("ld #99\nldx #2\nld nlan\nret a")).toBe(0);
    expect(compileMatcher(assembleCbpf("ld #0\nldx #9\nld nla\nret a")).matches(message)).toBe(8);
  });

  it.each([
    [[{ code: 0xff, jt: 0, jf: 0, k: 0 }], "program", "no instruction with code 0xff"],
    [[{ code: 0x00, jt: 0, jf: 0, k: 0 }], "program", "runs on to instruction 1"],
    [[], "program", "runs on to instruction 0"],
    [[{ code: 0x60, jt: 0, jf: 0, k: 16 }], "program", "no scratch cell M[16]"],
    [[{ code: 0x05, jt: 0, jf: 0, k: 0xffffffff }], "fault", "has not ended"],
  ])("stops what can't go on: %j", (program, code, message) => {
    try {
      runCbpf(program, packet);
      expect.fail("it ended");
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      expect((error as BpfError).code).toBe(code);
      expect((error as BpfError).message).toContain(message);
    }
  });
});

const hasCompiler = hasTool("cc");
describe.skipIf(!hasCompiler)(needs("libpcap's bpf_filter()", hasCompiler, "C compiler"), () => {
  it("gives the same on random programs", (context) => {
    const folder = mkdtempSync(join(tmpdir(), "skep-"));
    try {
      const oracle = join(folder, "bpf_filter");
      const built = spawnSync("cc", ["-O1", join(ROOT, "test/cbpf/bpf_filter.c"), "-lpcap", "-o", oracle]);
      if (built.status !== 0) context.skip("no libpcap-dev");
      const random = randomNumbers(55);
      const input: string[] = [];
      const expected: number[] = [];
      const origin: string[] = [];
      for (let round = 0; round < 4000; round++) {
        // bpf_filter() begins with any cells, trusts bpf_validate() not to divide by the constant 0, and has no `ldx len`.
        const cells = Array.from({ length: 16 }, (_, k) => ({ code: 0x02, jt: 0, jf: 0, k }));
        const program = [...cells, ...randomProgram(random)].map((one) =>
          (one.code === 0x34 || one.code === 0x94) && one.k === 0
            ? { ...one, k: 3 }
            : one.code === 0x81
              ? { ...one, code: 0x01 }
              : one,
        );
        input.push(
          `p ${program.length} ${program.map(({ code, jt, jf, k }) => `${code} ${jt} ${jf} ${k}`).join(" ")}`,
        );
        for (let packets = 0; packets < 8; packets++) {
          const bytes = randomPacket(random);
          const wireLength = bytes.length + random(2) * 100;
          input.push(`r ${bytes.length} ${wireLength} ${bytes.join(" ")}`);
          expected.push(runCbpf(program, bytes, { wireLength, flavor: "libpcap" }));
          origin.push(`${JSON.stringify(program)} over ${bytes}`);
        }
      }
      const { stdout } = spawnSync(oracle, { input: input.join("\n"), encoding: "utf8", maxBuffer: 2 ** 26 });
      const actual = stdout.trim().split("\n").map(Number);
      expect(actual).toHaveLength(expected.length);
      actual.forEach((value, index) => {
        if (value !== expected[index])
          expect.fail(`bpf_filter() ${value}, we ${expected[index]}: ${origin[index]}`);
      });
      expect(new Set(expected).size).toBeGreaterThan(50);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** Bytes of Ethernet packets of the corpus. */
function ethernetPackets(limit: number): Uint8Array[] {
  const packets: Uint8Array[] = [];
  const folder = join(CORPUS, "captures");
  for (const name of readdirSync(folder).sort()) {
    try {
      let taken = 0;
      for (const { data, linktype } of readPacketsSync(readFileSync(join(folder, name)))) {
        if (linktype !== 1 || taken++ >= 4) break;
        packets.push(data.slice());
      }
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
    }
    if (packets.length >= limit) break;
  }
  return packets;
}

describe.skipIf(!hasCorpus)(needs("libpcap's programs for Ethernet", hasCorpus, "corpus"), () => {
  it("give one verdict on real packets: interpreted, compiled, and as eBPF in the JIT", async () => {
    const packets = ethernetPackets(300);
    expect(packets.length).toBeGreaterThan(100);
    const texts = readFileSync(join(CORPUS, "filters/filters.jsonl"), "utf8").trim().split("\n");
    const machine = await Machine.create();
    const offset: number[] = [];
    const length = packets.map((bytes) => bytes.length);
    const data = new Uint8Array(length.reduce((sum, one) => sum + one, 0));
    let end = 0;
    for (const bytes of packets) {
      data.set(bytes, end);
      offset.push(end);
      end += bytes.length;
    }
    let programs = 0;
    let matched = 0;
    texts.forEach((text, row) => {
      const { dlt, expr, expected } = JSON.parse(text) as {
        dlt: string;
        expr: string;
        expected: [number, number, number, number][] | null;
      };
      if (dlt !== "EN10MB" || expected === null || row % 3 !== 0) return;
      const program: CbpfInstruction[] = expected.map(([code, jt, jf, k]) => ({ code, jt, jf, k: k >>> 0 }));
      // The machine's packets come from interface 1.
      const meta = { ancillary: { ifidx: 1 } };
      const verdicts = packets.map((bytes) => runCbpf(program, bytes, meta));
      const out = new Uint32Array(packets.length);
      matched += compileMatcher(program).matchBatch(data, offset, length, packets.length, out, meta);
      expect([...out]).toEqual(verdicts);
      // Loops pass no structural check of eBPF that counts them; none of these needs one.
      if (program.some(({ code, k }) => code === 0x05 && k >= 2 ** 31)) return;
      const loaded = machine.loadInstructions(toEbpf(program), { type: "socket_filter" });
      const { results } = loaded.runPackets(
        { data, offset, capturedLength: length, count: packets.length },
        { layer: "link", engine: "jit" },
      );
      packets.forEach((bytes, index) => {
        // A frame shorter than an Ethernet header is no packet of the kernel's.
        const value = (results[index] as number) >>> 0;
        if (bytes.length >= 14 && value !== verdicts[index]) {
          expect.fail(`${expr}: ${value}, not ${verdicts[index]}, for packet ${index}: ${bytes}`);
        }
      });
      programs++;
    });
    expect(programs).toBeGreaterThan(100);
    expect(matched).toBeGreaterThan(1000);
  });

  it("reads ancillary data only where Linux does", () => {
    expect(
      runCbpf(
        [
          { code: 0x20, jt: 0, jf: 0, k: SKF_AD_OFF + 64 },
          { code: 6, jt: 0, jf: 0, k: 1 },
        ],
        packet,
      ),
    ).toBe(0);
  });
});
