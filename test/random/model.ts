/** What a generated program is: instructions whose map references are open, its maps, its input. */
import type { Instruction } from "../../src/isa/index.ts";
import type { MapType } from "../../src/uapi/index.ts";

/** The program types that are generated. */
export const GENERATED_TYPES = ["xdp", "sched_cls", "socket_filter"] as const;

export type GeneratedType = (typeof GENERATED_TYPES)[number];

export interface GeneratedMap {
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Set before the program runs; of per-CPU maps the value of each CPU. */
  readonly entries: readonly (readonly [key: Uint8Array, value: Uint8Array])[];
  /** Frozen before the program loads, so that the verifier may count on the contents. */
  readonly frozen: boolean;
}

/** What the `lddw` at a slot waits for. */
export interface GeneratedReference {
  readonly kind: "map" | "map_value";
  /** Name of the map. */
  readonly map: string;
  /** Of map_value. */
  readonly offset: number;
}

export interface GeneratedFunction {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

export interface GeneratedProgram {
  readonly seed: number;
  readonly name: string;
  readonly type: GeneratedType;
  /** Calls are final; `lddw` of maps have their source field set and imm 0 (of map_value the offset in the second). */
  readonly instructions: readonly Instruction[];
  readonly references: ReadonlyMap<number, GeneratedReference>;
  readonly functions: readonly GeneratedFunction[];
  readonly maps: readonly GeneratedMap[];
  readonly packet: Uint8Array;
}
