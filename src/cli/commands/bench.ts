import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BpfError } from "../../errors.ts";
import { benchFolder } from "../bench/files.ts";
import { describeHost, hostLine } from "../bench/host.ts";
import { SUITES } from "../bench/list.ts";
import { markdown } from "../bench/markdown.ts";
import type { Section, SuiteReport } from "../bench/suite.ts";
import { type Command, type Invocation, integer, text } from "../command.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { type Terminal, table } from "../terminal.ts";

const DEFAULT_ROUNDS = 7;
const DEFAULT_SAMPLE_MS = 40;

export const benchCommand: Command = {
  name: "bench",
  usage: "[--suite NAME]...",
  description:
    "Measures on this machine. All sides of a comparison take turns in one run; times are nanoseconds of CPU, medians of\n" +
    "the rounds. What is missing (a compiler, the kernel) is left out, and the report says so. Suites:\n" +
    SUITES.map(({ name, summary }) => `  ${name.padEnd(9)}${summary}`).join("\n"),
  options: {
    suite: {
      type: "string",
      short: "s",
      value: "NAME",
      multiple: true,
      help: "only this suite (or several)",
    },
    rounds: {
      type: "string",
      value: "N",
      help: `samples of each side (default ${DEFAULT_ROUNDS}, the median counts)`,
    },
    sample: {
      type: "string",
      value: "MS",
      help: `how long a sample takes at least, in milliseconds (default ${DEFAULT_SAMPLE_MS})`,
    },
    report: {
      type: "string",
      value: "FOLDER",
      help: "write performance.md, performance.json and charts there",
    },
  },
  examples: [
    ["skep bench --suite classic --json", "the eight classic programs, as JSON"],
    ["skep bench --report docs", "everything, and the page that explains it"],
  ],
  run,
};

async function run({ values, positionals, terminal, json }: Invocation): Promise<number> {
  if (positionals.length > 0)
    throw new BpfError("usage", `bench: what is '${positionals[0]}'? see 'skep bench --help'`);
  const wanted = (values["suite"] ?? SUITES.map(({ name }) => name)) as readonly string[];
  for (const name of wanted) {
    if (SUITES.some((suite) => suite.name === name)) continue;
    throw new BpfError(
      "usage",
      `bench: no suite '${name}'; there are ${SUITES.map((suite) => suite.name).join(", ")}`,
    );
  }
  const rounds = integer(values, "rounds", 1, 1000) ?? DEFAULT_ROUNDS;
  const sampleNs = (integer(values, "sample", 1, 60_000) ?? DEFAULT_SAMPLE_MS) * 1e6;
  const folder = text(values, "report");
  const host = describeHost();
  if (!json) terminal.line(hostLine(host));
  const reports: Record<string, SuiteReport> = {};
  for (const { name, run: runSuite } of SUITES) {
    if (!wanted.includes(name)) continue;
    const bar = terminal.progress(name);
    const report = await runSuite({
      rounds,
      sampleNs,
      progress: (done, of, what) => bar?.update(done / of, what),
    });
    bar?.end();
    reports[name] = report;
    if (!json) for (const section of report.sections) show(section, terminal);
  }
  const result = {
    version: JSON_VERSION,
    machine: host,
    ...Object.fromEntries(Object.entries(reports).map(([name, report]) => [name, report.json])),
  };
  if (json) terminal.line(toJson(result));
  if (folder !== undefined) {
    await mkdir(folder, { recursive: true });
    const template = await readFile(benchFolder("performance.md"), "utf8");
    await writeFile(join(folder, "performance.md"), markdown(template, hostLine(host), reports));
    await writeFile(
      join(folder, "performance.json"),
      `${JSON.stringify(JSON.parse(toJson(result)), null, 1)}\n`,
    );
    for (const { charts = {} } of Object.values(reports)) {
      for (const [name, svg] of Object.entries(charts)) await writeFile(join(folder, `${name}.svg`), svg);
    }
  }
  return 0;
}

function show({ title, head, rows, notes }: Section, terminal: Terminal): void {
  terminal.line();
  terminal.line(terminal.style("bold", title));
  const [names = "", ...lines] = table(head, rows, { right: head.map((_, column) => column).slice(1) });
  terminal.line(terminal.style("dim", names));
  for (const line of lines) terminal.line(line);
  for (const note of notes) if (note !== "") terminal.line(note);
}
