import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  CBPF_ANCILLARY,
  CBPF_INSTRUCTIONS,
  type CbpfInstruction,
  SKF_AD_OFF,
  cbpfRow,
  checkCbpf,
  kernelLengths,
} from "../../src/cbpf/index.ts";
import { CORPUS, hasCorpus, needs } from "../helpers.ts";
import { attachAnswers, canAttach } from "./kernel.ts";
import { randomNumbers, randomProgram } from "./programs.ts";

const EINVAL = 22;
const op = (code: number, k = 0, jt = 0, jf = 0): CbpfInstruction => ({ code, jt, jf, k });
const ret = op(0x06, 1);

/** Program, and what is wrong with it; undefined if Linux takes it. */
const CASES: readonly (readonly [string, readonly CbpfInstruction[], string | undefined, number?])[] = [
  ["one ret", [ret], undefined],
  ["nothing", [], "filter program: it is empty"],
  ["4,096 instructions", Array.from({ length: 4096 }, () => ret), undefined],
  [
    "4,097 instructions",
    Array.from({ length: 4097 }, () => ret),
    "4097 instructions, more than Linux takes (4096)",
  ],
  ["an unknown code", [op(0xff), ret], "there is no instruction with code 0xff", 0],
  ["ret x, which is none", [op(0x0e)], "no instruction with code 0xe", 0],
  ["no ret at the end", [ret, op(0x00)], "the last instruction must be a ret", 1],
  ["ret a at the end", [op(0x16)], undefined],
  ["a jump past the end", [op(0x15, 0, 1, 0), ret], "jeq skips 1 instructions, but only 1 follow", 0],
  ["a ja past the end", [op(0x05, 1), ret], "ja skips 1 instructions, but only 1 follow", 0],
  ["a ja backwards", [op(0x00), op(0x05, 0xfffffffe), ret], "ja goes back 1 instructions: loops", 1],
  ["a division by 0", [op(0x34, 0), ret], "div #0: division by zero", 0],
  ["a remainder by 0", [op(0x94, 0), ret], "mod #0: division by zero", 0],
  ["a shift by 32", [op(0x64, 32), ret], "lsh #32: a shift must be below 32", 0],
  ["a shift by 31", [op(0x74, 31), ret], undefined],
  ["cell 16", [op(0x02, 16), ret], "st M[16]: the scratch cells are M[0] to M[15]", 0],
  [
    "a cell that nobody stored",
    [op(0x60, 3), ret],
    "M[3] is read, but not every path to here has stored it",
    0,
  ],
  ["a cell that one path stores", [op(0x15, 0, 0, 1), op(0x02, 3), op(0x60, 3), ret], "M[3] is read", 2],
  [
    "a cell that a jump skips",
    [op(0x15, 0, 2, 0), op(0x02, 3), op(0x02, 3), op(0x60, 3), ret],
    "M[3] is read",
    3,
  ],
  [
    "a cell that both paths store, apart",
    [op(0x15, 0, 0, 2), op(0x02, 3), op(0x05, 1), op(0x03, 3), op(0x60, 3), ret],
    undefined,
  ],
  [
    "an unknown ancillary load",
    [op(0x20, SKF_AD_OFF + 64), ret],
    "ld [-4032]: there is no such ancillary load",
    0,
  ],
  ["one inside a word", [op(0x20, SKF_AD_OFF + 2), ret], "ld [-4094]: there is no such ancillary load", 0],
  ["one at x", [op(0x40, SKF_AD_OFF + 2), ret], undefined],
  ["one before them", [op(0x20, SKF_AD_OFF - 1), ret], undefined],
  ["a jump that is too long for eBPF", reach(2341, []), "spans 32774 eBPF instructions", 0],
  ["one that isn't", reach(2340, []), undefined],
  [
    "a jump that stands too far back",
    [...Array.from({ length: 4094 }, () => op(0x28, 12)), op(0x15), ret],
    "is eBPF instruction 57323",
    4094,
  ],
];

/** A jump over so many loads, and what else. */
function reach(loads: number, others: readonly CbpfInstruction[]): CbpfInstruction[] {
  return [
    op(0x05, loads + others.length),
    ...Array.from({ length: loads }, () => op(0x28, 12)),
    ...others,
    ret,
  ];
}

describe("Linux's rules", () => {
  it.each(CASES.map(([name, program, problem, instruction]) => ({ name, program, problem, instruction })))(
    "$name",
    ({ program, problem, instruction }) => {
      if (problem === undefined) {
        checkCbpf(program);
        return;
      }
      try {
        checkCbpf(program);
        expect.fail("it was taken");
      } catch (error) {
        expect(error).toBeInstanceOf(BpfError);
        const { message, code, errno, where } = error as BpfError;
        expect({ code, errno, instruction: where.instruction }).toEqual({
          code: "program",
          errno: "EINVAL",
          instruction,
        });
        expect(message).toContain(problem);
      }
    },
  );

  it.each([
    [{ code: 6, jt: 0, jf: 0, k: -1 }, "k is -1"],
    [{ code: 6, jt: 0, jf: 0, k: 2 ** 32 }, "k is 4294967296"],
    [{ code: 6, jt: 256, jf: 0, k: 0 }, "jt is 256"],
    [{ code: 6.5, jt: 0, jf: 0, k: 0 }, "code is 6.5"],
    [{ code: 6, jt: 0, jf: Number.NaN, k: 0 }, "jf is NaN"],
  ])("fields that don't fit: %j", (instruction, problem) => {
    expect(() => checkCbpf([instruction])).toThrow(problem);
  });
});

