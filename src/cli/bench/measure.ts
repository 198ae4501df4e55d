/**
 * Measuring: nanoseconds of CPU time, several rounds in which all sides take their turn, so that whatever else happens on
 * the machine happens to all of them. Medians are compared; the lowest is given beside them.
 */

export interface Timing {
  readonly median: number;
  readonly lowest: number;
  readonly samples: readonly number[];
}

/** Something that can be run a number of times; the nanoseconds of CPU time that one run took. */
export type Side = (runs: number) => number;

/** CPU time of this process in nanoseconds; microseconds are as fine as it gets. */
export function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** A side that is a function which runs something `runs` times. */
export function inProcess(repeat: (runs: number) => void): Side {
  return (runs) => {
    const start = cpuTime();
    repeat(runs);
    return (cpuTime() - start) / runs;
  };
}

export function timing(samples: readonly number[]): Timing {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1
      ? (sorted[middle] as number)
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
  return { median, lowest: sorted[0] as number, samples };
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

const MAX_RUNS = 2 ** 31;

/** How many runs take about `targetNs`; in the course of it the engine's compilers get their time. */
export function calibrate(side: Side, targetNs: number): number {
  let runs = 1;
  let total = side(1);
  while (total < targetNs && runs < MAX_RUNS) {
    const estimate = total <= 0 ? runs * 16 : Math.min(runs * 16, Math.ceil((1.2 * targetNs * runs) / total));
    runs = Math.min(MAX_RUNS, Math.max(runs + 1, estimate));
    total = side(runs) * runs;
  }
  return Math.max(1, Math.round(Math.min(runs, (runs * targetNs) / Math.max(total, 1))));
}

export interface Rounds {
  readonly rounds: number;
  /** Nanoseconds that a sample should take. */
  readonly sampleNs: number;
}

/** Measures sides by turns. The first calibration of each warms it up, the second counts. */
export function measureSides<Sides extends Readonly<Record<string, Side>>>(
  sides: Sides,
  { rounds, sampleNs }: Rounds,
): { [Name in keyof Sides]: Timing } {
  const plans = Object.entries(sides).map(([name, side]) => {
    calibrate(side, sampleNs);
    return { name, side, runs: calibrate(side, sampleNs), samples: [] as number[] };
  });
  for (let round = 0; round < rounds; round++) {
    for (const { side, runs, samples } of plans) samples.push(side(runs));
  }
  return Object.fromEntries(plans.map(({ name, samples }) => [name, timing(samples)])) as {
    [Name in keyof Sides]: Timing;
  };
}
