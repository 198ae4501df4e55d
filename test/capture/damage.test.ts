/** Damaged files: what comes before the damage is delivered, and the damage is named with its place. */
import { describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  CaptureReader,
  type CapturedPacket,
  createBatch,
  readCapture,
  readCaptureSync,
  readPackets,
  readPacketsSync,
} from "../../src/capture/index.ts";
import {
  concat,
  block,
  epb,
  everyBytes,
  idb,
  option,
  pack,
  payload,
  pcapHeader,
  pcapRecord,
  shb,
  spb,
  text,
} from "./build.ts";

const A = payload(20, 1);
const B = payload(33, 2);

function collect(file: Uint8Array): { packets: CapturedPacket[]; error: unknown } {
  const packets: CapturedPacket[] = [];
  try {
    for (const packet of readPacketsSync(file)) packets.push(packet);
  } catch (error) {
    return { packets, error };
  }
  return { packets, error: undefined };
}

function failure(file: Uint8Array): {
  packets: number;
  code: string;
  message: string;
  offset: number | undefined;
} {
  const { packets, error } = collect(file);
  if (!(error instanceof BpfError)) throw new Error(`no BpfError but ${String(error)}`);
  return { packets: packets.length, code: error.code, message: error.message, offset: error.where.offset };
}

