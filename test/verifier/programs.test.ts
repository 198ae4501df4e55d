/** Programs whose verdict, last words and counts the running kernel has confirmed. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { linkProgram, parseObject } from "../../src/object/index.ts";
import { type VerifierOptions, verifierProgram, verify } from "../../src/verifier/index.ts";
import { ROOT } from "../helpers.ts";

function run(text: string, options: VerifierOptions = {}) {
  const { instructions } = assemble(text);
  return verify(
    { name: "test", type: "socket_filter", instructions, maps: new Map(), license: "GPL" },
    { logLevel: 2, ...options },
  );
}

/** The last line before the counts. */
function complaint(log: string): string | undefined {
  return log.trimEnd().split("\n").at(-2);
}

const REJECTED: readonly { name: string; text: string; errno: string; says: string }[] = [
  { name: "an uninitialised register", text: "r0 = r2\nexit", errno: "EACCES", says: "R2 !read_ok" },
  { name: "no exit", text: "r0 = 0", errno: "EINVAL", says: "last insn is not an exit or jmp" },
  {
    name: "code that nothing reaches",
    text: "r0 = 0\nexit\nr0 = 1\nexit",
    errno: "EINVAL",
    says: "unreachable insn 2",
  },
  {
    name: "a jump out of the program",
    text: "if r1 == 0 goto +5\nr0 = 0\nexit",
    errno: "EINVAL",
    says: "jump out of range from insn 0 to 6",
  },
  {
    name: "a store above the stack",
    text: "*(u64*)(r10 + 8) = r1\nr0 = 0\nexit",
    errno: "EACCES",
    says: "invalid write to stack R10 off=8 size=8",
  },
  {
    name: "a misaligned spill",
    text: "*(u64*)(r10 - 4) = r1\nr0 = 0\nexit",
    errno: "EACCES",
    says: "misaligned stack access off 0+0+-4 size 8",
  },
  {
    name: "the frame pointer written",
    text: "r10 = 0\nr0 = 0\nexit",
    errno: "EACCES",
    says: "frame pointer is read only",
  },
  { name: "a division by zero", text: "r0 = 1\nr0 /= 0\nexit", errno: "EINVAL", says: "div by zero" },
  {
    name: "a pointer multiplied",
    text: "r1 *= 2\nr0 = 0\nexit",
    errno: "EACCES",
    says: "R1 pointer arithmetic with *= operator prohibited",
  },
];

describe("rejected", () => {
  test.each(REJECTED)("$name", ({ text, errno, says }) => {
    const result = run(text);
    expect(result).toMatchObject({ accepted: false, errno });
    expect(complaint(result.log)).toBe(says);
  });

  test("an endless loop, with both states", () => {
    const { errno, log } = run("r0 = 0\ngoto -1");
    expect(errno).toBe("EINVAL");
    expect(log).toContain("infinite loop detected at insn 1\ncur state: R0=0 R1=ctx() R10=fp0\nold state:");
  });

  test("more than a million instructions", () => {
    const result = run("r6 = 0\nr6 += 1\nif r6 < 10000000 goto -2\nr0 = 0\nexit", { logLevel: 1 });
    expect(result.errno).toBe("E2BIG");
    expect(result.statistics.processedInstructions).toBe(1_000_001);
  }, 240_000);
});

describe("accepted", () => {
  test("a bounded loop, with the kernel's counts", () => {
    const { accepted, log } = run("r6 = 0\nr6 += 1\nif r6 < 10 goto -2\nr0 = 0\nexit");
    expect(accepted).toBe(true);
    expect(log).toContain("SCC enter (1)\n");
    expect(log).toContain("SCC exit (1)\n");
    expect(log).toContain(
      "processed 23 insns (limit 1000000) max_states_per_insn 1 total_states 2 peak_states 2 mark_read 0\n",
    );
  });

  test("level 1 takes back what turned out well", () => {
    expect(run("r0 = 0\nexit", { logLevel: 1 }).log).toBe(
      "processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
    );
  });

  test("a spill and what it keeps", () => {
    const { log } = run("r1 = 7\n*(u64*)(r10 - 8) = r1\nr0 = *(u64*)(r10 - 8)\nexit");
    expect(log).toContain("1: (7b) *(u64 *)(r10 -8) = r1         ; R1=7 R10=fp0 fp-8=7\n");
    expect(log).toContain("2: (79) r0 = *(u64 *)(r10 -8)         ; R0=7 R10=fp0 fp-8=7\n");
  });
});

test("a verification can be stopped and tells how far it is", () => {
  const seen: number[] = [];
  const result = run("r6 = 0\nr6 += 1\nif r6 < 100000 goto -2\nr0 = 0\nexit", {
    logLevel: 0,
    progress: (processed) => seen.push(processed),
    cancelled: () => seen.length >= 2,
  });
  expect(result).toMatchObject({ accepted: false, cancelled: true });
  expect(seen).toEqual([8192, 16384]);
});

test("states are recorded at each visit, and merged", () => {
  const { states } = run("r6 = 0\nr6 += 1\nif r6 < 3 goto -2\nr0 = r6\nexit", { recordStates: true });
  const counter = states.get(1);
  expect(counter?.visits.map(({ registers }) => registers[6]?.value.umin)).toEqual([0n, 1n, 2n]);
  expect(counter?.merged.registers[6]).toMatchObject({
    type: "scalar",
    value: { umin: 0n, umax: 2n, mask: 3n },
  });
  expect(states.get(3)?.merged.registers[0]).toBeUndefined();
});

test("hidden functions are verified with their callers, which global ones are not", () => {
  const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/hidden.bpf.o")));
  const traits = { type: "xdp", license: "GPL" } as const;
  const program = verifierProgram(linkProgram(spec, "hidden_functions"), traits);
  expect(program.hidden?.size).toBe(2);
  expect(verify(program).accepted).toBe(true);
  expect(verify({ ...program, hidden: new Set() })).toMatchObject({
    accepted: false,
    complaint: "R1 invalid mem access 'mem_or_null'",
  });
});
