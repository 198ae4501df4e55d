/** What goes into the compiler and what comes out. */
import type { CoreHelper } from "../core/helpers.ts";
import type { Instruction } from "../isa/index.ts";
import type { Sandbox } from "./sandbox.ts";

/** A helper of core.wasm: a row of CORE_HELPERS. */
export interface CoreLowering extends CoreHelper {
  readonly kind: "core";
}

/** A function of the host, which finds its arguments in the execution state and leaves the result there. */
export interface HostLowering {
  readonly kind: "host";
  /** Name of the import, in module "host". */
  readonly name: string;
  /** How many of r1 to r5 are written to the execution state, 0 to 5. */
  readonly args: number;
  /** A kernel function: `imm` of the call is no helper's number. */
  readonly kfunc?: true;
}

/** How a helper is called. */
export type HelperLowering = CoreLowering | HostLowering;

/** Where an array map's values lie. */
export interface ArrayMap {
  /** Address of the first value (of CPU 0). */
  readonly values: number;
  /** Bytes from one value to the next. */
  readonly stride: number;
  readonly maxEntries: number;
  /** Bytes from one CPU's values to the next CPU's; 0 or absent where all CPUs share them. */
  readonly cpuStride?: number;
}

/** A function of the program: slots `start` to `end` (exclusive). */
export interface FunctionRange {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** A program that is ready to be compiled. */
export interface CompileInput {
  /** Final: `lddw` holds addresses in linear memory, `call` the ids of helpers or distances to functions. */
  readonly instructions: readonly Instruction[];
  /** In any order but for the first, which is the main function. */
  readonly functions: readonly FunctionRange[];
  /** How to call a helper, by its id. Ids that do not exist must have been refused before. */
  helper(id: number): HelperLowering;
  /** The array map whose descriptor lies at an address, to have lookups in it compiled in place. */
  arrayMap?(address: number): ArrayMap | undefined;
  /**
   * A function of the core that does what a core helper does for the map whose descriptor lies at an address, with the same
   * arguments; undefined if there is none.
   */
  mapRoutine?(helper: string, address: number): string | undefined;
  /**
   * Use what the analyses find out. Default true; without, every instruction is translated by itself, which is what
   * optimised code is compared with.
   */
  readonly optimize?: boolean;
  /** Slots of loads whose pointer may point anywhere: what is not there reads as zero. */
  readonly probes?: ReadonlySet<number>;
  /** Count rounds of loops and calls, and stop the program when `core.fuel` is used up. Default false. */
  readonly fuel?: boolean;
  /** Check every access and every helper's arguments: the program is not verified. It should count fuel too. */
  readonly sandbox?: Sandbox;
  /** The memory is one that threads share: atomic operations of the program are real ones. Default false. */
  readonly shared?: boolean;
  /** Address of the first instruction in linear memory: faults name the instruction by it. Default 0. */
  readonly codeAddress?: number;
  /** Address of the program's descriptor, for programs that make tail calls. Default 0. */
  readonly programAddress?: number;
  /** Write a function that runs the program many times, if it makes no tail calls: see repeat.ts. Default false. */
  readonly repeats?: boolean;
  /** Write a name section, so that profilers and debuggers show the functions' names. Default false. */
  readonly names?: boolean;
}

/** A WebAssembly module, ready for `new WebAssembly.Module`. */
export interface CompiledProgram {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Export name of each function, in the order of the input. */
  readonly functionExports: readonly string[];
  /** Export name of the function that runs the program many times. */
  readonly repeat: string | undefined;
  /** Names imported from module "core": exec, fuel, fault, ld_abs and helpers, as far as they are used. */
  readonly coreImports: readonly string[];
  /** Names imported from module "host", all of type (exec: i32) -> (), but `call_helper` (id: i32, exec: i32). */
  readonly hostImports: readonly string[];
  /** Whether `env.table` is imported. */
  readonly usesTable: boolean;
}

/** What a call step turns into. */
export type Lowering =
  | HelperLowering
  | { readonly kind: "array"; readonly map: ArrayMap }
  | { readonly kind: "cpu" };
