/**
 * Programs made of random instructions that no verifier would take. Whatever they do, both engines must stop at the same
 * instruction for the same reason or give the same result, and nothing but the program's own regions may change.
 */
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { type BpfMap, type Engine, Machine } from "../../src/machine/index.ts";

const RUNS = Number(process.env["SKEP_FUZZ_RUNS"] ?? 200);

/** mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) % below;
  };
}

const ins = (opcode: number, dst = 0, src = 0, offset = 0, imm = 0): Instruction => ({
  opcode,
  dst,
  src,
  offset,
  imm,
});

const LOADS = [0x61, 0x69, 0x71, 0x79, 0x81, 0x89, 0x91];
const STORES = [0x62, 0x6a, 0x72, 0x7a, 0x63, 0x6b, 0x73, 0x7b];
const ALU = [0x07, 0x0f, 0x17, 0x1f, 0x27, 0x47, 0x57, 0x67, 0x77, 0xb7, 0xbf, 0xbc, 0x04, 0x0c, 0xa7, 0xc7];
const ATOMICS = [0x00, 0x01, 0x40, 0xa1, 0xe1, 0xf1];
const HELPERS = [1, 2, 3, 5, 7, 8, 12, 28, 44, 181, 6];

/** The first slots take the address of the map. What addresses are worth guessing is among the constants. */
function hostile(seed: number, guesses: readonly number[]): Instruction[] {
  const pick = random(seed);
  const from = <T>(list: readonly T[]): T => list[pick(list.length)] as T;
  const offset = (): number =>
    from([0, 4, 8, -8, -16, 16, 60, 61, -512, -516, 0x7fff, -0x8000, pick(64) - 32]);
  const constant = (): number => from([0, 1, 8, 64, -1, 0x7fffffff, -0x80000000, ...guesses, pick(0x40000)]);
  const register = (): number => pick(10);
  const base = (): number => from([10, 10, 10, 9, 8, 7, 6, 1, 2, pick(11)]);
  const body: Instruction[] = [
    ins(0x18, 9),
    ins(0),
    ins(0xbf, 8, 10),
    ins(0x07, 8, 0, 0, -64),
    ins(0xbf, 7, 1),
    ins(0xb7, 6, 0, 0, constant()),
    ins(0x7a, 10, 0, -8, pick(3)),
    ...[0, 2, 3, 4, 5].map((one) => ins(0xb7, one, 0, 0, constant())),
  ];
  const length = 8 + pick(40);
  while (body.length < length) {
    const kind = pick(20);
    if (kind < 5) body.push(ins(from(LOADS), register(), base(), offset()));
    else if (kind < 9) {
      const opcode = from(STORES);
      const immediate = (opcode & 7) === 2;
      body.push(ins(opcode, base(), immediate ? 0 : register(), offset(), immediate ? constant() : 0));
    } else if (kind < 14) {
      const opcode = from(ALU);
      const shift = opcode === 0x67 || opcode === 0x77 || opcode === 0xc7;
      const imm = (opcode & 8) !== 0 ? 0 : shift ? pick(64) : constant();
      body.push(ins(opcode, register(), (opcode & 8) === 0 ? 0 : pick(11), 0, (opcode & 8) === 0 ? imm : 0));
    } else if (kind === 14) body.push(ins(0xdb, base(), register(), offset(), from(ATOMICS)));
    else if (kind === 15) body.push(ins(from([0x15, 0x55, 0x2d, 0xad]), register(), 0, 1 + pick(3), 0));
    else if (kind === 16) body.push(ins(0x5d, register(), register(), 1, 0));
    else {
      const id = from(HELPERS);
      body.push(
        ins(0xbf, 1, from([9, 9, 9, 7, register()])),
        ins(0xbf, 2, 10),
        ins(0x07, 2, 0, 0, from([-8, -8, -4, 0])),
      );
      body.push(ins(0xbf, 3, from([8, 8, register()])), ins(0x85, 0, 0, 0, id));
    }
  }
  // Jumps go a few slots ahead at most.
  body.push(ins(0xb7, 0), ins(0xb7, 0), ins(0xb7, 0), ins(0x95));
  return body.map((one, slot) =>
    (one.opcode & 7) === 5 && one.opcode !== 0x85 && one.opcode !== 0x95
      ? { ...one, offset: Math.min(one.offset, body.length - slot - 2) }
      : one,
  );
}

interface Outcome {
  readonly what: string;
  readonly value: Uint8Array;
  readonly untouched: boolean;
}

async function run(seed: number, engine: Engine): Promise<Outcome> {
  const machine = await Machine.create({ unverified: "sandbox", engine, fuel: 10_000, clock: "virtual" });
  const define = (name: string, type: "array" | "hash"): BpfMap =>
    machine.createMap({ name, type, keySize: 4, valueSize: 64, maxEntries: 4, flags: 0 });
  const mine = define("mine", "array");
  const theirs = define("theirs", "array");
  const hash = define("hash", "hash");
  const key = (index: number): Uint8Array => Uint8Array.of(index, 0, 0, 0);
  for (let index = 0; index < 4; index++) {
    mine.update(key(index), new Uint8Array(64).fill(index + 1));
    theirs.update(key(index), new Uint8Array(64).fill(0x55));
    hash.update(key(index), new Uint8Array(64).fill(0x66));
  }
  const lent = machine.memory.alloc(64, "lent");
  machine.regions.add({ kind: "memory", label: "lent", address: lent, size: 64 });
  const addressOf = (map: BpfMap): number => map.address;
  const instructions = hostile(seed, [
    lent,
    lent - 4,
    lent + 62,
    addressOf(theirs),
    addressOf(mine),
    addressOf(hash),
  ]);
  const program = machine.loadInstructions(instructions, {
    maps: { mine },
    references: new Map([[0, { kind: "map", map: "mine" }]]),
  });
  let what: string;
  try {
    what = String(program.call(lent, 64));
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    what = `${error.code} ${error.message}`;
  }
  const same = (map: BpfMap, fill: number): boolean =>
    [0, 1, 2, 3].every((index) => map.lookup(key(index))?.every((byte) => byte === fill) === true);
  const value = Uint8Array.from(
    [0, 1, 2, 3].flatMap((index) => [...(mine.lookup(key(index)) as Uint8Array)]),
  );
  return { what, value, untouched: same(theirs, 0x55) && same(hash, 0x66) };
}

describe("hostile programs", () => {
  it(`${RUNS} of them`, { timeout: 120_000 }, async () => {
    let faults = 0;
    for (let seed = 1; seed <= RUNS; seed++) {
      const one = await run(seed, "interpreter");
      const other = await run(seed, "jit");
      expect({ seed, ...other }).toEqual({ seed, ...one });
      expect(one.untouched).toBe(true);
      if (one.what.startsWith("fault")) faults++;
    }
    expect(faults).toBeGreaterThan(RUNS / 4);
    expect(faults).toBeLessThan(RUNS);
  });
});
