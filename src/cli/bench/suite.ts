/** What a suite of measurements is, and the list of them. */
import type { Rounds } from "./measure.ts";

export interface SuiteContext extends Rounds {
  progress(done: number, of: number, what: string): void;
}

/** A table of the report. */
export interface Section {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** One line below: what was skipped and why, means. */
  readonly notes: readonly string[];
}

export interface SuiteReport {
  /** What `--json` prints under the suite's name. */
  readonly json: object;
  readonly sections: readonly Section[];
  /** A drawing, by file name without its extension. */
  readonly charts?: Readonly<Record<string, string>>;
}

export interface Suite {
  readonly name: string;
  /** One line for the help. */
  readonly summary: string;
  run(context: SuiteContext): Promise<SuiteReport>;
}

/** Nanoseconds, at most three digits that count. */
export function ns(value: number | undefined): string {
  if (value === undefined) return "-";
  if (value >= 1e9) return `${(value / 1e9).toPrecision(3)} s`;
  if (value >= 1e6) return `${(value / 1e6).toPrecision(3)} ms`;
  if (value >= 1e3) return `${(value / 1e3).toPrecision(3)} µs`;
  return `${value >= 100 ? value.toFixed(0) : value.toPrecision(value >= 10 ? 3 : 2)} ns`;
}

export function ratio(value: number | undefined): string {
  return value === undefined ? "-" : value.toFixed(2);
}
