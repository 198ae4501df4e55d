import { BpfError } from "../errors.ts";

/** A place in the text; both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** How many faults one run reports before it gives up. */
export const MAX_FAULTS = 20;

/** An error at a place in the text. */
export function asmError({ line, column }: Position, message: string): BpfError {
  return new BpfError("asm", `line ${line}, column ${column}: ${message}`, { where: { line, column } });
}

/** One error out of several: the place and the code of the first, the messages of all. */
export function joinErrors(errors: readonly BpfError[]): BpfError {
  const first = errors[0] as BpfError;
  if (errors.length === 1) return first;
  return new BpfError("asm", errors.map(({ message }) => message).join("\n"), { where: first.where });
}

/** "; did you mean 'mov'?" where a known word is near, or an empty string. */
export function didYouMean(word: string, known: Iterable<string>): string {
  let best: string | undefined;
  // One slip in a short word, two in a longer one: more would be guessing.
  let limit = word.length < 3 ? 2 : 3;
  for (const candidate of known) {
    const slips = distance(word.toLowerCase(), candidate, limit);
    if (slips < limit) [best, limit] = [candidate, slips];
  }
  return best === undefined ? "" : `; did you mean '${best}'?`;
}

/** Slips between two words: letters added, left out, changed, or two of them swapped. At most `limit`. */
function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let twoBack: number[] = [];
  let back = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let slips = Math.min(
        (back[j] as number) + 1,
        (row[j - 1] as number) + 1,
        (back[j - 1] as number) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        slips = Math.min(slips, (twoBack[j - 2] as number) + 1);
      }
      row.push(slips);
    }
    [twoBack, back] = [back, row];
  }
  return Math.min(back[b.length] as number, limit);
}
