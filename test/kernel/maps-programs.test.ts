/**
 * Random operations of programs on maps: helpers that take maps, in both engines, against the kernel's test runs.
 * `SKEP_MAP_OPERATIONS` and `SKEP_SEED` make it longer and other (10000 a type by hand).
 */
import { afterAll, describe, expect, it } from "vitest";
import { Kernel, type MapDefinition, MAP_FLAGS } from "../../src/kernel/index.ts";
import { ENGINES } from "../../src/machine/index.ts";
import { code } from "../machine/code.ts";
import { type MapProgram, type Side, kernelSide, machineSide } from "./both-sides.ts";
import { expectNothingLeft, noKernel, withKernel } from "./setup.ts";

/** An order of the program: which operation, flags, key, value; then its result, and what it has read. */
const ORDER = { op: 0, flags: 8, key: 16, value: 48, result: 112, read: 120, bytes: 184 } as const;

interface Operation {
  readonly name: string;
  /** Instructions; r6 is the order, `map` the lddw. The result is r0; what is read goes to the order itself. */
  readonly text: (definition: MapDefinition) => string;
}

const registers = (...values: readonly string[]): string =>
  ["r1 = 0 ll", ...values.map((value, at) => `r${at + 2} = ${value}`)].join("\n");
const key = `r6\nr2 += ${ORDER.key}`;
const FLAGS = `*(u64 *)(r6 + ${ORDER.flags})`;

/** Copies a value byte by byte, so that no width hides a difference. */
const copyValue = ({ valueSize = 0 }: MapDefinition): string =>
  Array.from(
    { length: valueSize },
    (_, at) => `w1 = *(u8 *)(r0 + ${at})\n*(u8 *)(r6 + ${ORDER.read + at}) = w1`,
  ).join("\n");

const OPERATIONS: Readonly<Record<string, Operation>> = {
  lookup: {
    name: "lookup",
    text: (definition) => `${registers(key)}
      call bpf_map_lookup_elem
      if r0 == 0 goto +${2 * (definition.valueSize ?? 0) + 1}
      ${copyValue(definition)}
      r0 = 1`,
  },
  update: {
    name: "update",
    text: () => `${registers(key, `r6\nr3 += ${ORDER.value}`, FLAGS)}\ncall bpf_map_update_elem`,
  },
  delete: { name: "delete", text: () => `${registers(key)}\ncall bpf_map_delete_elem` },
  push: {
    name: "push",
    text: () => `${registers(`r6\nr2 += ${ORDER.value}`, FLAGS)}\ncall bpf_map_push_elem`,
  },
  pop: { name: "pop", text: () => `${registers(`r6\nr2 += ${ORDER.read}`)}\ncall bpf_map_pop_elem` },
  peek: { name: "peek", text: () => `${registers(`r6\nr2 += ${ORDER.read}`)}\ncall bpf_map_peek_elem` },
  mayHave: {
    name: "mayHave",
    text: () => `${registers(`r6\nr2 += ${ORDER.value}`)}\ncall bpf_map_peek_elem`,
  },
  output: {
    name: "output",
    text: () => `${registers(`r6\nr2 += ${ORDER.value}`, "24", FLAGS)}\ncall bpf_ringbuf_output`,
  },
  discard: {
    name: "discard",
    text: () => `${registers("40", "0")}
      call bpf_ringbuf_reserve
      if r0 == 0 goto +4
      r1 = r0
      r2 = 0
      call bpf_ringbuf_discard
      r0 = 1`,
  },
  query: { name: "query", text: () => `${registers(FLAGS)}\ncall bpf_ringbuf_query` },
};

const HASH = ["lookup", "update", "delete"];
const NO_PREALLOC = { flags: MAP_FLAGS.no_prealloc };
const MAPS: readonly (readonly [MapDefinition, readonly string[]])[] = [
  [{ type: "array", keySize: 4, valueSize: 5, maxEntries: 7 }, HASH],
  [{ type: "hash", keySize: 3, valueSize: 8, maxEntries: 10 }, HASH],
  [{ type: "hash", keySize: 8, valueSize: 16, maxEntries: 30 }, HASH],
  [{ type: "hash", keySize: 16, valueSize: 1, maxEntries: 20, ...NO_PREALLOC }, HASH],
  [{ type: "hash", keySize: 4, valueSize: 3, maxEntries: 1 }, HASH],
  [{ type: "lru_hash", keySize: 4, valueSize: 4, maxEntries: 256 }, HASH],
  [{ type: "lpm_trie", keySize: 8, valueSize: 4, maxEntries: 16, ...NO_PREALLOC }, HASH],
  [{ type: "lpm_trie", keySize: 20, valueSize: 9, maxEntries: 30, ...NO_PREALLOC }, HASH],
  [{ type: "queue", keySize: 0, valueSize: 7, maxEntries: 9 }, ["push", "pop", "peek"]],
  [{ type: "stack", keySize: 0, valueSize: 8, maxEntries: 5 }, ["push", "pop", "peek"]],
  [
    { type: "bloom_filter", keySize: 0, valueSize: 8, maxEntries: 6, flags: MAP_FLAGS.zero_seed },
    ["push", "mayHave"],
  ],
  [{ type: "ringbuf", keySize: 0, valueSize: 0, maxEntries: 4096 }, ["output", "discard", "query"]],
];

