/** The same instructions over the same maps, in the kernel and here: what a test changes and reads is the maps' contents. */
import type { Btf } from "../../src/btf/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { type Kernel, type MapDefinition, createMap, loadProgram } from "../../src/kernel/index.ts";
import { type Engine, Machine } from "../../src/machine/index.ts";

const PACKET = new Uint8Array(64);

export interface Side {
  put(map: number, key: Uint8Array, value: Uint8Array): void;
  get(map: number, key: Uint8Array): Uint8Array | undefined;
  /** Runs the program once; its result. */
  run(): number;
  close(): void;
}

/** A sched_cls program; each `lddw` takes the address of a map: `order` names it by its index in `maps`. */
export interface MapProgram {
  readonly maps: readonly MapDefinition[];
  readonly instructions: readonly Instruction[];
  readonly order: readonly number[];
}

const wideSlots = (instructions: readonly Instruction[]): number[] =>
  instructions.flatMap(({ opcode }, slot) => (opcode === 0x18 ? [slot] : []));

export function kernelSide(kernel: Kernel, { maps, instructions, order }: MapProgram): Side {
  const made = maps.map((definition) => createMap(kernel, definition));
  const patched = instructions.map((one) => ({ ...one }));
  wideSlots(instructions).forEach((slot, index) => {
    Object.assign(patched[slot] as object, { src: 1, imm: made[order[index] as number]?.fd });
  });
  const program = loadProgram(kernel, { type: "sched_cls", instructions: patched });
  return {
    put: (map, key, value) => void made[map]?.update(key, value),
    get: (map, key) => made[map]?.lookup(key),
    run: () => program.testRun({ data: PACKET }).returnValue | 0,
    close() {
      program.close();
      for (const map of made) map.close();
    },
  };
}

export async function machineSide(
  { maps, instructions, order }: MapProgram,
  { engine = "jit", btf }: { readonly engine?: Engine; readonly btf?: Btf } = {},
): Promise<Side> {
  const machine = await Machine.create({ engine, ...(btf === undefined ? {} : { btf }) });
  const made = maps.map(
    ({ type, keySize = 0, valueSize = 0, maxEntries = 0, flags = 0, mapExtra = 0n }, index) =>
      machine.createMap({
        name: `map${index}`,
        type,
        keySize,
        valueSize,
        maxEntries,
        flags,
        extra: Number(mapExtra),
      }),
  );
  const references = new Map(
    wideSlots(instructions).map((slot, index) => [
      slot,
      { kind: "map" as const, map: `map${order[index] as number}`, offset: 0 },
    ]),
  );
  const named = Object.fromEntries(made.map((map) => [map.name, map]));
  const program = machine.loadInstructions(instructions, { type: "sched_cls", maps: named, references });
  return {
    put: (map, key, value) => made[map]?.update(key, value),
    get: (map, key) => made[map]?.lookup(key),
    run: () => program.run({ packet: PACKET }).returnValue | 0,
    close: () => undefined,
  };
}
