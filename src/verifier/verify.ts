/** `verify`: the whole of it. */
import { Environment } from "./environment.ts";
import type { VerifierOptions, VerifierProgram } from "./input.ts";
import { Cancelled, Rejection, type RejectionErrno } from "./reject.ts";
import { resetScalars } from "./scalar/index.ts";

/** How much work it was; what the last lines of the kernel's log say. */
export interface VerifierStatistics {
  readonly processedInstructions: number;
  readonly maxStatesPerInstruction: number;
  readonly totalStates: number;
  readonly peakStates: number;
  /** Bytes of each function, by its place: main first. */
  readonly stackDepths: readonly number[];
  readonly milliseconds: number;
}

/** What came out. */
export interface VerifierResult {
  readonly accepted: boolean;
  /** What bpf(2) would answer for a rejected program. */
  readonly errno: RejectionErrno | undefined;
  readonly log: string;
  readonly statistics: VerifierStatistics;
  /** Stopped by the caller's wish: nothing is known. */
  readonly cancelled: boolean;
}

/** Judges a program as Linux 6.18 does. Pure: the same input gives the same result but for the time. */
export function verify(program: VerifierProgram, options: VerifierOptions = {}): VerifierResult {
  const begin = performance.now();
  resetScalars();
  const env = new Environment(program, options, isGplCompatible(program.license));
  let errno: RejectionErrno | undefined;
  let cancelled = false;
  try {
    throw env.unsupported("verification");
  } catch (error) {
    if (error instanceof Rejection) errno = error.errno;
    else if (error instanceof Cancelled) cancelled = true;
    else throw error;
  }
  return {
    accepted: errno === undefined && !cancelled,
    errno,
    log: env.log.text(),
    statistics: {
      processedInstructions: env.processed,
      maxStatesPerInstruction: env.maxStatesPerInstruction,
      totalStates: env.totalStates,
      peakStates: env.peakStates,
      stackDepths: env.subprograms.slice(0, env.subprogramCount).map(({ stackDepth }) => stackDepth),
      milliseconds: performance.now() - begin,
    },
    cancelled,
  };
}

/** license_is_gpl_compatible of include/linux/license.h. */
function isGplCompatible(license: string): boolean {
  return GPL_COMPATIBLE.has(license);
}

const GPL_COMPATIBLE: ReadonlySet<string> = new Set([
  "GPL",
  "GPL v2",
  "GPL and additional rights",
  "Dual BSD/GPL",
  "Dual MIT/GPL",
  "Dual MPL/GPL",
]);
