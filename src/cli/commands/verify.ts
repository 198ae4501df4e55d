import { basename } from "node:path";
import type { Btf } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import { KernelMachine, type KernelVerdict } from "../../kernel/index.ts";
import { type ObjectSpec, resolveExterns } from "../../object/index.ts";
import { type Explanation, explain, structuredLog } from "../../explain/index.ts";
import { type ProgramReport, reportOf, reportPage } from "../../report/index.ts";
import { KERNELS, type KernelVersion, kernelsOf } from "../../profiles/index.ts";
import {
  type Capability,
  type ProgramVerdict,
  type VerifierOptions,
  type VerifyObjectOptions,
  objectProgram,
  verifyObject,
} from "../../verifier/index.ts";
import { type Command, type Invocation, choice, onlyPositional, text } from "../command.ts";
import { checkOutput, writeOutput } from "../files.ts";
import { STRICT_OPTION, readObject } from "../object-file.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { TARGET_OPTIONS, targetFiles, targetOf } from "../target.ts";
import { type Terminal, count, duration } from "../terminal.ts";
import { showExplanation } from "../verify/explanation.ts";
import { profilesOf, showProfiles } from "../verify/profiles.ts";

export const verifyCommand: Command = {
  name: "verify",
  usage:
    "OBJECT [-p PROGRAM] [-v | -vv] [--log SHAPE] [--html FILE] [--kernel [VERSION]] [--kernels all] [--unprivileged | --capabilities LIST]",
  description:
    "Would Linux 6.18 load it? Judges each program as the kernel's verifier does, without a kernel: verdict, error and log are\n" +
    "the kernel's. A rejection is explained: the line, the cause, where the value came from, what is missing. What skep cannot judge (freplace without --extends,\n" +
    "most of struct_ops, kernel functions without --btf) is said to be unknown, never accepted. With --kernel the running kernel's verifier says what it thinks too,\n" +
    "and nothing stays loaded. Exit status 1 if a program is rejected or unknown.",
  options: {
    program: { type: "string", short: "p", value: "NAME", help: "only this program" },
    ...TARGET_OPTIONS,
    ...STRICT_OPTION,
    kernel: {
      type: "string",
      value: "[VERSION]",
      optional: /^(all|\d+\.\d+(,\d+\.\d+)*)$/,
      help: `would it load on that kernel: ${KERNELS.join(", ")}; alone: ask the running kernel too (needs root, koffi)`,
    },
    kernels: {
      type: "string",
      value: "all|LIST",
      help: "a table of programs and kernels: what loads where, and why not",
    },
    extends: {
      type: "string",
      value: "OBJECT",
      help: "the object of the program that extensions (freplace) extend",
    },
    unprivileged: {
      type: "boolean",
      help: "as a user without any capability: addresses must not leak, speculative execution is followed, no loops and functions",
    },
    capabilities: {
      type: "string",
      value: "LIST",
      help: "as a process that has only these of CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN: bpf,net_admin",
    },
    log: {
      type: "string",
      value: "SHAPE",
      help: "the log instead of the explanation: classic (as Linux 6.18 writes it), structured (as Linux 7.3 does)",
    },
    html: {
      type: "string",
      value: "FILE",
      help: "write a page: source, states at each visit, control flow, the path to the error",
    },
    verbose: {
      type: "boolean",
      short: "v",
      multiple: true,
      help: "the log of accepted programs too (level 1); twice: every path (level 2)",
    },
  },
  examples: [
    ["skep verify firewall.bpf.o", "would it load?"],
    ["skep verify firewall.bpf.o --log structured", "the log as Linux 7.3 writes it"],
    ["skep verify firewall.bpf.o --html report.html", "what the verifier saw, as a page for the browser"],
    ["skep verify firewall.bpf.o -v", "and the kernel's log"],
    ["skep verify firewall.bpf.o -p firewall -vv", "every instruction with the state before it"],
    ["skep verify firewall.bpf.o --kernel 5.15", "would it load on Linux 5.15, and if not, why?"],
    ["skep verify firewall.bpf.o --kernels all", "on which kernels does each program load?"],
    [
      "skep verify patch.bpf.o --extends firewall.bpf.o",
      "may these programs replace functions of the firewall?",
    ],
    ["skep verify filter.bpf.o --unprivileged", "would it load for a user without privileges?"],
    [
      "skep verify firewall.bpf.o --capabilities bpf,net_admin",
      "and without CAP_PERFMON, as in many containers?",
    ],
    ["sudo skep verify firewall.bpf.o --kernel", "and does the running kernel take it?"],
  ],
  run,
};

