/** What a sandboxed program may touch, and what it is told when it reaches for more. */
import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { Machine, type Program } from "../../src/machine/index.ts";

const ENGINES = ["interpreter", "jit"] as const;

interface World {
  readonly machine: Machine;
  load(text: string, maps?: readonly string[]): Program;
}

const DEFINITIONS = {
  flows: { name: "flows", type: "hash", keySize: 4, valueSize: 64, maxEntries: 4, flags: 0 },
  counters: { name: "counters", type: "array", keySize: 4, valueSize: 20, maxEntries: 8, flags: 0 },
  constants: { name: "constants", type: "array", keySize: 4, valueSize: 16, maxEntries: 1, flags: 0x80 },
  cpus: { name: "cpus", type: "percpu_array", keySize: 4, valueSize: 12, maxEntries: 2, flags: 0 },
  other: { name: "other", type: "array", keySize: 4, valueSize: 16, maxEntries: 1, flags: 0 },
} as const;

/** A machine with all maps; `MAP` in a program's text is the address of that map's descriptor, which it holds if it is listed. */
async function world(): Promise<World & { address(map: keyof typeof DEFINITIONS): number }> {
  const machine = await Machine.create({ unverified: "sandbox", cpus: 2 });
  const maps = Object.fromEntries(
    Object.values(DEFINITIONS).map((definition) => [definition.name, machine.createMap(definition)]),
  );
  return {
    machine,
    address: (map) => (maps[map] as { address: number }).address,
    load(text, held = []) {
      const preamble = held.map(() => "r9 = 0 ll").join("\n");
      const { instructions } = assemble(`${preamble}\n${text}`);
      const references = new Map(held.map((map, index) => [2 * index, { kind: "map", map } as const]));
      return machine.loadInstructions(instructions, { maps, references });
    },
  };
}

const LOOKUP = "*(u32 *)(r10 - 4) = 1\nr2 = r10\nr2 += -4\nr1 = r9\ncall 1\nif r0 == 0 goto +1\n";

interface Row {
  readonly name: string;
  readonly text: string;
  readonly maps?: readonly (keyof typeof DEFINITIONS)[];
  /** What the message must say; undefined where the program may do it. */
  readonly fault?: RegExp;
}

const ROWS: readonly Row[] = [
  { name: "its stack, first byte", text: "*(u8 *)(r10 - 512) = 1\nr0 = 0\nexit" },
  { name: "its stack, last 8 bytes", text: "*(u64 *)(r10 - 8) = 1\nr0 = 0\nexit" },
  {
    name: "below its frame",
    text: "r0 = 0\n*(u8 *)(r10 - 513) = 1\nexit",
    fault: /instruction 1: write of 1 byte at 0x[0-9a-f]+: 1 byte before the start of stack \(512 bytes\)$/,
  },
  {
    name: "above its frame",
    text: "r0 = 0\nr0 = *(u64 *)(r10 - 4)\nexit",
    fault: /instruction 1: read of 8 bytes at 0x[0-9a-f]+: across the end of stack \(512 bytes\)$/,
  },
  {
    name: "NULL",
    text: "r1 = 0\nr0 = *(u32 *)(r1 + 16)\nexit",
    fault: /read of 4 bytes at 0x10: a NULL pointer$/,
  },
  {
    name: "far away",
    text: "r1 = 0x7fffffff\nr0 = *(u32 *)(r1 + 16)\nexit",
    fault: /read of 4 bytes at 0x8000000f/,
  },
  {
    name: "a map's descriptor",
    text: "r0 = *(u32 *)(r9 + 0)\nexit",
    maps: ["flows"],
    fault: /read of 4 bytes/,
  },
  { name: "a value of an array", text: `${LOOKUP}*(u32 *)(r0 + 16) = 7\nr0 = 0\nexit`, maps: ["counters"] },
  {
    name: "behind a value of an array",
    text: `${LOOKUP}r0 = *(u32 *)(r0 + 20)\nr0 = 0\nexit`,
    maps: ["counters"],
    fault: /read of 4 bytes at 0x[0-9a-f]+: at the end of map value 'counters' \(20 bytes\)$/,
  },
  {
    name: "across the end of a value",
    text: `${LOOKUP}r0 = *(u64 *)(r0 + 16)\nr0 = 0\nexit`,
    maps: ["counters"],
    fault: /read of 8 bytes at 0x[0-9a-f]+: across the end of map value 'counters' \(20 bytes\)$/,
  },
  {
    name: "a constant",
    text: `*(u32 *)(r10 - 4) = 0\n${LOOKUP.slice(22)}r0 = *(u64 *)(r0 + 8)\nr0 = 0\nexit`,
    maps: ["constants"],
  },
  {
    name: "writing a constant",
    text: `*(u32 *)(r10 - 4) = 0\n${LOOKUP.slice(22)}*(u64 *)(r0 + 8) = 1\nr0 = 0\nexit`,
    maps: ["constants"],
    fault: /write of 8 bytes at 0x[0-9a-f]+, in map value 'constants' \(16 bytes\), which is not for that$/,
  },
  { name: "a value of a per-CPU array", text: `${LOOKUP}*(u32 *)(r0 + 8) = 7\nr0 = 0\nexit`, maps: ["cpus"] },
  {
    name: "between the values of a per-CPU array",
    text: `${LOOKUP}*(u32 *)(r0 + 12) = 7\nr0 = 0\nexit`,
    maps: ["cpus"],
    fault: /at the end of map value 'cpus' \(12 bytes\)$/,
  },
  {
    name: "a map as no map",
    text: "*(u32 *)(r10 - 4) = 1\nr2 = r10\nr2 += -4\nr1 = r10\ncall 1\nexit",
    maps: ["counters"],
    fault: /argument r1: .* is not what is wanted here/,
  },
  {
    name: "a key outside",
    text: "r2 = r10\nr1 = r9\ncall 1\nexit",
    maps: ["counters"],
    fault: /argument r2: read of 4 bytes at 0x[0-9a-f]+: at the end of stack \(512 bytes\)$/,
  },
  {
    name: "text that does not end",
    text: "r1 = r10\nr1 += -8\nr2 = 16\ncall 6\nexit",
    fault: /argument r1: read of 16 bytes at 0x[0-9a-f]+: across the end of stack/,
  },
  {
    name: "an atomic operation outside",
    text: "r1 = 1\nlock *(u64 *)(r10 - 4) += r1\nr0 = 0\nexit",
    fault: /atomic operation on 8 bytes/,
  },
];

