/** Many runs in a row, without a return to JavaScript in between: each begins as the first did. */
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { ENGINES, type ImageReference, Machine } from "../../src/machine/index.ts";

const COUNT =
  "r6 = 0\nr1 = 0 ll\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto +3\n" +
  "r1 = 1\nlock *(u64 *)(r0 + 0) += r1\nr6 = *(u32 *)(r0 + 0)\nr0 = r6\nexit";

describe.each(ENGINES)("repeated runs in the %s", (engine) => {
  const references = new Map<number, ImageReference>([[1, { kind: "map", map: "counter" }]]);
  const counting = async (unverified: "trusted" | "sandbox") => {
    const machine = await Machine.create({ engine, verify: false, unverified });
    const counter = machine.createMap({
      name: "counter",
      type: "array",
      keySize: 4,
      valueSize: 8,
      maxEntries: 1,
      flags: 0,
    });
    const program = machine.loadInstructions(assemble(COUNT).instructions, {
      maps: { counter },
      references,
      type: "xdp",
    });
    return { machine, program };
  };

  it.each(["trusted", "sandbox"] as const)("%s: give the last result", async (unverified) => {
    const { program } = await counting(unverified);
    const call = program.prepare();
    expect(call.repeat(0, 0, 1)).toBe(1);
    expect(call.repeat(0, 0, 5)).toBe(6);
    expect(call.run(0, 0)).toBe(7);
    const packet = program.preparePacket({ packet: new Uint8Array(64) });
    // The packet is put in place by a first run.
    expect(packet.repeat(1000)).toBe(1008);
    expect(call.run(0, 0)).toBe(1009);
  });

  it("go on after a helper has been replaced", async () => {
    const { machine, program } = await counting("trusted");
    const call = program.prepare();
    expect(call.repeat(0, 0, 3)).toBe(3);
    const spy = machine.spyHelper("map_lookup_elem");
    expect(call.repeat(0, 0, 3)).toBe(6);
    expect(spy.calls.length).toBe(3);
    spy.restore();
    expect(call.repeat(0, 0, 3)).toBe(9);
  });

  it("have the whole fuel each, and stop at the one that needs more", async () => {
    const machine = await Machine.create({ engine, fuel: 100 });
    const program = machine.loadInstructions(
      assemble("r0 = r1\nif r0 == 0 goto +2\nr0 += -1\ngoto -3\nexit").instructions,
    );
    const call = program.prepare();
    expect(call.repeat(20, 0, 50)).toBe(0);
    expect(() => call.repeat(1000, 0, 50)).toThrow(/fuel|too long|budget/i);
    expect(call.repeat(20, 0, 50)).toBe(0);
  });

  it("name the instruction at which one is stopped", async () => {
    const machine = await Machine.create({ engine, verify: false, unverified: "sandbox" });
    const program = machine.loadInstructions(
      assemble("r0 = 0\nif r1 == 0 goto +1\nr0 = *(u64 *)(r2 + 0)\nexit").instructions,
    );
    const call = program.prepare();
    expect(call.repeat(0, 0, 10)).toBe(0);
    expect(() => call.repeat(1, 16, 10)).toThrow(/instruction 2: read of 8 bytes/);
  });
});
