/** Control flow of every shape and size: results, nesting of the output, and time that grows no faster than the input. */
import wabt from "wabt";
import { beforeAll, describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { type HarnessOptions, EXIT, STACK_END, MEMORY_BYTES, ins, load, program } from "./harness.ts";
import { referenceRun } from "./reference.ts";

let toText: (bytes: Uint8Array) => string;

beforeAll(async () => {
  const module = await wabt();
  toText = (bytes) => {
    const parsed = module.readWasm(bytes, { readDebugNames: false });
    const text = parsed.toText({ foldExprs: false, inlineExport: false });
    parsed.destroy();
    return text;
  };
});

/** How deep blocks, loops and ifs are nested at most. */
function nestingOf(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  for (const line of toText(bytes).split("\n")) {
    const word = line.trim().split(" ")[0];
    if (word === "block" || word === "loop" || word === "if") deepest = Math.max(deepest, ++depth);
    else if (word === "end") depth--;
  }
  return deepest;
}

function check(
  instructions: readonly Instruction[],
  inputs: readonly bigint[],
  options: Partial<HarnessOptions> = {},
): void {
  const harness = load({ instructions, ...options });
  for (const input of inputs) {
    const expected = referenceRun({
      instructions,
      memory: new Uint8Array(MEMORY_BYTES),
      args: [input],
      stackEnd: STACK_END,
    });
    expect({ kind: "done", r0: harness.run(input) }, `for ${input}`).toEqual(expected);
  }
}

const range = (count: number): bigint[] => Array.from({ length: count }, (_, index) => BigInt(index));

describe("shapes", () => {
  it.each([
    ["straight", "r0 = 1\nexit"],
    ["diamond", "r0 = 1\nif r1 > 2 goto a\nr0 = 2\ngoto b\na:\nr0 = 3\nb:\nr0 += 1\nexit"],
    ["two exits", "r0 = 1\nif r1 > 2 goto a\nexit\na:\nr0 = 3\nexit"],
    ["jump to the next instruction", "r0 = 1\nif r1 > 2 goto a\na:\nr0 += 3\nexit"],
    ["while", "r0 = 0\nl:\nif r1 == 0 goto e\nr0 += r1\nr1 += -1\ngoto l\ne:\nexit"],
    ["do while", "r0 = 0\nl:\nr0 += r1\nr1 += -1\nif r1 s> 0 goto l\nexit"],
    ["a loop at the first instruction", "r0 += r1\nr1 += -1\nif r1 s> 0 goto -3\nexit"],
    [
      "nested loops, left from inside",
      "r0 = 0\nr2 = r1\na:\nr3 = r1\nb:\nr0 += 1\nif r0 == 17 goto out\nr3 += -1\nif r3 s> 0 goto b\nr2 += -1\nif r2 s> 0 goto a\nr0 += 100\nout:\nexit",
    ],
    [
      "two loops with one header",
      "r0 = 0\nl:\nr1 += -1\nif r1 s< 0 goto e\nr0 += 1\nr2 = r1\nr2 &= 1\nif r2 == 0 goto l\nr0 += 10\ngoto l\ne:\nexit",
    ],
    [
      "short circuit",
      "r0 = 0\nif r1 == 1 goto y\nif r1 == 4 goto y\nif r1 > 6 goto n\nif r1 < 3 goto n\ny:\nr0 = 1\nexit\nn:\nr0 = 2\nexit",
    ],
    [
      "a loop with two entries",
      "r0 = 0\nr2 = r1\nr2 &= 1\nif r2 == 0 goto b\na:\nr0 += 1\nb:\nr0 += 10\nr1 += -1\nif r1 s> 0 goto a\nexit",
    ],
    [
      "a loop entered at its first instruction and in the middle",
      "if r1 > 3 goto +1\nr0 += 1\nr0 += 10\nr1 += -1\nif r1 s> 0 goto -4\nexit",
    ],
    [
      "Duff's device",
      "r0 = 0\nr2 = r1\nr2 &= 3\nr1 >>= 2\nif r2 == 0 goto c0\nif r2 == 1 goto c1\nif r2 == 2 goto c2\ngoto c3\n" +
        "l:\nr0 += 1\nc3:\nr0 += 10\nc2:\nr0 += 100\nc1:\nr0 += 1000\nc0:\nr1 += -1\nif r1 s>= 0 goto l\nexit",
    ],
    [
      "an irreducible loop within an irreducible loop",
      "r0 = 0\nr3 = 5\nif r1 == 0 goto b\nif r1 == 1 goto d\na:\nr0 += 1\nif r1 == 2 goto c\nb:\nr0 += 10\nc:\nr0 += 100\nr3 += -1\n" +
        "if r3 s> 2 goto b\nd:\nr0 += 1000\nr1 += -1\nif r1 s> 0 goto c\nr3 += -1\nif r3 s> 0 goto a\nexit",
    ],
  ])("%s", (_, text) => {
    const { instructions } = assemble(text);
    check(instructions, range(12));
    check(instructions, range(12), { fuel: 10_000n });
  });
});

/** `count` comparisons with one value each, and as many cases that fall through, or leave, or join. */
function switchOf(count: number, ending: "exit" | "join" | "fall through"): Instruction[] {
  const compare: Instruction[] = [];
  const cases: Instruction[] = [];
  const caseSize = ending === "join" ? 2 : ending === "exit" ? 2 : 1;
  for (let index = 0; index < count; index++) {
    compare.push(ins(0x15, 1, 0, count - index - 1 + 1 + caseSize * index, index));
    cases.push(ins(0x07, 0, 0, 0, index + 1));
    if (ending === "exit") cases.push(EXIT);
    if (ending === "join") cases.push(ins(0x06, 0, 0, 0, (count - index - 1) * caseSize));
  }
  return program(compare, ins(0x06, 0, 0, 0, cases.length), cases, EXIT);
}

describe("sizes", () => {
  it.each(["exit", "join", "fall through"] as const)("a switch of 4,000 cases that %s", (ending) => {
    const instructions = switchOf(4000, ending);
    check(instructions, [0n, 1n, 1999n, 3998n, 3999n, 4000n]);
    if (ending !== "fall through")
      expect(nestingOf(load({ instructions }).compiled.bytes)).toBeLessThanOrEqual(2);
  });

  it("a chain of 16,000 early exits to one block", () => {
    const count = 16_000;
    const chain = Array.from({ length: count }, (_, index) => [
      ins(0x07, 0, 0, 0, 1),
      ins(0x15, 1, 0, 2 * (count - index - 1), index),
    ]);
    const instructions = program(...chain, EXIT);
    check(instructions, [0n, 15_999n, 16_000n]);
    expect(nestingOf(load({ instructions }).compiled.bytes)).toBe(1);
  });

  it("10,000 blocks that branch far forward, each to a block of its own", () => {
    const count = 10_000;
    const chain = Array.from({ length: 2 * count }, (_, index) => [
      ins(0x07, 0, 0, 0, 1),
      ins(0x15, 1, 0, index < count ? 2 * (count - 1) + 1 : 0, index),
    ]);
    const instructions = program(...chain, EXIT);
    check(instructions, [0n, 9999n, 10_000n]);
  });

  it("a chain of 10,000 diamonds", () => {
    const diamond = assemble("if r1 & 1 goto +2\nr0 += 1\ngoto +1\nr0 += 2\nr1 >>= 1\nr1 += 3").instructions;
    const instructions = program(...Array.from({ length: 10_000 }, () => diamond), EXIT);
    check(instructions, [0n, 1n, 0xffff_ffff_ffffn]);
    expect(nestingOf(load({ instructions }).compiled.bytes)).toBeLessThan(5);
  });

  it("2,000 nested conditions", () => {
    const count = 2000;
    const opening = Array.from({ length: count }, (_, index) => [
      ins(0x15, 1, 0, 3 * (count - index) - 2 + 2 * index, index),
      ins(0x07, 0, 0, 0, 1),
      ins(0x07, 2, 0, 0, 1),
    ]);
    // Each closing part belongs to one condition, from the innermost to the outermost.
    const closing = Array.from({ length: count }, () => [ins(0x07, 0, 0, 0, 3), ins(0x0f, 0, 0)]);
    const instructions = program(...opening, ...closing, EXIT);
    check(instructions, [0n, 5n, 1999n, 2000n]);
  });

  it("1,000 nested loops", () => {
    const count = 1000;
    const heads = Array.from({ length: count }, () => ins(0x07, 0, 0, 0, 1));
    // The counter ends every loop at once when it reaches zero.
    const tails = Array.from({ length: count }, (_, index) => [
      ins(0x07, 1, 0, 0, -1),
      ins(0x65, 1, 0, -(2 * index + 1) - index - 2, 0),
    ]).flat();
    const instructions = program(ins(0xb7), heads, tails, EXIT);
    check(instructions, [0n, 1n, 2n, 30n], { fuel: 1_000_000n });
  });

  it("a loop of 3,000 blocks that all can be entered", () => {
    const count = 3000;
    const enter = Array.from({ length: count }, (_, index) =>
      ins(0x15, 1, 0, count - index - 1 + 1 + 2 * index, index),
    );
    const body = Array.from({ length: count }, (_, index) => [
      ins(0x07, 0, 0, 0, 1),
      ins(0x15, 3, 0, index % 7, 77),
    ]).flat();
    const instructions = program(
      ins(0xb7),
      ins(0xb7, 2, 0, 0, 3),
      ins(0xb7, 3),
      enter,
      ins(0x05),
      body.slice(0, -16),
      ins(0x07, 2, 0, 0, -1),
      ins(0x65, 2, 0, -(body.length - 16 + 2), 0),
      EXIT,
      Array.from({ length: 40 }, () => EXIT),
    );
    check(instructions, [0n, 1n, 1500n, 2980n, 2999n, 4000n]);
  });

  it("a function of 65,535 instructions", () => {
    const body = assemble(
      "r0 += r1\nr0 ^= 77\nif r0 & 1 goto +1\nr0 *= 3\nr2 = r0\nr2 = be32 r2\n*(u64 *)(r10 - 8) = r2",
    ).instructions;
    const times = Math.floor(65_534 / body.length);
    const instructions = program(
      ...Array.from({ length: times }, () => body),
      ...Array.from({ length: 65_534 - times * body.length }, () => ins(0xbf, 3, 3)),
      EXIT,
    );
    expect(instructions.length).toBe(65_535);
    check(instructions, [0n, 12345n]);
  });

  it.each([20, 32_000])("65,535 instructions that jump at random, %i slots at most", (reach) => {
    let state = 1;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    const count = 65_534;
    const body = Array.from({ length: count }, (_, slot) => {
      if (slot % 2 === 0) return ins(0x0f, random(9), random(9));
      const lowest = Math.max(-slot - 1, -reach);
      const highest = Math.min(count - slot - 1, reach);
      return ins(0x15, random(9), 0, lowest + random(highest - lowest + 1), random(100));
    });
    check(program(body, EXIT), [1n, 2n, 3n], { fuel: 1_000_000n });
  });

  it("loops with two entries each, 4,000 deep", () => {
    const count = 4000;
    const heads = Array.from({ length: count }, (_, index) => [
      ins(0x15, 1, 0, 1, index),
      ins(0x07, 0, 0, 0, 1),
    ]).flat();
    const tails = Array.from({ length: count }, (_, index) => [
      ins(0x07, 2, 0, 0, 1),
      ins(0x15, 2, 0, -(4 * index) - 3, 7 * index + 1),
    ]).flat();
    check(program(heads, tails, EXIT), [0n, 1n, 3999n, 5000n], { fuel: 1_000_000n });
  });
});
