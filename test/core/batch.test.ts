/** The batch loop: contexts, packets in and out, pauses, faults, both engines. */
import { describe, expect, test } from "vitest";
import wabt from "wabt";
import {
  ENGINE_JIT,
  EXEC_FAULT,
  FAULT_FUEL,
  FAULT_MEMORY,
  FUNC_TABLE,
  KIND_SKB_LINK,
  KIND_SKB_NETWORK,
  KIND_XDP,
  RECORD_LENGTH,
  RECORD_META,
  RECORD_ORIGIN,
  RECORD_RESULT,
  RUN_BUFFER,
  RUN_BUFFER_SIZE,
  RUN_INPUT,
  RUN_INPUT_SIZE,
  RUN_NEXT,
  RUN_OUT,
  SKB_DATA,
  SKB_DATA_END,
  SKB_DATA_META,
  SKB_IFINDEX,
  SKB_INGRESS_IFINDEX,
  SKB_LEN,
  SKB_PKT_TYPE,
  SKB_PROTOCOL,
  SKB_SIZE,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
  XDP_DATA,
  XDP_DATA_END,
  XDP_DATA_META,
  XDP_HEADROOM,
  XDP_INGRESS_IFINDEX,
  XDP_MD_SIZE,
} from "../../src/core/layout.ts";
import { Batch, Bench, EXIT, call, ins, mov } from "./harness.ts";
import { ETHERNET_TYPES } from "./kernel-packets.ts";

const bench = new Bench();
const packet = (length: number, first = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => first + i);
const pass = bench.program([mov(0, 2), EXIT]);
const LDXW = (dst: number, src: number, offset: number) => ins(0x61, { dst, src, offset });

describe("contexts", () => {
  const contextOf = (batch: Batch, offset: number): number =>
    bench.view.getUint32(batch.context + offset, true);

  test("xdp_md", () => {
    const template = new Uint8Array(XDP_MD_SIZE).fill(7);
    const batch = new Batch(bench, pass, [packet(60)], { template });
    expect(batch.go()).toBe(STATUS_DONE);
    const start = batch.buffer + XDP_HEADROOM;
    expect([XDP_DATA, XDP_DATA_END, XDP_DATA_META].map((offset) => contextOf(batch, offset))).toEqual([
      start,
      start + 60,
      start,
    ]);
    expect(contextOf(batch, XDP_INGRESS_IFINDEX)).toBe(0x07070707);
    expect(bench.bytes(start, 60)).toEqual(packet(60));
    const other = new Batch(bench, pass, [packet(60)], { template, ifindex: 3 });
    other.go();
    expect(contextOf(other, XDP_INGRESS_IFINDEX)).toBe(3);
  });

  test.each([
    [KIND_SKB_LINK, 0],
    [KIND_SKB_NETWORK, 14],
  ])("__sk_buff of kind %d begins %d bytes into the frame", (kind, skipped) => {
    const template = new Uint8Array(SKB_SIZE);
    template[SKB_IFINDEX] = 1;
    const batch = new Batch(bench, pass, [packet(60)], { kind, template });
    batch.go();
    const start = batch.buffer + XDP_HEADROOM;
    const seen = [SKB_LEN, SKB_DATA, SKB_DATA_END, SKB_DATA_META, SKB_IFINDEX].map((offset) =>
      contextOf(batch, offset),
    );
    const length = 60 - skipped;
    expect(seen).toEqual([length, start + skipped, start + 60, start + skipped, 1]);
    const other = new Batch(bench, pass, [packet(60)], { kind, template, ifindex: 4 });
    other.go();
    expect([SKB_IFINDEX, SKB_INGRESS_IFINDEX].map((offset) => contextOf(other, offset))).toEqual([4, 4]);
  });

  test.each(ETHERNET_TYPES)("to %s, %s: type %d, protocol %d", (to, rest, packetType, protocol) => {
    const frame = new Uint8Array(60);
    frame.set(Buffer.from(to, "hex"));
    frame.set(Buffer.from(rest, "hex"), 12);
    for (const kind of [KIND_SKB_LINK, KIND_SKB_NETWORK]) {
      const batch = new Batch(bench, pass, [frame], { kind });
      batch.go();
      expect([contextOf(batch, SKB_PKT_TYPE), contextOf(batch, SKB_PROTOCOL)]).toEqual([
        packetType,
        protocol,
      ]);
    }
  });

  test("a length field at the end of the frame", () => {
    // With one byte of payload Linux sees 802.2, with two that are ff ff it sees raw 802.3.
    for (const [length, protocol] of [
      [15, 0x400],
      [16, 0x100],
    ] as const) {
      const frame = new Uint8Array(length).fill(0xff, 14);
      frame.set([0x05, 0xdc], 12);
      const batch = new Batch(bench, pass, [frame], { kind: KIND_SKB_LINK });
      batch.go();
      expect(contextOf(batch, SKB_PROTOCOL)).toBe(protocol);
    }
  });

  test.each([KIND_XDP, KIND_SKB_LINK, KIND_SKB_NETWORK])("kind %d: frames shorter than a header", (kind) => {
    for (const length of [0, 1, 6, 13]) {
      const batch = new Batch(bench, pass, [packet(length)], { kind });
      expect([batch.go(), batch.record(0, RECORD_RESULT)]).toEqual([STATUS_DONE, 2]);
      const [from, to] = kind === KIND_XDP ? [XDP_DATA, XDP_DATA_END] : [SKB_DATA, SKB_DATA_END];
      expect(contextOf(batch, to) - contextOf(batch, from)).toBe(kind === KIND_SKB_NETWORK ? 0 : length);
    }
  });
});

