/** Where packets come from that are only looked at: pcap files straight into a matcher's memory, all else as a stream. */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import {
  type CaptureDamage,
  type CaptureInterface,
  type PacketBatch,
  PcapBuffer,
  createBatch,
  readCapture,
} from "../../capture/index.ts";
import { type PacketMemory, createPacketMemory } from "../../cbpf/index.ts";
import { ioError, streamInput } from "../files.ts";
import type { CaptureOutput } from "./output.ts";

/** Large enough that calls of the kernel cost nothing, small enough for the second-level cache. */
const BUFFER = 1 << 19;
/** After so many buffers signals and timers have their turn. */
const TURN = 64;

export interface PacketSource {
  /** Grows while a pcapng file is being read. */
  readonly interfaces: readonly CaptureInterface[];
  /** Where packets lie, if not in memory of their own. */
  readonly memory: PacketMemory | undefined;
  /** The interface whose properties a copy keeps, if the source is a pcap file. */
  readonly like: CaptureInterface | undefined;
  /** The file's size, and how much of it has been read. */
  readonly size: number | undefined;
  readonly offset: number;
  readonly damage: CaptureDamage | undefined;
  batches(): AsyncIterable<PacketBatch>;
  /** Writes the packets of the last batch for which `keep` is not 0; their bytes may be gone afterwards. */
  write(sink: CaptureOutput, batch: PacketBatch, keep: ArrayLike<number>): void;
}

/** Opens a capture; "-" is standard input. */
export async function openPackets(path: string): Promise<PacketSource> {
  const file = path === "-" ? undefined : PcapFile.open(path);
  if (file !== undefined) return file;
  const { chunks, size } = await streamInput(path);
  const capture = await readCapture(chunks, { onDamage: "stop" });
  const [first] = capture.interfaces;
  const plain = capture.header?.modified === false;
  return {
    interfaces: capture.interfaces,
    memory: undefined,
    like: plain ? first : undefined,
    size,
    get offset() {
      return capture.offset;
    },
    get damage() {
      return capture.damage;
    },
    batches: () => capture.batches(),
    write(sink, batch, keep) {
      sink.addBatch(batch, keep);
      sink.flush();
    },
  };
}

class PcapFile implements PacketSource {
  readonly memory: PacketMemory;
  readonly size: number;
  readonly #path: string;
  readonly #fd: number;
  readonly #buffer: PcapBuffer;
  readonly #batch = createBatch(4096);
  /** Whether the batch holds packets that nobody has seen. */
  #ready = false;

  private constructor(path: string, fd: number, size: number, memory: PacketMemory, buffer: PcapBuffer) {
    this.#path = path;
    this.#fd = fd;
    this.size = size;
    this.memory = memory;
    this.#buffer = buffer;
  }

  /** Undefined for what is no pcap file on a disk. */
  static open(path: string): PcapFile | undefined {
    let fd: number | undefined;
    try {
      const info = statSync(path);
      if (!info.isFile()) return undefined;
      fd = openSync(path, "r");
      const memory = createPacketMemory(BUFFER);
      // The header's 24 bytes tell the link type.
      const length = readAtLeast(fd, memory.data, 24);
      const buffer = PcapBuffer.open(memory.data, memory.data.subarray(0, length));
      if (buffer === undefined) return undefined;
      buffer.fill(length);
      const file = new PcapFile(path, fd, info.size, memory, buffer);
      file.#ready = buffer.read(file.#batch);
      // Without a header there is nothing to read: the stream says why.
      if (buffer.interfaces.length === 0) return undefined;
      fd = undefined;
      return file;
    } catch (error) {
      throw ioError(path, "read", error);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  get interfaces(): readonly CaptureInterface[] {
    return this.#buffer.interfaces;
  }

  get like(): CaptureInterface | undefined {
    return this.#buffer.header?.modified === false ? this.interfaces[0] : undefined;
  }

  get offset(): number {
    return this.#buffer.offset;
  }

  get damage(): CaptureDamage | undefined {
    return this.#buffer.damage;
  }

  async *batches(): AsyncGenerator<PacketBatch> {
    try {
      const buffer = this.#buffer;
      for (let turn = 1, ended = false; ; turn++) {
        while (this.#ready) {
          yield this.#batch;
          this.#ready = buffer.read(this.#batch);
        }
        if (ended || this.damage !== undefined) return;
        const bytes = this.#read(buffer.room);
        ended = bytes === 0;
        buffer.fill(bytes);
        this.#ready = buffer.read(this.#batch);
        if (turn % TURN === 0) await new Promise(setImmediate);
      }
    } finally {
      closeSync(this.#fd);
    }
  }

  #read(room: Uint8Array): number {
    try {
      return readSync(this.#fd, room);
    } catch (error) {
      throw ioError(this.#path, "read", error);
    }
  }

  write(sink: CaptureOutput, batch: PacketBatch, keep: ArrayLike<number>): void {
    const records = sink.copies ? this.#buffer.keep(batch, keep) : undefined;
    if (records === undefined) {
      sink.addBatch(batch, keep);
      sink.flush();
    } else if (records.length > 0) {
      sink.copy(this.interfaces[0] as CaptureInterface, records);
    }
  }
}

/** Reads until there are so many bytes or the file ends. */
function readAtLeast(fd: number, data: Uint8Array, least: number): number {
  let length = 0;
  while (length < least) {
    const bytes = readSync(fd, data, length, data.length - length, null);
    if (bytes === 0) break;
    length += bytes;
  }
  return length;
}