// What the file is, packets before the damage, where it is, and what the message says.
const CORRUPT: readonly (readonly [string, Uint8Array, number, number, string])[] = [
  [
    "captured length above all reason",
    concat(pcapHeader(), pcapRecord(A), pcapRecord(B, { captured: 0xffff_fff0 }), pcapRecord(A)),
    1,
    60,
    "packet 2 is damaged: its record at byte 60 states 4294967280 captured bytes, 262144 is the most",
  ],
  [
    "captured length just above the maximum",
    concat(pcapHeader({ snaplen: 0 }), pcapRecord(payload(262_145))),
    0,
    24,
    "packet 1 is damaged: its record at byte 24 states 262145 captured bytes, 262144 is the most",
  ],
  [
    "unknown pcap version",
    concat(pcapHeader({ minor: 5 }), pcapRecord(A)),
    0,
    4,
    "pcap header: version 2.5 is unknown; 2.0 to 2.4 and 543.0 exist",
  ],
  ["archaic pcap version", pcapHeader({ major: 1, minor: 0 }), 0, 4, "pcap header: version 1.0 is unknown"],
  [
    "unknown pcapng version",
    concat(shb({ major: 2 }), idb(), epb(A)),
    0,
    0,
    "the section header block at byte 0 has version 2.0; 1.0 is known",
  ],
  [
    "second section of an unknown version",
    concat(shb(), idb(), epb(A), shb({ minor: 1 }), idb(), epb(A)),
    1,
    100,
    "the section header block at byte 100 has version 1.1; 1.0 is known",
  ],
  [
    "second section without byte-order magic",
    concat(shb(), idb(), epb(A), block(0x0a0d0d0a, new Uint8Array(16))),
    1,
    100,
    "the section header block at byte 100 has no byte-order magic",
  ],
  [
    "block shorter than a block",
    concat(shb(), idb(), block(0xbad, new Uint8Array(4), { length: 8 })),
    0,
    48,
    "the block at byte 48, before packet 1, is damaged: its length is 8, it is at least 12",
  ],
  [
    "block of length 0",
    concat(shb(), idb(), epb(A), block(0, new Uint8Array(0), { length: 0 })),
    1,
    100,
    "the block at byte 100, before packet 2, is damaged: its length is 0, it is at least 12",
  ],
  [
    "block length that is no multiple of 4",
    concat(shb(), idb(), block(0xbad, new Uint8Array(4), { length: 17 }), payload(20)),
    0,
    48,
    "its length is 17, it must be a multiple of 4",
  ],
  [
    "packet block shorter than its numbers",
    concat(shb(), idb(), block(6, new Uint8Array(16))),
    0,
    48,
    "its length is 28, it is at least 32",
  ],
  [
    "interface block shorter than its numbers",
    concat(shb(), block(1, new Uint8Array(4))),
    0,
    28,
    "its length is 16, it is at least 20",
  ],
  [
    "unknown block whose lengths differ",
    concat(shb(), idb(), block(0xbad, payload(8), { trailer: 24 }), epb(A)),
    0,
    48,
    "the block at byte 48 is damaged: its length is 20 at the beginning and 24 at the end",
  ],
  [
    "packet block whose lengths differ",
    concat(shb(), idb(), epb(A), epb(A).subarray(0, 48), pack("little", ["u32", 99])),
    1,
    100,
    "the block at byte 100 is damaged: its length is 52 at the beginning and 99 at the end",
  ],
  [
    "interface block whose lengths differ",
    concat(shb(), block(1, new Uint8Array(8), { trailer: 16 })),
    0,
    28,
    "the block at byte 28 is damaged: its length is 20 at the beginning and 16 at the end",
  ],
  [
    "captured length above the block's",
    concat(shb(), idb(), epb(A, { captured: 21 })),
    0,
    48,
    "packet 1 is damaged: its record at byte 48 states 21 captured bytes, its block has room for 20",
  ],
  [
    "captured length in pcapng above all reason",
    concat(shb(), idb(), epb(A, { captured: 0xffff_ffff })),
    0,
    48,
    "packet 1 is damaged: its record at byte 48 states 4294967295 captured bytes, 262144 is the most",
  ],
  [
    "simple packet longer than its block",
    concat(shb(), idb(), spb(A, { original: 100 })),
    0,
    48,
    "packet 1 is damaged: its record at byte 48 states 100 captured bytes, its block has room for 20",
  ],
  [
    "packet block with a length that its packet does not explain",
    concat(shb(), idb(), pack("little", ["u32", 6], ["u32", 0x7fff_fff0]), new Uint8Array(40)),
    0,
    48,
    "the block at byte 48 is damaged: its length is 2147483632",
  ],
  [
    "interface block of 2 GiB",
    concat(shb(), pack("little", ["u32", 1], ["u32", 0x7fff_fff0]), new Uint8Array(40)),
    0,
    28,
    "the block at byte 28 is damaged: its length is 2147483632",
  ],
  [
    "section block of 2 GiB",
    pack("little", ["u32", 0x0a0d0d0a], ["u32", 0x7fff_fff0], ["u32", 0x1a2b3c4d], new Uint8Array(40)),
    0,
    0,
    "the block at byte 0 is damaged: its length is 2147483632",
  ],
  [
    "interface that does not exist",
    concat(shb(), idb(), epb(A), epb(A, { id: 1 })),
    1,
    100,
    "packet 2 at byte 100 came from interface 1, but its section describes 1 (0 to 0)",
  ],
  [
    "packet before any interface",
    concat(shb(), epb(A)),
    0,
    28,
    "packet 1 at byte 28 came from interface 0, but its section describes none",
  ],
  [
    "simple packet before any interface",
    concat(shb(), spb(A)),
    0,
    28,
    "packet 1 at byte 28 came from interface 0, but its section describes none",
  ],
  [
    "interface of the section before",
    concat(shb(), idb(), epb(A), shb(), epb(A)),
    1,
    128,
    "packet 2 at byte 128 came from interface 0, but its section describes none",
  ],
  [
    "option that runs past its block",
    concat(shb(), idb({ more: pack("little", ["u16", 2], ["u16", 200], payload(4)) })),
    0,
    44,
    "interface option at byte 44 is 200 bytes long, 4 are left in its block",
  ],
  [
    "section option that runs past its block",
    concat(shb({ more: concat(option(1, text("fine")), pack("little", ["u16", 1], ["u16", 1])) }), idb()),
    0,
    32,
    "section option at byte 32 is 1 bytes long, 0 are left in its block",
  ],
  [
    "time resolution of two bytes",
    concat(shb(), idb({ more: option(9, Uint8Array.of(6, 6)) })),
    0,
    28,
    "interface 0 at byte 28: if_tsresol is 2 bytes long",
  ],
  [
    "two time resolutions",
    concat(shb(), idb({ more: concat(option(9, Uint8Array.of(6)), option(9, Uint8Array.of(9))) })),
    0,
    28,
    "interface 0 at byte 28 has 2 options if_tsresol",
  ],
  [
    "time offset beyond what counts seconds",
    concat(shb(), idb(), idb({ more: option(14, pack("little", ["i64", 1n << 60n])) })),
    0,
    48,
    "interface 1 at byte 48: if_tsoffset is 1152921504606846976 seconds, beyond 2^53",
  ],
];

test.each(CORRUPT)("%s", (_name, file, packets, offset, message) => {
  expect(failure(file)).toEqual({
    packets,
    code: "capture",
    message: expect.stringContaining(message),
    offset,
  });
  // The same however it is cut.
  for (const size of [1, 3, 11, 30]) {
    const capture = new CaptureReader();
    const batch = createBatch();
    let count = 0;
    for (const chunk of everyBytes(file, size)) {
      capture.push(chunk);
      while (capture.read(batch)) count += batch.count;
    }
    capture.end();
    expect(count).toBe(packets);
    expect(capture.damage).toMatchObject({ kind: "corrupt", packets });
    expect(capture.damage?.error.message).toContain(message);
    expect(capture.damage?.error.where.offset).toBe(offset);
  }
});

