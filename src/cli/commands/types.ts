import { sinceOf } from "../../profiles/index.ts";
import { BpfError } from "../../errors.ts";
import { HOOKS, type Hook } from "../../hooks/index.ts";
import type { Command, Invocation } from "../command.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { nearest } from "../nearest.ts";
import { type TypeReport, typeReport, typeReports } from "../program-types.ts";
import type { Terminal } from "../terminal.ts";

export const typesCommand: Command = {
  name: "types",
  usage: "[NAME]",
  description:
    "Lists the program types of Linux 6.18, or shows one of them: section names, the fields of its context and what a\n" +
    "program may do with them, return values, and what 'skep run' and program.run take as input.",
  options: {},
  examples: [
    ["skep types", "which types are there?"],
    ["skep types cgroup_sock_addr", "what may a connect program read, write and return?"],
  ],
  run,
};

async function run({ positionals, terminal, json }: Invocation): Promise<number> {
  const [name, ...more] = positionals;
  if (more.length > 0) throw new BpfError("usage", "types: one name at a time");
  const reports = name === undefined ? typeReports() : [typeReport(typeNamed(name))];
  if (json) terminal.line(toJson({ version: JSON_VERSION, types: reports }));
  else if (name === undefined) list(reports, terminal);
  else show(reports[0] as TypeReport, terminal);
  return 0;
}

function typeNamed(name: string): Hook {
  const known = name.toLowerCase().replace(/^bpf_prog_type_/, "");
  const hook = HOOKS.find(({ type }) => type === known);
  if (hook !== undefined) return hook;
  const guess = nearest(
    known,
    HOOKS.map(({ type }) => type),
  );
  throw new BpfError(
    "usage",
    `types: no type '${name}'${guess === undefined ? "" : `; did you mean '${guess}'?`}`,
  );
}

function list(reports: readonly TypeReport[], { line, style }: Terminal): void {
  const width = Math.max(...reports.map(({ type }) => type.length));
  for (const { type, title } of reports) line(`${style("bold", type.padEnd(width))}  ${title}`);
}

function show(
  { type, title, sections, attachTypes, context, returns, input, testRun }: TypeReport,
  { line, style }: Terminal,
): void {
  line(`${style("bold", type)}  ${title}`);
  line(`sections:      ${sections.join(", ") || "none"}`);
  if (attachTypes.length > 0) line(`attach types:  ${attachTypes.join(", ")}`);
  const since = sinceOf("program type", type)?.since;
  if (since !== undefined) line(`since:         Linux ${since}`);
  line(`input:         ${input.join(", ")}`);
  line(`test run:      ${testRun ? "the kernel has one too" : "here only"}`);
  for (const rule of returns) {
    const range = rule.range === undefined ? "" : `; allowed: ${rule.range}`;
    const where = rule.attachTypes === undefined ? "" : ` (${rule.attachTypes.join(", ")})`;
    line(`returns:       ${rule.values}${range}${where}`);
  }
  line(
    `context:       ${context.struct}${context.about === undefined ? `, ${context.size} bytes` : `: ${context.about}`}`,
  );
  const width = Math.max(0, ...context.fields.map(({ name }) => name.length));
  for (const { name, offset, size, count, kind, read, write } of context.fields) {
    const bytes = count === undefined ? `${size}` : `${count}x${size}`;
    const rights = [
      read === undefined ? undefined : `load ${read}`,
      write === undefined ? undefined : `store ${write}`,
    ];
    line(
      `  ${String(offset).padStart(4)}  ${name.padEnd(width)}  ${bytes.padEnd(4)}  ${kind.padEnd(8)}  ${rights.filter((text) => text !== undefined).join("; ") || "hidden"}`,
    );
  }
}
