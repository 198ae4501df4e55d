/** Programs of an object on all sides: skep's engines and, where it is there, the kernel's JIT through BPF_PROG_TEST_RUN. */
import { BpfError } from "../../errors.ts";
import { type KernelLoaded, KernelMachine } from "../../kernel/index.ts";
import { type BpfMap, Machine, type Program } from "../../machine/index.ts";
import type { ObjectSpec } from "../../object/index.ts";
import { type Rounds, type Side, type Timing, inProcess, measureSides } from "./measure.ts";

export interface ProgramOnAllSides {
  readonly program: string;
  readonly packet: Uint8Array;
}

export interface ProgramTimings {
  /** Nanoseconds of CPU a run. */
  readonly jit: Timing;
  readonly bounded: Timing;
  readonly sandboxed: Timing;
  readonly interpreter: Timing;
  readonly kernel?: Timing;
  readonly jitVersusKernel?: number;
}

export interface Setup {
  readonly object: ObjectSpec;
  /** Fills maps before anything runs. */
  fill(maps: Readonly<Record<string, { update(key: Uint8Array, value: Uint8Array): void }>>): void;
}

/** The kernel's side of an object, or why there is none. */
export async function loadInKernel(setup: Setup): Promise<KernelSide | { readonly skipped: string }> {
  let machine: KernelMachine | undefined;
  try {
    machine = await KernelMachine.create();
    const loaded = machine.load(setup.object);
    setup.fill(loaded.maps);
    return new KernelSide(machine, loaded);
  } catch (error) {
    machine?.[Symbol.dispose]();
    if (!(error instanceof BpfError)) throw error;
    return { skipped: `no kernel side: ${error.message.split("\n")[0]}` };
  }
}

export class KernelSide {
  readonly #machine: KernelMachine;
  readonly #loaded: KernelLoaded;

  constructor(machine: KernelMachine, loaded: KernelLoaded) {
    this.#machine = machine;
    this.#loaded = loaded;
  }

  result({ program, packet }: ProgramOnAllSides): number {
    return this.#loaded.programs[program]?.run({ packet }).returnValue ?? -1;
  }

  /** The system call is part of it, once for all runs. */
  side({ program, packet }: ProgramOnAllSides): Side {
    const loaded = this.#loaded.programs[program];
    return inProcess((runs) => void loaded?.run({ packet, repeat: runs }));
  }

  [Symbol.dispose](): void {
    this.#machine[Symbol.dispose]();
  }
}

const ENGINES = [
  { side: "jit", engine: "jit", fuel: Infinity, unverified: "trusted" },
  { side: "bounded", engine: "jit", fuel: Number.MAX_SAFE_INTEGER, unverified: "trusted" },
  { side: "sandboxed", engine: "jit", fuel: Number.MAX_SAFE_INTEGER, unverified: "sandbox" },
  { side: "interpreter", engine: "interpreter", fuel: Infinity, unverified: "trusted" },
] as const;

/** Measures one program on all sides; its results must be the same. */
export async function measureProgram(
  setup: Setup,
  what: ProgramOnAllSides,
  kernel: KernelSide | undefined,
  rounds: Rounds,
): Promise<ProgramTimings> {
  const sides: Record<string, Side> = {};
  const expected = kernel?.result(what);
  for (const { side, engine, fuel, unverified } of ENGINES) {
    const machine = await Machine.create({ engine, fuel });
    const { programs, maps } = await machine.load(setup.object, { verify: false, unverified });
    setup.fill(maps as Readonly<Record<string, BpfMap>>);
    const prepared = (programs[what.program] as Program).preparePacket({ packet: what.packet });
    const result = prepared.run();
    if (expected !== undefined && result !== expected) {
      throw new BpfError(
        "fault",
        `program '${what.program}': ${side} returns ${result}, the kernel ${expected}`,
      );
    }
    sides[side] = inProcess((runs) => prepared.repeat(runs));
  }
  if (kernel !== undefined) sides["kernel"] = kernel.side(what);
  const times = measureSides(sides, rounds) as unknown as ProgramTimings;
  return times.kernel === undefined
    ? times
    : { ...times, jitVersusKernel: times.jit.median / times.kernel.median };
}
