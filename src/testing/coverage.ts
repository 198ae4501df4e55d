/**
 * Which instructions, branches and source lines of programs the runs of a test have reached.
 *
 * Runs that are counted go through the interpreter, one instruction at a time: slower than a run (about a microsecond an
 * instruction), and nothing about the program is changed. An instruction counts when it is executed, a conditional jump by where it went. A
 * source line has been reached if one of its instructions has.
 */
import { BpfError } from "../errors.ts";
import type { Program, RunInput, RunResult } from "../machine/index.ts";
import { lineAt } from "../object/index.ts";
import { rowOf } from "../isa/index.ts";

/** A conditional jump and how often it went which way. */
export interface BranchCoverage {
  /** Index of its slot in the program. */
  readonly instruction: number;
  readonly source: string | undefined;
  readonly taken: number;
  readonly notTaken: number;
}

/** A line of a source file. */
export interface LineCoverage {
  readonly file: string;
  readonly line: number;
  /** How often the most executed of its instructions was. */
  readonly count: number;
}

export interface ProgramCoverage {
  readonly program: string;
  /** By slot; -1 for the second half of an `lddw`, which is no instruction. */
  readonly instructions: readonly number[];
  readonly branches: readonly BranchCoverage[];
  readonly lines: readonly LineCoverage[];
}

interface Counters {
  readonly program: Program;
  readonly counts: Float64Array;
  readonly taken: Float64Array;
}

/**
 * Counts what the runs that go through it reach.
 *
 * @example
 * const coverage = new Coverage();
 * coverage.run(programs.firewall, { packet });
 * writeFileSync("lcov.info", formatLcov(coverage.report()));
 */
export class Coverage {
  readonly #programs = new Map<Program, Counters>();

  /** Runs a program as {@link Program.run} does, and counts; programs that it goes to by a tail call too. */
  run(program: Program, input: RunInput = {}): RunResult {
    this.add(program);
    const { repeat = 1, engine: _engine, ...rest } = input;
    let result: RunResult | undefined;
    for (let round = 0; round < repeat; round++) result = this.#once(program, rest);
    if (result === undefined)
      throw new BpfError("usage", `coverage: repeat must be a whole number from 1 on`);
    return result;
  }

  /** Lets a program appear in the report although nothing has run it (yet). */
  add(program: Program): void {
    this.#of(program);
  }

  #of(program: Program): Counters {
    let found = this.#programs.get(program);
    if (found === undefined) {
      const size = program.image.instructions.length;
      found = { program, counts: new Float64Array(size), taken: new Float64Array(size) };
      this.#programs.set(program, found);
    }
    return found;
  }

  #once(program: Program, input: RunInput): RunResult {
    const debug = program.debug(input);
    try {
      let going = true;
      while (going) {
        const counters = this.#of(debug.program);
        const slot = debug.instruction;
        counters.counts[slot] = (counters.counts[slot] as number) + 1;
        going = debug.step();
        if (going && isConditional(counters.program, slot) && debug.instruction !== slot + 1)
          counters.taken[slot] = (counters.taken[slot] as number) + 1;
      }
      return debug.finish();
    } finally {
      debug.close();
    }
  }

  /** What was reached so far, of each program that ran or was added. */
  report(): readonly ProgramCoverage[] {
    return [...this.#programs.values()].map(reportOf);
  }
}

function isConditional({ image }: Program, slot: number): boolean {
  const instruction = image.instructions[slot];
  const kind = instruction === undefined ? undefined : rowOf(instruction)?.semantics.kind;
  return kind === "jump" || kind === "may_goto";
}

