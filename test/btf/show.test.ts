/**
 * Values as bpf_snprintf_btf prints them, against the running kernel: a program of the fixtures' kind copies a value from a map,
 * and the kernel's own types say how it is printed.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Btf, type BtfType, parseBtf, sizeOf } from "../../src/btf/index.ts";
import { Kernel, createMap, loadProgram } from "../../src/kernel/index.ts";
import { Machine } from "../../src/machine/index.ts";
import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { helperId } from "../../src/uapi/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

const VALUE = 1024;
const TEXT = 8192;

/** Prints the value at key 0 of the first map into that of the second; r0 is the result. `from` and `to` are their lddw. */
function printing(
  type: number,
  flags: number,
  room: number,
  from: string,
  to: string,
): readonly Instruction[] {
  const { instructions } = assemble(`
    r1 = 0
    *(u32 *)(r10 - 4) = w1
    r2 = r10
    r2 += -4
    r1 = ${from} ll
    call ${helperId("map_lookup_elem")}
    if r0 != 0 goto +1
    exit
    r6 = r0
    r2 = r10
    r2 += -4
    r1 = ${to} ll
    call ${helperId("map_lookup_elem")}
    if r0 != 0 goto +1
    exit
    *(u64 *)(r10 - 24) = r6
    r1 = ${type}
    *(u32 *)(r10 - 16) = w1
    r1 = 0
    *(u32 *)(r10 - 12) = w1
    r1 = r0
    r2 = ${room}
    r3 = r10
    r3 += -24
    r4 = 16
    r5 = ${flags}
    call ${helperId("snprintf_btf")}
    exit`);
  return instructions;
}

/** Where the two lddw are. */
const lddwSlots = (instructions: readonly Instruction[]): number[] =>
  instructions.flatMap(({ opcode }, slot) => (opcode === 0x18 ? [slot] : []));

class Printers {
  readonly #kernel: Kernel;
  readonly #btf: Btf;
  constructor(kernel: Kernel, btf: Btf) {
    this.#kernel = kernel;
    this.#btf = btf;
  }

  theirs(type: number, flags: number, room: number, value: Uint8Array): [number, string] {
    const definition = { type: "array", keySize: 4, maxEntries: 1 } as const;
    const from = createMap(this.#kernel, { ...definition, valueSize: VALUE });
    const to = createMap(this.#kernel, { ...definition, valueSize: TEXT });
    const instructions = printing(type, flags, room, "0", "0").map((one) => ({ ...one }));
    lddwSlots(instructions).forEach((slot, index) => {
      Object.assign(instructions[slot]!, { src: 1, imm: (index === 0 ? from : to).fd });
    });
    const program = loadProgram(this.#kernel, { type: "sched_cls", instructions });
    try {
      from.update(new Uint8Array(4), value);
      const { returnValue } = program.testRun({ data: new Uint8Array(64) });
      return [returnValue | 0, textOf(to.lookup(new Uint8Array(4))!)];
    } finally {
      program.close();
      from.close();
      to.close();
    }
  }

  async ours(type: number, flags: number, room: number, value: Uint8Array): Promise<[number, string]> {
    const machine = await Machine.create({ btf: this.#btf });
    const definition = { type: "array", keySize: 4, maxEntries: 1, flags: 0 } as const;
    const from = machine.createMap({ ...definition, name: "from", valueSize: VALUE });
    const to = machine.createMap({ ...definition, name: "to", valueSize: TEXT });
    const instructions = printing(type, flags, room, "0", "0");
    const references = new Map(
      lddwSlots(instructions).map((slot, index) => [
        slot,
        { kind: "map" as const, map: index === 0 ? "from" : "to", offset: 0 },
      ]),
    );
    const options = { type: "sched_cls", maps: { from, to }, references } as const;
    from.update(new Uint8Array(4), value);
    const { returnValue } = machine
      .loadInstructions(instructions, options)
      .run({ packet: new Uint8Array(64) });
    return [returnValue | 0, textOf(to.lookup(new Uint8Array(4))!)];
  }
}

const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.subarray(0, Math.max(0, bytes.indexOf(0)))).toString("latin1");

function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const NAMES = [
  "iphdr",
  "task_struct",
  "ethhdr",
  "in6_addr",
  "bpf_insn",
  "tcphdr",
  "sockaddr_in6",
  "list_head",
  "bpf_sock_addr",
];

/** Types of many kinds that fit into the map's value: some by name, some at random. */
function typesOf(btf: Btf, random: () => number, count: number): BtfType[] {
  const fits = (type: BtfType): boolean => {
    if (!["struct", "union", "int", "enum", "enum64", "array", "ptr", "typedef", "const"].includes(type.kind))
      return false;
    try {
      return sizeOf(btf, type.id) > 0 && sizeOf(btf, type.id) <= VALUE;
    } catch {
      return false;
    }
  };
  const found = NAMES.flatMap((name) => btf.find(name, "struct")).filter(fits);
  while (found.length < count) {
    const type = btf.type(1 + Math.floor(random() * (btf.count - 1)));
    if (fits(type)) found.push(type);
  }
  return found;
}

const CASES = Number(process.env["SKEP_SHOW_CASES"] ?? 120);

describe.skipIf(noKernel !== undefined)(withKernel("values of the kernel's types"), () => {
  test(`${CASES} values, printed as the kernel prints them`, { timeout: 120_000 }, async () => {
    const btf = parseBtf(readFileSync("/sys/kernel/btf/vmlinux"), { name: "vmlinux" });
    using kernel = await Kernel.open();
    const printers = new Printers(kernel, btf);
    const random = randomFrom(7);
    for (const type of typesOf(btf, random, CASES)) {
      const size = sizeOf(btf, type.id);
      const value = new Uint8Array(VALUE);
      const density = random();
      for (let at = 0; at < size; at++) if (random() < density) value[at] = Math.floor(random() * 256);
      // Addresses are hidden behind a random number unless they are asked for raw.
      const flags = 4 | (Math.floor(random() * 4) & 3) | (random() < 0.3 ? 8 : 0);
      const room = random() < 0.2 ? 1 + Math.floor(random() * 100) : TEXT;
      const what = `${type.kind} ${type.name} (${type.id}), flags ${flags}, room ${room}`;
      expect([what, ...(await printers.ours(type.id, flags, room, value))]).toEqual([
        what,
        ...printers.theirs(type.id, flags, room, value),
      ]);
    }
  });

  test("wrong arguments", async () => {
    const btf = parseBtf(readFileSync("/sys/kernel/btf/vmlinux"), { name: "vmlinux" });
    using kernel = await Kernel.open();
    const printers = new Printers(kernel, btf);
    const value = new Uint8Array(VALUE);
    for (const [type, flags] of [
      [0, 0],
      [0x7fffffff, 0],
      [1, 16],
    ] as const) {
      expect(await printers.ours(type, flags, TEXT, value)).toEqual(
        printers.theirs(type, flags, TEXT, value),
      );
    }
  });
});
