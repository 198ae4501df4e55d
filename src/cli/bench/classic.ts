/**
 * Suite `classic`: the eight programs that BPF engines are usually compared by, in C of our own (bench/classic), against the
 * same C compiled natively, in one run. The results of all sides must be equal, or nothing is reported.
 */
import { BpfError } from "../../errors.ts";
import { Machine, type Program } from "../../machine/index.ts";
import { barChart } from "./chart.ts";
import { benchObject } from "./files.ts";
import { type Rounds, type Side, type Timing, geometricMean, inProcess, measureSides } from "./measure.ts";
import { type NativePrograms, compileNative } from "./native.ts";
import { type Section, type Suite, type SuiteContext, ns, ratio } from "./suite.ts";

const KB = 1024;
const MB = KB * KB;

interface ClassicRow {
  /** Function in classic.bpf.c. */
  readonly name: string;
  /** What programs read; they get its address. */
  input(): Uint8Array;
  /** Second argument: the length of the input unless it says something else. */
  readonly length: number;
}

const NOTHING = (): Uint8Array => new Uint8Array(8);

export const CLASSIC_PROGRAMS: readonly ClassicRow[] = [
  { name: "simple", input: NOTHING, length: 0 },
  { name: "memory_a_plus_b", input: () => Uint8Array.of(7, 0, 0, 0, 35, 0, 0, 0), length: 8 },
  { name: "log2_int", input: NOTHING, length: 1000 },
  { name: "primes", input: NOTHING, length: 10_000 },
  { name: "memcpy_bytes", input: () => pseudoRandom(2 * MB), length: 2 * MB },
  { name: "strcmp_fail", input: () => strings(MB, MB / 4), length: 2 * MB },
  { name: "strcmp_full", input: () => strings(MB, MB - 1), length: 2 * MB },
  // A pattern that repeats: without one, native code is slow for its jump table, which the processor cannot predict.
  { name: "switch_bytes", input: () => repeated(pseudoRandom(61), 4 * KB), length: 4 * KB },
];

function pseudoRandom(length: number): Uint8Array {
  let state = 0x2545f491;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

function repeated(pattern: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => pattern[index % pattern.length] as number);
}

/** Two strings of the same length, the terminating zero included, that are equal up to an index. */
function strings(size: number, equal: number): Uint8Array {
  const bytes = new Uint8Array(2 * size);
  for (let index = 0; index < size - 1; index++) {
    const letter = 97 + (index % 26);
    bytes[index] = letter;
    bytes[size + index] = index < equal ? letter : letter - 32;
  }
  return bytes;
}

export interface ClassicResult {
  readonly program: string;
  /** Nanoseconds of CPU a run. `bounded` is compiled code that counts rounds, so that it can be stopped; `sandboxed` checks every access too. */
  readonly native?: Timing;
  readonly jit: Timing;
  readonly bounded: Timing;
  readonly sandboxed: Timing;
  readonly interpreter: Timing;
  /** Instructions that the interpreter executes in a run. */
  readonly instructions: number;
  readonly interpreterNsPerInstruction: number;
  /** Medians of JIT over native, and of the interpreter over the JIT. */
  readonly jitVersusNative?: number;
  readonly boundedVersusNative?: number;
  readonly sandboxedVersusNative?: number;
  readonly interpreterVersusJit: number;
}

export interface ClassicReport {
  readonly compiler?: string;
  readonly skipped?: string;
  readonly rows: readonly ClassicResult[];
  readonly jitVersusNative?: { readonly geomean: number; readonly worst: number };
  readonly boundedVersusNative?: { readonly geomean: number; readonly worst: number };
  readonly sandboxedVersusNative?: { readonly geomean: number; readonly worst: number };
  readonly interpreter: { readonly nsPerInstruction: number; readonly geomeanVersusJit: number };
}

export const classicSuite: Suite = {
  name: "classic",
  summary: "eight small programs against the same C compiled natively",
  async run(context) {
    const json = await runClassic(context);
    const rows = json.rows.map(({ program, native, jit, interpreter }) => ({
      name: program,
      values: [native?.median, jit.median, interpreter.median],
    }));
    const names = ["native", "JIT", "interpreter"];
    return {
      json,
      sections: [section(json)],
      charts: { "performance-engines": barChart("Classic programs, CPU time a run", names, rows, ns) },
    };
  },
};

