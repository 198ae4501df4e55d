/** What is written reads back: by our own reader for arbitrary packets, by tcpdump and tshark for samples. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  type CapturedPacket,
  PcapWriter,
  PcapngWriter,
  createBatch,
  CaptureReader,
  decodePacketOptions,
  readCaptureSync,
  readPacketsSync,
} from "../../src/capture/index.ts";
import { hasTool, needs } from "../helpers.ts";
import {
  concat,
  epb,
  hex,
  idb,
  option,
  pack,
  payload,
  pcapHeader,
  pcapRecord,
  shb,
  split,
  spb,
  text,
} from "./build.ts";

const packet = fc.record({
  data: fc.uint8Array({ maxLength: 300 }),
  more: fc.integer({ min: 0, max: 5000 }),
  timestampNs: fc.bigInt(0n, 0xffff_ffffn * 1_000_000_000n + 999_999_999n),
});
const order = fc.constantFrom("little" as const, "big" as const);
const cuts = fc.array(fc.nat(), { maxLength: 20 });

/** Sorted places within the file where it is cut. */
function cutAt(file: Uint8Array, places: readonly number[]): Uint8Array[] {
  return [
    ...split(
      file,
      places.map((place) => place % (file.length + 1)).sort((a, b) => a - b),
    ),
  ];
}

const shown = (
  packets: Iterable<Pick<CapturedPacket, "data" | "originalLength" | "timestampNs">>,
): string[] => Array.from(packets, (one) => `${one.timestampNs} ${one.originalLength} ${hex(one.data)}`);

