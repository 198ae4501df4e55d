/**
 * Random and edge inputs for the types without packets of a capture that the kernel can test-run, here and there: a program that loads and stores all
 * that it may must find, leave and return the same. SKEP_INPUTS=500 sets the number for each type, SKEP_SEED others.
 */
import { afterAll, describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { hookOf } from "../../src/hooks/index.ts";
import { Kernel, PROGRAM_FLAGS, type TestRun, type TestRunResult } from "../../src/kernel/index.ts";
import type { RunInput, RunResult } from "../../src/machine/index.ts";
import { type FieldOptions, SEED, fieldProgram } from "./field-program.ts";
import { type FieldTarget, inKernel, inMachines, seedValue } from "./field-sides.ts";
import { Random, randomPacket } from "./random-input.ts";
import { noKernel, openDescriptors, withKernel } from "./setup.ts";

const COUNT = Number(process.env["SKEP_INPUTS"] ?? 40);
const FIRST = Number(process.env["SKEP_SEED"] ?? 0);

interface Case {
  readonly target: FieldTarget;
  readonly options: FieldOptions;
  /** The same input in both forms. */
  input(random: Random): { readonly ours: RunInput; readonly theirs: TestRun };
  /** Beside the return value: what a run leaves. */
  ours(run: RunResult): unknown;
  theirs(result: TestRunResult): unknown;
}

/** struct bpf_flow_keys, at each width. */
const FLOW_KEYS_SIZE = 56;
const FLOW_DISSECTOR: Case = {
  target: { type: "flow_dissector", attachType: "flow_dissector" },
  options: {
    more(save, line) {
      line("r8 = *(u64 *)(r6 + 144)");
      let seeds = 0;
      for (const [bits, size] of [
        [8, 1],
        [16, 2],
        [32, 4],
        [64, 8],
      ] as const) {
        for (let offset = 0; offset + size <= FLOW_KEYS_SIZE; offset += size) {
          const register = size === 8 ? "r1" : "w1";
          save(`flow_keys u${bits} at ${offset}`, `${register} = *(u${bits} *)(r8 + ${offset})`);
          line(`r1 = *(u64 *)(r7 + ${SEED + 8 * (seeds++ % 8)})`);
          if (offset % 24 === 0) line(`*(u${bits} *)(r8 + ${offset}) = ${register}`);
        }
      }
    },
  },
  input(random) {
    const data = randomPacket(random);
    const flags = random.word();
    if (random.below(2) === 0) return { ours: { data }, theirs: { data } };
    const context = new Uint8Array(FLOW_KEYS_SIZE);
    new DataView(context.buffer).setUint32(48, flags, true);
    return { ours: { data, fields: { flags } }, theirs: { data, context } };
  },
  ours: ({ flowKeyBytes }) => Buffer.from(flowKeyBytes as Uint8Array).toString("hex"),
  theirs: ({ data }) => Buffer.from(data).toString("hex"),
};

// Offsets of struct bpf_sk_lookup.
const SK_LOOKUP: Case = {
  target: { type: "sk_lookup", attachType: "sk_lookup" },
  options: {
    mask: 1,
    more(save) {
      save("sk", "r1 = *(u64 *)(r6 + 0)\nif r1 == 0 goto +1\nr1 = 1");
    },
  },
  input(random) {
    const words = (): number[] => Array.from({ length: 4 }, () => random.word());
    const context = {
      family: random.pick([2, 10, 0x10002, 0xffff000a]),
      protocol: random.pick([6, 17, 0x10006, random.word()]),
      remote_ip4: random.word(),
      remote_ip6: words(),
      remote_port: random.pick([0, 1, 0xffff, random.below(65_536)]),
      local_ip4: random.word(),
      local_ip6: words(),
      local_port: random.pick([0, 80, 0xffff, random.below(65_536)]),
    };
    const bytes = new Uint8Array(72);
    const view = new DataView(bytes.buffer);
    const put = (offset: number, ...values: number[]): void =>
      values.forEach((value, index) => view.setUint32(offset + 4 * index, value, true));
    put(8, context.family, context.protocol, context.remote_ip4, ...context.remote_ip6, context.remote_port);
    put(40, context.local_ip4, ...context.local_ip6, context.local_port);
    return { ours: { context }, theirs: { context: bytes } };
  },
  ours: () => undefined,
  theirs: () => undefined,
};

const RAW_TRACEPOINT: Case = {
  target: { type: "raw_tracepoint" },
  options: {},
  input(random) {
    const args = Array.from({ length: 12 }, () => random.wide());
    const context = new Uint8Array(BigUint64Array.from(args).buffer);
    return { ours: { args }, theirs: { context } };
  },
  ours: () => undefined,
  theirs: () => undefined,
};

const ARGUMENT = 96;
const SYSCALL: Case = {
  target: { type: "syscall", flags: PROGRAM_FLAGS.sleepable },
  options: { until: ARGUMENT },
  input(random) {
    const argument = random.bytes(ARGUMENT + random.below(100));
    return { ours: { argument }, theirs: { context: argument } };
  },
  ours: ({ argument }) => Buffer.from(argument as Uint8Array).toString("hex"),
  theirs: ({ context }) => Buffer.from(context).toString("hex"),
};

const CASES = [FLOW_DISSECTOR, SK_LOOKUP, RAW_TRACEPOINT, SYSCALL].map((one): [string, Case] => [
  one.target.type,
  one,
]);

describe.skipIf(noKernel !== undefined)(withKernel("inputs without packets as in the kernel"), () => {
  afterAll(() => expect(openDescriptors()).toEqual([]));

  it.each(CASES)("%s", { timeout: 120_000 }, async (type, { target, options, input, ours, theirs }) => {
    const program = fieldProgram(hookOf(target.type), target.attachType, options);
    using kernel = await Kernel.open();
    const there = inKernel(kernel, program, target);
    const here = await inMachines(program, target);
    const random = new Random(FIRST + type.length);
    let compared = 0;
    for (let round = 0; round < COUNT; round++) {
      const given = input(random);
      const seed = seedValue(random);
      let result: ReturnType<typeof there.run>;
      try {
        result = there.run(seed, given.theirs);
      } catch (error) {
        if (error instanceof BpfError && error.errno === "EINVAL") continue;
        throw error;
      }
      compared++;
      for (const one of here) {
        const { run, words } = one.run(seed, given.ours);
        expect({ ...words, returned: run.returnValue >>> 0, left: ours(run) }).toEqual({
          ...result.words,
          returned: result.returnValue,
          left: theirs(result),
        });
      }
    }
    expect(compared).toBeGreaterThan(COUNT / 3);
  });
});
