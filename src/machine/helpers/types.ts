import type { HelperName } from "../../uapi/index.ts";
import type { LinearMemory } from "../memory.ts";

/** What a helper written in TypeScript can reach. */
export interface HelperWorld {
  readonly memory: LinearMemory;
  /** Nanoseconds since boot, as CLOCK_MONOTONIC counts. */
  now(): bigint;
  /** Takes a line that a program printed. */
  trace(line: string): void;
}

/** r1 to r5 as a helper wants them. Valid only during the call. */
export interface HelperArguments {
  u32(register: number): number;
  i32(register: number): number;
  u64(register: number): bigint;
}

/** A helper in TypeScript. A number is sign-extended into r0; a bigint is stored as its low 64 bits. */
export interface HostHelper {
  readonly name: HelperName;
  /** How many of r1 to r5 it reads. */
  readonly args: 0 | 1 | 2 | 3 | 4 | 5;
  call(world: HelperWorld, args: HelperArguments): number | bigint;
}
