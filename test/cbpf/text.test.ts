import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  CBPF_INSTRUCTIONS,
  type CbpfInstruction,
  assembleCbpf,
  cbpfRow,
  decodeCbpf,
  disassembleCbpf,
  encodeCbpf,
  formatCbpfC,
  formatCbpfInstruction,
  formatCbpfListing,
  formatCbpfNumbers,
  parseCbpf,
  parseCbpfC,
  parseCbpfListing,
  parseCbpfNumbers,
} from "../../src/cbpf/index.ts";
import { CORPUS, hasCorpus, hasTool, needs } from "../helpers.ts";
import { randomNumbers, randomProgram } from "./programs.ts";

const op = (code: number, k = 0, jt = 0, jf = 0): CbpfInstruction => ({ code, jt, jf, k });

interface Row {
  readonly listing: string[];
  readonly expected: [number, number, number, number][] | null;
}

describe.skipIf(!hasCorpus)(needs("libpcap's listings", hasCorpus, "corpus"), () => {
  it("are printed and read", () => {
    const rows = readFileSync(join(CORPUS, "filters/filters.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
    let compared = 0;
    for (const { listing, expected } of rows) {
      if (expected === null) continue;
      const program = expected.map(([code, jt, jf, k]) => op(code, k >>> 0, jt, jf));
      const text = formatCbpfListing(program);
      expect(text.split("\n").map((line) => line.trimEnd())).toEqual(listing.map((line) => line.trimEnd()));
      // libpcap leaves numbers in operands that their instructions don't have.
      const used = program.map((one) =>
        ["none", "x", "len"].includes(cbpfRow(one.code)!.shape) ? { ...one, k: 0 } : one,
      );
      expect(parseCbpfListing(text)).toEqual(used);
      compared++;
    }
    expect(compared).toBeGreaterThan(3000);
  });
});

const BPF_IMAGE = `
#include <pcap/pcap.h>
#include <stdio.h>
int main(void) {
  unsigned code, k;
  while (scanf("%u %u", &code, &k) == 2) {
    struct bpf_insn one = { code, 3, 200, k };
    printf("%s\\n", bpf_image(&one, 5));
  }
}`;

const hasCompiler = hasTool("cc");
describe.skipIf(!hasCompiler)(needs("bpf_image of libpcap", hasCompiler, "C compiler"), () => {
  it("prints the same, for every code and every kind of operand", (context) => {
    const folder = mkdtempSync(join(tmpdir(), "skep-"));
    try {
      writeFileSync(join(folder, "image.c"), BPF_IMAGE);
      const built = spawnSync("cc", [join(folder, "image.c"), "-lpcap", "-o", join(folder, "image")]);
      if (built.status !== 0) context.skip("no libpcap-dev");
      const operands = [0, 12, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffff001, 0xfff00000, 0xffdfffff];
      for (let offset = 0; offset <= 64; offset += 4) operands.push(0xfffff000 + offset);
      const cases = Array.from({ length: 256 }, (_, code) => operands.map((k) => op(code, k, 3, 200))).flat();
      const { stdout } = spawnSync(join(folder, "image"), {
        input: cases.map(({ code, k }) => `${code} ${k}`).join("\n"),
        encoding: "utf8",
        maxBuffer: 2 ** 26,
      });
      const expected = stdout.split("\n");
      // Widths and addresses that only libpcap's own printer of these codes has: none.
      const different = cases.flatMap((instruction, index) => {
        const text = formatCbpfInstruction(instruction, 5);
        return text.trimEnd() === expected[index]?.trimEnd() ? [] : [`${text} | ${expected[index]}`];
      });
      expect(different).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

const hasTcpdump = hasTool("tcpdump");
describe.skipIf(!hasTcpdump)(needs("tcpdump", hasTcpdump, "tcpdump"), () => {
  it.each(["tcp port 80", "ip6 and not vlan 7", "ether[0] & 1 = 0 and ip[2:2] > 576"])(
    "%s in its three texts",
    (expression) => {
      const text = (flag: string): string =>
        spawnSync("tcpdump", [flag, "-y", "EN10MB", expression], { encoding: "utf8" }).stdout.trimEnd();
      const program = parseCbpfNumbers(text("-ddd"));
      expect(parseCbpfC(text("-dd"))).toEqual(program);
      expect(parseCbpfListing(text("-d"))).toEqual(program);
      expect(formatCbpfNumbers(program)).toBe(text("-ddd"));
      expect(formatCbpfC(program)).toBe(text("-dd"));
      expect(formatCbpfListing(program)).toBe(text("-d"));
    },
  );
});

describe("texts that can't be read", () => {
  it.each([
    [parseCbpfListing, "(000) ret #1\n(002) ret #1", "line 2: instruction (002) stands where (001)"],
    [parseCbpfListing, "(000) rat #1", 'there is no instruction "rat #1"'],
    [parseCbpfListing, "(000) jeq #1", "jeq needs jt and jf"],
    [parseCbpfListing, "(000) jeq #1 jt 0 jf 1", "a jump from 0 to 0"],
    [parseCbpfListing, "(000) ld [vlanq]", 'no ancillary load "vlanq"'],
    [parseCbpfListing, "hello", "is no line of a listing"],
    [parseCbpfListing, "(000) ret #99999999999", "is no number up to"],
    [parseCbpfC, "{ 0x6, 0, 0 },", "has 3 fields"],
    [parseCbpfC, "{ 0x6, 0, 0, zero },", '"zero" is no number'],
    [parseCbpfC, "{ 0x6, 256, 0, 0 },", '"256" is no number up to 255'],
    [parseCbpfC, "", "there is no {"],
    [parseCbpfNumbers, "2\n6 0 0 0", "announces 2 instructions, but 1 follow"],
    [parseCbpfNumbers, "1\n6 0 0", "is not code, jt, jf and k"],
    [parseCbpfNumbers, "", "it is empty"],
    [parseCbpfNumbers, "x", "is no number"],
  ] as const)("%o: %j", (parse, text, message) => {
    expect(() => parse(text)).toThrow(message);
    expect(() => parse(text)).toThrow(BpfError);
  });
});

describe("assembly", () => {
  const program = (source: string): number[][] =>
    assembleCbpf(source).map(({ code, jt, jf, k }) => [code, jt, jf, k]);

  it.each([
    // The examples of the kernel's Documentation/networking/filter.rst, and the forms of its table.
    [
      "ldh [12]\njne #0x806, drop\nret #-1\ndrop: ret #0",
      [
        [40, 0, 0, 12],
        [21, 0, 1, 0x806],
        [6, 0, 0, 0xffffffff],
        [6, 0, 0, 0],
      ],
    ],
    [
      "ld vlan_tci\njneq #10, drop\nret #-1\ndrop: ret #0",
      [
        [32, 0, 0, 0xfffff02c],
        [21, 0, 1, 10],
        [6, 0, 0, 0xffffffff],
        [6, 0, 0, 0],
      ],
    ],
    [
      "ld rand\nmod #4\njneq #1, drop\nret #-1\ndrop: ret #0",
      [
        [32, 0, 0, 0xfffff038],
        [148, 0, 0, 4],
        [21, 0, 1, 1],
        [6, 0, 0, 0xffffffff],
        [6, 0, 0, 0],
      ],
    ],
    [
      "ld [4] /* offsetof(struct seccomp_data, arch) */\njne #0xc000003e, bad\nbad: ret #0",
      [
        [32, 0, 0, 4],
        [21, 0, 0, 0xc000003e],
        [6, 0, 0, 0],
      ],
    ],
    [
      "a: ja b\nb: ret a",
      [
        [5, 0, 0, 0],
        [22, 0, 0, 0],
      ],
    ],
    [
      "ldb [x+1]\nldb [x + 1]\nldb [%x+1]\nldb [x - 1]\nld [x]",
      [
        [80, 0, 0, 1],
        [80, 0, 0, 1],
        [80, 0, 0, 1],
        [80, 0, 0, 0xffffffff],
        [64, 0, 0, 0],
      ],
    ],
    [
      "ldx 4*([14]&0xf)\nldxb 4 * ( [ 14 ] & 15 )",
      [
        [177, 0, 0, 14],
        [177, 0, 0, 14],
      ],
    ],
    [
      "ldi 7\nldi #7\nld #7\nldxi 0x10\nldx #0b11\nldx #010",
      [
        [0, 0, 0, 7],
        [0, 0, 0, 7],
        [0, 0, 0, 7],
        [1, 0, 0, 16],
        [1, 0, 0, 3],
        [1, 0, 0, 8],
      ],
    ],
    [
      "ld len\nld #len\nld #pktlen\nldx #len\nld #proto",
      [
        [128, 0, 0, 0],
        [128, 0, 0, 0],
        [128, 0, 0, 0],
        [129, 0, 0, 0],
        [32, 0, 0, 0xfffff000],
      ],
    ],
    [
      "st M[3]; comment\nstx M[15]\nLD m[3]\nldx M[15]",
      [
        [2, 0, 0, 3],
        [3, 0, 0, 15],
        [96, 0, 0, 3],
        [97, 0, 0, 15],
      ],
    ],
    [
      "add x\nadd %x\nadd #1\nneg\ntax\ntxa\nret %a",
      [
        [12, 0, 0, 0],
        [12, 0, 0, 0],
        [4, 0, 0, 1],
        [132, 0, 0, 0],
        [7, 0, 0, 0],
        [135, 0, 0, 0],
        [22, 0, 0, 0],
      ],
    ],
    [
      "jlt x, one\njle #5, one\njgt #5, one, two\none: ret #1\ntwo: ret #2",
      [
        [61, 0, 2, 0],
        [37, 0, 1, 5],
        [37, 0, 1, 5],
        [6, 0, 0, 1],
        [6, 0, 0, 2],
      ],
    ],
    ["/* one\ntwo */ ret #0", [[6, 0, 0, 0]]],
    ["", []],
  ])("%j", (source, expected) => {
    expect(program(source)).toEqual(expected);
  });

  it.each([
    ["ldq [0]", 1, 1, 'there is no instruction "ldq"; did you mean ld?'],
    ["ret #0\n  jeq #1 yes", 2, 10, 'expected ",", not "yes"'],
    ["jeq #1, yes\nret #0", 1, 9, 'there is no label "yes"'],
    ["back: ret #0\nja back", 2, 4, 'label "back" stands before the jump'],
    ["ja end\nend:", 1, 4, 'no instruction follows label "end"'],
    ["one: one: ret #0", 1, 6, 'label "one" is defined twice'],
    ["ld M[16]", 1, 4, "there is no cell M[16]"],
    ["lsh #32", 1, 5, "a shift must be 0 to 31"],
    ["div #0", 1, 5, "division by zero"],
    ["ret x", 1, 5, "ret takes #k, a, not x"],
    ["ret 5", 1, 5, "a constant is written with #: #5"],
    ["ld #4294967296", 1, 5, "4294967296 doesn't fit 32 bits"],
    ["ld #-2147483649", 1, 5, "doesn't fit 32 bits"],
    ["ld #08", 1, 5, "08 is no octal number"],
    ["ld vlan", 1, 4, 'there is no extension "vlan"'],
    ["ldxb 4*([1]&0xe)", 1, 13, "expected 0xf"],
    ["ldh [12] 5", 1, 10, "nothing may follow here"],
    ["ret #0 $", 1, 8, 'unexpected "$"'],
    ["/* x", 1, 1, "this comment does not end"],
    ["jeq [3], a", 1, 5, "jeq compares with #k or x"],
    ["ldh [", 1, 6, "expected a number, not the end of the line"],
    [
      `jeq #1, far\n${"ret #0\n".repeat(256)}far: ret #1`,
      1,
      9,
      'label "far" is 256 instructions away: this jump skips at most 255',
    ],
  ])("%j is refused", (source, line, column, message) => {
    try {
      assembleCbpf(source);
      expect.fail("it was taken");
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      expect((error as BpfError).message).toContain(message);
      expect((error as BpfError).where).toEqual({ line, column });
    }
  });

  it("takes back what disassembly and listing print, for random programs", () => {
    const random = randomNumbers(7);
    for (let round = 0; round < 2000; round++) {
      const written = randomProgram(random, 30).map((instruction) => {
        const { shape, semantics } = CBPF_INSTRUCTIONS.find(({ code }) => code === instruction.code)!;
        const used = !["x", "a", "len", "none"].includes(shape);
        const shift = semantics.kind === "alu" && ["lsh", "rsh"].includes(semantics.op);
        const divides = semantics.kind === "alu" && ["div", "mod"].includes(semantics.op);
        const k = shift ? instruction.k & 31 : divides ? Math.max(1, instruction.k) : instruction.k;
        return { ...instruction, k: used ? k : 0 };
      });
      expect(assembleCbpf(disassembleCbpf(written))).toEqual(written);
      expect(parseCbpfListing(formatCbpfListing(written))).toEqual(written);
      expect(parseCbpfC(formatCbpfC(written))).toEqual(written);
      expect(parseCbpfNumbers(formatCbpfNumbers(written))).toEqual(written);
      for (const format of [disassembleCbpf, formatCbpfListing, formatCbpfC, formatCbpfNumbers]) {
        expect(parseCbpf(format(written))).toEqual(written);
      }
      expect(decodeCbpf(encodeCbpf(written, round % 2 === 0), round % 2 === 0)).toEqual(written);
    }
  });

  it("reads the one line that xt_bpf takes", () => {
    expect(parseCbpf("2,48 0 0 9,22 0 0 0")).toEqual([op(48, 9), op(22)]);
    expect(() => decodeCbpf(new Uint8Array(9))).toThrow("9 bytes are no whole number of instructions");
  });

  it("survives damaged text", () => {
    const random = randomNumbers(8);
    const source = disassembleCbpf(parseCbpfNumbers("4\n40 0 0 12\n21 0 1 2048\n6 0 0 1\n6 0 0 0"));
    for (let round = 0; round < 3000; round++) {
      const bytes = [...source];
      for (let change = random(4); change >= 0; change--) {
        bytes[random(bytes.length)] = String.fromCharCode(random(3) === 0 ? random(0x3000) : 32 + random(90));
      }
      for (const parse of [assembleCbpf, parseCbpfListing, parseCbpfC, parseCbpfNumbers]) {
        try {
          parse(bytes.join(""));
        } catch (error) {
          expect(error).toBeInstanceOf(BpfError);
        }
      }
    }
  });
});