describe("seccomp's rules", () => {
  it.each([
    ["a word", [op(0x20, 60), ret], undefined],
    ["beyond the data", [op(0x20, 64), ret], "struct seccomp_data has 64 bytes"],
    ["unaligned", [op(0x20, 2), ret], "must be aligned"],
    ["half a word", [op(0x28, 0), ret], "can't use this form of ldh"],
    ["at x", [op(0x40, 0), ret], "can't use this form of ld"],
    ["a remainder", [op(0x94, 3), ret], "can't use this form of mod"],
    ["a header's length", [op(0xb1, 3), ret], "can't use this form of ldxb"],
    ["the length", [op(0x80), op(0x16)], undefined],
  ] as const)("%s", (_, program, problem) => {
    if (problem === undefined) checkCbpf(program, { variant: "seccomp" });
    else expect(() => checkCbpf(program, { variant: "seccomp" })).toThrow(problem);
  });
});

/** Whether the checker takes a program. */
function takes(program: readonly CbpfInstruction[]): boolean {
  try {
    checkCbpf(program);
    return true;
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return false;
  }
}

/** Compares with the kernel; ENOMEM is no refusal of the program, but of the socket's memory charge. */
function expectKernelAgrees(programs: readonly (readonly CbpfInstruction[])[]): number {
  const answers = attachAnswers(programs);
  let taken = 0;
  programs.forEach((program, index) => {
    const kernel = answers[index] !== EINVAL;
    if (kernel) taken++;
    if (takes(program) !== kernel)
      expect.fail(`Linux answers ${answers[index]} to ${JSON.stringify(program.slice(0, 40))}`);
  });
  return taken;
}

describe.skipIf(!canAttach)(needs("the kernel agrees", canAttach, "SO_ATTACH_FILTER"), () => {
  it("on the cases above", () => {
    expectKernelAgrees(CASES.map(([, program]) => program));
  });

  it("on random programs", () => {
    const random = randomNumbers(20);
    const programs = Array.from({ length: 6000 }, () => {
      const program = randomProgram(random, 10);
      // Damage some: any row anywhere, any operand.
      const victim = random(program.length);
      const row = CBPF_INSTRUCTIONS[random(CBPF_INSTRUCTIONS.length)]!;
      if (random(2) === 0) program[victim] = { ...program[victim]!, code: row.code };
      if (random(4) === 0) program[victim] = { ...program[victim]!, k: random(40), jt: random(12) };
      return program;
    });
    const taken = expectKernelAgrees(programs);
    expect(taken).toBeGreaterThan(500);
    expect(taken).toBeLessThan(5500);
  });

  it("on how long each form gets in eBPF", () => {
    const forms = [
      ...CBPF_ANCILLARY.map(({ offset }) => op(0x20, SKF_AD_OFF + offset)),
      ...[0x20, 0x28, 0x30].flatMap((code) => [0, 1, 0x7fff, 0x8000, 0xfff00000].map((k) => op(code, k))),
      ...[0x40, 0x48, 0x50].flatMap((code) => [0, 1, 0xfff00000].map((k) => op(code, k))),
      ...[0, 14, 0x8000, 0xffe00000].map((k) => op(0xb1, k)),
      op(0x3c),
      op(0x9c),
      op(0x34, 3),
      op(0x84),
      op(0x80),
      op(0x07),
      op(0x15, 1),
      op(0x15, 2 ** 31),
      op(0x02, 1),
      op(0x45, 2 ** 31),
      op(0x1d),
    ];
    const programs = forms.flatMap((form) => {
      const { starts } = kernelLengths([form, ret]);
      const length = (starts[1] as number) - (starts[0] as number);
      // 2,250 loads of 14 leave 1,267: as many of this form as just fit, and one more.
      const fit = Math.floor((0x7fff - 2250 * 14) / length);
      const over = (count: number): CbpfInstruction[] =>
        reach(
          2250,
          Array.from({ length: count }, () => form),
        );
      const jumps = cbpfRow(form.code)?.semantics.kind === "branch";
      if (!jumps) expect(takes(over(fit))).toBe(true);
      expect(takes(over(fit + 1))).toBe(false);
      return [over(fit), over(fit + 1)];
    });
    expectKernelAgrees(programs);
  });
});

const corpus = needs("libpcap's programs", hasCorpus && canAttach, "corpus, or no SO_ATTACH_FILTER");
describe.skipIf(!hasCorpus || !canAttach)(corpus, () => {
  it("are taken and refused as the kernel does", () => {
    const rows = readFileSync(join(CORPUS, "filters/filters.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { expected: [number, number, number, number][] | null });
    const programs = rows.flatMap(({ expected }) =>
      expected === null ? [] : [expected.map(([code, jt, jf, k]) => ({ code, jt, jf, k: k >>> 0 }))],
    );
    expect(programs.length).toBeGreaterThan(3000);
    expectKernelAgrees(programs);
  });
});
