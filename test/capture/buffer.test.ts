/** A pcap file read through one buffer gives what the reader of chunks gives, and keeps records as they are. */
import { describe, expect, test } from "vitest";
import {
  type CapturedPacket,
  PcapBuffer,
  PcapWriter,
  createBatch,
  packetAt,
  readCaptureSync,
} from "../../src/capture/index.ts";
import { concat, payload, pcapHeader, pcapRecord } from "./build.ts";

const lengths = [0, 1, 20, 60, 61, 191, 192, 193, 1514, 64, 64, 3, 400];
const records = (options: Parameters<typeof pcapRecord>[1] = {}): Uint8Array[] =>
  lengths.map((length, index) => pcapRecord(payload(length, index), { seconds: index, ...options }));

/** Name, file, and whether its records can be kept as they are. */
const FILES: Record<string, readonly [Uint8Array, boolean]> = {
  microseconds: [concat(pcapHeader(), ...records()), true],
  nanoseconds: [concat(pcapHeader({ magic: 0xa1b23c4d }), ...records()), true],
  "big-endian": [concat(pcapHeader({ order: "big" }), ...records({ order: "big" })), false],
  "version 2.3": [concat(pcapHeader({ minor: 3 }), ...records()), false],
  modified: [concat(pcapHeader({ magic: 0xa1b2cd34 }), ...records({ extra: payload(8, 9) })), false],
  "packets above the snapshot length": [concat(pcapHeader({ snaplen: 100 }), ...records()), false],
  "cut off in a record": [
    concat(pcapHeader(), ...records(), pcapRecord(payload(50, 1)).subarray(0, 40)),
    true,
  ],
  "cut off in a record's header": [concat(pcapHeader(), ...records(), payload(9, 1)), true],
  "an impossible length": [
    concat(pcapHeader(), ...records(), pcapRecord(payload(50, 1), { captured: 0x7fff_ffff }), ...records()),
    true,
  ],
  "no packets": [pcapHeader(), true],
};

/** 0 or 1, repeatably. */
function coin(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state >>> 31;
  };
}

/** Reads a file; `take` sees each batch. */
function read(file: Uint8Array, size: number, step: number, take: (buffer: PcapBuffer) => void): PcapBuffer {
  const buffer = PcapBuffer.open(new Uint8Array(size), file) as PcapBuffer;
  for (let position = 0, ended = false; !ended && buffer.damage === undefined; ) {
    const { room } = buffer;
    const bytes = file.subarray(position, position + Math.min(step, room.length));
    room.set(bytes);
    position += bytes.length;
    ended = bytes.length === 0;
    buffer.fill(bytes.length);
    take(buffer);
  }
  return buffer;
}

describe.each(Object.entries(FILES))("%s", (_, [file, plain]) => {
  test.each([
    [64, 64, 3],
    [100, 7, 100],
    [1000, 1000, 2],
    [1 << 16, 1 << 16, 100],
  ])("a buffer of %i bytes, filled by %i, batches of %i", (size, step, capacity) => {
    const expected: CapturedPacket[] = [];
    const capture = readCaptureSync(file, { onDamage: "stop" });
    for (const batch of capture.batches())
      for (let index = 0; index < batch.count; index++) expected.push(packetAt(batch, index));
    const next = coin(size + capacity);
    const packets: CapturedPacket[] = [];
    const kept: Uint8Array[] = [];
    const writer = new PcapWriter({ resolution: capture.interfaces[0]?.tsresol === 6 ? "us" : "ns" });
    const header = writer.take();
    let refused = 0;
    const batch = createBatch(capacity);
    const buffer = read(file, size, step, (source) => {
      while (source.read(batch)) {
        const keep = Array.from({ length: batch.count }, () => next());
        for (let index = 0; index < batch.count; index++) packets.push(packetAt(batch, index));
        const untouched = batch.data.slice();
        writer.batch(batch, keep);
        const bytes = writer.take();
        const mine = source.keep(batch, keep);
        if (mine === undefined) {
          refused++;
          expect(batch.data).toEqual(untouched);
        } else {
          expect(mine).toEqual(bytes);
          kept.push(mine.slice());
        }
      }
    });
    expect(packets).toEqual(expected);
    expect(buffer.packets).toBe(expected.length);
    expect(buffer.damage).toEqual(capture.damage);
    expect(buffer.header).toEqual(capture.header);
    expect(header).toHaveLength(24);
    if (plain) expect(refused).toBe(0);
    else expect(refused).toBeGreaterThan(0);
  });
});

test("what is no pcap file is not opened", () => {
  for (const file of [new Uint8Array(24), Uint8Array.of(0x0a, 0x0d, 0x0d, 0x0a), new Uint8Array(2)])
    expect(PcapBuffer.open(new Uint8Array(1000), file)).toBeUndefined();
});
