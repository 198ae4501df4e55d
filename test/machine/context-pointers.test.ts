import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { linkProgram, parseObject } from "../../src/object/index.ts";
import { contextAccessesOf } from "../../src/machine/context-pointers.ts";
import { bareImage, linkedImage } from "../../src/machine/image.ts";
import { verifyLinked } from "../../src/verifier/index.ts";
import { ROOT } from "../helpers.ts";

/** Larger objects take the verifier seconds. */
const LARGEST = 20_000;

/** probe_read, at a distance from the end of the frame, over or beside the context in the last slot. */
const PROBE = (at: number, length: string): string =>
  `*(u64 *)(r10 - 8) = r1\nr1 = r10\nr1 += ${at}\n${length}\nr3 = 0\ncall 113\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit`;

/** strtol, whose result has 8 bytes and no length. */
const STRTOL = (at: number): string =>
  `*(u64 *)(r10 - 8) = r1\nr1 = r10\nr1 += -24\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += ${at}\n*(u64 *)(r10 - 24) = 0\ncall 105\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit`;

/** What is found, slot by slot; the context's loads all go to r0. */
const CASES: readonly [string, string, readonly number[]][] = [
  ["r1 at the beginning", "r0 = *(u32 *)(r1 + 0)\nexit", [0]],
  ["stores", "r0 = 0\n*(u32 *)(r1 + 8) = r0\n*(u32 *)(r1 + 8) = 1\nexit", [1, 2]],
  ["a copy", "r6 = r1\nr1 = 0\nr0 = *(u32 *)(r6 + 0)\nr0 = *(u32 *)(r1 + 0)\nexit", [2]],
  ["half a copy", "w6 = w1\nr0 = *(u32 *)(r6 + 0)\nexit", []],
  ["arithmetic", "r1 += 4\nr0 = *(u32 *)(r1 + 0)\nexit", []],
  ["after a call", "r6 = r1\ncall 5\nr0 = *(u32 *)(r1 + 0)\nr0 = *(u32 *)(r6 + 0)\nexit", [3]],
  ["spilled and filled", "*(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit", [2]],
  ["the last slot", "*(u64 *)(r10 - 512) = r1\nr2 = *(u64 *)(r10 - 512)\nr0 = *(u32 *)(r2 + 0)\nexit", [2]],
  ["filled by half", "*(u64 *)(r10 - 8) = r1\nr2 = *(u32 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit", []],
  [
    "a byte over it",
    "*(u64 *)(r10 - 8) = r1\n*(u8 *)(r10 - 1) = 0\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [],
  ],
  [
    "a byte beside it",
    "*(u64 *)(r10 - 8) = r1\n*(u8 *)(r10 - 9) = 0\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [3],
  ],
  [
    "a store through a copy of the frame pointer",
    "*(u64 *)(r10 - 8) = r1\nr3 = r10\nr3 += -8\n*(u64 *)(r3 + 0) = r3\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [],
  ],
  [
    "on one of two ways",
    "r2 = r1\nif r2 == 0 goto +1\nr2 = 0\nr0 = *(u32 *)(r2 + 0)\nr0 = *(u32 *)(r1 + 0)\nexit",
    [4],
  ],
  [
    "in a loop that takes it away",
    "r2 = r1\nr0 = *(u32 *)(r2 + 0)\nr2 = 0\nif r0 != 0 goto -3\nr0 = *(u32 *)(r1 + 0)\nexit",
    [4],
  ],
  [
    "handed to a function by all who call it",
    "r6 = r1\ncall pc+4\nr1 = r6\nr2 = 0\ncall pc+1\nexit\nr0 = *(u32 *)(r1 + 0)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [6],
  ],
  [
    "not by all",
    "r6 = r1\ncall pc+4\nr2 = r6\nr1 = 0\ncall pc+1\nexit\nr0 = *(u32 *)(r1 + 0)\nr0 = *(u32 *)(r6 + 0)\nexit",
    [],
  ],
  [
    "a store beside it, through a copy of the frame pointer",
    "*(u64 *)(r10 - 8) = r1\nr3 = r10\nr3 += -24\n*(u64 *)(r3 + 8) = 0\nr2 = *(u64 *)(r3 + 16)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [5],
  ],
  [
    "a store over it, through a pointer to the frame that was spilled",
    "r3 = r10\nr3 += -16\n*(u64 *)(r3 + 0) = r10\n*(u64 *)(r10 - 8) = r1\nr4 = *(u64 *)(r3 + 0)\n*(u64 *)(r4 - 8) = 0\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [],
  ],
  [
    "through a pointer to the frame of 32 bits",
    "*(u64 *)(r10 - 8) = r1\nw3 = w10\n*(u64 *)(r3 - 8) = 0\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [],
  ],
  [
    "far outside of the frame",
    "*(u64 *)(r10 - 8) = r1\nr3 = r10\nr3 += -2147483648\n*(u64 *)(r3 + 0) = 0\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [5],
  ],
  [
    "a helper that reads it",
    "*(u64 *)(r10 - 8) = r1\nr2 = r10\nr2 += -8\nr1 = r2\nr2 = 8\ncall 6\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [7],
  ],
  ["a helper that writes over it", PROBE(-12, "r2 = 8"), []],
  ["a helper that writes below it", PROBE(-16, "r2 = 8"), [7]],
  ["a helper that writes nobody knows how much", PROBE(-16, "r2 = *(u8 *)(r10 - 40)"), []],
  ["a helper that writes a number", STRTOL(-8), []],
  ["a helper that writes a number beside it", STRTOL(-16), [10]],
  [
    "a callback with a pointer to the frame",
    "*(u64 *)(r10 - 8) = r1\nr1 = 1\nr2 = 0x8 ll\nr3 = r10\nr4 = 0\ncall 181\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit",
    [],
  ],
  [
    "a function with a pointer to the frame",
    "*(u64 *)(r10 - 8) = r1\nr1 = r10\ncall pc+3\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u32 *)(r2 + 0)\nexit\n*(u64 *)(r1 - 8) = 0\nr0 = 0\nexit",
    [],
  ],
  ["never reached", "r0 = 0\nexit\nr0 = *(u32 *)(r1 + 0)\nexit", []],
];

describe("accesses to the context, without a proof", () => {
  it.each(CASES)("%s", (_name, text, slots) => {
    const { instructions } = assemble(text);
    expect(contextAccessesOf(bareImage("test", "xdp", instructions, new Map()))).toEqual(slots);
  });

  it("are no others than a proof finds, and hardly ever fewer", () => {
    const folder = join(ROOT, "test/fixtures");
    let proved = 0;
    let found = 0;
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".bpf.o"))) {
      if (statSync(join(folder, file)).size > LARGEST) continue;
      const spec = parseObject(readFileSync(join(folder, file)), { name: file });
      if (!spec.littleEndian) continue;
      for (const name of Object.keys(spec.programs)) {
        let linked;
        try {
          linked = linkProgram(spec, name);
        } catch {
          continue;
        }
        const verdict = verifyLinked(linked, { cpus: 1, sound: true });
        if (verdict.verdict !== "accepted") continue;
        const known = new Set(verdict.contextAccesses);
        const ours = contextAccessesOf(linkedImage(linked, spec, undefined));
        // A verifier leaves out what is never reached; branches that it has proved to be dead are ways here.
        const others = ours.filter((slot) => !known.has(slot));
        expect([file, name, others]).toEqual([file, name, []]);
        proved += known.size;
        found += ours.length;
      }
    }
    expect(found).toBeGreaterThan(0.95 * proved);
    expect(proved).toBeGreaterThan(50);
  });
});
