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
  const firstLine = firstDifference(ours.log, theirs.log);
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

/** Where the kernel shows the address of a map or symbol, and the line's width with it. */
const ADDRESS = /(\(18\) r\d+ = )0xffff(?!ffffffff)[0-9a-f]{12}\b/;

/** Whether two lines are the same but for an address that only the kernel has. */
function sameLine(ours: string, theirs: string | undefined): boolean {
  if (ours === theirs) return true;
  if (theirs === undefined || !ADDRESS.test(theirs)) return false;
  const plain = (line: string): string =>
    line.replace(/(\(18\) r\d+ = )0x[0-9a-f]+/, "$1ADDRESS").replace(/ +; /, " ; ");
  return plain(ours) === plain(theirs);
}

function firstDifference(ours: string, theirs: string): readonly [string, string] | undefined {
  if (ours === theirs) return undefined;
  const left = ours.split("\n");
  const right = theirs.split("\n");
  const at = left.findIndex((line, index) => !sameLine(line, right[index]));
  if (at < 0 && left.length === right.length) return undefined;
  const index = at < 0 ? left.length : at;
  return [left[index] ?? "(end)", right[index] ?? "(end)"];
}