/** Programs that cannot be linked have no page. */
async function writeReport(
  file: string,
  object: string,
  spec: ObjectSpec,
  rows: readonly Row[],
  { btf, extended }: { readonly btf: Btf | undefined; readonly extended: ObjectSpec | undefined },
  options: VerifierOptions,
): Promise<void> {
  const reports: ProgramReport[] = [];
  for (const { program, section, verdict, explanation } of rows) {
    const input =
      verdict.verdict === "unlinked" ? undefined : objectProgram(spec, program, btf ?? spec.btf, extended);
    if (input !== undefined && verdict.verdict !== "unlinked")
      reports.push(reportOf(input, verdict, section, explanation, options));
  }
  if (reports.length === 0) throw new BpfError("usage", `${object}: no program of it can be shown`);
  writeOutput(file, new TextEncoder().encode(reportPage(basename(object), reports)));
}

function kernelVersions(wanted: string | undefined): readonly KernelVersion[] | undefined {
  if (wanted === undefined) return undefined;
  const found = kernelsOf(wanted);
  if (found !== undefined) return found;
  throw new BpfError("usage", `verify: no kernel '${wanted}'; known are ${KERNELS.join(", ")} and all`);
}

const CAPABILITIES: readonly Capability[] = ["bpf", "perfmon", "net_admin"];

/** The capabilities that programs are judged with; undefined: all. */
function capabilitiesOf(values: Invocation["values"]): readonly Capability[] | undefined {
  const list = text(values, "capabilities");
  if (values["unprivileged"] === true) {
    if (list !== undefined) {
      throw new BpfError(
        "usage",
        "verify: --unprivileged is no capability at all, --capabilities names some: use one of them",
      );
    }
    return [];
  }
  return list?.split(",").map((word) => {
    const name = word.trim().toLowerCase().replace(/^cap_/, "");
    const found = CAPABILITIES.find((known) => known === name);
    if (found !== undefined) return found;
    throw new BpfError(
      "usage",
      `verify: no capability '${word}' for BPF; known are ${CAPABILITIES.join(", ")}`,
    );
  });
}

interface Row {
  readonly program: string;
  readonly section: string;
  /** Ours, or why the program did not come as far as the verifier. */
  readonly verdict: ProgramVerdict | { readonly verdict: "unlinked"; readonly error: BpfError };
  /** Of a program that is rejected. */
  readonly explanation?: Explanation;
  /** Its log in the shape of Linux 7.3, on request. */
  readonly structured?: string;
  readonly kernel?: KernelVerdict;
}

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "verify", "an object file");
  const html = text(values, "html");
  const base = text(values, "extends");
  checkOutput(html, [path, ...(base === undefined ? [] : [base]), ...targetFiles(values)]);
  const { btf, kconfig } = await targetOf(values);
  const spec = resolveExterns(await readObject(path, values), kconfig === undefined ? {} : { kconfig });
  const name = text(values, "program");
  const names = name === undefined ? Object.keys(spec.programs) : [name];
  if (names.length === 0) throw new BpfError("usage", `${path}: it has no programs`);
  if (name !== undefined && spec.programs[name] === undefined) {
    throw new BpfError(
      "usage",
      `${path}: no program '${name}'; it has ${Object.keys(spec.programs).join(", ")}`,
    );
  }
  const extended = base === undefined ? undefined : await readObject(base, values);
  const capabilities = capabilitiesOf(values);
  if (capabilities !== undefined && (values["kernel"] !== undefined || values["kernels"] !== undefined)) {
    throw new BpfError(
      "usage",
      "verify: --kernel and --kernels judge with all capabilities: not together with --unprivileged or --capabilities",
    );
  }
  const options: VerifierOptions = capabilities === undefined ? {} : { capabilities };
  const versions = kernelVersions(text(values, "kernels") ?? (text(values, "kernel") || undefined));
  if (versions !== undefined) {
    const foreign = ["html", "log", "extends", "verbose"].find((option) => values[option] !== undefined);
    if (foreign !== undefined) {
      throw new BpfError("usage", `verify: --kernels and --kernel VERSION take no --${foreign}`);
    }
    const profiles = profilesOf(spec, names, versions, btf);
    if (json)
      terminal.line(toJson({ version: JSON_VERSION, object: path, kernels: versions, programs: profiles }));
    else showProfiles(profiles, versions, terminal);
    return profiles.every(({ loads }) => loads) ? 0 : 1;
  }
  const verbose = Array.isArray(values["verbose"]) ? values["verbose"].length : 0;
  const logLevel = verbose > 1 ? 2 : 1;
  const shape = choice(values, "log", ["classic", "structured"]);
  const kernel = values["kernel"] === "" ? await KernelMachine.create() : undefined;
  const rows: Row[] = [];
  try {
    for (const program of names) {
      const verdict = kernel?.verify(spec, program, { logLevel });
      // No privilege is no verdict.
      if (verdict?.error?.errno === "EPERM" && verdict.log === "") throw verdict.error;
      const judged = judge(
        spec,
        program,
        { ...options, btf, extends: extended, ...(verbose > 0 ? { logLevel } : {}) },
        terminal,
      );
      const input =
        judged.verdict === "rejected" ? objectProgram(spec, program, btf ?? spec.btf, extended) : undefined;
      const explanation = input === undefined ? undefined : explain(input, options);
      const structured =
        input === undefined || shape !== "structured" ? undefined : structuredLog(input, options);
      const row: Row = {
        program,
        section: spec.programs[program]?.section ?? "",
        verdict: judged,
        ...(explanation === undefined ? {} : { explanation }),
        ...(structured === undefined ? {} : { structured }),
        ...(verdict === undefined ? {} : { kernel: verdict }),
      };
      rows.push(row);
      if (!json) show(row, path, terminal, verbose, shape === "classic");
    }
  } finally {
    kernel?.close();
  }
  if (html !== undefined) await writeReport(html, path, spec, rows, { btf, extended }, options);
  if (json) {
    const verified = rows.every(({ verdict }) => verdict.verdict === "accepted");
    terminal.line(toJson({ version: JSON_VERSION, object: path, verified, programs: rows.map(asJson) }));
  }
  return rows.every(
    ({ verdict, kernel: theirs }) => verdict.verdict === "accepted" && theirs?.accepted !== false,
  )
    ? 0
    : 1;
}

