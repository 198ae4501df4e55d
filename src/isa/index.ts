/** The eBPF instruction set: one table, and decoding and encoding by it. */
export * from "./instruction.ts";
export * from "./table.ts";
export * from "./decode.ts";
