/** Classic BPF: the instruction set, its checker, its interpreter. */
export * from "./instruction.ts";
export * from "./ancillary.ts";
export { checkCbpf, type CbpfVariant } from "./check.ts";
export { runCbpf, type CbpfFlavor, type CbpfRunOptions } from "./run.ts";
