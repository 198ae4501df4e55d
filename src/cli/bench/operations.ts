/**
 * Single map operations: programs of bench/map-operations, each less the same loop without the operation, in compiled code and in
 * the kernel, by turns. Figures are medians.
 */
import { BpfError } from "../../errors.ts";
import { KernelMachine } from "../../kernel/index.ts";
import { Machine } from "../../machine/index.ts";
import { benchObject } from "./files.ts";
import { timing } from "./measure.ts";

const KEYS = 8192;
/** Operations of a run, and runs of a sample: all samples together must not fill the kernel's ring, which nobody reads. */
const OPERATIONS = 256;
const REPEAT = 400;
const SAMPLES = 9;
const PREFIXES = 20_000;
const PACKET = new Uint8Array(64);

/** Program, the loop that it is compared with, and what it should not exceed, in nanoseconds. */
const ROWS = [
  ["array_hit", "empty"],
  ["hash4_hit", "empty", 12],
  ["hash16_hit", "empty", 12],
  ["hash40_hit", "empty"],
  ["hash4_miss", "empty"],
  ["lru4_hit", "empty"],
  ["percpu4_hit", "empty"],
  ["hash4_update", "empty", 25],
  ["hash16_update", "empty", 25],
  ["lpm6", "lpm_empty", 40],
  ["ring_submit", "empty", 20],
  ["queue_push_pop", "empty"],
] as const;

export interface OperationRow {
  readonly operation: string;
  /** Nanoseconds of one. */
  readonly jit: number;
  readonly kernel?: number;
  readonly jitVersusKernel?: number;
  readonly goal?: number;
}

interface Updatable {
  update(key: Uint8Array, value: Uint8Array): void;
}

/** Fills maps as the programs expect them. */
export function fillOperations(maps: Readonly<Record<string, Updatable>>): void {
  const words = (size: number, ...list: number[]): Uint8Array => {
    const all = new Uint32Array(size / 4);
    all.set(list);
    return new Uint8Array(all.buffer);
  };
  const value = new Uint8Array(8);
  for (let n = 0; n < KEYS; n++) {
    const hashed = Math.imul(n, 0x9e3779b1) >>> 0;
    for (const name of ["hash4", "lru4", "percpu4"]) maps[name]?.update(words(4, hashed), value);
    maps["hash16"]?.update(words(16, hashed, 1, 2, n), value);
    maps["hash40"]?.update(words(40, hashed, 1, 2, n), value);
  }
  let seed = 1;
  const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
  // As in a routing table: prefixes of 32 to 64 bits below 2000::/3; addresses of hosts inside and outside of them.
  const prefixes = Array.from({ length: PREFIXES }, () => {
    const bytes = new Uint8Array(20);
    new DataView(bytes.buffer).setUint32(0, 32 + ((random() >>> 20) % 33), true);
    for (let at = 4; at < 12; at++) bytes[at] = random() >>> 24;
    bytes[4] = 0x20 | ((bytes[4] as number) & 0x1f);
    return bytes;
  });
  for (const prefix of prefixes) maps["routes6"]?.update(prefix, value);
  for (let n = 0; n < KEYS; n++) {
    const address = (prefixes[random() % PREFIXES] as Uint8Array).slice();
    new DataView(address.buffer).setUint32(0, 128, true);
    for (let at = 12; at < 20; at++) address[at] = random() >>> 24;
    if (n % 4 === 0) address[7] = (address[7] as number) ^ 0x55;
    maps["addresses"]?.update(words(4, n), address);
  }
}

/** Nanoseconds of a run of the program. */
type Runner = (program: string) => number;

async function ours(): Promise<Runner> {
  const machine = await Machine.create();
  const { programs, maps } = await machine.load(benchObject("map-operations/maps.bpf.o"));
  fillOperations(maps);
  const drain = (): void => {
    for (const record of maps["ring"]?.records() ?? []) void record;
  };
  // Once around the ring, so that no page of it is touched for the first time while it is measured.
  for (let laps = 0; laps < 11; laps++) {
    programs["ring_submit"]?.run({ packet: PACKET, repeat: REPEAT });
    drain();
  }
  return (name) => {
    const result = programs[name]?.run({ packet: PACKET, repeat: REPEAT });
    drain();
    return result?.durationNs ?? Number.NaN;
  };
}

async function theirs(): Promise<{ readonly run: Runner; close(): void } | undefined> {
  let machine: KernelMachine | undefined;
  try {
    machine = await KernelMachine.create();
    const { programs, maps } = machine.load(benchObject("map-operations/maps.bpf.o"));
    fillOperations(maps);
    const run: Runner = (name) =>
      programs[name]?.run({ packet: PACKET, repeat: REPEAT }).durationNs ?? Number.NaN;
    return { run, close: () => machine?.close() };
  } catch (error) {
    machine?.close();
    if (error instanceof BpfError) return undefined;
    throw error;
  }
}

/** All rows; without a kernel only our side of them. */
export async function measureOperations(
  progress: (done: number, of: number) => void,
): Promise<OperationRow[]> {
  const jit = await ours();
  const kernel = await theirs();
  const names = [...new Set(ROWS.flatMap(([program, loop]) => [program, loop]))];
  const samples = new Map<string, number[]>();
  const take = (side: string, name: string, run: Runner): void => {
    const list = samples.get(`${side} ${name}`) ?? [];
    list.push(run(name) / OPERATIONS);
    samples.set(`${side} ${name}`, list);
  };
  try {
    for (let sample = 0; sample < SAMPLES; sample++) {
      progress(sample, SAMPLES);
      for (const name of names) {
        take("jit", name, jit);
        if (kernel !== undefined) take("kernel", name, kernel.run);
      }
    }
  } finally {
    kernel?.close();
  }
  const median = (side: string, name: string): number => timing(samples.get(`${side} ${name}`) ?? []).median;
  return ROWS.map(([operation, loop, goal]) => {
    const mine = median("jit", operation) - median("jit", loop);
    const row = { operation, jit: mine, ...(goal === undefined ? {} : { goal }) };
    if (kernel === undefined) return row;
    const other = median("kernel", operation) - median("kernel", loop);
    return { ...row, kernel: other, jitVersusKernel: mine / other };
  });
}
