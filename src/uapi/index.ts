/** Linux's BPF interface as tables. */
export * from "./types.ts";
export * from "./helpers.ts";
export * from "./errno.ts";
export * from "./kfuncs.ts";
export { KFUNC_SETS, mayCallKfunc } from "./kfunc-sets.ts";
export * from "./maps.ts";
export { HELPER_ACCESS } from "./helper-access.ts";
export { KERNEL_WRITES, type KernelWriteRow } from "./kernel-writes.ts";
export * from "./prototypes.ts";
export * from "./helper-lookup.ts";
export * from "./format.ts";