describe("round trips", () => {
  test("pcap: packets, byte order, resolution, however the file is cut", () => {
    fc.assert(
      fc.property(
        fc.array(packet, { maxLength: 20 }),
        order,
        fc.constantFrom("us" as const, "ns" as const),
        fc.constantFrom(1, 101, 113, 231),
        fc.integer({ min: 1, max: 400 }),
        cuts,
        (packets, byteOrder, resolution, linktype, snaplen, places) => {
          const writer = new PcapWriter({ byteOrder, resolution, linktype, snaplen });
          for (const { data, more, timestampNs } of packets) {
            writer.packet({ data, timestampNs, originalLength: data.length + more });
          }
          expect(writer.packets).toBe(packets.length);
          const file = writer.take();
          expect(writer.bytes).toBe(file.length);
          const capture = readCaptureSync(cutAt(file, places));
          expect(shown(capture.packets())).toEqual(
            shown(
              packets.map(({ data, more, timestampNs }) => ({
                data: data.subarray(0, snaplen),
                originalLength: data.length + more,
                timestampNs: resolution === "ns" ? timestampNs : timestampNs - (timestampNs % 1000n),
              })),
            ),
          );
          expect(capture.interfaces[0]).toMatchObject({
            linktype,
            snaplen,
            littleEndian: byteOrder === "little",
          });
        },
      ),
      { seed: 3, numRuns: 400 },
    );
  });

  test("pcapng: packets of several interfaces, comments, however the file is cut", () => {
    const source = fc.record({
      linktype: fc.integer({ min: 0, max: 0xffff }),
      snaplen: fc.constantFrom(0, 64, 262_144),
      tsresol: fc.constantFrom(3, 6, 9, 12, 0x80 | 30, 0x80 | 10),
      tsoffset: fc.integer({ min: -1000, max: 0 }),
      name: fc.option(fc.string(), { nil: undefined }),
      fcsBits: fc.option(fc.nat(255), { nil: undefined }),
    });
    fc.assert(
      fc.property(
        fc.array(source, { minLength: 1, maxLength: 4 }),
        fc.array(fc.record({ packet, from: fc.nat(), comment: fc.option(fc.string({ maxLength: 9 })) }), {
          maxLength: 20,
        }),
        order,
        cuts,
        (sources, packets, byteOrder, places) => {
          const writer = new PcapngWriter({ byteOrder });
          const ids = sources.map((one) => writer.addInterface(one));
          const expected: string[] = [];
          for (const { packet: one, from, comment } of packets) {
            const timestampNs = one.timestampNs % 8_000_000_000_000_000n;
            const index = from % ids.length;
            const options = comment === null ? [] : [{ name: "opt_comment", value: comment }];
            writer.packet(ids[index]!, {
              data: one.data,
              originalLength: one.data.length + one.more,
              timestampNs,
              options,
            });
            const { snaplen, tsresol } = sources[index]!;
            const rate = tsresol & 0x80 ? 1n << BigInt(tsresol & 0x7f) : 10n ** BigInt(tsresol);
            const part = ((timestampNs % 1_000_000_000n) * rate) / 1_000_000_000n;
            const time =
              rate >= 1_000_000_000n
                ? timestampNs
                : timestampNs - (timestampNs % 1_000_000_000n) + (part * 1_000_000_000n) / rate;
            const data = snaplen === 0 ? one.data : one.data.subarray(0, snaplen);
            expected.push(
              `${index} ${time} ${one.data.length + one.more} ${hex(data)} ${comment?.replace(/\0+$/, "")}`,
            );
          }
          const capture = readCaptureSync(cutAt(writer.take(), places));
          const got = Array.from(capture.packets(), (one) => {
            const comment = decodePacketOptions(one)[0]?.value;
            return `${one.interfaceIndex} ${one.timestampNs} ${one.originalLength} ${hex(one.data)} ${comment as string}`;
          });
          expect(got).toEqual(expected);
          expect(
            capture.interfaces.map(({ linktype, snaplen, tsresol, tsoffset, name, fcsBits }) => ({
              linktype,
              snaplen,
              tsresol,
              tsoffset,
              name,
              fcsBits,
            })),
          ).toEqual(sources.map((one) => ({ ...one, name: one.name?.replace(/\0+$/, "") })));
        },
      ),
      { seed: 4, numRuns: 400 },
    );
  });

  test("a capture of several sections and byte orders is copied by batches", () => {
    const comment = (value: string, byteOrder: "little" | "big") => option(1, text(value), byteOrder);
    const file = concat(
      shb(),
      idb({
        linktype: 1,
        more: concat(option(2, text("eth0")), option(9, Uint8Array.of(9)), option(13, Uint8Array.of(32))),
      }),
      idb({ linktype: 101, snaplen: 99, more: option(8, pack("little", ["u64", 5n])) }),
      epb(payload(60), { more: comment("one", "little"), ticks: 1_700_000_000_000_000_001n }),
      spb(payload(33)),
      shb({ order: "big" }),
      idb({ linktype: 113, order: "big" }),
      epb(payload(70), {
        order: "big",
        more: concat(comment("two", "big"), option(2, pack("big", ["u32", 2]), "big")),
      }),
    );
    for (const byteOrder of ["little", "big"] as const) {
      const reader = new CaptureReader();
      const batch = createBatch(2);
      const writer = new PcapngWriter({ byteOrder });
      reader.push(file);
      while (reader.read(batch)) writer.batch(batch);
      reader.end();
      const copy = readCaptureSync(writer.take());
      const from = [...readPacketsSync(file)];
      const to = [...copy.packets()];
      expect(shown(to)).toEqual(shown(from));
      expect(to.map((one) => one.linktype)).toEqual([1, 1, 113]);
      expect(to.map((one) => decodePacketOptions(one))).toEqual(from.map((one) => decodePacketOptions(one)));
      // Interface 1 had no packet, so nothing of it is there.
      expect(
        copy.interfaces.map(({ linktype, name, tsresol, fcsBits }) => [linktype, name, tsresol, fcsBits]),
      ).toEqual([
        [1, "eth0", 9, 32],
        [113, undefined, 6, undefined],
      ]);
      expect(copy.sections.map((section) => section.littleEndian)).toEqual([byteOrder === "little"]);
    }
  });

  test("all options that the table knows", () => {
    const options = [
      { code: 1, name: "opt_comment", value: "über" },
      { code: 3, name: "if_description", value: "" },
      { code: 4, name: "if_IPv4addr", value: Uint8Array.of(10, 0, 0, 1, 255, 0, 0, 0) },
      { code: 8, name: "if_speed", value: 0xffff_ffff_ffff_ffffn },
      { code: 10, name: "if_tzone", value: -1 },
      { code: 18, name: "if_iana_tzname", value: "Europe/Berlin" },
      { code: 2989, name: "opt_custom_bytes", pen: 32_473, value: Uint8Array.of(1, 2, 3) },
      { code: 777, name: undefined, value: Uint8Array.of(9) },
    ];
    const writer = new PcapngWriter({ byteOrder: "big", options: [{ name: "shb_os", value: "Linux" }] });
    writer.addInterface({ linktype: 1, tsresol: 6, options });
    const capture = readCaptureSync(writer.take());
    expect(capture.interfaces[0]?.options).toEqual(options);
    expect(capture.sections[0]?.options).toEqual([{ code: 3, name: "shb_os", value: "Linux" }]);
  });

  test("resolution and offset may be given as options", () => {
    const writer = new PcapngWriter();
    const id = writer.addInterface({
      linktype: 1,
      options: [
        { name: "if_tsresol", value: 3 },
        { name: "if_tsoffset", value: 100n },
      ],
    });
    writer.packet(id, { data: payload(1), timestampNs: 101_234_567_890n });
    const capture = readCaptureSync(writer.take());
    expect(capture.interfaces[0]).toMatchObject({ tsresol: 3, tsoffset: 100 });
    expect([...capture.packets()][0]?.timestampNs).toBe(101_234_000_000n);
  });
});

