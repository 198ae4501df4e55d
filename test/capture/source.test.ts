/** Where bytes can come from, gzip among it, and what happens when the source misbehaves. */
import { gzipSync } from "node:zlib";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  CaptureReader,
  type CaptureSource,
  createBatch,
  decodePacketOptions,
  packetAt,
  readCapture,
  readCaptureSync,
  readPackets,
  readPacketsSync,
} from "../../src/capture/index.ts";
import {
  block,
  concat,
  epb,
  everyBytes,
  idb,
  option,
  pack,
  payload,
  pcapHeader,
  pcapRecord,
  shb,
  text,
} from "./build.ts";

const FILE = concat(pcapHeader(), ...[60, 0, 1500, 7].map((n) => pcapRecord(payload(n, n))));
/** A plain Uint8Array: slice() of a Buffer would be a view. */
const gzip = (bytes: Uint8Array | string): Uint8Array => new Uint8Array(gzipSync(bytes));

const LENGTHS = [60, 0, 1500, 7];

async function lengths(source: CaptureSource): Promise<number[]> {
  const all: number[] = [];
  for await (const packet of readPackets(source)) all.push(packet.data.length);
  return all;
}

async function* slowly(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    await Promise.resolve();
    yield chunk;
  }
}

function stream(chunks: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.iterator]();
  return new ReadableStream({
    pull(controller) {
      const { done, value } = iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}

/** A stream as some browsers have it: without iteration. */
function bareStream(chunks: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const inner = stream(chunks);
  return { getReader: () => inner.getReader() } as unknown as ReadableStream<Uint8Array>;
}

const SOURCES: Record<string, (bytes: Uint8Array) => CaptureSource> = {
  "a Uint8Array": (bytes) => bytes,
  "a Buffer": (bytes) => Buffer.from(bytes),
  "an ArrayBuffer": (bytes) => bytes.slice().buffer as ArrayBuffer,
  "an array of chunks": (bytes) => [...everyBytes(bytes, 10)],
  "empty chunks between": (bytes) =>
    [...everyBytes(bytes, 10)].flatMap((chunk) => [new Uint8Array(0), chunk]),
  "a generator": (bytes) => everyBytes(bytes, 1),
  "an async generator": (bytes) => slowly(everyBytes(bytes, 1)),
  "a ReadableStream": (bytes) => stream(everyBytes(bytes, 100)),
  "a ReadableStream that cannot be iterated over": (bytes) => bareStream(everyBytes(bytes, 100)),
  "a Node.js stream": (bytes) => Readable.from(everyBytes(bytes, 100)),
  "a Blob's stream": (bytes) => new Blob([bytes as Uint8Array<ArrayBuffer>]).stream(),
};

describe.each(Object.entries(SOURCES))("%s", (_name, make) => {
  test("plain", async () => expect(await lengths(make(FILE))).toEqual(LENGTHS));
  test("gzip", async () => expect(await lengths(make(gzip(FILE)))).toEqual(LENGTHS));
});

describe("gzip", () => {
  // Random enough that it does not shrink to nothing, and long enough for many pieces.
  let state = 1;
  const noise = Uint8Array.from({ length: 400_000 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return state >>> 24;
  });
  const large = concat(
    pcapHeader({ snaplen: 0 }),
    ...Array.from({ length: 400 }, (_, i) => pcapRecord(noise.subarray(i * 1000, (i + 1) * 1000))),
  );
  const packed = gzip(large);
  test("the sample is worth it", () => expect(packed.length).toBeGreaterThan(390_000));

  test("cut off: the packets before come, then the damage", async () => {
    for (const part of [0.3, 0.7, 0.99]) {
      const capture = await readCapture(packed.subarray(0, Math.floor(packed.length * part)), {
        onDamage: "stop",
      });
      let count = 0;
      for await (const batch of capture.batches()) count += batch.count;
      expect(count).toBeGreaterThan(400 * part - 34);
      expect(count).toBeLessThan(400);
      expect(capture.damage).toMatchObject({ kind: "truncated", packets: count });
      expect(capture.damage?.error).toMatchObject({ code: "capture" });
      expect(capture.damage?.error.message).toMatch(/^gzip data is cut off: ./);
    }
  });

  test("corrupt in the middle", async () => {
    const bytes = packed.slice();
    bytes.fill(0x55, 200_000, 200_050);
    const capture = await readCapture(bytes, { onDamage: "stop" });
    let count = 0;
    for await (const batch of capture.batches()) count += batch.count;
    expect(count).toBeLessThan(400);
    expect(capture.damage).toMatchObject({ kind: "corrupt", packets: count, error: { code: "capture" } });
  });

  test("a checksum that is wrong", async () => {
    const bytes = packed.slice();
    bytes[bytes.length - 6]! ^= 1;
    const capture = await readCapture(bytes, { onDamage: "stop" });
    let count = 0;
    for await (const batch of capture.batches()) count += batch.count;
    // The decompressor keeps the last piece, of at most 16 KiB, when it fails.
    expect(count).toBeGreaterThan(380);
    expect(capture.damage).toMatchObject({ kind: "corrupt", packets: count });
    expect(capture.damage?.error.message).toBe("gzip data is damaged: incorrect data check");
  });

  test("several members one after the other: all packets, or those of the first and an error", async () => {
    // Node.js 20 reads on; from 24 on, like browsers, the decompressor takes the second for junk.
    const capture = await readCapture(concat(gzip(FILE), gzip(FILE.subarray(24))), { onDamage: "stop" });
    let count = 0;
    for await (const batch of capture.batches()) count += batch.count;
    if (capture.damage === undefined) expect(count).toBe(8);
    else expect(capture.damage).toMatchObject({ kind: "corrupt", packets: count });
  });

  test("no gzip after its magic", async () => {
    await expect(lengths(Uint8Array.of(0x1f, 0x8b, 0xff, 0xff, 1, 2, 3, 4))).rejects.toThrow(BpfError);
    await expect(lengths(Uint8Array.of(0x1f, 0x8b))).rejects.toThrow("gzip data is cut off");
  });

  test("what is inside is no capture", async () => {
    await expect(lengths(gzip("hello, this is text"))).rejects.toThrow("not a pcap or pcapng file");
  });

  test("the synchronous reader says what to do", () => {
    expect(() => readCaptureSync(packed)).toThrow("readCapture decompresses it");
  });

  test("an error of the source is passed on as it is", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield packed.subarray(0, 50_000);
      throw new RangeError("the disk is on fire");
    }
    await expect(lengths(broken())).rejects.toThrow(new RangeError("the disk is on fire"));
  });

  test("stopping early closes the source, also one that says nothing more", async () => {
    let closed = false;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        yield packed.subarray(0, 100_000);
        await new Promise((done) => setTimeout(done, 20));
        yield packed.subarray(100_000, 100_001);
      } finally {
        closed = true;
      }
    }
    for await (const packet of readPackets(endless())) if (packet.number === 3) break;
    await new Promise((done) => setTimeout(done, 60));
    expect(closed).toBe(true);
  });

  test("100 MB of zeros do not pile up", async () => {
    const record = pcapRecord(new Uint8Array(100_000));
    const pieces = [pcapHeader({ snaplen: 0 }), ...Array.from({ length: 1000 }, () => record)];
    const bomb = gzip(concat(...pieces));
    expect(bomb.length).toBeLessThan(200_000);
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    let count = 0;
    for await (const batch of (await readCapture(bomb)).batches()) {
      count += batch.count;
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(count).toBe(1000);
    expect(most).toBeLessThan(60e6);
  });
});

