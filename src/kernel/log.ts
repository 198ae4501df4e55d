/**
 * The kernel's logs. A log that does not fit makes PROG_LOAD and BTF_LOAD fail with ENOSPC; since Linux 6.4 they say how
 * much was needed. So a call is repeated with a larger buffer until everything fits: nothing is cut off.
 */

const ENOSPC = -28;
const EAGAIN = -11;
const FIRST_SIZE = 256 * 1024;
/** The kernel's own limit (UINT_MAX >> 2). */
const LARGEST = 0x3fffffff;
/** The log of a repeated verification differs in length, since it ends with the time that it took. */
const SLACK = 4096;

export interface Logged {
  /** The descriptor or the negated errno. */
  readonly result: number;
  readonly log: string;
}

/** Repeats `attempt`, which answers with its result and the size that the kernel asks for (0 if it does not say). */
export function withLog(
  attempt: (buffer: Uint8Array) => { readonly result: number; readonly needed: number },
  firstSize = FIRST_SIZE,
): Logged {
  for (let size = firstSize, tries = 0; ; ) {
    const buffer = new Uint8Array(size);
    const { result, needed } = attempt(buffer);
    if (result === EAGAIN && ++tries < 5) continue;
    if (result === ENOSPC && size < LARGEST && (needed > size || needed === 0)) {
      size = Math.min(LARGEST, needed === 0 ? size * 8 : needed + SLACK);
      continue;
    }
    const end = buffer.indexOf(0);
    return { result, log: new TextDecoder().decode(buffer.subarray(0, end < 0 ? size : end)) };
  }
}
