/** The complaint at the end of a log, and the rule that knows it. */
import { COMPLAINTS, type ComplaintRule } from "./classes.ts";

export interface Complaint {
  /** What the verifier says is wrong, oldest line first. */
  readonly lines: readonly string[];
  readonly rule: ComplaintRule | undefined;
  /** The line that the rule matches, or the last. */
  readonly message: string;
  readonly groups: Readonly<Record<string, string>>;
}

const STATISTICS = /^(processed \d+ insns|verification time|stack depth|max_states|mark_read)/;
/** Instructions, states after jumps, names of functions under way. */
const WALK = /^(\d+: |from \d+ to \d+|Validating |func#\d+ @|Func#\d+ |Live regs)/;
/** Source lines and states that stand between or after complaints. */
const BESIDE = /^(; |(cur|old) state:|\s*$)/;

/** The lines that follow the last instruction of a log. */
function complaintLines(log: string): string[] {
  const lines = log
    .split("\n")
    .filter((line) => line !== "" && !STATISTICS.test(line))
    // Some complaints end without a line feed.
    .map((line) => line.replace(/processed \d+ insns \(limit.*$/, ""));
  let from = 0;
  for (const [index, line] of lines.entries()) if (WALK.test(line)) from = index + 1;
  const found = lines.slice(from).filter((line) => !BESIDE.test(line));
  // This complaint may stand on the line of the instruction at which the patience ended.
  const last = lines.at(-1);
  if (found.length === 0 && last !== undefined && /BPF program is too large/.test(last)) {
    return [last.replace(/^.*(?=BPF program is too large)/, "")];
  }
  return found;
}

/** What the verifier complains about. Works on logs of Linux 5.15 and later, our own included. */
export function complaintOf(log: string): Complaint {
  const lines = complaintLines(log);
  for (const line of lines.toReversed()) {
    for (const rule of COMPLAINTS) {
      const match = rule.pattern.exec(line);
      if (match === null) continue;
      return { lines, rule, message: line, groups: groupsOf(match, lines, rule) };
    }
  }
  return { lines, rule: undefined, message: lines.at(-1) ?? "", groups: {} };
}

/** The groups of the match, and what the other lines add for the same class: sizes, the limits that were missed. */
function groupsOf(
  match: RegExpExecArray,
  lines: readonly string[],
  rule: ComplaintRule,
): Record<string, string> {
  const groups: Record<string, string> = {};
  const add = (found: RegExpExecArray): void => {
    for (const [name, value] of Object.entries(found.groups ?? {})) {
      if (value === undefined) continue;
      // Alternatives of one pattern need names of their own.
      const key = name.replace(/\d+$/, "");
      groups[key] ??= value;
    }
  };
  add(match);
  for (const line of lines) {
    for (const other of COMPLAINTS) {
      if (other.class !== rule.class) continue;
      const found = other.pattern.exec(line);
      if (found !== null) add(found);
    }
  }
  return groups;
}