describe("batches", () => {
  const file = concat(pcapHeader(), ...[5, 6, 7, 8].map((n) => pcapRecord(payload(n, n))));

  test.each([
    ["pcap", () => new PcapWriter({ snaplen: 65_535 })],
    ["pcapng", () => new PcapngWriter()],
  ] as const)("%s: those that are to be kept", (_name, make) => {
    const writer = make();
    const reader = new CaptureReader();
    const batch = createBatch();
    reader.push(file);
    reader.read(batch);
    writer.batch(batch, [1, 0, 0, 1]);
    expect(Array.from(readPacketsSync(writer.take()), (one) => one.data.length)).toEqual([5, 8]);
    expect(writer.packets).toBe(2);
  });

  test("a pcap file that is copied whole is the same bytes", () => {
    const writer = new PcapWriter({ snaplen: 65_535 });
    const reader = new CaptureReader();
    const batch = createBatch(3);
    reader.push(file);
    while (reader.read(batch)) writer.batch(batch);
    expect(hex(writer.take())).toBe(hex(file));
  });

  test("bytes from a buffer that is larger than the packet", () => {
    const memory = payload(1000);
    const pcap = new PcapWriter();
    pcap.write(memory, 100, 50, 1, 2, 60);
    pcap.write(memory, 300, 200, 1, 2, 200);
    expect(shown(readPacketsSync(pcap.take()))).toEqual([
      `1000000000 60 ${hex(memory.subarray(100, 150))}`,
      `1000000000 200 ${hex(memory.subarray(300, 500))}`,
    ]);
  });

  test("a sink gets chunks that add up to the file, and keeps them", () => {
    const chunks: Uint8Array[] = [];
    const sunk = new PcapngWriter({ chunkSize: 1000, sink: (chunk) => chunks.push(chunk) });
    const whole = new PcapngWriter();
    for (const writer of [sunk, whole]) {
      const id = writer.addInterface({ linktype: 1 });
      for (let i = 0; i < 100; i++) {
        writer.packet(id, { data: payload(i * 17, i), timestampNs: BigInt(i) });
      }
    }
    sunk.end();
    sunk.end();
    expect(chunks.length).toBeGreaterThan(50);
    expect(Math.max(...chunks.map((chunk) => chunk.length))).toBeLessThan(1000 + 99 * 17 + 64);
    expect(hex(concat(...chunks))).toBe(hex(whole.take()));
    expect(sunk.bytes).toBe(whole.bytes);
  });

  test("take() gives what is new", () => {
    const writer = new PcapWriter();
    expect(writer.take()).toHaveLength(24);
    expect(writer.take()).toHaveLength(0);
    writer.packet({ data: payload(3), timestampNs: 0n });
    expect(writer.take()).toHaveLength(19);
  });
});

