/** Runs that are driven step by step: what is seen on the way, and that they end as they would without. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import { Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

const object = (name: string) => parseObject(readFileSync(join(ROOT, name)), { name });
const FIREWALL = object("examples/firewall/firewall.bpf.o");
const PACKET = new Uint8Array(64).fill(7);

/** A program of bare instructions, as a packet program. */
async function machineWith(text: string, options = {}) {
  const machine = await Machine.create(options);
  return { machine, program: machine.loadInstructions(assemble(text).instructions, { type: "xdp" }) };
}

const CALLS = `
  r6 = 1
  r1 = 5
  call double
  r0 += r6
  exit
double:
  r0 = r1
  r0 += r1
  exit
`;

describe("a run that is driven", () => {
  it("shows each instruction and the registers before it", async () => {
    const { program } = await machineWith("r0 = 1\nr0 += 41\nexit");
    const debug = program.debug({ packet: PACKET });
    const seen: [number, bigint][] = [];
    do seen.push([debug.instruction, debug.register(0)]);
    while (debug.step());
    expect(seen).toEqual([
      [0, 0n],
      [1, 1n],
      [2, 42n],
    ]);
    expect([debug.ended, debug.steps]).toEqual([true, 3n]);
    expect(debug.finish().returnValue).toBe(42);
    expect(() => debug.step()).toThrow("debugger: the run is over");
  });

  it("ends as a run does: packet, maps, result", async () => {
    const run = async (drive: boolean) => {
      const machine = await Machine.create({ clock: "virtual" });
      const { programs, maps } = await machine.load(FIREWALL);
      const program = programs["firewall"]!;
      const debug = drive ? program.debug({ packet: PACKET }) : undefined;
      while (debug?.step());
      const { durationNs: _, ...rest } =
        debug?.finish() ?? program.run({ packet: PACKET, engine: "interpreter" });
      return { ...rest, maps: [...maps["verdicts"]!.entries()] };
    };
    expect(await run(true)).toEqual(await run(false));
  });

  it("goes to a source line, and names it", async () => {
    const machine = await Machine.create();
    const { programs } = await machine.load(FIREWALL);
    const debug = programs["firewall"]!.debug({ packet: PACKET });
    const first = debug.source as string;
    expect(first).toMatch(/firewall\.bpf\.c:\d+$/);
    const lines = new Set<string>();
    while (debug.step()) lines.add(debug.source as string);
    const last = [...lines].at(-1) as string;
    const again = programs["firewall"]!.debug({ packet: PACKET });
    expect(again.runTo(last)).toBe(true);
    expect(again.source).toBe(last);
    expect(again.runTo(":1")).toBe(false);
  });

  it("steps over calls and out of them, and knows the callers", async () => {
    const { program } = await machineWith(CALLS);
    const debug = program.debug({ packet: PACKET });
    debug.runTo(2);
    expect(debug.stepOver()).toBe(true);
    expect([debug.instruction, debug.register(0)]).toEqual([3, 10n]);
    const inside = program.debug({ packet: PACKET });
    inside.runTo(6);
    expect(inside.callStack().map(({ instruction }) => instruction)).toEqual([6, 3]);
    expect(inside.stepOut()).toBe(true);
    expect(inside.instruction).toBe(3);
    expect(inside.finish().returnValue).toBe(11);
  });

  it("registers and memory can be changed on the way", async () => {
    const { program } = await machineWith("r0 = 1\n*(u32 *)(r10 - 4) = 7\nw0 = *(u32 *)(r10 - 4)\nexit");
    const debug = program.debug({ packet: PACKET });
    debug.runTo(2);
    const stack = debug.register(10) - 4n;
    expect([...debug.readMemory(stack, 4)]).toEqual([7, 0, 0, 0]);
    debug.writeMemory(stack, Uint8Array.of(9, 1));
    debug.runTo(3);
    expect(debug.register(0)).toBe(0x109n);
    debug.setRegister(0, -1);
    expect(debug.finish().returnValue).toBe(0xffffffff);
  });

  it("comes back to a snapshot, maps included", async () => {
    const machine = await Machine.create({ clock: "virtual" });
    const { programs, maps } = await machine.load(FIREWALL);
    const before = [...maps["verdicts"]!.entries()];
    const debug = programs["firewall"]!.debug({ packet: PACKET });
    debug.step(20);
    const snapshot = debug.snapshot();
    const at = debug.instruction;
    while (debug.step());
    const after = [...maps["verdicts"]!.entries()];
    expect(after).not.toEqual(before);
    debug.restore(snapshot);
    expect([debug.instruction, debug.ended, [...maps["verdicts"]!.entries()]]).toEqual([at, false, before]);
    debug.finish();
    expect([...maps["verdicts"]!.entries()]).toEqual(after);
  });

  it("drives programs that no packets go through", async () => {
    const machine = await Machine.create();
    const { instructions } = assemble("r0 = *(u64 *)(r1 + 112)\nexit");
    const program = machine.loadInstructions(instructions, { type: "kprobe" });
    const debug = program.debug({ args: [77] });
    expect(debug.step()).toBe(true);
    expect(debug.register(0)).toBe(77n);
    expect(debug.finish().returnValue).toBe(77);
  });

  it("a loop that does not end uses up its fuel where a run does", async () => {
    const { program } = await machineWith("goto -1\nexit", { fuel: 1000 });
    const debug = program.debug({ packet: PACKET });
    expect(() => debug.finish()).toThrow(BpfError);
    expect(() => debug.register(0)).not.toThrow();
  });

  it.each([
    [
      "no register",
      (debug: { register(n: number): bigint }) => debug.register(11),
      /no register 11; there are r0 to r10/,
    ],
    [
      "no memory",
      (debug: { readMemory(a: number, n: number): Uint8Array }) => debug.readMemory(2 ** 33, 1),
      /1 bytes at 0x200000000 are outside the memory/,
    ],
    ["no step", (debug: { step(n: number): boolean }) => debug.step(0), /0 steps: a whole number from 1 on/],
  ])("%s", async (_, ask, message) => {
    const { program } = await machineWith("r0 = 1\nexit");
    expect(() => ask(program.debug({ packet: PACKET }) as never)).toThrow(message);
  });
});
