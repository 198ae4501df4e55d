import type { Answer } from "./answer.ts";
import type { Difference } from "./compare.ts";
import type { Need } from "./needs.ts";
import type { OurAnswer } from "./our-side.ts";

/** One program. */
export interface Row {
  readonly file: string;
  readonly name: string;
  readonly section?: string;
  readonly type?: string;
  readonly needs: readonly Need[];
  /** Why the kernel gave no verdict. */
  readonly unjudged?: string;
  readonly ours?: OurAnswer;
  readonly theirs?: Answer;
  readonly difference?: Difference;
}

type Judged = Row & { readonly ours: OurAnswer; readonly theirs: Answer; readonly difference: Difference };

/** The table of agreement, over programs that need the core only and over all; before it, if wished, what differs. */
export function summary(rows: readonly Row[], withDifferences: boolean): string {
  const judged = rows.filter((row): row is Judged => row.difference !== undefined);
  const core = judged.filter(({ needs }) => needs.length === 0);
  const lines: string[] = withDifferences ? judged.flatMap(describe) : [];
  lines.push(
    `${rows.length} programs, ${judged.length} judged by the kernel, ${core.length} of them need the core only`,
    "",
    "                       core             all",
  );
  for (const [title, test] of TESTS)
    lines.push(`${title.padEnd(20)}${share(core, test)}   ${share(judged, test)}`);
  const falseAccepts = judged.filter(({ difference }) => difference.falseAccept);
  lines.push("", `false accepts: ${falseAccepts.length}`);
  for (const { file, name, theirs } of falseAccepts)
    lines.push(`  ${file} ${name}: ${theirs.errno} ${theirs.line}`);
  for (const { file, name, ours } of judged) {
    if (ours.crash !== undefined)
      lines.push(`  crash: ${file} ${name}: ${ours.crash.split("\n").slice(0, 3).join(" | ")}`);
  }
  return lines.join("\n");
}

const TESTS: readonly (readonly [string, (row: Judged) => boolean])[] = [
  ["verdict and errno", ({ difference }) => difference.verdict],
  ["last error line", ({ difference }) => difference.line],
  ["processed", ({ difference }) => difference.processed],
  ["states", ({ difference }) => difference.states],
  ["log of level 2", ({ difference }) => difference.log],
  ["not implemented", ({ ours }) => ours.unsupported],
];

function share(rows: readonly Judged[], test: (row: Judged) => boolean): string {
  const count = rows.filter(test).length;
  const percent = rows.length === 0 ? "-" : ((100 * count) / rows.length).toFixed(1);
  return `${String(count).padStart(6)} ${percent.padStart(6)} %`;
}

function describe({ file, name, needs, ours, theirs, difference }: Judged): string[] {
  const { verdict, line, processed, states, log, firstLine } = difference;
  if (verdict && line && processed && states && log) return [];
  const said = ({ accepted, errno, line }: Answer): string => (accepted ? "accepted" : `${errno} ${line}`);
  const what = [
    ...(verdict ? [] : ["verdict"]),
    ...(line ? [] : ["line"]),
    ...(processed ? [] : [`processed ${ours.processed}/${theirs.processed}`]),
    ...(states ? [] : [`states ${ours.totalStates}/${theirs.totalStates}`]),
    ...(log ? [] : ["log"]),
  ];
  return [
    `${file} ${name}${needs.length > 0 ? ` [${needs.join(" ")}]` : ""}: ${what.join(", ")}`,
    ...(verdict && line ? [] : [`  ours:   ${said(ours)}`, `  kernel: ${said(theirs)}`]),
    ...(log || firstLine === undefined ? [] : [`  - ${firstLine[0]}`, `  + ${firstLine[1]}`]),
  ];
}
