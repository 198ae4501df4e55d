/**
 * What sandboxed runs hold without a dynptr around it: records of ring buffers and sockets. Who gives back what is not the run's is
 * stopped; what a run leaves behind is taken from it, so that others go on.
 */
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { ENGINES, Machine, type MachineOptions } from "../../src/machine/index.ts";
import { OPCODE_LDDW, isWide } from "../../src/isa/index.ts";
import { type HelperName, type ProgramType, helperId } from "../../src/uapi/index.ts";

const call = (name: HelperName): string => `call ${helperId(name)}`;
/** The ring is the map of the first lddw. */
const RING = "r1 = 0 ll";
const reserve = (size: number): string => `${RING}\nr2 = ${size}\nr3 = 0\n${call("ringbuf_reserve")}`;
const submit = (register: string, how: HelperName = "ringbuf_submit"): string =>
  `r1 = ${register}\nr2 = 0\n${call(how)}`;
const END = "r0 = 0\nexit";
// A tuple for 10.0.0.1:80 from 10.0.0.2:4000, in r2.
const FIND = `r2 = 0x0100000a0200000a ll\n*(u64 *)(r10 - 16) = r2\nw2 = 0x5000a00f\n*(u32 *)(r10 - 8) = w2
r2 = r10\nr2 += -16\nr3 = 12\nr4 = -1\nr5 = 0\n${call("sk_lookup_tcp")}`;

async function machineWith(engine: (typeof ENGINES)[number]): Promise<Machine> {
  const options: MachineOptions = {
    engine,
    world: { sockets: [{ protocol: "tcp", local: "10.0.0.1:80", state: "listen" }] },
  };
  const machine = await Machine.create(options);
  machine.createMap({ name: "ring", type: "ringbuf", keySize: 0, valueSize: 0, maxEntries: 4096, flags: 0 });
  machine.createMap({ name: "socks", type: "sockmap", keySize: 4, valueSize: 8, maxEntries: 4, flags: 0 });
  machine.createMap({ name: "kept", type: "array", keySize: 4, valueSize: 16, maxEntries: 1, flags: 0 });
  return machine;
}

/** Each `r1 = 0 ll` is the ring, `r1 = 1 ll` the map of sockets, `r1 = 2 ll` the array. */
function load(machine: Machine, text: string, type?: ProgramType) {
  const { instructions } = assemble(text);
  const names = ["ring", "socks", "kept"];
  const references = new Map<number, { kind: "map"; map: string }>();
  for (let slot = 0; slot < instructions.length; slot++) {
    const { opcode, dst, imm } = instructions[slot]!;
    if (opcode === OPCODE_LDDW && dst === 1) references.set(slot, { kind: "map", map: names[imm]! });
    if (isWide(instructions[slot]!)) slot++;
  }
  return machine.loadInstructions(instructions, {
    unverified: "sandbox",
    references,
    maps: machine.maps,
    ...(type === undefined ? {} : { type }),
  });
}

const lengths = (machine: Machine): number[] =>
  [...machine.maps["ring"]!.records()].map(({ length }) => length);

