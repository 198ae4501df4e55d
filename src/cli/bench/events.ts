/** Suite `events`: runs of programs without packets, each with an input of its own that is laid out for it. */
import { assemble } from "../../asm/index.ts";
import { ENGINES, type Engine, Machine, type Program, type RunInput } from "../../machine/index.ts";
import { type Timing, cpuTime, measureSides } from "./measure.ts";
import { type Suite, type SuiteContext, ns } from "./suite.ts";

/** A probe that reads a structure through its first argument and counts in a hash by what it finds. */
const PROBE = `
  r3 = *(u64 *)(r1 + 112)
  r1 = r10
  r1 += -8
  r2 = 4
  call 113
  r2 = r10
  r2 += -8
  r1 = 0 ll
  call 1
  if r0 == 0 goto +2
  r1 = 1
  lock *(u64 *)(r0 + 0) += r1
  r0 = 0
  exit`;
const OPCODE_LDDW = 0x18;
const RUNS = 10_000;

/** The input of each run, made afresh as a test makes it. */
const INPUTS = {
  "arguments: numbers and an address": (address: number): RunInput => ({ args: [address, -100, 7] }),
  "arguments: a text": (): RunInput => ({ args: ["/etc/passwd", -100] }),
  "registers by name": (address: number): RunInput => ({
    registers: { di: address, sp: 0xffffc90000000000n },
  }),
} as const;

interface EventsReport {
  readonly runs: number;
  readonly rows: readonly { readonly what: string; readonly engine: Engine; readonly run: Timing }[];
}

async function load(engine: Engine): Promise<{ program: Program; address: number }> {
  const machine = await Machine.create({ engine });
  const counts = machine.createMap({
    name: "counts",
    type: "hash",
    keySize: 4,
    valueSize: 8,
    maxEntries: 1024,
    flags: 0,
  });
  counts.update(new Uint8Array(4), new Uint8Array(8));
  const { instructions } = assemble(PROBE);
  const slot = instructions.findIndex(({ opcode }) => opcode === OPCODE_LDDW);
  const program = machine.loadInstructions(instructions, {
    type: "kprobe",
    maps: { counts },
    references: new Map([[slot, { kind: "map", map: "counts" }]]),
  });
  return { program, address: machine.memory.lend(64, "structure", "object") };
}

async function measure(context: SuiteContext): Promise<EventsReport> {
  const rows: EventsReport["rows"][number][] = [];
  for (const engine of ENGINES) {
    const { program, address } = await load(engine);
    context.progress(rows.length, 2 * Object.keys(INPUTS).length, engine);
    const side =
      (input: (address: number) => RunInput) =>
      (runs: number): number => {
        const start = cpuTime();
        for (let run = 0; run < runs; run++) program.run(input(address));
        return (cpuTime() - start) / runs;
      };
    const sides = Object.fromEntries(Object.entries(INPUTS).map(([what, input]) => [what, side(input)]));
    for (const [what, run] of Object.entries(measureSides(sides, context))) rows.push({ what, engine, run });
  }
  return { runs: RUNS, rows };
}

export const eventsSuite: Suite = {
  name: "events",
  summary: "runs of a probe, each with arguments that are laid out for it",
  async run(context) {
    const json = await measure(context);
    return {
      json,
      sections: [
        {
          title: "Runs of a probe with fabricated arguments, CPU time",
          head: ["input", "engine", "a run", "10,000 runs"],
          rows: json.rows.map(({ what, engine, run }) => [
            what,
            engine,
            ns(run.median),
            ns(run.median * RUNS),
          ]),
          notes: [],
        },
      ],
    };
  },
};
