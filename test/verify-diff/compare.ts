import type { Answer } from "./answer.ts";
import type { OurAnswer } from "./our-side.ts";

/** Where two answers agree. */
export interface Difference {
  /** Verdict and errno. */
  readonly verdict: boolean;
  readonly line: boolean;
  /** Instructions processed. */
  readonly processed: boolean;
  /** Total, peak and most at one instruction. */
  readonly states: boolean;
  /** The log of level 2. */
  readonly log: boolean;
  /** We accept what the kernel rejects. */
  readonly falseAccept: boolean;
  /** The first line of the logs that differs, ours and theirs. */
  readonly firstLine?: readonly [string, string];
}

export function compareAnswers(ours: OurAnswer, theirs: Answer): Difference {
  const firstLine = firstDifference(masked(ours.log), masked(theirs.log));
  return {
    verdict: !ours.unsupported && ours.accepted === theirs.accepted && ours.errno === theirs.errno,
    line: !ours.unsupported && ours.line === theirs.line,
    processed: ours.processed === theirs.processed,
    states:
      ours.totalStates === theirs.totalStates &&
      ours.peakStates === theirs.peakStates &&
      ours.maxStates === theirs.maxStates,
    log: firstLine === undefined,
    falseAccept: ours.accepted && !theirs.accepted,
    ...(firstLine === undefined ? {} : { firstLine }),
  };
}

/** Without the addresses that the kernel shows for maps and symbols. */
function masked(log: string): string {
  return log.replaceAll(/(\(18\) r\d+ = )(0xffff(?!ffffffff)[0-9a-f]{12}|0x0)\b/g, "$1ADDRESS");
}

function firstDifference(ours: string, theirs: string): readonly [string, string] | undefined {
  if (ours === theirs) return undefined;
  const left = ours.split("\n");
  const right = theirs.split("\n");
  const at = left.findIndex((line, index) => line !== right[index]);
  const index = at < 0 ? left.length : at;
  return [left[index] ?? "(end)", right[index] ?? "(end)"];
}
