import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { decodeInstructions } from "../../src/isa/index.ts";
import { type Engine, ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

/** xorshift32: the same cases on every machine. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Runs `work` and lets nothing but a BpfError out of it. */
async function onlyBpfError(what: string, work: () => Promise<void>): Promise<"done" | "refused"> {
  try {
    await work();
    return "done";
  } catch (error) {
    if (error instanceof BpfError && !error.message.includes("undefined")) return "refused";
    throw new Error(`${what}: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
  }
}

const PACKET = new Uint8Array(64);

/** Verified, or as if somebody vouched for it: the engines must bear both. */
async function loadAndRun(bytes: Uint8Array, engine: Engine, verify: boolean): Promise<void> {
  const spec = parseObject(bytes, { name: "mutated.o" });
  const machine = await Machine.create({ engine, fuel: 10_000 });
  for (const name of Object.keys(spec.programs)) {
    const { programs, maps } = await machine.load(spec, { programs: [name], verify, unverified: "trusted" });
    programs[name]?.run({ packet: PACKET });
    for (const map of Object.values(maps)) [...map.entries()].slice(0, 3);
  }
}

describe("mutated objects are loaded and run, or refused", () => {
  const folder = join(ROOT, "test/fixtures");
  const objects = readdirSync(folder).filter((name) =>
    /^(alu\.v3|maps|calls|globals|packets|control|sections|socket|tail-calls|callbacks|nesting)\.bpf\.o$/.test(
      name,
    ),
  );
  const CASES = 150;

  it.each(objects)("%s", async (name) => {
    const original = readFileSync(join(folder, name));
    const random = randomFrom(0x5eed + name.length);
    const outcomes = { done: 0, refused: 0 };
    for (let round = 0; round < CASES; round++) {
      const bytes = Uint8Array.from(original);
      for (let change = random(4) + 1; change > 0; change--) bytes[random(bytes.length)] = random(256);
      const engine = ENGINES[round % 2] as Engine;
      outcomes[
        await onlyBpfError(`${name} round ${round}`, () => loadAndRun(bytes, engine, round % 3 === 0))
      ]++;
    }
    expect(outcomes.done).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  });
});

describe("arbitrary instructions", () => {
  it.each(ENGINES)("%s", async (engine) => {
    const random = randomFrom(42);
    for (let round = 0; round < 1500; round++) {
      const bytes = Uint8Array.from({ length: 8 * (1 + random(12)) }, (_, index) =>
        // Opcodes and registers that exist half of the time.
        index % 8 === 0
          ? [0xb7, 0x07, 0x0f, 0x61, 0x7b, 0x05, 0x15, 0x95, 0x85, 0xdb, 0x18, random(256)][random(12)]!
          : index % 8 === 1
            ? random(11) * 17
            : random(3) === 0
              ? random(256)
              : 0,
      );
      bytes.set([0x95, 0, 0, 0, 0, 0, 0, 0], bytes.length - 8);
      await onlyBpfError(`round ${round}`, async () => {
        const machine = await Machine.create({ engine, fuel: 10_000 });
        machine.loadInstructions(decodeInstructions(bytes)).call(0x20000, 64);
      });
    }
  });
});