function programFor(definition: MapDefinition, operations: readonly string[]): MapProgram {
  const order = [1];
  const parts = operations.map((name, index) => {
    order.push(0);
    const body = code(
      `${(OPERATIONS[name] as Operation).text(definition)}\n*(u64 *)(r6 + ${ORDER.result}) = r0\nr0 = 0\nexit`,
    );
    // As many slots are skipped as the part has.
    return code(`if w7 != ${index} goto +${body.length}`).concat(body);
  });
  const start = code(`
    r1 = 0
    *(u32 *)(r10 - 4) = w1
    r2 = r10
    r2 += -4
    r1 = 0 ll
    call bpf_map_lookup_elem
    if r0 != 0 goto +1
    exit
    r6 = r0
    w7 = *(u32 *)(r6 + ${ORDER.op})`);
  return {
    maps: [definition, { type: "array", keySize: 4, valueSize: ORDER.bytes, maxEntries: 1 }],
    instructions: [...start, ...parts.flat(), ...code("r0 = 1\nexit")],
    order,
  };
}

function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Few keys, so that operations meet; of tries prefixes of all lengths, also too long ones. */
function randomOrder(
  random: (below: number) => number,
  definition: MapDefinition,
  count: number,
): Uint8Array {
  const { type, keySize = 0, valueSize = 0 } = definition;
  const bytes = new Uint8Array(ORDER.bytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(ORDER.op, random(count), true);
  const flags = [0n, 0n, 0n, 0n, 1n, 2n, 3n, 4n, 8n, 1n << 32n, 1n << 63n];
  view.setBigUint64(ORDER.flags, flags[random(flags.length)] as bigint, true);
  if (type === "lpm_trie") {
    view.setUint32(ORDER.key, random(10) === 0 ? random(300) : random(8 * (keySize - 4) + 1), true);
    for (let at = 4; at < keySize; at++) bytes[ORDER.key + at] = random(2) * 0x81;
  } else if (type === "array") view.setUint32(ORDER.key, random(12) === 0 ? 0xffffffff : random(9), true);
  else for (let at = 0; at < keySize; at++) bytes[ORDER.key + at] = at === 0 ? random(40) : 0;
  for (let at = 0; at < Math.max(valueSize, 24); at++)
    bytes[ORDER.value + at] = random(type === "bloom_filter" ? 2 : 256);
  return bytes;
}

const COUNT = Number(process.env["SKEP_MAP_OPERATIONS"] ?? 400);
const SEED = Number(process.env["SKEP_SEED"] ?? 11);
const NO_KEY = new Uint8Array(4);

/** What an order has become: result and bytes read. */
function answer(side: Side, order: Uint8Array): string {
  side.put(1, NO_KEY, order);
  const status = side.run();
  const after = side.get(1, NO_KEY) as Uint8Array;
  const result = new DataView(after.buffer, after.byteOffset).getBigInt64(ORDER.result, true);
  return `${status} ${result} ${Buffer.from(after.subarray(ORDER.read)).toString("hex")}`;
}

describe.skipIf(noKernel !== undefined)(withKernel("random map operations of programs"), () => {
  afterAll(expectNothingLeft);

  it.each(MAPS)("%o: %o", { timeout: 300_000 }, async (definition, operations) => {
    using kernel = await Kernel.open();
    const program = programFor(definition, operations);
    const theirs = kernelSide(kernel, program);
    try {
      const ours = await Promise.all(ENGINES.map((engine) => machineSide(program, { engine })));
      const random = randomFrom(SEED);
      for (let at = 0; at < COUNT; at++) {
        const order = randomOrder(random, definition, operations.length);
        const shown = `${at} ${operations[order[0] as number]} ${Buffer.from(order.subarray(8, 112)).toString("hex")}`;
        const wanted = answer(theirs, order);
        for (const side of ours) expect(`${shown} = ${answer(side, order)}`).toBe(`${shown} = ${wanted}`);
      }
    } finally {
      theirs.close();
    }
  });
});
