import { BpfError } from "../../errors.ts";
import { helpersMarkdown, listHelpers, listKfuncs } from "../../machine/index.ts";
import { sinceOf } from "../../profiles/index.ts";
import type { Command, Invocation } from "../command.ts";
import { JSON_VERSION, toJson } from "../json.ts";

export const helpersCommand: Command = {
  name: "helpers",
  usage: "[NAME]",
  description:
    "Lists the helpers and kernel functions of Linux 6.18: id, name, whether they run here (core: in WebAssembly, host: in\n" +
    "TypeScript, no: only a mock can answer) and which program types may call them. With NAME those whose name contains it,\n" +
    "with their prototypes and the release of Linux that brought them. Exit status 2 if there are none.",
  options: {
    kfuncs: { type: "boolean", help: "kernel functions alone" },
    markdown: { type: "boolean", help: "print the tables as docs/helpers.md has them" },
  },
  examples: [
    ["skep helpers", "all of them"],
    ["skep helpers fib_lookup", "one, with its prototype"],
    ["skep helpers --kfuncs --json", "kernel functions as JSON"],
  ],
  run,
};

async function run({ values, positionals, terminal, json }: Invocation): Promise<number> {
  if (values["markdown"] === true) {
    terminal.write(helpersMarkdown());
    return 0;
  }
  const wanted = (positionals[0] ?? "").replace(/^bpf_/, "");
  const matches = ({ name }: { readonly name: string }): boolean => name.includes(wanted);
  const helpers = values["kfuncs"] === true ? [] : listHelpers().filter(matches);
  const kfuncs = listKfuncs().filter(matches);
  if (helpers.length + kfuncs.length === 0) {
    throw new BpfError("usage", `helpers: Linux 6.18 has no helper or kernel function '${wanted}'`);
  }
  if (json) {
    const dated = <T extends { readonly name: string }>(
      kind: "helper" | "kernel function",
      rows: readonly T[],
    ): object[] => rows.map((row) => ({ ...row, since: sinceOf(kind, row.name)?.since }));
    terminal.write(
      `${toJson({ version: JSON_VERSION, helpers: dated("helper", helpers), kfuncs: dated("kernel function", kfuncs) })}\n`,
    );
    return 0;
  }
  const details = positionals.length > 0;
  for (const { id, name, status, returns, args, gplOnly, programTypes } of helpers) {
    terminal.write(`${String(id).padStart(3)}  ${name.padEnd(32)} ${status === "missing" ? "no" : status}\n`);
    if (!details) continue;
    terminal.write(
      `     (${args.join(", ")}) -> ${returns}${gplOnly ? ", GPL only" : ""}${sinceText("helper", name)}\n`,
    );
    terminal.write(`     ${programTypes.join(" ")}\n`);
  }
  for (const { name, status, returns, args, flags } of kfuncs) {
    terminal.write(`     ${name.padEnd(32)} ${status === "missing" ? "no" : status}\n`);
    if (!details) continue;
    terminal.write(
      `     ${returns} (${args.join(", ")}) ${flags.join(" ")}${sinceText("kernel function", name)}\n`,
    );
  }
  return 0;
}

function sinceText(kind: "helper" | "kernel function", name: string): string {
  const found = sinceOf(kind, name);
  return found === undefined ? "" : `, since Linux ${found.since}`;
}
