import type { HelperArguments, HelperWorld } from "../helpers/types.ts";

/** A kernel function in TypeScript: how many of r1 to r5 it reads is in the table of `uapi/kfuncs.ts`. */
export interface HostKfunc {
  readonly name: string;
  /** A number is sign-extended into r0, a bigint stored as its low 64 bits; functions without a result leave 0. */
  call(world: HelperWorld, args: HelperArguments): number | bigint | void;
}