describe("kept packets", () => {
  // Returns the packet's first byte, after shortening it by as many bytes and adding 8 bytes of metadata.
  const program = bench.program([
    ins(0xbf, { dst: 6, src: 1 }),
    LDXW(2, 1, XDP_DATA),
    ins(0x71, { dst: 7, src: 2 }),
    mov(2, -8),
    call(54),
    ins(0xbf, { dst: 1, src: 6 }),
    LDXW(3, 1, XDP_DATA_META),
    ins(0x62, { dst: 3, imm: 0x11223344 }),
    ins(0x62, { dst: 3, offset: 4, imm: 0x55667788 }),
    ins(0xbf, { dst: 2, src: 7 }),
    ins(0x87, { dst: 2 }),
    call(65),
    ins(0xbf, { dst: 0, src: 7 }),
    EXIT,
  ]);
  const packets = [1, 2, 3, 40, 31].map((first) => packet(100, first));

  test("by the mask of results, with their metadata", () => {
    const keep = (1 << 2) | (1 << 31);
    const batch = new Batch(bench, program, packets, { keep, outSize: 20_000 });
    expect(batch.go()).toBe(STATUS_DONE);
    expect(batch.kept(0)).toBeUndefined();
    expect(batch.kept(2)).toBeUndefined();
    for (const [index, first] of [
      [1, 2],
      [3, 40],
      [4, 31],
    ] as const) {
      expect(batch.kept(index)).toEqual(packet(100, first).subarray(0, 100 - first));
      expect(batch.record(index, RECORD_META)).toBe(8);
      const at = batch.record(index, 12);
      expect(bench.view.getBigUint64(at - 8, true)).toBe(0x5566778811223344n);
    }
  });

  test("a full out area pauses the batch, which goes on when it is emptied", () => {
    const batch = new Batch(bench, program, packets, { keep: -1, outSize: 4096 + 150 });
    let pauses = 0;
    const seen: number[] = [];
    let status = batch.go();
    let done = 0;
    while (status === STATUS_PAUSED) {
      pauses++;
      for (; done < batch.field(RUN_NEXT); done++) seen.push(batch.kept(done)?.[0] ?? -1);
      bench.view.setUint32(batch.run + RUN_OUT, batch.out, true);
      status = batch.go();
    }
    for (; done < batch.field(RUN_NEXT); done++) seen.push(batch.kept(done)?.[0] ?? -1);
    expect([status, pauses > 0, seen]).toEqual([STATUS_DONE, true, [1, 2, 3, 40, 31]]);
  });

  test("socket buffers too", () => {
    // As large as a socket buffer can grow.
    const outSize = (1 << 17) + 8192;
    const batch = new Batch(bench, pass, [packet(60)], { kind: KIND_SKB_LINK, keep: -1, outSize });
    expect(batch.go()).toBe(STATUS_DONE);
    expect(batch.kept(0)).toEqual(packet(60));
  });
});

test("each repetition starts from the same packet and context, and the headroom is clean", () => {
  // Counts the first byte up, moves the head down by 4 and writes there; returns first byte + what lay below.
  const program = bench.program([
    ins(0xbf, { dst: 6, src: 1 }),
    LDXW(2, 1, XDP_DATA),
    ins(0x71, { dst: 7, src: 2 }),
    ins(0x07, { dst: 7, imm: 1 }),
    ins(0x73, { dst: 2, src: 7 }),
    mov(2, -4),
    call(44),
    LDXW(2, 6, XDP_DATA),
    LDXW(0, 2, 0),
    ins(0x62, { dst: 2, imm: 0x01010101 }),
    ins(0x0f, { src: 7 }),
    ins(0x63, { dst: 6, src: 0, offset: 16 }),
    EXIT,
  ]);
  const batch = new Batch(bench, program, [packet(60, 5), packet(60, 9)], { repeat: 4 });
  expect(batch.go()).toBe(STATUS_DONE);
  expect([0, 1].map((index) => batch.record(index, RECORD_RESULT))).toEqual([6, 10]);
});