/** Above this many instructions the kernel gives up, so progress counts up to it. */
const MOST_INSTRUCTIONS = 1_000_000;

function judge(
  spec: ObjectSpec,
  program: string,
  options: VerifyObjectOptions,
  terminal: Terminal,
): Row["verdict"] {
  const bar = terminal.progress(`verifying ${program}`);
  try {
    return verifyObject(spec, program, {
      ...options,
      progress: (processed) => bar?.update(processed / MOST_INSTRUCTIONS, `${count(processed)} instructions`),
    });
  } catch (error) {
    if (error instanceof BpfError) return { verdict: "unlinked", error };
    throw error;
  } finally {
    bar?.end();
  }
}

function asJson({
  program,
  section,
  verdict,
  explanation,
  structured,
  kernel,
}: Row): Record<string, unknown> {
  const ours =
    verdict.verdict === "unlinked"
      ? { verdict: "rejected", error: verdict.error.toJSON() }
      : {
          verdict: verdict.verdict,
          ...(verdict.verdict === "rejected" ? { errno: verdict.errno } : {}),
          ...(verdict.reason === "" ? {} : { reason: verdict.reason }),
          statistics: verdict.statistics,
          log: verdict.log,
          ...(structured === undefined ? {} : { structured }),
          ...(explanation === undefined ? {} : { explanation }),
        };
  return {
    program,
    section,
    ...ours,
    ...(kernel === undefined
      ? {}
      : { kernel: { accepted: kernel.accepted, log: kernel.log, error: kernel.error?.toJSON() } }),
  };
}

function show(
  { program, section, verdict, explanation, structured, kernel }: Row,
  path: string,
  terminal: Terminal,
  verbose: number,
  classic: boolean,
): void {
  const { line, style } = terminal;
  line(`${style("bold", program)}  ${section}`);
  if (verdict.verdict === "unlinked") line(`  ${style("red", "rejected")}: ${verdict.error.message}`);
  else {
    const { processedInstructions, totalStates, stackDepths, milliseconds } = verdict.statistics;
    const work =
      `${count(processedInstructions)} instructions processed, ${count(totalStates)} states, ` +
      `stack ${stackDepths.join("+") || "0"}, ${duration(milliseconds)}`;
    if (verdict.verdict === "accepted") line(`  ${style("green", "accepted")}  ${work}`);
    else if (verdict.verdict === "rejected") {
      line(`  ${style("red", "rejected")}: ${verdict.errno}: ${verdict.reason}`);
    } else line(`  ${style("yellow", "unknown")}: ${verdict.reason}`);
    if (structured !== undefined) showLog(structured, line);
    else if (explanation !== undefined && !classic) showExplanation(explanation, path, terminal);
    if ((verdict.verdict === "rejected" && (explanation === undefined || classic)) || verbose > 0)
      showLog(verdict.log, line);
  }
  if (kernel === undefined) return;
  line(
    kernel.accepted
      ? `  kernel: ${style("green", "accepted")}`
      : `  kernel: ${style("red", "rejected")}: ${kernel.error?.message}`,
  );
  if (verbose > 0 || !kernel.accepted) showLog(kernel.log, line);
}

function showLog(log: string, line: Terminal["line"]): void {
  if (log === "") return;
  for (const text of log.trimEnd().split("\n")) line(`    ${text}`);
}