const FOREIGN: readonly (readonly [Uint8Array, string])[] = [
  [new Uint8Array(0), "not a pcap or pcapng file: it is empty"],
  [
    Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0),
    "not a pcap or pcapng file: it starts with 7f454c46 (an ELF object)",
  ],
  [Uint8Array.of(0xd4, 0xc3), "not a pcap or pcapng file: it starts with d4c3, and is only 2 bytes long"],
  [Uint8Array.of(0xd4), "not a pcap or pcapng file: it starts with d4, and is only 1 byte long"],
  [
    text("#!/bin/sh\nexit\n"),
    'not a pcap or pcapng file: it starts with 23212f62 (text: "#!/bin/sh\\nexit\\n")',
  ],
  [
    Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0),
    "it starts with 1f8b0800 (gzip data; readCapture decompresses it, the synchronous readers cannot)",
  ],
  [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0), "it starts with 28b52ffd (zstd data; decompress it first)"],
  [text("snoop\0\0\0\0\0\0\x02"), "it starts with 736e6f6f70000000 (a snoop capture)"],
  [
    Uint8Array.of(0xa1, 0xb2, 0xc3, 0xcb, 0, 0),
    "it starts with a1b2c3cb (a cbpf-savefile, which holds a filter and no packets)",
  ],
  [Uint8Array.of(1, 2, 3, 4, 5, 6), "not a pcap or pcapng file: it starts with 01020304"],
  [text("\n\r\r\n, then lines of text"), "not a pcap or pcapng file: it starts with 0a0d0d0a (text: "],
];

test.each(FOREIGN)("no capture: %#", async (file, message) => {
  for (const open of [
    () => readCaptureSync(file),
    () => readCaptureSync(file, { onDamage: "stop" }),
    () => readCaptureSync(everyBytes(file, 1)),
  ]) {
    expect(open).toThrow(BpfError);
    expect(open).toThrow(message);
  }
  const reader = new CaptureReader();
  reader.push(file);
  expect(reader.read(createBatch())).toBe(false);
  reader.end();
  expect(reader.damage).toMatchObject({
    kind: "foreign",
    packets: 0,
    error: { code: "capture", where: { offset: 0 } },
  });
});

describe("cut off at every byte", () => {
  const packets = [A, B, new Uint8Array(0), payload(5)];
  const files: Record<string, [Uint8Array, number[], number]> = {
    pcap: [concat(pcapHeader(), ...packets.map((data) => pcapRecord(data))), [24], 24],
    pcapng: [
      concat(shb(), idb(), ...packets.map((data) => epb(data)), block(0xbad, payload(30)), epb(A)),
      [28, 48],
      28,
    ],
  };
  // Where records end: there, the file is whole.
  const lastOf = { pcap: packets.map((data) => 16 + data.length), pcapng: [52, 68, 32, 40, 44, 52] };

  test.each(["pcap", "pcapng"] as const)("%s", (format) => {
    const [file, ends, header] = files[format]!;
    for (const size of lastOf[format]) ends.push(ends.at(-1)! + size);
    expect(ends.at(-1)).toBe(file.length);
    const all = [...readPacketsSync(file)];
    for (let length = 0; length < file.length; length++) {
      const cut = file.slice(0, length);
      const { packets: got, error } = collect(cut);
      const before = all.filter((_, i) => {
        const recordEnds = format === "pcap" ? ends.slice(1) : [...ends.slice(2, 6), ends[7]!];
        return recordEnds[i]! <= length;
      });
      expect(got).toEqual(before);
      if (ends.includes(length)) {
        expect(error).toBeUndefined();
        continue;
      }
      expect(error).toBeInstanceOf(BpfError);
      const { code, message, where } = error as BpfError;
      expect(code).toBe("capture");
      const begin = Math.max(0, ...ends.filter((end) => end <= length));
      if (length >= 4) {
        expect(message).toContain(`only ${length - begin} are there`);
        if (format === "pcapng" || length >= header) expect(message).toContain(`at byte ${begin}`);
        if (length >= header) expect(message).toContain(`packet ${got.length + 1}`);
      }
      for (const size of [1, 9]) {
        const reader = new CaptureReader();
        const batch = createBatch();
        for (const chunk of everyBytes(cut, size)) {
          reader.push(chunk);
          while (reader.read(batch));
        }
        reader.end();
        expect(reader.packets).toBe(got.length);
        expect(reader.damage?.kind).toBe(length < 4 ? "foreign" : "truncated");
        expect(reader.damage?.error.message).toBe(message);
        expect(reader.damage?.error.where).toEqual(where);
      }
    }
  });

  test("says how much is missing", () => {
    const file = concat(pcapHeader(), pcapRecord(A), pcapRecord(B));
    expect(failure(file.subarray(0, 85)).message).toBe(
      "packet 2 is cut off: its record at byte 60 needs 49 bytes, only 25 are there",
    );
    expect(failure(file.subarray(0, 65)).message).toBe(
      "packet 2 is cut off: its header at byte 60 needs 16 bytes, only 5 are there",
    );
    expect(failure(file.subarray(0, 20)).message).toBe(
      "pcap header is cut off: it needs 24 bytes, only 20 are there",
    );
    const ng = concat(shb(), idb(), epb(A), block(0xbad, payload(40)));
    expect(failure(ng.subarray(0, ng.length - 7)).message).toBe(
      "the block at byte 100, before packet 2, is cut off: it needs 52 bytes, only 45 are there",
    );
    expect(failure(ng.subarray(0, ng.length - 2)).message).toBe(
      "the block at byte 100, before packet 2, is cut off: it needs 52 bytes, only 50 are there",
    );
    expect(failure(ng.subarray(0, 11)).message).toBe(
      "the section header block at byte 0, before packet 1, is cut off: it needs 12 bytes, only 11 are there",
    );
  });
});

