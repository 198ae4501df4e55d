/** What `skep run` found, as text. */
import { type Hook, returnName } from "../../hooks/index.ts";
import type { Engine, Safety } from "../../machine/index.ts";
import type { Invocation } from "../command.ts";
import { type MapReport, renderMaps } from "../maps.ts";
import { type Terminal, count, duration, table } from "../terminal.ts";
import type { KernelReport } from "./kernel.ts";
import type { Tally } from "./verdicts.ts";

/** More lines than this of bpf_trace_printk are counted, not kept. */
export const MAX_TRACE = 1000;
const SHOWN_TRACE = 10;

export const packetsPerSecond = (packets: number, ms: number): number =>
  ms === 0 ? 0 : Math.round((packets / ms) * 1000);

export interface RunReport {
  readonly program: { readonly name: string; readonly section: string };
  readonly engine: Engine;
  readonly verified: boolean;
  readonly safety: Safety;
  readonly notes: readonly string[];
  readonly compile?: { readonly ms: number; readonly bytes: number };
  readonly packets: number;
  readonly bytes: number;
  readonly verdicts: readonly Tally[];
  readonly results?: readonly number[];
  readonly runMs: number;
  readonly totalMs: number;
  readonly packetsPerSecond: number;
  readonly maps: readonly MapReport[];
  readonly trace: readonly string[];
  readonly output?: { readonly path: string; readonly packets: number };
  readonly kernel?: KernelReport;
}

export function showRun(
  report: RunReport,
  hook: Hook,
  { terminal, values }: Invocation,
  traced: number,
): void {
  const { line, style } = terminal;
  const { program, packets, bytes } = report;
  line(`${style("bold", program.name)}  ${program.section}  ${hook.title}`);
  const compiled =
    report.compile === undefined
      ? ""
      : `, compiled in ${duration(report.compile.ms)} to ${count(report.compile.bytes)}B of WebAssembly`;
  line(`engine: ${report.engine}${compiled}`);
  if (report.verified) line("verified: proved safe as Linux 6.18 does it; nothing is checked while it runs");
  else if (report.safety === "sandbox") line("sandboxed: not proved safe; every access is checked");
  else line(style("yellow", "unverified: not proved safe, and nothing is checked while it runs"));
  for (const note of report.notes) line(note);
  line();
  if (report.results !== undefined) {
    report.results.forEach((value, index) => line(`${index + 1}  ${returnName(hook, value)} (${value})`));
    line();
  }
  for (const text of verdictTable(report)) line(text);
  line();
  line(
    `${packets} packets, ${bytes} bytes in ${duration(report.totalMs)}: ${count(report.packetsPerSecond)} packets/s ` +
      `(${duration(report.runMs)} in the program and its batch loop)`,
  );
  if (report.kernel !== undefined) showKernel(report.kernel, packets, terminal);
  if (report.output !== undefined) line(`${report.output.path}: ${report.output.packets} packets written`);
  const all = values["all"] === true;
  for (const text of renderMaps(report.maps, terminal, { all })) line(text);
  if (report.kernel !== undefined) {
    for (const text of renderMaps(report.kernel.maps, terminal, { all, prefix: "kernel's map" })) line(text);
  }
  if (traced > 0) {
    line();
    line(style("bold", `bpf_trace_printk: ${traced} lines`));
    for (const text of report.trace.slice(0, SHOWN_TRACE)) line(`  ${text}`);
    if (traced > SHOWN_TRACE) line(`  ... ${traced - SHOWN_TRACE} more (--json has up to ${MAX_TRACE})`);
  }
}

/** A row for each verdict; the kernel's count beside ours when it was asked. */
function verdictTable({ verdicts, packets, kernel }: RunReport): string[] {
  const theirs = new Map(kernel?.verdicts.map((row) => [row.name, row]));
  const ours = new Set(verdicts.map(({ name }) => name));
  const all = [
    ...verdicts,
    ...[...theirs.values()]
      .filter(({ name }) => !ours.has(name))
      .map((row) => ({ ...row, packets: 0, bytes: 0 })),
  ];
  const rows = all.map((row) => [
    row.name,
    String(row.value),
    String(row.packets),
    `${((100 * row.packets) / Math.max(packets, 1)).toFixed(1)} %`,
    String(row.bytes),
    ...(kernel === undefined ? [] : [String(theirs.get(row.name)?.packets ?? 0)]),
  ]);
  const head = ["verdict", "value", "packets", "share", "bytes", ...(kernel === undefined ? [] : ["kernel"])];
  return table(head, rows, { right: [1, 2, 3, 4, 5] });
}

function showKernel(kernel: KernelReport, packets: number, { line, style }: Terminal): void {
  const asked = packets - kernel.refused;
  const refused = kernel.refused === 0 ? "" : `; ${kernel.refused} are too short for a test run`;
  const agreement =
    kernel.differences === 0
      ? style("green", `the same verdict for all ${asked} packets`)
      : style("red", `${kernel.differences} of ${asked} verdicts differ`);
  line(`kernel: ${agreement}${refused}; ${Math.round(kernel.nsPerPacket)} ns a packet there`);
  for (const { packet, ours, kernel: theirs } of kernel.firstDifferences) {
    line(`  packet ${packet}: ${ours} here, ${theirs} in the kernel`);
  }
}
