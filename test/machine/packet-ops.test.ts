/** Packet helpers against the kernel: random sequences, the same results, packets and contexts after each step. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { OperationSource, outcomes, prepare } from "./packet-ops.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/packet-ops.bpf.o")), { name: "packet-ops" });
const ROUNDS = Number(process.env["SKEP_FUZZ_ROUNDS"] ?? 600);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe.skipIf(noKernel !== undefined)(withKernel("packet helpers"), () => {
  test.each([
    ["skb", "skb_operations", {}],
    ["skb", "skb_operations", { gso_size: 100, gso_segs: 3, mark: 5 }],
    ["xdp", "xdp_operations", {}],
  ] as const)(
    "%s: sequences of %s with context %j do what they do in the kernel",
    async (type, name, context) => {
      using kernel = await KernelMachine.create();
      const real = kernel.load(spec);
      const machines = await Promise.all(
        ENGINES.map(async (engine) => (await Machine.create({ engine })).load(spec)),
      );
      const source = new OperationSource(20_260_701);
      const given = Object.keys(context).length === 0 ? {} : { context };
      for (let round = 0; round < ROUNDS; round++) {
        const operations = source.sequence(type);
        const packet = source.packet();
        prepare(real.maps, operations);
        const expected = real.programs[name]!.run({ packet, ...given });
        const there = {
          result: expected.returnValue,
          packet: hex(expected.packet),
          outcomes: outcomes(real.maps),
        };
        for (const { programs, maps } of machines) {
          prepare(maps, operations);
          const run = programs[name]!.run({ packet, ...given });
          const here = { result: run.returnValue, packet: hex(run.packet), outcomes: outcomes(maps) };
          expect({ round, operations, ...here }).toEqual({ round, operations, ...there });
        }
      }
    },
    120_000,
  );
});