describe("sources that misbehave", () => {
  test.each([
    ["a string", "text"],
    ["a number", 7],
    ["null", null],
    ["strings", ["a", "b"]],
  ])("%s", async (_name, source) => {
    await expect(lengths(source as unknown as CaptureSource)).rejects.toMatchObject({ code: "usage" });
    expect(() => [...readPacketsSync(source as unknown as Uint8Array)]).toThrow(BpfError);
  });

  test("text chunks after a good one", async () => {
    await expect(lengths([FILE.subarray(0, 50), "x" as unknown as Uint8Array])).rejects.toMatchObject({
      code: "usage",
    });
  });

  test("an error in the middle comes as it is, after the packets", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield FILE.subarray(0, 120);
      throw new RangeError("gone");
    }
    let count = 0;
    const read = async (): Promise<void> => {
      for await (const _ of readPackets(broken())) count++;
    };
    await expect(read()).rejects.toThrow(new RangeError("gone"));
    expect(count).toBe(2);
  });
});

describe("closing", () => {
  test.each(["batches", "packets", "close"] as const)("after %s the source is closed", async (how) => {
    let closed = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* everyBytes(FILE, 50);
      } finally {
        closed++;
      }
    }
    const capture = await readCapture(source(), { batchCapacity: 1 });
    expect(closed).toBe(0);
    if (how === "close") await capture.close();
    else if (how === "batches") for await (const _ of capture.batches()) break;
    else for await (const _ of capture.packets()) break;
    expect(closed).toBe(1);
  });

  test("a capture is read once", async () => {
    const capture = await readCapture(FILE);
    for await (const _ of capture.packets());
    expect(() => capture.batches()).toThrow("read already");
    await expect(capture.packets().next()).rejects.toThrow("read already");
    const sync = readCaptureSync(FILE);
    expect([...sync.batches()]).toHaveLength(1);
    expect(() => [...sync.packets()]).toThrow("read already");
  });
});

