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
