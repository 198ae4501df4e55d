/** Frames with metadata and fragments against the kernel: random sequences of helpers and kernel functions, compared after each step. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { BpfError } from "../../src/errors.ts";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { kernelTypes } from "./kernel-types.ts";
import { OPERATIONS, type Operation, outcomes, prepare, random } from "./packet-ops.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/frames.bpf.o")), { name: "frames" });
const ROUNDS = Number(process.env["SKEP_FUZZ_ROUNDS"] ?? 400);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

interface Case {
  readonly packet: Uint8Array;
  readonly metadata?: Uint8Array;
  readonly linear?: number;
  readonly operations: readonly Operation[];
}

function* cases(seed: number): Generator<Case> {
  const next = random(seed);
  const below = (bound: number): number => Math.floor(next() * bound);
  const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => below(256));
  for (;;) {
    const length = pick([14, 64, 1000, 3519, 3520, 3521, 3700, 4096, 7616, 7617, 9000, 20 + below(12_000)]);
    const linear = next() < 0.4 ? pick([1, 14, 64, 100, 3520, 1 + below(length)]) : undefined;
    const near = Math.min(linear ?? 3520, 3520);
    // Ends of pages, of the packet, of what is linear; then anything.
    const place = (): number =>
      Math.max(0, pick([0, 14, near, near + 4096, near + 8192, length, below(length + 50)]) + below(60) - 40);
    const distance = (): number =>
      pick([1, -1, -1]) *
      pick([0, 1, 4, 8, 20, 100, 255, 256, 1000, 4096, below(length), length - near, length - 14]);
    const operation = (): Operation => {
      const kind = below(14);
      const base = {
        kind,
        a: place(),
        b: below(64),
        c: 0,
        d: BigInt(below(2 ** 32)) << BigInt(below(32)),
        e: 0n,
      };
      if (kind >= 3 && kind <= 5) {
        return { ...base, a: (kind === 5 ? pick([-4, -8, -32, 4, 2, -256]) : distance()) >>> 0 };
      }
      if (kind === 6) return { ...base, a: pick([0, near, near + below(300), length, length + 1, place()]) };
      if (kind === 7) return { ...base, b: 0, c: distance() >>> 0 };
      if (kind === 8 || kind === 9) return { ...base, e: next() < 0.1 ? 1n : 0n };
      if (kind < 10) return base;
      const e = next() < 0.3 ? 1n : 0n;
      const c = e === 1n || kind === 13 ? pick([0, 1, 16, below(5000)]) : 0;
      const b = kind === 12 ? pick([0, 1, 64, 4000, below(length + 1)]) : below(300);
      // The kernel's copy of what overlaps, from one piece to several, is whatever its memcpy makes of it.
      return { ...base, b, c: kind === 13 ? Math.min(c, Math.abs(base.a - 16 * b)) : c, e };
    };
    yield {
      packet: bytes(length),
      ...(next() < 0.5 ? { metadata: bytes(4 * pick([0, 1, 2, 8, 32, 53])) } : {}),
      ...(linear === undefined ? {} : { linear }),
      operations: Array.from({ length: OPERATIONS }, operation),
    };
  }
}

/** Long packets that differ are not printed whole. */
function firstDifference(ours: Uint8Array, theirs: Uint8Array): string | undefined {
  if (Buffer.from(ours).equals(theirs)) return undefined;
  let at = 0;
  while (ours[at] === theirs[at]) at++;
  const part = (bytes: Uint8Array): string => hex(bytes.subarray(at, at + 16));
  return `at ${at} of ${ours.length}, ${theirs.length} in the kernel: ${part(ours)}, ${part(theirs)} there`;
}

describe.skipIf(noKernel !== undefined || kernelTypes === undefined)(withKernel("frames"), () => {
  test("17 fragments at most, as there", async () => {
    using kernel = await KernelMachine.create();
    const machine = await Machine.create();
    const there = kernel.load(spec).programs["frame_operations"];
    const here = (await machine.load(spec)).programs["frame_operations"];
    for (const [length, linear] of [
      [3520 + 17 * 4096, undefined],
      [3521 + 17 * 4096, undefined],
      [100 + 17 * 4096, 100],
      [101 + 17 * 4096, 100],
    ] as const) {
      const input = { packet: new Uint8Array(length), ...(linear === undefined ? {} : { linear }) };
      const errnoOf = (run: () => unknown): string | undefined => {
        try {
          run();
          return undefined;
        } catch (error) {
          return (error as BpfError).errno;
        }
      };
      const expected = errnoOf(() => there!.run(input));
      expect([length, errnoOf(() => here!.run(input))]).toEqual([length, expected]);
      expect(expected).toBe(length % 4096 === (linear ?? 3520) % 4096 ? undefined : "ENOMEM");
    }
  });

  test("with metadata and fragments: what helpers do is what they do in the kernel", {
    timeout: 120_000,
  }, async () => {
    using kernel = await KernelMachine.create();
    const real = kernel.load(spec);
    const btf = kernelTypes!;
    const machines = await Promise.all(
      ENGINES.map(async (engine) => (await Machine.create({ btf, engine })).load(spec)),
    );
    let fragmented = 0;
    let round = 0;
    for (const { operations, ...input } of cases(20_260_901)) {
      if (round++ === ROUNDS) break;
      prepare(real.maps, operations);
      const expected = real.programs["frame_operations"]!.run(input);
      const there = {
        result: expected.returnValue,
        metadata: hex(expected.metadata),
        packet: expected.packet,
        outcomes: outcomes(real.maps),
      };
      if (input.packet.length > (input.linear ?? 3520)) fragmented++;
      for (const { programs, maps } of machines) {
        prepare(maps, operations);
        const run = programs["frame_operations"]!.run(input);
        const here = {
          result: run.returnValue,
          metadata: hex(run.metadata),
          packet: firstDifference(run.packet, there.packet),
          outcomes: outcomes(maps),
        };
        expect({ round, operations, linear: input.linear, ...here }).toEqual({
          round,
          operations,
          linear: input.linear,
          ...there,
          packet: undefined,
        });
      }
    }
    expect(fragmented).toBeGreaterThan(ROUNDS / 4);
  });
});
