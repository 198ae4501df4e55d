/** BPF object files as data, and the linking of their programs. */
export { type ObjectOptions, parseObject } from "./parse.ts";
export {
  type LinkedFunction,
  type LinkedProgram,
  type LinkedReference,
  type LinkOptions,
  linkProgram,
} from "./link.ts";
export { POISON_HELPER, relocate } from "./relocate.ts";
export { lineAt } from "./context.ts";
export { BPF_F_LINK, BPF_F_RDONLY_PROG } from "./maps.ts";
export {
  type LaterAttachType,
  matchSection,
  SECTION_RULES,
  type SectionMatch,
  type SectionRule,
} from "./sections.ts";
export type * from "./spec.ts";
