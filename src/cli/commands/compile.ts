import { type StandaloneOptions, compileStandalone } from "../../aot/index.ts";
import { toWat } from "../../wat/index.ts";
import { BpfError } from "../../errors.ts";
import type { ObjectSpec } from "../../object/index.ts";
import { type Command, type Invocation, onlyPositional, text } from "../command.ts";
import { ENGINE_OPTIONS, machineOptions } from "../engine.ts";
import { checkOutput, writeOutput } from "../files.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { STRICT_OPTION, readObject } from "../object-file.ts";
import { TARGET_OPTIONS, targetFiles, targetOf } from "../target.ts";
import { type Terminal, table } from "../terminal.ts";

// A module has compiled programs only.
const { engine: _, ...LIMITS } = ENGINE_OPTIONS;

export const compileCommand: Command = {
  name: "compile",
  usage: "OBJECT -o OUT.wasm [-p PROGRAM]",
  description:
    "Compiles an object ahead of time: one WebAssembly module with its programs, maps and variables, which runs without\n" +
    "skep in Node.js, browsers and other hosts. docs/aot.md says what the module exports and imports.",
  options: {
    output: { type: "string", short: "o", value: "FILE", help: "the module; - is standard output" },
    program: {
      type: "string",
      short: "p",
      value: "NAME,...",
      help: "only these programs, and what they use (default: all)",
    },
    wat: { type: "boolean", help: "write the module as text" },
    ...LIMITS,
    ...TARGET_OPTIONS,
    ...STRICT_OPTION,
  },
  examples: [
    ["skep compile firewall.bpf.o -o firewall.wasm", "a module for any WebAssembly host"],
    ["skep compile firewall.bpf.o -o firewall.wasm --unverified sandbox", "with every access checked"],
    ["skep compile firewall.bpf.o -p firewall --wat -o -", "look at it"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "compile", "an object file");
  const output = text(values, "output");
  if (output === undefined) throw new BpfError("usage", "compile: say where to: -o FILE");
  if (json && output === "-")
    throw new BpfError("usage", "compile: --json needs a file for the module: -o FILE");
  checkOutput(output, [path, ...targetFiles(values)]);
  const { fuel, unverified } = machineOptions(values);
  const names = text(values, "program")?.split(",");
  const object = await readObject(path, values);
  const options: StandaloneOptions = {
    ...(fuel === undefined ? {} : { fuel }),
    ...(unverified === undefined ? {} : { unverified }),
    ...(await targetOf(values)),
    ...(names === undefined ? {} : { programs: names }),
  };
  const { bytes, manifest } = await compileStandalone(object, options).catch(async (error: unknown) => {
    if (error instanceof BpfError && names === undefined) await suggest(object, options, error, terminal);
    throw error;
  });
  const content = values["wat"] === true ? new TextEncoder().encode(toWat(bytes)) : bytes;
  writeOutput(output, content);
  if (json) {
    terminal.line(toJson({ version: JSON_VERSION, object: path, output, size: content.length, ...manifest }));
    return 0;
  }
  if (output === "-") return 0;
  terminal.note(`${output}: ${content.length} bytes`);
  const rows = [
    ...manifest.programs.map(({ name, type }, index) => ["program", String(index), name, type]),
    ...manifest.maps.map(({ name, type }, index) => ["map", String(index), name, type]),
    ...manifest.imports.map(({ name, params, results }) => [
      "import",
      "",
      `host.${name}`,
      `(${params.join(", ")}) -> ${results.join(", ") || "nothing"}`,
    ]),
  ];
  for (const line of table(["", "index", "name", "type"], rows)) terminal.note(line);
  return 0;
}

/**
 * Nothing is compiled if a program of the object cannot be, since a module that silently lacks one would be found out late. Says which
 * of the programs can.
 */
async function suggest(
  object: ObjectSpec,
  options: StandaloneOptions,
  { where }: BpfError,
  { note }: Terminal,
): Promise<void> {
  const all = Object.keys(object.programs);
  if (where?.program === undefined || all.length < 2) return;
  const fine: string[] = [];
  for (const name of all) {
    if (name === where.program) continue;
    try {
      await compileStandalone(object, { ...options, programs: [name] });
      fine.push(name);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
    }
  }
  note(
    fine.length === 0
      ? "compile: nothing is written; no program of the object compiles"
      : `compile: nothing is written; ${fine.length} of ${all.length} programs would compile: -p ${fine.join(",")}`,
  );
}
