import { type CoreRelocation, minimalBtf, parseBtf } from "../../btf/index.ts";
import { parseElf } from "../../elf/index.ts";
import { BpfError } from "../../errors.ts";
import { generateSkeleton, linkObjects, parseObject } from "../../object/index.ts";
import { type Command, type Invocation, text } from "../command.ts";
import { checkOutput, readInput, writeOutput } from "../files.ts";

export const genCommand: Command = {
  name: "gen",
  usage: "object OUT FILE... | skeleton FILE [name NAME] | min_core_btf IN OUT OBJECT...",
  description:
    "Makes files from object files, in bpftool's words:\n" +
    "  object        links object files into one\n" +
    "  skeleton      prints a TypeScript module that holds the object, with types for its programs, maps and variables\n" +
    "  min_core_btf  writes the part of a kernel's types (IN) that the objects ask for",
  options: {
    types: {
      type: "string",
      value: "NAME,...",
      help: "skeleton: structures of events to declare as well, besides those that a global pointer points to",
    },
  },
  examples: [
    ["skep gen object app.bpf.o main.bpf.o maps.bpf.o", "static linking"],
    ["skep gen skeleton firewall.bpf.o > firewall.ts", "a typed module"],
    ["skep gen min_core_btf /sys/kernel/btf/vmlinux min.btf app.bpf.o", "BTF to carry along"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const [what, ...rest] = invocation.positionals;
  switch (what) {
    case "object":
      return genObject(rest);
    case "skeleton":
      return genSkeleton(rest, invocation);
    case "min_core_btf":
      return genMinimal(rest);
    default:
      throw new BpfError(
        "usage",
        `gen: ${what === undefined ? "say what to make" : `'${what}' is not known`}: object, skeleton or min_core_btf; see 'skep gen --help'`,
      );
  }
}

async function genObject([out, ...paths]: readonly string[]): Promise<number> {
  if (out === undefined || paths.length === 0) throw new BpfError("usage", "gen object: wants OUT FILE...");
  checkOutput(out, paths);
  const inputs = await Promise.all(paths.map(async (name) => ({ name, bytes: await readInput(name) })));
  writeOutput(out, linkObjects(inputs));
  return 0;
}

async function genSkeleton(words: readonly string[], { values, terminal }: Invocation): Promise<number> {
  const [path, word, name, ...more] = words;
  if (
    path === undefined ||
    (word !== undefined && (word !== "name" || name === undefined)) ||
    more.length > 0
  ) {
    throw new BpfError("usage", "gen skeleton: wants FILE [name NAME]");
  }
  const bytes = await readInput(path);
  const types = text(values, "types")?.split(",") ?? [];
  const spec = parseObject(bytes, { name: path.replace(/^.*\//, "") });
  terminal.write(generateSkeleton(spec, { bytes, types, ...(name === undefined ? {} : { name }) }));
  return 0;
}

async function genMinimal([input, output, ...paths]: readonly string[]): Promise<number> {
  if (input === undefined || output === undefined || paths.length === 0) {
    throw new BpfError("usage", "gen min_core_btf: wants IN OUT OBJECT...");
  }
  checkOutput(output, [input, ...paths]);
  const target = parseBtf(btfOf(await readInput(input), input), { name: input });
  const objects = await Promise.all(
    paths.map(async (path) => {
      const spec = parseObject(await readInput(path), { name: path });
      if (spec.btf === undefined) throw new BpfError("btf", `${path}: it has no BTF; compile with -g`);
      const relocations = spec.functions.flatMap((own): readonly CoreRelocation[] => own.coreRelocations);
      return { btf: spec.btf, relocations };
    }),
  );
  writeOutput(output, minimalBtf(target, objects));
  return 0;
}

function btfOf(bytes: Uint8Array, path: string): Uint8Array {
  if (bytes[0] !== 0x7f || bytes[1] !== 0x45) return bytes;
  const elf = parseElf(bytes, { name: path });
  const section = elf.sections.find(({ name, size }) => name === ".BTF" && size > 0);
  if (section === undefined) throw new BpfError("btf", `${path}: it has no .BTF section`);
  return elf.data(section);
}
