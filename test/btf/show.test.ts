/**
 * Values as bpf_snprintf_btf prints them, against the running kernel: a program of the fixtures' kind copies a value from a map,
 * and the kernel's own types say how it is printed.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type Btf, type BtfType, parseBtf, sizeOf } from "../../src/btf/index.ts";
import { Kernel } from "../../src/kernel/index.ts";
import { assemble } from "../../src/asm/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { helperId } from "../../src/uapi/index.ts";
import { type MapProgram, type Side, kernelSide, machineSide } from "../kernel/both-sides.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

const VALUE = 1024;
const TEXT = 8192;

/** Prints the value at key 0 of the first map into that of the second; r0 is the result. */
function printing(type: number, flags: number, room: number): readonly Instruction[] {
  const { instructions } = assemble(`
    r1 = 0
    *(u32 *)(r10 - 4) = w1
    r2 = r10
    r2 += -4
    r1 = 0 ll
    call ${helperId("map_lookup_elem")}
    if r0 != 0 goto +1
    exit
    r6 = r0
    r2 = r10
    r2 += -4
    r1 = 0 ll
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

const KEY = new Uint8Array(4);

/** What is printed of a value: the helper's result and the text. */
function printed(side: Side, value: Uint8Array): [number, string] {
  side.put(0, KEY, value);
  return [side.run(), textOf(side.get(1, KEY) as Uint8Array)];
}

class Printers {
  readonly #kernel: Kernel;
  readonly #btf: Btf;
  constructor(kernel: Kernel, btf: Btf) {
    this.#kernel = kernel;
    this.#btf = btf;
  }

  #program(type: number, flags: number, room: number): MapProgram {
    const definition = { type: "array", keySize: 4, maxEntries: 1 } as const;
    return {
      maps: [
        { ...definition, valueSize: VALUE },
        { ...definition, valueSize: TEXT },
      ],
      instructions: printing(type, flags, room),
      order: [0, 1],
    };
  }

  theirs(type: number, flags: number, room: number, value: Uint8Array): [number, string] {
    const side = kernelSide(this.#kernel, this.#program(type, flags, room));
    try {
      return printed(side, value);
    } finally {
      side.close();
    }
  }

  async ours(type: number, flags: number, room: number, value: Uint8Array): Promise<[number, string]> {
    return printed(await machineSide(this.#program(type, flags, room), { btf: this.#btf }), value);
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
