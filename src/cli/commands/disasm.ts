import { type LlvmCpu, disassemble, disassembleLines, parseDialect } from "../../asm/index.ts";
import { parseElf } from "../../elf/index.ts";
import { BpfError } from "../../errors.ts";
import { checkInstructions, decodeInstructions } from "../../isa/index.ts";
import { type Command, type Invocation, choice, onlyPositional, text } from "../command.ts";
import { readInput } from "../files.ts";
import { JSON_VERSION, toJson } from "../json.ts";
import { codeSections, listObject } from "../listing.ts";

const CPUS: readonly LlvmCpu[] = ["generic", "v1", "v2", "v3", "v4"];

/** Not one of LLVM's: every instruction that Linux has, in text that assembles back to it. */
const ANY = "any";

export const disasmCommand: Command = {
  name: "disasm",
  usage: "FILE",
  description:
    "Disassembles the code of an ELF object as llvm-objdump -d does, or a bare program that is given as raw bytes or as\n" +
    "hex digits. The file's kind is found by looking at it; - is standard input.",
  options: {
    dialect: { type: "string", value: "llvm|rfc", help: "r1 += 5 (llvm, the default) or add %r1, 5 (rfc)" },
    raw: { type: "boolean", help: "show the bytes too" },
    relocations: { type: "boolean", short: "r", help: "show relocations too (objects)" },
    mcpu: {
      type: "string",
      value: [...CPUS, ANY].join("|"),
      help: "as llvm-objdump-19 --mcpu (default generic for objects); any: all that Linux has, as text that assembles back",
    },
    "big-endian": { type: "boolean", help: "a bare program is big-endian" },
  },
  examples: [
    ["skep disasm firewall.bpf.o", "all sections of code"],
    ["echo b700000002000000 9500000000000000 | skep disasm - --dialect rfc", "from hex digits"],
  ],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { values, terminal, json } = invocation;
  const path = onlyPositional(invocation, "disasm", "a file");
  const dialect = parseDialect(text(values, "dialect") ?? "llvm");
  const mcpu = choice(values, "mcpu", [...CPUS, ANY]);
  const raw = values["raw"] === true;
  const bytes = await readInput(path);
  const cpu = mcpu ?? (isElf(bytes) && dialect === "llvm" ? "generic" : ANY);
  const options = { dialect, raw, ...(cpu === ANY ? {} : { cpu }) };
  if (isElf(bytes)) {
    const elf = parseElf(bytes, { name: path });
    if (json) {
      const sections = codeSections(elf).map((section) => ({
        name: section.name,
        lines: disassembleLines(decodeInstructions(elf.data(section), elf), {
          ...options,
          littleEndian: elf.littleEndian,
        }),
      }));
      terminal.line(toJson({ version: JSON_VERSION, file: path, littleEndian: elf.littleEndian, sections }));
      return 0;
    }
    terminal.write(`\n${path}:\tfile format elf64-bpf\n`);
    terminal.write(listObject(elf, { ...options, relocations: values["relocations"] === true }));
    return 0;
  }
  const littleEndian = values["big-endian"] !== true;
  const instructions = decodeInstructions(programBytes(bytes, path), { littleEndian });
  const invalid = checkInstructions(instructions);
  if (json) {
    const lines = disassembleLines(instructions, { ...options, littleEndian });
    terminal.line(
      toJson({
        version: JSON_VERSION,
        file: path,
        littleEndian,
        lines,
        ...(invalid === undefined ? {} : { invalid }),
      }),
    );
  } else {
    terminal.write(disassemble(instructions, { ...options, littleEndian }));
    if (invalid !== undefined)
      terminal.note(`skep: ${path}: instruction ${invalid.index}: ${invalid.reason}`);
  }
  return invalid === undefined ? 0 : 1;
}

const isElf = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;

/** Hex digits (with white space, commas, 0x) where the file holds nothing else; raw bytes otherwise. */
function programBytes(bytes: Uint8Array, path: string): Uint8Array {
  const asText = new TextDecoder("latin1").decode(bytes);
  if (!/^[\s,0-9a-fA-Fx]*$/.test(asText) || bytes.length === 0) {
    if (bytes.length === 0)
      throw new BpfError("instruction", `${path}: the file is empty`, { where: { file: path } });
    return bytes;
  }
  const digits = asText.replaceAll(/0x|[\s,]/g, "");
  if (!/^([0-9a-fA-F]{2})*$/.test(digits)) {
    throw new BpfError("instruction", `${path}: ${digits.length} hex digits are no whole bytes`, {
      where: { file: path },
    });
  }
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