describe("CaptureReader", () => {
  test("wants its order kept", () => {
    const reader = new CaptureReader();
    const batch = createBatch(1);
    reader.push(FILE);
    expect(reader.read(batch)).toBe(true);
    expect(() => reader.push(FILE)).toThrow("read() must return false before push()");
    while (reader.read(batch));
    expect(() => reader.push("x" as unknown as Uint8Array)).toThrow(BpfError);
    reader.end();
    expect(() => reader.push(FILE)).toThrow("push() after end()");
    expect(reader.damage).toBeUndefined();
    expect([reader.packets, reader.offset, reader.format]).toEqual([4, FILE.length, "pcap"]);
  });

  test("end() before the last packets have been read", () => {
    const reader = new CaptureReader();
    const batch = createBatch(1);
    reader.push(FILE.subarray(0, FILE.length - 1));
    reader.end();
    let count = 0;
    while (reader.read(batch)) count += batch.count;
    expect(count).toBe(3);
    expect(reader.damage?.kind).toBe("truncated");
  });

  test("packets lie in the chunk itself, one that is cut in a buffer of the reader's", () => {
    const reader = new CaptureReader();
    const batch = createBatch();
    const chunk = FILE.subarray(0, 24 + 76 + 16 + 20);
    reader.push(chunk);
    expect(reader.read(batch)).toBe(true);
    expect(batch.data).toBe(chunk);
    expect([batch.count, batch.firstNumber, batch.offset[0], batch.capturedLength[0]]).toEqual([
      2, 1, 40, 60,
    ]);
    expect(reader.read(batch)).toBe(false);
    const rest = FILE.subarray(chunk.length);
    reader.push(rest);
    expect(reader.read(batch)).toBe(true);
    expect([batch.count, batch.firstNumber, batch.capturedLength[0]]).toEqual([1, 3, 1500]);
    expect(batch.data).not.toBe(rest);
    expect(reader.read(batch)).toBe(true);
    expect(batch.data).toBe(rest);
    expect([batch.count, batch.firstNumber, batch.capturedLength[0]]).toEqual([1, 4, 7]);
  });

  test("a batch refuses rows that it does not have", () => {
    const reader = new CaptureReader();
    const batch = createBatch();
    reader.push(FILE);
    reader.read(batch);
    expect(packetAt(batch, 3).data).toHaveLength(7);
    for (const index of [-1, 4, 0.5, Number.NaN]) expect(() => packetAt(batch, index)).toThrow(BpfError);
    for (const capacity of [0, -1, 1.5, 2 ** 30]) expect(() => createBatch(capacity)).toThrow(BpfError);
  });

  test("packets are copies, also of a Buffer", () => {
    const bytes = Buffer.from(FILE);
    const packets = [...readPacketsSync(bytes)];
    bytes.fill(0);
    expect(packets.map((packet) => packet.data.length)).toEqual(LENGTHS);
    expect(packets[0]?.data).toEqual(payload(60, 60));
  });

  test("an array above 1 GiB is read in pieces", () => {
    // A block that nobody reads fills almost all of it, so its pages are never touched.
    const head = concat(shb(), idb(), epb(payload(60, 1)));
    const tail = concat(epb(payload(100, 2)), epb(payload(60, 3)));
    const length = 2 ** 30 - head.length - 48;
    const bytes = new Uint8Array(head.length + length + tail.length);
    bytes.set(head);
    bytes.set(pack("little", ["u32", 0xbad], ["u32", length]), head.length);
    bytes.set(pack("little", ["u32", length]), head.length + length - 4);
    bytes.set(tail, head.length + length);
    const packets = [...readPacketsSync(bytes)];
    expect(packets.map((packet) => packet.data)).toEqual([payload(60, 1), payload(100, 2), payload(60, 3)]);
  });
});

describe("options of packets", () => {
  test("are decoded on demand", () => {
    const more = concat(
      option(1, text("one")),
      option(1, text("two\0\0")),
      option(2, pack("little", ["u32", 0x0001_0002])),
      option(4, pack("little", ["u64", 1n << 40n])),
      option(5, Uint8Array.of(1, 2)),
      option(6, pack("little", ["u32", 7])),
      option(2988, Uint8Array.of(1)),
    );
    const [first, second] = readPacketsSync(concat(shb(), idb(), epb(payload(3), { more }), epb(payload(3))));
    expect(decodePacketOptions(first!)).toEqual([
      { code: 1, name: "opt_comment", value: "one" },
      { code: 1, name: "opt_comment", value: "two" },
      { code: 2, name: "epb_flags", value: 0x0001_0002 },
      { code: 4, name: "epb_dropcount", value: 1n << 40n },
      { code: 5, name: "epb_packetid", value: Uint8Array.of(1, 2) },
      { code: 6, name: "epb_queue", value: 7 },
      { code: 2988, name: "opt_custom_text", value: Uint8Array.of(1) },
    ]);
    expect(decodePacketOptions(second!)).toEqual([]);
  });

  test("are refused when they run past their block", () => {
    const more = pack("little", ["u16", 1], ["u16", 5], ["u32", 0]);
    const [packet] = readPacketsSync(concat(shb(), idb(), epb(payload(3), { more }), block(7, payload(4))));
    expect(() => decodePacketOptions(packet!)).toThrow(
      "packet option at byte 0 is 5 bytes long, 4 are left in its block",
    );
  });
});
