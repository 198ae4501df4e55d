/**
 * Files as commands need them: one clear error each, and no half-written output. Neither streams nor `node:fs/promises`, which take 7 and 8
 * of the milliseconds that `skep run` has to start in.
 */
import {
  type Stats,
  closeSync,
  openSync,
  read,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { BpfError } from "../errors.ts";
import { OUTPUT, writeAll, writeOut } from "./standard.ts";

const WHY: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: "is a directory",
  EACCES: "permission denied",
  ENOTDIR: "a part of the path is no directory",
  ENOSPC: "no space left on the device",
  EROFS: "the file system is read-only",
};

export function ioError(path: string, doing: "read" | "write", cause: unknown): BpfError {
  if (cause instanceof BpfError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? "";
  const why = WHY[code] ?? (cause instanceof Error ? cause.message : String(cause));
  return new BpfError("io", `${path}: cannot ${doing}: ${why}`, { where: { file: path }, cause });
}

/** "-" is standard input. */
export async function readInput(path: string): Promise<Uint8Array> {
  try {
    if (path !== "-") return readFileSync(path);
    const chunks: Uint8Array[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
    return Buffer.concat(chunks);
  } catch (error) {
    throw ioError(path, "read", error);
  }
}

/** Large enough that reading costs little beside the work, small enough that memory stays bounded. */
const CHUNK = 1 << 20;

/** The file in pieces, and its size where it has one; "-" is standard input. */
export async function streamInput(
  path: string,
): Promise<{ chunks: AsyncIterable<Uint8Array>; size: number | undefined }> {
  if (path === "-") return { chunks: process.stdin, size: undefined };
  try {
    const info = statSync(path);
    if (info.isDirectory()) throw Object.assign(new Error("is a directory"), { code: "EISDIR" });
    return { chunks: pieces(path, info.isFile()), size: info.isFile() ? info.size : undefined };
  } catch (error) {
    throw ioError(path, "read", error);
  }
}

async function* pieces(path: string, ahead: boolean): AsyncGenerator<Uint8Array> {
  let file: number | undefined;
  let coming: Promise<Uint8Array> | undefined;
  try {
    const fd = openSync(path, "r");
    file = fd;
    const next = (): Promise<Uint8Array> =>
      new Promise((resolve, reject) => {
        read(fd, Buffer.allocUnsafe(CHUNK), 0, CHUNK, null, (error, bytesRead, buffer) =>
          error === null ? resolve(buffer.subarray(0, bytesRead)) : reject(error),
        );
      });
    // The first piece of a file, which is often all of it, without a change of threads.
    if (ahead) {
      const buffer = Buffer.allocUnsafe(CHUNK);
      const first = buffer.subarray(0, readSync(fd, buffer));
      if (first.length === 0) return;
      if (first.length === CHUNK) coming = next();
      yield first;
    }
    for (;;) {
      const piece = await (coming ?? next());
      if (piece.length === 0) return;
      // Of a file the next piece is read while this one is worked on; of a pipe that could wait for ever.
      coming = ahead ? next() : undefined;
      yield piece;
    }
  } catch (error) {
    throw ioError(path, "read", error);
  } finally {
    await coming?.catch(() => undefined);
    if (file !== undefined) closeSync(file);
  }
}

/** A file that appears under its name only when it is complete. "-" is standard output. */
export class OutputFile {
  readonly path: string;
  readonly #temporary: string | undefined;
  readonly #file: number;
  #open = true;

  private constructor(path: string, temporary: string | undefined, file: number) {
    this.path = path;
    this.#temporary = temporary;
    this.#file = file;
  }

  static create(path: string): OutputFile {
    if (path === "-") return new OutputFile(path, undefined, OUTPUT);
    try {
      const existing = statSync(path, { throwIfNoEntry: false });
      if (existing?.isDirectory()) throw Object.assign(new Error("is a directory"), { code: "EISDIR" });
      // A device or a pipe cannot be replaced by renaming: write to it directly.
      if (existing !== undefined && !existing.isFile())
        return new OutputFile(path, undefined, openSync(path, "w"));
      const temporary = join(dirname(path), `.${basename(path)}.${Math.random().toString(36).slice(2)}.part`);
      return new OutputFile(path, temporary, openSync(temporary, "wx", existing?.mode ?? 0o666));
    } catch (error) {
      throw ioError(path, "write", error);
    }
  }

  /** The bytes may change afterwards. */
  write(bytes: Uint8Array): void {
    if (this.#file === OUTPUT) return writeOut(bytes);
    try {
      writeAll(this.#file, bytes);
    } catch (error) {
      throw ioError(this.path, "write", error);
    }
  }

  /** Puts the file in place. */
  commit(): void {
    try {
      this.#close();
      if (this.#temporary !== undefined) renameSync(this.#temporary, this.path);
    } catch (error) {
      throw ioError(this.path, "write", error);
    }
  }

  /** Leaves nothing behind; what stood under the name before is untouched. */
  discard(): void {
    try {
      this.#close();
      if (this.#temporary !== undefined) unlinkSync(this.#temporary);
    } catch {
      // What made us discard it is told.
    }
  }

  #close(): void {
    if (!this.#open || this.#file === OUTPUT) return;
    this.#open = false;
    closeSync(this.#file);
  }
}

/**
 * Refuses an output that is one of the inputs, by whatever name: reading and writing one file is a slip, and what was there would be gone.
 *
 * @throws BpfError code "usage", naming the input.
 */
export function checkOutput(output: string | undefined, inputs: readonly string[]): void {
  if (output === undefined || output === "-") return;
  const there = statOf(output);
  if (there?.isFile() !== true) return;
  for (const input of inputs) {
    const read = input === "-" ? undefined : statOf(input);
    if (read?.dev !== there.dev || read.ino !== there.ino) continue;
    const name = resolve(input) === resolve(output) ? "" : ` (as ${output})`;
    throw new BpfError("usage", `${input}: the output would overwrite it${name}`, { where: { file: input } });
  }
}

/** Undefined if it is not there, or may not be looked at: reading or writing will tell. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

/** Writes a whole file at once, or not at all. */
export function writeOutput(path: string, bytes: Uint8Array): void {
  const file = OutputFile.create(path);
  try {
    file.write(bytes);
    file.commit();
  } catch (error) {
    file.discard();
    throw error;
  }
}
