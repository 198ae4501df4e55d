import { BpfError } from "../../errors.ts";
import { type Feature, type KernelProbe, probeKernel } from "../../kernel/index.ts";
import { PROGRAM_TYPES, type ProgramType } from "../../uapi/index.ts";
import type { Command, Invocation, Values } from "../command.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { nearest } from "../nearest.ts";
import type { Terminal } from "../terminal.ts";

export const kernelCommand: Command = {
  name: "kernel",
  usage: "probe [--helpers TYPE]",
  description:
    "Asks the kernel by trying: program types, map types, instructions, BTF, helpers; and says why not, where not.\n" +
    "Nothing is attached and nothing stays loaded. Needs the optional package koffi, and root for most answers.",
  options: {
    helpers: {
      type: "string",
      value: "TYPE",
      multiple: true,
      help: "the helpers of a program type too: xdp, kprobe, ...",
    },
  },
  examples: [
    ["skep kernel probe", "what does this kernel have?"],
    ["skep kernel probe --helpers xdp --json", "with the helpers of XDP programs, as JSON"],
  ],
  run,
};

async function run({ positionals, values, terminal, json }: Invocation): Promise<number> {
  if (positionals.length !== 1 || positionals[0] !== "probe") {
    throw new BpfError("usage", "kernel: the one thing to do is 'skep kernel probe'");
  }
  const report = await probeKernel({ helpers: typesOf(values) });
  if (json) {
    const { config: _config, ...system } = report.system;
    terminal.line(toJson({ version: JSON_VERSION, ...report, system }));
  } else show(report, terminal);
  return report.available ? 0 : 2;
}

function typesOf(values: Values): ProgramType[] {
  const given = Array.isArray(values["helpers"]) ? (values["helpers"] as string[]) : [];
  return given.map((name) => {
    const found = PROGRAM_TYPES.find((row) => row.name === name);
    if (found !== undefined) return found.name;
    const guess = nearest(
      name,
      PROGRAM_TYPES.map((row) => row.name),
    );
    throw new BpfError(
      "usage",
      `--helpers: no program type '${name}'${guess === undefined ? "" : `; did you mean '${guess}'?`}`,
    );
  });
}

function show({ available, reason, system, groups }: KernelProbe, { line, note, style }: Terminal): void {
  line(
    `${style("bold", `Linux ${system.release}`)} (${system.architecture})${system.root ? ", as root" : ""}`,
  );
  const btf = system.btfSize === undefined ? "none" : `${(system.btfSize / 1e6).toFixed(1)} MB`;
  line(`kernel BTF: ${btf}; JIT: ${system.jit.enable === 0 ? "off" : "on"}`);
  if (!available) note(`skep: ${reason}`);
  for (const { title, features } of groups) {
    const supported = features.filter((row) => row.supported);
    line();
    line(style("bold", `${title}: ${supported.length} of ${features.length}`));
    const width = Math.max(...features.map(({ name }) => name.length));
    for (const feature of features)
      line(`  ${mark(feature, style)} ${feature.name.padEnd(width)}  ${remark(feature)}`.trimEnd());
  }
}

const mark = ({ supported }: Feature, style: Terminal["style"]): string =>
  supported ? style("green", "yes") : style("red", "no ");

function remark({ supported, reason, testRun }: Feature): string {
  if (!supported) return reason ?? "";
  return testRun === false ? "no test run" : "";
}
