/**
 * From profiles to filters. For each architecture the numbers of system calls are cut into ranges with the same answer, and
 * a balanced tree of comparisons finds the range: some eight steps for 400 calls, where a filter that compares with each
 * number in turn takes hundreds.
 */
import { BpfError } from "../errors.ts";
import { type CbpfInstruction, checkCbpf } from "../cbpf/index.ts";
import { type SeccompArch, X32_BIT, syscallsOf } from "./arch.ts";
import { SECCOMP_DATA, argumentOffset } from "./data.ts";
import { type Decision, Decisions, emitDecision } from "./decision.ts";
import {
  type ArgumentCondition,
  type ProfileTarget,
  type ResolvedProfile,
  type SeccompRule,
  resolveProfile,
  rulesFor,
} from "./profile.ts";

const WORD = 0xffffffff;
const KILL_THREAD = 0;
/** Each condition takes an instruction at least, of 4,096. */
const MAX_CONDITIONS = 4096;

export interface CompileProfileOptions extends ProfileTarget {
  /** What a call of an architecture that the profile doesn't list returns; default SECCOMP_RET_KILL_THREAD, as libseccomp. */
  readonly foreignArch?: number | undefined;
}

/** A compiled profile. */
export interface CompiledProfile {
  readonly cbpf: readonly CbpfInstruction[];
  readonly profile: ResolvedProfile;
  readonly warnings: readonly string[];
}

/**
 * Compiles a Docker or OCI profile for a machine.
 *
 * @throws BpfError code "object" for a profile that is none, "usage" for an unknown architecture, "program" if the filter
 * gets longer than Linux takes
 * @example
 * const { cbpf } = compileProfile(readFileSync("default.json", "utf8"), { arch: "x86_64", capabilities: ["CAP_CHOWN"] });
 */
export function compileProfile(profile: unknown, options: CompileProfileOptions = {}): CompiledProfile {
  const resolved = resolveProfile(profile, options);
  const cbpf = compileRules(resolved, options.foreignArch ?? KILL_THREAD);
  return { cbpf, profile: resolved, warnings: resolved.warnings };
}

/** The filter of a resolved profile. */
export function compileRules(
  { arches, defaultValue, rules }: ResolvedProfile,
  foreignArch: number,
): readonly CbpfInstruction[] {
  const decisions = new Decisions();
  const foreign = decisions.leaf(foreignArch);
  let decision: Decision = foreign;
  const x32 = arches.find(({ name }) => name === "x32");
  // The machine's own architecture is asked for first: the others are rare.
  for (const arch of arches.toReversed()) {
    if (arch.name === "x32") continue;
    let numbers = numberTree(decisions, arch, rules, defaultValue);
    if (arch.name === "x86_64") {
      const high = x32 === undefined ? foreign : numberTree(decisions, x32, rules, defaultValue);
      numbers = decisions.branch(SECCOMP_DATA.nr, WORD, "jge", X32_BIT, high, numbers);
    }
    decision = decisions.branch(SECCOMP_DATA.arch, WORD, "jeq", arch.audit, numbers, decision);
  }
  const cbpf = emitDecision(decision);
  checkCbpf(cbpf, { variant: "seccomp" });
  return cbpf;
}

