/** Which calls meet which fate, and when. */
import { type CbpfProgram, checkCbpf } from "../cbpf/index.ts";
import { SECCOMP_ARCHES, type SeccompArch, seccompArch, syscallsOf } from "./arch.ts";
import { describeAction } from "./data.ts";
import { describeConditions, outcomesOf } from "./symbolic.ts";

/** A call that a filter gives some answer to. */
export interface ExplainedCall {
  readonly name: string;
  readonly number: number;
  /**
   * When: any of these lists of conditions that hold together; empty if always.
   */
  readonly when: readonly (readonly string[])[];
}

export interface ExplainedAction {
  readonly value: number;
  /** "ALLOW", "ERRNO(EPERM)", ... */
  readonly text: string;
  readonly calls: readonly ExplainedCall[];
  /** Whether numbers that no system call has get this answer. */
  readonly others: boolean;
}

export interface ExplainedArch {
  readonly arch: SeccompArch;
  /** The most frequent first. */
  readonly actions: readonly ExplainedAction[];
}

export interface SeccompExplanation {
  /** Architectures that the filter tells apart. */
  readonly arches: readonly ExplainedArch[];
  /** What calls of all other architectures get, if that is one answer. */
  readonly otherArches: string | undefined;
}

/** A number that no architecture uses. */
const NO_SYSCALL = 0x3fff;
/** A value of `arch` that no architecture has. */
const NO_ARCH = 0x12345678;

/** The one answer that a filter gives to every call of an architecture; undefined if there are several. */
function soleAnswer(program: CbpfProgram, arch: SeccompArch, audit: number): number | undefined {
  const answers = new Set<number>();
  for (const [number] of [...syscallsOf(arch.name), [NO_SYSCALL + arch.base] as const]) {
    for (const { value } of outcomesOf(program, arch, number, audit)) answers.add(value);
    if (answers.size > 1) return undefined;
  }
  return [...answers][0];
}

/**
 * Explains a filter: for each architecture that it tells apart, the calls by what becomes of them.
 *
 * @param arches the architectures to explain, by any of their names; by default those that the filter treats unlike unknown
 * ones
 * @throws BpfError code "program" if Linux would not take the filter
 * @example
 * explainSeccomp(cbpf).arches[0].actions[0].text; // "ALLOW"
 */
export function explainSeccomp(program: CbpfProgram, arches?: readonly string[]): SeccompExplanation {
  checkCbpf(program, { variant: "seccomp" });
  const foreign = soleAnswer(program, SECCOMP_ARCHES[0] as SeccompArch, NO_ARCH);
  const chosen =
    arches?.map(seccompArch) ??
    SECCOMP_ARCHES.filter((arch) => {
      const sole = soleAnswer(program, arch, arch.audit);
      return sole === undefined || sole !== foreign;
    });
  return {
    arches: chosen.map((arch) => explainArch(program, arch)),
    otherArches: foreign === undefined ? undefined : describeAction(foreign),
  };
}

function explainArch(program: CbpfProgram, arch: SeccompArch): ExplainedArch {
  const actions = new Map<number, { calls: ExplainedCall[]; others: boolean }>();
  const actionFor = (value: number): { calls: ExplainedCall[]; others: boolean } => {
    const action = actions.get(value) ?? { calls: [], others: false };
    actions.set(value, action);
    return action;
  };
  for (const [number, name] of syscallsOf(arch.name)) {
    const ways = new Map<number, string[][]>();
    for (const { value, conditions } of outcomesOf(program, arch, number)) {
      const when = ways.get(value) ?? [];
      when.push(describeConditions(conditions, arch, number));
      ways.set(value, when);
    }
    for (const [value, when] of ways)
      actionFor(value).calls.push({ name, number, when: ways.size === 1 ? [] : when });
  }
  for (const { value } of outcomesOf(program, arch, NO_SYSCALL + arch.base)) actionFor(value).others = true;
  return {
    arch,
    actions: [...actions]
      .map(([value, { calls, others }]) => ({ value, text: describeAction(value), calls, others }))
      .sort((one, other) => other.calls.length - one.calls.length),
  };
}

const WIDTH = 110;

/** An explanation as text. */
export function formatExplanation({ arches, otherArches }: SeccompExplanation): string {
  const lines: string[] = [];
  for (const { arch, actions } of arches) {
    lines.push(`${arch.name} (${arch.constant})`);
    for (const { text, calls, others } of actions) {
      const always = calls.filter(({ when }) => when.length === 0);
      const sometimes = calls.filter(({ when }) => when.length > 0);
      lines.push(
        `  ${text}: ${always.length} calls always, ${sometimes.length} sometimes${others ? ", and unknown numbers" : ""}`,
      );
      lines.push(...wrap(always.map(({ name }) => name)));
      for (const { name, when } of sometimes) {
        lines.push(...when.map((conditions) => `    ${name} if ${conditions.join(" and ")}`));
      }
    }
  }
  lines.push(
    otherArches === undefined
      ? "other architectures: not told apart"
      : `other architectures: ${otherArches}, whatever the call`,
  );
  return lines.join("\n");
}

function wrap(words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of words) {
    if (line.length + word.length + 1 > WIDTH) {
      lines.push(`   ${line}`);
      line = "";
    }
    line += ` ${word}`;
  }
  return line === "" ? lines : [...lines, `   ${line}`];
}
