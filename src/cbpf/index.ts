/** Classic BPF: the instruction set, its checker, its interpreter, its compiler. */
export * from "./instruction.ts";
export * from "./ancillary.ts";
export { checkCbpf, type CbpfVariant } from "./check.ts";
export { type KernelJump, kernelLengths } from "./kernel-size.ts";
export { runCbpf, type CbpfFlavor, type CbpfRunOptions } from "./run.ts";
export {
  type CbpfBatchMeta,
  type CbpfMatcher,
  type CbpfMeta,
  type MatcherOptions,
  type PacketMemory,
  compileMatcher,
  createPacketMemory,
} from "./matcher.ts";
export {
  formatCbpfC,
  formatCbpfInstruction,
  formatCbpfListing,
  formatCbpfNumbers,
  parseCbpfC,
  parseCbpfListing,
  parseCbpfNumbers,
} from "./listing.ts";
export { type CbpfFunction, compileFunction } from "./function.ts";
export { assembleCbpf } from "./asm.ts";
export { disassembleCbpf } from "./disasm.ts";
export { toEbpf } from "./ebpf.ts";
export { CbpfDebugger, type CbpfSnapshot, type CbpfStop } from "./debugger.ts";
export { decodeCbpf, encodeCbpf, parseCbpf } from "./read.ts";
