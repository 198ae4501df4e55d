import { type Assembly, assemble, formatInstruction, parseDialect } from "../../asm/index.ts";
import {
  RELOCATION_TYPES,
  SECTION_TYPES,
  SYMBOL_BINDINGS,
  SYMBOL_TYPES,
  type SymbolSource,
  writeElf,
} from "../../elf/index.ts";
import { BpfError } from "../../errors.ts";
import { type Instruction, encodeInstructions, isWide } from "../../isa/index.ts";
import { type Command, type Invocation, choice, onlyPositional, text } from "../command.ts";
import { checkOutput, readInput, writeOutput } from "../files.ts";
import { JSON_VERSION, hex, toJson } from "../json.ts";
import { OUTPUT, isTerminal } from "../standard.ts";

const FORMATS = ["elf", "hex", "c"] as const;
type Format = (typeof FORMATS)[number];

/** Where instructions go that no `.section` directive puts elsewhere. */
const DEFAULT_SECTION = ".text";

export const asmCommand: Command = {
  name: "asm",
  usage: "FILE [-o OUT]",
  description:
    "Assembles BPF assembly, in the dialect of the kernel and LLVM or in that of RFC 9669 and uBPF. Without -o the\n" +
    "program is printed as hex digits. Errors name line and column.",
  options: {
    dialect: { type: "string", value: "llvm|rfc", help: "r1 += 5 (llvm, the default) or add %r1, 5 (rfc)" },
    format: {
      type: "string",
      value: "elf|hex|c",
      help: "default: elf with -o, hex without; c is an array of struct bpf_insn",
    },
    output: { type: "string", short: "o", value: "FILE", help: "the file to write" },
    section: {
      type: "string",
      value: "NAME",
      help: "elf: the section of code outside .section (default .text)",
    },
    "big-endian": { type: "boolean", help: "for a big-endian machine" },
  },
  examples: [
    ["skep asm pass.s -o pass.o --section xdp", "an object that skep run can load"],
    ["skep asm pass.s --dialect rfc", "hex digits on standard output"],
    ["printf 'r0 = 2\\nexit\\n' | skep asm - | skep exec", "prints 2"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "asm", "a source file");
  const dialect = parseDialect(text(values, "dialect") ?? "llvm");
  const output = text(values, "output");
  const format = choice<Format>(values, "format", FORMATS) ?? (output === undefined ? "hex" : "elf");
  const littleEndian = values["big-endian"] !== true;
  if (format === "elf" && output === undefined && isTerminal(OUTPUT)) {
    throw new BpfError("usage", "asm: an object is no text for a terminal: give -o FILE");
  }
  checkOutput(output, [path]);
  const source = new TextDecoder().decode(await readInput(path));
  const assembly = assembleFile(source, path, { dialect, littleEndian, relocatable: format === "elf" });
  if (assembly.instructions.length === 0 && assembly.sections.every(({ size }) => size === 0)) {
    throw new BpfError("asm", `${path}: there are no instructions in it`, { where: { file: path } });
  }
  if (json) {
    const labels = Object.fromEntries(assembly.labels);
    const bytes = encodeInstructions(assembly.instructions, { littleEndian });
    if (output !== undefined)
      writeOutput(output, render(assembly, format, littleEndian, values["section"], dialect));
    terminal.line(
      toJson({
        version: JSON_VERSION,
        file: path,
        instructions: assembly.instructions,
        labels,
        hex: hex(bytes),
      }),
    );
    return 0;
  }
  writeOutput(output ?? "-", render(assembly, format, littleEndian, values["section"], dialect));
  return 0;
}

function assembleFile(source: string, path: string, options: Parameters<typeof assemble>[1]): Assembly {
  try {
    return assemble(source, options);
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    const message = error.message
      .split("\n")
      .map((line) => `${path}: ${line}`)
      .join("\n");
    throw new BpfError(error.code, message, { where: { ...error.where, file: path }, cause: error });
  }
}

function render(
  assembly: Assembly,
  format: Format,
  littleEndian: boolean,
  section: unknown,
  dialect: ReturnType<typeof parseDialect>,
): Uint8Array {
  const encoder = new TextEncoder();
  if (format === "elf")
    return object(assembly, littleEndian, typeof section === "string" ? section : DEFAULT_SECTION);
  const { instructions } = assembly;
  if (format === "hex") return encoder.encode(`${hex(encodeInstructions(instructions, { littleEndian }))}\n`);
  return encoder.encode(cArray(instructions, dialect));
}

function cArray(instructions: readonly Instruction[], dialect: ReturnType<typeof parseDialect>): string {
  const rows = instructions.map((instruction, slot) => {
    const { opcode, dst, src, offset, imm } = instruction;
    const previous = instructions[slot - 1];
    const second = previous !== undefined && isWide(previous);
    const comment = second
      ? ""
      : ` /* ${formatInstruction(instruction, instructions[slot + 1], { dialect })} */`;
    // INT32_MIN has no literal of type int in C.
    const constant = imm === -0x80000000 ? "-2147483647 - 1" : String(imm);
    return `\t{ .code = 0x${opcode.toString(16).padStart(2, "0")}, .dst_reg = ${dst}, .src_reg = ${src}, .off = ${offset}, .imm = ${constant} },${comment}`;
  });
  return ["#include <linux/bpf.h>", "", "static const struct bpf_insn program[] = {", ...rows, "};", ""].join(
    "\n",
  );
}

function object({ sections, symbols }: Assembly, littleEndian: boolean, codeSection: string): Uint8Array {
  const index = new Map(sections.map(({ name }, position) => [name, position]));
  const rename = (name: string): string => (name === DEFAULT_SECTION ? codeSection : name);
  const placed: SymbolSource[] = symbols.map(({ name, section, value, size, type, binding }) => ({
    name,
    ...(section === undefined ? {} : { section: index.get(section) ?? 0 }),
    value,
    size,
    type:
      type === "function" ? SYMBOL_TYPES.func : type === "object" ? SYMBOL_TYPES.object : SYMBOL_TYPES.notype,
    binding: SYMBOL_BINDINGS[binding],
  }));
  // A program without a symbol would have no name: one symbol for the code that has none.
  const code = sections.findIndex(({ name }) => name === DEFAULT_SECTION);
  const unnamed =
    code >= 0 && !symbols.some(({ section, type }) => section === DEFAULT_SECTION && type === "function");
  if (unnamed) {
    placed.push({
      name: "main",
      section: code,
      value: 0,
      size: sections[code]?.size ?? 0,
      type: SYMBOL_TYPES.func,
      binding: SYMBOL_BINDINGS.global,
    });
  }
  const sectionSymbols = new Map<string, number>();
  const symbolOf = (target: { symbol: string } | { section: string }): number => {
    if ("symbol" in target) return placed.findIndex(({ name }) => name === target.symbol);
    let at = sectionSymbols.get(target.section);
    if (at === undefined) {
      at = placed.length;
      placed.push({
        name: "",
        section: index.get(target.section) ?? 0,
        value: 0,
        size: 0,
        type: SYMBOL_TYPES.section,
        binding: SYMBOL_BINDINGS.local,
      });
      sectionSymbols.set(target.section, at);
    }
    return at;
  };
  const relocations = sections.flatMap(({ relocations: rows }, section) =>
    rows.map(({ offset, type, target }) => ({
      section,
      offset,
      type: RELOCATION_TYPES.find(({ name }) => name === type)?.id ?? 0,
      symbol: symbolOf(target),
    })),
  );
  return writeElf({
    sections: sections.map(({ name, bytes, flags, align, nobits, size }) => ({
      name: rename(name),
      data: nobits ? new Uint8Array(size) : bytes,
      flags,
      alignment: align,
      type: nobits ? SECTION_TYPES.nobits : SECTION_TYPES.progbits,
    })),
    symbols: placed,
    relocations,
    littleEndian,
  });
}
