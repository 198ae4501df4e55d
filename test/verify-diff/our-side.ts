/** Our verifier's answer. */
import { PROGRAM_FLAGS, possibleCpus } from "../../src/kernel/index.ts";
import {
  type Capability,
  type VerifierOptions,
  type VerifierProgram,
  verifierProgram,
  verify,
} from "../../src/verifier/index.ts";
import { type Answer, answerOf } from "./answer.ts";
import { type Subject, surroundings } from "./subject.ts";

/** Ours, and whether it is no verdict but the admission that something is not implemented. */
export interface OurAnswer extends Answer {
  readonly unsupported: boolean;
  readonly milliseconds: number;
  /** An exception of ours: a bug. */
  readonly crash?: string;
}

/** What `verify` is given for a program. */
export function ourProgram(
  { linked, type, attachType, license, flags }: Subject,
  logLevel: number,
  withoutTypes: boolean,
  capabilities?: readonly Capability[],
): { readonly program: VerifierProgram; readonly options: VerifierOptions } {
  const whole = verifierProgram(linked, {
    type,
    attachType,
    license,
    sleepable: (flags & PROGRAM_FLAGS.sleepable) !== 0,
    frags: (flags & PROGRAM_FLAGS.xdp_has_frags) !== 0,
    attachTo: linked.program?.attachTo,
    ...surroundings(),
  });
  return {
    program: withoutTypes ? { ...whole, btf: undefined, functionInfo: [], lines: [] } : whole,
    options: {
      logLevel,
      ...(capabilities === undefined ? {} : { capabilities }),
      strictAlignment: (flags & PROGRAM_FLAGS.strict_alignment) !== 0,
      anyAlignment: (flags & PROGRAM_FLAGS.any_alignment) !== 0,
      testStateFrequency: (flags & PROGRAM_FLAGS.test_state_freq) !== 0,
      testRegisterInvariants: (flags & PROGRAM_FLAGS.test_reg_invariants) !== 0,
      cpus: possibleCpus(),
    },
  };
}

export function ourAnswer(
  subject: Subject,
  { level, withoutTypes }: { readonly level: number; readonly withoutTypes: boolean },
  limit: number,
  capabilities?: readonly Capability[],
): OurAnswer {
  const begin = performance.now();
  try {
    const { program, options } = ourProgram(subject, level, withoutTypes, capabilities);
    const { accepted, errno, log, cancelled } = verify(program, {
      ...options,
      cancelled: () => performance.now() - begin > limit,
    });
    return {
      ...answerOf(accepted, errno ?? "", log),
      unsupported: errno === "EOPNOTSUPP" || cancelled,
      milliseconds: performance.now() - begin,
      ...(cancelled ? { crash: "too slow" } : {}),
    };
  } catch (error) {
    return {
      ...answerOf(false, "", ""),
      unsupported: true,
      milliseconds: performance.now() - begin,
      crash: (error as Error).stack ?? String(error),
    };
  }
}
