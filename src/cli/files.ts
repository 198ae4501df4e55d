/** Files as commands need them: one clear error each, and no half-written output. */
import { writeSync } from "node:fs";
import { type FileHandle, open, readFile, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BpfError } from "../errors.ts";

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
    if (path !== "-") return await readFile(path);
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
    const info = await stat(path);
    if (info.isDirectory()) throw Object.assign(new Error("is a directory"), { code: "EISDIR" });
    return { chunks: pieces(path, info.isFile()), size: info.isFile() ? info.size : undefined };
  } catch (error) {
    throw ioError(path, "read", error);
  }
}

async function* pieces(path: string, ahead: boolean): AsyncGenerator<Uint8Array> {
  let file: FileHandle | undefined;
  let coming: Promise<Uint8Array> | undefined;
  try {
    // Not a stream, which costs 7 ms before the first byte.
    const handle = await open(path);
    file = handle;
    const next = async (): Promise<Uint8Array> => {
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, null);
      return buffer.subarray(0, bytesRead);
    };
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
    await file?.close();
  }
}

/** A file that appears under its name only when it is complete. "-" is standard output. */
export class OutputFile {
  readonly path: string;
  readonly #temporary: string | undefined;
  readonly #handle: FileHandle | undefined;

  private constructor(path: string, temporary?: string, handle?: FileHandle) {
    this.path = path;
    this.#temporary = temporary;
    this.#handle = handle;
  }

  static async create(path: string): Promise<OutputFile> {
    if (path === "-") return new OutputFile(path);
    try {
      const existing = await stat(path).catch(() => undefined);
      if (existing?.isDirectory()) throw Object.assign(new Error("is a directory"), { code: "EISDIR" });
      // A device or a pipe cannot be replaced by renaming: write to it directly.
      if (existing !== undefined && !existing.isFile())
        return new OutputFile(path, undefined, await open(path, "w"));
      const temporary = join(dirname(path), `.${basename(path)}.${Math.random().toString(36).slice(2)}.part`);
      return new OutputFile(path, temporary, await open(temporary, "wx", existing?.mode ?? 0o666));
    } catch (error) {
      throw ioError(path, "write", error);
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (this.#handle !== undefined) {
        await this.#handle.writeFile(bytes);
        return;
      }
      await new Promise<void>((resolve, reject) => {
        process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
      });
    } catch (error) {
      throw ioError(this.path, "write", error);
    }
  }

  /** The same for many bytes that change afterwards: without a copy, and without a change of threads where it can be. */
  async writeNow(bytes: Uint8Array): Promise<void> {
    if (this.#handle === undefined) return this.write(bytes);
    try {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(this.#handle.fd, bytes, done, bytes.length - done);
      }
    } catch (error) {
      throw ioError(this.path, "write", error);
    }
  }

  /** Puts the file in place. */
  async commit(): Promise<void> {
    try {
      await this.#handle?.close();
      if (this.#temporary !== undefined) await rename(this.#temporary, this.path);
    } catch (error) {
      throw ioError(this.path, "write", error);
    }
  }

  /** Leaves nothing behind; what stood under the name before is untouched. */
  async discard(): Promise<void> {
    await this.#handle?.close().catch(() => undefined);
    if (this.#temporary !== undefined) await unlink(this.#temporary).catch(() => undefined);
  }
}

/** Writes a whole file at once, or not at all. */
export async function writeOutput(path: string, bytes: Uint8Array): Promise<void> {
  const file = await OutputFile.create(path);
  try {
    await file.write(bytes);
    await file.commit();
  } catch (error) {
    await file.discard();
    throw error;
  }
}
