/** `docs/performance.md`: the text of a template, with the tables of a run where it asks for them. */
import type { Section, SuiteReport } from "./suite.ts";

/** Lines `{{suite}}` become the suite's tables, `{{machine}}` the description of the machine. */
export function markdown(
  template: string,
  machine: string,
  reports: Readonly<Record<string, SuiteReport>>,
): string {
  return template.replaceAll(/^\{\{(\w+)\}\}$/gm, (_, name: string) => {
    if (name === "machine") return machine;
    return (reports[name]?.sections ?? []).map(sectionText).join("\n\n") || `(${name}: not measured)`;
  });
}

function sectionText({ title, head, rows, notes }: Section): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [
    `**${title}**`,
    "",
    row(head),
    row(head.map((_, column) => (column === 0 ? "---" : "---:"))),
    ...rows.map(row),
    ...notes.filter((note) => note !== "").flatMap((note) => ["", note]),
  ].join("\n");
}