/** From the number to the answer. */
function numberTree(
  decisions: Decisions,
  arch: SeccompArch,
  rules: readonly SeccompRule[],
  defaultValue: number,
): Decision {
  const fallback = decisions.leaf(defaultValue);
  /** Where a range begins, and its answer. */
  const starts: { readonly number: number; readonly answer: Decision }[] = [{ number: 0, answer: fallback }];
  const begin = (number: number, answer: Decision): void => {
    const last = starts.at(-1) as { number: number; answer: Decision };
    if (last.number === number) starts.pop();
    if (starts.at(-1)?.answer !== answer) starts.push({ number, answer });
  };
  for (const [number, name] of syscallsOf(arch.name)) {
    begin(number, callTree(decisions, arch, rulesFor(rules, name), fallback));
    begin(number + 1, fallback);
  }
  const build = (from: number, to: number): Decision => {
    if (to - from === 1) return (starts[from] as { answer: Decision }).answer;
    if (to - from === 3 && starts[from]?.answer === starts[from + 2]?.answer) {
      const [, middle, after] = starts.slice(from, to) as [
        { answer: Decision },
        (typeof starts)[0],
        (typeof starts)[0],
      ];
      const around = (starts[from] as { answer: Decision }).answer;
      // One number among others: a comparison instead of two.
      if (after.number === middle.number + 1) {
        return decisions.branch(SECCOMP_DATA.nr, WORD, "jeq", middle.number, middle.answer, around);
      }
    }
    const half = (from + to) >> 1;
    const { number } = starts[half] as { number: number };
    return decisions.branch(SECCOMP_DATA.nr, WORD, "jge", number, build(half, to), build(from, half));
  };
  return build(0, starts.length);
}

/** From the arguments to the answer: the first rule that holds. */
function callTree(
  decisions: Decisions,
  arch: SeccompArch,
  rules: readonly SeccompRule[],
  fallback: Decision,
): Decision {
  const conditions = rules.reduce((sum, rule) => sum + rule.conditions.length, 0);
  if (conditions > MAX_CONDITIONS) {
    throw new BpfError(
      "program",
      `seccomp profile: ${conditions} conditions for one system call don't fit a filter`,
    );
  }
  let decision: Decision = fallback;
  for (const { conditions, value } of rules.toReversed()) {
    let holds: Decision = decisions.leaf(value);
    for (const one of conditions.toReversed()) holds = conditionTree(decisions, arch, one, holds, decision);
    decision = holds;
  }
  return decisions.simplify(decision);
}

/** A condition on 64 bits by two words, the upper one first. */
function conditionTree(
  decisions: Decisions,
  arch: SeccompArch,
  { index, op, value, valueTwo }: ArgumentCondition,
  yes: Decision,
  no: Decision,
): Decision {
  const high = argumentOffset(index, true, arch.bigEndian);
  const low = argumentOffset(index, false, arch.bigEndian);
  const upper = Number(value >> 32n);
  const lower = Number(value & 0xffffffffn);
  const equal = (whenEqual: Decision, whenNot: Decision): Decision =>
    decisions.branch(
      high,
      WORD,
      "jeq",
      upper,
      decisions.branch(low, WORD, "jeq", lower, whenEqual, whenNot),
      whenNot,
    );
  const ordered = (test: "jgt" | "jge", whenTrue: Decision, whenFalse: Decision): Decision =>
    decisions.branch(
      high,
      WORD,
      "jgt",
      upper,
      whenTrue,
      decisions.branch(
        high,
        WORD,
        "jeq",
        upper,
        decisions.branch(low, WORD, test, lower, whenTrue, whenFalse),
        whenFalse,
      ),
    );
  switch (op) {
    case "SCMP_CMP_EQ":
      return equal(yes, no);
    case "SCMP_CMP_NE":
      return equal(no, yes);
    case "SCMP_CMP_GT":
      return ordered("jgt", yes, no);
    case "SCMP_CMP_GE":
      return ordered("jge", yes, no);
    case "SCMP_CMP_LE":
      return ordered("jgt", no, yes);
    case "SCMP_CMP_LT":
      return ordered("jge", no, yes);
    case "SCMP_CMP_MASKED_EQ": {
      const half = (word: number, mask: bigint, wanted: bigint, next: Decision): Decision => {
        if ((wanted & ~mask) !== 0n) return no;
        return mask === 0n ? next : decisions.branch(word, Number(mask), "jeq", Number(wanted), next, no);
      };
      const lowerHalf = half(low, value & 0xffffffffn, valueTwo & 0xffffffffn, yes);
      return half(high, value >> 32n, valueTwo >> 32n, lowerHalf);
    }
  }
}
