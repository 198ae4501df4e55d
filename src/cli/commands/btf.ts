import { formatC, formatRaw } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import { openBtf } from "../btf-file.ts";
import { type Command, type Invocation, text } from "../command.ts";
import { JSON_VERSION, toJson } from "../json.ts";

const FORMATS = ["raw", "c"] as const;

export const btfCommand: Command = {
  name: "btf",
  usage: "dump [file] FILE [format c|raw] [id N]",
  description:
    "Prints types in bpftool's words. FILE is an ELF object with a .BTF section, or bare BTF such as\n" +
    "/sys/kernel/btf/vmlinux. Format raw (the default) is one paragraph a type; format c is a header that compiles to the\n" +
    "same layout. With id N only that type is printed, in C with all that it needs.",
  options: {
    "base-btf": {
      type: "string",
      short: "B",
      value: "FILE",
      help: "the types that FILE builds on (kernel modules; theirs are /sys/kernel/btf/vmlinux unless said otherwise)",
    },
    "enum-sizes": {
      type: "boolean",
      help: "format c: attributes that keep enums of 1 and 8 bytes at their size",
    },
  },
  examples: [
    ["skep btf dump firewall.bpf.o", "every type of an object"],
    ["skep btf dump /sys/kernel/btf/vmlinux format c > vmlinux.h", "the running kernel's types as a header"],
    ["skep btf dump /sys/kernel/btf/tun format raw -B /sys/kernel/btf/vmlinux", "types of a kernel module"],
  ],
  run,
};

async function run({ positionals, values, terminal, json }: Invocation): Promise<number> {
  const { path, format, id } = parseWords(positionals);
  const btf = await openBtf(path, text(values, "base-btf"));
  if (id !== undefined && id >= btf.count) {
    throw new BpfError("usage", `${path}: type ${id} does not exist (there are ${btf.count})`);
  }
  if (json) {
    const from = id ?? btf.firstId;
    const types = [];
    for (let at = from; at < (id === undefined ? btf.count : id + 1); at++) types.push(btf.type(at));
    terminal.line(toJson({ version: JSON_VERSION, file: path, littleEndian: btf.littleEndian, types }));
    return 0;
  }
  if (format === "raw") terminal.write(formatRaw(btf, id === undefined ? {} : { ids: [id] }));
  else {
    const enumSizes = values["enum-sizes"] === true;
    terminal.write(formatC(btf, { enumSizes, ...(id === undefined ? {} : { roots: [id] }) }));
  }
  return 0;
}

interface Request {
  readonly path: string;
  readonly format: (typeof FORMATS)[number];
  readonly id: number | undefined;
}

/** `dump [file] FILE [format c|raw] [id N]`, in bpftool's order or any other. */
function parseWords(words: readonly string[]): Request {
  const see = "see 'skep btf --help'";
  const [action, ...rest] = words;
  if (action !== "dump") {
    throw new BpfError(
      "usage",
      `btf: ${action === undefined ? "say what to do" : `no action '${action}'`}: dump; ${see}`,
    );
  }
  if (rest[0] === "file" && rest.length > 1) rest.shift();
  const path = rest.shift();
  if (path === undefined) throw new BpfError("usage", `btf dump: a file is missing; ${see}`);
  let format: Request["format"] = "raw";
  let id: number | undefined;
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const value = rest.shift();
    if (word === "format") {
      const found = FORMATS.find((row) => row === value);
      if (found === undefined)
        throw new BpfError("usage", `btf dump: format '${value ?? ""}' is none of ${FORMATS.join(", ")}`);
      format = found;
    } else if (word === "id" || word === "root_id") {
      if (value === undefined || !/^\d{1,9}$/.test(value))
        throw new BpfError("usage", `btf dump: ${word}: expected a number, not '${value ?? ""}'`);
      id = Number(value);
    } else throw new BpfError("usage", `btf dump: '${word}' has no meaning here; ${see}`);
  }
  return { path, format, id };
}
