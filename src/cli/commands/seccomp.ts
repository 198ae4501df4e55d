import {
  type CbpfInstruction,
  formatCbpfC,
  formatCbpfListing,
  formatCbpfNumbers,
  parseCbpfListing,
  parseCbpfNumbers,
} from "../../cbpf/index.ts";
import { BpfError } from "../../errors.ts";
import {
  auditSeccomp,
  compileProfile,
  disassembleSeccomp,
  emulateSeccomp,
  explainSeccomp,
  formatExplanation,
} from "../../seccomp/index.ts";
import { type Command, type Invocation, type Values, choice, text } from "../command.ts";
import { checkOutput, readInput, writeOutput } from "../files.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { nearest } from "../nearest.ts";

const FORMATS = ["raw", "listing", "numbers", "c"] as const;
const SUBCOMMANDS = ["compile", "explain", "emulate", "audit", "disasm"] as const;

/** Bytes of a struct sock_filter. */
const SLOT = 8;

export const seccompCommand: Command = {
  name: "seccomp",
  usage: "compile|explain|emulate|audit|disasm FILE [SYSCALL [ARGUMENT...]]",
  description:
    "compile   a Docker or OCI profile (JSON) to a filter\n" +
    "explain   which calls a filter allows, refuses, kills\n" +
    "emulate   what it answers to one call\n" +
    "audit     known holes: no check of the architecture, x32, powerful calls\n" +
    "disasm    its instructions, with the names of calls and arguments\n\n" +
    "Filters are read as bytes (struct sock_filter), as tcpdump -d text or as -ddd numbers; profiles are compiled first.",
  options: {
    arch: { type: "string", value: "NAME", help: "x86_64 (default), i386, aarch64, riscv64, s390x, ..." },
    cap: {
      type: "string",
      value: "NAME",
      multiple: true,
      help: "compile: a capability that the container has (CAP_SYS_ADMIN)",
    },
    format: {
      type: "string",
      value: FORMATS.join("|"),
      help: "compile: the form of the filter (default listing, with -o raw)",
    },
    output: { type: "string", short: "o", value: "FILE", help: "compile: the file to write" },
  },
  examples: [
    ["skep seccomp compile default.json -o filter.bpf", "a Docker profile as a filter"],
    ["skep seccomp explain filter.bpf", "what it allows"],
    ["skep seccomp emulate filter.bpf socket 40 1 0", "may a process open an AF_VSOCK socket?"],
  ],
  run,
};

async function run({ positionals, values, terminal, json }: Invocation): Promise<number> {
  const [word, path, ...rest] = positionals;
  const action = SUBCOMMANDS.find((name) => name === word);
  if (action === undefined) {
    const guess = word === undefined ? undefined : nearest(word, SUBCOMMANDS);
    const hint = guess === undefined ? `one of ${SUBCOMMANDS.join(", ")} is` : `'${guess}' may be`;
    throw new BpfError("usage", `seccomp: ${hint} what is meant; see 'skep seccomp --help'`);
  }
  if (path === undefined) throw new BpfError("usage", `seccomp ${action}: a file is missing`);
  if (rest.length > 0 && action !== "emulate") {
    throw new BpfError("usage", `seccomp ${action}: one file at a time, also given: ${rest.join(" ")}`);
  }
  const arch = text(values, "arch");
  const { program, warnings } = await readProgram(path, values);
  for (const warning of warnings) if (!json) terminal.note(`skep: warning: ${warning}`);
  const answer = (value: object): void =>
    terminal.line(toJson({ version: JSON_VERSION, file: path, ...value }));
  switch (action) {
    case "compile": {
      const output = text(values, "output");
      checkOutput(output, [path]);
      const format = choice(values, "format", FORMATS) ?? (output === undefined ? "listing" : "raw");
      if (json) answer({ instructions: program, warnings });
      if (output !== undefined || !json) writeOutput(output ?? "-", render(program, format));
      return 0;
    }
    case "explain": {
      const explanation = explainSeccomp(program, arch === undefined ? undefined : [arch]);
      if (json) answer(explanation);
      else terminal.write(endLine(formatExplanation(explanation)));
      return 0;
    }
    case "emulate": {
      const [call, ...args] = rest;
      if (call === undefined)
        throw new BpfError("usage", "seccomp emulate: the name or number of a call is missing");
      const syscall = /^\d+$/.test(call) ? Number(call) : call;
      const result = emulateSeccomp(program, { arch, syscall, args: args.map(argument) });
      if (json) answer(result);
      else
        terminal.line(
          `${result.name ?? "call"} (${result.number}): ${result.text}, after ${result.steps} instructions`,
        );
      return 0;
    }
    case "audit": {
      const findings = auditSeccomp(program, arch);
      if (json) answer({ findings });
      else if (findings.length === 0) terminal.line("no known hole found");
      else for (const { severity, message } of findings) terminal.line(`${severity}: ${message}`);
      return findings.length === 0 ? 0 : 1;
    }
    default:
      if (json) answer({ instructions: program });
      else terminal.write(endLine(disassembleSeccomp(program, arch)));
      return 0;
  }
}

