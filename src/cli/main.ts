/** The `skep` command: finds the subcommand, and turns every error into one sentence and an exit status. */
import { BpfError } from "../errors.ts";
import { type Command, COMMON_OPTIONS, helpOf, parseCommandLine } from "./command.ts";
import { JSON_VERSION, toJson } from "./json.ts";
import { nearest } from "./nearest.ts";
import { type Terminal, processTerminal } from "./terminal.ts";
import { VERSION } from "../version.ts";

interface Entry {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  load(): Promise<Command>;
}

/** Commands are loaded when they are called: all of them together take 60 ms more to start. */
const COMMANDS: readonly Entry[] = [
  {
    name: "run",
    summary: "run a program over a capture: verdicts, maps, packets per second",
    load: async () => (await import("./commands/run.ts")).runCommand,
  },
  {
    name: "verify",
    summary: "would Linux load it, and if not, why; on which kernels",
    load: async () => (await import("./commands/verify.ts")).verifyCommand,
  },
  {
    name: "dump",
    summary: "what an object holds: programs, maps, variables, disassembly, WebAssembly",
    load: async () => (await import("./commands/dump.ts")).dumpCommand,
  },
  {
    name: "asm",
    summary: "assembly text to an object, hex digits or a C array",
    load: async () => (await import("./commands/asm.ts")).asmCommand,
  },
  {
    name: "disasm",
    summary: "instructions as text, from an object, from raw bytes or from hex digits",
    load: async () => (await import("./commands/disasm.ts")).disasmCommand,
  },
  {
    name: "btf",
    summary: "the types in an object, a kernel's BTF or a bare BTF file, as C or one by one",
    load: async () => (await import("./commands/btf.ts")).btfCommand,
  },
  {
    name: "gen",
    summary: "link objects, make a typed TypeScript module of one, or cut a kernel's BTF to what they need",
    load: async () => (await import("./commands/gen.ts")).genCommand,
  },
  {
    name: "helpers",
    summary: "helpers and kernel functions: what there is, what runs here, for which program types",
    load: async () => (await import("./commands/helpers.ts")).helpersCommand,
  },
  {
    name: "maps",
    summary: "map types: what there is, what they take, what programs do with them",
    load: async () => (await import("./commands/maps.ts")).mapsCommand,
  },
  {
    name: "compile",
    summary: "an object to one WebAssembly module with its maps that runs without skep",
    load: async () => (await import("./commands/compile.ts")).compileCommand,
  },
  {
    name: "exec",
    summary: "run bare instructions: hex in, r0 out (the plugin contract of bpf_conformance)",
    load: async () => (await import("./commands/exec.ts")).execCommand,
  },
  {
    name: "filter",
    summary: "compile a tcpdump filter expression, show it, or apply it to a capture",
    load: async () => (await import("./commands/filter.ts")).filterCommand,
  },
  {
    name: "seccomp",
    summary: "seccomp filters: compile profiles, explain, emulate, audit, disassemble",
    load: async () => (await import("./commands/seccomp.ts")).seccompCommand,
  },
  {
    name: "test",
    summary: "run tests that are BPF programs themselves (pktgen, setup, check)",
    load: async () => (await import("./commands/test.ts")).testCommand,
  },
  {
    name: "bench",
    summary: "how fast is it here: engines, native code, the kernel, maps, compile time",
    load: async () => (await import("./commands/bench.ts")).benchCommand,
  },
  {
    name: "types",
    summary: "program types: contexts, return values, inputs",
    load: async () => (await import("./commands/types.ts")).typesCommand,
  },
  {
    name: "kernel",
    summary: "what the running Linux kernel can do, and what this process may",
    load: async () => (await import("./commands/kernel.ts")).kernelCommand,
  },
];

/** Runs a command line; returns the exit status: 0 done, 1 rejected or failed check, 2 wrong usage or unreadable input. */
export async function main(args: readonly string[], terminal: Terminal = processTerminal()): Promise<number> {
  const [name, ...rest] = args;
  const json = args.includes("--json");
  try {
    if (name === undefined || name === "--help" || name === "-h" || name === "help") {
      const wanted = name === "help" ? rest.find((word) => !word.startsWith("-")) : undefined;
      const topic = wanted === undefined ? undefined : commandOf(wanted);
      terminal.write(topic === undefined ? overview(terminal) : helpOf(await topic.load(), terminal));
      return name === undefined ? 2 : 0;
    }
    if (name === "--version" || name === "-V") {
      terminal.line(VERSION);
      return 0;
    }
    const command = await commandOf(name).load();
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

/** @throws BpfError code "usage" if there is none of this name. */
function commandOf(name: string): (typeof COMMANDS)[number] {
  const entry = COMMANDS.find((row) => row.name === name);
  if (entry !== undefined) return entry;
  if (name.startsWith("-"))
    throw new BpfError("usage", `option ${name} comes behind a command; see 'skep --help'`);
  const guess = nearest(
    name,
    COMMANDS.map((row) => row.name),
  );
  const hint = guess === undefined ? "see 'skep --help'" : `did you mean 'skep ${guess}'?`;
  throw new BpfError("usage", `no command '${name}'; ${hint}`);
}

/** What says that the program is at fault, not the command line or the file. */
const FAILURES: ReadonlySet<string> = new Set(["fault", "fuel", "verifier"]);

const VERIFIER_HINT =
  "'skep verify' shows the verifier's log; '--unverified sandbox' runs the program unverified, with every access checked";

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
  else {
    terminal.note(`skep: ${known.message}`);
    if (known.code === "verifier") terminal.note(VERIFIER_HINT);
  }
  if (debug && error instanceof Error) terminal.note(error.stack ?? "");
  return FAILURES.has(known.code) ? 1 : 2;
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
