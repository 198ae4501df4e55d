/** Helpers of the core against what the kernel was seen to answer. */
import { describe, expect, test } from "vitest";
import {
  CTX_END,
  CTX_HEAD,
  CTX_HEADER,
  EXEC_REDIRECT,
  KIND_SKB_LINK,
  KIND_SKB_NETWORK,
  RECORD_REDIRECT,
  RECORD_RESULT,
  SKB_DATA,
  SKB_DATA_END,
  SKB_SIZE,
  STATUS_DONE,
  XDP_DATA,
  XDP_DATA_END,
  XDP_DATA_META,
  XDP_FRAME_END,
  XDP_HEADROOM,
} from "../../src/core/layout.ts";
import { Batch, Bench, EXIT, call, ins, lddw, mov, movReg } from "./harness.ts";
import { CHECKSUMS, PACKET_LOADS, XDP_ADJUSTMENTS } from "./kernel-packets.ts";

const fromHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const XDP = 6;
const SCHED_CLS = 3;

describe("xdp_adjust_head, _tail, _meta", () => {
  const bench = new Bench();
  const buffer = bench.alloc(4096);
  const context = bench.alloc(CTX_HEADER + 24) + CTX_HEADER;
  const get = (offset: number): number => bench.view.getUint32(context + offset, true);
  const put = (offset: number, value: number): void => bench.view.setUint32(context + offset, value, true);
  const packet = Uint8Array.from({ length: 64 }, (_, index) => index + 1);

  const reset = (): void => {
    bench.bytes(buffer, 4096).fill(0xcc);
    bench.bytes(buffer + XDP_HEADROOM, 64).set(packet);
    put(CTX_HEAD, buffer);
    put(CTX_END, buffer + XDP_FRAME_END);
    put(XDP_DATA, buffer + XDP_HEADROOM);
    put(XDP_DATA_META, buffer + XDP_HEADROOM);
    put(XDP_DATA_END, buffer + XDP_HEADROOM + 64);
  };
  const apply = (helper: "head" | "tail" | "meta", delta: number): number =>
    bench.core[`xdp_adjust_${helper}`](context, delta);

  test.each(
    XDP_ADJUSTMENTS.map((row) => [row.map(([helper, delta]) => `${helper} ${delta}`).join(", "), row]),
  )("%s", (_, steps) => {
    reset();
    for (const [helper, delta, result, length, meta] of steps as (typeof XDP_ADJUSTMENTS)[number]) {
      expect(apply(helper, delta)).toBe(result);
      expect([get(XDP_DATA_END) - get(XDP_DATA), get(XDP_DATA) - get(XDP_DATA_META)]).toEqual([length, meta]);
    }
  });

  test("metadata moves with the head, new bytes at the tail are zero", () => {
    reset();
    expect(apply("meta", -8)).toBe(0);
    bench.bytes(get(XDP_DATA_META), 8).set([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(apply("head", -100)).toBe(0);
    expect([...bench.bytes(get(XDP_DATA_META), 8)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(apply("head", 104)).toBe(0);
    expect([...bench.bytes(get(XDP_DATA_META), 8)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect([...bench.bytes(get(XDP_DATA), 4)]).toEqual([5, 6, 7, 8]);
    const end = get(XDP_DATA_END);
    expect(apply("tail", 10)).toBe(0);
    expect([...bench.bytes(end, 11)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xcc]);
  });
});

describe("csum_diff", () => {
  const bench = new Bench();
  const from = bench.alloc(64);
  const to = bench.alloc(64);
  test.each(CHECKSUMS)("%s to %s, seed %d", (before, after, seed, result) => {
    bench.bytes(from, before.length / 2).set(fromHex(before));
    bench.bytes(to, after.length / 2).set(fromHex(after));
    const sum = bench.core.csum_diff(from, before.length / 2, to, after.length / 2, seed);
    expect(BigInt.asIntN(64, sum)).toBe(result);
  });
});

describe("packet loads", () => {
  const packet = fromHex(PACKET_LOADS.packet);
  const bench = new Bench();
  const sizes = { 1: 0x10, 2: 0x08, 4: 0x00 } as Readonly<Record<number, number>>;

  test.each(PACKET_LOADS.rows)("%s, %d bytes at %d", (type, bytes, offset, result) => {
    const size = sizes[bytes] ?? 0;
    const tail = [ins(0xa7, { imm: 0x5a }), EXIT];
    const absolute = [movReg(6, 1), ins(0x20 | size, { imm: offset }), ...tail];
    const indirect = [
      movReg(6, 1),
      ...lddw(2, BigInt(offset - 5)),
      ins(0x40 | size, { src: 2, imm: 5 }),
      ...tail,
    ];
    const kind = type === "tc" ? KIND_SKB_LINK : KIND_SKB_NETWORK;
    for (const program of [absolute, indirect]) {
      const batch = new Batch(bench, bench.program(program), [packet], { kind });
      expect(batch.go()).toBe(STATUS_DONE);
      expect(batch.record(0, RECORD_RESULT)).toBe(result);
    }
  });

  test("outside a packet a function returns 0 to its caller", () => {
    const program = [
      ins(0x85, { src: 1, imm: 2 }),
      ins(0x07, { imm: 7 }),
      EXIT,
      movReg(6, 1),
      mov(0, 1),
      ins(0x20, { imm: 1000 }),
      EXIT,
    ];
    const batch = new Batch(bench, bench.program(program), [packet], { kind: KIND_SKB_LINK });
    expect([batch.go(), batch.record(0, RECORD_RESULT)]).toEqual([STATUS_DONE, 7]);
  });
});

describe("skb_load_bytes", () => {
  const bench = new Bench();
  const packet = bench.place(Uint8Array.from({ length: 60 }, (_, index) => index + 1));
  const context = bench.alloc(CTX_HEADER + SKB_SIZE) + CTX_HEADER;
  bench.view.setUint32(context + SKB_DATA, packet, true);
  bench.view.setUint32(context + SKB_DATA_END, packet + 60, true);
  const to = bench.alloc(20);

  // Offset, length, and whether Linux 6.18 gave the bytes; otherwise -EFAULT and zeroes.
  test.each([
    [0, 4, true],
    [0, 16, true],
    [44, 16, true],
    [45, 16, false],
    [59, 1, true],
    [60, 1, false],
    [-1, 4, false],
    [0x7fffffff, 4, false],
    [0x80000000, 4, false],
    [-14, 14, false],
  ])("offset %d, %d bytes", (offset, length, fits) => {
    bench.bytes(to, 20).fill(0xee);
    expect(bench.core.skb_load_bytes(context, offset, to, length)).toBe(fits ? 0 : -14);
    const wanted = new Uint8Array(20).fill(0xee);
    for (let index = 0; index < length; index++) wanted[index] = fits ? offset + index + 1 : 0;
    expect(bench.bytes(to, 20)).toEqual(wanted);
  });
});

describe("redirect", () => {
  const bench = new Bench();
  const flags = [0n, 1n, 2n, 3n, 4n, 1n << 32n, (1n << 32n) | 1n, 1n << 63n];
  // As Linux 6.18 answered in test runs, for any interface.
  test.each([
    ["xdp", XDP, [4n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]],
    ["tc", SCHED_CLS, [7n, 7n, 2n, 2n, 2n, 2n, 2n, 2n]],
  ])("%s", (_, type, results) => {
    for (const [index, bits] of flags.entries()) {
      const program = bench.program([mov(1, 5), ...lddw(2, bits), call(23), EXIT], type);
      expect([bits, bench.interpret(program).r0]).toEqual([bits, results[index]]);
      expect(bench.field(EXEC_REDIRECT)).toBe(results[index] === 0n || results[index] === 2n ? 0 : 5);
    }
  });

  test("is reported for each record of a batch", () => {
    // The first byte of the packet decides.
    const program = bench.program(
      [
        ins(0x61, { dst: 2, src: 1, offset: XDP_DATA }),
        ins(0x71, { dst: 1, src: 2 }),
        mov(0, 2),
        ins(0x15, { dst: 1, offset: 2 }),
        mov(2, 0),
        call(23),
        EXIT,
      ],
      XDP,
    );
    const packets = [9, 0, 3].map((first) => new Uint8Array(60).fill(first, 0, 1));
    const batch = new Batch(bench, program, packets);
    expect(batch.go()).toBe(STATUS_DONE);
    expect([0, 1, 2].map((index) => batch.record(index, RECORD_RESULT))).toEqual([4, 2, 4]);
    expect([0, 1, 2].map((index) => batch.record(index, RECORD_REDIRECT))).toEqual([9, 0, 3]);
  });
});

describe("random numbers and CPUs", () => {
  const draw = (bench: Bench, cpu: number, count: number): number[] => {
    (bench.core.exec as { value: number }).value = bench.core.exec_of(cpu);
    return Array.from({ length: count }, () => bench.core.get_prandom_u32() >>> 0);
  };

  test("the seed decides, and each CPU has its own", () => {
    const [a, b, c] = [
      new Bench({ cpus: 2, seed: 7 }),
      new Bench({ cpus: 2, seed: 7 }),
      new Bench({ cpus: 2, seed: 8 }),
    ];
    const first = draw(a, 0, 50);
    expect(draw(b, 0, 50)).toEqual(first);
    expect(draw(c, 0, 50)).not.toEqual(first);
    expect(draw(a, 1, 50)).not.toEqual(first);
    expect(new Set(first).size).toBe(50);
  });

  test.each([0, 1, 0xffffffff])("seed %d gives numbers that use all bits", (seed) => {
    const numbers = draw(new Bench({ seed }), 0, 4000);
    for (let bit = 0; bit < 32; bit++) {
      const ones = numbers.filter((value) => (value >>> bit) & 1).length;
      expect(Math.abs(ones - 2000)).toBeLessThan(200);
    }
  });

  test("get_smp_processor_id", () => {
    const bench = new Bench({ cpus: 3 });
    const program = bench.program([call(8), EXIT]);
    for (const cpu of [0, 1, 2]) {
      const exec = bench.core.exec_of(cpu);
      bench.core.begin(exec, program, 0, 0);
      expect(bench.core.interpret(exec, 10n)).toBe(STATUS_DONE);
      expect(bench.view.getBigUint64(exec, true)).toBe(BigInt(cpu));
    }
  });
});
