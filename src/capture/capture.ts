/** The friendly layer: captures from any source, as batches or packet by packet. */

import { BpfError } from "../errors.ts";
import { createBatch, packetAt } from "./batch.ts";
import { CaptureReader } from "./reader.ts";
import { type CaptureSource, type SyncCaptureSource, chunksOf, chunksOfAny } from "./source.ts";
import type {
  CaptureDamage,
  CaptureFormat,
  CapturedPacket,
  CaptureInterface,
  CaptureSection,
  PacketBatch,
  PcapHeader,
} from "./types.ts";

/** How a capture is to be read. */
export interface ReadOptions {
  /** Packets in a batch at most; 8192 when not given. */
  readonly batchCapacity?: number;
  /**
   * What happens at the place where the file is damaged, after all packets before it have been given: "throw" (the
   * default) throws the error, "stop" ends as if the file did, and `damage` tells.
   */
  readonly onDamage?: "throw" | "stop";
}

/** What is known of a capture that is being read; it grows while reading. */
interface CaptureFacts {
  readonly format: CaptureFormat;
  /** The header of a pcap file. */
  readonly header: PcapHeader | undefined;
  /** The sections of a pcapng file so far. */
  readonly sections: readonly CaptureSection[];
  /** The interfaces so far; those of the first packet are there from the beginning. */
  readonly interfaces: readonly CaptureInterface[];
  /** Why reading stopped before the end; known after the last packet. */
  readonly damage: CaptureDamage | undefined;
  /** Bytes read so far, after decompression. */
  readonly offset: number;
}

/** A capture that is being read from a stream. It can be gone through once, by batches or by packets. */
export interface Capture extends CaptureFacts {
  /** Batches of packets; one object, filled anew each time. */
  batches(): AsyncGenerator<PacketBatch, void, undefined>;
  packets(): AsyncGenerator<CapturedPacket, void, undefined>;
  /** Stops early and closes the source; unnecessary after a loop, which does the same when it ends or breaks. */
  close(): Promise<void>;
}

/** A capture that is being read from memory. It can be gone through once, by batches or by packets. */
export interface SyncCapture extends CaptureFacts {
  /** Batches of packets; one object, filled anew each time. */
  batches(): Generator<PacketBatch, void, undefined>;
  packets(): Generator<CapturedPacket, void, undefined>;
}

function factsOf(reader: CaptureReader, format: CaptureFormat): CaptureFacts {
  return {
    format,
    get header() {
      return reader.header;
    },
    get sections() {
      return reader.sections;
    },
    get interfaces() {
      return reader.interfaces;
    },
    get damage() {
      return reader.damage;
    },
    get offset() {
      return reader.offset;
    },
  };
}

/** Adds properties without evaluating getters. */
function extend<T extends object, U extends object>(object: T, more: U): T & U {
  return Object.defineProperties(object, Object.getOwnPropertyDescriptors(more)) as T & U;
}

/** Without a header there is nothing to process, so that is thrown whatever the caller asked for. */
function requireHeader(reader: CaptureReader): CaptureFormat {
  const { format, damage } = reader;
  const hasHeader = reader.header !== undefined || reader.sections.length > 0;
  if (hasHeader && format !== undefined) return format;
  throw damage?.error ?? new BpfError("capture", "capture: nothing was read");
}

/** A capture flows past once; a second loop would silently see nothing. */
function onlyOnce(): () => void {
  let used = false;
  return () => {
    if (used) throw new BpfError("usage", "capture: it has been read already; open it again");
    used = true;
  };
}

function throwDamage(reader: CaptureReader, options: ReadOptions): void {
  if (reader.damage !== undefined && options.onDamage !== "stop") throw reader.damage.error;
}

async function* readAll(
  source: CaptureSource,
  reader: CaptureReader,
  batch: PacketBatch,
): AsyncGenerator<PacketBatch, void, undefined> {
  for await (const chunk of chunksOfAny(source, (kind, error) => reader.fail(kind, error))) {
    reader.push(chunk);
    while (reader.read(batch)) yield batch;
    if (reader.damage !== undefined) return;
  }
  reader.end();
}

