/** What a machine can be told when it is created, joined, or given something to load. */
import type { Btf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import type { MapSizes, Surroundings } from "../object/index.ts";
import type { AttachType, ProgramType } from "../uapi/index.ts";
import type { Clock } from "./clock.ts";
import { type Engine, ENGINES } from "./engine.ts";
import type { ImageReference } from "./image.ts";
import type { BpfMap } from "./map.ts";
import type { Program } from "./program.ts";
import { type Unverified, safetyOf } from "./safety.ts";
import type { WorldOptions } from "./world/options.ts";

export interface MachineOptions {
  /** Other threads can join it ({@link Machine.share}): memory, locks and atomic operations are made for that. Default false. */
  readonly shared?: boolean;
  /** Number of CPUs: per-CPU maps have a value for each. 1 to 1024, default 1. */
  readonly cpus?: number;
  /** What bpf_ktime_get_ns reads. Default "real". */
  readonly clock?: "real" | "virtual" | Clock;
  /** What runs programs unless a call says otherwise. Default "jit". */
  readonly engine?: Engine;
  /** Of bpf_get_prandom_u32; the same seed gives the same numbers. Default 1. */
  readonly seed?: number;
  /**
   * How long one run may take: instructions in the interpreter, rounds of loops and calls in compiled code. What exceeds
   * it is stopped with a fault. Default 2 * 10^8, about a second. `Infinity`: nothing is counted, which compiled code is
   * faster for, and a program that does not end does not end.
   */
  readonly fuel?: number;
  /**
   * Whether compiled code is optimised. Default true; `false` translates instruction by instruction, which compiles no faster
   * and is there to compare with.
   */
  readonly optimize?: boolean;
  /** Whether objects are verified when they are loaded, unless a load says otherwise: {@link LoadOptions.verify}. Default true. */
  readonly verify?: boolean;
  /**
   * How programs run that are not verified, unless a load says otherwise: {@link LoadOptions.unverified}. Said without `verify`,
   * nothing is verified. Default "sandbox"; for bare instructions "trusted".
   */
  readonly unverified?: Unverified;
  /**
   * The kernel's types, such as a parsed `/sys/kernel/btf/vmlinux`: programs are fitted to them, arguments of functions have
   * their names from them, and {@link Machine.alloc} makes structures of them. Default: what loaded objects bring.
   */
  readonly btf?: Btf;
  /** Told of each line that bpf_trace_printk prints. */
  readonly onTrace?: (line: string) => void;
  /** What helpers find outside: interfaces, routes, sockets, processes. */
  readonly world?: WorldOptions;
}

const OPTION_NAMES: readonly string[] = [
  "shared",
  "cpus",
  "clock",
  "engine",
  "seed",
  "fuel",
  "unverified",
  "verify",
  "optimize",
  "onTrace",
  "world",
  "btf",
];
export const DEFAULT_FUEL = 2e8;
/** The most that the interpreter can count: no limit. */
export const NO_LIMIT = 2n ** 63n - 1n;

/** How a thread joins a machine. */
export interface JoinOptions {
  /** The CPU that the thread is. */
  readonly cpu: number;
  readonly onTrace?: (line: string) => void;
  readonly clock?: MachineOptions["clock"];
}

export interface LoadOptions {
  /** Names of the programs to load; all if absent. Those that the program arrays they use begin with are loaded too. */
  readonly programs?: readonly string[];
  /** Live maps that stand in for those of the object, by name: to share state between programs and reloads. */
  readonly maps?: Readonly<Record<string, BpfMap>>;
  /** What programs attach to, by their names, where a loader says it (bpf_program__set_attach_target): `{ file_read: "ext4_file_read_iter" }`. */
  readonly attachTo?: Readonly<Record<string, string>>;
  /**
   * Sizes of maps by name, in place of those in the object: what loaders set because it is known at run time only
   * (bpf_map__set_max_entries, bpf_map__set_value_size). A number is the number of entries.
   */
  readonly mapSizes?: Readonly<Record<string, MapSizes>>;
  /**
   * The kernel's types that programs are fitted to (CO-RE), such as a parsed `/sys/kernel/btf/vmlinux`. Default: the
   * object's own, so that programs see the structures as their source declares them.
   */
  readonly btf?: Btf;
  /** The kernel configuration that programs see (`.kconfig`): its text, or values by name. */
  readonly kconfig?: Surroundings["kconfig"];
  /**
   * Whether programs are verified as Linux 6.18 does it. Those that are proved safe run as "verified"; one that Linux would refuse
   * makes the load fail with a VerifierError; what skep's verifier cannot judge yet is treated as `unverified` says, and
   * {@link Loaded.notes} says which. Default: as the machine has it; true if it says nothing, and false if `unverified` is given.
   */
  readonly verify?: boolean;
  /**
   * How programs run that are not verified: "sandbox" checks every access while they run, "trusted" nothing. Given without
   * `verify`, no program is verified. Default: as the machine has it; "sandbox" if it says nothing.
   */
  readonly unverified?: Unverified;
  /** Addresses of kernel symbols (`.ksyms`); weak ones that are missing are 0. */
  readonly ksyms?: Surroundings["ksyms"];
}

export interface LoadInstructionsOptions {
  /** Default "main". */
  readonly name?: string;
  readonly type?: ProgramType;
  /** Live maps, by the names that `references` use. */
  readonly maps?: Readonly<Record<string, BpfMap>>;
  /** As for {@link Machine.load}, but bare instructions are never verified. Default "trusted". */
  readonly unverified?: Unverified;
  /** By slot: which `lddw` takes the address of which map. */
  readonly references?: ReadonlyMap<number, ImageReference>;
  readonly attachType?: AttachType;
  /** The function, tracepoint or hook that the program is for. */
  readonly attachTo?: string;
  /** Of a struct_ops program: the structure of methods that it is one of, as "sched_ext_ops". */
  readonly interface?: string;
}

/** What {@link Machine.load} returns, by name. */
export interface Loaded {
  readonly programs: Readonly<Record<string, Program>>;
  readonly maps: Readonly<Record<string, BpfMap>>;
  /** What could not be done as wished, in sentences: programs that the verifier cannot judge yet. */
  readonly notes: readonly string[];
}

/** @throws BpfError code "usage" for options that do not exist or make no sense. */
export function checkOptions(options: MachineOptions): void {
  for (const name of Object.keys(options)) {
    if (!OPTION_NAMES.includes(name)) {
      throw new BpfError("usage", `machine: no option '${name}'; there are ${OPTION_NAMES.join(", ")}`);
    }
  }
  const { cpus = 1, engine = "jit", seed = 1, fuel = DEFAULT_FUEL } = options;
  const whole = (name: string, value: number, min: number, max: number): void => {
    if (Number.isInteger(value) && value >= min && value <= max) return;
    throw new BpfError(
      "usage",
      `machine: ${name} must be a whole number from ${min} to ${max}, not ${value}`,
    );
  };
  safetyOf(false, options.unverified ?? "sandbox");
  whole("cpus", cpus, 1, 1024);
  whole("seed", seed, 0, 0xffffffff);
  if (fuel !== Infinity) whole("fuel", fuel, 1, Number.MAX_SAFE_INTEGER);
  if (!ENGINES.includes(engine)) {
    throw new BpfError("usage", `machine: engine must be ${ENGINES.join(" or ")}, not '${String(engine)}'`);
  }
}
