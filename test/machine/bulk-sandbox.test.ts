import { expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { Machine } from "../../src/machine/index.ts";

/** A loop that the compiler would copy at once, if it were not sandboxed. */
const COPY = `
next:
  r3 = *(u8 *)(r1 + 0)
  *(u8 *)(r2 + 0) = r3
  r1 += 1
  r2 += 1
  r4 += 1
  if r4 != 100 goto next
  r0 = 0
  exit`;

it.each(["jit", "interpreter"] as const)(
  "%s: a copying loop is stopped at the sandbox's walls",
  async (engine) => {
    const machine = await Machine.create({ engine, unverified: "sandbox" });
    const [from, to] = [machine.memory.alloc(128, "from"), machine.memory.alloc(128, "to")];
    machine.memory.write(from, new Uint8Array(128).fill(7));
    const program = machine.loadInstructions(assemble(`r4 = 0\n${COPY}`).instructions);
    expect(() => program.call(from, to)).toThrow(/instruction 1: read of 1 byte/);
    expect(machine.memory.read(to, 128)).toEqual(new Uint8Array(128));
  },
);