describe("after the damage", () => {
  const file = concat(pcapHeader(), pcapRecord(A), pcapRecord(B)).subarray(0, 80);

  test("'stop' ends the loop, and damage tells", async () => {
    const sync = readCaptureSync(file, { onDamage: "stop" });
    expect([...sync.packets()]).toHaveLength(1);
    expect(sync.damage).toMatchObject({ kind: "truncated", packets: 1 });
    const capture = await readCapture(file, { onDamage: "stop" });
    let count = 0;
    for await (const batch of capture.batches()) count += batch.count;
    expect(count).toBe(1);
    expect(capture.damage).toMatchObject({ kind: "truncated", packets: 1, error: { where: { offset: 60 } } });
  });

  test("the default throws, after the packets", async () => {
    let count = 0;
    const read = async (): Promise<void> => {
      for await (const _ of readPackets(file)) count++;
    };
    await expect(read()).rejects.toThrow("packet 2 is cut off");
    expect(count).toBe(1);
  });

  test("a damaged reader takes no more", () => {
    const reader = new CaptureReader();
    const batch = createBatch();
    reader.push(concat(pcapHeader(), pcapRecord(A), pcapRecord(B, { captured: 1 << 30 })));
    expect(reader.read(batch)).toBe(true);
    expect(batch.count).toBe(1);
    expect(reader.read(batch)).toBe(false);
    reader.push(pcapRecord(A));
    expect(reader.read(batch)).toBe(false);
    reader.end();
    expect(reader.damage?.kind).toBe("corrupt");
    expect(reader.packets).toBe(1);
  });
});

describe("bounds", () => {
  test("a file of interfaces cannot fill the memory", () => {
    const one = idb();
    const many = new Uint8Array(one.length * 10_000);
    for (let at = 0; at < many.length; at += one.length) many.set(one, at);
    const reader = new CaptureReader();
    const batch = createBatch();
    reader.push(shb());
    while (reader.read(batch));
    for (let i = 0; i < 10 && reader.damage === undefined; i++) {
      reader.push(many);
      while (reader.read(batch));
    }
    expect(reader.interfaces.length).toBeGreaterThan(60_000);
    expect(reader.interfaces.length).toBeLessThan(66_000);
    expect(reader.damage?.error.message).toContain("one too many");
  });

  test("a block of a hundred thousand empty options is refused", () => {
    const more = new Uint8Array(400_000);
    for (let at = 0; at < more.length; at += 4) more[at] = 0x63;
    expect(failure(concat(shb(), idb({ more }))).message).toContain("is one of more than 65536");
  });

  test("a block of 4 GiB that we do not read is passed over without being kept", () => {
    const reader = new CaptureReader();
    const batch = createBatch();
    reader.push(concat(shb(), idb(), pack("little", ["u32", 0xbad], ["u32", 0xffff_fffc])));
    expect(reader.read(batch)).toBe(false);
    const chunk = new Uint8Array(1 << 24);
    let left = 0xffff_fffc - 12;
    const before = process.memoryUsage().arrayBuffers;
    for (; left > 0; left -= Math.min(left, chunk.length)) {
      reader.push(chunk.subarray(0, Math.min(left, chunk.length)));
      expect(reader.read(batch)).toBe(false);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
    reader.push(concat(pack("little", ["u32", 0xffff_fffc]), epb(A)));
    expect(reader.read(batch)).toBe(true);
    expect(batch.count).toBe(1);
    reader.end();
    expect(reader.damage).toBeUndefined();
    expect(reader.offset).toBe(48 + 0xffff_fffc + 52);
  });

  test("a length that is only claimed allocates nothing", () => {
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 100 }, () => {
      const reader = new CaptureReader();
      // 128 MiB is a length that D-Bus may have.
      reader.push(concat(pcapHeader({ linktype: 231, snaplen: 0 }), pcapRecord(A, { captured: 128 << 20 })));
      expect(reader.read(createBatch(1))).toBe(false);
      return reader;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 << 20);
    expect(readers).toHaveLength(100);
  });
});
