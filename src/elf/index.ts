/** ELF-64 objects of either byte order: reading and writing. */
export * from "./constants.ts";
export * from "./read.ts";
export * from "./write.ts";
