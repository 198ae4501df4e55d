import { BpfError } from "../../errors.ts";
import { KernelMachine, type KernelVerdict } from "../../kernel/index.ts";
import { Machine } from "../../machine/index.ts";
import type { ObjectSpec } from "../../object/index.ts";
import { type Command, type Invocation, onlyPositional, text } from "../command.ts";
import { STRICT_OPTION, readObject } from "../object-file.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { TARGET_OPTIONS, targetOf } from "../target.ts";
import type { Terminal } from "../terminal.ts";

export const verifyCommand: Command = {
  name: "verify",
  usage: "OBJECT [-p PROGRAM] [--kernel]",
  description:
    "Checks the structure of programs: instructions, jumps, calls, helpers. skep has no verifier of its own yet; with\n" +
    "--kernel the running kernel's verifier says what it thinks, and nothing stays loaded. Exit status 1 if a program is\n" +
    "rejected.",
  options: {
    program: { type: "string", short: "p", value: "NAME", help: "only this program" },
    ...TARGET_OPTIONS,
    ...STRICT_OPTION,
    kernel: { type: "boolean", help: "ask the kernel's verifier too (needs root and the package koffi)" },
    verbose: {
      type: "boolean",
      short: "v",
      help: "show the kernel's log (level 2) of accepted programs too",
    },
  },
  examples: [
    ["skep verify firewall.bpf.o", "is the structure sound?"],
    ["sudo skep verify firewall.bpf.o --kernel", "and does the kernel take it?"],
  ],
  run,
};

interface Row {
  readonly program: string;
  readonly section: string;
  /** Of the structural check. */
  readonly structure: { readonly accepted: boolean; readonly error?: BpfError };
  readonly kernel?: KernelVerdict;
}

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "verify", "an object file");
  const spec = await readObject(path, values);
  const target = await targetOf(values);
  const name = text(values, "program");
  const names = name === undefined ? Object.keys(spec.programs) : [name];
  if (names.length === 0) throw new BpfError("usage", `${path}: it has no programs`);
  if (name !== undefined && spec.programs[name] === undefined) {
    throw new BpfError(
      "usage",
      `${path}: no program '${name}'; it has ${Object.keys(spec.programs).join(", ")}`,
    );
  }
  const verbose = values["verbose"] === true;
  const kernel = values["kernel"] === true ? await KernelMachine.create() : undefined;
  const rows: Row[] = [];
  try {
    for (const program of names) {
      const verdict = kernel?.verify(spec, program, { logLevel: verbose ? 2 : 1 });
      // No privilege is no verdict.
      if (verdict?.error?.errno === "EPERM" && verdict.log === "") throw verdict.error;
      rows.push({
        program,
        section: spec.programs[program]?.section ?? "",
        structure: await structureOf(spec, program, target),
        ...(verdict === undefined ? {} : { kernel: verdict }),
      });
    }
  } finally {
    kernel?.close();
  }
  if (json)
    terminal.line(
      toJson({ version: JSON_VERSION, object: path, verified: false, programs: rows.map(asJson) }),
    );
  else for (const row of rows) show(row, terminal, verbose);
  return rows.every(({ structure, kernel: verdict }) => structure.accepted && verdict?.accepted !== false)
    ? 0
    : 1;
}

async function structureOf(
  spec: ObjectSpec,
  program: string,
  target: Awaited<ReturnType<typeof targetOf>>,
): Promise<Row["structure"]> {
  try {
    const machine = await Machine.create();
    await machine.load(spec, { programs: [program], ...target });
    return { accepted: true };
  } catch (error) {
    if (error instanceof BpfError) return { accepted: false, error };
    throw error;
  }
}

function asJson({ program, section, structure, kernel }: Row): Record<string, unknown> {
  return {
    program,
    section,
    structure: { accepted: structure.accepted, error: structure.error?.toJSON() },
    ...(kernel === undefined
      ? {}
      : { kernel: { accepted: kernel.accepted, log: kernel.log, error: kernel.error?.toJSON() } }),
  };
}

function show(
  { program, section, structure, kernel }: Row,
  { line, style }: Terminal,
  verbose: boolean,
): void {
  line(`${style("bold", program)}  ${section}`);
  line(
    structure.accepted
      ? `  structure: ${style("green", "sound")} (no verifier of skep's own yet)`
      : `  structure: ${style("red", "rejected")}: ${structure.error?.message}`,
  );
  if (kernel === undefined) return;
  line(
    kernel.accepted
      ? `  kernel:    ${style("green", "accepted")}`
      : `  kernel:    ${style("red", "rejected")}: ${kernel.error?.message}`,
  );
  if (kernel.log !== "" && (verbose || !kernel.accepted)) {
    for (const text of kernel.log.trimEnd().split("\n")) line(`    ${text}`);
  }
}
