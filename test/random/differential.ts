/**
 * The differential harness: one program with its maps and input through interpreter, JIT and kernel, and what they leave
 * behind compared byte by byte: r0, packet, context, every map.
 */
import { disassemble } from "../../src/asm/index.ts";
import { BpfError, VerifierError } from "../../src/errors.ts";
import { KernelMachine, possibleCpus } from "../../src/kernel/index.ts";
import {
  type Engine,
  Machine,
  type MachineOptions,
  type Unverified,
  VirtualClock,
} from "../../src/machine/index.ts";
import type { GeneratedProgram } from "./model.ts";
import { toObject } from "./object.ts";
import { reduce } from "./reduce.ts";
import { withoutPerfmon } from "./strict.ts";

/** The part of a map's face that machine and kernel share. */
interface AnyMap {
  readonly name: string;
  readonly perCpu: boolean;
  update(key: Uint8Array, value: Uint8Array): void;
  keys(): Iterable<Uint8Array>;
  lookup(key: Uint8Array): Uint8Array | undefined;
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined;
}

/** What a run leaves behind; an error takes the place of a result. */
export interface Observation {
  readonly error?: string;
  readonly returnValue?: number;
  readonly packet?: string;
  readonly metadata?: string;
  /** Fields by name; addresses are left out. */
  readonly context?: Readonly<Record<string, string>>;
  /** By map, then by key; of per-CPU maps the value of the CPU that ran, then those of the others. */
  readonly maps?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Context fields that are addresses, or that a test run in the kernel does not write back. */
const NOT_COMPARED: ReadonlySet<string> = new Set(["data", "data_end", "data_meta", "flow_keys", "sk"]);
/** Those that bpf_prog_test_run_skb writes back (net/bpf/test_run.c of Linux 6.18). */
const WRITTEN_BACK: ReadonlySet<string> = new Set([
  "mark",
  "priority",
  "cb",
  "tstamp",
  "gso_segs",
  "gso_size",
]);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Gives the maps of a loaded program what they hold at its start. */
export function fill(maps: Readonly<Record<string, AnyMap>>, { maps: definitions }: GeneratedProgram): void {
  for (const { name, entries, frozen } of definitions) {
    if (!frozen) for (const [key, value] of entries) maps[name]?.update(key, value);
  }
}

/** A map's contents as text, in the order of its keys. */
export function contents(map: AnyMap): Record<string, string> {
  const rows = [...map.keys()].map((key): [string, string] => {
    if (!map.perCpu) return [hex(key), hex(map.lookup(key) ?? new Uint8Array(0))];
    return [hex(key), (map.lookupPerCpu(key) ?? []).map(hex).join(" ")];
  });
  return Object.fromEntries(rows.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function observe(
  maps: Readonly<Record<string, AnyMap>>,
  run: () => {
    readonly returnValue: number;
    readonly packet: Uint8Array;
    readonly metadata: Uint8Array;
    readonly context: object;
  },
): Observation {
  try {
    const { returnValue, packet, metadata, context } = run();
    return {
      returnValue,
      packet: hex(packet),
      metadata: hex(metadata),
      context: Object.fromEntries(
        Object.entries(context)
          .filter(([name]) => !NOT_COMPARED.has(name) && WRITTEN_BACK.has(name))
          .map(([name, value]) => [name, String(value)]),
      ),
      maps: Object.fromEntries(Object.values(maps).map((map) => [map.name, contents(map)])),
    };
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return { error: error.message };
  }
}

/** Runs in the kernel; undefined if its verifier rejects the program. */
export async function inKernel(program: GeneratedProgram): Promise<Observation | undefined> {
  using machine = await KernelMachine.create();
  try {
    const { programs, maps } = machine.load(toObject(program));
    fill(maps, program);
    return observe(maps, () => programs[program.name]!.run({ packet: program.packet }));
  } catch (error) {
    if (error instanceof VerifierError) return undefined;
    throw error;
  }
}

export async function inEngine(
  machine: Machine,
  engine: Engine,
  program: GeneratedProgram,
  cpu = 0,
  unverified: Unverified = "trusted",
): Promise<Observation> {
  const { programs, maps } = await machine.load(toObject(program), { verify: false, unverified });
  fill(maps, program);
  return observe(maps, () => programs[program.name]!.run({ packet: program.packet, engine, cpu }));
}

interface Way {
  readonly name: string;
  readonly engine: Engine;
  readonly options: MachineOptions;
  readonly unverified: Unverified;
}

/** All ways in which the machine runs a program. What the kernel's verifier accepts must not meet a check of the sandbox. */
const WAYS: readonly Way[] = [
  { name: "interpreter", engine: "interpreter", options: {}, unverified: "trusted" },
  { name: "jit", engine: "jit", options: {}, unverified: "trusted" },
  { name: "jit without limit", engine: "jit", options: { fuel: Infinity }, unverified: "trusted" },
  { name: "plain jit", engine: "jit", options: { optimize: false }, unverified: "trusted" },
  { name: "sandboxed interpreter", engine: "interpreter", options: {}, unverified: "sandbox" },
  { name: "sandboxed jit", engine: "jit", options: {}, unverified: "sandbox" },
];

/** A machine takes longer to make than most programs to run, so one serves many, each with maps of its own. */
const PROGRAMS_OF_A_MACHINE = 50;
const machines = new Map<Way, { readonly machine: Machine; left: number }>();

async function machineFor(way: Way): Promise<Machine> {
  const known = machines.get(way);
  if (known !== undefined && known.left-- > 0) return known.machine;
  const machine = await Machine.create({ cpus: possibleCpus(), engine: way.engine, ...way.options });
  machines.set(way, { machine, left: PROGRAMS_OF_A_MACHINE });
  return machine;
}

export interface Comparison {
  readonly accepted: boolean;
  /** One line for each thing that differs from the kernel. */
  readonly differences: readonly string[];
}

/** Compares; without a kernel the interpreter is the judge. */
export async function compare(
  program: GeneratedProgram,
  { kernel = true }: { readonly kernel?: boolean } = {},
): Promise<Comparison> {
  const judge = kernel ? await inKernel(program) : undefined;
  if (kernel && judge === undefined) return { accepted: false, differences: [] };
  const differences: string[] = [];
  let expected = judge;
  for (const way of WAYS) {
    const { name, engine, unverified } = way;
    const seen = await inEngine(await machineFor(way), engine, program, 0, unverified);
    if (expected === undefined) expected = seen;
    else for (const line of describe(expected, seen)) differences.push(`${name}: ${line}`);
  }
  return { accepted: true, differences };
}

/** Whether the outcome depends on chance, time or the number of the CPU. */
async function dependsOnChance(program: GeneratedProgram): Promise<boolean> {
  const cpus = Math.max(2, possibleCpus());
  const seen: Observation[] = [];
  for (const cpu of [0, 1]) {
    const clock = new VirtualClock();
    clock.advance(BigInt(cpu));
    const machine = await Machine.create({ cpus, seed: 1 + cpu, clock });
    seen.push(await inEngine(machine, "interpreter", program, cpu));
  }
  return describe(seen[0] ?? {}, seen[1] ?? {}).length > 0;
}

/**
 * The smallest program found that still differs. What is left of a program may well return an address, or stack that was
 * never written, or a random number, and a difference in that means nothing: so if the whole program was free of that,
 * every smaller one must be.
 */
export async function reduceDifference(program: GeneratedProgram): Promise<GeneratedProgram> {
  using machine = await KernelMachine.create();
  const clean = (one: GeneratedProgram): boolean => withoutPerfmon(() => accepts(machine, one));
  const strict = clean(program);
  return reduce(
    program,
    async (one) =>
      (!strict || clean(one)) && (await compare(one)).differences.length > 0 && !(await dependsOnChance(one)),
  );
}

function accepts(machine: KernelMachine, program: GeneratedProgram): boolean {
  return machine.verify(toObject(program), program.name).accepted;
}

/** What differs between two observations, in words. */
function describe(expected: Observation, seen: Observation): string[] {
  if (expected.error !== undefined || seen.error !== undefined) {
    return expected.error === seen.error
      ? []
      : [`${seen.error ?? "ran"}, expected: ${expected.error ?? "a run"}`];
  }
  const lines: string[] = [];
  const differ = (what: string, a: string | number | undefined, b: string | number | undefined): void => {
    if (a === b) return;
    if (typeof a === "string" && typeof b === "string" && a.length === b.length && a.length > 32) {
      const at = [...a].findIndex((letter, index) => letter !== b[index]) & ~15;
      lines.push(`${what} byte ${at / 2}: ${b.slice(at, at + 16)}, expected ${a.slice(at, at + 16)}`);
    } else lines.push(`${what} is ${b ?? "missing"}, expected ${a ?? "nothing"}`);
  };
  differ("r0", (expected.returnValue ?? 0) >>> 0, (seen.returnValue ?? 0) >>> 0);
  differ("packet", expected.packet, seen.packet);
  differ("metadata", expected.metadata, seen.metadata);
  for (const name of Object.keys(expected.context ?? {})) {
    differ(`context.${name}`, expected.context?.[name], seen.context?.[name]);
  }
  for (const [name, rows] of Object.entries(expected.maps ?? {})) {
    const other = seen.maps?.[name] ?? {};
    // The kernel ran on some CPU, the machine on its first: the copies are the same, in another order.
    const sorted = (value: string | undefined): string | undefined => value?.split(" ").sort().join(" ");
    for (const key of new Set([...Object.keys(rows), ...Object.keys(other)])) {
      differ(`${name}[${key}]`, sorted(rows[key]), sorted(other[key]));
    }
  }
  return lines;
}

/** A program as text: its maps, its packet, its instructions as assembly. */
export function show({ type, maps, packet, instructions, references }: GeneratedProgram): string {
  const lines = [
    `type ${type}`,
    ...maps.map(
      ({ name, type: kind, keySize, valueSize }) =>
        `map ${name}: ${kind}, key ${keySize}, value ${valueSize}`,
    ),
    `packet ${hex(packet)}`,
    ...[...references].map(([slot, { kind, map, offset }]) => `slot ${slot}: ${kind} ${map} + ${offset}`),
  ];
  return `${lines.join("\n")}\n${disassemble(instructions)}`;
}
