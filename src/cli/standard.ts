/**
 * Standard output and error without Node.js's streams, which take a third of the time that `skep run` needs to start: 14 ms for the two,
 * of 160 beyond Node.js itself.
 */
import { fstatSync, writeSync } from "node:fs";

export const OUTPUT = 1;
export const ERROR = 2;

/** Major numbers of Linux's character devices: memory (/dev/null), and the pseudoterminals that windows and ssh sessions are. */
const MEMORY_DEVICE = 1;
const PSEUDOTERMINALS: readonly [first: number, last: number] = [136, 143];

/** Whether a person reads what is written there. */
export function isTerminal(fd: typeof OUTPUT | typeof ERROR): boolean {
  try {
    const info = fstatSync(fd);
    if (!info.isCharacterDevice()) return false;
    const major = Math.floor(info.rdev / 256) % 4096;
    if (process.platform === "linux") {
      if (major === MEMORY_DEVICE) return false;
      if (major >= PSEUDOTERMINALS[0] && major <= PSEUDOTERMINALS[1]) return true;
    }
  } catch {
    // Closed, or of a kind that only the stream knows.
  }
  return (fd === OUTPUT ? process.stdout : process.stderr).isTTY === true;
}

/** A pipe whose other end has made it non-blocking is full: wait for its reader. */
const FULL_MS = 1;
const clock = new Int32Array(new SharedArrayBuffer(4));

/** Writes all of it before it returns. Throws what the system says. */
export function writeAll(fd: number, bytes: Uint8Array | string): void {
  const rest = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
  for (let done = 0; done < rest.length; ) {
    try {
      done += writeSync(fd, rest, done, rest.length - done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(clock, 0, 0, FULL_MS);
    }
  }
}

/** To standard output, as {@link writeAll}; a reader that has left (`skep dump x.o | head`) ends the process without a complaint. */
export function writeOut(bytes: Uint8Array | string): void {
  try {
    writeAll(OUTPUT, bytes);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "EPIPE") process.exit(0);
    writeError(
      `skep: standard output: cannot write: ${code === "ENOSPC" ? "no space left on the device" : message}\n`,
    );
    process.exit(2);
  }
}

/** To standard error. Where nobody can be told, nobody is. */
export function writeError(text: string): void {
  try {
    writeAll(ERROR, text);
  } catch {
    // Closed.
  }
}
