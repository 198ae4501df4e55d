/** What a run leaves behind, in the same words for both engines and the kernel; and how two of them differ. */
import { Machine, type Engine, type BpfMap } from "../../src/machine/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import type { GeneratedProgram } from "../random/model.ts";

export interface Outcome {
  /** Unsigned 32 bits. */
  readonly returnValue: number;
  readonly packet: Uint8Array;
  /** By name, sorted by key; per-CPU values one after the other, each rounded up to 8 bytes. */
  readonly maps: Readonly<Record<string, readonly (readonly [key: Uint8Array, value: Uint8Array])[]>>;
}

export interface MachineRun {
  readonly engine: Engine;
  readonly cpus: number;
  /** What the program's stack holds before the run: a privileged program may read what it never wrote. */
  readonly stack?: number;
}

/** Runs a program in one of our engines, on a machine of its own. */
export async function runInMachine(
  program: GeneratedProgram,
  { engine, cpus, stack = 0 }: MachineRun,
): Promise<Outcome> {
  const machine = await Machine.create({ engine, cpus, clock: "virtual" });
  if (stack !== 0) machine.loadInstructions(stackFiller(stack)).call();
  const maps: Record<string, BpfMap> = {};
  for (const definition of program.maps) {
    const map = machine.createMap(definition);
    maps[definition.name] = map;
    for (const [key, value] of definition.entries) map.update(key, value);
  }
  const loaded = machine.loadInstructions(program.instructions, {
    name: program.name,
    type: program.type,
    maps,
    references: program.references,
  });
  const run = loaded.run({ packet: program.packet });
  return {
    returnValue: run.returnValue >>> 0,
    // The kernel hands out the metadata area in front of the packet.
    packet: Buffer.concat([run.metadata, run.packet]),
    maps: Object.fromEntries(Object.entries(maps).map(([name, map]) => [name, contents(map)])),
  };
}

function contents(map: BpfMap): [Uint8Array, Uint8Array][] {
  return [...map.keys()]
    .map((key): [Uint8Array, Uint8Array] => [
      key,
      map.perCpu ? joined(map.lookupPerCpu(key)) : bytes(map.lookup(key)),
    ])
    .sort(([a], [b]) => Buffer.compare(a, b));
}

const bytes = (value: Uint8Array | undefined): Uint8Array => value ?? new Uint8Array(0);

function joined(values: readonly Uint8Array[] | undefined): Uint8Array {
  const stride = Math.ceil((values?.[0]?.length ?? 0) / 8) * 8;
  const all = new Uint8Array(stride * (values?.length ?? 0));
  values?.forEach((value, cpu) => all.set(value, cpu * stride));
  return all;
}

/** Eight nested functions that each fill their 512 bytes. */
function stackFiller(value: number): Instruction[] {
  return Array.from({ length: 8 }, (_, depth) => [
    ...Array.from({ length: 64 }, (_slot, index) => ({
      opcode: 0x7a,
      dst: 10,
      src: 0,
      offset: -8 * (index + 1),
      imm: value,
    })),
    ...(depth < 7
      ? [{ opcode: 0x85, dst: 0, src: 1, offset: 0, imm: 1 }]
      : [{ opcode: 0x05, dst: 0, src: 0, offset: 0, imm: 0 }]),
    { opcode: 0x95, dst: 0, src: 0, offset: 0, imm: 0 },
  ]).flat();
}

const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

/** The first difference in words, or undefined. Socket filters' packets are not compared: they cannot be written. */
export function difference(
  program: GeneratedProgram,
  [nameA, a]: readonly [string, Outcome],
  [nameB, b]: readonly [string, Outcome],
): string | undefined {
  const differ = (what: string, one: string, other: string): string | undefined =>
    one === other ? undefined : `${what}: ${nameA} ${one}, ${nameB} ${other}`;
  const result = differ("r0", `0x${a.returnValue.toString(16)}`, `0x${b.returnValue.toString(16)}`);
  if (result !== undefined) return result;
  if (program.type !== "socket_filter") {
    const packet = differ("packet", hex(a.packet), hex(b.packet));
    if (packet !== undefined) return packet;
  }
  for (const { name, type } of program.maps) {
    const text = (outcome: Outcome): string =>
      (outcome.maps[name] ?? [])
        // Which CPU the kernel ran on is its own affair: values of all CPUs as a set.
        .map(
          ([key, value]) =>
            `${hex(key)}=${type.includes("percpu") ? perCpuSet(value, program, name) : hex(value)}`,
        )
        .join(" ");
    const map = differ(`map ${name}`, text(a), text(b));
    if (map !== undefined) return map;
  }
  return undefined;
}

function perCpuSet(value: Uint8Array, program: GeneratedProgram, name: string): string {
  const size = program.maps.find((map) => map.name === name)?.valueSize ?? 8;
  const stride = Math.ceil(size / 8) * 8;
  const parts = Array.from({ length: value.length / stride }, (_, cpu) =>
    hex(value.subarray(cpu * stride, cpu * stride + size)),
  );
  return parts.sort().join("|");
}
