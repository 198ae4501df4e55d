/** Linux's BPF interface as tables. */
export * from "./types.ts";
export * from "./helpers.ts";
export * from "./errno.ts";
export * from "./maps.ts";