describe("refusals", () => {
  const data = payload(10);
  const ng = (): PcapngWriter => {
    const writer = new PcapngWriter();
    writer.addInterface({ linktype: 1 });
    return writer;
  };
  const rows: [string, () => unknown, string][] = [
    ["linktype", () => new PcapWriter({ linktype: -1 }), "pcap writer: linktype -1"],
    ["snaplen", () => new PcapWriter({ snaplen: 0 }), "pcap writer: snaplen 0"],
    ["fcsBits", () => new PcapWriter({ fcsBits: 8 }), "pcap writer: fcsBits 8"],
    ["resolution", () => new PcapWriter({ resolution: "ms" as "us" }), "pcap writer: resolution 'ms'"],
    ["byte order", () => new PcapWriter({ byteOrder: "middle" as "big" }), "pcap writer: byteOrder 'middle'"],
    [
      "byte order, pcapng",
      () => new PcapngWriter({ byteOrder: "x" as "big" }),
      "pcapng writer: byteOrder 'x'",
    ],
    ["chunkSize", () => new PcapWriter({ chunkSize: 0 }), "chunkSize 0"],
    ["time before 1970", () => new PcapWriter().packet({ data, timestampNs: -1n }), "packet 1: -1 seconds"],
    [
      "time after 2106",
      () => new PcapWriter().packet({ data, timestampNs: 1n << 62n }),
      "do not fit a pcap file",
    ],
    ["time in pcapng", () => ng().packet(0, { data, timestampNs: -1n }), "packet 1: -1 seconds"],
    ["time far away", () => ng().packet(0, { data, timestampNs: 1n << 70n }), "do not fit the clock"],
    [
      "time beyond doubles",
      () => ng().packet(0, { data, timestampNs: 1n << 99n }),
      "is no whole number of seconds",
    ],
    ["fraction", () => new PcapWriter().write(data, 0, 10, 1, 1e9, 10), "1000000000 nanoseconds"],
    [
      "half a second",
      () => new PcapWriter().write(data, 0, 10, 0.5, 0, 10),
      "0.5 is no whole number of seconds",
    ],
    [
      "bytes outside",
      () => new PcapWriter().write(data, 5, 6, 1, 1, 10),
      "bytes 5 to 11 are outside of the 10",
    ],
    ["negative offset", () => new PcapWriter().write(data, -1, 6, 1, 1, 10), "outside"],
    [
      "original length",
      () => new PcapWriter().packet({ data, timestampNs: 0n, originalLength: 2 ** 32 }),
      "no 32-bit",
    ],
    [
      "another link type",
      () => new PcapWriter().packet({ data, timestampNs: 0n, linktype: 101 }),
      "link type RAW, the pcap file has ETHERNET",
    ],
    [
      "interface that is not there",
      () => new PcapngWriter().packet(0, { data, timestampNs: 0n }),
      "interface 0 was not added",
    ],
    [
      "interface link type",
      () => new PcapngWriter().addInterface({ linktype: 65_536 }),
      "interface 0: linktype 65536",
    ],
    [
      "interface resolution",
      () => new PcapngWriter().addInterface({ linktype: 1, tsresol: 256 }),
      "tsresol 256",
    ],
    [
      "interface offset",
      () => new PcapngWriter().addInterface({ linktype: 1, tsoffset: 0.5 }),
      "tsoffset 0.5",
    ],
    [
      "unknown option",
      () => new PcapngWriter({ options: [{ name: "shb_color", value: "red" }] }),
      "section option 'shb_color' does not exist; there are opt_comment",
    ],
    [
      "option type",
      () => new PcapngWriter().addInterface({ linktype: 1, options: [{ name: "if_speed", value: "fast" }] }),
      "if_speed takes u64, not string fast",
    ],
    [
      "option range",
      () => ng().packet(0, { data, timestampNs: 0n, options: [{ name: "epb_flags", value: -1 }] }),
      "epb_flags takes u32, not number -1",
    ],
    [
      "option code",
      () => new PcapngWriter({ options: [{ code: 0, value: "x" }] }),
      "option code 0 is not between",
    ],
    [
      "option length",
      () => new PcapngWriter({ options: [{ code: 1, value: "x".repeat(65_536) }] }),
      "65536 bytes long",
    ],
    [
      "encoded options",
      () => ng().write(0, data, 0, 1, 1, 1, 1, payload(3)),
      "options of 3 bytes are not padded",
    ],
    ["block type", () => ng().block(-1, data), "block type -1"],
  ];
  test.each(rows)("%s", (_name, act, message) => {
    expect(act).toThrow(BpfError);
    expect(act).toThrow(message);
  });

  test("nothing of a refused packet is written", () => {
    for (const writer of [new PcapWriter(), ng()]) {
      const before = writer.bytes;
      const write = (): void =>
        writer instanceof PcapWriter
          ? writer.write(data, 0, 10, 2 ** 40, 0, 10)
          : writer.write(0, data, 0, 10, 2 ** 40, 0, 10);
      expect(write).toThrow(BpfError);
      expect(writer.bytes).toBe(before);
    }
  });

  test("packets of two link types do not go into a pcap file by batches either", () => {
    const reader = new CaptureReader();
    const batch = createBatch();
    reader.push(concat(shb(), idb(), idb({ linktype: 101 }), epb(data), epb(data, { id: 1 })));
    reader.read(batch);
    const writer = new PcapWriter();
    expect(() => writer.batch(batch)).toThrow("packet 2 has link type RAW");
    expect(writer.packets).toBe(1);
  });
});

