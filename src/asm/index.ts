/**
 * Text to eBPF instructions and back, in two dialects: "llvm", which the kernel and LLVM write (`r1 += 5`), and "rfc", the
 * mnemonics of uBPF and bpf_conformance (`add %r1, 5`).
 */
export { type FormatOptions, formatInstruction } from "./format.ts";
export {
  type DisassembleOptions,
  type JumpTarget,
  type ListingLine,
  type ListingRelocation,
  type ListingSymbol,
  type SourceLine,
  disassemble,
  disassembleLines,
} from "./disassemble.ts";
export {
  type AssembleOptions,
  type AssembledSection,
  type AssembledSymbol,
  type Assembly,
  assemble,
  checkAssembly,
  parseDialect,
} from "./assemble.ts";
export type { AssembledRelocation } from "./resolve.ts";
export type { LlvmCpu } from "./objdump.ts";
export type { DialectName } from "./dialect.ts";
