/** The largest function that the instruction set can jump over, and many programs in one machine. */
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { ENGINES, Machine, type Program } from "../../src/machine/index.ts";

const SLOTS = 65_535;
const PROGRAMS = 1000;

describe.each(ENGINES)("sandboxed programs in the %s", (engine) => {
  const create = (): Promise<Machine> => Machine.create({ engine, verify: false, unverified: "sandbox" });

  it("a function of 65,535 instructions touches memory, and stops at the one that reaches too far", async () => {
    const machine = await create();
    const lines = ["r6 = r1", "r0 = 0"];
    while (lines.length < SLOTS - 2) {
      const at = (lines.length % 64) * 8;
      lines.push(lines.length % 2 === 0 ? `*(u64 *)(r6 + ${at}) = r0` : "r0 += 1");
    }
    lines.push("r0 = *(u64 *)(r6 + 504)", "exit");
    const { instructions } = assemble(lines.join("\n"));
    expect(instructions.length).toBe(SLOTS);
    const program = machine.loadInstructions(instructions);
    const address = machine.memory.alloc(512, "room");
    machine.regions.add({ kind: "memory", label: "room", address, size: 512 });
    expect(program.call(address)).toBe(0n);
    machine.regions.remove(address);
    machine.regions.add({ kind: "memory", label: "room", address, size: 511 });
    expect(() => program.call(address)).toThrow(/instruction 65533: .*across the end of room \(511 bytes\)$/);
  });

  it("each of 1,000 programs writes to its own map, and to no other's", async () => {
    const machine = await create();
    const key = new Uint8Array(4);
    const maps = Array.from({ length: PROGRAMS }, (_, index) =>
      machine.createMap({
        name: `m${index}`,
        type: "array",
        keySize: 4,
        valueSize: 8,
        maxEntries: 1,
        flags: 0,
      }),
    );
    // r1: where to write instead of the own value, if it is anywhere.
    const { instructions } = assemble(
      "r6 = r1\nr1 = 0 ll\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall 1\nif r6 == 0 goto +1\nr0 = r6\n" +
        "r1 = 7\n*(u64 *)(r0 + 0) = r1\nr0 = 0\nexit",
    );
    const programs = maps.map(
      (map): Program =>
        machine.loadInstructions(instructions, {
          maps: { own: map },
          references: new Map([[1, { kind: "map", map: "own" }]]),
        }),
    );
    programs.forEach((program, index) => {
      expect(program.call()).toBe(0n);
      const other = maps[(index + 1) % PROGRAMS]?.valueBase as number;
      if (index % 100 === 0) expect(() => program.call(other)).toThrow(/write of 8 bytes/);
    });
    for (const map of maps) expect([...(map.lookup(key) ?? [])]).toEqual([7, 0, 0, 0, 0, 0, 0, 0]);
  });
});
