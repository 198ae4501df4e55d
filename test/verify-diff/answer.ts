/** What a verifier said of a program, cut into the parts that are compared. */
import { reasonOf } from "../../src/verifier/index.ts";

/** The verdict of either side. */
export interface Answer {
  readonly accepted: boolean;
  /** "" if accepted. */
  readonly errno: string;
  /** The last line that is about the program: the reason of a rejection. */
  readonly line: string;
  /** Counts of the line "processed ..."; -1 where the log has none. */
  readonly processed: number;
  readonly maxStates: number;
  readonly totalStates: number;
  readonly peakStates: number;
  readonly stackDepth: string;
  readonly microseconds: number;
  /** Of the log: 2, or 1 where that would be too long. */
  readonly level: number;
  /** Without times, addresses and statistics of level 4. */
  readonly log: string;
}

const COUNTS =
  /processed (\d+) insns \(limit \d+\) max_states_per_insn (\d+) total_states (\d+) peak_states (\d+) mark_read (\d+)$/m;

/** A message without an end of line has the statistics behind it. */
export function withoutStatistics(log: string): string {
  return log.replaceAll(/verification time \d+ usec\n(?:stack depth .*\n)?/g, "");
}

export function answerOf(accepted: boolean, errno: string, log: string): Answer {
  const counts = COUNTS.exec(log)?.slice(1).map(Number) ?? [];
  return {
    accepted,
    errno,
    line: accepted ? "" : reasonOf(log),
    processed: counts[0] ?? -1,
    maxStates: counts[1] ?? -1,
    totalStates: counts[2] ?? -1,
    peakStates: counts[3] ?? -1,
    stackDepth: /^stack depth (.*)$/m.exec(log)?.[1] ?? "",
    level: 2,
    microseconds: Number(/^verification time (\d+) usec$/m.exec(log)?.[1] ?? -1),
    log: withoutStatistics(log),
  };
}