describe.each(ENGINES)("%s: records of ring buffers", (engine) => {
  test.each<[what: string, text: string, says: RegExp]>([
    [
      "twice",
      `${reserve(8)}\nif r0 == 0 goto +7\nr6 = r0\n${submit("r6")}\n${submit("r6")}\n${END}`,
      /argument r1: \w+ is not what is wanted/,
    ],
    [
      "not from its start",
      `${reserve(16)}\nif r0 == 0 goto +5\nr6 = r0\nr6 += 8\n${submit("r6", "ringbuf_discard")}\n${END}`,
      /argument r1: \w+ is not what is wanted/,
    ],
    [
      "the map itself",
      `${RING}\nr2 = 0\n${call("ringbuf_submit")}\n${END}`,
      /argument r1: \w+ is not what is wanted/,
    ],
    ["the stack", `${submit("r10")}\n${END}`, /argument r1: \w+ is not what is wanted/],
  ])("given back %s", async (_what, text, says) => {
    const machine = await machineWith(engine);
    const program = load(machine, text);
    expect(() => program.call()).toThrow(says);
    // The ring goes on.
    expect(load(machine, `${reserve(24)}\nif r0 == 0 goto +3\n${submit("r0")}\n${END}`).call()).toBe(0n);
    expect(lengths(machine)).toContain(24);
  });

  test("left behind, they are discarded, however many", async () => {
    const machine = await machineWith(engine);
    const leaves = load(machine, `${reserve(8)}\n${reserve(16)}\n${reserve(0)}\n${END}`);
    const submits = load(machine, `${reserve(24)}\nif r0 == 0 goto +3\n${submit("r0")}\n${END}`);
    for (let run = 0; run < 400; run++) {
      leaves.call();
      submits.call();
      expect(lengths(machine)).toEqual([24]);
    }
  });

  test("left behind by runs without a break", async () => {
    const machine = await machineWith(engine);
    load(machine, `${reserve(8)}\n${END}`)
      .prepare()
      .repeat(0, 0, 100);
    load(machine, `${reserve(24)}\nif r0 == 0 goto +3\n${submit("r0")}\n${END}`).call();
    expect(lengths(machine)).toEqual([24]);
  });

  test("left behind by packets of a batch", async () => {
    const machine = await machineWith(engine);
    const program = load(machine, `${reserve(8)}\nif r0 == 0 goto +2\nr0 = 2\nexit\nr0 = 1\nexit`, "xdp");
    const count = 50;
    const offset = Array.from({ length: count }, (_, index) => 64 * index);
    const batch = { count, offset, capturedLength: offset.map(() => 64), data: new Uint8Array(64 * count) };
    expect(new Set(program.runPackets(batch).results)).toEqual(new Set([2]));
    load(machine, `${reserve(24)}\nif r0 == 0 goto +3\n${submit("r0")}\n${END}`).call();
    expect(lengths(machine)).toEqual([24]);
  });

  test("left behind by a run that is stopped", async () => {
    const machine = await machineWith(engine);
    const program = load(machine, `${reserve(8)}\nr1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit`);
    for (let run = 0; run < 100; run++) expect(() => program.call()).toThrow(/read of 8 bytes/);
    load(machine, `${reserve(24)}\nif r0 == 0 goto +3\n${submit("r0")}\n${END}`).call();
    expect(lengths(machine)).toEqual([24]);
  });

  test("of no bytes can be submitted", async () => {
    const machine = await machineWith(engine);
    expect(load(machine, `${reserve(0)}\nif r0 == 0 goto +3\n${submit("r0")}\n${END}`).call()).toBe(0n);
    expect(lengths(machine)).toEqual([0]);
  });

  test("of an earlier run", async () => {
    const machine = await machineWith(engine);
    const keeps = `*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = 2 ll\n${call("map_lookup_elem")}`;
    load(machine, `${reserve(8)}\nr6 = r0\n${keeps}\n*(u64 *)(r0 + 0) = r6\n${END}`).call();
    const later = load(machine, `${keeps}\nr6 = *(u64 *)(r0 + 0)\n${submit("r6")}\n${RING}\n${END}`);
    expect(() => later.call()).toThrow(/argument r1: \w+ is not what is wanted/);
  });
});

describe.each(ENGINES)("%s: sockets", (engine) => {
  const packet = new Uint8Array(64);
  const release = (register: string): string => `r1 = ${register}\n${call("sk_release")}`;

  test.each<[what: string, text: string, says?: RegExp]>([
    ["once", `${FIND}\nif r0 == 0 goto +2\n${release("r0")}\n${END}`],
    [
      "through another view of it",
      `${FIND}\nif r0 == 0 goto +4\nr1 = r0\n${call("sk_fullsock")}\n${release("r0")}\n${END}`,
    ],
    [
      "twice",
      `${FIND}\nif r0 == 0 goto +5\nr6 = r0\n${release("r6")}\n${release("r6")}\n${END}`,
      /holds no reference to struct sock/,
    ],
    [
      "that of the context",
      `r1 = *(u64 *)(r1 + 168)\n${call("sk_release")}\n${END}`,
      /holds no reference to struct sock/,
    ],
    [
      "that of the context, beside a map of sockets",
      `r6 = *(u64 *)(r1 + 168)\nr1 = 1 ll\n${release("r6")}\n${END}`,
    ],
    ["not at all", `${FIND}\n${END}`],
  ])("released %s", async (_what, text, says) => {
    const machine = await machineWith(engine);
    const program = load(machine, text, "sched_cls");
    for (let run = 0; run < 2; run++) {
      if (says === undefined) expect(program.run({ packet }).returnValue).toBe(0);
      else expect(() => program.run({ packet })).toThrow(says);
    }
  });

  test("found", async () => {
    const machine = await machineWith(engine);
    const found = load(
      machine,
      `${FIND}\nr6 = r0\nif r0 == 0 goto +2\n${release("r6")}\nr0 = r6\nexit`,
      "sched_cls",
    );
    expect(found.run({ packet }).returnValue).not.toBe(0);
  });
});

describe("a run that a debugger drives", () => {
  test.each([1, 3])("keeps what it holds from one step to the next, %i at a time", async (count) => {
    const machine = await machineWith("interpreter");
    const program = load(
      machine,
      `${reserve(8)}
if r0 == 0 goto end
r6 = r0
r1 = 5
*(u64 *)(r6 + 0) = r1
${submit("r6")}
end:
${END}`,
      "xdp",
    );
    const debug = program.debug({ packet: new Uint8Array(14) });
    while (debug.step(count));
    expect(debug.finish().returnValue).toBe(0);
  });

  test("loses it where it ends, so that readers go on", async () => {
    const machine = await machineWith("interpreter");
    const forgets = load(machine, `${reserve(8)}\n${END}`, "xdp").debug({ packet: new Uint8Array(14) });
    while (forgets.step());
    forgets.finish();
    const submits = `${reserve(16)}\nif r0 == 0 goto end\n${submit("r0")}\nend:\n${END}`;
    load(machine, submits, "xdp").run({ packet: new Uint8Array(14) });
    expect(lengths(machine)).toEqual([16]);
  });
});
