/** Program types in words: what `skep types` shows and docs/program-types.md is made of. */
import {
  type AccessRule,
  type ContextField,
  HOOKS,
  type Hook,
  type ReturnRule,
  takesPackets,
} from "../hooks/index.ts";
import { inputKeys } from "../machine/index.ts";
import { SECTION_RULES } from "../object/index.ts";

export interface FieldReport {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
  readonly count?: number;
  readonly kind: string;
  /** "4", "1 2 4 anywhere", "4 (cgroup_sock_addr: ...)"; absent: not at all. */
  readonly read?: string;
  readonly write?: string;
}

export interface TypeReport {
  readonly type: string;
  readonly title: string;
  readonly sections: readonly string[];
  readonly attachTypes: readonly string[];
  readonly context: {
    readonly struct: string;
    readonly size: number;
    readonly about?: string;
    readonly fields: readonly FieldReport[];
  };
  readonly returns: readonly {
    readonly attachTypes?: readonly string[];
    readonly values: string;
    readonly range?: string;
  }[];
  /** Keys of what `program.run` takes. */
  readonly input: readonly string[];
  /** The kernel's BPF_PROG_TEST_RUN takes it. */
  readonly testRun: boolean;
}

export function typeReports(): TypeReport[] {
  return HOOKS.map(typeReport);
}

export function typeReport(hook: Hook): TypeReport {
  const { type, title, context, returns, attach = [], testRun = false } = hook;
  const about = contextNote(hook);
  return {
    type,
    title,
    sections: SECTION_RULES.filter((rule) => rule.type === type).map(({ pattern }) => pattern),
    attachTypes: attach,
    context: {
      struct: context.struct,
      size: context.size,
      ...(about === undefined ? {} : { about }),
      fields: context.fields.filter(({ padding }) => padding !== true).map(fieldReport),
    },
    returns: returns.map(returnReport),
    input: takesPackets(hook) ? ["packet", "context"] : inputKeys(type),
    testRun,
  };
}

function fieldReport({
  name,
  offset,
  size,
  count,
  kind = "scalar",
  btf,
  read,
  write,
}: ContextField): FieldReport {
  return {
    name,
    offset,
    size,
    ...(count === undefined ? {} : { count }),
    kind: btf === undefined ? kind : `${btf} *`,
    ...(read === undefined ? {} : { read: ruleText(read) }),
    ...(write === undefined ? {} : { write: ruleText(write) }),
  };
}

function ruleText({ sizes, inside, only }: AccessRule): string {
  const widths = sizes.join(", ") + (inside === true ? " anywhere" : "");
  return only === undefined ? widths : `${widths} (${only.join(", ")})`;
}

function returnReport({ only, values, range, errno }: ReturnRule): TypeReport["returns"][number] {
  const names = values.map(({ value, name }) => `${value} ${name}`);
  if (errno === true) names.push("-errno");
  return {
    ...(only === undefined ? {} : { attachTypes: only }),
    values: names.join(", ") || "any",
    ...(range === undefined
      ? {}
      : { range: range[0] === range[1] ? `${range[0]}` : `${range[0]} to ${range[1]}` }),
  };
}

function contextNote({ context: { open, arguments: words } }: Hook): string | undefined {
  if (words === true) return "u64 arguments, typed by the BTF of what the program attaches to";
  if (open === undefined) return undefined;
  const end = open.last === true ? `an access may begin up to byte ${open.to - 1}` : `up to byte ${open.to}`;
  return `any aligned ${open.write ? "load or store" : "load"} from byte ${open.from} on, ${end}`;
}

/** docs/program-types.md. A test compares the two. */
export function programTypesPage(): string {
  const lines = [
    "# Program types",
    "",
    "Every program type of Linux 6.18: section names, what a program may load from its context and store to it, what it may return,",
    "and what `program.run` takes. Made from the tables in `src/hooks`, which a test compares with the running kernel; the widths are",
    "bytes of one load or store, `anywhere` means also inside the field (narrow access). How inputs look: [running.md](running.md).",
    "",
  ];
  for (const report of typeReports()) lines.push(...typeSection(report));
  return `${lines.join("\n").trimEnd()}\n`;
}

function typeSection({
  type,
  title,
  sections,
  attachTypes,
  context,
  returns,
  input,
  testRun,
}: TypeReport): string[] {
  const lines = [`## ${type}`, "", `${title}.`, ""];
  const list = (words: readonly string[]): string => words.map((word) => `\`${word}\``).join(", ");
  lines.push(`- Sections: ${sections.length === 0 ? "none" : list(sections)}`);
  if (attachTypes.length > 0) lines.push(`- Attach types: ${list(attachTypes)}`);
  lines.push(`- Input: ${list(input)}`);
  lines.push(`- Kernel's test run: ${testRun ? "yes" : "no"}`);
  for (const rule of returns) {
    const where = rule.attachTypes === undefined ? "" : ` of ${list(rule.attachTypes)}`;
    const range = rule.range === undefined ? "" : `; allowed: ${rule.range}`;
    lines.push(`- Returns${where}: ${rule.values}${range}`);
  }
  const { struct, size, about, fields } = context;
  lines.push(`- Context: \`${struct}\`${about === undefined ? `, ${size} bytes` : `: ${about}`}`, "");
  if (fields.length === 0) return lines;
  lines.push("| field | offset | bytes | value | load | store |", "| --- | --- | --- | --- | --- | --- |");
  for (const field of fields) {
    const bytes = field.count === undefined ? `${field.size}` : `${field.count} x ${field.size}`;
    lines.push(
      `| ${field.name} | ${field.offset} | ${bytes} | ${field.kind} | ${field.read ?? ""} | ${field.write ?? ""} |`
        .replaceAll("|  |", "| |")
        .replaceAll("|  |", "| |"),
    );
  }
  lines.push("");
  return lines;
}