function reportOf({ program, counts, taken }: Counters): ProgramCoverage {
  const { image, name } = program;
  const instructions = Array.from(counts);
  const branches: BranchCoverage[] = [];
  const lines = new Map<string, LineCoverage>();
  for (let slot = 0; slot < instructions.length; slot++) {
    const count = instructions[slot] as number;
    const own = image.instructions[slot];
    const at = lineAt(image.lines, slot);
    if (own !== undefined && isConditional(program, slot)) {
      const gone = taken[slot] as number;
      const source = at === undefined ? undefined : `${at.file}:${at.line}`;
      branches.push({ instruction: slot, source, taken: gone, notTaken: count - gone });
    }
    if (at !== undefined) {
      const key = `${at.file}:${at.line}`;
      const before = lines.get(key)?.count ?? 0;
      lines.set(key, { file: at.file, line: at.line, count: Math.max(before, count) });
    }
    if (own !== undefined && own.opcode === 0x18) instructions[++slot] = -1;
  }
  const sorted = [...lines.values()].sort((a, b) =>
    a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line,
  );
  return { program: name, instructions, branches, lines: sorted };
}

const percent = (part: number, whole: number): string =>
  whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`;

/** A table for people: what share of each program was reached, and the lines that were not. */
export function formatCoverage(report: readonly ProgramCoverage[]): string {
  const rows = report.map(({ program, instructions, branches, lines }) => {
    const real = instructions.filter((count) => count >= 0);
    const ways = branches.flatMap(({ taken, notTaken }) => [taken, notTaken]);
    const share = (counts: readonly number[]): string =>
      percent(counts.filter((count) => count > 0).length, counts.length);
    return [program, share(real), share(ways), share(lines.map(({ count }) => count))];
  });
  const table = [["program", "instructions", "branches", "lines"], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => (row[column] ?? "").length)));
  const text = table.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
  for (const { program, lines } of report) {
    const missed = lines.filter(({ count }) => count === 0).map(({ file, line }) => `${file}:${line}`);
    if (missed.length > 0) text.push(`${program}: not reached: ${missed.join(" ")}`);
  }
  return `${text.join("\n")}\n`;
}

/**
 * The report in lcov's format (geninfo(1)), which coverage tools show: lines of C and the ways of their jumps. Lines of several programs
 * are added up.
 *
 * @param locate turns a file name of the object into a path.
 */
export function formatLcov(
  report: readonly ProgramCoverage[],
  locate: (file: string) => string = (file) => file,
): string {
  const files = new Map<string, { lines: Map<number, number>; branches: Map<string, [number, number]> }>();
  const of = (file: string) => {
    const known = files.get(file) ?? { lines: new Map<number, number>(), branches: new Map() };
    files.set(file, known);
    return known;
  };
  for (const { program, lines, branches } of report) {
    for (const { file, line, count } of lines) {
      const known = of(file).lines;
      known.set(line, (known.get(line) ?? 0) + count);
    }
    for (const { source, instruction, taken, notTaken } of branches) {
      const cut = source?.lastIndexOf(":") ?? -1;
      if (source === undefined || cut < 0) continue;
      // Jumps of one line are told apart by program and slot; lcov wants numbers.
      of(source.slice(0, cut)).branches.set(`${source.slice(cut + 1)} ${program} ${instruction}`, [
        taken,
        notTaken,
      ]);
    }
  }
  const text: string[] = ["TN:"];
  for (const [file, { lines, branches }] of files) {
    text.push(`SF:${locate(file)}`);
    let block = 0;
    const ways: number[] = [];
    for (const [key, [taken, notTaken]] of branches) {
      const line = key.split(" ")[0];
      const reached = taken + notTaken > 0;
      [taken, notTaken].forEach((count, way) => {
        ways.push(count);
        text.push(`BRDA:${line},${block},${way},${reached ? count : "-"}`);
      });
      block++;
    }
    text.push(`BRF:${ways.length}`, `BRH:${ways.filter((count) => count > 0).length}`);
    for (const [line, count] of [...lines].sort(([a], [b]) => a - b)) text.push(`DA:${line},${count}`);
    const counts = [...lines.values()];
    text.push(`LF:${counts.length}`, `LH:${counts.filter((count) => count > 0).length}`, "end_of_record");
  }
  return `${text.join("\n")}\n`;
}
