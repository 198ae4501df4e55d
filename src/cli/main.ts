/** The `skep` command: finds the subcommand, and turns every error into one sentence and an exit status. */
import { BpfError } from "../errors.ts";
import { type Command, COMMON_OPTIONS, helpOf, parseCommandLine } from "./command.ts";
import { asmCommand } from "./commands/asm.ts";
import { disasmCommand } from "./commands/disasm.ts";
import { dumpCommand } from "./commands/dump.ts";
import { execCommand } from "./commands/exec.ts";
import { kernelCommand } from "./commands/kernel.ts";
import { runCommand } from "./commands/run.ts";
import { verifyCommand } from "./commands/verify.ts";
import { JSON_VERSION, toJson } from "./json.ts";
import { nearest } from "./nearest.ts";
import { type Terminal, processTerminal } from "./terminal.ts";
import { VERSION } from "../version.ts";

const COMMANDS: readonly Command[] = [
  runCommand,
  verifyCommand,
  dumpCommand,
  asmCommand,
  disasmCommand,
  execCommand,
  kernelCommand,
];

/** Runs a command line; returns the exit status: 0 done, 1 rejected or failed check, 2 wrong usage or unreadable input. */
export async function main(args: readonly string[], terminal: Terminal = processTerminal()): Promise<number> {
  const [name, ...rest] = args;
  const json = rest.includes("--json");
  try {
    if (name === undefined || name === "--help" || name === "-h" || name === "help") {
      const topic = name === "help" ? COMMANDS.find((row) => row.name === rest[0]) : undefined;
      terminal.write(topic === undefined ? overview(terminal) : helpOf(topic, terminal));
      return name === undefined ? 2 : 0;
    }
    if (name === "--version" || name === "-V") {
      terminal.line(VERSION);
      return 0;
    }
    const command = COMMANDS.find((row) => row.name === name);
    if (command === undefined) {
      const guess = nearest(
        name,
        COMMANDS.map((row) => row.name),
      );
      const hint = guess === undefined ? "see 'skep --help'" : `did you mean 'skep ${guess}'?`;
      throw new BpfError("usage", `no command '${name}'; ${hint}`);
    }
    // Before parsing: help must be had whatever else is wrong.
    if (rest.includes("--help") || rest.includes("-h")) {
      terminal.write(helpOf(command, terminal));
      return 0;
    }
    const { values, positionals } = parseCommandLine(command, rest);
    return await command.run({ values, positionals, terminal, json });
  } catch (error) {
    return report(error, terminal, json, rest.includes("--debug"));
  }
}

/** Returns the exit status: a program that was stopped is a failed check, everything else wrong input. */
function report(error: unknown, terminal: Terminal, json: boolean, debug: boolean): number {
  // What is not a BpfError is a fault of ours: say so in one line, with the trace on request.
  const known =
    error instanceof BpfError
      ? error
      : new BpfError(
          "unsupported",
          `internal error: ${error instanceof Error ? error.message : String(error)}`,
          {
            cause: error,
          },
        );
  if (json) terminal.line(toJson({ version: JSON_VERSION, error: known.toJSON() }));
  else terminal.note(`skep: ${known.message}`);
  if (debug && error instanceof Error) terminal.note(error.stack ?? "");
  return known.code === "fault" || known.code === "fuel" ? 1 : 2;
}

function overview({ style }: Terminal): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length)) + 2;
  return [
    `${style("bold", "skep")} ${VERSION}: BPF for JavaScript. Runs, reads and explains BPF programs without a kernel.`,
    "",
    `${style("bold", "Usage:")} skep COMMAND [OPTIONS] ARGUMENTS`,
    "",
    style("bold", "Commands:"),
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`),
    "",
    `Every command takes ${Object.keys(COMMON_OPTIONS)
      .map((name) => `--${name}`)
      .join(", ")}; 'skep COMMAND --help' explains it.`,
    "Exit status: 0 done, 1 rejected or failed, 2 wrong usage or unreadable input.",
    "",
  ].join("\n");
}
