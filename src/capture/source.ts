/** Where bytes come from: arrays, iterables, streams, and the same compressed with gzip. */

import { BpfError } from "../errors.ts";

/** What can be read asynchronously: bytes in memory, or chunks of them. A file in Node.js is `createReadStream(path)`. */
export type CaptureSource = SyncCaptureSource | AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>;

/** What can be read at once. */
export type SyncCaptureSource = Uint8Array | ArrayBuffer | Iterable<Uint8Array>;

/**
 * Compressed bytes go to the decompressor in pieces of this size. Browsers hold all that one piece becomes in memory,
 * and deflate expands up to 1032 times, so this bounds it to 16 MiB.
 */
const GZIP_PIECE = 16 * 1024;

/** The chunks of a source that needs no waiting. */
export function* chunksOf(source: SyncCaptureSource): Generator<Uint8Array> {
  if (source instanceof Uint8Array) yield source;
  else if (source instanceof ArrayBuffer) yield new Uint8Array(source);
  else if (isObject(source) && Symbol.iterator in source) yield* source;
  else throw notASource(source);
}

/**
 * The chunks of any source, decompressed when it begins with gzip's magic.
 *
 * @param onBroken is called when the compressed data is damaged; the chunks before that have been given
 */
export async function* chunksOfAny(
  source: CaptureSource,
  onBroken: (kind: "truncated" | "corrupt", error: BpfError) => void,
): AsyncGenerator<Uint8Array> {
  const chunks = asIterator(source);
  let finished = false;
  let compressed = false;
  try {
    // Two bytes tell; sources may give them one by one.
    const start: Uint8Array[] = [];
    let length = 0;
    while (length < 2) {
      const { done, value } = await chunks.next();
      if (done) {
        finished = true;
        break;
      }
      start.push(value);
      length += checked(value).length;
    }
    const [first, second] = start.flatMap((chunk) => Array.from(chunk.subarray(0, 2)));
    const all = prepend(start, finished ? undefined : chunks);
    compressed = first === 0x1f && second === 0x8b;
    yield* compressed ? gunzip(all, onBroken) : all;
    finished = true;
  } finally {
    if (!finished) {
      const closing = chunks.return?.();
      if (compressed) closing?.catch(ignore);
      else await closing;
    }
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function isStream(value: unknown): value is ReadableStream<Uint8Array> {
  return isObject(value) && "getReader" in value;
}

function notASource(source: unknown): BpfError {
  return new BpfError(
    "usage",
    `capture source of type ${typeof source} is neither bytes nor an iterable or stream of bytes`,
  );
}

function checked(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  throw new BpfError("usage", `capture source: a chunk is of type ${typeof chunk}, not a Uint8Array`);
}

function asIterator(source: CaptureSource): AsyncIterator<Uint8Array> {
  if (isObject(source) && Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
  if (isStream(source)) return streamIterator(source);
  return asAsync(chunksOf(source as SyncCaptureSource));
}

async function* asAsync(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

/** Some browsers' streams cannot be iterated over. */
async function* streamIterator(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  let finished = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    finished = true;
  } finally {
    if (!finished) await reader.cancel();
    reader.releaseLock();
  }
}

async function* prepend(
  start: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array> | undefined,
): AsyncGenerator<Uint8Array> {
  yield* start;
  if (rest === undefined) return;
  for (;;) {
    const { done, value } = await rest.next();
    if (done) return;
    yield checked(value);
  }
}

/**
 * Runs chunks through the platform's decompressor. Two loops: one feeds it, one takes what comes out. An error of the
 * source itself is passed on as it is; an error of the decompressor means damaged data.
 *
 * When the caller stops early the feeding loop may be waiting for a source that says nothing for hours, so nobody waits
 * for it; it ends by itself at the next chunk.
 */
async function* gunzip(
  chunks: AsyncGenerator<Uint8Array>,
  onBroken: (kind: "truncated" | "corrupt", error: BpfError) => void,
): AsyncGenerator<Uint8Array> {
  const stream = new DecompressionStream("gzip");
  const writer = stream.writable.getWriter();
  const reader = stream.readable.getReader();
  let sourceFailure: { readonly error: unknown } | undefined;
  // An object, since it changes while the feeding below waits.
  const state = { stopped: false };
  writer.closed.catch(ignore);
  const feed = async (): Promise<void> => {
    while (!state.stopped) {
      let next: IteratorResult<Uint8Array>;
      try {
        next = await chunks.next();
      } catch (error) {
        sourceFailure = { error };
        return writer.abort(error);
      }
      if (next.done) break;
      const chunk = next.value;
      for (let start = 0; start < chunk.length && !state.stopped; start += GZIP_PIECE) {
        // A copy, because the platform may take the buffer away.
        await writer.write(new Uint8Array(chunk.subarray(start, start + GZIP_PIECE)));
      }
    }
    return writer.close();
  };
  // What goes wrong with the decompressor is reported on its readable side.
  feed().catch(ignore);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (error) {
    const failure = sourceFailure as { readonly error: unknown } | undefined;
    if (failure !== undefined) throw failure.error;
    const reason = reasonOf(error);
    const isCut = CUT_OFF.test(reason);
    const what = isCut ? "gzip data is cut off" : "gzip data is damaged";
    const message = reason === "" ? what : `${what}: ${reason}`;
    onBroken(isCut ? "truncated" : "corrupt", new BpfError("capture", message, { cause: error }));
  } finally {
    state.stopped = true;
    reader.cancel().catch(ignore);
  }
}

/** How platforms say that compressed data ended too early; there is no code that they share. */
const CUT_OFF = /unexpected (?:end|eof)|truncated/i;

/** Node.js 20 says what is wrong, later ones say it in the cause of an empty error, browsers in words of their own. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message === "" && error.cause !== undefined ? reasonOf(error.cause) : error.message;
}

function ignore(): void {}
