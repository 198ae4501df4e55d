/** Every variant of both formats, made by hand, read in every way that there is. */
import { describe, expect, test } from "vitest";
import {
  type CapturedPacket,
  readCaptureSync,
  readPackets,
  readPacketsSync,
} from "../../src/capture/index.ts";
import {
  block,
  concat,
  epb,
  everyBytes,
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

/** seconds, nanoseconds, length on the wire, captured bytes, link type, interface */
type Expected = readonly [bigint, number, number, Uint8Array, number?, number?];

const A = payload(20, 1);
const B = payload(21, 2);
const BIG = "big" as const;
/** Interface index, protocol, packet type and a pad byte. */
const KUZNETZOV = (order: "little" | "big") => pack(order, ["u32", 3], ["u16", 0x800], ["u8", 0], ["u8", 0]);
const tsresol = (value: number, order: "little" | "big" = "little") => option(9, Uint8Array.of(value), order);
const tsoffset = (value: bigint) => option(14, pack("little", ["i64", value]));
const END = option(0, new Uint8Array(0));

const FILES: Record<string, readonly [Uint8Array, readonly Expected[]]> = {
  "pcap, microseconds, little-endian": [
    concat(
      pcapHeader(),
      pcapRecord(A),
      pcapRecord(B, { seconds: 1_700_000_000, fraction: 999_999, original: 1500 }),
    ),
    [
      [1n, 2000, 20, A],
      [1_700_000_000n, 999_999_000, 1500, B],
    ],
  ],
  "pcap, microseconds, big-endian": [
    concat(
      pcapHeader({ order: BIG }),
      pcapRecord(A, { order: BIG }),
      pcapRecord(B, { order: BIG, original: 70_000 }),
    ),
    [
      [1n, 2000, 20, A],
      [1n, 2000, 70_000, B],
    ],
  ],
  "pcap, nanoseconds, little-endian": [
    concat(pcapHeader({ magic: 0xa1b23c4d }), pcapRecord(A, { fraction: 123_456_789 })),
    [[1n, 123_456_789, 20, A]],
  ],
  "pcap, nanoseconds, big-endian": [
    concat(
      pcapHeader({ magic: 0xa1b23c4d, order: BIG }),
      pcapRecord(A, { fraction: 123_456_789, order: BIG }),
    ),
    [[1n, 123_456_789, 20, A]],
  ],
  "pcap, modified, little-endian": [
    concat(
      pcapHeader({ magic: 0xa1b2cd34 }),
      pcapRecord(A, { extra: KUZNETZOV("little") }),
      pcapRecord(B, { extra: KUZNETZOV("little") }),
    ),
    [
      [1n, 2000, 20, A],
      [1n, 2000, 21, B],
    ],
  ],
  "pcap, modified, big-endian": [
    concat(
      pcapHeader({ magic: 0xa1b2cd34, order: BIG }),
      pcapRecord(A, { extra: KUZNETZOV(BIG), order: BIG }),
    ),
    [[1n, 2000, 20, A]],
  ],
  "pcap, modified, cut to its snapshot length and 14 bytes of Ethernet": [
    concat(pcapHeader({ magic: 0xa1b2cd34, snaplen: 4 }), pcapRecord(A, { extra: KUZNETZOV("little") })),
    [[1n, 2000, 20, A.subarray(0, 18)]],
  ],
  "pcap without packets": [pcapHeader(), []],
  "pcap with an empty packet": [
    concat(pcapHeader(), pcapRecord(new Uint8Array(0), { original: 60 }), pcapRecord(A)),
    [
      [1n, 2000, 60, new Uint8Array(0)],
      [1n, 2000, 20, A],
    ],
  ],
  "pcap, times after 2038 and the last one of 2106": [
    concat(pcapHeader(), pcapRecord(A, { seconds: 0x8000_0000 }), pcapRecord(A, { seconds: 0xffff_ffff })),
    [
      [0x8000_0000n, 2000, 20, A],
      [0xffff_ffffn, 2000, 20, A],
    ],
  ],
  "pcap, more microseconds than a second has": [
    concat(pcapHeader(), pcapRecord(A, { seconds: 0, fraction: 0xe4ff0030 })),
    [[3841n, 916_976_000, 20, A]],
  ],
  "pcap 2.2: lengths in the old order": [
    concat(pcapHeader({ minor: 2 }), pcapRecord(A, { captured: 50, original: 20 })),
    [[1n, 2000, 50, A]],
  ],
  "pcap 2.3 with the old order": [
    concat(pcapHeader({ minor: 3 }), pcapRecord(A, { captured: 50, original: 20 })),
    [[1n, 2000, 50, A]],
  ],
  "pcap 2.3 with the new order": [
    concat(pcapHeader({ minor: 3 }), pcapRecord(A, { captured: 20, original: 50 })),
    [[1n, 2000, 50, A]],
  ],
  "pcap 543.0: lengths in the old order": [
    concat(pcapHeader({ major: 543, minor: 0 }), pcapRecord(A, { captured: 50, original: 20 })),
    [[1n, 2000, 50, A]],
  ],
  "pcap, packets longer than the snapshot length are cut to it": [
    concat(pcapHeader({ snaplen: 8 }), pcapRecord(A), pcapRecord(B)),
    [
      [1n, 2000, 20, A.subarray(0, 8)],
      [1n, 2000, 21, B.subarray(0, 8)],
    ],
  ],
  "pcap, a snapshot length of 0 is no limit": [
    concat(pcapHeader({ snaplen: 0 }), pcapRecord(payload(70_000))),
    [[1n, 2000, 70_000, payload(70_000)]],
  ],
  "pcap, a snapshot length above 2^31 is no limit": [
    concat(pcapHeader({ snaplen: 0xffff_ffff }), pcapRecord(payload(262_144))),
    [[1n, 2000, 262_144, payload(262_144)]],
  ],
  "pcap, D-Bus messages may be longer than packets": [
    concat(pcapHeader({ linktype: 231, snaplen: 0 }), pcapRecord(payload(262_145))),
    [[1n, 2000, 262_145, payload(262_145), 231]],
  ],
  "pcap, link type raw IP": [concat(pcapHeader({ linktype: 101 }), pcapRecord(A)), [[1n, 2000, 20, A, 101]]],
  "pcap, link type with a frame check sequence": [
    concat(pcapHeader({ linktype: 0x2400_0001 }), pcapRecord(A)),
    [[1n, 2000, 20, A, 1]],
  ],
  "pcap, link type nobody knows": [
    concat(pcapHeader({ linktype: 60_000 }), pcapRecord(A)),
    [[1n, 2000, 20, A, 60_000]],
  ],

  "pcapng, one interface": [
    concat(shb(), idb(), epb(A), epb(B, { original: 1500 })),
    [
      [1n, 2000, 20, A],
      [1n, 2000, 1500, B],
    ],
  ],
  "pcapng, big-endian": [
    concat(shb({ order: BIG }), idb({ order: BIG, linktype: 101 }), epb(A, { order: BIG })),
    [[1n, 2000, 20, A, 101]],
  ],
  "pcapng, version 1.2": [concat(shb({ minor: 2 }), idb(), epb(A)), [[1n, 2000, 20, A]]],
  "pcapng without packets": [concat(shb(), idb()), []],
  "pcapng without interfaces": [shb(), []],
  "pcapng, packets of every length modulo 4": [
    concat(shb(), idb(), ...[0, 1, 2, 3, 4, 5].map((n) => epb(payload(n)))),
    [0, 1, 2, 3, 4, 5].map((n): Expected => [1n, 2000, n, payload(n)]),
  ],
  "pcapng, stated section length, even a wrong one": [
    concat(shb({ length: 12n }), idb(), epb(A)),
    [[1n, 2000, 20, A]],
  ],
  "pcapng, several interfaces with their own link types and clocks": [
    concat(
      shb(),
      idb({ linktype: 1 }),
      idb({ linktype: 101, more: concat(tsresol(9), END) }),
      epb(A, { id: 1, ticks: 1_700_000_000_123_456_789n }),
      idb({ linktype: 113, more: tsresol(3) }),
      epb(B, { id: 2, ticks: 1_700_000_000_123n }),
      epb(A, { id: 0 }),
    ),
    [
      [1_700_000_000n, 123_456_789, 20, A, 101, 1],
      [1_700_000_000n, 123_000_000, 21, B, 113, 2],
      [1n, 2000, 20, A, 1, 0],
    ],
  ],
  "pcapng, several sections: interfaces begin anew": [
    concat(
      shb(),
      idb(),
      idb({ linktype: 113 }),
      epb(A, { id: 1 }),
      shb(),
      idb({ linktype: 101 }),
      epb(B, { id: 0 }),
    ),
    [
      [1n, 2000, 20, A, 113, 1],
      [1n, 2000, 21, B, 101, 2],
    ],
  ],
  "pcapng, sections of both byte orders": [
    concat(
      shb(),
      idb(),
      epb(A),
      shb({ order: BIG }),
      idb({ order: BIG }),
      epb(B, { order: BIG }),
      shb(),
      idb(),
      epb(A),
    ),
    [
      [1n, 2000, 20, A, 1, 0],
      [1n, 2000, 21, B, 1, 1],
      [1n, 2000, 20, A, 1, 2],
    ],
  ],
  "pcapng, Enhanced Packet Block with options": [
    concat(
      shb(),
      idb(),
      epb(B, { more: concat(option(1, text("hi")), option(2, pack("little", ["u32", 1])), END) }),
      epb(A),
    ),
    [
      [1n, 2000, 21, B],
      [1n, 2000, 20, A],
    ],
  ],
  "pcapng, damaged options of a packet do not hide the packet": [
    concat(shb(), idb(), epb(A, { more: pack("little", ["u16", 1], ["u16", 999]) })),
    [[1n, 2000, 20, A]],
  ],
  "pcapng, Simple Packet Block: no time, first interface": [
    concat(shb(), idb({ linktype: 101 }), idb(), spb(A), spb(B)),
    [
      [0n, 0, 20, A, 101, 0],
      [0n, 0, 21, B, 101, 0],
    ],
  ],
  "pcapng, Simple Packet Block cut to the snapshot length": [
    concat(shb(), idb({ snaplen: 10 }), spb(payload(12), { original: 100 })),
    [[0n, 0, 100, payload(10)]],
  ],
  "pcapng, obsolete Packet Block": [
    concat(shb(), idb(), idb({ linktype: 101 }), oldPacket(B, { id: 1, original: 99 })),
    [[1n, 2000, 99, B, 101, 1]],
  ],
  "pcapng, obsolete Packet Block, big-endian": [
    concat(
      shb({ order: BIG }),
      idb({ order: BIG }),
      idb({ order: BIG }),
      oldPacket(B, { id: 1, order: BIG }),
    ),
    [[1n, 2000, 21, B, 1, 1]],
  ],
  "pcapng, a packet above the snapshot length of its interface stays whole": [
    concat(shb(), idb({ snaplen: 10 }), epb(A)),
    [[1n, 2000, 20, A]],
  ],
  "pcapng, unknown blocks are passed over": [
    concat(
      shb(),
      block(0x8000_0001, text("local use")),
      idb(),
      block(4, text("name resolution")),
      block(0xbad, new Uint8Array(0)),
      epb(A),
      block(0xbad, payload(100_000)),
      epb(B),
      block(5, text("statistics")),
    ),
    [
      [1n, 2000, 20, A],
      [1n, 2000, 21, B],
    ],
  ],
  "pcapng, nanoseconds": [
    concat(shb(), idb({ more: tsresol(9) }), epb(A, { ticks: 1_700_000_000_999_999_999n })),
    [[1_700_000_000n, 999_999_999, 20, A]],
  ],
  "pcapng, whole seconds": [
    concat(shb(), idb({ more: tsresol(0) }), epb(A, { ticks: 1_700_000_000n })),
    [[1_700_000_000n, 0, 20, A]],
  ],
  "pcapng, picoseconds are cut to nanoseconds": [
    concat(shb(), idb({ more: tsresol(12) }), epb(A, { ticks: 1_700_000_123_456_789_012n })),
    [[1_700_000n, 123_456_789, 20, A]],
  ],
  "pcapng, a power of two": [
    concat(shb(), idb({ more: tsresol(0x80 | 20) }), epb(A, { ticks: (1_700_000_000n << 20n) | 0x80001n })),
    [[1_700_000_000n, 500_000_953, 20, A]],
  ],
  "pcapng, the finest power of two": [
    concat(shb(), idb({ more: tsresol(0xff) }), epb(A, { ticks: 0xffff_ffff_ffff_ffffn })),
    [[0n, 0, 20, A]],
  ],
  "pcapng, time offset": [
    concat(shb(), idb({ more: concat(tsoffset(1_000_000_000n), END) }), epb(A)),
    [[1_000_000_001n, 2000, 20, A]],
  ],
  "pcapng, time offset to before 1970": [
    concat(shb(), idb({ more: tsoffset(-5n) }), epb(A)),
    [[-4n, 2000, 20, A]],
  ],
};

function check(packets: readonly CapturedPacket[], expected: readonly Expected[]): void {
  const shown = packets.map((packet) => ({
    number: packet.number,
    time: packet.timestampNs,
    length: packet.originalLength,
    data: hex(packet.data),
    linktype: packet.linktype,
    interface: packet.interfaceIndex,
  }));
  expect(shown).toEqual(
    expected.map(([seconds, nanoseconds, length, data, linktype = 1, index = 0], i) => ({
      number: i + 1,
      time: seconds * 1_000_000_000n + BigInt(nanoseconds),
      length,
      data: hex(data),
      linktype,
      interface: index,
    })),
  );
}

test.each(Object.entries(FILES))("%s", async (_name, [file, expected]) => {
  check([...readPacketsSync(file)], expected);
  check([...readPacketsSync(file, { batchCapacity: 1 })], expected);
  for (const size of [1, 2, 3, 5, 7, 16, 23, 4096])
    check([...readPacketsSync(everyBytes(file, size))], expected);
  const larger = concat(payload(13), file, payload(7));
  check([...readPacketsSync(larger.subarray(13, 13 + file.length))], expected);
  const packets: CapturedPacket[] = [];
  for await (const packet of readPackets(new Blob([file as Uint8Array<ArrayBuffer>]).stream()))
    packets.push(packet);
  check(packets, expected);
});

describe("headers", () => {
  test("of pcap", () => {
    const capture = readCaptureSync(
      pcapHeader({ magic: 0xa1b23c4d, order: BIG, snaplen: 96, linktype: 0x2400_0069 }),
    );
    expect(capture.format).toBe("pcap");
    expect(capture.header).toEqual({
      littleEndian: false,
      resolution: "ns",
      modified: false,
      version: { major: 2, minor: 4 },
      thiszone: 0,
      sigfigs: 0,
      snaplen: 96,
      linktypeField: 0x2400_0069,
    });
    expect(capture.interfaces).toEqual([
      {
        index: 0,
        section: 0,
        id: 0,
        linktype: 105,
        snaplen: 96,
        littleEndian: false,
        tsresol: 9,
        tsoffset: 0,
        fcsBits: 32,
        name: undefined,
        options: [],
      },
    ]);
  });

  test("the length of the frame check sequence counts only when its flag is set", () => {
    expect(readCaptureSync(pcapHeader({ linktype: 0x3000_0001 })).interfaces[0]?.fcsBits).toBeUndefined();
    expect(readCaptureSync(pcapHeader({ linktype: 0x0400_0001 })).interfaces[0]?.fcsBits).toBe(0);
    expect(readCaptureSync(pcapHeader({ linktype: 0xf400_0001 })).interfaces[0]).toMatchObject({
      linktype: 1,
      fcsBits: 240,
    });
  });

  test("of pcapng", () => {
    const sectionOptions = concat(
      option(4, text("by hand")),
      option(1, text("one")),
      option(1, text("two")),
      END,
    );
    const interfaceOptions = concat(
      option(2, text("eth0")),
      option(3, text("the first")),
      option(4, Uint8Array.of(10, 0, 0, 1, 255, 255, 255, 0)),
      option(8, pack("little", ["u64", 1_000_000_000n])),
      tsresol(9),
      option(10, pack("little", ["i32", -3600])),
      option(13, Uint8Array.of(32)),
      tsoffset(-7n),
      option(2988, pack("little", ["u32", 32_473], text("custom"))),
      option(60_000, text("?")),
      END,
    );
    const capture = readCaptureSync(
      concat(
        shb({ length: 1000n, more: sectionOptions }),
        idb({ snaplen: 128, more: interfaceOptions }),
        epb(A),
      ),
    );
    expect(capture.format).toBe("pcapng");
    expect(capture.header).toBeUndefined();
    expect(capture.sections).toEqual([
      {
        index: 0,
        littleEndian: true,
        version: { major: 1, minor: 0 },
        length: 1000n,
        options: [
          { code: 4, name: "shb_userappl", value: "by hand" },
          { code: 1, name: "opt_comment", value: "one" },
          { code: 1, name: "opt_comment", value: "two" },
        ],
      },
    ]);
    expect(capture.interfaces).toEqual([
      {
        index: 0,
        section: 0,
        id: 0,
        linktype: 1,
        snaplen: 128,
        littleEndian: true,
        tsresol: 9,
        tsoffset: -7,
        fcsBits: 32,
        name: "eth0",
        options: [
          { code: 2, name: "if_name", value: "eth0" },
          { code: 3, name: "if_description", value: "the first" },
          { code: 4, name: "if_IPv4addr", value: Uint8Array.of(10, 0, 0, 1, 255, 255, 255, 0) },
          { code: 8, name: "if_speed", value: 1_000_000_000n },
          { code: 9, name: "if_tsresol", value: 9 },
          { code: 10, name: "if_tzone", value: -3600 },
          { code: 13, name: "if_fcslen", value: 32 },
          { code: 14, name: "if_tsoffset", value: -7n },
          { code: 2988, name: "opt_custom_text", pen: 32_473, value: text("custom") },
          { code: 60_000, name: undefined, value: text("?") },
        ],
      },
    ]);
  });
});
