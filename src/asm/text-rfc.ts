/**
 * The mnemonic dialect, as uBPF, rbpf and the bpf_conformance suite write it: `add %r1, 5`, `jeq %r1, 0, +2`. The first
 * word of every text is the row's own mnemonic; what follows are its operands, destination first.
 *
 * What those tools have no text for is written like this: `lddw %r1, map_fd(5)` and so on with the kinds of the table,
 * the upper half after a comma, and the index of a kernel function's BTF after a comma (`call runtime 5, 1`).
 */
import type { InstructionRow } from "../isa/index.ts";
import type { RowText } from "./pattern.ts";

/** How a row is written. */
export function rfcText(row: InstructionRow): RowText {
  const operands = operandsOf(row);
  const [text = row.mnemonic, ...also] = [row.mnemonic, ...aliasesOf(row)].map((mnemonic) =>
    `${mnemonic} ${operands}`.trimEnd(),
  );
  return { text, also };
}

function operandsOf({ semantics }: InstructionRow): string {
  switch (semantics.kind) {
    case "alu":
      if (semantics.op === "neg") return "{dst}";
      return semantics.source === "imm" ? "{dst}, {imm}" : "{dst}, {src}";
    case "endian":
      return "{dst}";
    case "addr_space_cast":
      return "{dst}, {src}";
    case "load":
      return "{dst}, [{src}{offset}]";
    case "store":
      return semantics.source === "imm" ? "[{dst}{offset}], {imm}" : "[{dst}{offset}], {src}";
    case "atomic":
      return semantics.op === "load_acquire" ? "{dst}, [{src}{offset}]" : "[{dst}{offset}], {src}";
    case "lddw":
      return semantics.value === "imm" ? "{dst}, {wide}" : `{dst}, ${semantics.value}({imm}{high})`;
    case "packet":
      return semantics.mode === "abs" ? "{imm}" : "{src}, {imm}";
    case "goto":
      return semantics.distance === "offset" ? "{jump}" : "{jump32}";
    case "jump":
      return semantics.source === "imm" ? "{dst}, {imm}, {jump}" : "{dst}, {src}, {jump}";
    case "may_goto":
      return "{jump}";
    case "call":
      switch (semantics.target) {
        case "helper":
          return "{imm}";
        case "local":
          return "{jump32}";
        case "kfunc":
          return "{imm}{btf}";
        case "register":
          return "{dst}";
      }
    case "exit":
      return "";
  }
}

/** Other mnemonics in use: rbpf's `add64`, uBPF's `bswap16`, LLVM's `callx`, one word for a fetching atomic. */
function aliasesOf({ mnemonic, semantics }: InstructionRow): readonly string[] {
  switch (semantics.kind) {
    case "alu":
      return semantics.width === 64 && semantics.op !== "movsx" ? [`${mnemonic}64`] : [];
    case "endian":
      return semantics.op === "swap" ? [`bswap${semantics.size}`] : [];
    case "atomic":
      if (mnemonic.includes("fetch ")) return [mnemonic.replace("fetch ", "fetch_")];
      return semantics.fetch ? [mnemonic.replace("lock ", "lock fetch ")] : [];
    case "call":
      switch (semantics.target) {
        case "helper":
          return ["call helper"];
        case "register":
          return ["call helper", "callx"];
        case "kfunc":
          return ["call kfunc"];
        default:
          return [];
      }
    default:
      return [];
  }
}
