import { BpfError } from "../../errors.ts";
import { decodeInstructions } from "../../isa/index.ts";
import { Machine, type Program, type Unverified } from "../../machine/index.ts";
import { parseObject } from "../../object/index.ts";
import { type Command, type Invocation, text } from "../command.ts";
import { ENGINE_OPTIONS, machineOptions } from "../engine.ts";
import { readInput } from "../files.ts";
import { JSON_VERSION, toJson } from "../json.ts";

export const execCommand: Command = {
  name: "exec",
  usage: '["MEMORY"] < PROGRAM',
  description:
    "Reads a program as hex digits from standard input and runs it. r1 holds the address of the memory that is given\n" +
    "as hex digits, r2 its length; without memory both are 0. Prints r0 as hex digits.",
  options: {
    ...ENGINE_OPTIONS,
    elf: {
      type: "boolean",
      help: "the hex digits are an ELF object; its first program is run",
    },
    program: { type: "string", value: "HEX|-", help: "the program, if not from standard input" },
  },
  examples: [
    ["echo 'b7 00 00 00 2a 00 00 00 95 00 00 00 00 00 00 00' | skep exec", "prints 2a"],
    ['skep exec "01 02 03 04" --engine interp < program.hex', "with four bytes of memory"],
  ],
  run,
};

async function run({ positionals, values, terminal, json }: Invocation): Promise<number> {
  if (positionals.length > 1)
    throw new BpfError("usage", `exec: one memory argument at most, not ${positionals.length}`);
  const memory = parseHex(positionals[0] ?? "", "memory");
  const given = text(values, "program");
  const digits =
    given === undefined || given === "-" ? new TextDecoder().decode(await readInput("-")) : given;
  const bytes = parseHex(digits, "program");
  // What comes as digits is the caller's own: nothing here says what type of program it is.
  const { unverified = "trusted", ...limits } = machineOptions(values);
  const machine = await Machine.create({ ...limits, unverified });
  const program =
    values["elf"] === true
      ? await loadElf(machine, bytes, unverified)
      : machine.loadInstructions(decodeInstructions(bytes));
  let address = 0;
  if (memory.length > 0) {
    address = machine.memory.alloc(memory.length, "memory");
    machine.memory.write(address, memory);
    machine.regions.add({ kind: "memory", label: "memory", address, size: memory.length });
  }
  const result = program.call(address, memory.length);
  terminal.line(
    json
      ? toJson({ version: JSON_VERSION, engine: machine.engine, r0: result.toString(16) })
      : result.toString(16),
  );
  return 0;
}

/** The first program; bpf_conformance puts its only one into `.text`. */
async function loadElf(machine: Machine, bytes: Uint8Array, unverified: Unverified): Promise<Program> {
  const spec = parseObject(bytes, { name: "program" });
  const [name] = Object.keys(spec.programs);
  if (name === undefined) throw new BpfError("object", "program: the object has no programs");
  const { programs } = await machine.load(spec, { programs: [name], unverified });
  return programs[name] as Program;
}

function parseHex(text: string, what: string): Uint8Array {
  const digits = text.replaceAll(/\s+|0x/g, "");
  const wrong = /[^0-9a-fA-F]/.exec(digits);
  if (wrong !== null) throw new BpfError("usage", `${what}: '${wrong[0]}' is no hex digit`);
  if (digits.length % 2 !== 0)
    throw new BpfError("usage", `${what}: ${digits.length} hex digits are no whole bytes`);
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) =>
    Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16),
  );
}
