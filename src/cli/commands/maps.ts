import { BpfError } from "../../errors.ts";
import { listMapTypes, mapTypesMarkdown } from "../../machine/index.ts";
import type { Command, Invocation } from "../command.ts";
import { JSON_VERSION, toJson } from "../json.ts";

export const mapsCommand: Command = {
  name: "maps",
  usage: "--types [NAME]",
  description:
    "Lists the map types of Linux 6.18: id, name, whether they are whole here, what helpers programs have for them. With NAME those whose\n" +
    "name contains it, with sizes, flags and fields that they take. Exit status 2 if there are none. The maps of an object are in\n" +
    "`skep dump OBJECT`, their contents after a run in `skep run`.",
  options: {
    types: { type: "boolean", help: "the types; there is nothing else to list" },
    markdown: { type: "boolean", help: "print the table as docs/map-types.md has it" },
  },
  examples: [
    ["skep maps --types", "all of them"],
    ["skep maps --types ringbuf", "what ring buffers take"],
    ["skep maps --types --json", "the same as JSON"],
  ],
  run,
};

async function run({ values, positionals, terminal, json }: Invocation): Promise<number> {
  if (values["types"] !== true) {
    throw new BpfError(
      "usage",
      "maps: say --types for the map types; the maps of an object are in skep dump",
    );
  }
  if (values["markdown"] === true) {
    terminal.write(mapTypesMarkdown());
    return 0;
  }
  const wanted = (positionals[0] ?? "").toLowerCase().replace(/^bpf_map_type_/, "");
  const types = listMapTypes().filter(({ name }) => name.includes(wanted));
  if (types.length === 0) throw new BpfError("usage", `maps: Linux 6.18 has no map type '${wanted}'`);
  if (json) {
    terminal.write(`${toJson({ version: JSON_VERSION, types })}\n`);
    return 0;
  }
  for (const type of types) {
    const { id, name, status, programs } = type;
    terminal.write(
      `${String(id).padStart(3)}  ${name.padEnd(22)} ${status === "yes" ? "" : `(${status}) `}${programs.join(", ")}\n`,
    );
    if (positionals.length === 0) continue;
    const must = type.needs.length === 0 ? "" : `; must have ${type.needs.join(" ")}`;
    terminal.write(`     key ${type.key}, value ${type.value}, max_entries ${type.entries}\n`);
    terminal.write(`     flags ${type.flags.join(" ") || "none"}${must}\n`);
    terminal.write(`     fields ${type.fields.join(" ") || "none"}\n`);
    terminal.write(
      `     host ${type.host.join(", ") || "single elements"}${type.sleepable ? "; sleepable programs" : ""}\n`,
    );
  }
  return 0;
}