function section({
  rows,
  jitVersusNative,
  boundedVersusNative,
  sandboxedVersusNative,
  interpreter,
  ...native
}: ClassicReport): Section {
  const means =
    jitVersusNative === undefined
      ? []
      : [
          `Geometric mean against native: JIT ${ratio(jitVersusNative.geomean)} (worst ${ratio(jitVersusNative.worst)}), ` +
            `bounded ${ratio(boundedVersusNative?.geomean)} (worst ${ratio(boundedVersusNative?.worst)}), ` +
            `sandboxed ${ratio(sandboxedVersusNative?.geomean)} (worst ${ratio(sandboxedVersusNative?.worst)}).`,
        ];
  return {
    title: "Classic programs, CPU time a run",
    head: [
      "program",
      "native",
      "JIT",
      "JIT, bounded",
      "sandboxed",
      "interpreter",
      "JIT/native",
      "bounded/native",
      "sandboxed/native",
      "ns/instruction",
    ],
    rows: rows.map((row) => [
      row.program,
      ns(row.native?.median),
      ns(row.jit.median),
      ns(row.bounded.median),
      ns(row.sandboxed.median),
      ns(row.interpreter.median),
      ratio(row.jitVersusNative),
      ratio(row.boundedVersusNative),
      ratio(row.sandboxedVersusNative),
      ratio(row.interpreterNsPerInstruction),
    ]),
    notes: [
      ...means,
      `Interpreter: at most ${ratio(interpreter.nsPerInstruction)} ns an executed instruction.`,
      native.compiler === undefined ? (native.skipped ?? "") : `Native: ${native.compiler}.`,
    ],
  };
}

async function runClassic({ progress, ...rounds }: SuiteContext): Promise<ClassicReport> {
  const native = compileNative(
    "classic/classic.bpf.c",
    CLASSIC_PROGRAMS.map(({ name }) => name),
  );
  try {
    const rows: ClassicResult[] = [];
    for (const [index, program] of CLASSIC_PROGRAMS.entries()) {
      progress(index, CLASSIC_PROGRAMS.length, program.name);
      rows.push(await measure(program, "skipped" in native ? undefined : native, rounds));
    }
    progress(CLASSIC_PROGRAMS.length, CLASSIC_PROGRAMS.length, "");
    return {
      ...("skipped" in native ? { skipped: native.skipped } : { compiler: native.compiler }),
      rows,
      ...summary("jitVersusNative", rows),
      ...summary("boundedVersusNative", rows),
      ...summary("sandboxedVersusNative", rows),
      interpreter: {
        nsPerInstruction: Math.max(...rows.map((row) => row.interpreterNsPerInstruction)),
        geomeanVersusJit: geometricMean(rows.map((row) => row.interpreterVersusJit)),
      },
    };
  } finally {
    if (!("skipped" in native)) native[Symbol.dispose]();
  }
}

function summary(
  field: "jitVersusNative" | "boundedVersusNative" | "sandboxedVersusNative",
  rows: readonly ClassicResult[],
): Partial<ClassicReport> {
  const ratios = rows.map((row) => row[field]).filter((ratio) => ratio !== undefined);
  if (ratios.length === 0) return {};
  return { [field]: { geomean: geometricMean(ratios), worst: Math.max(...ratios) } };
}

async function measure(
  { name, input, length }: ClassicRow,
  native: NativePrograms | undefined,
  rounds: Rounds,
): Promise<ClassicResult> {
  const bytes = input();
  const sides: Record<string, Side> = {};
  if (native !== undefined) sides["native"] = native.side(name, bytes, length);
  const expected = native?.result(name, bytes, length);
  let instructions = 0;
  for (const [side, fuel, engine, unverified] of [
    ["jit", Infinity, "jit", "trusted"],
    ["bounded", Number.MAX_SAFE_INTEGER, "jit", "trusted"],
    ["sandboxed", Number.MAX_SAFE_INTEGER, "jit", "sandbox"],
    ["interpreter", Infinity, "interpreter", "trusted"],
  ] as const) {
    const machine = await Machine.create({ fuel, engine });
    // They read memory by its address, which no verifier would let them.
    const { programs } = await machine.load(benchObject("classic/classic.bpf.o"), {
      programs: [name],
      verify: false,
      unverified,
    });
    // A page, as the memory of the native side.
    const address = machine.memory.alloc(bytes.length, name, 4096);
    machine.regions.add({ kind: "memory", label: name, address, size: bytes.length });
    machine.memory.write(address, bytes);
    const prepared = (programs[name] as Program).prepare();
    const result = prepared.run(address, length);
    if (expected !== undefined && result !== expected) {
      throw new BpfError("fault", `program '${name}': ${side} returns ${result}, native code ${expected}`);
    }
    if (engine === "interpreter") instructions = Number(prepared.instructions);
    sides[side] = inProcess((runs) => prepared.repeat(address, length, runs));
  }
  const { native: nativeTiming, ...ours } = measureSides(sides, rounds);
  const { jit, bounded, sandboxed, interpreter } = ours as Record<
    "jit" | "bounded" | "sandboxed" | "interpreter",
    Timing
  >;
  return {
    program: name,
    ...(nativeTiming === undefined ? {} : { native: nativeTiming }),
    jit,
    bounded,
    sandboxed,
    interpreter,
    instructions,
    interpreterNsPerInstruction: interpreter.median / instructions,
    ...(nativeTiming === undefined
      ? {}
      : {
          jitVersusNative: jit.median / nativeTiming.median,
          boundedVersusNative: bounded.median / nativeTiming.median,
          sandboxedVersusNative: sandboxed.median / nativeTiming.median,
        }),
    interpreterVersusJit: interpreter.median / jit.median,
  };
}