const hasTcpdump = hasTool("tcpdump");
const hasTshark = hasTool("tshark");

describe("other programs", () => {
  const folder = mkdtempSync(join(tmpdir(), "skep-capture-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  // Ethernet, IPv4, UDP: something that both programs can take apart.
  const frame = Uint8Array.from(
    Buffer.from(
      "ffffffffffff02000000000108004500002000010000401166cac0000201c000020200350035000c0000deadbeef",
      "hex",
    ),
  );
  // tcpdump prints seconds after 2038 as negative numbers.
  const times = [0n, 1_700_000_000_123_456_789n, 2_147_483_647_999_999_999n];
  const variants: [string, Uint8Array, bigint][] = [];
  for (const byteOrder of ["little", "big"] as const) {
    for (const resolution of ["us", "ns"] as const) {
      const writer = new PcapWriter({ byteOrder, resolution, linktype: 1, snaplen: 1000 });
      for (const timestampNs of times) writer.packet({ data: frame, timestampNs, originalLength: 1514 });
      variants.push([`pcap, ${byteOrder}, ${resolution}`, writer.take(), resolution === "us" ? 1000n : 1n]);
    }
    for (const tsresol of [6, 9]) {
      const writer = new PcapngWriter({ byteOrder, options: [{ name: "shb_userappl", value: "skep" }] });
      const id = writer.addInterface({ linktype: 1, tsresol, name: "eth0", snaplen: 1000, fcsBits: 0 });
      for (const timestampNs of times) {
        const options = [{ name: "opt_comment", value: `at ${timestampNs}` }];
        writer.packet(id, { data: frame, timestampNs, originalLength: 1514, options });
      }
      writer.block(5, new Uint8Array(12));
      variants.push([`pcapng, ${byteOrder}, 10^-${tsresol}`, writer.take(), tsresol === 6 ? 1000n : 1n]);
    }
  }
  const decimal = (time: bigint, unit: bigint): string => {
    const cut = time - (time % unit);
    return `${cut / 1_000_000_000n}.${String(cut % 1_000_000_000n).padStart(9, "0")}`;
  };

  test.skipIf(!hasTcpdump).each(variants)(
    needs("tcpdump reads %s", hasTcpdump, "tcpdump"),
    (name, file, unit) => {
      const path = join(folder, `${name.replace(/\W+/g, "-")}.tcpdump`);
      writeFileSync(path, file);
      const answer = spawnSync("tcpdump", ["-r", path, "-tt", "-n", "-xx", "--time-stamp-precision=nano"], {
        encoding: "utf8",
      });
      expect(answer.status, answer.stderr).toBe(0);
      const lines = answer.stdout.split("\n");
      expect(lines.filter((line) => /^\d/.test(line)).map((line) => line.split(" ")[0])).toEqual(
        times.map((time) => decimal(time, unit)),
      );
      const bytes = lines.filter((line) => line.startsWith("\t")).map((line) => line.replace(/^.*: /, ""));
      expect(bytes.join("").replace(/\s/g, "")).toBe(hex(frame).repeat(times.length));
    },
  );

  test.skipIf(!hasTshark).each(variants)(
    needs("tshark reads %s", hasTshark, "tshark"),
    (name, file, unit) => {
      const path = join(folder, `${name.replace(/\W+/g, "-")}.tshark`);
      writeFileSync(path, file);
      const fields = [
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "udp.srcport",
        "frame.interface_name",
        "frame.comment",
      ];
      const answer = spawnSync(
        "tshark",
        ["-r", path, "-T", "fields", ...fields.flatMap((field) => ["-e", field])],
        {
          encoding: "utf8",
        },
      );
      expect(answer.status, answer.stderr).toBe(0);
      const isNg = name.startsWith("pcapng");
      expect(answer.stdout.split("\n").filter(Boolean)).toEqual(
        times.map((time) =>
          [decimal(time, unit), 1514, frame.length, 53, isNg ? "eth0" : "", isNg ? `at ${time}` : ""].join(
            "\t",
          ),
        ),
      );
    },
  );
});