function* readAllSync(
  source: SyncCaptureSource,
  reader: CaptureReader,
  batch: PacketBatch,
): Generator<PacketBatch, void, undefined> {
  for (const chunk of chunksOf(source)) {
    reader.push(chunk);
    while (reader.read(batch)) yield batch;
    if (reader.damage !== undefined) return;
  }
  reader.end();
}

/**
 * Opens a capture, pcap or pcapng, gzip-compressed or not, in bounded memory whatever its size.
 *
 * @throws BpfError `capture` when the file has no readable header; damage further on is thrown by the loop, after all
 *   packets before it (see {@link ReadOptions.onDamage}). Errors of the source itself come as they are.
 *
 * @example
 * const capture = await readCapture(createReadStream("web.pcapng"));
 * for await (const batch of capture.batches()) {
 *   for (let i = 0; i < batch.count; i++) bytes += batch.originalLength[i];
 * }
 */
export async function readCapture(source: CaptureSource, options: ReadOptions = {}): Promise<Capture> {
  const reader = new CaptureReader();
  const all = readAll(source, reader, createBatch(options.batchCapacity));
  // The first batch is read ahead, so that format and interfaces are known to whoever gets the capture.
  const first = await all.next();
  const format = requireHeader(reader);
  async function* batches(): AsyncGenerator<PacketBatch, void, undefined> {
    try {
      if (first.done !== true) yield first.value;
      yield* all;
    } finally {
      await all.return();
    }
    throwDamage(reader, options);
  }
  const start = onlyOnce();
  return extend(factsOf(reader, format), {
    batches() {
      start();
      return batches();
    },
    async *packets() {
      start();
      for await (const batch of batches()) {
        for (let index = 0; index < batch.count; index++) yield packetAt(batch, index);
      }
    },
    async close() {
      await all.return();
    },
  });
}

/**
 * Opens a capture that is in memory, or comes in chunks at once. gzip cannot be decompressed without waiting: use
 * {@link readCapture} for it.
 *
 * @throws BpfError as {@link readCapture}
 *
 * @example
 * const capture = readCaptureSync(readFileSync("dns.pcap"));
 * for (const packet of capture.packets()) console.log(packet.timestampNs, packet.data.length);
 */
export function readCaptureSync(source: SyncCaptureSource, options: ReadOptions = {}): SyncCapture {
  const reader = new CaptureReader();
  const all = readAllSync(source, reader, createBatch(options.batchCapacity));
  const first = all.next();
  const format = requireHeader(reader);
  function* batches(): Generator<PacketBatch, void, undefined> {
    try {
      if (first.done !== true) yield first.value;
      yield* all;
    } finally {
      all.return();
    }
    throwDamage(reader, options);
  }
  const start = onlyOnce();
  return extend(factsOf(reader, format), {
    batches() {
      start();
      return batches();
    },
    *packets() {
      start();
      for (const batch of batches()) {
        for (let index = 0; index < batch.count; index++) yield packetAt(batch, index);
      }
    },
  });
}

/**
 * The packets of a capture, one by one. For millions of them take {@link readCapture} and batches, which allocate
 * nothing for a packet.
 *
 * @throws BpfError as {@link readCapture}
 *
 * @example
 * for await (const packet of readPackets(createReadStream("web.pcap.gz"))) {
 *   console.log(packet.number, packet.timestampNs, packet.originalLength);
 * }
 */
export async function* readPackets(
  source: CaptureSource,
  options: ReadOptions = {},
): AsyncGenerator<CapturedPacket, void, undefined> {
  // Not `yield*`: through it each packet would wait for a few more turns of the event queue.
  const capture = await readCapture(source, options);
  for await (const batch of capture.batches()) {
    for (let index = 0; index < batch.count; index++) yield packetAt(batch, index);
  }
}

/**
 * As {@link readPackets}, without waiting.
 *
 * @example
 * const lengths = Array.from(readPacketsSync(bytes), (packet) => packet.originalLength);
 */
export function* readPacketsSync(
  source: SyncCaptureSource,
  options: ReadOptions = {},
): Generator<CapturedPacket, void, undefined> {
  yield* readCaptureSync(source, options).packets();
}