const endLine = (listing: string): string => (listing.endsWith("\n") ? listing : `${listing}\n`);

function argument(value: string): bigint {
  if (/^(0x[0-9a-fA-F]+|\d+)$/.test(value)) return BigInt(value);
  throw new BpfError("usage", `seccomp emulate: argument '${value}' is no number`);
}

async function readProgram(
  path: string,
  values: Values,
): Promise<{ program: readonly CbpfInstruction[]; warnings: readonly string[] }> {
  const bytes = await readInput(path);
  const contents = new TextDecoder("latin1").decode(bytes);
  try {
    if (/^\s*\{/.test(contents)) {
      const capabilities = Array.isArray(values["cap"]) ? (values["cap"] as string[]) : [];
      const { cbpf, warnings } = compileProfile(new TextDecoder().decode(bytes), {
        arch: text(values, "arch"),
        capabilities,
      });
      return { program: cbpf, warnings };
    }
    if (/^\s*\(\d+\)/.test(contents)) return { program: parseCbpfListing(contents), warnings: [] };
    if (/^[\d\s]+$/.test(contents) && contents.trim() !== "")
      return { program: parseCbpfNumbers(contents), warnings: [] };
    return { program: decode(bytes), warnings: [] };
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    throw new BpfError(error.code, `${path}: ${error.message}`, {
      where: { ...error.where, file: path },
      cause: error,
    });
  }
}

/** struct sock_filter: code, jt, jf, k, little-endian. */
function decode(bytes: Uint8Array): CbpfInstruction[] {
  if (bytes.length === 0 || bytes.length % SLOT !== 0) {
    throw new BpfError(
      "instruction",
      `${bytes.length} bytes are no whole number of 8-byte classic instructions`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / SLOT }, (_, index) => ({
    code: view.getUint16(index * SLOT, true),
    jt: view.getUint8(index * SLOT + 2),
    jf: view.getUint8(index * SLOT + 3),
    k: view.getUint32(index * SLOT + 4, true),
  }));
}

function render(program: readonly CbpfInstruction[], format: (typeof FORMATS)[number]): Uint8Array {
  if (format !== "raw") {
    const print = { listing: formatCbpfListing, numbers: formatCbpfNumbers, c: formatCbpfC }[format];
    return new TextEncoder().encode(endLine(print(program)));
  }
  const bytes = new Uint8Array(program.length * SLOT);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, index) => {
    view.setUint16(index * SLOT, code, true);
    view.setUint8(index * SLOT + 2, jt);
    view.setUint8(index * SLOT + 3, jf);
    view.setUint32(index * SLOT + 4, k, true);
  });
  return bytes;
}
