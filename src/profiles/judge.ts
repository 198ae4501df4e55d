/** Would a program load on a kernel, and if not, why: `judgeFor`. */
import type { Btf } from "../btf/index.ts";
import { type ObjectSpec, linkProgram, relocate } from "../object/index.ts";
import { objectProgram, verify } from "../verifier/index.ts";
import { abilitiesNeeded } from "./abilities.ts";
import { EXACT_KERNEL, type KernelVersion, hasSince } from "./kernels.ts";
import { type Need, needsOf } from "./needs.ts";

/** What the verifier of 6.18 says of the program. */
export type ExactVerdict = "accepted" | "rejected" | "unknown";

/** One program on one kernel. */
export interface KernelJudgement {
  readonly kernel: KernelVersion;
  /**
   * "rejected": the kernel lacks something, or (6.18, and older kernels as far as is known) the verifier refuses it. "accepted" of an
   * older kernel means that it has all that the program needs and that 6.18 accepts it.
   */
  readonly verdict: ExactVerdict;
  /** What the kernel lacks. */
  readonly lacks: readonly Need[];
  /** Whether the kernel's own verifier rules were applied (6.18), or only what it has. */
  readonly exact: boolean;
}

/** One program on all kernels. */
export interface ProgramProfile {
  readonly program: string;
  readonly judgements: readonly KernelJudgement[];
  readonly needs: readonly Need[];
  /** The first release that has all that the program needs. */
  readonly since: string;
  /** Why there is no verdict of 6.18's verifier; "" if there is one. */
  readonly reason: string;
}

function latest(needs: readonly Need[]): string {
  let found = "3.18";
  for (const { since, from } of needs) if (from !== since && hasSince(since, found)) found = since;
  return found;
}

/**
 * Judges one program for kernels: by what they have, and by 6.18's verifier. Undefined if its section names no program type.
 *
 * @throws BpfError code "usage" if there is no such program, "relocation" if it cannot be linked.
 * @example
 * profileOf(spec, "firewall", ["5.15", "6.18"])?.judgements[0]?.lacks;
 */
export function profileOf(
  spec: ObjectSpec,
  name: string,
  kernels: readonly KernelVersion[],
  btf: Btf | undefined = spec.btf,
): ProgramProfile | undefined {
  const input = objectProgram(spec, name, btf);
  if (input === undefined) return undefined;
  const kept = linkProgram(spec, name, { externs: "keep" });
  const linked = btf === undefined ? kept : relocate(kept, { target: btf });
  const { accepted, cancelled, complaint, errno, trace, abilities } = verify(input, {
    logLevel: 0,
    trace: {},
  });
  const exact: ExactVerdict = accepted
    ? "accepted"
    : cancelled || errno === "EOPNOTSUPP"
      ? "unknown"
      : "rejected";
  // A verification that stopped early has not seen all that the kernel would.
  const needs = needsOf(linked, input, accepted ? new Set(trace?.slots) : undefined);
  const abler = accepted ? abilitiesNeeded(input, kernels, abilities) : new Map<KernelVersion, Need>();
  const lacksExact = needs.some((need) => !hasNeed(EXACT_KERNEL, need));
  return {
    program: name,
    reason: exact === "unknown" ? complaint : "",
    needs: [...needs, ...new Set(abler.values())],
    since: latest([...needs, ...abler.values()]),
    judgements: kernels.map((kernel) => {
      const ability = abler.get(kernel);
      const lacks = [
        ...needs.filter((need) => !hasNeed(kernel, need)),
        ...(ability === undefined ? [] : [ability]),
      ];
      return { kernel, lacks, verdict: verdictOf(lacks, exact, lacksExact), exact: kernel === EXACT_KERNEL };
    }),
  };
}

function hasNeed(kernel: KernelVersion, { since, until, from }: Need): boolean {
  if (from !== undefined && !hasSince(kernel, from)) return true;
  return hasSince(kernel, since) && (until === undefined || !hasSince(kernel, until));
}

/** 6.18 refuses what it no longer has; of a kernel that has it, that tells nothing. */
function verdictOf(lacks: readonly Need[], exact: ExactVerdict, lacksExact: boolean): ExactVerdict {
  // Where the walk has not come to its end, what is called may never be reached.
  if (exact === "unknown" && lacks.every(({ kind }) => kind === "helper" || kind === "kernel function"))
    return exact;
  if (lacks.length > 0) return "rejected";
  return exact === "rejected" && lacksExact ? "unknown" : exact;
}