describe("faults", () => {
  test("name their record, and those before have their results", () => {
    // Loops for ever if the first byte is 3.
    const program = bench.program([
      LDXW(2, 1, XDP_DATA),
      ins(0x71, { dst: 0, src: 2 }),
      ins(0x15, { offset: -1, imm: 3 }),
      EXIT,
    ]);
    const batch = new Batch(
      bench,
      program,
      [1, 2, 3, 4].map((first) => packet(60, first)),
      { fuel: 1000n },
    );
    expect(batch.go()).toBe(STATUS_FAULT);
    expect([batch.field(RUN_NEXT), bench.field(EXEC_FAULT)]).toEqual([2, FAULT_FUEL]);
    expect([0, 1].map((index) => batch.record(index, RECORD_RESULT))).toEqual([1, 2]);
    bench.view.setUint32(batch.run + RUN_NEXT, 3, true);
    expect([batch.go(), batch.record(3, RECORD_RESULT)]).toEqual([STATUS_DONE, 4]);
  });

  test.each([
    [4096 - 256, STATUS_DONE],
    [4096 - 255, STATUS_PAUSED],
  ])("a packet of %d bytes in a buffer of 4096", (length, status) => {
    for (const kind of [KIND_XDP, KIND_SKB_LINK]) {
      const batch = new Batch(bench, pass, [packet(length)], { kind });
      expect([batch.go(), batch.field(RUN_NEXT)]).toEqual([status, status === STATUS_DONE ? 1 : 0]);
      bench.view.setUint32(batch.run + RUN_BUFFER, bench.alloc(8192), true);
      bench.view.setUint32(batch.run + RUN_BUFFER_SIZE, 8192, true);
      expect([batch.go(), batch.record(0, RECORD_RESULT)]).toEqual([STATUS_DONE, 2]);
    }
  });

  test.each([
    [0, 60, STATUS_DONE],
    [1, 60, STATUS_FAULT],
    [0xffffffff, 1, STATUS_FAULT],
    [0, 0xffffffff, STATUS_FAULT],
  ])("a packet at %d of %d bytes, of 60 bytes in all", (offset, length, status) => {
    const batch = new Batch(bench, pass, [packet(60)]);
    const origin = batch.record(0, RECORD_ORIGIN);
    bench.view.setUint32(batch.run + RUN_INPUT, origin, true);
    bench.view.setUint32(batch.run + RUN_INPUT_SIZE, 60, true);
    batch.set(0, RECORD_ORIGIN, offset);
    batch.set(0, RECORD_LENGTH, length);
    expect(batch.go()).toBe(status);
    expect(bench.field(EXEC_FAULT)).toBe(status === STATUS_FAULT ? FAULT_MEMORY : 0);
  });

  test("an empty batch", () => {
    expect(new Batch(bench, pass, []).go()).toBe(STATUS_DONE);
  });
});

describe("compiled code", async () => {
  const tools = await wabt();
  const compile = (body: string): number => {
    const source = `(module
      (import "core" "exec" (global $exec (mut i32)))
      (import "core" "fuel" (global $fuel (mut i64)))
      (import "core" "fault" (func $fault (param i32 i32)))
      (import "env" "memory" (memory 1))
      (func (export "main") (param $r1 i64) (param $r2 i64) (param i64 i64 i64) (param $fp i32) (result i64)
        ${body}))`;
    const binary = tools.parseWat("test.wat", source).toBinary({}).buffer;
    const { exec, fuel, fault } = bench.core;
    const instance = new WebAssembly.Instance(new WebAssembly.Module(binary as Uint8Array<ArrayBuffer>), {
      core: { exec, fuel, fault },
      env: { memory: bench.memory },
    });
    const index = bench.table.grow(1, instance.exports["main"]);
    const program = bench.program([EXIT]);
    bench.view.setUint32(program + FUNC_TABLE, index, true);
    return program;
  };

  test("run_jit", () => {
    const program = compile("(i64.add (i64.mul (local.get $r1) (i64.const 1000)) (local.get $r2))");
    bench.core.run_jit(bench.exec, program, 12, 34);
    expect(bench.registers[0]).toBe(12_034n);
  });

  test("gets the end of its stack", () => {
    const program = compile("(i64.extend_i32_u (local.get $fp))");
    bench.core.run_jit(bench.exec, program, 0, 0);
    bench.interpret(bench.program([ins(0xbf, { src: 10 }), EXIT]));
    const interpreted = bench.registers[0];
    bench.core.run_jit(bench.exec, program, 0, 0);
    expect(bench.registers[0]).toBe(interpreted);
  });

  test("runs batches, and a trap leaves the record's index", () => {
    const program = compile(`
      (local $first i64)
      (local.set $first (i64.load8_u (i32.load (i32.wrap_i64 (local.get $r1)))))
      (global.set $fuel (i64.sub (global.get $fuel) (local.get $first)))
      (if (i64.lt_s (global.get $fuel) (i64.const 0)) (then (call $fault (i32.const 1) (i32.const 99))))
      (local.get $first)`);
    const packets = [5, 90, 101, 7].map((first) => packet(60, first));
    const batch = new Batch(bench, program, packets, { engine: ENGINE_JIT, fuel: 100n });
    expect(() => batch.go()).toThrow(WebAssembly.RuntimeError);
    expect([batch.field(RUN_NEXT), bench.field(EXEC_FAULT)]).toEqual([2, FAULT_FUEL]);
    bench.view.setUint32(batch.run + RUN_NEXT, 3, true);
    expect(batch.go()).toBe(STATUS_DONE);
    expect([0, 1, 3].map((index) => batch.record(index, RECORD_RESULT))).toEqual([5, 90, 7]);
  });
});
