/** Batches: making one, and taking single packets out of it. */

import { BpfError } from "../errors.ts";
import { type CaptureOption, decodeOptions } from "./options.ts";
import type { CapturedPacket, PacketBatch } from "./types.ts";

/** How many packets a batch takes when nobody says otherwise; 8192 rows are 320 KiB, which caches hold. */
export const BATCH_CAPACITY = 8192;

const NOTHING = new Uint8Array(0);

/**
 * An empty batch, to be filled by {@link CaptureReader.read} again and again.
 *
 * @example
 * const batch = createBatch(1024);
 */
export function createBatch(capacity: number = BATCH_CAPACITY): PacketBatch {
  if (!Number.isInteger(capacity) || capacity < 1 || capacity > 0x100_0000) {
    throw new BpfError("usage", `batch capacity ${capacity} is not between 1 and 16777216`);
  }
  return {
    capacity,
    count: 0,
    data: NOTHING,
    firstNumber: 1,
    interfaces: [],
    offset: new Uint32Array(capacity),
    capturedLength: new Uint32Array(capacity),
    originalLength: new Uint32Array(capacity),
    interfaceIndex: new Uint32Array(capacity),
    seconds: new Float64Array(capacity),
    nanoseconds: new Uint32Array(capacity),
    optionsOffset: new Uint32Array(capacity),
    optionsLength: new Uint32Array(capacity),
  };
}

/** Packet `index` of a batch by itself; its bytes are copied, so it stays valid. */
export function packetAt(batch: PacketBatch, index: number): CapturedPacket {
  if (!Number.isInteger(index) || index < 0 || index >= batch.count) {
    throw new BpfError("usage", `batch has ${batch.count} packets, there is no number ${index}`);
  }
  const start = batch.offset[index]!;
  const source = batch.interfaces[batch.interfaceIndex[index]!]!;
  const optionsLength = batch.optionsLength[index]!;
  const optionsStart = batch.optionsOffset[index]!;
  return {
    number: batch.firstNumber + index,
    data: copyOf(batch.data, start, batch.capturedLength[index]!),
    originalLength: batch.originalLength[index]!,
    timestampNs: BigInt(batch.seconds[index]!) * 1_000_000_000n + BigInt(batch.nanoseconds[index]!),
    interfaceIndex: source.index,
    linktype: source.linktype,
    rawOptions: optionsLength === 0 ? NOTHING : copyOf(batch.data, optionsStart, optionsLength),
    littleEndian: source.littleEndian,
  };
}

// Not slice(): on a Node.js Buffer, which most chunks are, that gives a view and no copy.
function copyOf(data: Uint8Array, start: number, length: number): Uint8Array {
  const copy = new Uint8Array(length);
  copy.set(data.subarray(start, start + length));
  return copy;
}

/**
 * The pcapng options of a packet: comments, flags, drop counts and so on.
 *
 * @throws BpfError `capture` when they are damaged
 * @example
 * const comments = decodePacketOptions(packet).filter((option) => option.name === "opt_comment");
 */
export function decodePacketOptions(
  packet: Pick<CapturedPacket, "rawOptions" | "littleEndian">,
): readonly CaptureOption[] {
  return packet.rawOptions.length === 0
    ? []
    : decodeOptions("packet", packet.rawOptions, packet.littleEndian);
}
