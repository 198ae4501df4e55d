/** Ten thousand damaged captures: whatever the bytes, packets or a BpfError, in bounded memory and time. */
import { describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  CaptureReader,
  PcapWriter,
  PcapngWriter,
  createBatch,
  decodePacketOptions,
  packetAt,
  readPackets,
} from "../../src/capture/index.ts";
import {
  block,
  concat,
  epb,
  hex,
  idb,
  oldPacket,
  option,
  pack,
  payload,
  pcapHeader,
  pcapRecord,
  shb,
  spb,
  text,
} from "./build.ts";

/** A small generator with a seed (xorshift32), so that a failure can be repeated by its number. */
function random(seed: number): () => number {
  let state = Math.imul(seed, 0x9e37_79b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const SEEDS: Record<string, Uint8Array> = {
  pcap: concat(pcapHeader(), ...[60, 0, 1500, 7].map((n) => pcapRecord(payload(n)))),
  "pcap, big-endian": concat(
    pcapHeader({ order: "big", minor: 3 }),
    ...[60, 9].map((n) => pcapRecord(payload(n), { order: "big" })),
  ),
  pcapng: concat(
    shb({ more: concat(option(4, text("skep")), option(0, new Uint8Array(0))) }),
    idb({
      more: concat(
        option(9, Uint8Array.of(9)),
        option(14, pack("little", ["i64", 3])),
        option(2, text("eth0")),
      ),
    }),
    epb(payload(60), { more: concat(option(1, text("comment")), option(2, pack("little", ["u32", 1]))) }),
    block(0xbad, payload(50)),
    idb({ linktype: 101, snaplen: 30, more: option(9, Uint8Array.of(0x94)) }),
    spb(payload(20)),
    oldPacket(payload(21), { id: 1 }),
    shb({ order: "big" }),
    idb({ order: "big" }),
    epb(payload(33), { order: "big" }),
  ),
};

const VALUES = [
  0, 1, 3, 4, 12, 16, 28, 32, 0x7f, 0x80, 0xff, 0xffff, 262_144, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc,
  0xffff_ffff,
];

function mutate(file: Uint8Array, next: () => number): Uint8Array {
  let bytes: Uint8Array = file.slice();
  for (let i = 1 + (next() % 4); i > 0; i--) {
    const at = next() % bytes.length;
    switch (next() % 6) {
      case 0:
        bytes[at] = next();
        break;
      case 1:
        bytes[at]! ^= 1 << (next() & 7);
        break;
      case 2:
        if (at + 4 <= bytes.length) {
          new DataView(bytes.buffer).setUint32(at & ~3, VALUES[next() % VALUES.length]!, (next() & 1) === 0);
        }
        break;
      case 3:
        bytes = bytes.slice(0, at + 1);
        break;
      case 4:
        bytes = concat(bytes.subarray(0, at), payload(next() % 9, next()), bytes.subarray(at));
        break;
      default:
        bytes = concat(
          bytes.subarray(0, at),
          bytes.subarray(Math.min(bytes.length, at + (next() % 9))),
          payload(1),
        );
    }
  }
  return bytes;
}

interface Outcome {
  packets: string[];
  damage: unknown;
}

function readIn(file: Uint8Array, chunkOf: () => number, batchCapacity: number): Outcome {
  const reader = new CaptureReader();
  const batch = createBatch(batchCapacity);
  const packets: string[] = [];
  for (let at = 0; at < file.length; ) {
    const size = chunkOf();
    reader.push(file.subarray(at, at + size));
    at += size;
    while (reader.read(batch)) {
      for (let i = 0; i < batch.count; i++) {
        const packet = packetAt(batch, i);
        try {
          decodePacketOptions(packet);
        } catch (error) {
          if (!(error instanceof BpfError)) throw error;
        }
        packets.push(
          [
            packet.number,
            packet.timestampNs,
            packet.originalLength,
            packet.interfaceIndex,
            hex(packet.data),
          ].join(),
        );
      }
    }
  }
  reader.end();
  const { damage } = reader;
  return {
    packets,
    damage: damage && {
      kind: damage.kind,
      packets: damage.packets,
      message: damage.error.message,
      where: damage.error.where,
    },
  };
}

function copyAll(file: Uint8Array): void {
  for (const writer of [new PcapWriter(), new PcapngWriter({ byteOrder: "big" })]) {
    const reader = new CaptureReader();
    const batch = createBatch(3);
    reader.push(file);
    try {
      while (reader.read(batch)) writer.batch(batch);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
    }
  }
}

describe.each(Object.entries(SEEDS))("%s", (_name, file) => {
  test("3,400 mutations", () => {
    let damaged = 0;
    for (let seed = 1; seed <= 3400; seed++) {
      const next = random(seed);
      const bytes = mutate(file, next);
      const whole = readIn(bytes, () => bytes.length, 64);
      // However it is cut, the outcome is the same to the last word.
      expect(
        readIn(bytes, () => 1 + (next() % 40), 1 + (next() % 3)),
        `seed ${seed}`,
      ).toEqual(whole);
      copyAll(bytes);
      if (whole.damage !== undefined) damaged++;
    }
    // Most mutations must be felt, or this proves nothing; and some must be survived.
    expect(damaged).toBeGreaterThan(500);
    expect(damaged).toBeLessThan(3400);
  });

  test("a few through the asynchronous reader", async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const bytes = mutate(file, random(seed));
      try {
        for await (const packet of readPackets([bytes])) expect(packet.number).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toBeInstanceOf(BpfError);
      }
    }
  });
});
