/**
 * The Linux back end: the same programs in the real kernel, through bpf(2). It needs Linux, privilege (root, or
 * CAP_BPF with CAP_NET_ADMIN and CAP_PERFMON) and the optional package `koffi`; nothing else of skep does.
 */
export { Handle, Kernel, Reply, type Request } from "./kernel.ts";
export { COMMANDS, type Command, PROGRAM_FLAGS, TEST_RUN_FLAGS, UPDATE_FLAGS } from "./tables.ts";
export { MAP_FLAGS } from "../uapi/index.ts";
export * from "./map.ts";
export * from "./batch.ts";
export * from "./program.ts";
export * from "./btf.ts";
export * from "./pin.ts";
export { joinPerCpu, perCpuStride, possibleCpus, splitPerCpu } from "./cpus.ts";
export { type BtfInfo, type MapInfo, type ProgramInfo, objectIds } from "./info.ts";
export * from "./probe.ts";
export type { SystemReport } from "./system.ts";
export { KernelMachine, type KernelLoadOptions, type KernelLoaded, type KernelVerdict } from "./machine.ts";
export { TypedMap } from "./typed-map.ts";
export { LoadedProgram, type KernelRunInput, type KernelRunResult } from "./loaded-program.ts";
