/** bpf_throw against the kernel; pages of arenas and reads into dynptrs by kernel/bpf/arena.c and kernel/trace/bpf_trace.c. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { FIXTURE_PACKETS } from "../fixtures/cases.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/exceptions.bpf.o")), {
  name: "exceptions.bpf.o",
});
const packet = FIXTURE_PACKETS.zeros;
const RESULTS = {
  from_main: 33,
  from_subprogram: 77,
  from_callback: 55,
  with_handler: 1077,
  not_thrown: 4,
} as const;

describe.each(ENGINES)("%s", (engine) => {
  test.each(Object.entries(RESULTS))("%s gives %i", async (name, result) => {
    const machine = await Machine.create({ engine });
    const { programs, maps } = await machine.load(spec, { programs: [name] });
    const program = programs[name]!;
    expect(program.run({ packet }).returnValue).toBe(result);
    // What was done before it was thrown stays done, and the next run begins afresh.
    expect(program.run({ packet }).returnValue).toBe(result);
    const counters = maps[".bss"]?.get(0) as Record<string, number>;
    if (name === "from_subprogram") expect(counters).toEqual({ before: 2, after: 0 });
    if (name === "from_callback") expect(counters["after"]).toBe(2);
  });

  test("in a batch the packets before and after go on", async () => {
    const machine = await Machine.create({ engine });
    const { programs } = await machine.load(spec, { programs: ["from_main"] });
    const lengths = [16, 64, 16, 64, 64];
    const offset = lengths.map((_, at) => lengths.slice(0, at).reduce((sum, length) => sum + length, 0));
    const data = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
    const batch = { data, offset, capturedLength: lengths, count: lengths.length };
    const { results } = programs["from_main"]!.runPackets(batch);
    expect([...results]).toEqual([1, 33, 1, 33, 33]);
  });

  test("a debugger comes to the end", async () => {
    const machine = await Machine.create({ engine });
    const { programs } = await machine.load(spec, { programs: ["with_handler"] });
    const debug = programs["with_handler"]!.debug({ packet });
    expect(debug.finish().returnValue).toBe(1077);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("the kernel confirms"), () => {
  // Its verifier lets no callback throw.
  test.each(Object.entries(RESULTS).filter(([name]) => name !== "from_callback"))(
    "%s gives %i",
    async (name, result) => {
      using machine = await KernelMachine.create();
      const { programs } = machine.load(spec, { programs: [name] });
      expect(programs[name]?.run({ packet }).returnValue).toBe(result);
    },
  );
});
