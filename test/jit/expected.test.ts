/**
 * What small programs become, as text under expected/. After a change that is meant: UPDATE=1 npx vitest run test/jit
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { type CompileInput, compileProgram } from "../../src/jit/index.ts";
import { coreRow, ins, lddw, program, rangesOf } from "./harness.ts";
import { createPrinter } from "./text.ts";

const FOLDER = new URL("expected/", import.meta.url);

let print: (bytes: Uint8Array, fold?: boolean) => string;

beforeAll(async () => {
  print = await createPrinter();
});

interface Program {
  readonly name: string;
  readonly text: string | (() => readonly Instruction[]);
  readonly functions?: readonly number[];
  readonly options?: Partial<CompileInput>;
}

const PROGRAMS: readonly Program[] = [
  {
    name: "packet-access",
    text: `
      r2 = *(u32 *)(r1 + 4)
      r1 = *(u32 *)(r1 + 0)
      r3 = r1
      r3 += 14
      if r3 > r2 goto pass
      r4 = *(u16 *)(r1 + 12)
      if r4 != 8 goto pass
      r0 = 1
      exit
    pass:
      r0 = 2
      exit`,
  },
  {
    name: "loop",
    text: `
      r0 = 0
      r3 = 0
    next:
      if r3 >= r2 goto done
      r4 = r1
      r4 += r3
      r4 = *(u8 *)(r4 + 0)
      if r4 == 10 goto done
      r0 += r4
      r3 += 1
      goto next
    done:
      exit`,
  },
  {
    name: "irreducible",
    text: `
      if r1 == 0 goto middle
    first:
      r0 += 1
    middle:
      r0 += 10
      r1 += -1
      if r1 s> 0 goto first
      exit`,
  },
  {
    name: "halves",
    text: `
      r2 = r1
      r2 <<= 32
      r2 s>>= 32
      r1 <<= 32
      r1 >>= 32
      w1 *= 3
      r1 = be16 r1
      r0 = 1
      if r2 s> 5 goto +1
      r0 = 0
      r0 += r1
      exit`,
  },
  {
    name: "fuel",
    text: "r0 = 0\nr0 += 1\nr1 += -1\nif r1 != 0 goto -3\ncall 5\nexit",
    options: { fuel: true },
  },
  {
    name: "array-lookup",
    text: () =>
      program(
        assemble("*(u32 *)(r10 - 4) = r1\nr2 = r10\nr2 += -4").instructions,
        lddw(1, 0x14000n),
        assemble(
          "call 1\nif r0 == 0 goto +4\nr1 = *(u64 *)(r0 + 0)\nr1 += 1\n*(u64 *)(r0 + 0) = r1\nr0 = 1\nexit",
        ).instructions,
      ),
    options: { arrayMap: () => ({ values: 0x15000, stride: 8, maxEntries: 256 }) },
  },
  {
    name: "calls",
    text: () =>
      program(
        assemble("r6 = r1\nr2 = 7").instructions,
        ins(0x85, 0, 1, 0, 4),
        assemble("r6 += r0\ncall 9\nr0 += r6\nexit\nr0 = r1\nr0 *= r2\nexit").instructions,
      ),
    functions: [7],
  },
];

describe("expected text", () => {
  it.each(PROGRAMS.map((one) => [one.name, one] as const))("%s", (name, { text, functions, options }) => {
    const instructions = typeof text === "string" ? assemble(text).instructions : text();
    const { bytes } = compileProgram({
      instructions,
      functions: rangesOf(instructions, functions),
      helper: (id) =>
        id === 1
          ? { kind: "core", ...coreRow("map_lookup_elem") }
          : { kind: "host", name: `helper_${id}`, args: 1 },
      names: true,
      ...options,
    });
    const actual = print(bytes, true);
    const file = new URL(`${name}.wat`, FOLDER);
    if (process.env["UPDATE"] === "1") {
      mkdirSync(FOLDER, { recursive: true });
      writeFileSync(file, actual);
    }
    expect(existsSync(file), `${name}.wat is missing: run with UPDATE=1`).toBe(true);
    expect(actual).toBe(readFileSync(file, "utf8"));
  });
});
