import { parseDialect } from "../../asm/index.ts";
import { sizeOf, typeName } from "../../btf/index.ts";
import { parseElf } from "../../elf/index.ts";
import { BpfError } from "../../errors.ts";
import { Machine, type Program } from "../../machine/index.ts";
import {
  type FunctionSpec,
  type MapSpec,
  type ObjectSpec,
  lineAt,
  linkProgram,
  parseObject,
  relocate,
  strictFindings,
} from "../../object/index.ts";
import { toWat } from "../../wat/index.ts";
import { type Command, type Invocation, onlyPositional, text } from "../command.ts";
import { readInput } from "../files.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { listLinked, listObject } from "../listing.ts";
import { renderValue } from "../maps.ts";
import { TARGET_OPTIONS, targetOf } from "../target.ts";
import { type Terminal, table } from "../terminal.ts";

export const dumpCommand: Command = {
  name: "dump",
  usage: "OBJECT [-p PROGRAM]",
  description:
    "Shows the programs, maps, variables and code of a BPF object. With -p one program is shown, linked with the\n" +
    "functions that it calls. Objects of both byte orders can be dumped.",
  options: {
    program: {
      type: "string",
      short: "p",
      value: "NAME",
      help: "only this program, linked with what it calls",
    },
    source: { type: "boolean", short: "S", help: "show source lines above the instructions" },
    raw: { type: "boolean", help: "show the bytes of instructions" },
    relocations: { type: "boolean", short: "r", help: "show relocations (without -p)" },
    dialect: { type: "string", value: "llvm|rfc", help: "r1 += 5 (llvm, the default) or add %r1, 5 (rfc)" },
    wat: {
      type: "boolean",
      help: "the WebAssembly text that the JIT makes of a program (with -p, or of all)",
    },
    "no-code": { type: "boolean", help: "leave the disassembly out" },
    ...TARGET_OPTIONS,
    strict: { type: "boolean", help: "only say what libbpf 1.x would refuse; exit status 1 if it would" },
  },
  examples: [
    ["skep dump firewall.bpf.o --no-code", "programs, maps and variables"],
    ["skep dump firewall.bpf.o -p firewall -S", "one program with its source lines"],
    ["skep dump firewall.bpf.o -p firewall --wat", "the WebAssembly"],
    ["skep dump execsnoop.bpf.o -p enter --btf /sys/kernel/btf/vmlinux", "a program as this kernel gets it"],
    ["skep dump old.o --strict", "does libbpf 1.x load it?"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "dump", "an object file");
  const bytes = await readInput(path);
  const spec = parseObject(bytes, { name: path });
  const name = text(values, "program");
  if (values["strict"] === true) return tellStrict(spec, path, invocation);
  if (json) {
    terminal.line(toJson(asJson(spec, path)));
    return 0;
  }
  if (values["wat"] === true) {
    await showWat(spec, name, await targetOf(values), terminal);
    return 0;
  }
  const dialect = parseDialect(text(values, "dialect") ?? "llvm");
  const options = { dialect, raw: values["raw"] === true, source: values["source"] === true };
  if (name !== undefined) {
    const linked = linkProgram(spec, name, { externs: "keep" });
    const { btf: target } = await targetOf(values);
    terminal.write(listLinked(target === undefined ? linked : relocate(linked, { target }), options));
    return 0;
  }
  showSpec(spec, terminal);
  if (values["no-code"] !== true) {
    const elf = parseElf(bytes, { name: path });
    terminal.write(
      listObject(elf, {
        ...options,
        relocations: values["relocations"] === true,
        ...(options.source ? { sourceOf: sourceFinder(spec) } : {}),
      }),
    );
  }
  return 0;
}

/** Source lines by section and slot; functions know theirs relative to their own start. */
function sourceFinder(
  spec: ObjectSpec,
): (section: string, slot: number) => { file: string; line: number; text: string } | undefined {
  const bySection = new Map<string, FunctionSpec[]>();
  for (const row of spec.functions) bySection.set(row.section, [...(bySection.get(row.section) ?? []), row]);
  return (section, slot) => {
    const found = bySection
      .get(section)
      ?.find(({ start, instructions }) => slot >= start && slot < start + instructions.length);
    const line = found === undefined ? undefined : lineAt(found.lines, slot - found.start);
    return line === undefined ? undefined : { file: line.file, line: line.line, text: line.text.trim() };
  };
}

/** What libbpf would refuse, a line each. */
function tellStrict(spec: ObjectSpec, path: string, { terminal, json }: Invocation): number {
  const findings = strictFindings(spec);
  if (json) terminal.line(toJson({ version: JSON_VERSION, object: path, findings }));
  else if (findings.length === 0) terminal.line(`${path}: nothing that libbpf 1.x refuses`);
  else for (const finding of findings) terminal.line(finding);
  return findings.length === 0 ? 0 : 1;
}

async function showWat(
  spec: ObjectSpec,
  name: string | undefined,
  target: Awaited<ReturnType<typeof targetOf>>,
  terminal: Terminal,
): Promise<void> {
  const machine = await Machine.create();
  const { programs } = await machine.load(spec, {
    ...target,
    ...(name === undefined ? {} : { programs: [name] }),
  });
  const all: readonly Program[] = Object.values(programs);
  if (all.length === 0) throw new BpfError("usage", `${spec.name}: it has no programs`);
  for (const program of all) {
    if (all.length > 1) terminal.line(`;; program ${program.name}`);
    terminal.write(toWat(program.compile().module));
  }
}

function showSpec(spec: ObjectSpec, terminal: Terminal): void {
  const { line, style } = terminal;
  const section = (title: string, rows: readonly string[]): void => {
    line();
    line(style("bold", title));
    for (const row of rows) line(`  ${row}`);
  };
  const order = spec.littleEndian ? "little-endian" : "big-endian";
  const license = spec.license === "" ? "no license" : `license ${spec.license}`;
  const btf = spec.btf === undefined ? "no BTF" : "BTF";
  line(`${style("bold", spec.name)}: ${order} BPF object, ${license}, ${btf}`);
  for (const warning of spec.warnings) line(style("yellow", `warning: ${warning}`));
  const programs = Object.values(spec.programs);
  if (programs.length > 0) {
    const rows = programs.map(({ name, section: where, type, attachTo, instructions }) => [
      name,
      where,
      type ?? "?",
      attachTo ?? "",
      String(instructions.length),
    ]);
    section(
      "Programs",
      table(["name", "section", "type", "attaches to", "instructions"], rows, { right: [4] }),
    );
  }
  const others = spec.functions.filter((row) => !programs.some((program) => program.function === row));
  if (others.length > 0) {
    const rows = others.map(({ name, section: where, linkage, instructions }) => [
      name,
      where,
      linkage,
      String(instructions.length),
    ]);
    section("Functions", table(["name", "section", "linkage", "instructions"], rows, { right: [3] }));
  }
  const maps = Object.values(spec.maps);
  if (maps.length > 0) {
    const rows = maps.map((map) => [
      map.name,
      map.type === "unknown" ? `type ${map.typeId}` : map.type,
      typed(spec, map.key, map.keySize),
      typed(spec, map.value, map.valueSize),
      String(map.maxEntries),
      map.flags === 0 ? "" : `0x${map.flags.toString(16)}`,
    ]);
    section("Maps", table(["name", "type", "key", "value", "entries", "flags"], rows, { right: [4] }));
  }
  const variables = Object.values(spec.variables);
  if (variables.length > 0) {
    const rows = variables.map((variable) => {
      const value = renderValue(variable.get());
      return [
        variable.name,
        variable.section,
        typed(spec, variable.type, variable.size),
        value.length > MAX_VALUE ? `${value.slice(0, MAX_VALUE)}...` : value,
      ];
    });
    section("Variables", table(["name", "section", "type", "value"], rows));
  }
  const externs = Object.values(spec.externs);
  if (externs.length > 0) {
    const rows = externs.map(({ name, kind, weak }) => [name, kind, weak ? "weak" : ""]);
    section("Externs", table(["name", "kind", ""], rows));
  }
}

/** Wider values would push the table off the screen; --json has all. */
const MAX_VALUE = 60;

/** The C name of a type and its size; the size alone without BTF. */
function typed({ btf }: ObjectSpec, type: number | undefined, size: number): string {
  const bytes = size === 1 ? "1 byte" : `${size} bytes`;
  if (btf === undefined || type === undefined || type === 0) return bytes;
  return `${typeName(btf, type)} (${bytes})`;
}

function asJson(spec: ObjectSpec, path: string): Record<string, unknown> {
  const { btf } = spec;
  const typeOf = (id: number | undefined): { name: string; size: number } | undefined =>
    btf === undefined || id === undefined || id === 0
      ? undefined
      : { name: typeName(btf, id), size: sizeOf(btf, id) };
  const map = ({ key, value, innerMap, contents, ...rest }: MapSpec): Record<string, unknown> => ({
    ...rest,
    keyType: typeOf(key),
    valueType: typeOf(value),
    ...(innerMap === undefined ? {} : { innerMap: map(innerMap) }),
    ...(contents === undefined ? {} : { contents }),
  });
  return {
    version: JSON_VERSION,
    object: path,
    littleEndian: spec.littleEndian,
    license: spec.license,
    kernelVersion: spec.kernelVersion,
    programs: Object.values(spec.programs).map(({ function: body, instructions, ...rest }) => ({
      ...rest,
      instructions: instructions.length,
      references: body.references,
    })),
    functions: spec.functions.map(({ name, section, start, linkage, instructions }) => ({
      name,
      section,
      start,
      linkage,
      instructions: instructions.length,
    })),
    maps: Object.values(spec.maps).map(map),
    variables: Object.values(spec.variables).map((variable) => ({
      name: variable.name,
      section: variable.section,
      map: variable.map,
      offset: variable.offset,
      size: variable.size,
      constant: variable.constant,
      type: typeOf(variable.type),
      value: variable.get(),
    })),
    externs: Object.values(spec.externs),
    warnings: spec.warnings,
  };
}
