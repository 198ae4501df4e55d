/** Suite `maps`: map operations as programs make them, against the kernel's. */
import { benchObject } from "./files.ts";
import { KernelSide, type ProgramTimings, type Setup, loadInKernel, measureProgram } from "./kernel-side.ts";
import { geometricMean } from "./measure.ts";
import { type OperationRow, measureOperations } from "./operations.ts";
import { type Suite, type SuiteContext, ns, ratio } from "./suite.ts";
import { type WorkersRow, measureWorkers } from "./workers.ts";

/** As in maps.bpf.c. */
const OPERATIONS = 64;
const ENTRIES = 1024;

/** Programs by map and operation, `MAP_OPERATION` in maps.bpf.c. */
const PROGRAMS = [
  "array_lookup",
  "percpu_array_lookup",
  "hash4_lookup",
  "hash40_lookup",
  "percpu_hash_lookup",
  "lru_hash_lookup",
  "lpm_trie_lookup",
  "array_update",
  "hash4_update",
  "hash40_update",
  "lru_hash_update",
  "hash4_delete_insert",
  "lru_hash_delete_insert",
] as const;

/** The size of each map's keys, and where the number is in them. */
const KEYS: Readonly<Record<string, { size: number; at: number }>> = {
  hash4: { size: 4, at: 0 },
  hash40: { size: 40, at: 0 },
  lru_hash: { size: 4, at: 0 },
  lpm_trie: { size: 8, at: 4 },
};

const setup = (): Setup => ({
  object: benchObject("maps/maps.bpf.o"),
  fill(maps) {
    for (const [name, { size, at }] of Object.entries(KEYS)) {
      for (let number = 0; number < ENTRIES; number++) {
        const key = new Uint8Array(size);
        const view = new DataView(key.buffer);
        if (at === 4) view.setUint32(0, 32, true);
        view.setUint32(at, number, true);
        maps[name]?.update(key, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
      }
    }
  },
});

interface MapsReport {
  readonly skipped?: string;
  readonly operationsPerRun: number;
  /** Nanoseconds are those of a run. */
  readonly rows: readonly (ProgramTimings & { readonly program: string })[];
  readonly jitVersusKernel?: { readonly geomean: number; readonly worst: number };
  /** Single operations, less the loop around them; nanoseconds of one. */
  readonly operations: readonly OperationRow[];
  /** Two threads on per-CPU maps. */
  readonly workers: readonly WorkersRow[];
}

export const mapsSuite: Suite = {
  name: "maps",
  summary: "map operations as programs make them, against the kernel's",
  async run(context) {
    const json = await measure(context);
    const { rows, jitVersusKernel, skipped, operations, workers } = json;
    const each = (time: number | undefined): string => ns(time === undefined ? undefined : time / OPERATIONS);
    return {
      json,
      sections: [
        {
          title: "Map operations, CPU time of each",
          head: ["operation", "JIT", "interpreter", "kernel's JIT", "JIT/kernel"],
          rows: rows.map(({ program, jit, interpreter, kernel, jitVersusKernel: versus }) => [
            program
              .replace(/_(lookup|update|delete_insert)$/, ", $1")
              .replace("delete_insert", "delete and insert"),
            each(jit.median),
            each(interpreter.median),
            each(kernel?.median),
            ratio(versus),
          ]),
          notes: [
            jitVersusKernel === undefined
              ? (skipped ?? "")
              : `Geometric mean against the kernel's JIT: ${ratio(jitVersusKernel.geomean)} (worst ${ratio(jitVersusKernel.worst)}).`,
          ],
        },
        {
          title: "Single operations, less the loop around them",
          head: ["operation", "JIT", "goal", "kernel's JIT", "JIT/kernel"],
          rows: operations.map(({ operation, jit, goal, kernel, jitVersusKernel: versus }) => [
            operation,
            ns(jit),
            goal === undefined ? "" : ns(goal),
            ns(kernel),
            ratio(versus),
          ]),
          notes: [
            "Keys of 4, 16 and 40 bytes; 8,192 elements; 20,000 IPv6 prefixes; the kernel's time is its own clock's.",
          ],
        },
        {
          title: "Two threads on one per-CPU map",
          head: ["program", "two threads/one", "with a machine for each"],
          rows: workers.map(({ program, twoVersusOne, apart }) => [
            program,
            ratio(twoVersusOne),
            ratio(apart),
          ]),
          notes: [
            "Runs a second, by the wall clock; goal 1.80. The last column shares nothing: below 2, it is the computer's own.",
          ],
        },
      ],
    };
  },
};

async function measure({ progress, ...rounds }: SuiteContext): Promise<MapsReport> {
  const kernel = await loadInKernel(setup());
  const inKernel = kernel instanceof KernelSide ? kernel : undefined;
  const packet = new Uint8Array(64);
  try {
    const rows: MapsReport["rows"][number][] = [];
    for (const [index, program] of PROGRAMS.entries()) {
      progress(index, PROGRAMS.length, program);
      rows.push({ program, ...(await measureProgram(setup(), { program, packet }, inKernel, rounds)) });
    }
    const operations = await measureOperations((done, of) => progress(done, of, "single operations"));
    const workers = await measureWorkers();
    const ratios = rows.map((row) => row.jitVersusKernel).filter((value) => value !== undefined);
    return {
      ...("skipped" in kernel ? { skipped: kernel.skipped } : {}),
      operationsPerRun: OPERATIONS,
      rows,
      operations,
      workers,
      ...(ratios.length === 0
        ? {}
        : { jitVersusKernel: { geomean: geometricMean(ratios), worst: Math.max(...ratios) } }),
    };
  } finally {
    inKernel?.[Symbol.dispose]();
  }
}
