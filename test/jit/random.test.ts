/**
 * Random programs, compiled and interpreted by the reference: the same r0 and the same memory.
 * SKEP_FUZZ=20000 runs as many of each instead of the few of a normal run.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { type ReferenceResult, referenceRun } from "./reference.ts";
import { type RandomProgram, buildProgram } from "./generate.ts";
import { DATA, Faulted, type HostFunction, MEMORY_BYTES, STACK, STACK_END, load } from "./harness.ts";

const RUNS = Number(process.env["SKEP_FUZZ"] ?? 300);
const SEED = Number(process.env["SKEP_SEED"] ?? 1);

/** A helper whose result depends on all its arguments. */
const mix: HostFunction = (args) =>
  args.reduce((sum, value) => BigInt.asUintN(64, (sum ^ value) * 0x9e37_79b9_7f4a_7c15n + 1n), 7n);

const HELPERS = { 5: mix, 6: mix, 7: mix };

const genes = fc.array(fc.nat({ max: 0xffff }), { minLength: 60, maxLength: 500, size: "max" });
const args = fc.tuple(
  ...[1, 2, 3, 4, 5].map(() =>
    fc.oneof(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.bigInt({ min: 0n, max: 300n })),
  ),
);

const referenceMemory = new Uint8Array(MEMORY_BYTES);

function runReference({ instructions }: RandomProgram, values: readonly bigint[]): ReferenceResult {
  referenceMemory.fill(0);
  for (let index = 0; index < 64; index++) referenceMemory[DATA + index] = (index * 37 + 11) & 255;
  return referenceRun({
    instructions,
    memory: referenceMemory,
    args: values,
    stackEnd: STACK_END,
    maxSteps: 20_000,
    helper: (_, all) => BigInt(mix([...all], new DataView(referenceMemory.buffer))),
  });
}

/** Optimised and plain code leave what the reference leaves. */
function check(program: RandomProgram, values: readonly bigint[], fuel: bigint | undefined): void {
  const expected = runReference(program, values);
  for (const optimize of [true, false]) checkOne(program, values, fuel, expected, optimize);
}

function checkOne(
  program: RandomProgram,
  values: readonly bigint[],
  fuel: bigint | undefined,
  expected: ReferenceResult,
  optimize: boolean,
): void {
  const harness = load({
    ...program,
    optimize,
    helpers: HELPERS,
    ...(fuel === undefined ? {} : { fuel }),
  });
  for (let index = 0; index < 64; index++) harness.memory[DATA + index] = (index * 37 + 11) & 255;
  if (expected.kind === "steps") return;
  expect(expected.kind).toBe("done");
  const r0 = harness.run(...values);
  expect(r0).toBe(expected.kind === "done" ? expected.r0 : undefined);
  for (const [from, to] of [
    [STACK, STACK_END],
    [DATA, MEMORY_BYTES],
  ] as const) {
    const same = harness.memory.subarray(from, to).every((byte, at) => byte === referenceMemory[from + at]);
    if (!same) expect(harness.memory.subarray(from, to)).toEqual(referenceMemory.subarray(from, to));
  }
}

it("one function", { timeout: 3_600_000 }, () => {
  fc.assert(
    fc.property(genes, args, (numbers, values) => check(buildProgram(numbers, 1), values, undefined)),
    { seed: SEED, numRuns: RUNS },
  );
});

it("one function that counts its fuel", { timeout: 3_600_000 }, () => {
  fc.assert(
    fc.property(genes, args, (numbers, values) => check(buildProgram(numbers, 1), values, 1_000_000n)),
    { seed: SEED + 1, numRuns: RUNS },
  );
});

it("functions that call each other", { timeout: 3_600_000 }, () => {
  fc.assert(
    fc.property(genes, args, (numbers, values) => check(buildProgram(numbers, 4), values, undefined)),
    { seed: SEED + 2, numRuns: RUNS },
  );
});

it("stops whatever does not end when the fuel is used up", () => {
  fc.assert(
    fc.property(genes, args, (numbers, values) => {
      const program = buildProgram(numbers, 3);
      const harness = load({ ...program, helpers: HELPERS, fuel: 3n });
      try {
        harness.run(...values);
        expect(harness.fuel.value).toBeGreaterThanOrEqual(0n);
      } catch (error) {
        expect(error).toBeInstanceOf(Faulted);
      }
    }),
    { seed: SEED + 3, numRuns: 100 },
  );
});

it("compiling is deterministic", () => {
  fc.assert(
    fc.property(genes, (numbers) => {
      const program = buildProgram(numbers, 3);
      expect(load({ ...program, helpers: HELPERS }).compiled.bytes).toEqual(
        load({ ...program, helpers: HELPERS }).compiled.bytes,
      );
    }),
    { seed: SEED + 4, numRuns: 50 },
  );
});
