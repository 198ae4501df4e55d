/**
 * Programs of unprivileged users, judged by what stands in the object: declaration tags in the manner of the kernel's own tests
 * ("comment:test_expect_failure_unpriv", "comment:test_expect_msg_unpriv=0=..."). Where the sysctl kernel.unprivileged_bpf_disabled
 * is not 0, no running kernel can be asked.
 */
import { ourAnswer } from "./our-side.ts";
import type { Subject } from "./subject.ts";

interface Expectation {
  readonly accepted: boolean;
  /** In this order in the log; `{{...}}` is a regular expression. */
  readonly messages: readonly string[];
  readonly level: number;
}

/** What the tags say of a program, or undefined if they say nothing about unprivileged users. */
export function expectationOf({ linked }: Subject): Expectation | undefined {
  const { btf, functionInfo } = linked;
  const own = functionInfo[0]?.type;
  if (btf === undefined || own === undefined) return undefined;
  let privileged: boolean | undefined;
  let unprivileged: boolean | undefined;
  let asks = false;
  const shared: string[] = [];
  const special: string[] = [];
  let level = 1;
  for (let id = btf.firstId; id < btf.count; id++) {
    const type = btf.type(id);
    if (type.kind !== "decl_tag" || type.type !== own) continue;
    const text = /^comment:(.*)$/s.exec(type.name)?.[1] ?? "";
    const [, name = "", value = ""] = /^(\w+)(?:=(?:\d+=)?(.*))?$/s.exec(text) ?? [];
    if (name.endsWith("_unpriv")) asks = true;
    if (name === "test_expect_failure") privileged = false;
    else if (name === "test_expect_success") privileged = true;
    else if (name === "test_expect_failure_unpriv") unprivileged = false;
    else if (name === "test_expect_success_unpriv") unprivileged = true;
    else if (name === "test_expect_msg") shared.push(value);
    else if (name === "test_expect_msg_unpriv") special.push(value);
    else if (name === "test_log_level") level = Number(value);
  }
  const accepted = unprivileged ?? privileged;
  if (!asks || accepted === undefined) return undefined;
  return { accepted, messages: special.length > 0 ? special : shared, level };
}

export interface UnprivilegedRow {
  readonly file: string;
  readonly name: string;
  readonly expected: boolean;
  readonly accepted: boolean;
  readonly unknown: boolean;
  readonly line: string;
  /** The first expected message that the log lacks. */
  readonly missing: string | undefined;
}

/** A pattern of the tags as a regular expression. */
function patternOf(message: string): RegExp {
  const parts = message.split(/\{\{(.*?)\}\}/s);
  const escape = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(parts.map((part, at) => (at % 2 === 0 ? escape(part) : `(?:${part})`)).join(""), "s");
}

export function judgeUnprivileged(subject: Subject, expected: Expectation, limit: number): UnprivilegedRow {
  const ours = ourAnswer(subject, { level: Math.max(1, expected.level & 3), withoutTypes: false }, limit, []);
  let at = 0;
  let missing: string | undefined;
  for (const message of expected.messages) {
    const found = patternOf(message).exec(ours.log.slice(at));
    if (found === null) {
      missing = message;
      break;
    }
    at += found.index + found[0].length;
  }
  const { file, name } = subject;
  const said = expected.accepted && expected.level < 2 ? undefined : missing;
  return {
    file,
    name,
    expected: expected.accepted,
    accepted: ours.accepted,
    unknown: ours.unsupported,
    line: ours.crash ?? ours.line,
    missing: said,
  };
}

export function unprivilegedSummary(rows: readonly UnprivilegedRow[]): string {
  const differing = rows.filter(
    ({ expected, accepted, missing }) => expected !== accepted || missing !== undefined,
  );
  const lines = differing.map(
    ({ file, name, expected, accepted, unknown, line, missing }) =>
      `${file} ${name}: expected ${expected ? "success" : "failure"}${missing === undefined ? "" : ` with "${missing}"`}\n` +
      `  ours: ${unknown ? "unknown" : accepted ? "accepted" : "rejected"} ${line}`,
  );
  const verdicts = rows.filter(({ expected, accepted }) => expected === accepted).length;
  const accepts = rows.filter(({ expected, accepted }) => accepted && !expected).length;
  return [
    ...lines,
    `${rows.length} programs with expectations for unprivileged users: verdict ${verdicts}, verdict and messages ${rows.length - differing.length}; accepted against the expectation: ${accepts}`,
  ].join("\n");
}