describe.each(ENGINES)("%s", (engine) => {
  it.each(ROWS)("$name", async ({ text, maps = [], fault }) => {
    const { load, machine } = await world();
    const key = Uint8Array.of(1, 0, 0, 0);
    expect(machine.regions).toBeDefined();
    expect(key.length).toBe(4);
    const program = load(text, maps);
    expect(program.safety).toBe("sandbox");
    if (fault === undefined) expect(program.call(0, 0, { engine })).toBeTypeOf("bigint");
    else expect(() => program.call(0, 0, { engine })).toThrow(fault);
  });

  it.each([
    { name: "copies", body: "r4 = *(u8 *)(r1 + 0)\n*(u8 *)(r2 + 0) = r4" },
    { name: "fills", body: "*(u8 *)(r2 + 0) = 0" },
  ])("stops a loop that $name past the end", async ({ body }) => {
    const { load, machine } = await world();
    const at = machine.memory.alloc(64, "block");
    machine.memory.write(at, new Uint8Array(64).fill(7));
    machine.regions.add({ kind: "memory", label: "from", address: at, size: 16 });
    machine.regions.add({ kind: "memory", label: "to", address: at + 32, size: 12 });
    const program = load(
      `r2 = r1\nr2 += 32\nr3 = 16\n${body}\nr1 += 1\nr2 += 1\nr3 += -1\nif r3 != 0 goto -${body.includes("r4") ? 6 : 5}\nr0 = 0\nexit`,
    );
    machine.memory.u8.fill(9, at, at + 16);
    expect(() => program.call(at, 0, { engine })).toThrow(
      /write of 1 byte at 0x[0-9a-f]+: at the end of to \(12 bytes\)$/,
    );
    expect([...machine.memory.read(at + 44, 20)]).toEqual(new Array(20).fill(7));
  });

  it("refuses a map that another program holds", async () => {
    const { load, address } = await world();
    const text = `*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = ${address("other")}\ncall 1\nexit`;
    expect(() => load(text).call(0, 0, { engine })).toThrow(/argument r1/);
    expect(load(text, ["other"]).call(0, 0, { engine })).not.toBe(0n);
  });

  it("lends memory of the host", async () => {
    const { load, machine } = await world();
    const at = machine.memory.alloc(16, "arguments");
    const program = load("r0 = *(u32 *)(r1 + 12)\nexit");
    expect(() => program.call(at, 16, { engine })).toThrow(/read of 4 bytes/);
    machine.regions.add({ kind: "memory", label: "arguments", address: at, size: 14 });
    expect(() => program.call(at, 16, { engine })).toThrow(/across the end of arguments \(14 bytes\)/);
    machine.regions.remove(at);
    machine.regions.add({ kind: "memory", label: "arguments", address: at, size: 16 });
    expect(program.call(at, 16, { engine })).toBe(0n);
  });
});

describe.each(ENGINES)("values for each CPU where threads share the memory, %s", (engine) => {
  const reach = (text: string): string =>
    `r9 = 0 ll\n${LOOKUP.replace("goto +1", "goto +2")}r1 = r0\n${text}\nr0 = 0\nexit`;

  it.each([
    ["percpu_hash", 0],
    ["percpu_hash", 1],
    ["lru_percpu_hash", 0],
    ["percpu_array", 0],
  ] as const)("%s, flags %i", async (type, flags) => {
    const machine = await Machine.create({ unverified: "sandbox", cpus: 3, shared: true });
    const map = machine.createMap({ name: "cpus", type, keySize: 4, valueSize: 12, maxEntries: 2, flags });
    const key = Uint8Array.of(1, 0, 0, 0);
    map.update(key, new Uint8Array(12));
    const load = (text: string): Program =>
      machine.loadInstructions(assemble(reach(text)).instructions, {
        maps: { cpus: map },
        references: new Map([[0, { kind: "map", map: "cpus" } as const]]),
      });
    const all = load("*(u8 *)(r1 + 0) = 7\n*(u8 *)(r1 + 11) = 8");
    for (const cpu of [0, 2]) all.call(0, 0, { engine, cpu });
    const written = [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8];
    const values = map.lookupPerCpu(key)?.map((value) => [...value]);
    expect(values).toEqual([written, new Array(12).fill(0), written]);
    for (const text of ["*(u8 *)(r1 + 12) = 1", "*(u8 *)(r1 - 1) = 1"]) {
      for (const cpu of [0, 1, 2]) {
        expect(() => load(text).call(0, 0, { engine, cpu })).toThrow(/map value 'cpus' \(12 bytes\)/);
      }
    }
  });
});
