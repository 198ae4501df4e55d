/** The capture that `-w` writes: the format by the file's name, packets as the program left them. */
import { type CaptureInterface, type PacketBatch, PcapWriter, PcapngWriter } from "../../capture/index.ts";
import type { KeptPacket } from "../../machine/index.ts";
import { OutputFile } from "../files.ts";

/** if_tsresol of microseconds, the resolution that pcap files have unless they say otherwise. */
const MICROSECONDS = 6;

export class CaptureOutput {
  readonly path: string;
  readonly #file: OutputFile;
  readonly #like: CaptureInterface | undefined;
  #writer: PcapWriter | PcapngWriter | undefined;

  private constructor(path: string, file: OutputFile, like: CaptureInterface | undefined) {
    this.path = path;
    this.#file = file;
    this.#like = like;
  }

  /** @param like the interface of a pcap file whose packets stay as they are: its snapshot length and FCS are kept */
  static create(path: string, like?: CaptureInterface): CaptureOutput {
    return new CaptureOutput(path, OutputFile.create(path), like);
  }

  get packets(): number {
    return this.#writer?.packets ?? 0;
  }

  /** Takes a packet of the batch after its run. */
  add(batch: PacketBatch, { index, bytes, metaLength }: KeptPacket): void {
    const source = batch.interfaces[batch.interfaceIndex[index] as number] as CaptureInterface;
    const writer = this.#start(source);
    const length = bytes.length - metaLength;
    // What the program added or removed changes the length on the wire by as much.
    const wire = (batch.originalLength[index] as number) + length - (batch.capturedLength[index] as number);
    const rest = [
      bytes,
      metaLength,
      length,
      batch.seconds[index] as number,
      batch.nanoseconds[index] as number,
      Math.max(wire, length),
    ] as const;
    if (writer instanceof PcapngWriter) writer.write(writer.idOf(source), ...rest);
    else writer.write(...rest);
  }

  /** Takes the packets of a batch for which `keep` is not 0, as they are. */
  addBatch(batch: PacketBatch, keep: ArrayLike<number>): void {
    const first = batch.interfaces[batch.interfaceIndex[0] as number];
    if (first !== undefined) this.#start(first).batch(batch, keep);
  }

  /** Writes records as a pcap file like that of {@link CaptureOutput.create} has them. */
  copy(source: CaptureInterface, records: Uint8Array): void {
    this.#start(source);
    this.flush();
    this.#file.write(records);
  }

  /** Whether records of a pcap file can be copied: the format is the same. */
  get copies(): boolean {
    return !isPcapng(this.path);
  }

  /** Writes what has been added so far to the file. */
  flush(): void {
    const bytes = this.#writer?.take();
    if (bytes !== undefined && bytes.length > 0) this.#file.write(bytes);
  }

  /** Puts the file in place; without packets it is a capture all the same, of the first interface's link type. */
  commit(interfaces: readonly CaptureInterface[]): void {
    const [first] = interfaces;
    if (first !== undefined) this.#start(first);
    this.flush();
    this.#file.commit();
  }

  discard(): void {
    this.#file.discard();
  }

  #start(source: CaptureInterface): PcapWriter | PcapngWriter {
    const like = this.#like;
    this.#writer ??= isPcapng(this.path)
      ? new PcapngWriter()
      : new PcapWriter({
          linktype: source.linktype,
          resolution: source.tsresol === MICROSECONDS ? "us" : "ns",
          ...(like === undefined || like.snaplen === 0 ? {} : { snaplen: like.snaplen }),
          fcsBits: like?.fcsBits,
        });
    return this.#writer;
  }
}

const isPcapng = (path: string): boolean => path.endsWith(".pcapng");
