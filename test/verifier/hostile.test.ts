/** Programs that are built to explode end at a limit, with the kernel's words, in bounded time and memory. */
import { closeSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { Kernel } from "../../src/kernel/index.ts";
import { attemptLoad } from "../../src/kernel/program.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { reasonOf, verify } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

const RANDOM = 7;

function op(opcode: number, dst = 0, src = 0, offset = 0, imm = 0): Instruction {
  return { opcode, dst, src, offset, imm };
}

const END: readonly Instruction[] = [op(0xb7), op(0x95)];

/** A number of `bits` random bits, by a branch for each; then its value matters, so that no two of its 2^bits paths are one. */
function deepBranches(bits: number): Instruction[] {
  const out = [op(0xb7, 6)];
  for (let bit = 0; bit < bits; bit++) {
    out.push(op(0x85, 0, 0, 0, RANDOM), op(0x35, 0, 0, 1, 1 << 20), op(0x07, 6, 0, 0, 1 << bit));
  }
  // An offset of the stack: every bit of the number must be known exactly.
  return [...out, op(0x57, 6, 0, 0, 0), op(0xbf, 1, 10), op(0x0f, 1, 6), op(0x72, 1, 0, -8), ...END];
}

/** Rounds that each leave a path behind. */
function waitingPaths(rounds: number): Instruction[] {
  return [
    op(0xb7, 6),
    op(0x85, 0, 0, 0, RANDOM),
    op(0x25, 0, 0, 2, 5),
    op(0x07, 6, 0, 0, 1),
    op(0xa5, 6, 0, -4, rounds),
    ...END,
  ];
}

/** Loops in loops, each of 200 rounds. */
function nestedLoops(depth: number): Instruction[] {
  const out: Instruction[] = [];
  const starts: number[] = [];
  for (let level = 0; level < depth; level++) {
    out.push(op(0xb7, 6 + level));
    starts.push(out.length);
  }
  for (let level = depth - 1; level >= 0; level--) {
    out.push(op(0x07, 6 + level, 0, 0, 1));
    out.push(op(0xa5, 6 + level, 0, (starts[level] as number) - out.length - 1, 200));
  }
  return [...out, ...END];
}

/** Functions that call each other in a row, each with some of its stack in use. */
function chain(length: number, bytes: number): Instruction[] {
  const out: Instruction[] = [];
  for (let number = 0; number < length; number++) {
    out.push(op(0x7a, 10, 0, -bytes, 0));
    if (number < length - 1) out.push(op(0x85, 0, 1, 0, 2));
    out.push(...END);
  }
  return out;
}

/** All of the stack full of numbers of which each has its bounds, and branches over them. */
function fullStack(branches: number): Instruction[] {
  const out: Instruction[] = [];
  for (let slot = 1; slot <= 64; slot++) {
    out.push(op(0x85, 0, 0, 0, RANDOM), op(0x57, 0, 0, 0, 0xff), op(0x7b, 10, 0, -8 * slot));
  }
  for (let branch = 0; branch < branches; branch++) {
    const slot = -8 * (1 + (branch % 64));
    out.push(
      op(0x79, 1, 10, slot),
      op(0x25, 1, 0, 1, branch % 200),
      op(0x7b, 10, 1, -8 * (1 + ((branch + 7) % 64))),
    );
  }
  return [...out, ...END];
}

const PROGRAMS: readonly { name: string; program: readonly Instruction[]; errno: string; says: string }[] = [
  {
    name: "deep branches",
    program: deepBranches(28),
    errno: "E2BIG",
    says: "BPF program is too large. Processed 1000001 insn",
  },
  {
    name: "paths that wait",
    program: waitingPaths(20_000),
    errno: "EFAULT",
    says: "The sequence of 8193 jumps is too complex.",
  },
  {
    name: "loops in loops",
    program: nestedLoops(4),
    errno: "E2BIG",
    says: "BPF program is too large. Processed 1000001 insn",
  },
  {
    name: "stacks of a chain of calls",
    program: chain(8, 128),
    errno: "EACCES",
    says: "combined stack size of 5 calls is 640. Too large",
  },
  {
    name: "calls too deep",
    program: chain(9, 8),
    errno: "E2BIG",
    says: "the call stack of 9 frames is too deep",
  },
  { name: "a full stack and many branches", program: fullStack(8), errno: "", says: "" },
];

/** Bytes of the process. */
const MEMORY = 1e9;

const COUNTS = /^processed (\d+) insns .* total_states (\d+) peak_states (\d+) /m;

describe(noKernel === undefined ? "a limit ends, as in the kernel," : withKernel("a limit ends"), () => {
  it.each(PROGRAMS)(
    "$name",
    async ({ program, errno, says }) => {
      const ours = verify(
        { name: "hostile", type: "socket_filter", instructions: program, maps: new Map(), license: "GPL" },
        { logLevel: 0 },
      );
      expect(ours.errno ?? "").toBe(errno);
      expect(ours.complaint).toContain(says);
      expect(process.memoryUsage().rss).toBeLessThan(MEMORY);
      if (noKernel !== undefined) return;
      using kernel = await Kernel.open();
      const { result, log } = attemptLoad(kernel, { type: "socket_filter", instructions: program }, 1);
      if (result >= 0) closeSync(result);
      expect(result >= 0 ? "" : nameOfErrno(result)).toBe(errno);
      if (result < 0) expect(reasonOf(log)).toContain(says);
      const { processedInstructions, totalStates, peakStates } = ours.statistics;
      expect([processedInstructions, totalStates, peakStates]).toEqual(
        COUNTS.exec(log)?.slice(1).map(Number),
      );
    },
    240_000,
  );
});
