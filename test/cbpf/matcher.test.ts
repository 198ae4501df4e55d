import { describe, expect, it } from "vitest";
import {
  type CbpfFlavor,
  type CbpfInstruction,
  compileFunction,
  compileMatcher,
  createPacketMemory,
  runCbpf,
} from "../../src/cbpf/index.ts";
import { randomNumbers, randomPacket, randomProgram } from "./programs.ts";

const META = {
  wireLength: 1500,
  ancillary: { type: 3, ifidx: 7, mark: 0xdeadbeef, vlan_tci: 0x2001, vlan_tpid: 0x8100, rand: 99 },
  networkOffset: 14,
};

const text = (program: readonly CbpfInstruction[]): string =>
  program.map(({ code, jt, jf, k }) => `${code.toString(16)} ${jt} ${jf} ${k}`).join("; ");

describe.each(["linux", "libpcap"] as const)("compiled, as %s reads programs", (flavor: CbpfFlavor) => {
  it("equals the interpreter on random programs", () => {
    const random = randomNumbers(flavor === "linux" ? 1 : 2);
    for (let round = 0; round < 3000; round++) {
      const program = randomProgram(random);
      const matcher = compileMatcher(program, { flavor });
      for (let packets = 0; packets < 12; packets++) {
        const packet = randomPacket(random);
        const meta = packets % 2 === 0 ? {} : META;
        const expected = runCbpf(program, packet, { ...meta, flavor });
        const actual = matcher.matches(packet, meta);
        if (actual !== expected) expect.fail(`${text(program)} over ${packet}: ${actual}, not ${expected}`);
      }
    }
  });

  it("gives the same one by one, in batches, in place and from elsewhere", () => {
    const random = randomNumbers(3);
    const count = 5000;
    const packets = Array.from({ length: count }, () => randomPacket(random));
    packets[77] = new Uint8Array(300_000).fill(1);
    const bytes = packets.reduce((sum, packet) => sum + packet.length, 0);
    const memory = createPacketMemory(bytes);
    const elsewhere = new Uint8Array(bytes);
    const offset = new Uint32Array(count);
    const length: number[] = [];
    let end = 0;
    packets.forEach((packet, index) => {
      elsewhere.set(packet, end);
      memory.data.set(packet, end);
      offset[index] = end;
      length.push(packet.length);
      end += packet.length;
    });
    for (let round = 0; round < 60; round++) {
      const program = randomProgram(random);
      const expected = packets.map((packet) => runCbpf(program, packet, { flavor }));
      const matched = expected.filter((value) => value !== 0).length;
      const out = new Uint32Array(count);
      const alone = compileMatcher(program, { flavor });
      expect(alone.matchBatch(elsewhere, offset, length, count, out)).toBe(matched);
      expect([...out]).toEqual(expected);
      out.fill(5);
      const shared = compileMatcher(program, { flavor, memory });
      expect(shared.matchBatch(memory.data, offset, length, count, out)).toBe(matched);
      expect([...out]).toEqual(expected);
    }
  });
});

describe("edges", () => {
  const ret = { code: 6, jt: 0, jf: 0, k: 1 };

  it.each([
    ["an empty program", [], "empty"],
    ["an unknown code", [{ code: 0xff, jt: 0, jf: 0, k: 0 }, ret], "no instruction with code 0xff"],
    ["a jump that leaves", [{ code: 0x15, jt: 1, jf: 0, k: 0 }, ret], "leaves the program"],
    ["no ret", [ret, { code: 0, jt: 0, jf: 0, k: 0 }], "without a ret"],
    ["a cell too many", [{ code: 2, jt: 0, jf: 0, k: 16 }, ret], "no scratch cell M[16]"],
  ] as const)("refuses %s", (_, program, message) => {
    expect(() => compileMatcher(program)).toThrow(message);
  });

  it("interprets programs with loops, and stops endless ones", () => {
    const endless = compileMatcher([{ code: 5, jt: 0, jf: 0, k: 0xffffffff }, ret]);
    expect(endless.compiled).toBe(false);
    expect(() => endless.matches(new Uint8Array(4))).toThrow("has not ended after 1000000 instructions");
  });

  it("refuses batches that don't fit", () => {
    const matcher = compileMatcher([ret]);
    const data = new Uint8Array(10);
    const out = new Uint32Array(2);
    expect(() => matcher.matchBatch(data, [0, 5], [5, 6], 2, out)).toThrow("packet 1 does not lie inside");
    expect(() => matcher.matchBatch(data, [0], [5], 2, out)).toThrow("count is 2");
    const memory = createPacketMemory(10);
    const inPlace = compileMatcher([ret], { memory });
    expect(() => inPlace.matchBatch(memory.data, [0, 11], [5, 0], 2, out)).toThrow(
      "packet 1 does not lie inside",
    );
    expect(() => inPlace.matchBatch(memory.data, [0, 8], [5, 0xffffffff], 2, out)).toThrow("packet 1");
    expect(() => createPacketMemory(2 ** 40)).toThrow("can't be had");
  });

  it("compiles 4,096 instructions, each a target", () => {
    const program = Array.from({ length: 4095 }, (_, index) => ({
      code: 0x15,
      jt: 0,
      jf: Math.min(1, 4094 - index),
      k: index,
    }));
    expect(compileMatcher([...program, ret]).matches(new Uint8Array(1))).toBe(1);
  });
});

describe("as a JavaScript function", () => {
  it("equals the interpreter on random programs", () => {
    const random = randomNumbers(5);
    let compiled = 0;
    for (let round = 0; round < 3000; round++) {
      const program = randomProgram(random);
      const run = compileFunction(program);
      if (run === undefined) continue;
      compiled++;
      for (let packets = 0; packets < 12; packets++) {
        const packet = randomPacket(random);
        const expected = runCbpf(program, packet, packets % 2 === 0 ? {} : { wireLength: 1500 });
        const actual: number = packets % 2 === 0 ? run(packet) : run(packet, 1500);
        if (actual !== expected) expect.fail(`${text(program)} over ${packet}: ${actual}, not ${expected}`);
      }
    }
    expect(compiled).toBeGreaterThan(1000);
  });
});
