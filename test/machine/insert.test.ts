import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { bareImage } from "../../src/machine/image.ts";
import { insertBefore } from "../../src/machine/insert.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";

const NOTHING = { opcode: 0x05, dst: 0, src: 0, offset: 0, imm: 0 };

/** Jumps both ways, a call, a constant of two slots. */
const PROGRAM = `
r6 = 0
r7 = 0
r7 += 5
r6 += 1
if r6 < 4 goto -3
goto +1
exit
r1 = r7
call pc+6
r2 = 100 ll
r0 += r2
goto +1
exit
exit
r1 += 30
if r1 == 50 goto +1
r1 = 0
r0 = r1
exit
`;

async function result(instructions: Parameters<Machine["loadInstructions"]>[0]): Promise<bigint[]> {
  const machine = await Machine.create();
  const program = machine.loadInstructions(instructions, { type: "sched_cls" });
  return ENGINES.map((engine) => program.run({ packet: new Uint8Array(64), engine }).r0);
}

describe("instructions between those of a program", () => {
  const { instructions } = assemble(PROGRAM);
  const image = bareImage("test", "sched_cls", instructions, new Map());
  const first = instructions.flatMap((_, slot) => (instructions[slot - 1]?.opcode === 0x18 ? [] : slot));

  it("leave the result as it is, wherever they are", async () => {
    const expected = await result(instructions);
    expect(expected).toEqual([150n, 150n]);
    for (const slots of [...first.map((slot) => [slot]), first, first.filter((slot) => slot % 2 === 0)]) {
      const longer = insertBefore(image, new Map(slots.map((slot) => [slot, NOTHING])));
      expect(longer.instructions).toHaveLength(instructions.length + slots.length);
      expect([slots, await result(longer.instructions)]).toEqual([slots, expected]);
    }
  });

  it("move what names slots", () => {
    const reference = { kind: "extern", extern: "f" } as const;
    const line = { file: "f.c", line: 1, column: 1, text: "" };
    const { functions, references, lines, poisoned, exceptionCallback } = insertBefore(
      {
        ...image,
        functions: [
          { name: "a", start: 0, end: 3 },
          { name: "b", start: 3, end: instructions.length },
        ],
        references: new Map([[3, reference]]),
        lines: [
          { ...line, slot: 0 },
          { ...line, slot: 3 },
        ],
        poisoned: new Map([[4, "why"]]),
        exceptionCallback: 3,
      },
      new Map([
        [1, NOTHING],
        [3, NOTHING],
      ]),
    );
    expect(functions).toEqual([
      { name: "a", start: 0, end: 4 },
      { name: "b", start: 4, end: instructions.length + 2 },
    ]);
    expect([...references]).toEqual([[5, reference]]);
    expect(lines.map(({ slot }) => slot)).toEqual([0, 4]);
    expect([...poisoned]).toEqual([[6, "why"]]);
    expect(exceptionCallback).toBe(4);
    const pointer = { opcode: 0x18, dst: 1, src: 4, offset: 0, imm: 2 };
    const [, moved] = insertBefore(
      { ...image, instructions: [pointer, NOTHING, NOTHING, NOTHING] },
      new Map([
        [0, NOTHING],
        [2, NOTHING],
      ]),
    ).instructions;
    expect(moved).toEqual({ ...pointer, imm: 3 });
  });
});
